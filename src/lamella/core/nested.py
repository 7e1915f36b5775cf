"""Nested Python containers as Keras sees them: lists, tuples, named tuples, dicts and deques; all else is a leaf.

Dicts are walked in the order of their sorted keys, ordered dicts in their own order. None is a leaf.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from lamella.core.errors import ArgumentError, ShapeError

Path: TypeAlias = tuple[Any, ...]
_DICTS = (dict, OrderedDict, defaultdict)


class MAP_TO_NONE:
    """What a function given to `traverse` returns to put None in the place of what it was called on."""


def is_nested(structure: Any) -> bool:
    """Tell whether a thing is a container.

    >>> is_nested([]), is_nested({"a": 1}), is_nested("text"), is_nested(None)
    (True, True, False, False)
    """
    return type(structure) in (list, tuple, deque, *_DICTS) or _is_named(structure)


def _is_named(structure: Any) -> bool:
    return isinstance(structure, tuple) and hasattr(structure, "_fields")


def _keys(structure: Any) -> list[Any]:
    if type(structure) not in _DICTS:
        return list(range(len(structure)))
    return list(structure) if type(structure) is OrderedDict else sorted(structure)


def _children(structure: Any) -> list[Any]:
    return [structure[key] for key in _keys(structure)]


def _rebuilt(structure: Any, children: Sequence[Any]) -> Any:
    """Return a container of the same kind with other children, given in the order of the walk."""
    if _is_named(structure):
        return type(structure)(*children)
    if type(structure) is deque:
        return deque(children, structure.maxlen)
    if type(structure) not in _DICTS:
        return type(structure)(children)
    found = dict(zip(_keys(structure), children, strict=True))
    ordered = ((key, found[key]) for key in structure)
    if type(structure) is defaultdict:
        return defaultdict(structure.default_factory, ordered)
    return type(structure)(ordered)


def flatten_with_path(structure: Any) -> list[tuple[Path, Any]]:
    """Return the leaves, each with the keys and places that lead to it.

    >>> flatten_with_path([{"b": 1, "a": (2, 3)}])
    [((0, 'a', 0), 2), ((0, 'a', 1), 3), ((0, 'b'), 1)]
    """
    return list(_walk(structure, ()))


def _walk(structure: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if not is_nested(structure):
        yield path, structure
        return
    for key in _keys(structure):
        yield from _walk(structure[key], (*path, key))


def flatten(structure: Any) -> list[Any]:
    """Return the leaves.

    >>> flatten([1, (2, [3]), {"b": 5, "a": None}])
    [1, 2, 3, None, 5]
    """
    return [leaf for _, leaf in _walk(structure, ())]


def pack_sequence_as(structure: Any, flat_sequence: Any) -> Any:
    """Return a structure of the same shape with other leaves: the inverse of `flatten`.

    >>> pack_sequence_as([0, {"b": 0, "a": 0}], [1, 2, 3])
    [1, {'b': 3, 'a': 2}]
    """
    if not is_nested(flat_sequence):
        raise ArgumentError(f"flat_sequence is a list of leaves, got {flat_sequence!r}.", mend="[flat_sequence]")
    leaves, wanted = list(flat_sequence), len(flatten(structure))
    if len(leaves) != wanted:
        raise ShapeError(f"The structure has {wanted} leaves, flat_sequence {len(leaves)}.")
    rest = iter(leaves)
    return map_structure(lambda _: next(rest), structure)


def _same_kind(a: Any, b: Any) -> bool:
    if not is_nested(b):
        return False
    if type(a) in _DICTS:
        return type(b) in _DICTS and set(a) == set(b)
    return type(a) is type(b) and len(a) == len(b)


def _mapped(function: Callable[..., Any], first: Any, others: Sequence[Any], is_leaf: Callable[[Any], bool]) -> Any:
    """Call a function with each leaf of the first structure and what the others have at its place."""
    if is_leaf(first) or not is_nested(first):
        return function(first, *others)
    for other in others:
        if not _same_kind(first, other):
            raise ShapeError(f"The structures are not nested alike: {first!r} beside {other!r}.")
    keys = _keys(first)
    children = [_mapped(function, first[key], [other[key] for other in others], is_leaf) for key in keys]
    return _rebuilt(first, children)


def _never(_: Any) -> bool:
    return False


def map_structure(func: Callable[..., Any], *structures: Any, none_is_leaf: bool = True) -> Any:
    """Return the structure of what a function answers for the leaves at each place; None stays None on request.

    >>> map_structure(lambda a, b: a + b, {"a": 1, "b": [2]}, {"a": 10, "b": [20]})
    {'a': 11, 'b': [22]}
    """
    if not callable(func):
        raise ArgumentError(f"map_structure takes a function first, got {func!r}.")
    if not structures:
        raise ArgumentError("map_structure takes at least one structure.", mend="map_structure(function, [1, 2])")

    def on_leaves(*leaves: Any) -> Any:
        if len(leaves) > 1 and any(map(is_nested, leaves)):
            raise ShapeError(f"The structures are not nested alike: {leaves[0]!r} beside {leaves[1:]!r}.")
        return None if not none_is_leaf and leaves[0] is None else func(*leaves)

    return _mapped(on_leaves, structures[0], structures[1:], _never)


def map_structure_up_to(shallow_structure: Any, func: Callable[..., Any], *structures: Any) -> Any:
    """Call a function with what structures have at the leaves of a shallower one.

    >>> map_structure_up_to([0, 0], len, [[1, 2], (3,)])
    [2, 1]
    """
    if not structures:
        raise ArgumentError("map_structure_up_to takes at least one structure beside the shallow one.")
    return _mapped(lambda _, *parts: func(*parts), shallow_structure, structures, _never)


def assert_same_structure(a: Any, b: Any, check_types: Any = None) -> None:
    """Raise an error unless two structures are nested alike. `check_types` is accepted for old programs' sake."""
    map_structure(lambda *_: None, a, b)


