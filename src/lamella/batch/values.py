"""The abstract values of the proof: what an array can know of the samples of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeAlias

from lamella.core.axes import Dim

Dims: TypeAlias = Sequence[Dim]


class Kind(Enum):
    """How the samples lie in an array."""

    CONSTANT = "depends on no sample"
    ALONG = "index j of one axis depends on one sample alone"
    SINGLE = "depends, as a whole, on the one sample that a loop over the batch has reached"
    LOST = "the samples cannot be told apart any more"


@dataclass(frozen=True)
class Value:
    """What is known of an array.

    With `Kind.ALONG`, index j of `axis` belongs to sample `(j // inner) % size`; the axis has `outer * size * inner`
    entries, so that a merged axis such as batch x time (inner=time) or time x batch (outer=time) keeps its samples.
    `mixed` and `doubtful` are the equations that mixed samples, or may have, on the way; after one of them the kind
    goes on as if nothing had happened, so that later places are found too.

    `uses` says what of the batch as a whole went in: its "size", the "order" of the samples, or "noise" drawn over it.
    `rows` marks integers that count the samples along `axis` (0, 1, 2, ...): all of them, or some columns of the last
    axis. `known` is the one number that a value holds, where tracing shows it.
    """

    kind: Kind = Kind.CONSTANT
    axis: int = -1
    outer: Dim = 1
    inner: Dim = 1
    mixed: frozenset[Any] = frozenset()
    doubtful: frozenset[Any] = frozenset()
    uses: frozenset[str] = frozenset()
    rows: Rows | None = None
    known: Any = None

    @property
    def layout(self) -> tuple[int, Dim, Dim]:
        """Where the samples lie."""
        return self.axis, self.outer, self.inner

    @property
    def is_along(self) -> bool:
        """Whether one axis separates the samples."""
        return self.kind is Kind.ALONG

    def moved(self, axis: int) -> Value:
        """Return the same samples along another axis, without marks on the numbers."""
        return Value(Kind.ALONG, axis, self.outer, self.inner)


@dataclass(frozen=True)
class Rows:
    """Integers that count the samples along `axis`: everywhere, or in these columns of the last axis."""

    axis: int
    columns: frozenset[int] | None = None


CONSTANT = Value()
LOST = Value(Kind.LOST)
SINGLE = Value(Kind.SINGLE)


def along(axis: int, outer: Dim = 1, inner: Dim = 1) -> Value:
    """Return the value of an array whose samples lie along an axis."""
    return Value(Kind.ALONG, axis, outer, inner)


def uses_of(value: Value) -> frozenset[str]:
    """Return what of the whole batch an array depends on; numbers that count the samples depend on their order."""
    return value.uses | {"order"} if value.rows is not None else value.uses


def tainted(value: Value, sources: Iterable[Value]) -> Value:
    """Return the value with all that its sources depend on."""
    mixed, doubtful, uses = value.mixed, value.doubtful, value.uses
    for source in sources:
        mixed, doubtful, uses = mixed | source.mixed, doubtful | source.doubtful, uses | uses_of(source)
    return replace(value, mixed=mixed, doubtful=doubtful, uses=uses)


def product(dims: Iterable[Dim]) -> Dim:
    """Multiply sizes, known or not."""
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def quotient(dim: Dim, by: Dim) -> Dim | None:
    """Return dim / by where that is exact, else None."""
    if isinstance(dim, int) and isinstance(by, int):
        return dim // by if by and dim % by == 0 else None
    if dim == by:
        return 1
    if isinstance(dim, int) or by == 0:
        return None
    exact = dim // by
    return exact if exact * by == dim else None
