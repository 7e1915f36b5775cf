"""Padding, cropping and enlarging the spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

Pairs = Sequence[tuple[int, int]]


def _first(data_format: str) -> int:
    return 1 if data_format == "channels_last" else 2


def zero_pad(x: jax.Array, padding: Pairs, data_format: str) -> jax.Array:
    """Zeros before and after each spatial axis: (batch, *spatial, channels) -> (batch, *larger, channels)."""
    first = _first(data_format)
    pads: list[Any] = [(0, 0)] * x.ndim
    pads[first : first + len(padding)] = padding
    return jnp.pad(x, pads)


def crop(x: jax.Array, cropping: Pairs, data_format: str) -> jax.Array:
    """Each spatial axis without its ends: (batch, *spatial, channels) -> (batch, *smaller, channels)."""
    first = _first(data_format)
    index = [slice(None)] * x.ndim
    for axis, (before, after) in enumerate(cropping, first):
        index[axis] = slice(before, x.shape[axis] - after)
    return x[tuple(index)]


def upsample(x: Any, size: tuple[int, ...], data_format: str, interpolation: str = "nearest") -> Any:
    """Spatial axes enlarged: (batch, *spatial, channels) -> (batch, *spatial times size, channels)."""
    first = _first(data_format)
    if interpolation == "nearest":
        for axis, factor in enumerate(size, first):
            x = _repeat(x, axis, factor)
        return x
    shape = list(x.shape)
    for axis, factor in enumerate(size, first):
        shape[axis] = shape[axis] * factor
    method = {"bilinear": "linear", "bicubic": "cubic"}.get(interpolation, interpolation)
    return jax.image.resize(x, tuple(shape), method)


def _repeat(x: Any, axis: int, factor: int) -> Any:
    # A broadcast and a reshape: jnp.repeat would gather.
    wide = jnp.broadcast_to(jnp.expand_dims(x, axis + 1), (*x.shape[: axis + 1], factor, *x.shape[axis + 1 :]))
    return wide.reshape(*x.shape[:axis], x.shape[axis] * factor, *x.shape[axis + 1 :])