def assert_same_paths(a: Any, b: Any) -> None:
    """Raise an error unless the same keys and places lead to leaves: lists and tuples are alike."""
    first, second = ({path for path, _ in flatten_with_path(x)} for x in (a, b))
    if first != second:
        raise ShapeError(
            f"Paths in one structure alone: {sorted(first - second, key=str)}, in the other alone: "
            f"{sorted(second - first, key=str)}."
        )


def traverse(func: Callable[[Any], Any], structure: Any, top_down: bool = True) -> Any:
    """Call a function on each container and leaf; what it returns, unless None, takes the place.

    Top down, it is called on a container first, and what it replaces is not entered. `MAP_TO_NONE` stands for None.

    >>> traverse(lambda x: tuple(x) if isinstance(x, list) else None, [1, [2]], top_down=False)
    (1, (2,))
    """
    if not callable(func):
        raise ArgumentError(f"traverse takes a function first, got {func!r}.")

    def inside() -> Any:
        if not is_nested(structure):
            return structure
        return _rebuilt(structure, [traverse(func, child, top_down) for child in _children(structure)])

    before = None if top_down else inside()
    found = func(structure if top_down else before)
    if found is None:
        return inside() if top_down else before
    return None if found is MAP_TO_NONE else found


def lists_to_tuples(structure: Any) -> Any:
    """Return the structure with tuples for lists.

    >>> lists_to_tuples([1, {"a": [2]}])
    (1, {'a': (2,)})
    """
    return traverse(lambda x: tuple(x) if isinstance(x, list) else None, structure, top_down=False)


def map_shape_structure(func: Callable[[Any], Any], structure: Any) -> Any:
    """Call a function on each shape, a list or tuple of numbers and Nones, in a structure.

    >>> map_shape_structure(len, {"a": (1, None), "b": [(3,)]})
    {'a': 2, 'b': [1]}
    """
    if not callable(func):
        raise ArgumentError(f"map_shape_structure takes a function first, got {func!r}.")
    return _mapped(func, structure, (), _is_shape)


def _is_shape(x: Any) -> bool:
    return isinstance(x, list | tuple) and all(size is None or isinstance(size, int) for size in x)
