"""Random choices: those of `jax.random.bernoulli`, number for number.

On CPU, JAX hashes each place in a loop of small passes over memory. Here it is one pass, which the compiler joins with
what the bits are for. It is a primitive of its own, so that whoever reads a program sees randomness in it.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from lamella.core.values import by_place, hashed

# A random number in [0, 1) has so many digits.
_DIGITS = 23


def bernoulli(key: jax.Array, probability: Any, shape: tuple[Any, ...]) -> jax.Array:
    """Draw True with a probability: a key -> (shape) of booleans."""
    plain_key = key.dtype == jnp.uint32 and key.shape == (2,)
    if not (plain_key and isinstance(probability, float) and 0 <= probability <= 1 and by_place()):
        return jax.random.bernoulli(key, probability, shape)
    bits: jax.Array = random_bits_p.bind(key, shape=tuple(shape)) >> np.uint32(32 - _DIGITS)
    return bits < np.uint32(math.ceil(float(np.float32(probability)) * (1 << _DIGITS)))


def _plain(key: Any, *, shape: tuple[Any, ...]) -> Any:
    """Bits of keys (*keys, 2): (*keys, *shape)."""
    if key.ndim > 1:
        return jax.vmap(lambda key: _plain(key, shape=shape))(key)
    return jax.random.bits(key, shape, "uint32")


def _in_one_pass(key: Any, *, shape: tuple[Any, ...]) -> Any:
    count = math.prod(shape)
    if not isinstance(count, int) or count >= 1 << 32:
        return _plain(key, shape=shape)
    bits = hashed((key[..., :1], key[..., 1:]), lax.iota("uint32", count))
    return bits.reshape(*key.shape[:-1], *shape)


def _batched(keys: Any, axes: Any, *, shape: tuple[Any, ...]) -> tuple[Any, int]:
    return random_bits_p.bind(jnp.moveaxis(keys[0], axes[0], 0), shape=shape), 0


random_bits_p = Primitive("threefry_bits")
random_bits_p.def_impl(jax.jit(random_bits_p.bind, static_argnames="shape"))
random_bits_p.def_abstract_eval(lambda key, *, shape: ShapedArray((*key.shape[:-1], *shape), jnp.uint32))
mlir.register_lowering(random_bits_p, mlir.lower_fun(_plain, multiple_results=False))
mlir.register_lowering(random_bits_p, mlir.lower_fun(_in_one_pass, multiple_results=False), platform="cpu")
batching.primitive_batchers[random_bits_p] = _batched
