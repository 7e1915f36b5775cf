"""What a layer expects of its input: rank, sizes of axes, dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lamella.core.axes import describe, is_symbolic
from lamella.core.errors import ShapeError


@dataclass
class InputSpec:
    """The rank and sizes that a layer's input must have; what is None may be anything.

    >>> InputSpec(min_ndim=2, axes={-1: 5}).mismatch((32, 10, 6), ("batch", "time", "features"))
    'expected features=5, received (batch=32, time=10, features=6)'
    """

    dtype: Any = None
    shape: tuple[int | None, ...] | None = None
    ndim: int | None = None
    max_ndim: int | None = None
    min_ndim: int | None = None
    axes: dict[int, int | None] | None = None
    allow_last_axis_squeeze: bool = False
    name: str | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if self.shape is not None:
            self.ndim = len(self.shape)
            self.axes = dict(enumerate(self.shape))
        self.axes = {int(axis): size for axis, size in (self.axes or {}).items()}

    def mismatch(self, shape: tuple[Any, ...], axis_names: tuple[str, ...] = ()) -> str | None:
        """Say how a shape differs from what is expected, or return None."""
        rank = len(shape)
        received = f"received {describe(shape, axis_names)}"
        if self.ndim is not None and rank != self.ndim:
            names = f" ({', '.join(axis_names)})" if len(axis_names) == self.ndim else ""
            return f"expected {self.ndim} axes{names}, {received} with {rank}"
        if self.min_ndim is not None and rank < self.min_ndim:
            return f"expected at least {self.min_ndim} axes, {received} with {rank}"
        if self.max_ndim is not None and rank > self.max_ndim:
            return f"expected at most {self.max_ndim} axes, {received} with {rank}"
        for axis, size in (self.axes or {}).items():
            if -rank <= axis < rank and size is not None and not is_symbolic(shape[axis]) and shape[axis] != size:
                label = axis_names[axis] if len(axis_names) == rank else describe(shape)[1:-1].split(", ")[axis]
                return f"expected {label.split('=')[0]}={size}, {received}"
        return None


def check(owner: str, specs: Any, arrays: list[Any], axis_names: tuple[str, ...], mend: str | None = None) -> None:
    """Raise a ShapeError if an input does not fit its spec."""
    given = specs if isinstance(specs, list | tuple) else [specs] * len(arrays)
    if len(given) != len(arrays):
        raise ShapeError(f"{owner} takes {len(given)} inputs, got {len(arrays)}.")
    for spec, array in zip(given, arrays, strict=True):
        wrong = spec.mismatch(tuple(array.shape), axis_names) if spec and hasattr(array, "shape") else None
        if wrong:
            raise ShapeError(f"{owner}: {wrong}.", mend=mend)
