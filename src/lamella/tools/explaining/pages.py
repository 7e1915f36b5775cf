"""How facts about layers read: as text for the terminal, as HTML for notebooks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from html import escape

from lamella.models.summary import in_bytes
from lamella.tools.explaining.facts import Axis, LayerFacts, Tensor, Weight

COUNTED = (
    "FLOPs: a multiplication and the addition after it are two; any other number that is computed is one; "
    "for one sample, in inference."
)
ENDLESS = "A loop whose length is not known before it runs was counted once."


def as_text(facts: LayerFacts, how_to_give: Sequence[str], assumed: int | None) -> str:
    """Return the whole explanation as text."""
    notes = _wrapped(_notes(facts, how_to_give, assumed), "  ")
    return "\n".join([*_section(facts, ""), *([""] if facts.sections else []), *notes])


def _wrapped(lines: Sequence[str], indent: str) -> Iterator[str]:
    for line in lines:
        yield from textwrap.wrap(line, 100, initial_indent=indent, subsequent_indent=indent + "  ")


def _notes(facts: LayerFacts, how_to_give: Sequence[str], assumed: int | None) -> list[str]:
    """Say what holds for the whole page."""
    notes = [*how_to_give, COUNTED]
    if any(section.endless for section in _all(facts)):
        notes.append(ENDLESS)
    if assumed is not None:
        notes.append(f"Axes given as None were taken to have {assumed} places.")
    return notes


def _all(facts: LayerFacts) -> Iterator[LayerFacts]:
    yield facts
    for section in facts.sections:
        yield from _all(section)


def _section(facts: LayerFacts, indent: str) -> Iterator[str]:
    yield f"{indent}{facts.path}  {facts.kind}{_called_again(facts)}"
    inner = indent + "  "
    rows = [("in", tensor) for tensor in facts.inputs] + [("out", tensor) for tensor in facts.outputs]
    for label, tensor in rows:
        name = f"  ({tensor.label})" if sum(label == other for other, _ in rows) > 1 else ""
        yield f"{inner}{label:<4}{_named(tensor)} {tensor.dtype}{name}"
    yield from _aligned(_size_rows(facts), inner)
    yield from _aligned(_axis_rows(facts), inner)
    yield from _aligned(_weight_rows(facts), inner)
    yield f"{inner}{_costs(facts)}"
    yield from _wrapped(facts.relations, inner)
    for section in facts.sections:
        yield ""
        yield from _section(section, inner)
    if facts.sections:
        yield ""
        yield f"{inner}{facts.path} in all: {_costs(facts)}"
        yield from (f"{inner}{line}" for line in [_outside(facts)] if line)


def _called_again(facts: LayerFacts) -> str:
    return ", called again: the same weights" if facts.again and facts.weights else ""


def _outside(facts: LayerFacts) -> str:
    rest = facts.flops - sum(section.flops for section in facts.sections)
    return f"{rest:,} of the FLOPs are outside of these layers." if rest > 0 else ""


def _axis_rows(facts: LayerFacts) -> list[tuple[str, ...]]:
    several = len(facts.inputs) > 1
    return [
        (f"{tensor.label}.{axis.name}" if several else axis.name, fate_of(axis, facts))
        for tensor in facts.inputs
        for axis in tensor.axes
    ]


def _size_rows(facts: LayerFacts) -> list[tuple[str, ...]]:
    """The formulas of the outputs' sizes that are neither a name's own nor a number."""
    return [
        (f"{axis.name if i else 'batch'} out", f"= {formula} = {axis.size}")
        for tensor in facts.outputs[:1]
        for i, (axis, formula) in enumerate(zip(tensor.axes, tensor.formulas, strict=True))
        if formula.names and str(formula) not in (*formula.names, str(axis.size))
    ]


def fate_of(axis: Axis, facts: LayerFacts) -> str:
    """Say what becomes of an axis of an input."""
    if axis.fate == "left alone":
        moved = f": comes out as axis {axis.output}" if axis.output is not None else ""
        return f"left alone{moved}"
    if axis.fate == "merged":
        formulas = facts.outputs[0].formulas if facts.outputs else ()
        size = formulas[axis.output] if axis.output is not None and axis.output < len(formulas) else None
        made = f" ({size})" if size is not None and size.known and size.names else ""
        return f"kept apart, in axis {axis.output} of the output{made}"
    return f"{axis.fate}: {axis.how}"


def _weight_rows(facts: LayerFacts) -> list[tuple[str, ...]]:
    """The weights; of a model those that are in none of its layers, for each of these has its own section."""
    own = [weight for weight in facts.weights if not facts.sections or "/" not in weight.name]
    return [_weight_row(weight) for weight in own]


def _weight_row(weight: Weight) -> tuple[str, ...]:
    formula = _tuple([str(formula) for formula in weight.formulas])
    shape = _tuple([str(size) for size in weight.shape])
    kept = "" if weight.trainable else "not trained"
    return weight.name, formula if formula == shape else f"{formula} = {shape}", f"{weight.size:,} parameters", kept


def _costs(facts: LayerFacts) -> str:
    kept = facts.parameters - facts.trainable
    parameters = f"{facts.parameters:,} parameters" + (f" ({kept:,} not trained)" if kept else "")
    what = "activations" if facts.sections else "output"
    return f"{parameters}; per sample {facts.flops:,} FLOPs, {in_bytes(facts.activation_bytes)} of {what}"


def _named(tensor: Tensor) -> str:
    parts = [
        axis.name if i == 0 and axis.name == "batch" else f"{axis.name}={axis.size}"
        for i, axis in enumerate(tensor.axes)
    ]
    return _tuple(parts)


def _tuple(parts: Sequence[str]) -> str:
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _aligned(rows: Sequence[tuple[str, ...]], indent: str) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield f"{indent}  {'  '.join(cells)}".rstrip()


def as_html(facts: LayerFacts, how_to_give: Sequence[str], assumed: int | None) -> str:
    """Return the whole explanation as HTML; every text in it is escaped."""
    return _html_section(facts) + _paragraphs(_notes(facts, how_to_give, assumed))


def _html_section(facts: LayerFacts) -> str:
    shapes = [(f"in {t.label}", f"{_named(t)} {t.dtype}") for t in facts.inputs]
    shapes += [(f"out {t.label}", f"{_named(t)} {t.dtype}") for t in facts.outputs]
    inside = "".join(_html_section(section) for section in facts.sections)
    total = f"{facts.path} in all: {_costs(facts)}" if facts.sections else ""
    return (
        f"<details open><summary><b>{escape(facts.path)}</b> {escape(facts.kind + _called_again(facts))}</summary>"
        '<div style="margin-left:1em">'
        + _table([*shapes, *_size_rows(facts), *_axis_rows(facts)])
        + _table(_weight_rows(facts))
        + _paragraphs([_costs(facts), *facts.relations])
        + inside
        + _paragraphs([line for line in (total, _outside(facts) if facts.sections else "") if line])
        + "</div></details>"
    )


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    cells = ("".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>" if rows else ""


def _paragraphs(lines: Sequence[str]) -> str:
    return f"<p>{'<br>'.join(map(escape, lines))}</p>" if lines else ""
