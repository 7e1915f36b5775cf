"""Random choices: those of `jax.random.bernoulli`, number for number.

On CPU, JAX hashes each place in a loop of small passes over memory. Here each piece is one pass. It is a primitive of
its own, so that whoever reads a program sees randomness in it.
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
_PIECES = 8


def bernoulli(key: jax.Array, probability: Any, shape: tuple[Any, ...]) -> jax.Array:
    """Draw True with a probability: a key -> (shape) of booleans."""
    plain_key = key.dtype == jnp.uint32 and key.shape == (2,)
    if not (plain_key and isinstance(probability, float) and 0 <= probability <= 1 and by_place()):
        return jax.random.bernoulli(key, probability, shape)
    drawn: jax.Array = bernoulli_p.bind(key, probability=probability, shape=tuple(shape))
    return drawn


def _plain(key: Any, *, probability: float, shape: tuple[Any, ...]) -> Any:
    """Choices by keys (*keys, 2): (*keys, *shape)."""
    if key.ndim > 1:
        return jax.vmap(lambda key: _plain(key, probability=probability, shape=shape))(key)
    return jax.random.bernoulli(key, probability, shape)


def _in_pieces(key: Any, *, probability: float, shape: tuple[Any, ...]) -> Any:
    """The compiler keeps what a loop answers; a hash outside of one it would compute anew at every use."""
    count = math.prod(shape)
    if not isinstance(count, int) or count >= 1 << 32:
        return _plain(key, probability=probability, shape=shape)
    size = -(-count // _PIECES)
    words = key[..., :1], key[..., 1:]
    most = np.uint32(math.ceil(float(np.float32(probability)) * (1 << _DIGITS)))

    def piece(start: Any) -> Any:
        return hashed(words, start + lax.iota("uint32", size)) >> np.uint32(32 - _DIGITS) < most

    drawn = lax.map(piece, np.arange(_PIECES, dtype="uint32") * np.uint32(size))
    flat = jnp.moveaxis(drawn, 0, -2).reshape(*key.shape[:-1], -1)
    return flat[..., :count].reshape(*key.shape[:-1], *shape)


def _batched(keys: Any, axes: Any, **params: Any) -> tuple[Any, int]:
    return bernoulli_p.bind(jnp.moveaxis(keys[0], axes[0], 0), **params), 0


bernoulli_p = Primitive("bernoulli")
bernoulli_p.def_impl(jax.jit(bernoulli_p.bind, static_argnames=("probability", "shape")))
bernoulli_p.def_abstract_eval(lambda key, *, probability, shape: ShapedArray((*key.shape[:-1], *shape), jnp.bool_))
mlir.register_lowering(bernoulli_p, mlir.lower_fun(_plain, multiple_results=False))
mlir.register_lowering(bernoulli_p, mlir.lower_fun(_in_pieces, multiple_results=False), platform="cpu")
batching.primitive_batchers[bernoulli_p] = _batched
