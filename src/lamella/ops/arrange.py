"""Ops that move elements without changing them: shapes, axes, joining, splitting, indexing."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.errors import ArgumentError, ShapeError
from lamella.ops.dispatch import array, arrays, as_axis, op, operand, unary

__all__ = [
    "append",
    "array_split",
    "broadcast_to",
    "concatenate",
    "diag",
    "diagflat",
    "diagonal",
    "dsplit",
    "dstack",
    "expand_dims",
    "flip",
    "fliplr",
    "flipud",
    "get_item",
    "hsplit",
    "hstack",
    "meshgrid",
    "moveaxis",
    "pad",
    "ravel",
    "rearrange",
    "repeat",
    "reshape",
    "roll",
    "rot90",
    "select",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "take",
    "take_along_axis",
    "tile",
    "transpose",
    "tril",
    "triu",
    "unravel_index",
    "unstack",
    "vsplit",
    "vstack",
]

ravel = unary(jnp.ravel, "Return all elements in one axis, the last axis running fastest.")
fliplr = unary(jnp.fliplr, "Return the array with its second axis reversed.")
flipud = unary(jnp.flipud, "Return the array with its first axis reversed.")


@op
def reshape(x: Any, newshape: Any) -> Any:
    """Return the same elements in another shape; -1, or a single None, is what remains.

    With a -1 beside it, or with other Nones, a None keeps the size that x has at this place.
    """
    x = array(x)
    dims = tuple(newshape) if isinstance(newshape, (tuple, list)) else (newshape,)
    unknown = sum(dim is None for dim in dims)
    if unknown == 1 and not any(isinstance(dim, int) and dim == -1 for dim in dims):
        dims = tuple(-1 if dim is None else dim for dim in dims)
    elif unknown:
        dims = tuple(x.shape[axis] if dim is None else dim for axis, dim in enumerate(dims))
    return jnp.reshape(x, dims)


@op
def transpose(x: Any, axes: Any = None) -> Any:
    """Return the array with its axes in this order; None reverses them."""
    return jnp.transpose(array(x), axes)


@op
def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Return the array with axes moved to other places, the rest in their order."""
    return jnp.moveaxis(array(x), source, destination)


@op
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Return the array with two axes exchanged."""
    return jnp.swapaxes(array(x), axis1, axis2)


@op
def expand_dims(x: Any, axis: Any) -> Any:
    """Return the array with axes of size 1 put in at these places."""
    return jnp.expand_dims(array(x), as_axis(axis))


@op
def squeeze(x: Any, axis: Any = None) -> Any:
    """Return the array without its axes of size 1, or without the given ones of them."""
    x = array(x)
    ones = tuple(index for index, dim in enumerate(x.shape) if isinstance(dim, int) and dim == 1)
    return jnp.squeeze(x, ones if axis is None else as_axis(axis))


@op
def broadcast_to(x: Any, shape: Any) -> Any:
    """Return the array repeated along axes of size 1, and along new axes before the first, to this shape."""
    return jnp.broadcast_to(array(x), tuple(shape))


@op
def tile(x: Any, repeats: Any) -> Any:
    """Return copies of the whole array side by side along each axis."""
    return jnp.tile(array(x), repeats)


@op
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Return each element `repeats` times in a row; None flattens first."""
    known = isinstance(repeats, (list, tuple, np.ndarray))
    return jnp.repeat(array(x), np.asarray(repeats) if known else operand(repeats), axis)


@op
def flip(x: Any, axis: Any = None) -> Any:
    """Return the array reversed along all axes or the given ones."""
    return jnp.flip(array(x), as_axis(axis))


@op
def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """Return the elements moved along an axis; those that leave at the end come back at the start."""
    return jnp.roll(array(x), shift, as_axis(axis))


