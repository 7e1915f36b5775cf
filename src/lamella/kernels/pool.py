"""Pooling: windows, or everything, reduced to one value.

XLA:CPU walks windows one number at a time, and its backward pass scatters. There, maxima and sums of strided slices
take their place: one vectorized pass each way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lamella.kernels.platform import for_readers, on_platform

Sizes = tuple[int, ...]
# One slice for each place in a window; with more of them the compiler takes long and gains nothing.
_MOST_SLICES = 32


def _over_channels(sizes: Sizes, data_format: str) -> Sizes:
    return (1, *sizes, 1) if data_format == "channels_last" else (1, 1, *sizes)


def max_pool(x: jax.Array, pool_size: Sizes, strides: Sizes, padding: str, data_format: str) -> Any:
    """The largest value of each window: (batch, *spatial, channels) -> (batch, *fewer, channels).

    Among equal values of a window the first one gets the gradient.
    """
    window, steps = _over_channels(pool_size, data_format), _over_channels(strides, data_format)
    given = _lowest(x.dtype), window, steps, padding
    return _chosen(partial(_maximum, *given), partial(max_pool_plain, *given), x, window)(x)


def _lowest(dtype: Any) -> Any:
    lowest: Any = -np.inf if jnp.issubdtype(dtype, jnp.floating) else np.iinfo(dtype).min
    return np.array(lowest, dtype)


def max_pool_plain(fill: Any, window: Sizes, steps: Sizes, padding: str, x: Any) -> Any:
    """The plain form."""
    return lax.reduce_window(x, fill, lax.max, window, steps, padding.upper())


def _maximum(fill: Any, window: Sizes, steps: Sizes, padding: str, x: Any) -> Any:
    return _largest(_padded(x, fill, window, steps, padding), window, steps)


def average_pool(x: jax.Array, pool_size: Sizes, strides: Sizes, padding: str, data_format: str) -> Any:
    """The mean of each window's real cells: (batch, *spatial, channels) -> (batch, *fewer, channels)."""
    window, steps = _over_channels(pool_size, data_format), _over_channels(strides, data_format)
    given = window, steps, padding
    total = _chosen(partial(_total, *given), partial(sum_pool_plain, *given), x, window)
    if padding == "valid":
        return total(x) / int(np.prod(pool_size))
    cells = (1, *x.shape[1:-1], 1) if data_format == "channels_last" else (1, 1, *x.shape[2:])
    return total(x) / total(jnp.ones(cells, x.dtype))


def sum_pool_plain(window: Sizes, steps: Sizes, padding: str, x: Any) -> Any:
    """The plain form of the sum over each window."""
    return lax.reduce_window(x, np.array(0, x.dtype), lax.add, window, steps, padding.upper())


def _chosen(by_slices: Callable[..., Any], plain: Callable[..., Any], x: Any, window: Sizes) -> Callable[..., Any]:
    """Choose the formulation: by platform, and by how many slices a window takes."""
    if not _by_slices(x, window):
        return plain
    # ONNX has windows over three axes at most; XLA's go over the batch and the channels too.
    return by_slices if for_readers() else on_platform(by_slices, plain)


def _by_slices(x: Any, window: Sizes) -> bool:
    """Tell whether slices can be taken, and are not more than are worth compiling."""
    known = all(isinstance(dim, int) for dim in x.shape[1:])
    return known and (math.prod(window) <= _MOST_SLICES or for_readers())


def _padded(x: Any, fill: Any, window: Sizes, steps: Sizes, padding: str) -> Any:
    """Put cells around, as "same" padding does."""
    if padding == "valid":
        return x
    pads = [(0, 0)] * x.ndim
    spatial = [axis for axis, size in enumerate(window) if size > 1 or steps[axis] > 1]
    for axis in spatial:
        ((low, high),) = lax.padtype_to_pads([x.shape[axis]], [window[axis]], [steps[axis]], "SAME")
        pads[axis] = (low, high)
    return jnp.pad(x, pads, constant_values=fill)


def _slices(x: Any, window: Sizes, steps: Sizes) -> Iterator[Any]:
    """Yield, for each place in a window, the values that all windows have there."""
    for place in itertools.product(*map(range, window)):
        ends = [
            dim if size == step == 1 else start + (dim - size) // step * step + 1
            for dim, size, step, start in zip(x.shape, window, steps, place, strict=True)
        ]
        yield lax.slice(x, place, ends, steps)


def _total(window: Sizes, steps: Sizes, padding: str, x: Any) -> Any:
    parts = _slices(_padded(x, np.array(0, x.dtype), window, steps, padding), window, steps)
    return sum(parts, next(parts))


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _largest(x: Any, window: Sizes, steps: Sizes) -> Any:
    parts = _slices(x, window, steps)
    out = next(parts)
    for part in parts:
        out = jnp.maximum(out, part)
    return out


