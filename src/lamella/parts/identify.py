"""From what a person writes (a name, a class, a config, a function) to the thing that is meant."""

from __future__ import annotations

import inspect
from typing import Any

from lamella.core.config import custom_object, deserialize
from lamella.core.errors import ArgumentError
from lamella.core.registry import Registry


def find(identifier: Any, registry: Registry, module: str) -> Any:
    """Return the function or object meant: classes are instantiated, callables and None stay as they are."""
    if isinstance(identifier, str):
        found = _named(identifier, None, registry)
    elif isinstance(identifier, dict):
        found = _configured(identifier, registry, module)
    else:
        found = identifier
    if inspect.isclass(found):
        found = found()
    if found is None or callable(found):
        return found
    article = "An" if registry.kind[0] in "aeiou" else "A"
    raise ArgumentError(f"{article} {registry.kind} is a name, a config or a callable, got {identifier!r}.")


def _named(name: str, registered_name: str | None, registry: Registry) -> Any:
    found = custom_object(name, registered_name)
    return registry[name] if found is None else found


def _configured(config: dict[str, Any], registry: Registry, module: str) -> Any:
    if "class_name" not in config:
        raise ArgumentError(
            f"A config of {registry.kind} needs a class_name, got {config!r}.",
            mend='{"class_name": ..., "config": {...}}',
        )
    name, inner = config["class_name"], config.get("config") or {}
    if name == "function":
        return _named(str(inner), config.get("registered_name"), registry)
    if config.get("module") not in (None, "", module):
        return deserialize(config)
    found = _named(name, config.get("registered_name"), registry)
    return found.from_config(inner) if hasattr(found, "from_config") else found
