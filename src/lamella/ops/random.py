"""Random numbers: each draw takes a shape and a seed, which is a number, a SeedGenerator, a key or None.

A number gives the same values every time; a generator, and None, which is the process's own, others at each
call. Shapes may hold symbols.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lamella import kernels
from lamella.core.axes import is_symbolic
from lamella.core.dtypes import standardize_dtype
from lamella.core.errors import ArgumentError
from lamella.core.seeds import SeedGenerator, draw_key
from lamella.ops.dispatch import array, op, operand

__all__ = [
    "SeedGenerator",
    "beta",
    "binomial",
    "categorical",
    "dropout",
    "gamma",
    "normal",
    "randint",
    "shuffle",
    "truncated_normal",
    "uniform",
]


@op
def normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Draw from the normal distribution."""
    dtype = standardize_dtype(dtype)
    drawn = jax.random.normal(draw_key(seed), tuple(shape), dtype)
    return drawn * _as(stddev, dtype) + _as(mean, dtype)


@op
def uniform(shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Draw evenly from [minval, maxval)."""
    dtype = standardize_dtype(dtype)
    return jax.random.uniform(draw_key(seed), tuple(shape), dtype, operand(minval), operand(maxval))


@op
def randint(shape: Any, minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None) -> Any:
    """Draw whole numbers evenly from [minval, maxval)."""
    dtype = standardize_dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.integer):
        raise ArgumentError(f"randint draws integers, got dtype {dtype!r}.", mend='randint(..., dtype="int32")')
    return jax.random.randint(draw_key(seed), tuple(shape), operand(minval), operand(maxval), dtype)


@op
def truncated_normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Draw from the normal distribution within two standard deviations of the mean."""
    dtype = standardize_dtype(dtype)
    drawn = jax.random.truncated_normal(draw_key(seed), -2.0, 2.0, tuple(shape), dtype)
    return drawn * _as(stddev, dtype) + _as(mean, dtype)


@op
def gamma(shape: Any, alpha: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Draw from the gamma distribution of shape parameter alpha and rate 1."""
    return jax.random.gamma(draw_key(seed), operand(alpha), tuple(shape), standardize_dtype(dtype))


@op
def beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Draw from the beta distribution."""
    dtype = standardize_dtype(dtype)
    return jax.random.beta(draw_key(seed), _as(alpha, dtype), _as(beta, dtype), tuple(shape), dtype)


@op
def binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Draw the number of successes in so many trials, each with its probability."""
    dtype = standardize_dtype(dtype)
    n, p = _as(counts, "float32"), _as(probabilities, "float32")
    return jax.random.binomial(draw_key(seed), n, p, tuple(shape)).astype(dtype)


@op
def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> Any:
    """(batch, classes) scores -> (batch, num_samples) class numbers drawn with `softmax(logits)`."""
    logits = array(logits)
    shape = (*logits.shape[:-1], num_samples)
    # The axis order decides which number meets which class: this one gives Keras's draws.
    drawn = jax.random.categorical(draw_key(seed), logits[..., None], axis=-2, shape=shape)
    return drawn.astype(standardize_dtype(dtype))


@op
def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """Set a share `rate` of the elements to 0 and divide the others by `1 - rate`.

    `noise_shape` has size 1 where elements along an axis fall together, None where it follows the inputs.
    """
    inputs, key = array(inputs), draw_key(seed)
    given = inputs.shape if noise_shape is None else tuple(noise_shape)
    shape = tuple(inputs.shape[axis] if dim is None else dim for axis, dim in enumerate(given))
    kept = jnp.broadcast_to(kernels.bernoulli(key, 1.0 - rate, shape), inputs.shape)
    return jnp.where(kept, inputs / (1.0 - rate), jnp.zeros_like(inputs))


@op
def shuffle(x: Any, axis: int = 0, seed: Any = None) -> Any:
    """Return the elements along an axis in random order, a different one for each place of the other axes."""
    x, key = array(x), draw_key(seed)
    if any(is_symbolic(dim) for dim in x.shape):
        # JAX's own shuffle wants known sizes; inside a trace for shapes any order will do.
        return jnp.take_along_axis(x, jnp.argsort(jax.random.uniform(key, x.shape), axis), axis)
    # Keras draws an order of its own for each row.
    return jax.random.permutation(key, x, axis, independent=True)


def _as(x: Any, dtype: str) -> Any:
    return array(x).astype(dtype)
