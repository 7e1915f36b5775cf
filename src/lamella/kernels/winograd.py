"""Winograd's minimal filtering F(2x2, 3x3): four outputs of a 3x3 convolution from 16 products instead of 36.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015). Inputs are cut into tiles of 4x4 that
overlap by two; tile, kernel and result change their basis by small matrices of 0, 1 and 1/2, most of them written as
sums of slices. In between stand sixteen products of (tiles, channels) by (channels, filters), in four groups. The
relative error is that of the plain form or smaller: the sums over channels are the same, and the changes of basis add
and halve only.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from lamella.kernels.windows import Windows, padded, taken

# Below this the products are too narrow to pay for the changes of basis (benchmarks/formulations.py).
FEWEST_CHANNELS = 24
_ALONG_ONE_AXIS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
# From the nine places of a kernel to sixteen products, both row by row.
_BASIS = np.einsum("ia,jb->ijab", _ALONG_ONE_AXIS, _ALONG_ONE_AXIS).reshape(16, 9)


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
    channels, filters = kernel.shape[-2:]
    lines = lax.optimization_barrier(_into([taken(x, 1, start, down, 2) for start in range(4)]))
    tiles = [jnp.stack(_into([taken(line, 2, start, across, 2) for start in range(4)])) for line in lines]
    weights = lax.optimization_barrier(_kernels(kernel))
    # (4, tiles, channels) @ (4, channels, filters): four products at once.
    products = [tile.reshape(4, -1, channels) @ weight for tile, weight in zip(tiles, weights, strict=True)]
    y = [_out_of(list(half)) for half in _out_of(products)]
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


def _kernels(kernel: Any) -> Any:
    """The kernel in the basis of the products: (3, 3, channels, filters) -> (4, 4, channels, filters)."""
    basis = jnp.asarray(_BASIS, kernel.dtype)
    return (basis @ kernel.reshape(9, -1)).reshape(4, 4, *kernel.shape[2:])
