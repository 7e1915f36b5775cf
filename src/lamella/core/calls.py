"""The call that is running: its mode, its path in the model, and what its layers leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from lamella.core.errors import ArgumentError


@dataclass
class Call:
    """What a layer knows about the calls around it: the mode, the path in the model, losses and layers so far."""

    training: bool | None = None
    path: tuple[str, ...] = ()
    losses: list[Any] = field(default_factory=list)
    givers: list[Any] = field(default_factory=list)
    met: dict[str, Any] = field(default_factory=dict)
    listen: Callable[[tuple[str, ...], Any, dict[str, Any]], None] | None = None
    of_layer: bool = False

    def begins(self, layer: Any, arguments: dict[str, Any]) -> None:
        """Tell whoever listens which layer is called, where in the model and with which arguments."""
        if self.listen is not None:
            self.listen(self.path, layer, arguments)

    def leave(self, loss: Any, giver: Any) -> None:
        """Add a scalar of a layer's, the giver's, to the training loss."""
        self.losses.append(loss)
        self.givers.append(giver)


_call: ContextVar[Call | None] = ContextVar("lamella_call", default=None)


def present_call() -> Call | None:
    """Return the call that is running, or None outside of any layer."""
    return _call.get()


def inside_layer() -> bool:
    """Tell whether the present code runs in the call of a layer."""
    call = _call.get()
    return call is not None and call.of_layer


@contextmanager
def entering(layer: Any, training: bool | None) -> Iterator[Call]:
    """Run a layer's call inside the present one: one step deeper, the same losses, its name on what it computes."""
    outer = _call.get() or Call()
    inner = Call(training, (*outer.path, layer.name), outer.losses, outer.givers, outer.met, outer.listen, True)
    inner.met["/".join(inner.path)] = layer
    token = _call.set(inner)
    try:
        with jax.named_scope(layer.name):
            yield inner
    finally:
        _call.reset(token)


@contextmanager
def name_scope(name: str) -> Iterator[None]:
    """Put a name before the paths of the variables and layers that are made or built inside.

    >>> with name_scope("encoder"):
    ...     present_path()
    ('encoder',)
    """
    if not isinstance(name, str) or "/" in name:
        raise ArgumentError(f"A scope's name is a string without a slash, got {name!r}.")
    outer = _call.get() or Call()
    inner = replace(outer, path=(*outer.path, name))
    token = _call.set(inner)
    try:
        with jax.named_scope(name):
            yield
    finally:
        _call.reset(token)


def present_path() -> tuple[str, ...]:
    """Return the names of the scopes and layers that the present code runs in."""
    call = _call.get()
    return () if call is None else call.path


@contextmanager
def collecting(training: bool | None) -> Iterator[Call]:
    """Start a call from outside of any layer, as a training step does; yields it, to read losses and layers from."""
    call = Call(training)
    token = _call.set(call)
    try:
        yield call
    finally:
        _call.reset(token)


@contextmanager
def apart() -> Iterator[Call]:
    """Go on with the present call, with losses kept apart from its own; yields what is then the present one."""
    outer = _call.get() or Call()
    call = replace(outer, losses=[], givers=[])
    token = _call.set(call)
    try:
        yield call
    finally:
        _call.reset(token)
