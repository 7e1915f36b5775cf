"""An array and the mask that travels beside it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from lamella.core.operators import ArrayLike


class Masked(ArrayLike):
    """What a layer returns when a mask goes with its output: an array in every other respect.

    Arithmetic and jnp give plain arrays, without the mask; the next layer finds it.

    >>> x = Masked(np.ones((2, 3)), np.array([[True, True, False], [True, False, False]]))
    >>> x.shape, float((x * 2).sum())
    ((2, 3), 12.0)
    """

    __slots__ = ("mask", "value")

    def __init__(self, value: Any, mask: Any) -> None:
        self.value = value
        self.mask = mask

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self.value, dtype)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(self.value, attribute)

    def __repr__(self) -> str:
        return f"Masked({self.value!r}, mask={self.mask!r})"


jax.tree_util.register_pytree_node(Masked, lambda x: ((x.value,), None), lambda _, values: values[0])


def with_mask(value: Any, mask: Any) -> Any:
    """Pair a value with its mask; a value without one stays as it is."""
    return value if mask is None else Masked(value, mask)


def value_of(x: Any) -> Any:
    """Return the array of a pair, and anything else as it is."""
    return x.value if isinstance(x, Masked) else x


def mask_of(x: Any) -> Any:
    """Return the mask of a pair, and None for anything else."""
    return x.mask if isinstance(x, Masked) else None
