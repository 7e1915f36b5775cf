"""Winograd's minimal filtering F(2x2, 3x3): four outputs of a 3x3 convolution from 16 products instead of 36.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015). Inputs are cut into tiles of 4x4 that
overlap by two; tile, kernel and result change their basis by small matrices of 0, 1 and 1/2, which are written as
sums of slices. In between stand sixteen products of (tiles, channels) by (channels, filters). The relative error is
that of the plain form or smaller: the sums over channels are the same, and the changes of basis add and halve only.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from lamella.kernels.windows import Windows, padded, taken

# Below this the products are too narrow to pay for the changes of basis (benchmarks/formulations.py).
FEWEST_CHANNELS = 24


def fits(windows: Windows, channels: int, filters: int) -> bool:
    """Tell whether the form is for these windows, and faster for so many channels."""
    three_by_three = windows.taps == (3, 3) and set(windows.strides + windows.dilation) == {1}
    return three_by_three and min(channels, filters) >= FEWEST_CHANNELS and min(windows.outputs) >= 4


def forward(x: Any, kernel: Any, windows: Windows) -> Any:
    """Convolve: (batch, rows, cols, channels), (3, 3, channels, filters) -> (batch, rows, cols, filters)."""
    rows, cols = windows.outputs
    down, across = -(-rows // 2), -(-cols // 2)
    room = [
        (low, 2 * tiles + 2 - size - low)
        for tiles, size, (low, _) in zip((down, across), windows.sizes, windows.pads, strict=True)
    ]
    x = padded(x, room)
    parts = _into([taken(x, 1, start, down, 2) for start in range(4)])
    tiles = [
        _into([taken(part, 2, start, across, 2) for start in range(4)]) for part in lax.optimization_barrier(parts)
    ]
    weights = _kernels(kernel)
    filters = kernel.shape[-1]
    products = [
        [tile.reshape(-1, x.shape[-1]) @ weight for tile, weight in zip(line, weights[i], strict=True)]
        for i, line in enumerate(tiles)
    ]
    halves = [_out_of([line[j] for line in products]) for j in range(4)]
    y = [_out_of([half[i] for half in halves]) for i in range(2)]
    shape = (x.shape[0], down, 1, across, 1, filters)
    # Joined in blocks of rows of filters, then put in place: the compiler copies whole rows at once.
    whole = jnp.concatenate([part.reshape(shape) for line in y for part in line], 2)
    whole = whole.reshape(x.shape[0], down, 2, 2, across, filters).swapaxes(3, 4)
    return whole.reshape(x.shape[0], 2 * down, 2 * across, filters)[:, :rows, :cols]


def _into(d: list[Any]) -> list[Any]:
    """Four neighbours along one axis, in the basis of the products."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _out_of(m: list[Any]) -> list[Any]:
    """Two results along one axis, from four products."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _kernels(kernel: Any) -> list[list[Any]]:
    """The kernel in the basis of the products: four by four of (channels, filters)."""
    lines = _widened([kernel[i] for i in range(3)])
    return [_widened([line[j] for j in range(3)]) for line in lines]


def _widened(g: list[Any]) -> list[Any]:
    return [g[0], (g[0] + g[1] + g[2]) * 0.5, (g[0] - g[1] + g[2]) * 0.5, g[2]]
