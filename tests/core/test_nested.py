"""`lamella.tree` beside `keras.tree`."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import lamella
from lamella import tree

Pair = namedtuple("Pair", ["x", "y"])

STRUCTURES: list[Any] = [
    3,
    None,
    "text",
    [],
    (),
    {},
    [1],
    [[1, 2], (3,), {"b": 4, "a": 5}],
    (1, [2, (3, {"z": [4], "y": None})]),
    OrderedDict([("b", 1), ("a", [2])]),
    defaultdict(list, {"b": 1, "a": (2, 3)}),
    deque([1, [2]]),
    Pair(1, [2, 3]),
    [np.ones(2), {"k": "s"}],
]


def same(ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    """Both answer the same, or both refuse."""
    try:
        wanted = theirs()
    except (ValueError, TypeError):
        with pytest.raises((ValueError, TypeError)):
            ours()
        return
    got = ours()
    assert type(got) is type(wanted) and repr(got) == repr(wanted)


@pytest.mark.parametrize("structure", STRUCTURES, ids=repr)
def test_one_structure(structure: Any) -> None:
    def order(library: Any, top_down: bool) -> Any:
        met: list[str] = []
        library.traverse(lambda x: met.append(repr(x)), structure, top_down=top_down)
        return met

    calls: list[Callable[[Any], Any]] = [
        lambda t: t.is_nested(structure),
        lambda t: t.flatten(structure),
        lambda t: t.flatten_with_path(structure),
        lambda t: t.map_structure(lambda x: (x, 1), structure),
        lambda t: t.map_structure(lambda x: 1, structure, none_is_leaf=False),
        lambda t: t.pack_sequence_as(structure, list(range(len(t.flatten(structure))))),
        lambda t: t.pack_sequence_as(structure, [1, 2, 3, 4, 5, 6, 7]),
        lambda t: t.lists_to_tuples(structure),
        lambda t: order(t, True),
        lambda t: order(t, False),
        lambda t: t.traverse(lambda x: t.MAP_TO_NONE if isinstance(x, int) else None, structure),
        lambda t: t.traverse(lambda x: 0 if isinstance(x, tuple) else None, structure, top_down=False),
    ]
    for call in calls:
        same(lambda call=call: call(tree), lambda call=call: call(keras.tree))  # type: ignore[misc]


@pytest.mark.parametrize("b", STRUCTURES, ids=repr)
@pytest.mark.parametrize("a", STRUCTURES, ids=repr)
def test_two_structures(a: Any, b: Any) -> None:
    def add(*pair: Any) -> str:
        return repr(pair)

    calls: list[Callable[[Any], Any]] = [lambda t: t.assert_same_structure(a, b), lambda t: t.map_structure(add, a, b)]
    if not any(
        leaf is None for leaf in tree.flatten(a)
    ):  # a None in the shallow structure is no leaf for Keras in this one function
        calls.append(lambda t: t.map_structure_up_to(a, add, b))
    for call in calls:
        same(lambda call=call: call(tree), lambda call=call: call(keras.tree))  # type: ignore[misc]
    if not isinstance(a, np.ndarray | str) and not isinstance(b, np.ndarray | str):
        same(lambda: tree.assert_same_paths(a, b), lambda: keras.tree.assert_same_paths(a, b))


def test_shapes_are_leaves() -> None:
    shapes = {"a": (None, 3), "b": [(1,), [2, 3]]}
    same(lambda: tree.map_shape_structure(len, shapes), lambda: keras.tree.map_shape_structure(len, shapes))


def test_variables_and_symbols_are_leaves() -> None:
    leaves = [lamella.Variable(1.0), lamella.Input((3,))]
    assert [a is b for a, b in zip(tree.flatten({"a": leaves}), leaves, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tree.map_structure(3, [1]), "takes a function first"),
        (lambda: tree.map_structure(len), "at least one structure"),
        (lambda: tree.map_structure_up_to([1], len), "at least one structure beside"),
        (lambda: tree.traverse(3, [1]), "takes a function first"),
        (lambda: tree.map_shape_structure(3, [1]), "takes a function first"),
        (lambda: tree.pack_sequence_as([1, 2], 3), "a list of leaves, got 3"),
        (lambda: tree.pack_sequence_as([1, 2], [3]), "2 leaves, flat_sequence 1"),
        (lambda: tree.map_structure(max, [1], (1,)), "not nested alike"),
        (lambda: tree.map_structure(max, [1], [[1]]), "not nested alike"),
        (lambda: tree.assert_same_paths({"a": 1}, {"b": 1}), "in one structure alone"),
    ],
)
def test_errors(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
