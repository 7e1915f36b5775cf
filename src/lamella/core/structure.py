"""Nested lists, tuples and dicts of tensors, with variables, masked pairs and symbols as leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from lamella.core.operators import ArrayLike


def _is_leaf(x: Any) -> bool:
    return isinstance(x, ArrayLike)


def flatten(structure: Any) -> tuple[list[Any], Any]:
    """Return the leaves, in the order of `jax.tree`, and the structure without them."""
    return jax.tree.flatten(structure, is_leaf=_is_leaf)


def leaves_of(structure: Any) -> list[Any]:
    """Return the leaves of a structure."""
    return jax.tree.leaves(structure, is_leaf=_is_leaf)


def map_leaves(function: Callable[..., Any], structure: Any) -> Any:
    """Apply a function to each leaf."""
    return jax.tree.map(function, structure, is_leaf=_is_leaf)


def unflatten(tree: Any, leaves: list[Any]) -> Any:
    """Put leaves back into a structure."""
    return jax.tree.unflatten(tree, leaves)
