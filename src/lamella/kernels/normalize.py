"""Normalization over the batch and over features.

The derivative of standardization is its own transpose. It is written down in `_over_batch` and `_over_features` with
its sums in the places where the backward pass needs them: one sum for the bias and the mean together, one for the
scale and the variance. What autodiff makes of the plain forms passes over the array again and again.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Axes = tuple[int, ...]


def _wide(x: jax.Array) -> jax.Array:
    """Statistics of half-precision values are taken in single precision."""
    return x.astype(jnp.promote_types(x.dtype, "float32"))


def _deviations(x: Any, axes: Axes) -> tuple[Any, Any, Any]:
    """Return mean, x - mean and variance, the axes kept."""
    mean = jnp.mean(x, axes, keepdims=True)
    deviations = x - mean
    return mean, deviations, jnp.mean(jnp.square(deviations), axes, keepdims=True)


def moments(x: jax.Array, axes: Axes, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
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


def batch_norm_in_training(
    x: jax.Array,
    gamma: jax.Array | None,
    beta: jax.Array | None,
    axis: int,
    epsilon: float,
    mask: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`batch_norm` with the batch's own moments: -> (out, mean, variance)."""
    axes = tuple(a for a in range(x.ndim) if a != axis % x.ndim)
    if mask is not None:
        return batch_norm_in_training_plain(x, gamma, beta, axis, epsilon, mask)
    wide = _wide(x)
    shape = tuple(1 if a in axes else size for a, size in enumerate(x.shape))
    gamma = jnp.ones(shape, wide.dtype) if gamma is None else gamma.astype(wide.dtype).reshape(shape)
    beta = jnp.zeros(shape, wide.dtype) if beta is None else beta.astype(wide.dtype).reshape(shape)
    out, mean, variance = _over_batch(wide, gamma, beta, axes, epsilon)
    return out.astype(x.dtype), mean.reshape(-1), variance.reshape(-1)


def batch_norm_in_training_plain(
    x: jax.Array,
    gamma: jax.Array | None,
    beta: jax.Array | None,
    axis: int,
    epsilon: float,
    mask: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The plain form, and the one with a mask."""
    axes = tuple(a for a in range(x.ndim) if a != axis % x.ndim)
    mean, variance = moments(x, axes, mask)
    return batch_norm(x, mean, variance, gamma, beta, axis, epsilon), mean, variance


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _over_batch(x: Any, gamma: Any, beta: Any, axes: Axes, epsilon: float) -> tuple[Any, Any, Any]:
    mean, deviations, variance = _deviations(x, axes)
    return deviations * (gamma * lax.rsqrt(variance + epsilon)) + beta, mean, variance


@_over_batch.defjvp
def _over_batch_jvp(axes: Axes, epsilon: float, primals: Any, tangents: Any) -> tuple[Any, Any]:
    (x, gamma, beta), (dx, dgamma, dbeta) = primals, tangents
    mean, deviations, variance = _deviations(x, axes)
    scale = lax.rsqrt(variance + epsilon)
    slope = gamma * scale
    dmean = jnp.mean(dx, axes, keepdims=True)
    covariance = jnp.mean(deviations * dx, axes, keepdims=True)
    dout = slope * dx + deviations * (scale * dgamma - slope * jnp.square(scale) * covariance) + (dbeta - slope * dmean)
    return (deviations * slope + beta, mean, variance), (dout, dmean, 2 * covariance)


def layer_norm(x: jax.Array, gamma: jax.Array | None, beta: jax.Array | None, axis: int | Axes, epsilon: float) -> Any:
    """Each sample's features with mean 0 and variance 1 along `axis`: shape and dtype of x."""
    axes = tuple(a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis))
    if axes != (x.ndim - 1,):
        return layer_norm_plain(x, gamma, beta, axes, epsilon)
    wide = _wide(x)
    gamma = jnp.ones(x.shape[-1:], wide.dtype) if gamma is None else gamma.astype(wide.dtype)
    beta = jnp.zeros(x.shape[-1:], wide.dtype) if beta is None else beta.astype(wide.dtype)
    return _over_features(wide, gamma, beta, epsilon).astype(x.dtype)


def group_norm(
    x: jax.Array, gamma: jax.Array | None, beta: jax.Array | None, groups: int, axis: int, epsilon: float
) -> Any:
    """Each sample's groups of channels with mean 0 and variance 1: shape and dtype of x; gamma, beta (channels,)."""
    axis %= x.ndim
    size = x.shape[axis] // groups
    grouped = _wide(x).reshape(*x.shape[:axis], groups, size, *x.shape[axis + 1 :])
    _, deviations, variance = _deviations(grouped, tuple(a for a in range(1, x.ndim + 1) if a != axis))
    along = (groups, size, *(1,) * (x.ndim - axis - 1))
    scale = lax.rsqrt(variance + epsilon)
    if gamma is not None:
        scale = scale * gamma.reshape(along)
    out = deviations * scale
    if beta is not None:
        out = out + beta.reshape(along)
    return out.reshape(x.shape).astype(x.dtype)


def layer_norm_plain(x: jax.Array, gamma: jax.Array | None, beta: jax.Array | None, axes: Axes, epsilon: float) -> Any:
    """The plain form, and the one for other axes than the last."""
    _, deviations, variance = _deviations(_wide(x), axes)
    shape = [size if a in axes else 1 for a, size in enumerate(x.shape)]
    scale = lax.rsqrt(variance + epsilon)
    if gamma is not None:
        scale = scale * gamma.reshape(shape)
    out = deviations * scale
    if beta is not None:
        out = out + beta.reshape(shape)
    return out.astype(x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _over_features(x: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    _, deviations, variance = _deviations(x, (x.ndim - 1,))
    return deviations * lax.rsqrt(variance + epsilon) * gamma + beta


@_over_features.defjvp
def _over_features_jvp(epsilon: float, primals: Any, tangents: Any) -> tuple[Any, Any]:
    (x, gamma, beta), (dx, dgamma, dbeta) = primals, tangents
    _, deviations, variance = _deviations(x, (x.ndim - 1,))
    scale = lax.rsqrt(variance + epsilon)
    standard = deviations * scale
    # The signs stand with the rows' numbers: a difference of whole arrays would be negated as a whole backward.
    away = -scale[..., 0]
    dmean = away * jnp.mean(dx, -1)
    dspread = away * jnp.mean(standard * dx, -1)
    dout = gamma * (scale * dx) + standard * (dgamma + _outer(dspread, gamma)) + (dbeta + _outer(dmean, gamma))
    return standard * gamma + beta, dout


def _outer(rows: Any, features: Any) -> Any:
    """(...), (features,) -> (..., features), as a product: backward it is one with `features`, not a sum of rows."""
    return lax.dot_general(rows, features, (((), ()), ((), ())))
