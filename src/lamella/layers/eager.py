"""Eager calls of built-in layers: one compiled call each."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.core import Tracer

from lamella.core.calls import apart, inside_layer, present_call
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


def outermost() -> bool:
    """Tell whether a layer that is called now is called by a person's code, and not by a layer or a pure call."""
    return not (inside_layer() or in_frame() or under_jit())


def _is_concrete(leaf: Any) -> bool:
    if isinstance(leaf, Masked):
        return _is_concrete(leaf.value) and _is_concrete(leaf.mask)
    if isinstance(leaf, np.ndarray):
        return leaf.dtype.kind in _KINDS
    return isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)


def compilable(layer: Layer) -> bool:
    """Tell whether a layer and all layers in it are lamella's own: their calls have no effects that compiling hides."""
    return _snapshot(layer).answer


def forget_losses(layer: Layer) -> None:
    """Take away what a layer and those in it added to the loss in an earlier call."""
    _snapshot(layer).forget_losses()


def _snapshot(layer: Layer) -> Snapshot:
    known: Snapshot | None = layer._state.programs.get("compilable")
    if known is None or not known.fresh():
        layers = list(layer._flatten_layers())
        ours = all(type(inner).__module__.startswith("lamella.") for inner in layers)
        known = layer._state.programs["compilable"] = Snapshot(layers, ours)
    return known


class Snapshot:
    """What was decided about some layers, and their attributes at that time: stale as soon as one was reassigned."""

    def __init__(self, layers: list[Layer], answer: bool) -> None:
        self.answer = answer
        self._states = [layer._state for layer in layers]
        self._seen = [(vars(layer), tuple(vars(layer).values())) for layer in layers]

    def forget_losses(self) -> None:
        """Take away what the layers added to the loss in an earlier call."""
        for state in self._states:
            state.losses.clear()

    def fresh(self) -> bool:
        """Tell whether no attribute was assigned since."""
        return all(len(now) == len(then) and all(map(is_, now.values(), then)) for now, then in self._seen)


class Program:
    """A layer's call compiled for one structure of arguments, with the variables it reads and writes."""

    def __init__(self, layer: Layer, tree: Any, modes: dict[str, Any], values: list[Any], masks: list[Any]) -> None:
        def run(values: list[Any], masks: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
            args, kwargs = unflatten(tree, list(map(with_mask, values, masks)))
            with apart() as call:
                leaves, self.structure = flatten(layer.run(args, {**kwargs, **modes}))
            self.givers = call.givers
            return [value_of(leaf) for leaf in leaves], [mask_of(leaf) for leaf in leaves], call.losses

        self.reads, self.writes = discover(run, values, masks)
        positions = places(self.writes, self.reads)

        def call(variables: list[Any], values: list[Any], masks: list[Any]) -> tuple[Any, list[Any]]:
            out, new = pure(run, self.reads)(variables, values, masks)
            return out, [new[position] for position in positions]

        self.compiled = jax.jit(call)

    def __call__(self, values: list[Any], masks: list[Any]) -> Any:
        (outputs, marks, losses), new = self.compiled([variable._value for variable in self.reads], values, masks)
        for variable, value in zip(self.writes, new, strict=True):
            variable._value = value
        for giver, loss in zip(self.givers, losses, strict=True):
            giver.add_loss(loss)
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
    if not inside_layer():
        programs["snapshot"].forget_losses()
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
    """Return a layer's call as a pure function of the values of its variables: (outputs, losses), new values."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with apart():
            out = layer(*args, **kwargs)
            return out, layer.losses

    return pure(run, variables)