@_largest.defjvp
def _largest_jvp(window: Sizes, steps: Sizes, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    """The tangent of the first of each window's largest; its transpose puts gradients there, without a scatter."""
    (x,), (tangent,) = primals, tangents
    out = _largest(x, window, steps)
    total = jnp.zeros_like(out)
    free = jnp.ones(out.shape, "bool")
    for part, change in zip(_slices(x, window, steps), _slices(tangent, window, steps), strict=True):
        total = total + jnp.where(free & (part == out), change, jnp.zeros_like(change))
        free = free & (part != out)
    return out, total


def adaptive_max_pool(x: jax.Array, output_size: Sizes, data_format: str) -> Any:
    """The largest value of each part of the axes: (batch, *spatial, channels) -> (batch, *output_size, channels).

    Parts overlap where an axis cannot be divided. Among equal values of a part the first one gets the gradient.
    """
    return _adaptive(_largest_of, x, output_size, data_format)


def adaptive_average_pool(x: jax.Array, output_size: Sizes, data_format: str) -> Any:
    """The mean of each part of the axes: (batch, *spatial, channels) -> (batch, *output_size, channels)."""
    return _adaptive(jnp.mean, x, output_size, data_format)


def _adaptive(reduce: Callable[..., Any], x: Any, output_size: Sizes, data_format: str) -> Any:
    for axis, parts in enumerate(output_size, 1 if data_format == "channels_last" else 2):
        x = _reduced_parts(reduce, x, axis, parts)
    return x


def _reduced_parts(reduce: Callable[..., Any], x: Any, axis: int, parts: int) -> Any:
    """Reduce the parts of an axis: a new axis of them where they are equal, else a slice for each."""
    size = x.shape[axis]
    if not isinstance(size, int) or (size % parts and parts > _MOST_SLICES):
        return adaptive_pool_plain(reduce, x, axis, parts)
    if size % parts == 0:
        return reduce(x.reshape(*x.shape[:axis], parts, size // parts, *x.shape[axis + 1 :]), axis + 1)
    edges = [(part * size // parts, -(-(part + 1) * size // parts)) for part in range(parts)]
    return jnp.stack([reduce(lax.slice_in_dim(x, low, high, axis=axis), axis) for low, high in edges], axis)


def adaptive_pool_plain(reduce: Callable[..., Any], x: Any, axis: int, parts: int) -> Any:
    """The plain form, and the one for an axis whose size is a symbol: every part sees the axis through a mask."""
    size, place, part = x.shape[axis], jnp.arange(x.shape[axis]), jnp.arange(parts)[:, None]
    inside = (part * size // parts <= place) & (place < -(-(part + 1) * size // parts))
    seen = jnp.broadcast_to(jnp.expand_dims(x, axis), (*x.shape[:axis], parts, *x.shape[axis:]))
    return reduce(seen, axis + 1, where=inside.reshape(*inside.shape, *(1,) * (x.ndim - 1 - axis)))


def _largest_of(x: Any, axis: int, where: Any = None) -> Any:
    return _peak(x if where is None else jnp.where(where, x, _lowest(x.dtype)), axis)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _peak(x: Any, axis: int) -> Any:
    return jnp.max(x, axis)


@_peak.defjvp
def _peak_jvp(axis: int, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    """The tangent of the first of the largest values."""
    (x,), (tangent,) = primals, tangents
    out = jnp.max(x, axis, keepdims=True)
    place = lax.broadcasted_iota("int32", x.shape, axis)
    first = jnp.min(jnp.where(x == out, place, x.shape[axis]), axis, keepdims=True)
    return jnp.squeeze(out, axis), jnp.sum(jnp.where(place == first, tangent, 0), axis)


def _spatial_axes(x: jax.Array, data_format: str) -> tuple[int, ...]:
    return tuple(range(1, x.ndim - 1)) if data_format == "channels_last" else tuple(range(2, x.ndim))


def global_max_pool(x: jax.Array, data_format: str, keepdims: bool) -> jax.Array:
    """The largest value of each channel: (batch, *spatial, channels) -> (batch, channels)."""
    return jnp.max(x, axis=_spatial_axes(x, data_format), keepdims=keepdims)


def global_average_pool(x: jax.Array, data_format: str, keepdims: bool, mask: jax.Array | None = None) -> jax.Array:
    """The mean of each channel, over the steps that a mask keeps: (batch, *spatial, channels) -> (batch, channels)."""
    axes = _spatial_axes(x, data_format)
    if mask is None:
        return jnp.mean(x, axis=axes, keepdims=keepdims)
    weight = jnp.expand_dims(mask.astype(x.dtype), -1 if data_format == "channels_last" else 1)
    return jnp.sum(x * weight, axis=axes, keepdims=keepdims) / jnp.sum(weight, axis=axes, keepdims=keepdims)
