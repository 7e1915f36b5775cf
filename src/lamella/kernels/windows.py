"""The geometry of windows that slide over the spatial axes of (batch, *spatial, channels)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from jax import lax

Pads = tuple[tuple[Any, Any], ...]


@dataclass(frozen=True)
class Windows:
    """Where the windows of a convolution lie, axis by axis; sizes may be symbols."""

    sizes: tuple[Any, ...]
    taps: tuple[int, ...]
    strides: tuple[int, ...]
    pads: Pads
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def reach(self) -> tuple[int, ...]:
        """How many positions a window spans."""
        return tuple((taps - 1) * step + 1 for taps, step in zip(self.taps, self.dilation, strict=True))

    @property
    def outputs(self) -> tuple[Any, ...]:
        """How many windows there are."""
        sides = zip(self.sizes, self.pads, self.reach, self.strides, strict=True)
        return tuple((size + low + high - reach) // stride + 1 for size, (low, high), reach, stride in sides)

    @property
    def known(self) -> bool:
        """Whether every size is a number."""
        return all(isinstance(size, int) for size in self.sizes)

    @property
    def slides_by_one(self) -> bool:
        """Whether every position starts a window."""
        return set(self.strides) == {1}

    @property
    def count(self) -> int:
        """How many places a window has."""
        return math.prod(self.taps)

    def reversed(self) -> Windows:
        """The windows, of stride 1, that lead from the outputs back to the inputs, with the kernel flipped."""
        pads = tuple(
            (reach - 1 - low, size + low - out)
            for size, reach, (low, _), out in zip(self.sizes, self.reach, self.pads, self.outputs, strict=True)
        )
        return replace(self, sizes=self.outputs, pads=pads)


def padded(x: Any, pads: Sequence[tuple[Any, Any]]) -> Any:
    """Zeros before and after each spatial axis; a negative number takes positions away."""
    if all(low == high == 0 for low, high in pads):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)])


def taken(x: Any, axis: int, start: int, count: int, stride: int = 1) -> Any:
    """`count` positions of one axis, from `start` on, in steps."""
    return lax.slice_in_dim(x, start, start + (count - 1) * stride + 1, stride, axis)


def spread(x: Any, axis: int, taps: int, stride: int, dilation: int, count: int) -> Any:
    """What each window along one axis sees, side by side: (..., n, ..., c) -> (..., count, ..., taps c).

    Joined before the channels rather than along them: the compiler then copies whole rows of channels at once.
    """
    if taps == 1:
        return taken(x, axis, 0, count, stride)
    parts = [jnp.expand_dims(taken(x, axis, tap * dilation, count, stride), -2) for tap in range(taps)]
    joined = jnp.concatenate(parts, -2)
    return joined.reshape(*joined.shape[:-2], taps * x.shape[-1])


def patches(x: Any, windows: Windows) -> Any:
    """What each window sees, in the order of a kernel's rows: (batch, *padded, c) -> (batch, *outputs, taps c)."""
    for axis in reversed(range(len(windows.sizes))):
        x = spread(
            x, axis + 1, windows.taps[axis], windows.strides[axis], windows.dilation[axis], windows.outputs[axis]
        )
    return x
