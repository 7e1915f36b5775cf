"""First values of variables: what jnp.full and jax.random give, made without compiling a program for each shape.

JAX's default generator hashes the place of each number with the key (Threefry-2x32: Salmon et al., "Parallel Random
Numbers: As Easy as 1, 2, 3", 2011), so NumPy can do the same. A large array, another dtype or another generator is
left to jax.random.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Beyond so many numbers a compiled program, on all cores, pays for its compilation.
_MOST = 1 << 22
# So many at a time stay in the cache.
_PIECE = 1 << 13
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_SQRT2 = np.float32(math.sqrt(2))


def full(shape: Any, dtype: str, value: Any) -> jax.Array:
    """Return what `jnp.full` does."""
    return jnp.asarray(np.full(shape, value, jnp.dtype(dtype)), dtype)


def uniform(key: Any, shape: Any, dtype: str, low: float, high: float) -> Any:
    """Return what `jax.random.uniform` does."""
    if not _at_hand(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, low, high)
    return jnp.asarray(_between(key, shape, np.float32(low), np.float32(high)), dtype)


def normal(key: Any, shape: Any, dtype: str, mean: float, stddev: float) -> Any:
    """Return what `jax.random.normal` does, of this mean and standard deviation."""
    if not _at_hand(key, shape, dtype):
        return jax.random.normal(key, shape, dtype) * stddev + mean
    low = np.nextafter(np.float32(-1), np.float32(0))
    return _moved(_SQRT2 * _inverse_erf(_between(key, shape, low, np.float32(1))), mean, stddev)


def truncated_normal(key: Any, shape: Any, dtype: str, mean: float, stddev: float) -> Any:
    """Return what `jax.random.truncated_normal` does, cut at two standard deviations, of this mean and deviation."""
    if not _at_hand(key, shape, dtype):
        return jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype) * stddev + mean
    end = np.float32(math.erf(math.sqrt(2)))
    drawn = _SQRT2 * _inverse_erf(_between(key, shape, -end, end))
    most = np.nextafter(np.float32(2), np.float32(0))
    return _moved(np.clip(drawn, -most, most), mean, stddev)


def _moved(drawn: Any, mean: float, stddev: float) -> Any:
    return jnp.asarray(drawn * np.float32(stddev) + np.float32(mean), "float32")


def by_place() -> bool:
    """Tell whether JAX's generator is the default one, which hashes the place of each number."""
    settings: Any = jax.config
    return bool(settings.jax_threefry_partitionable) and settings.jax_default_prng_impl == "threefry2x32"


def _at_hand(key: Any, shape: Any, dtype: str) -> bool:
    concrete = not isinstance(key, jax.core.Tracer) and all(isinstance(size, int) for size in shape)
    return concrete and dtype == "float32" and math.prod(shape) <= _MOST and by_place()


def _between(key: Any, shape: Any, low: Any, high: Any) -> Any:
    """Uniform numbers: 23 random bits each, the digits of a number from 1 to 2, moved to where they shall lie."""
    bits = _bits(np.asarray(key), math.prod(shape)) >> np.uint32(9) | np.uint32(0x3F800000)
    part = bits.view(np.float32) - np.float32(1)
    # The compiled program multiplies and adds with one rounding; so do these doubles.
    moved = (part.astype(np.float64) * np.float64(high - low) + np.float64(low)).astype(np.float32)
    return np.maximum(low, moved).reshape(shape)


def _bits(key: Any, count: int) -> Any:
    """32 random bits for each of `count` places."""
    words = key[:1], key[1:]
    ends = [(at, min(at + _PIECE, count)) for at in range(0, count, _PIECE)]
    pieces = [hashed(words, np.arange(*end, dtype=np.uint32)) for end in ends]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint32)


def hashed(key: tuple[Any, Any], places: Any) -> Any:
    """Return 32 random bits for each place, of a key in two words; all are arrays of uint32, of NumPy or JAX.

    Twenty rounds of addition, rotation and exclusive or; the two halves of the answer are joined.
    """
    words = *key, key[0] ^ key[1] ^ _PARITY
    first, second = words[0], places + words[1]
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            first = first + second
            second = (second << np.uint32(distance) | second >> np.uint32(32 - distance)) ^ first
        first = first + words[(group + 1) % 3]
        second = second + (words[(group + 2) % 3] + np.uint32(group + 1))
    return first ^ second


def _inverse_erf(x: Any) -> Any:
    """The inverse error function, by XLA's own approximation; of a power of two of numbers, for few programs."""
    size = 1 << max(0, x.size - 1).bit_length()
    return np.asarray(lax.erf_inv(np.resize(x, size)))[: x.size].reshape(x.shape)
