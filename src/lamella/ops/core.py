"""Control flow, scattering and slicing. Functions given to these ops may read and update variables."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lamella.core.errors import ArgumentError
from lamella.core.settings import one_of
from lamella.core.structure import map_leaves
from lamella.ops.dispatch import array, op, operand
from lamella.ops.lift import with_state

__all__ = [
    "associative_scan",
    "cond",
    "custom_gradient",
    "fori_loop",
    "jvp",
    "map",
    "scan",
    "scatter",
    "scatter_update",
    "slice",
    "slice_update",
    "stop_gradient",
    "switch",
    "vectorize",
    "vectorized_map",
    "view",
    "while_loop",
]


def _arrays(structure: Any) -> Any:
    return map_leaves(array, structure)


def _carried(structure: Any) -> Any:
    """Return what a loop starts with: a number in it takes the dtype of what it meets on the way."""
    return map_leaves(operand, structure)


@op
def scan(
    f: Callable[..., Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
) -> Any:
    """Return the last carry and the stacked ys of `carry, y = f(carry, x)` over the first axis of xs.

    >>> total, running = scan(lambda carry, x: (carry + x, carry + x), 0, jnp.array([1, 2, 3]))
    >>> int(total), running.tolist()
    (6, [1, 3, 6])
    """
    init, xs = _carried(init), _arrays(xs)

    def run(pure_of: Any, values: Any) -> Any:
        step = pure_of(f)

        def body(state: Any, x: Any) -> Any:
            values, (carry, y) = step(state[0], state[1], x)
            return (values, carry), y

        (values, carry), ys = lax.scan(body, (values, init), xs, length, bool(reverse), unroll)
        return values, (carry, ys)

    return with_state(run)


@op
def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """Return the stacked answers of f for each slice of the first axis of xs, one slice after the other.

    >>> map(lambda x: x * 2, jnp.array([1, 2, 3])).tolist()
    [2, 4, 6]
    """
    return scan(lambda _, x: ((), f(x)), (), xs)[1]


@op
def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """Return the stacked answers of a function for each slice of the first axis, all computed at once.

    Variables may be updated in it by what is the same for all slices; random numbers drawn in it are the
    same too.
    """
    elements = _arrays(elements)

    def run(pure_of: Any, values: Any) -> Any:
        call = pure_of(function)
        return jax.vmap(lambda x: call(values, x), out_axes=(None, 0))(elements)

    return with_state(run)


@op
def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """Return what one of two functions without arguments returns: the first's if `pred` holds.

    >>> int(cond(jnp.array(True), lambda: 1, lambda: 2))
    1
    """

    def run(pure_of: Any, values: Any) -> Any:
        return lax.cond(array(pred), pure_of(true_fn), pure_of(false_fn), values)

    return with_state(run)


@op
def switch(index: Any, branches: Any, *operands: Any) -> Any:
    """Return `branches[index](*operands)`; the index is clamped to the branches there are."""

    def run(pure_of: Any, values: Any) -> Any:
        return lax.switch(array(index), [pure_of(f) for f in branches], values, *_arrays(operands))

    return with_state(run)


@op
def while_loop(
    cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any, maximum_iterations: int | None = None
) -> Any:
    """Return the loop variables after `loop_vars = body(*loop_vars)` for as long as `cond(*loop_vars)` holds.

    The condition may read variables; what it writes is forgotten.

    >>> [int(i) for i in while_loop(lambda i, n: i < 5, lambda i, n: (i + 1, n * 2), (0, 1))]
    [5, 32]
    """
    several = isinstance(loop_vars, (tuple, list))
    start = _carried(tuple(loop_vars) if several else (loop_vars,))

    def run(pure_of: Any, values: Any) -> Any:
        test, step = pure_of(cond), pure_of(body)

        def goes_on(state: Any) -> Any:
            values, turn, variables = state
            more = test(values, *variables)[1]
            return more if maximum_iterations is None else more & (turn < maximum_iterations)

        def body_of_all(state: Any) -> Any:
            values, turn, variables = state
            values, out = step(values, *variables)
            return values, turn + 1, tuple(out) if several else (out,)

        values, _, variables = lax.while_loop(goes_on, body_of_all, (values, jnp.int32(0), start))
        return values, variables if several else variables[0]

    return with_state(run)


@op
def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """Return the value after `value = body_fun(i, value)` for i from lower up to but without upper.

    >>> int(fori_loop(0, 5, lambda i, total: total + i, 0))
    10
    """
    start = _carried(init_val)

    def run(pure_of: Any, values: Any) -> Any:
        step = pure_of(body_fun)
        return lax.fori_loop(lower, upper, lambda i, state: step(state[0], i, state[1]), (values, start))

    return with_state(run)


@op
def associative_scan(f: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """Return the running results of an associative function along an axis, in logarithmic depth.

    >>> associative_scan(jnp.add, jnp.array([1, 2, 3])).tolist()
    [1, 3, 6]
    """
    return lax.associative_scan(f, _arrays(elems), reverse, axis)


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Make `f(*args) -> (out, gradient)` a function of value out and gradient `gradient(upstream)`."""
    graded: Callable[..., Any] = jax.custom_gradient(f)
    return op(functools.wraps(f)(graded))


@op
def jvp(fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """Return the function's value and its derivative in the direction of the tangents."""
    return jax.jvp(fun, tuple(_arrays(primals)), tuple(_arrays(tangents)), has_aux=has_aux)


def vectorize(pyfunc: Callable[..., Any], *, excluded: Any = None, signature: str | None = None) -> Any:
    """Return pyfunc mapped over all axes, or over those before the signature's: "(n),(n)->()"."""
    mapped = jnp.vectorize(pyfunc, excluded=frozenset(excluded or ()), signature=signature)
    return op(functools.wraps(pyfunc)(lambda *args: mapped(*_arrays(args))))


@op
def stop_gradient(variable: Any) -> Any:
    """Return the same values, through which no gradient flows."""
    return lax.stop_gradient(array(variable))


@op
def scatter(indices: Any, values: Any, shape: Any) -> Any:
    """Return zeros of a shape with values added at indices, (..., indexed axes)."""
    values = array(values)
    return jnp.zeros(tuple(shape), values.dtype).at[_places(indices)].add(values)


@op
def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Any:
    """Return inputs with updates at indices, (..., indexed axes); `reduction` joins them with what is there.

    The reductions are "add", "max", "min" and "mul"; None replaces.
    """
    inputs, updates = array(inputs), array(updates)
    verb = "set" if reduction is None else one_of("reduction", reduction, ("add", "max", "min", "mul"))
    return getattr(inputs.at[_places(indices)], verb)(updates.astype(inputs.dtype))


def _places(indices: Any) -> Any:
    return tuple(jnp.moveaxis(array(indices), -1, 0))


@op
def slice(inputs: Any, start_indices: Any, shape: Any) -> Any:
    """Return the block of this shape that starts at these indices, which may be computed."""
    return lax.dynamic_slice(array(inputs), _starts(start_indices), tuple(shape))


@op
def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Any:
    """Return inputs with a block replaced that starts at these indices, which may be computed."""
    return lax.dynamic_update_slice(array(inputs), array(updates), _starts(start_indices))


def _starts(indices: Any) -> Any:
    return [array(index) for index in indices]


@op
def view(x: Any, dtype: Any = None) -> Any:
    """Return the bits of an array read as another dtype; the last axis grows or shrinks with its width."""
    if dtype is None:
        raise ArgumentError("view needs a dtype.", mend='view(x, "int32")')
    return array(x).view(dtype)
