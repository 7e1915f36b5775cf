"""Eager calls of built-in layers: one compiled call each."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.core import Tracer

from lamella.core.masked import mask_of, value_of, with_mask
from lamella.core.structure import flatten, unflatten
from lamella.core.variable import Variable, discover, in_frame, places, pure, under_jit
from lamella.layers import calling

if TYPE_CHECKING:
    from lamella.layers.layer import Layer


def applies(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether a call may be compiled: a built-in layer on one concrete array, outside of any pure call."""
    if len(args) != 1 or (kwargs and tuple(kwargs) != ("training",)):
        return False
    x = args[0]
    if not (
        (type(x) is np.ndarray and x.dtype.kind in "biufcV") or (isinstance(x, jax.Array) and not isinstance(x, Tracer))
    ):
        return False
    return not in_frame() and compilable(layer) and not under_jit()


def compilable(layer: Layer) -> bool:
    """Tell whether a layer and all layers in it are lamella's own: their calls have no effects that compiling hides."""
    known = layer._state.programs.get("compilable")
    if known is None or not known.fresh():
        layers = list(layer._flatten_layers())
        ours = all(type(inner).__module__.startswith("lamella.") for inner in layers)
        plain = all(inner.activity_regularizer is None for inner in layers)
        known = layer._state.programs["compilable"] = Snapshot(layers, ours and plain)
    return known.answer


class Snapshot:
    """What was decided about some layers, and their attributes at that time: stale as soon as one was reassigned."""

    def __init__(self, layers: list[Layer], answer: bool) -> None:
        self.answer = answer
        self._seen = [(vars(layer), tuple(vars(layer).values())) for layer in layers]

    def fresh(self) -> bool:
        """Tell whether no attribute was assigned since."""
        return all(len(now) == len(then) and all(map(is_, now.values(), then)) for now, then in self._seen)


class Program:
    """A layer's call compiled for one shape and mode, with the variables it reads and writes."""

    def __init__(self, layer: Layer, x: Any, training: bool | None) -> None:
        def run(x: Any) -> tuple[list[Any], list[Any]]:
            leaves, self.structure = flatten(layer.run((x,), {"training": training}))
            return [value_of(leaf) for leaf in leaves], [mask_of(leaf) for leaf in leaves]

        self.reads, self.writes = discover(run, x)
        positions = places(self.writes, self.reads)

        def call(values: list[Any], x: Any) -> tuple[Any, list[Any]]:
            out, new = pure(run, self.reads)(values, x)
            return out, [new[position] for position in positions]

        self.compiled = jax.jit(call)

    def __call__(self, x: Any) -> Any:
        (values, masks), new = self.compiled([variable._value for variable in self.reads], x)
        for variable, value in zip(self.writes, new, strict=True):
            variable._value = value
        leaves = [with_mask(value, mask) for value, mask in zip(values, masks, strict=True)]
        return unflatten(self.structure, leaves)


def call(layer: Layer, x: Any, training: bool | None) -> Any:
    """Call a layer through the program for this shape and mode, made on first use."""
    if training is None:
        outer = calling.present_call()
        training = None if outer is None else outer.training
    programs = layer._state.programs
    snapshot = programs["compilable"]
    if programs.get("snapshot") is not snapshot:
        programs.clear()
        programs.update(compilable=snapshot, snapshot=snapshot)
    key = x.shape, x.dtype, training
    program = programs.get(key)
    if program is None:
        program = Program(layer, x, training)
        # Building has just assigned attributes; what was compiled already knows them.
        programs["compilable"] = programs["snapshot"] = Snapshot(list(layer._flatten_layers()), True)
        programs[key] = program
    return program(x)


def pure_call(layer: Layer, variables: list[Variable]) -> Any:
    """Return a layer's call as a pure function of the values of its variables."""
    return pure(lambda *args, **kwargs: layer(*args, **kwargs), variables)
