"""Rules for primitives that move elements: reshapes, transpositions, slices, joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lamella.batch.equation import Equation, RuleTable
from lamella.batch.rules_elementwise import elementwise
from lamella.batch.values import CONSTANT, Dims, Rows, Value, along, product, quotient, tainted, uses_of
from lamella.core.axes import Dim

rule = RuleTable()


def after_removing(axis: int, removed: Sequence[int]) -> int:
    """Return an axis' number when other axes are gone."""
    return axis - sum(1 for gone in removed if gone < axis)


@rule("broadcast_in_dim", whole=True)
def broadcast(eq: Equation, ins: Sequence[Value]) -> Value:
    """Axes go where the parameters say."""
    value = ins[0]
    places = eq.params["broadcast_dimensions"]
    kept = replace(CONSTANT, known=value.known)
    if value.is_along:
        kept = replace(value.moved(places[value.axis]), known=value.known)
    elif not value.known and value.kind is not CONSTANT.kind:
        kept = replace(value, rows=None, known=None)
    rows = value.rows
    columns_stay = rows is not None and (rows.columns is None or places[-1:] == (len(eq.out_shapes[0]) - 1,))
    if rows is not None and columns_stay:
        return replace(tainted(kept, [replace(value, rows=None)]), rows=Rows(places[rows.axis], rows.columns))
    return tainted(kept, ins)


@rule("reshape")
def reshape(eq: Equation, ins: Sequence[Value]) -> Value:
    """Follow the samples through the order of elements in memory."""
    return _reshaped(eq, ins[0], eq.shapes[0], eq.out_shapes[0])


def _reshaped(eq: Equation, value: Value, old: Dims, new: Dims) -> Value:
    place = find_digit(value, old, new, eq.size)
    if place is not None:
        return place
    fixed = next((d for d in new[:1] if isinstance(d, int)), None) if not isinstance(eq.size, int) else None
    what = "fixed size" if fixed is not None else "folded"
    return eq.mixed(what, value.axis, detail=str(fixed if fixed is not None else new))


def find_digit(value: Value, old: Dims, new: Dims, size: Dim) -> Value | None:
    """Return where samples lie after a reshape, None if no axis separates them any more.

    In row-major order an element's number has the sample as one of its digits, worth `stride`. An axis of the new
    shape holds that digit if its own stride divides it and the size fits.
    """
    stride = value.inner * product(old[value.axis + 1 :])
    below: Dim = 1
    for axis in reversed(range(len(new))):
        inner = quotient(stride, below)
        if inner is not None:
            outer = quotient(new[axis], inner * size)
            if outer is not None:
                return along(axis, outer, inner)
        below = below * new[axis]
    return None


@rule("squeeze")
def squeeze(eq: Equation, ins: Sequence[Value]) -> Value:
    """Axes of size one go."""
    (value,) = ins
    return value.moved(after_removing(value.axis, eq.params["dimensions"]))


@rule("transpose")
def transpose(eq: Equation, ins: Sequence[Value]) -> Value:
    """Axes change places."""
    (value,) = ins
    return value.moved(tuple(eq.params["permutation"]).index(value.axis))


@rule("rev")
def reverse(eq: Equation, ins: Sequence[Value]) -> Value:
    """Reversing the batch gives each sample another's place."""
    (value,) = ins
    if value.axis in eq.params["dimensions"]:
        return eq.mixed("reordered", value.axis, then=value.moved(value.axis))
    return value.moved(value.axis)


@rule("concatenate", whole=True)
def concatenate(eq: Equation, ins: Sequence[Value]) -> Value:
    """Joining along another axis keeps samples apart; columns that count the samples stay known as such."""
    dimension = eq.params["dimension"]
    if dimension == len(eq.out_shapes[0]) - 1 and any(value.rows is not None for value in ins):
        return _with_columns(eq, ins)
    return tainted(eq.walk.by_kind(eq, ins, _concatenated), ins)


def _concatenated(eq: Equation, ins: Sequence[Value]) -> Value:
    value = elementwise(eq, ins)
    if value.is_along and value.axis == eq.params["dimension"]:
        return eq.mixed("joined", value.axis)
    return value


def _with_columns(eq: Equation, ins: Sequence[Value]) -> Value:
    joined = eq.walk.by_kind(eq, ins, _concatenated)
    axes = {value.rows.axis for value in ins if value.rows is not None}
    columns: set[int] = set()
    uses: frozenset[str] = frozenset()
    start: Any = 0
    for value, shape in zip(ins, eq.shapes, strict=True):
        width = shape[-1]
        if value.rows is not None and isinstance(width, int) and isinstance(start, int) and len(axes) == 1:
            inside = range(width) if value.rows.columns is None else value.rows.columns
            columns.update(start + column for column in inside)
            uses |= value.uses
        else:
            uses |= uses_of(value)
        start = start + width
    joined = tainted(joined, [replace(value, rows=None, uses=frozenset()) for value in ins])
    rows = Rows(axes.pop(), frozenset(columns)) if columns and len(axes) == 1 else None
    return replace(joined, rows=rows, uses=joined.uses | uses)


