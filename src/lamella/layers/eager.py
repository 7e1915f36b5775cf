"""Eager calls of built-in layers: one compiled call each."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.core import Tracer

from lamella.core.calls import present_call
from lamella.core.masked import Masked, mask_of, value_of, with_mask
from lamella.core.structure import flatten, leaves_of, unflatten
from lamella.core.variable import Variable, discover, in_frame, places, pure, under_jit

if TYPE_CHECKING:
    from lamella.layers.layer import Layer

_KINDS = "biufcV"
_ONE_ARRAY = flatten(((0,), {}))[1]


def applies(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether a call may be compiled: a built-in layer on concrete arrays, outside of any pure call."""
    if len(args) == 1 and not kwargs and type(args[0]) is np.ndarray:
        concrete = args[0].dtype.kind in _KINDS
    else:
        arrays = [value for value in kwargs.values() if value is not None and not isinstance(value, bool)]
        concrete = bool(args) and all(map(_is_concrete, leaves_of((args, arrays))))
    return concrete and not in_frame() and compilable(layer) and not under_jit()


def _is_concrete(leaf: Any) -> bool:
    if isinstance(leaf, Masked):
        return _is_concrete(leaf.value) and _is_concrete(leaf.mask)
    if isinstance(leaf, np.ndarray):
        return leaf.dtype.kind in _KINDS
    return isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)


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
    """A layer's call compiled for one structure of arguments, with the variables it reads and writes."""

    def __init__(self, layer: Layer, tree: Any, modes: dict[str, Any], values: list[Any], masks: list[Any]) -> None:
        def run(values: list[Any], masks: list[Any]) -> tuple[list[Any], list[Any]]:
            args, kwargs = unflatten(tree, list(map(with_mask, values, masks)))
            leaves, self.structure = flatten(layer.run(args, {**kwargs, **modes}))
            return [value_of(leaf) for leaf in leaves], [mask_of(leaf) for leaf in leaves]

        self.reads, self.writes = discover(run, values, masks)
        positions = places(self.writes, self.reads)

        def call(variables: list[Any], values: list[Any], masks: list[Any]) -> tuple[Any, list[Any]]:
            out, new = pure(run, self.reads)(variables, values, masks)
            return out, [new[position] for position in positions]

        self.compiled = jax.jit(call)

    def __call__(self, values: list[Any], masks: list[Any]) -> Any:
        (outputs, marks), new = self.compiled([variable._value for variable in self.reads], values, masks)
        for variable, value in zip(self.writes, new, strict=True):
            variable._value = value
        return unflatten(self.structure, list(map(with_mask, outputs, marks)))


def call(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a layer through the program for these shapes and this mode, made on first use."""
    modes = {name: value for name, value in kwargs.items() if value is None or isinstance(value, bool)}
    outer = present_call()
    if outer is not None and modes.get("training") is None:
        modes["training"] = outer.training
    if len(args) == 1 and not kwargs and not isinstance(args[0], list | tuple | dict | Masked):
        tree, values, masks = _ONE_ARRAY, [args[0]], [None]
    else:
        leaves, tree = flatten((args, {name: value for name, value in kwargs.items() if name not in modes}))
        values, masks = [value_of(leaf) for leaf in leaves], [mask_of(leaf) for leaf in leaves]
    programs = _fresh_programs(layer)
    shapes = tuple((value.shape, value.dtype, mask is not None) for value, mask in zip(values, masks, strict=True))
    key = tree, shapes, tuple(modes.items())
    program = programs.get(key)
    if program is None:
        program = Program(layer, tree, modes, values, masks)
        # Building has just assigned attributes; what was compiled already knows them.
        programs["compilable"] = programs["snapshot"] = Snapshot(list(layer._flatten_layers()), True)
        programs[key] = program
    return program(values, masks)


def _fresh_programs(layer: Layer) -> dict[Any, Any]:
    """Return the layer's programs; none, if an attribute was assigned since they were made."""
    programs = layer._state.programs
    snapshot = programs["compilable"]
    if programs.get("snapshot") is not snapshot:
        programs.clear()
        programs.update(compilable=snapshot, snapshot=snapshot)
    return programs


def pure_call(layer: Layer, variables: list[Variable]) -> Any:
    """Return a layer's call as a pure function of the values of its variables."""
    return pure(lambda *args, **kwargs: layer(*args, **kwargs), variables)
