"""JSON read with care: no key twice, no NaN, no depth or length without end."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
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


def objects_in(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object inside plain data with its place.

    >>> [place for place, _ in objects_in({"config": {"layers": [{"units": 3}]}})]
    ['', 'config', 'config.layers[0]']
    """
    # Iterators, one a level: a long list is walked, not copied.
    waiting = [iter([(place, value)])]
    while waiting:
        place, value = next(waiting[-1], (place, None))
        if value is None:
            waiting.pop()
            continue
        if isinstance(value, dict):
            yield place, value
        waiting.append(_inside(value, place))


def _inside(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        named = ((f"{place}.{key}" if place else str(key), item) for key, item in value.items())
        yield from (pair for pair in named if isinstance(pair[1], dict | list))
    elif isinstance(value, list):
        yield from ((f"{place}[{n}]", item) for n, item in enumerate(value) if isinstance(item, dict | list))


def write_json(value: Any) -> bytes:
    """Return JSON text for plain data; NaN and infinite numbers have no place in it."""
    try:
        return json.dumps(value, allow_nan=False).encode()
    except ValueError as error:
        raise FileFormatError(f"The config cannot be written: {error}; JSON has neither NaN nor infinity.") from error
