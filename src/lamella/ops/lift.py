"""State through control flow: what a function writes to variables inside a loop is carried by the loop.

JAX's loops and branches take pure functions. A body that updates variables (a seed generator, a counter) is
made one here: it is traced once to see what it writes, and if it writes, again with these in the carry.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax

from lamella.core.variable import Frame, Variable, autocasting, in_frame

Values: TypeAlias = list[Any]
PureOf: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


class _Writes(Exception):
    """A body wrote variables that are not carried yet; it ends the trace that met them."""

    def __init__(self, variables: list[Variable]) -> None:
        self.variables = variables


def with_state(run: Callable[[PureOf, Values], tuple[Values, Any]]) -> Any:
    """Call `run(pure_of, values) -> (new_values, out)`, write the new values back, and return out.

    `pure_of(f)` is `(values, *args) -> (new_values, out)`; `run` feeds `values` through its loop or branches.
    """
    carried: list[Variable] = []
    seen: dict[int, Variable] = {}

    def pure_of(fn: Callable[..., Any]) -> Callable[..., Any]:
        return _pure(fn, carried, seen)

    while True:
        # Variables are carried as they are stored, whatever dtype a layer reads them in.
        with autocasting(None):
            values = [variable.value for variable in carried]
        try:
            new_values, out = run(pure_of, values)
            break
        except _Writes as found:
            carried.extend(found.variables)
    for variable, value in zip(carried, new_values, strict=True):
        variable.assign(value)
    refuse_bare_jit(seen)
    return out


def remat(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose inner results are computed again for its derivative, in place of being kept.

    It saves memory and costs time; values and gradients are the same. Variables may be read and updated in it.

    >>> slope = jax.grad(remat(lambda x: jax.numpy.sin(x) ** 2))(0.5)
    >>> bool(jax.numpy.isclose(slope, jax.numpy.sin(1.0)))
    True
    """

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        def run(pure_of: PureOf, values: Values) -> tuple[Values, Any]:
            # what the function takes is closed over: flags among the arguments stay what they are
            return jax.checkpoint(pure_of(lambda: f(*args, **kwargs)))(values)  # type: ignore[no-any-return]

        return with_state(run)

    return call


def _pure(fn: Callable[..., Any], carried: list[Variable], seen: dict[int, Variable]) -> Callable[..., Any]:
    def call(values: Values, *args: Any) -> tuple[Values, Any]:
        with Frame(carried, values) as frame:
            out = fn(*args)
        known = {id(variable) for variable in carried}
        missing = [variable for key, variable in frame.written.items() if key not in known]
        if missing:
            raise _Writes(missing)
        seen.update(frame.seen)
        return [frame.values[id(variable)] for variable in carried], out

    return call


def refuse_bare_jit(seen: dict[int, Variable]) -> None:
    """Read again, outside of the loop, what its body read: under a bare jax.jit that is an error."""
    if not in_frame():
        for variable in seen.values():
            _ = variable.value
