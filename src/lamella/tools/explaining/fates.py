"""What becomes of each axis of an input: the walk of the proof, following one axis after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from lamella.batch.program import Program, trace_program
from lamella.batch.values import CONSTANT, Value, along
from lamella.batch.walk import Walk
from lamella.core.variable import abstract_values
from lamella.tools.explaining.facts import Axis
from lamella.tools.explaining.probe import Knob, Leaf, Probe, quietly

_WORDS = {
    "reduced": "one number is made of all of it",
    "contracted": "multiplied and summed over",
    "all pairs": "each place meets each other one",
    "crossed": "it meets another axis",
    "folded": "folded into another axis",
    "reordered": "put in another order",
    "accumulated": "each place gets something of those before it",
    "joined": "more places are put before or after",
    "chosen": "some of its places are taken",
    "chosen at run time": "places are taken by number",
    "windowed": "a window slides along it",
    "transformed": "treated as a whole",
    "scattered": "places are written by number",
    "carried": "gone through step by step, each step knows those before",
    "looped": "a loop looks at all of it",
    "fixed size": "its size is written into the code",
}


def programs(probe: Probe, knobs: Sequence[Knob]) -> dict[tuple[int, int], Program | None]:
    """Return a traced program for each (leaf, axis): one for all, but for axes of size 1 one in which they are longer.

    An axis of one place could be anything: in a product or a sum it is not seen.
    """
    whole = traced(probe, probe.config, probe.specs)
    found: dict[tuple[int, int], Program | None] = {}
    for i, spec in enumerate(probe.specs):
        for axis, size in enumerate(spec.shape):
            knob = next((knob for knob in knobs if (i, axis) in knob.axes), None) if size == 1 else None
            longer = None
            if knob is not None:
                value = next(v for v in (2, 3, 4) if probe.at([(knob, v)]) is not None or v == 4)
                longer = traced(probe, *probe.turned([(knob, value)]))
            found[i, axis] = longer or whole
    return found


def traced(probe: Probe, config: Any, specs: Sequence[Any]) -> Program | None:
    """Return the program of the call with this config and these inputs, or None if they do not go together."""

    def call(*leaves: Any) -> list[Any]:
        return probe.call(probe.make(config), leaves)

    try:
        with quietly(), abstract_values():
            return trace_program(call, list(specs), False, 0)
    except Exception:
        return None


def axes_of(leaf: Leaf, number: int, programs: dict[tuple[int, int], Program | None]) -> tuple[Axis, ...]:
    """Return the axes of one input with what becomes of them."""
    return tuple(
        Axis(name, size, *_fate(programs[number, axis], number, axis))
        for axis, (name, size) in enumerate(zip(leaf.names, leaf.spec.shape, strict=True))
    )


def _fate(program: Program | None, leaf: int, axis: int) -> tuple[str, str, int | None]:
    if program is None:
        return "unknown", "the call could not be traced", None
    jaxpr = program.jaxpr.jaxpr
    ins = [along(axis) if i == leaf else CONSTANT for i in range(len(jaxpr.invars))]
    size = jaxpr.invars[leaf].aval.shape[axis]
    outputs = Walk(size).run(jaxpr, [CONSTANT] * len(jaxpr.constvars), ins)[: program.outputs]
    return _judged(outputs)


def _judged(outputs: Sequence[Value]) -> tuple[str, str, int | None]:
    sites = sorted({site for value in outputs for site in value.mixed}, key=lambda site: site.number)
    if sites:
        told = dict.fromkeys(_WORDS.get(site.reason.what, "its places are brought together") for site in sites)
        return "worked on", "; ".join(told), None
    doubts = {site.reason.what for value in outputs for site in value.doubtful}
    if doubts:
        grouped = doubts == {"grouped"}
        return "unknown", "its places meet within groups" if grouped else "an operation on it has no rule", None
    kept = next((value for value in outputs if value.is_along), None)
    if kept is None:
        return "not used", "no output depends on it", None
    if (kept.outer, kept.inner) != (1, 1):
        return "merged", "", kept.axis
    return "left alone", "", kept.axis


def holds_ids(program: Program, leaf: int) -> bool:
    """Tell whether an input is made integers before anything else is done with it: ids, not measurements."""
    variable = program.jaxpr.jaxpr.invars[leaf]
    uses = [eqn for eqn in program.jaxpr.jaxpr.eqns if variable in eqn.invars]
    return bool(uses) and all(
        eqn.primitive.name == "convert_element_type" and jnp.issubdtype(eqn.params["new_dtype"], jnp.integer)
        for eqn in uses
    )
