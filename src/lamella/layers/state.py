"""What a layer keeps for itself, and the names that it does not give away."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any

from lamella.core.axes import as_shape
from lamella.core.calls import Call, entering, present_call
from lamella.core.config import fields_of
from lamella.core.errors import ArgumentError, ReservedNameError, caller
from lamella.core.variable import Variable, autocasting, values_at_once

_numbers = itertools.count()


class State:
    """What a layer keeps for itself, apart from the attributes that people see."""

    def __init__(self) -> None:
        self.name = ""
        # The later a layer was made, the larger.
        self.number = next(_numbers)
        self.path: str | None = None
        self.made_at = caller()
        self.built = False
        self.own: list[Variable] = []
        self.losses: list[Any] = []
        self.nodes: list[Any] = []
        self.programs: dict[Any, Any] = {}
        self.input_shapes: Any = None
        self.build_shapes: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles keep: neither calls nor programs, which belong to this layer in this process."""
        return {**vars(self), "losses": [], "nodes": [], "programs": {}}


def building(build: Callable[..., None]) -> Callable[..., None]:
    """Make a `build` method that computes real values in full precision, and says when it is done."""

    names = list(inspect.signature(build).parameters)[1:]

    @wraps(build)
    def wrapped(layer: Any, *args: Any, **kwargs: Any) -> None:
        around = present_call()
        # A `build` that goes on into that of its base is the same one.
        ongoing = around is not None and around.met.get("/".join(around.path)) is layer
        here: AbstractContextManager[Call] = nullcontext(around) if ongoing and around else entering(layer, None)
        with here as call, autocasting(None), values_at_once():
            layer._state.path = "/".join(call.path)
            if not layer.built:
                layer._change_mode(layer.quantization_mode)
            build(layer, *args, **kwargs)
        layer._state.built = True
        layer._state.build_shapes = dict(zip(names, args, strict=False)) | kwargs
        layer._name_weights(call.path)

    return wrapped


if TYPE_CHECKING:
    reserved = property
else:

    class reserved(property):
        """A property that says, when a subclass assigns to it, what to do instead."""

        def __set__(self, layer: Any, value: Any) -> None:
            name = self.fget.__name__
            other = f"{name}_" if not isinstance(value, Variable) else {"weights": "kernel"}.get(name, f"my_{name}")
            raise ReservedNameError(
                f"{type(layer).__name__} assigns self.{name}, which Layer itself uses: it is computed from the layer.",
                mend=f"self.{other} = ...",
            )


def first_shape(cls: type, kwargs: dict[str, Any]) -> Any:
    """Take `input_shape`, `input_dim`, `batch_shape` or `batch_input_shape` out of a first layer's arguments."""
    own = {field.name for field in fields_of(cls)}
    names = [name for name in ("input_shape", "input_dim", "batch_shape", "batch_input_shape") if name not in own]
    given = {name: kwargs.pop(name) for name in names if name in kwargs}
    kwargs.pop("input_length", None)
    batch_size = kwargs.pop("batch_size", None) if given else None
    if len(given) > 1:
        raise ArgumentError(f"{cls.__name__} got {' and '.join(given)}; one of them says it all.")
    for name, value in given.items():
        if name == "input_dim":
            return (batch_size, int(value))
        return as_shape(value, name) if name.startswith("batch") else (batch_size, *as_shape(value, name))
    return None
