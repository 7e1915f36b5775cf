"""One kind of table for every kind of named thing: activations, initializers, losses, metrics, ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from lamella.core.errors import UnknownNameError, did_you_mean

T = TypeVar("T")


class Registry:
    """A table from names to functions or classes of one kind.

    >>> shapes = Registry("shape")
    >>> @shapes.register("ring", "circle")
    ... def ring(): ...
    >>> shapes["circle"] is ring
    True
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, Any] = {}

    def register(self, *names: str) -> Callable[[T], T]:
        """Enter what is decorated under its own `__name__` and under `names`."""

        def enter(thing: T) -> T:
            for name in (getattr(thing, "__name__", ""), *names):
                self._things[name] = thing
            return thing

        return enter

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __getitem__(self, name: str) -> Any:
        if name not in self._things:
            raise UnknownNameError(f"Unknown {self.kind} {name!r}.{did_you_mean(name, self._things)}")
        return self._things[name]

    def name_of(self, thing: object) -> str | None:
        """Return the first name under which a thing was entered."""
        return next((name for name, known in self._things.items() if known is thing), None)
