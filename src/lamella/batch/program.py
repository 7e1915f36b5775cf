"""A call, traced once with a batch of unknown size, and what the walk needs to know of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import jax

from lamella.core.axes import Dim
from lamella.core.calls import collecting
from lamella.core.masked import mask_of, value_of, with_mask
from lamella.core.structure import flatten, leaves_of, unflatten
from lamella.core.variable import Frame, abstract_values


@dataclass
class Program:
    """A traced call: its outputs come first, then the state that it writes, then the losses that it adds."""

    jaxpr: Any
    outputs: int
    state: list[str]
    layers: dict[str, Any]
    size: Dim


def trace_program(call: Callable[..., Any], arguments: list[Any], training: bool, size: Dim) -> Program:
    """Trace `call` on a structure of specs; weights keep their values as constants, state written is an output."""
    program = Program(None, 0, [], {}, size)

    leaves, tree = flatten(arguments)

    def traced(values: list[Any], masks: list[Any]) -> Any:
        with Frame() as frame, collecting(training) as context:
            outputs = leaves_of(call(*unflatten(tree, list(map(with_mask, values, masks)))))
        program.state = [variable.path for variable in frame.written.values()]
        program.layers = context.met
        kept = [value_of(leaf) for leaf in outputs] + [mask_of(leaf) for leaf in outputs]
        arrays = [leaf for leaf in kept if hasattr(leaf, "dtype")]
        program.outputs = len(arrays)
        return arrays, [frame.values[id(v)] for v in frame.written.values()], context.losses

    program.jaxpr = jax.make_jaxpr(traced)(list(map(value_of, leaves)), list(map(mask_of, leaves)))
    return program


def untouched(target: Any) -> tuple[Any, ExitStack]:
    """Return a layer to trace in place of one that is not built, and the context in which its weights cost nothing."""
    stack = ExitStack()
    if getattr(target, "built", True):
        return target, stack
    stack.enter_context(abstract_values())
    return copy.deepcopy(target), stack
