"""How a layer's arguments, its input and its weights hang together, in short sentences made from the facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lamella.tools.explaining.facts import Tensor, Weight
from lamella.tools.explaining.probe import Findings, Knob


def relations(
    findings: Findings, inputs: Sequence[Tensor], outputs: Sequence[Tensor], weights: Sequence[Weight]
) -> tuple[str, ...]:
    """Say of every number what it is the size of, and what it is not in."""
    numbers: dict[str, list[Knob]] = {}
    for knob in findings.knobs.values():
        if knob.path:
            numbers.setdefault(_root(knob), []).append(knob)
    said = (sentence for group in numbers.values() for sentence in _number(group, findings.config, outputs, weights))
    axes = [knob for knob in findings.knobs.values() if knob.axes]
    return (*_work(inputs), *said, *_axes(axes, outputs, weights))


def how_to_give(shapes: Sequence[Sequence[int | None]], config: dict[str, Any] | None) -> tuple[str, ...]:
    """Say what to write for inputs of these shapes, of one sample, and what "dim" may mean."""
    if len(shapes) != 1:
        given = ", ".join(f"Input({_tuple(shape)})" for shape in shapes)
        return (f"What to write: {given}, the shapes of one sample, without the batch.",) if shapes else ()
    shape = shapes[0]
    given = f"Input({_tuple(shape)})" + (
        "" if config and "input_shape" in config else f", or input_shape={_tuple(shape)}"
    )
    axes = ", ".join(["batch_size", *map(str, shape)])
    lines = [f"What to write: {given}, the shape of one sample, without the batch. The data is ({axes})."]
    if len(shape) == 1:
        short = "" if config and "input_dim" in config else f" input_dim={shape[0]} says the same."
        lines.append(f"The comma in {_tuple(shape)} makes it a tuple; it is no second axis.{short}")
    if not shape:
        return tuple(lines)
    lines.append(
        f'"dim" has two meanings: the number of axes (here {len(shape) + 1}, with the batch), and the size of one '
        f"(here {'open' if shape[-1] is None else shape[-1]} for the last)."
    )
    return tuple(lines)


def _work(inputs: Sequence[Tensor]) -> Iterator[str]:
    for tensor in inputs:
        of = f" of {tensor.label}" if len(inputs) > 1 else ""
        worked = [axis.name for axis in tensor.axes if axis.fate == "worked on"]
        alone = [axis.name for axis in tensor.axes if axis.fate == "left alone"]
        merged = [axis for axis in tensor.axes if axis.fate == "merged"]
        if worked:
            rest = f" and leaves {_list(alone)} alone" if alone else ""
            flat = "; nothing is flattened" if len(alone) > 1 and not merged else ""
            yield f"The layer works on {_list(worked)}{of}{rest}{flat}."
        elif not merged and alone:
            yield f"The layer leaves every axis{of} alone: each number is treated by itself."
        together = [axis.name for axis in merged if sum(other.output == axis.output for other in merged) > 1]
        if together:
            yield f"{_list(together)}{of} are laid into one axis; no number is changed by that."


def _number(knobs: Sequence[Knob], config: Any, outputs: Sequence[Tensor], weights: Sequence[Weight]) -> Iterator[str]:
    """Say what an argument of the layer, one number or several, is the size of."""
    names = [knob.name for knob in knobs]
    said = [*_in_outputs(names, outputs), *_in_weights(names, weights)]
    if said:
        yield f"{_root(knobs[0])}={_value(config, knobs[0])} {', and '.join(said)}."


def _root(knob: Knob) -> str:
    return knob.name.partition("[")[0] if knob.name.endswith("]") else knob.name


def _value(config: Any, knob: Knob) -> str:
    """Return the whole argument that a number is in, as a person writes it."""
    value = config
    for key in knob.path[: len(knob.path) - knob.name[knob.name.rfind(".") + 1 :].count("[")]:
        value = value[key]
    return str(value).replace("[", "(").replace("]", ")")


def _in_outputs(names: Sequence[str], outputs: Sequence[Tensor]) -> Iterator[str]:
    where = [f"of {t.label}" if len(outputs) > 1 else "of the output" for t in outputs]
    found = [
        (axis, formula, tensor, of)
        for tensor, of in zip(outputs, where, strict=True)
        for axis, formula in enumerate(tensor.formulas)
        if set(names) & set(formula.names)
    ]
    plain = [
        f"axis {axis} {of}{', the last' if axis == len(tensor.axes) - 1 else ''}"
        for axis, formula, tensor, of in found
        if str(formula) in names
    ]
    other: dict[str, list[str]] = {}
    for axis, formula, _, of in found:
        if str(formula) not in names:
            other.setdefault(of, []).append(str(axis))
    if plain:
        yield f"is the size of {_list(plain)}"
    if other:
        places = [f"{'axis' if len(axes) == 1 else 'axes'} {_list(axes)} {of}" for of, axes in other.items()]
        yield f"is in the size of {_list(places)}"


def _in_weights(names: Sequence[str], weights: Sequence[Weight]) -> Iterator[str]:
    by_formula: dict[str, list[str]] = {}
    for weight in weights:
        for formula in weight.formulas:
            if set(names) & set(formula.names):
                key = "" if str(formula) in names else str(formula) if formula.known else "a size"
                by_formula.setdefault(key, []).append(weight.name)
    for text, found in sorted(by_formula.items()):
        unique = list(dict.fromkeys(found))
        plain = "is an axis" if len(names) == 1 else "are axes"
        yield f"{f'sets {text}, an axis' if text else plain} of {_list(unique)}"


def _axes(knobs: Sequence[Knob], outputs: Sequence[Tensor], weights: Sequence[Weight]) -> Iterator[str]:
    """Say which weights the sizes of the input's axes are in."""
    free = []
    for knob in knobs:
        used = list(_in_weights([knob.name], weights))
        if knob.name == "batch_size":
            yield _batch(used, outputs, weights)
        elif used:
            yield f"{knob.name}={knob.value} comes with the input: it {', and '.join(used)}, and cannot change later."
        elif weights:
            free.append(f"{knob.name}={knob.value}")
    if free:
        verb, its = ("is", "any other size") if len(free) == 1 else ("are", "other sizes")
        yield f"{_list(free)} {verb} in no weight: the same weights serve {its}."


def _batch(used: Sequence[str], outputs: Sequence[Tensor], weights: Sequence[Weight]) -> str:
    places = {axis for t in outputs for axis, formula in enumerate(t.formulas) if "batch_size" in formula.names}
    if used:
        return f"batch_size {', and '.join(used)}: the layer is made for one number of samples."
    where = "is in no weight" if weights else "sets nothing here"
    if places - {0}:
        return f"batch_size {where}, but in axes {_list([str(axis) for axis in sorted(places)])} of the output."
    return f"batch_size {where}: any number of samples goes in{', and as many come out' if places else ''}."


def _list(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0] if words else ""


def _tuple(shape: Sequence[int | None]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