@rule("pad")
def pad(eq: Equation, ins: Sequence[Value]) -> Value:
    """Padding other axes keeps samples apart."""
    value, filler = ins
    if filler.is_along:
        return eq.mixed("crossed", filler.axis)
    if tuple(eq.params["padding_config"][value.axis]) != (0, 0, 0):
        return eq.mixed("joined", value.axis)
    return value.moved(value.axis)


@rule("slice")
def slicing(eq: Equation, ins: Sequence[Value]) -> Value:
    """A slice takes the whole batch, or some of its samples."""
    (value,) = ins
    axis = value.axis
    start, limit = eq.params["start_indices"][axis], eq.params["limit_indices"][axis]
    strides = eq.params["strides"]
    whole = start == 0 and limit == eq.shapes[0][axis] and (strides is None or strides[axis] == 1)
    return value.moved(axis) if whole else eq.mixed("chosen", value.axis)


@rule("split")
def split(eq: Equation, ins: Sequence[Value]) -> Value:
    """Each part has the whole batch, unless it is the batch that is split."""
    (value,) = ins
    return eq.mixed("chosen", value.axis) if value.axis == eq.params["axis"] else value.moved(value.axis)


@rule("tile")
def tile(eq: Equation, ins: Sequence[Value]) -> Value:
    """Repeating the batch as a whole joins it to itself; the samples keep their order in it."""
    (value,) = ins
    repeats: Dim = eq.params["reps"][value.axis]
    return Value(value.kind, value.axis, value.outer * repeats, value.inner)


@rule("broadcast_to")
def broadcast_to(eq: Equation, ins: Sequence[Value]) -> Value:
    """Axes are added in front."""
    (value,) = ins
    return value.moved(value.axis + len(eq.out_shapes[0]) - len(eq.shapes[0]))


@rule("stack")
def stack(eq: Equation, ins: Sequence[Value]) -> Value:
    """A new axis."""
    value = elementwise(eq, ins)
    return value.moved(value.axis + (eq.params["axis"] <= value.axis)) if value.is_along else value


@rule("unstack")
def unstack(eq: Equation, ins: Sequence[Value]) -> Value:
    """An axis goes."""
    (value,) = ins
    axis = eq.params["axis"]
    return eq.mixed("chosen", value.axis) if value.axis == axis else value.moved(after_removing(value.axis, [axis]))


@rule("dynamic_slice", whole=True)
def dynamic_slice(eq: Equation, ins: Sequence[Value]) -> Value:
    """Where the whole of an axis is taken, its start plays no part."""
    value, *starts = ins
    sizes = eq.params["slice_sizes"]
    moving = [start for start, taken, dim in zip(starts, sizes, eq.shapes[0], strict=False) if taken != dim]
    chosen = value.is_along and sizes[value.axis] != eq.shapes[0][value.axis]
    if chosen and starts[value.axis].known is not None:
        return tainted(eq.mixed("chosen", value.axis), [value, *moving])
    return tainted(eq.walk.by_kind(eq, [value, *moving], _window), [value, *moving])


def _window(eq: Equation, ins: Sequence[Value]) -> Value:
    value, *moving = ins
    if any(start.is_along for start in moving):
        return eq.mixed("crossed")
    if eq.params["slice_sizes"][value.axis] != eq.shapes[0][value.axis]:
        return eq.doubtful("chosen at run time")
    return value.moved(value.axis)


@rule("dynamic_update_slice", whole=True)
def dynamic_update_slice(eq: Equation, ins: Sequence[Value]) -> Value:
    """As `dynamic_slice`, and what is written has its samples where the array has them."""
    operand, update, *starts = ins
    old, new = eq.shapes[:2]
    moving = [start for start, taken, dim in zip(starts, new, old, strict=False) if taken != dim]
    return tainted(eq.walk.by_kind(eq, [operand, update, *moving], _written), [operand, update, *moving])


def _written(eq: Equation, ins: Sequence[Value]) -> Value:
    operand, update, *moving = ins
    if any(start.is_along for start in moving):
        return eq.mixed("crossed")
    value = elementwise(eq, [operand, update])
    if value.is_along and eq.shapes[0][value.axis] != eq.shapes[1][value.axis]:
        return eq.doubtful("chosen at run time")
    return value
