"""Padding, cropping and enlarging the spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Pairs = Sequence[tuple[int, int]]
# Beyond this many, copies of the whole array one beside the other are no gain.
_MOST_COPIES = 64


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
    enlarge = {"nearest": _repeated, "bilinear": _interpolated}.get(interpolation)
    if enlarge is None or max(size) > _MOST_COPIES:
        return upsample_plain(x, size, data_format, interpolation)
    # The last axis first: the later ones then copy longer runs.
    for axis, factor in reversed(list(enumerate(size, first))):
        x = enlarge(x, axis, factor)
    return x


def upsample_plain(x: Any, size: tuple[int, ...], data_format: str, interpolation: str) -> Any:
    """The plain form, and the one for every other interpolation."""
    shape = list(x.shape)
    for axis, factor in enumerate(size, _first(data_format)):
        shape[axis] = shape[axis] * factor
    method = {"bilinear": "linear", "bicubic": "cubic"}.get(interpolation, interpolation)
    return jax.image.resize(x, tuple(shape), method)


def _repeated(x: Any, axis: int, factor: int) -> Any:
    return _interleaved([x] * factor, axis)


def _interpolated(x: Any, axis: int, factor: int) -> Any:
    """Each new value lies between an old one and its neighbour, at the ends on the old one."""
    x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype("float32")
    size = x.shape[axis]
    steps = lax.slice_in_dim(x, 1, size, axis=axis) - lax.slice_in_dim(x, 0, size - 1, axis=axis)
    pads = [(0, 0)] * x.ndim
    before, after = (jnp.pad(steps, [*pads[:axis], ends, *pads[axis + 1 :]]) for ends in ((1, 0), (0, 1)))
    offsets = [(2 * part + 1 - factor) / (2 * factor) for part in range(factor)]
    return _interleaved([x + offset * (before if offset < 0 else after) for offset in offsets], axis)


def _interleaved(parts: Sequence[Any], axis: int) -> Any:
    """Arrays of one shape, in turns along an axis; backward a sum of slices, where a repetition would gather."""
    shape = parts[0].shape
    return jnp.stack(parts, axis + 1).reshape(*shape[:axis], shape[axis] * len(parts), *shape[axis + 1 :])
