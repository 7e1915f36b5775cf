"""Targets, predictions and weights whose shapes nearly agree, brought together."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lamella.core.errors import ShapeError
from lamella.core.structure import leaves_of, map_leaves


def as_array(x: Any, dtype: Any = None) -> Any:
    """Return an array of what a person gave: an array, a number, nested lists of numbers."""
    return jnp.asarray(x, dtype)


def as_arrays(x: Any, dtype: Any) -> Any:
    """Return an array, or a structure of arrays; nested lists of plain numbers are one array."""
    plain = all(isinstance(leaf, bool | int | float) for leaf in leaves_of(x))
    if plain and not isinstance(x, dict):
        return as_array(x, dtype)
    return map_leaves(lambda leaf: as_array(leaf, dtype), x)


def same_rank(a: Any, b: Any) -> tuple[Any, Any]:
    """Give two arrays one rank where they differ by a last axis of 1: (batch,) beside (batch, 1).

    A vector gets the axis; anything longer loses it.
    """
    if a.ndim == b.ndim + 1 and _single(a):
        return (a, b[..., None]) if b.ndim == 1 else (jnp.squeeze(a, -1), b)
    if b.ndim == a.ndim + 1 and _single(b):
        return (a[..., None], b) if a.ndim == 1 else (a, jnp.squeeze(b, -1))
    return a, b


def _single(x: Any) -> bool:
    return isinstance(x.shape[-1], int) and x.shape[-1] == 1


def weighted(values: Any, weights: Any) -> tuple[Any, Any]:
    """Multiply losses by their weights; weights of samples beside losses of steps say so by their shape."""
    values, weights = same_rank(values, weights)
    per_sample = 0 < weights.ndim < values.ndim and weights.shape[0] == values.shape[0] and weights.shape[0] != 1
    if per_sample or weights.ndim > values.ndim > 0:
        raise ShapeError(
            f"The weights have shape {weights.shape}; the losses that they weight have {values.shape}.",
            mend=f"sample_weight[{', '.join([':'] + ['None'] * (values.ndim - 1))}]" if per_sample else None,
        )
    return values * weights, weights
