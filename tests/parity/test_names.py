"""Every public name of Keras is there, with the same arguments, or is listed with the reason in docs/differences.md."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

import lamella

PAGE = Path(__file__).parents[2] / "docs" / "differences.md"
# Arguments of every layer, metric, loss and optimizer that are taken by keyword, whatever place Keras gives them.
BASE = {"name", "dtype", "trainable"}
# In Keras, folders of its source and of older versions, and not a part of the language.
INSIDE = {"src", "legacy", "keras"}


def namespaces(module: Any = keras, path: str = "keras") -> Iterator[tuple[str, Any]]:
    """Walk the public modules: (dotted name, module)."""
    yield path, module
    for name, thing in sorted(vars(module).items()):
        if isinstance(thing, types.ModuleType) and name[0] != "_" and name not in INSIDE:
            yield from namespaces(thing, f"{path}.{name}")


def names_in(module: Any) -> list[str]:
    public = (name for name in dir(module) if name[0] != "_")
    return [name for name in public if not isinstance(getattr(module, name), types.ModuleType)]


def counterpart(path: str) -> Any:
    """The module of lamella under the same name, or None."""
    found: Any = lamella
    for part in path.split(".")[1:]:
        found = getattr(found, part, None)
    return found


def rows(heading: str) -> list[tuple[str, list[str]]]:
    """The rows of a table on the page: what stands in the first cell, and the names in the second."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| `([\w.]+)` \| (.*?) \|", section, re.MULTILINE)
    return [(place, re.findall(r"`([\w.]+)`", names)) for place, names in cells]


def listed() -> set[tuple[str, str]]:
    return {(place, name) for place, names in rows("Names that are not there") for name in names}


SPACES = dict(namespaces())
LISTED = listed()
SIGNATURES = {f"{place}.{name}" for place, names in rows("Signatures that differ") for name in names}


def test_the_walk_meets_the_namespaces_of_keras() -> None:
    assert {"keras", "keras.layers", "keras.ops.numpy", "keras.optimizers.schedules", "keras.tree"} <= set(SPACES)


@pytest.mark.parametrize("path", SPACES)
def test_every_name_is_there_or_listed(path: str) -> None:
    ours = counterpart(path)
    whole = {name for place, name in LISTED if place == path} >= {"all"}
    missing = [n for n in names_in(SPACES[path]) if not hasattr(ours, n) and not whole and (path, n) not in LISTED]
    assert not missing, f"{path}: write these, or list them on the page of differences: {missing}"


@pytest.mark.parametrize(("path", "name"), sorted(LISTED))
def test_what_is_listed_is_not_there(path: str, name: str) -> None:
    assert path in SPACES, f"Keras has no {path}"
    if name == "all":
        assert counterpart(path) is None, f"lamella.{path} is there: list what is missing in it"
    else:
        assert name in names_in(SPACES[path]), f"Keras has no {path}.{name}"
        assert not hasattr(counterpart(path), name), f"{path}.{name} is there: take it off the list"


def parameters(thing: Any) -> tuple[list[tuple[str, Any]], bool]:
    """The named parameters with their defaults, and whether further keywords are taken."""
    signature = inspect.signature(thing)
    kinds = inspect.Parameter
    named = [
        (p.name, p.default)
        for p in signature.parameters.values()
        if p.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)
    ]
    return named, any(p.kind is kinds.VAR_KEYWORD for p in signature.parameters.values())


def alike(ours: Any, theirs: Any) -> bool:
    """Equal defaults; one number stands for a tuple of it, and a class or function for its namesake."""
    if isinstance(theirs, tuple) and not isinstance(ours, tuple):
        return all(alike(ours, item) for item in theirs)
    if getattr(theirs, "__name__", None) is not None:
        return theirs is ours or getattr(ours, "__name__", None) == theirs.__name__
    return bool(ours == theirs)


def difference(ours: Any, theirs: Any) -> str:
    """Say how the arguments differ: Keras's, in Keras's order and with its defaults, come first."""
    (own, catches), (wanted, _) = parameters(ours), parameters(theirs)
    own_names = {name for name, _ in own}
    if catches:
        wanted = [pair for pair in wanted if pair[0] not in BASE or pair[0] in own_names]
    own = [pair for pair in own if pair[0] not in BASE or pair[0] in dict(wanted)]
    first, rest = own[: len(wanted)], own[len(wanted) :]
    if [name for name, _ in first] != [name for name, _ in wanted]:
        return f"{[name for name, _ in own]} beside {[name for name, _ in wanted]}"
    if any(default is inspect.Parameter.empty for _, default in rest):
        return f"{rest} must be given"
    unequal = [(name, a, b) for (name, a), (_, b) in zip(first, wanted, strict=True) if not alike(a, b)]
    return f"defaults: {unequal}" if unequal else ""


def shared() -> list[tuple[str, str]]:
    return [
        (path, name)
        for path, module in SPACES.items()
        for name in names_in(module)
        if hasattr(counterpart(path), name) and callable(getattr(module, name))
    ]


@pytest.mark.parametrize("path", SPACES)
def test_arguments_are_keras_s(path: str) -> None:
    found = {}
    for place, name in shared():
        if place == path and f"{place}.{name}" not in SIGNATURES:
            different = difference(getattr(counterpart(path), name), getattr(SPACES[path], name))
            if different:
                found[name] = different
    assert not found, f"{path}: mend these, or list them on the page of differences: {found}"


@pytest.mark.parametrize("full", sorted(SIGNATURES))
def test_listed_signatures_differ(full: str) -> None:
    path, _, name = full.rpartition(".")
    assert difference(getattr(counterpart(path), name), getattr(SPACES[path], name)), f"{full} agrees: take it off"


def test_constants_are_keras_s() -> None:
    for path, module in SPACES.items():
        for name in names_in(module):
            theirs = getattr(module, name)
            if not callable(theirs) and hasattr(counterpart(path), name):
                assert getattr(counterpart(path), name) == theirs, f"{path}.{name}"
