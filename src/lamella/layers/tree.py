"""Finding things by walking attributes, lists, tuples and dicts included; nothing is registered anywhere."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, TypeVar

from lamella.core.config import deserialize

T = TypeVar("T")
_INTERNAL = ("_state", "_captured")
# What Keras's configs hold for a form of quantization that is not there: nothing, in all others.
_UNUSED = ("gptq_unpacked_column_size",)
_BASE = ("name", "trainable", "dtype")


def children(owner: Any, kind: type[T]) -> list[T]:
    """Return the things of a kind among an object's attributes, each once, in the order they were assigned.

    >>> class Box: ...
    >>> box = Box(); box.a, box.b = [1, (2,)], {"x": 3, "y": "four"}
    >>> children(box, int)
    [1, 2, 3]
    """
    found = {
        id(thing): thing for name, value in vars(owner).items() if name not in _INTERNAL for thing in _in(value, kind)
    }
    return list(found.values())


def _in(value: Any, kind: type[T]) -> Iterator[T]:
    if isinstance(value, kind):
        yield value
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _in(item, kind)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _in(item, kind)


def arguments_for(cls: type, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a config into what the constructor takes and what is set afterwards (name, trainable, dtype)."""
    values = {name: deserialize(value) for name, value in config.items() if name not in _UNUSED or value is not None}
    values.pop("build_config", None)
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return values, {}
    later = {name: values.pop(name) for name in _BASE if name in values and name not in parameters}
    return values, later
