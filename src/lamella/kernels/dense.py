"""Affine maps and look-ups."""

from __future__ import annotations

from collections.abc import Callable

import jax


def dense(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    activation: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """activation(x @ kernel + bias) over the last axis: (..., features), (features, units) -> (..., units)."""
    return finished(x @ kernel, bias, activation)


def finished(
    y: jax.Array, bias: jax.Array | None = None, activation: Callable[[jax.Array], jax.Array] | None = None
) -> jax.Array:
    """activation(y + bias), where there are any: shape unchanged."""
    if bias is not None:
        y = y + bias
    return y if activation is None else activation(y)


def embed(ids: jax.Array, table: jax.Array) -> jax.Array:
    """Rows of a table: (...) of integers, (rows, width) -> (..., width); ids outside of it give NaN."""
    return table.at[ids.astype("int32")].get(mode="fill")
