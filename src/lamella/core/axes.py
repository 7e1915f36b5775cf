"""Axes: the batch symbol and its kin, exact shapes and their None form, and how a shape is printed.

An axis whose size is not known yet is a symbol of `jax.export`. There is one scope for the whole process,
one symbol for the batch, and a new symbol for each other unknown axis. `None` is only how a symbol is shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from jax import export

from lamella.core.errors import ArgumentError

Dim: TypeAlias = Any  # int, or a symbolic expression of jax.export
Shape: TypeAlias = tuple[int | None, ...]

_scope = export.SymbolicScope()
_numbers = itertools.count(1)


def symbol(name: str) -> Dim:
    """Return the symbol of this name; the same name is the same axis."""
    return export.symbolic_shape(name, scope=_scope)[0]


BATCH: Dim = symbol("batch")


def is_symbolic(dim: Dim) -> bool:
    """Tell whether an axis' size is not known yet."""
    return not isinstance(dim, int) and export.is_symbolic_dim(dim)


def bounded(limits: Sequence[str], dims: Iterable[Dim]) -> dict[Dim, Dim]:
    """Return for each symbol one of its name, in a scope of their own where sizes are known to keep to limits.

    >>> n = symbol("n")
    >>> bool(bounded(["n >= 4"], [n])[n] > 3)
    True
    """
    scope = export.SymbolicScope(limits)
    return {dim: export.symbolic_shape(str(dim), scope=scope)[0] for dim in dims}


def exact(shape: Iterable[Dim | None], *, batched: bool = True) -> tuple[Dim, ...]:
    """Replace each None by a symbol: the first axis' by the batch, each other by a new one.

    >>> exact((None, 28, 28))
    (batch, 28, 28)
    """
    dims: list[Dim] = []
    for index, dim in enumerate(shape):
        if dim is None:
            dims.append(BATCH if batched and index == 0 else symbol(f"n{next(_numbers)}"))
        else:
            dims.append(dim)
    return tuple(dims)


def shown(dims: Iterable[Dim]) -> Shape:
    """Replace each symbol by None.

    >>> shown((BATCH, 10, 5))
    (None, 10, 5)
    """
    return tuple(None if is_symbolic(dim) else int(dim) for dim in dims)


def as_shape(value: Any, argument: str = "shape") -> Shape:
    """Return a shape that a person gave, checked: a tuple or list of positive integers and None."""
    if isinstance(value, int):
        raise ArgumentError(
            f"{argument} must be a tuple, got the number {value}. A tuple of one element has a comma.",
            mend=f"{argument}=({value},)",
        )
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ArgumentError(f"{argument} must be a tuple of integers and None, got {value!r}.")
    for dim in value:
        if dim is not None and not is_symbolic(dim) and (isinstance(dim, bool) or int(dim) != dim or dim < 0):
            raise ArgumentError(f"{argument} must hold sizes of at least 0 or None, got {dim!r} in {value!r}.")
    return tuple(dim if dim is None or is_symbolic(dim) else int(dim) for dim in value)


_BY_RANK = {
    0: (),
    1: ("batch",),
    2: ("batch", "features"),
    3: ("batch", "time", "features"),
    4: ("batch", "rows", "cols", "channels"),
    5: ("batch", "depth", "rows", "cols", "channels"),
}
_SPATIAL = {1: ("steps",), 2: ("rows", "cols"), 3: ("depth", "rows", "cols")}


def names(rank: int) -> tuple[str, ...]:
    """Return the usual names of the axes of an array of this rank."""
    return _BY_RANK.get(rank) or ("batch", *(f"axis{i}" for i in range(1, rank)))


def spatial_names(rank: int, data_format: str) -> tuple[str, ...]:
    """Return the axes' names of images and their kin with `rank` spatial axes.

    >>> spatial_names(2, "channels_first")
    ('batch', 'channels', 'rows', 'cols')
    """
    middle = _SPATIAL[rank]
    return ("batch", *middle, "channels") if data_format == "channels_last" else ("batch", "channels", *middle)


def describe(shape: Iterable[Dim | None], axis_names: Sequence[str] | None = None) -> str:
    """Print a shape with its axes' names.

    >>> describe((32, 10, 5))
    '(batch=32, time=10, features=5)'
    >>> describe((None, 10, 5))
    '(batch, time=10, features=5)'
    """
    dims = list(shape)
    labels = axis_names if axis_names and len(axis_names) == len(dims) else names(len(dims))
    parts = [
        name if dim is None or is_symbolic(dim) else f"{name}={dim}" for name, dim in zip(labels, dims, strict=True)
    ]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