@op
def rot90(array: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """Return the array turned k times by 90 degrees, from the first of two axes towards the second."""
    return jnp.rot90(operand(array), k, tuple(axes))


@op
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Any:
    """Return the array with borders: one number, one pair, or one pair (before, after) for each axis."""
    x = array(x)
    if mode != "constant" and constant_values is not None:
        raise ArgumentError(f"constant_values belong to mode='constant', got mode={mode!r}.")
    if isinstance(pad_width, (list, tuple)):
        pad_width = tuple(tuple(pair) if isinstance(pair, (list, tuple)) else pair for pair in pad_width)
    if mode == "constant":
        return jnp.pad(x, pad_width, mode, constant_values=0 if constant_values is None else constant_values)
    return jnp.pad(x, pad_width, mode)


@op
def concatenate(xs: Any, axis: int = 0) -> Any:
    """Return arrays joined along an axis that they have."""
    return jnp.concatenate(arrays(xs), axis)


@op
def append(x1: Any, x2: Any, axis: int | None = None) -> Any:
    """Return x2 behind x1 along an axis; None flattens both."""
    return jnp.append(operand(x1), operand(x2), axis)


@op
def stack(x: Any, axis: int = 0) -> Any:
    """Return arrays of one shape joined along a new axis."""
    return jnp.stack(arrays(x), axis)


@op
def hstack(xs: Any) -> Any:
    """Return arrays joined along their second axis, vectors along their only one."""
    return jnp.hstack(arrays(xs))


@op
def vstack(xs: Any) -> Any:
    """Return arrays joined along their first axis, vectors as rows."""
    return jnp.vstack(arrays(xs))


@op
def dstack(xs: Any) -> Any:
    """Return arrays joined along their third axis, made where missing."""
    return jnp.dstack(arrays(xs))


def _cuts(indices_or_sections: Any) -> Any:
    return indices_or_sections if isinstance(indices_or_sections, int) else tuple(indices_or_sections)


@op
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Return a list of equal parts of an axis, so many or cut before these indices."""
    return list(jnp.split(array(x), _cuts(indices_or_sections), axis))


@op
def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Return a list of parts of an axis, whose sizes differ by one where they cannot be equal."""
    return list(jnp.array_split(array(x), _cuts(indices_or_sections), axis))


@op
def hsplit(x: Any, indices_or_sections: Any) -> Any:
    """Return a list of parts of the second axis, of a vector's only one."""
    return list(jnp.hsplit(array(x), _cuts(indices_or_sections)))


@op
def vsplit(x: Any, indices_or_sections: Any) -> Any:
    """Return a list of parts of the first axis."""
    return list(jnp.vsplit(array(x), _cuts(indices_or_sections)))


@op
def dsplit(x: Any, indices_or_sections: Any) -> Any:
    """Return a list of parts of the third axis."""
    return list(jnp.dsplit(array(x), _cuts(indices_or_sections)))


@op
def unstack(x: Any, num: int | None = None, axis: int = 0) -> Any:
    """Return the list of slices along an axis, which is gone in them."""
    x = array(x)
    if num is not None and num != x.shape[axis]:
        raise ShapeError(f"num must be the size of axis {axis}, {x.shape[axis]}, got {num}.")
    return [jax.lax.index_in_dim(x, index, axis, keepdims=False) for index in range(x.shape[axis])]


@op
def get_item(x: Any, key: Any) -> Any:
    """Return `x[key]`."""
    return array(x)[key]


@op
def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Return the slices of an axis at these indices; negative ones count from the end; None flattens."""
    return jnp.take(array(x), array(indices), axis, mode="fill")


@op
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Return, along an axis, the elements at indices of the same rank; None flattens first."""
    return jnp.take_along_axis(array(x), array(indices), axis, mode="fill")


@op
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """Return, element by element, the choice of the first condition that holds, else the default."""
    return jnp.select(arrays(condlist), [operand(choice) for choice in choicelist], operand(default))


@op
def diag(x: Any, k: int = 0) -> Any:
    """Return the k-th diagonal of a matrix, or the matrix with a vector as its k-th diagonal."""
    return jnp.diag(array(x), k)


@op
def diagflat(x: Any, k: int = 0) -> Any:
    """Return the matrix with all elements as its k-th diagonal."""
    return jnp.diagflat(array(x), k)


@op
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the diagonals of two axes as a last axis."""
    return jnp.diagonal(array(x), offset, axis1, axis2)


@op
def tril(x: Any, k: int = 0) -> Any:
    """Return the matrices with zeros above the k-th diagonal."""
    return jnp.tril(array(x), k)


@op
def triu(x: Any, k: int = 0) -> Any:
    """Return the matrices with zeros below the k-th diagonal."""
    return jnp.triu(array(x), k)


@op
def meshgrid(*x: Any, indexing: str = "xy") -> Any:
    """Return the coordinates of a grid, one array for each axis."""
    return list(jnp.meshgrid(*arrays(x), indexing=indexing))


@op
def unravel_index(indices: Any, shape: Any) -> Any:
    """Return the index along each axis of elements counted as in `ravel`."""
    return jnp.unravel_index(array(indices), tuple(shape))


@op
def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """Return the array with its axes split, moved and merged: `"b (h s) c -> b h (s c)"`, with s=2.

    >>> rearrange(jnp.zeros((2, 6, 3)), "b (h s) c -> b h (s c)", s=2).shape
    (2, 3, 6)
    """
    x = array(tensor)
    before, arrow, after = pattern.partition("->")
    if not arrow:
        raise ArgumentError(f"A pattern has two sides, got {pattern!r}.", mend='rearrange(x, "a b -> b a")')
    groups, targets = _groups(before), _groups(after)
    if len(groups) != x.ndim:
        raise ShapeError(f"The pattern {pattern!r} has {len(groups)} axes, the array {x.ndim}: {x.shape}.")
    sizes: dict[str, Any] = dict(axes_lengths)
    for group, size in zip(groups, x.shape, strict=True):
        _solve(group, size, sizes)
    names = [name for group in groups for name in group]
    wanted = [name for group in targets for name in group]
    if sorted(names) != sorted(wanted):
        raise ArgumentError(f"Both sides of {pattern!r} must hold the same axes.")
    x = jnp.transpose(x.reshape([sizes[name] for name in names]), [names.index(name) for name in wanted])
    return x.reshape([_product(sizes[name] for name in group) for group in targets])


def _groups(side: str) -> list[list[str]]:
    return [token.strip("()").split() for token in re.findall(r"\([^)]*\)|\S+", side)]


def _solve(group: list[str], size: Any, sizes: dict[str, Any]) -> None:
    missing = [name for name in group if name not in sizes]
    if len(missing) > 1:
        raise ArgumentError(f"Of the merged axes {group} one size may be left open, not {missing}.")
    known = _product(sizes[name] for name in group if name not in missing)
    if missing:
        sizes[missing[0]] = size // known


def _product(sizes: Any) -> Any:
    total: Any = 1
    for size in sizes:
        total = total * size
    return total
