"""Rules for gathering and scattering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lamella.batch.equation import Equation, RuleTable
from lamella.batch.values import CONSTANT, Value, tainted

rule = RuleTable()

SCATTERS = ["scatter", "scatter-add", "scatter-sub", "scatter-mul", "scatter-min", "scatter-max"]


@rule("gather", whole=True)
def gather(eq: Equation, ins: Sequence[Value]) -> Value:
    """Reading with indices; `x[arange(batch), i]` reads each sample's own row."""
    operand, indices = ins
    sources = [operand, replace(indices, rows=None) if _counted(eq, operand, indices) else indices]
    return tainted(eq.walk.by_kind(eq, ins, _gathered), sources)


def _counted(eq: Equation, operand: Value, indices: Value) -> bool:
    """Tell whether the index along the batch is each sample's own number."""
    numbers = eq.params["dimension_numbers"]
    read = numbers.start_index_map if eq.name == "gather" else numbers.scatter_dims_to_operand_dims
    if not operand.is_along or operand.axis not in read or (operand.outer, operand.inner) != (1, 1):
        return False
    return _counts(indices, tuple(read).index(operand.axis))


def _counts(indices: Value, column: int) -> bool:
    return indices.rows is not None and (indices.rows.columns is None or column in indices.rows.columns)


def _gathered(eq: Equation, ins: Sequence[Value]) -> Value:
    operand, indices = ins
    numbers = eq.params["dimension_numbers"]
    from_indices = [axis for axis in range(len(eq.out_shapes[0])) if axis not in numbers.offset_dims]
    if not operand.is_along:
        if indices.axis == len(eq.shapes[1]) - 1:
            return eq.mixed("crossed", indices.axis)
        return indices.moved(from_indices[indices.axis])
    axis = operand.axis
    if axis in numbers.operand_batching_dims:
        at = numbers.start_indices_batching_dims[numbers.operand_batching_dims.index(axis)]
        return _paired(eq, operand, indices, at, from_indices[at])
    if _counted(eq, operand, indices) and eq.params["slice_sizes"][axis] == 1 and indices.rows is not None:
        at = indices.rows.axis
        return _paired(eq, operand, indices, at, from_indices[at])
    if eq.params["slice_sizes"][axis] != eq.shapes[0][axis]:
        return eq.mixed("chosen", axis)
    if indices.is_along:
        return eq.mixed("all pairs", axis)
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    windows = [a for a in range(len(eq.shapes[0])) if a not in gone]
    return operand.moved(sorted(numbers.offset_dims)[windows.index(axis)])


def _paired(eq: Equation, value: Value, indices: Value, at: int, out: int) -> Value:
    """Samples of the array and of the indices meet one to one, or not."""
    if indices.is_along and indices.layout != (at, value.outer, value.inner):
        return eq.mixed("crossed", value.axis)
    return value.moved(out)


@rule(*SCATTERS, whole=True)
def scatter(eq: Equation, ins: Sequence[Value]) -> Value:
    """Writing with indices: each sample into its own part, or all into one."""
    operand, indices, updates = ins
    axis = _written_axis(eq, operand, indices, updates)
    counted = axis is not None and axis[2] == "counted"
    sources = [operand, replace(indices, rows=None) if counted else indices, updates]
    return tainted(eq.walk.by_kind(eq, ins, _scattered), sources)


def _places(eq: Equation) -> tuple[list[int], list[int]]:
    """Return the axes of the updates that run over indices, and those of the array that are written as windows."""
    numbers = eq.params["dimension_numbers"]
    over = [axis for axis in range(len(eq.shapes[2])) if axis not in numbers.update_window_dims]
    gone = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    return over, [axis for axis in range(len(eq.shapes[0])) if axis not in gone]


def _written_axis(eq: Equation, operand: Value, indices: Value, updates: Value) -> tuple[int, int, str] | None:
    """Return the array's axis that holds the samples, the updates' axis that goes with it, and how they meet."""
    numbers = eq.params["dimension_numbers"]
    over, windows = _places(eq)
    ways: list[tuple[int, int, str]] = []
    for axis, window in zip(windows, sorted(numbers.update_window_dims), strict=True):
        ways.append((axis, window, "window"))
    for axis, at in zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True):
        ways.append((axis, over[at], "batched"))
    for column, axis in enumerate(numbers.scatter_dims_to_operand_dims):
        if _counts(indices, column) and indices.rows is not None and axis in numbers.inserted_window_dims:
            ways.append((axis, over[indices.rows.axis], "counted"))
    for way in ways:
        if operand.is_along:
            if way[0] == operand.axis:
                return way
        elif updates.is_along:
            if way[1] == updates.axis:
                return way
        elif indices.is_along and way[2] != "window" and way[1] == over[indices.axis]:
            return way
    return None


def _scattered(eq: Equation, ins: Sequence[Value]) -> Value:
    operand, indices, updates = ins
    way = _written_axis(eq, operand, indices, updates)
    if way is None:
        if operand.is_along and not indices.is_along and not updates.is_along:
            # The same samples, by their numbers, get the same values whatever the others hold.
            return replace(operand.moved(operand.axis), uses=frozenset({"order", "size"}))
        return eq.mixed("scattered", then=operand if operand.is_along else CONSTANT)
    axis, source, how = way
    value = next(v for v in (operand, updates, indices) if v.is_along)
    over, _ = _places(eq)
    at: Any = over.index(source) if source in over else None
    for side, place in ((operand, axis), (updates, source), (indices, at)):
        if side.is_along and side.layout != (place, value.outer, value.inner):
            return eq.mixed("crossed", side.axis)
    if how == "window" and eq.shapes[0][axis] != eq.shapes[2][source]:
        return eq.doubtful("chosen at run time")
    if how == "counted" and (value.outer, value.inner) != (1, 1):
        return eq.mixed("crossed", axis)
    return value.moved(axis)
