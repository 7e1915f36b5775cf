"""Normalization over the batch and over features."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


def _wide(x: jax.Array) -> jax.Array:
    """Statistics of half-precision values are taken in single precision."""
    return x.astype("float32") if x.dtype in (jnp.float16, jnp.bfloat16) else x


def moments(x: jax.Array, axes: tuple[int, ...], mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over `axes`, of the steps that a mask keeps: -> (channels,), (channels,)."""
    x = _wide(x)
    if mask is None:
        mean = jnp.mean(x, axis=axes, keepdims=True)
        variance = jnp.mean(jnp.square(x - mean), axis=axes)
        return mean.reshape(variance.shape), variance
    weight = mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim)).astype(x.dtype)
    weight = jnp.broadcast_to(weight, x.shape)
    # Keras adds its epsilon to the count, so that a batch of padding alone stays finite.
    count = jnp.sum(weight, axis=axes, keepdims=True) + 1e-7
    mean = jnp.sum(x * weight, axis=axes, keepdims=True) / count
    variance = jnp.sum(jnp.square(x - mean) * weight, axis=axes, keepdims=True) / count
    kept = tuple(size for axis, size in enumerate(mean.shape) if axis not in axes)
    return mean.reshape(kept), variance.reshape(kept)


def batch_norm(
    x: jax.Array,
    mean: jax.Array,
    variance: jax.Array,
    gamma: jax.Array | None,
    beta: jax.Array | None,
    axis: int,
    epsilon: float,
) -> jax.Array:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta along `axis`: shape and dtype of x."""
    shape = [1] * x.ndim
    shape[axis] = mean.shape[0]
    scale = lax.rsqrt(_wide(variance) + epsilon)
    if gamma is not None:
        scale = scale * gamma
    shift = -mean * scale
    if beta is not None:
        shift = shift + beta
    return (_wide(x) * scale.reshape(shape) + shift.reshape(shape)).astype(x.dtype)


def layer_norm(
    x: jax.Array, gamma: jax.Array | None, beta: jax.Array | None, axis: int | tuple[int, ...], epsilon: float
) -> jax.Array:
    """Each sample's features with mean 0 and variance 1 along `axis`: shape and dtype of x."""
    axes = tuple(a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis))
    wide = _wide(x)
    mean = jnp.mean(wide, axis=axes, keepdims=True)
    variance = jnp.mean(jnp.square(wide - mean), axis=axes, keepdims=True)
    shape = [size if a in axes else 1 for a, size in enumerate(x.shape)]
    scale = lax.rsqrt(variance + epsilon)
    if gamma is not None:
        scale = scale * gamma.reshape(shape)
    out = (wide - mean) * scale
    if beta is not None:
        out = out + beta.reshape(shape)
    return out.astype(x.dtype)
