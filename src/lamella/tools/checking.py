"""`lamella check package.module:Name --input 10,5`: the proof from the command line."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import Any

from lamella.batch import check
from lamella.core.errors import ArgumentError, did_you_mean

_EXIT = {"independent": 0, "mixes": 1, "unknown": 2}


def run(chosen: argparse.Namespace) -> int:
    """Print the report; return 0 for independent, 1 for mixes, 2 for unknown."""
    shapes = [_shape(text) for text in chosen.input]
    target = _made(_found(chosen.target), _arguments(chosen.arguments))
    report = check(target, *shapes, training=chosen.training, mask=chosen.mask)
    print(report)
    return _EXIT[report.verdict]


def _shape(text: str) -> tuple[int | None, ...]:
    parts = [part.strip() for part in text.strip("()").split(",") if part.strip()]
    try:
        return tuple(None if part == "None" else int(part) for part in parts)
    except ValueError as error:
        raise ArgumentError(f"--input is numbers and None with commas between, got {text!r}.", mend="10,5") from error


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ArgumentError(f"--arguments is not JSON: {error}.", mend="--arguments '{\"units\": 3}'") from error
    if not isinstance(found, dict):
        raise ArgumentError("--arguments is a JSON object of names and values.", mend="--arguments '{\"units\": 3}'")
    return found


def _found(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon or not attribute:
        raise ArgumentError(f"The target is package.module:Name, got {name!r}.", mend="lamella.layers:Flatten")
    # As `python -m` does, so that a file in the present folder is found.
    sys.path.insert(0, "")
    try:
        owner = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ArgumentError(f"There is no module {module!r}: {error}.") from error
    finally:
        sys.path.remove("")
    for part in attribute.split("."):
        if not hasattr(owner, part):
            known = [known for known in dir(owner) if known[0] != "_"]
            raise ArgumentError(f"{module!r} has no {attribute!r}.{did_you_mean(part, known)[:300]}")
        owner = getattr(owner, part)
    return owner


def _made(target: Any, arguments: dict[str, Any]) -> Any:
    if isinstance(target, type):
        try:
            return target(**arguments)
        except TypeError as error:
            raise ArgumentError(
                f"{target.__name__} cannot be made with these arguments: {error}",
                mend="--arguments with those that it needs, as JSON",
            ) from error
    if arguments:
        raise ArgumentError(f"--arguments is for classes; {target!r} is made already.")
    return target
