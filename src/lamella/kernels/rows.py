"""Gradients of tables, of which a step looks up a few rows: those rows alone.

The gradient of a look-up is an array of the table's shape, 0 in all rows but a few. To make it, and to take a step with
it, costs passes over the whole table. Where an optimizer leaves a weight alone whose gradient is 0, the rows that were
looked up are enough, and the result is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal

from lamella.kernels.platform import equations

# A row looked up costs a few passes over itself; a table has to be so many times larger for rows to be less work.
_SPARSE = 4


@dataclass(frozen=True)
class Rows:
    """A gradient that is 0 outside of some rows of a table.

    `places` (n,) are the rows, each once; those beyond the table are empty. `sums` (n, ...) are their gradients.
    """

    places: jax.Array
    sums: jax.Array

    def take(self, table: jax.Array) -> jax.Array:
        """Return the rows of a table."""
        return table.at[self.places].get(mode="clip", unique_indices=True)

    def put(self, table: jax.Array, rows: jax.Array) -> jax.Array:
        """Return a table with other rows in these places."""
        return table.at[self.places].set(rows, mode="drop", unique_indices=True)


def looks_up(jaxpr: Any) -> bool:
    """Tell whether a program takes rows, or anything else, out of arrays."""
    return any(equations(jaxpr, "gather"))


def row_gradients(fn: Callable[[list[Any]], Any], values: list[Any]) -> tuple[list[Any], Any]:
    """Return what `jax.grad(fn, has_aux=True)` does, with `Rows` in place of gradients that are mostly 0.

    Those are the gradients of large tables that nothing but look-ups by integers reads, and these once.
    """
    closed, shapes = jax.make_jaxpr(jax.grad(fn, has_aux=True), return_shape=True)(values)
    results, structure = jax.tree.flatten(shapes)
    made = {id(variable): equation for equation in closed.jaxpr.eqns for variable in equation.outvars}
    outputs = list(closed.jaxpr.outvars)
    scattered = {i: made[id(outputs[i])] for i in range(len(values)) if _is_sparse(made.get(id(outputs[i])), made)}
    # The ids and the gradients of their rows are computed in place of the tables.
    wanted = [outputs[i] for i in range(len(results)) if i not in scattered]
    wanted += [operand for equation in scattered.values() for operand in equation.invars[1:]]
    answers = iter(jax.core.eval_jaxpr(closed.jaxpr.replace(outvars=wanted), closed.consts, *values))
    dense = [None if i in scattered else next(answers) for i in range(len(results))]
    for i, equation in scattered.items():
        dense[i] = _summed(next(answers), next(answers), equation.outvars[0].aval.shape[0])
    return jax.tree.unflatten(structure, dense)  # type: ignore[no-any-return]


def _is_sparse(equation: Any, made: dict[int, Any]) -> bool:
    """Tell whether an equation adds rows, by ids, to a large table of zeros."""
    if equation is None or equation.primitive.name != "scatter-add":
        return False
    zeros, ids, rows = equation.invars
    numbers = equation.params["dimension_numbers"]
    table = made.get(id(zeros))
    by_row = (
        numbers.inserted_window_dims == numbers.scatter_dims_to_operand_dims == (0,)
        and not numbers.operand_batching_dims
        and numbers.update_window_dims == tuple(range(ids.aval.ndim - 1, rows.aval.ndim))
        and zeros.aval.shape[1:] == rows.aval.shape[ids.aval.ndim - 1 :]
        and equation.params["mode"] is lax.GatherScatterMode.FILL_OR_DROP
    )
    empty = (
        table is not None
        and table.primitive.name == "broadcast_in_dim"
        and isinstance(table.invars[0], Literal)
        and table.invars[0].val == 0
    )
    return by_row and empty and _SPARSE * ids.aval.size < zeros.aval.shape[0]


def _summed(ids: jax.Array, rows: jax.Array, size: int) -> Rows:
    """Add up the rows of each id, in their order, where its first stands."""
    rows = rows.reshape(ids.size, *rows.shape[ids.ndim - 1 :])
    ids = ids.reshape(-1)
    ids = jnp.where((ids < 0) | (ids >= size), size, ids)
    places = jnp.arange(ids.size, dtype=ids.dtype)
    first = jnp.full(size + 1, ids.size, ids.dtype).at[ids].min(places)[ids]
    sums = jnp.zeros_like(rows).at[first].add(rows)
    return Rows(jnp.where(first == places, ids, size + places), sums)
