"""Pooling: windows, or everything, reduced to one value."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def _over_channels(sizes: tuple[int, ...], data_format: str) -> tuple[int, ...]:
    return (1, *sizes, 1) if data_format == "channels_last" else (1, 1, *sizes)


def max_pool(x: jax.Array, pool_size: tuple[int, ...], strides: tuple[int, ...], padding: str, data_format: str) -> Any:
    """The largest value of each window: (batch, *spatial, channels) -> (batch, *fewer, channels)."""
    lowest: Any = -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else np.iinfo(x.dtype).min
    window, steps = _over_channels(pool_size, data_format), _over_channels(strides, data_format)
    return lax.reduce_window(x, np.array(lowest, x.dtype), lax.max, window, steps, padding.upper())


def average_pool(
    x: jax.Array, pool_size: tuple[int, ...], strides: tuple[int, ...], padding: str, data_format: str
) -> Any:
    """The mean of each window's real cells: (batch, *spatial, channels) -> (batch, *fewer, channels)."""
    window, steps = _over_channels(pool_size, data_format), _over_channels(strides, data_format)

    def total(values: Any) -> Any:
        return lax.reduce_window(values, np.array(0, x.dtype), lax.add, window, steps, padding.upper())

    if padding == "valid":
        return total(x) / int(np.prod(pool_size))
    cells = (1, *x.shape[1:-1], 1) if data_format == "channels_last" else (1, 1, *x.shape[2:])
    return total(x) / total(jnp.ones(cells, x.dtype))


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
