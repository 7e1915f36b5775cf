"""JSON read with care: no key twice, no NaN, no depth or length without end."""

from __future__ import annotations

import json
import math
from typing import Any

from lamella.core.errors import FileFormatError

# A model in a model in a model takes about ten levels for each.
_DEEPEST = 200


def read_json(data: bytes, name: str) -> Any:
    """Return what JSON text says; whatever two readers could take in different ways is refused.

    >>> read_json(b'{"units": 3}', "config.json")
    {'units': 3}
    """

    def refuse(finding: str) -> FileFormatError:
        return FileFormatError(f"{name!r} is not read: {finding}.")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            keys = [key for key, _ in items]
            raise refuse(f"it has the key {next(key for key in keys if keys.count(key) > 1)!r} twice in one place")
        return found

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise refuse(f"the number {text[:40]} is infinite")
        return value

    def constant(text: str) -> Any:
        raise refuse(f"it holds {text}, which is no number of JSON")

    try:
        found = json.loads(data.decode(), object_pairs_hook=pairs, parse_float=number, parse_constant=constant)
    except RecursionError:
        raise refuse("it is nested too deeply") from None
    except FileFormatError:
        raise
    except ValueError as error:
        raise refuse(f"it is no JSON, {error}") from None
    _check_depth(found, refuse(f"it is nested more than {_DEEPEST} levels deep"))
    return found


def _check_depth(value: Any, error: FileFormatError) -> None:
    layer = [value]
    for _ in range(_DEEPEST):
        layer = [item for holder in layer if isinstance(holder, dict | list) for item in _items(holder)]
        if not layer:
            return
    raise error


def _items(holder: Any) -> Any:
    return holder.values() if isinstance(holder, dict) else holder


def write_json(value: Any) -> bytes:
    """Return JSON text for plain data; NaN and infinite numbers have no place in it."""
    try:
        return json.dumps(value, allow_nan=False).encode()
    except ValueError as error:
        raise FileFormatError(f"The config cannot be written: {error}; JSON has neither NaN nor infinity.") from error
