"""Formulations of a convolution for CPU, as products, shifted sums and little else. All work channels-last.

Three functions, each the gradient of the others' sum over y * convolve(x, kernel):
`forward` gives y (batch, *outputs, filters), `input_gradient` x (batch, *sizes, channels) and `kernel_gradient` the
kernel (*taps, channels / groups, filters).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
from jax import lax

from lamella.kernels import winograd
from lamella.kernels.convolution_plain import plain, plain_kernel_gradient
from lamella.kernels.windows import Windows, padded, patches, spread, taken

# Pieces of a batch keep what is laid out small: bytes aimed at, and the most pieces worth compiling. Only where whole
# windows are laid out is it faster too.
PIECE_BYTES, WINDOWS_PIECE_BYTES, MOST_PIECES = 64 << 20, 8 << 20, 4
# One shifted product for each place of a window, or place along an axis; with more of them the compiler takes long and
# gains nothing.
MOST_SHIFTS = 32
# Long sums of products are taken in two halves from this length on.
FEWEST_HALVED = 8192
# Samples whose products one loop adds up.
MOST_FOLDED = 16


def forward(x: Any, kernel: Any, windows: Windows) -> Any:
    """Convolve: (batch, *sizes, channels), (*taps, channels / groups, filters) -> (batch, *outputs, filters)."""
    channels, filters = x.shape[-1], kernel.shape[-1]
    if max(windows.taps) > MOST_SHIFTS:
        return plain(x, kernel, windows)
    if windows.groups == channels and windows.count <= MOST_SHIFTS:
        return _one_channel_each(x, kernel, windows)
    if windows.groups > 1:
        return _by_groups(x, kernel, windows)
    if windows.count == 1:
        return _product(_at_taps(padded(x, windows.pads), (0,) * len(windows.taps), windows), kernel)
    if winograd.fits(windows, channels, filters):
        return _in_pieces(lambda x: winograd.forward(x, kernel, windows), x, 4 * x.size * x.dtype.itemsize)
    unrolled = x.size * windows.taps[-1] * x.dtype.itemsize
    if windows.slides_by_one and channels >= 8:
        return _in_pieces(lambda x: _rows_added(x, kernel, windows), x, unrolled)
    seen = lambda x: _product(patches(padded(x, windows.pads), windows), kernel)  # noqa: E731
    return _in_pieces(seen, x, unrolled * windows.count // windows.taps[-1], WINDOWS_PIECE_BYTES)


def input_gradient(dy: Any, kernel: Any, windows: Windows) -> Any:
    """The gradient by x: (batch, *outputs, filters), (*taps, channels / groups, filters) -> (batch, *sizes, channels).

    A convolution of its own, with the kernel turned around. With strides, inputs that lie equally far into a stride
    (a phase) see the same places of the kernel: one convolution for each phase, and the results interleaved. Where
    that would be many, what each output gives to its window is laid out and added up.
    """
    if windows.slides_by_one:
        return forward(dy, _turned(kernel, windows.groups), windows.reversed())
    if math.prod(windows.strides) > MOST_SHIFTS:
        return _windows_added(dy, kernel, windows)
    phases = list(itertools.product(*map(range, windows.strides)))
    reaches = [low + size for size, (low, _) in zip(windows.sizes, windows.pads, strict=True)]
    counts = tuple(-(-reach // stride) for reach, stride in zip(reaches, windows.strides, strict=True))
    parts = [_phase(dy, kernel, windows, phase, counts) for phase in phases]
    return _without_pads(_interleaved(parts, windows.strides), windows)


def _without_pads(whole: Any, windows: Windows) -> Any:
    """The positions of the inputs among those that windows reach."""
    sides = zip(windows.sizes, windows.pads, whole.shape[1:-1], strict=True)
    return padded(whole, [(-low, low + size - reached) for size, (low, _), reached in sides])


def _windows_added(dy: Any, kernel: Any, windows: Windows) -> Any:
    """The gradient by x as one product, the windows of which are added up axis by axis."""
    channels, split = kernel.shape[-2], (windows.groups, dy.shape[-1] // windows.groups)
    gradients, weights = dy.reshape(*dy.shape[:-1], *split), kernel.reshape(windows.count, channels, *split)
    whole = jnp.einsum("...gf,pcgf->...pgc", gradients, weights)
    whole = whole.reshape(*dy.shape[:-1], *windows.taps, windows.groups * channels)
    for axis, stride in enumerate(windows.strides, 1):
        whole = _overlapped(whole, axis, dy.ndim - 1, stride)
    return _without_pads(whole, windows)


def _overlapped(x: Any, axis: int, place: int, stride: int) -> Any:
    """(..., count, ..., taps, ...) -> (..., positions, ...): windows along `axis`, with their places along `place`."""
    times = -(-x.shape[place] // stride)
    room = [(0, times * stride - x.shape[place]) if i == place else (0, 0) for i in range(x.ndim)]
    x = jnp.pad(x, room).reshape(*x.shape[:place], times, stride, *x.shape[place + 1 :])
    x = jnp.moveaxis(x, (place, place + 1), (0, axis + 2))
    total = jnp.zeros((), x.dtype)
    for k in range(times):
        beside = [(k, times - 1 - k) if i == axis else (0, 0) for i in range(x.ndim - 1)]
        total = total + jnp.pad(x[k], beside)
    return total.reshape(*total.shape[:axis], total.shape[axis] * stride, *total.shape[axis + 2 :])


def _phase(dy: Any, kernel: Any, windows: Windows, phase: tuple[int, ...], counts: tuple[int, ...]) -> Any:
    """The gradient of every input that lies `phase` positions into a stride."""
    seen = kernel[tuple(slice(start, None, stride) for start, stride in zip(phase, windows.strides, strict=True))]
    rank = len(windows.taps)
    if 0 in seen.shape[:rank]:
        return jnp.zeros((dy.shape[0], *counts, kernel.shape[-2] * windows.groups), dy.dtype)
    plain = Windows(
        sizes=dy.shape[1:-1],
        taps=seen.shape[:rank],
        strides=(1,) * rank,
        pads=tuple(
            (taps - 1, count - size) for taps, count, size in zip(seen.shape, counts, dy.shape[1:-1], strict=False)
        ),
        dilation=(1,) * rank,
        groups=windows.groups,
    )
    return forward(dy, _turned(seen, windows.groups), plain)


def _interleaved(parts: list[Any], strides: tuple[int, ...]) -> Any:
    """Position p of phase f becomes position p * stride + f, on each spatial axis."""
    for axis in reversed(range(len(strides))):
        step = strides[axis]
        groups = [parts[start : start + step] for start in range(0, len(parts), step)]
        joined = [jnp.stack(group, axis + 2) if step > 1 else group[0] for group in groups]
        parts = [_merged(y, axis + 1) if step > 1 else y for y in joined]
    return parts[0]


def _merged(x: Any, axis: int) -> Any:
    """An axis and the next one as one; -1 would not do, for a batch may be empty."""
    return x.reshape(*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :])


def kernel_gradient(x: Any, dy: Any, windows: Windows) -> Any:
    """The gradient by the kernel: (batch, *sizes, channels), (batch, *outputs, filters) -> (*taps, ..., filters)."""
    channels, filters = x.shape[-1], dy.shape[-1]
    if max(windows.taps) > MOST_SHIFTS:
        return plain_kernel_gradient(x, dy, windows)
    shape = (*windows.taps, channels // windows.groups, filters)
    if 1 < windows.groups == channels:
        return _columns_summed(x, dy, windows).reshape(shape)
    if windows.groups > 1:
        return _groups_of_gradients(x, dy, windows)
    unrolled = x.size * windows.taps[-1] * x.dtype.itemsize
    if len(windows.taps) > 1 and windows.slides_by_one and channels >= 8:
        return _summed_pieces(lambda x, dy: _stacked_product(x, dy, windows), x, dy, unrolled)

    def seen(x: Any, dy: Any) -> Any:
        rows = patches(padded(x, windows.pads), windows)
        return _transposed_product(rows, dy).reshape(shape)

    return _summed_pieces(seen, x, dy, unrolled * windows.count // windows.taps[-1])


def _divides(count: int, samples: Any) -> bool:
    return count == 1 or (isinstance(samples, int) and samples % count == 0)


def _cut(x: Any, count: int) -> list[Any]:
    """Pieces of a batch, of one size."""
    if count == 1:
        return [x]
    size = x.shape[0] // count
    return [lax.slice_in_dim(x, start, start + size) for start in range(0, x.shape[0], size)]


def _pieces(samples: Any, wanted: int) -> int:
    """How many pieces a batch is cut into: no more than wanted, all of one size."""
    return next(count for count in range(max(1, min(MOST_PIECES, wanted)), 0, -1) if _divides(count, samples))


def _in_pieces(compute: Callable[[Any], Any], x: Any, size: Any, aim: int = PIECE_BYTES) -> Any:
    """Compute a batch piece by piece; `size` is how many bytes the whole would need on the way, `aim` a piece."""
    if not isinstance(size, int):
        return compute(x)
    pieces = _cut(x, _pieces(x.shape[0], -(-size // aim)))
    return compute(x) if len(pieces) == 1 else jnp.concatenate([compute(piece) for piece in pieces])


def _summed_pieces(compute: Callable[[Any, Any], Any], x: Any, dy: Any, size: Any) -> Any:
    """Add up what the pieces of a batch give."""
    if not isinstance(size, int):
        return compute(x, dy)
    count = _pieces(x.shape[0], -(-size // PIECE_BYTES))
    first, *others = map(compute, _cut(x, count), _cut(dy, count))
    return sum(others, start=first)


def _turned(kernel: Any, groups: int) -> Any:
    """The kernel that leads back: flipped in space, its channels and filters exchanged within each group."""
    *taps, channels, filters = kernel.shape
    flipped = jnp.flip(kernel, range(len(taps))).reshape(*taps, channels, groups, filters // groups)
    return (
        jnp.moveaxis(flipped, -3, -1)
        .reshape(*taps, groups, filters // groups, channels)
        .swapaxes(-3, -2)
        .reshape(*taps, filters // groups, groups * channels)
    )


def _product(rows: Any, kernel: Any) -> Any:
    """(..., taps c) with (*taps, c, filters) -> (..., filters)."""
    flat = rows.reshape(-1, rows.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return flat.reshape(*rows.shape[:-1], kernel.shape[-1])


def _transposed_product(rows: Any, dy: Any) -> Any:
    """(..., a), (..., b) -> (a, b), summed over all else: the narrower one first, the sum in two halves."""
    if rows.shape[-1] > dy.shape[-1]:
        return _transposed_product(dy, rows).T
    left, right = rows.reshape(-1, rows.shape[-1]), dy.reshape(-1, dy.shape[-1])
    count = left.shape[0]
    if not isinstance(count, int) or count % 2 or count < FEWEST_HALVED:
        return lax.dot_general(left, right, (((0,), (0,)), ((), ())))
    halves = [side.reshape(2, count // 2, -1) for side in (left, right)]
    return jnp.sum(lax.dot_general(halves[0], halves[1], (((1,), (1,)), ((0,), (0,)))), axis=0)


def _at_taps(x: Any, place: tuple[int, ...], windows: Windows) -> Any:
    """What all windows see at one place of theirs: (batch, *padded, c) -> (batch, *outputs, c)."""
    for axis, tap in enumerate(place):
        x = taken(x, axis + 1, tap * windows.dilation[axis], windows.outputs[axis], windows.strides[axis])
    return x


def _places(taps: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*map(range, taps))


def _along_last(x: Any, windows: Windows) -> Any:
    """What windows see along the last spatial axis: (batch, *padded, c) -> (batch, *padded but one, out, taps c)."""
    return spread(
        padded(x, windows.pads), -2, windows.taps[-1], windows.strides[-1], windows.dilation[-1], windows.outputs[-1]
    )


def _rows_added(x: Any, kernel: Any, windows: Windows) -> Any:
    """Windows laid out along the last axis only; one product for each place on the others, shifted and added."""
    columns = _along_last(x, windows)
    total: Any = None
    for place in _places(windows.taps[:-1]):
        part = _at_taps(_product(columns, kernel[place]), place, windows)
        total = part if total is None else total + part
    return total


def _stacked_product(x: Any, dy: Any, windows: Windows) -> Any:
    """One product for the whole kernel: windows along the last axis by gradients shifted along the others."""
    columns = _along_last(x, windows)
    leading = windows.taps[:-1]
    room = [
        (reach - 1, size - out)
        for size, reach, out in zip(columns.shape[1:-2], windows.reach, windows.outputs, strict=False)
    ]
    wide = padded(dy, [*room, (0, 0)])
    shifted = []
    for place in _places(leading):
        part = wide
        for axis, tap in enumerate(place):
            start = windows.reach[axis] - 1 - tap * windows.dilation[axis]
            part = taken(part, axis + 1, start, columns.shape[axis + 1])
        shifted.append(jnp.expand_dims(part, -2))
    stacked = jnp.concatenate(shifted, -2)
    stacked = stacked.reshape(*stacked.shape[:-2], -1)
    product = _transposed_product(columns, stacked)
    product = product.reshape(windows.taps[-1], x.shape[-1], *leading, dy.shape[-1])
    return jnp.moveaxis(product, (0, 1), (-3, -2))


def _one_channel_each(x: Any, kernel: Any, windows: Windows) -> Any:
    """Depthwise: each filter sees one channel; shifted products that the compiler fuses into one loop."""
    times = kernel.shape[-1] // x.shape[-1]
    x = padded(x, windows.pads)
    if times > 1 and x.shape[-1] > 1:
        x = jnp.repeat(x, times, axis=-1)
    total: Any = None
    for place in _places(windows.taps):
        part = _at_taps(x, place, windows) * kernel[place][0]
        total = part if total is None else total + part
    return total


def _columns_summed(x: Any, dy: Any, windows: Windows) -> Any:
    """The gradient of a depthwise kernel: for each place, the products summed over all positions -> (taps, filters)."""
    x = padded(x, windows.pads)
    times = dy.shape[-1] // x.shape[-1]
    if times > 1:
        x = jnp.repeat(x, times, axis=-1)
    count = next(count for count in range(MOST_FOLDED, 0, -1) if _divides(count, x.shape[0]))
    pieces = list(zip(_cut(x, count), _cut(dy, count), strict=True))
    sums = []
    for place in _places(windows.taps):
        sums.append(sum((_at_taps(x, place, windows) * dy for x, dy in pieces), start=jnp.zeros((), x.dtype)))
    # Without the barrier each sum would be computed inside a loop over single numbers.
    return jnp.stack([_column_sum(total) for total in lax.optimization_barrier(sums)])


def _column_sum(x: Any) -> Any:
    """(..., n) -> (n,): rows added half to half as long as they pair, which the compiler makes a vector loop."""
    rows = x.reshape(-1, *x.shape[-2:])
    while rows.shape[0] % 2 == 0:
        rows = rows[: rows.shape[0] // 2] + rows[rows.shape[0] // 2 :]
    return jnp.sum(lax.optimization_barrier(rows), axis=(0, 1))


def _by_groups(x: Any, kernel: Any, windows: Windows) -> Any:
    """Groups as the batch of one product: each sees its own channels."""
    seen = patches(padded(x, windows.pads), windows)
    places, groups = windows.count, windows.groups
    rows = seen.reshape(-1, places, groups, x.shape[-1] // groups)
    parts = kernel.reshape(places, kernel.shape[-2], groups, -1)
    return jnp.einsum("rtgc,tcgf->rgf", rows, parts).reshape(*seen.shape[:-1], kernel.shape[-1])


def _groups_of_gradients(x: Any, dy: Any, windows: Windows) -> Any:
    seen = patches(padded(x, windows.pads), windows)
    places, groups = windows.count, windows.groups
    rows = seen.reshape(-1, places, groups, x.shape[-1] // groups)
    parts = dy.reshape(-1, groups, dy.shape[-1] // groups)
    product = jnp.einsum("rtgc,rgf->tcgf", rows, parts)
    return product.reshape(*windows.taps, x.shape[-1] // groups, dy.shape[-1])
