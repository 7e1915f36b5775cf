"""One function for arrays and for symbolic tensors: a public op hands itself over when it meets a symbol."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.operators import ArrayLike

Function = TypeVar("Function", bound=Callable[..., Any])

# JAX gives these no types.
finfo: Any = jnp.finfo
iinfo: Any = jnp.iinfo


def op(function: Function) -> Function:
    """Make a function on arrays one on symbolic tensors too.

    A symbolic tensor is anything whose type has `__lamella_apply__(function, args, kwargs)`; wherever one
    stands in the arguments, inside lists, tuples and dicts too, it is asked for the answer.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        symbol = first_symbol(args)
        if symbol is None and kwargs:
            symbol = first_symbol(kwargs.values())
        if symbol is not None:
            return symbol.__lamella_apply__(call, args, kwargs)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def first_symbol(things: Iterable[Any]) -> Any:
    """Return the first symbolic tensor among things and what they hold, or None."""
    for thing in things:
        kind = type(thing)
        if hasattr(kind, "__lamella_apply__"):
            return thing
        if kind is list or kind is tuple or kind is dict:
            found = first_symbol(thing.values() if kind is dict else thing)
            if found is not None:
                return found
    return None


def array(x: Any) -> Any:
    """Return the JAX array that an argument stands for: a list, a number, a NumPy array, a variable."""
    if isinstance(x, jax.Array):
        return x
    if isinstance(x, ArrayLike):
        return array(x.value)
    if isinstance(x, (bool, int, float, complex)):
        return jnp.asarray(x, jnp.asarray(x).dtype)
    if isinstance(x, (list, tuple)):
        return jnp.asarray(unwrapped(x))
    return jnp.asarray(x)


def operand(x: Any) -> Any:
    """Return an array, or a Python number as it is: numbers take the dtype of what they meet."""
    return x if isinstance(x, (bool, int, float, complex)) else array(x)


def unwrapped(x: Any) -> Any:
    """Return x, or the lists in it, with values in the place of what stands for them: variables, masked arrays."""
    if isinstance(x, (list, tuple)):
        return [unwrapped(item) for item in x]
    return x.value if isinstance(x, ArrayLike) else x


def arrays(xs: Any) -> list[Any]:
    """Return the arrays in a sequence; an array is the sequence of its rows."""
    return [array(x) for x in xs]


def is_concrete(x: Any) -> bool:
    """Tell whether the values of an array are known now, so that Python may look at them."""
    return not isinstance(x, jax.core.Tracer)


def named(call: Function, name: str, doc: str) -> Function:
    """Make an op of a function, under a name and with a docstring."""
    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    call.__module__ = "lamella.ops"
    return op(call)


def unary(function: Callable[..., Any], doc: str, name: str = "") -> Callable[[Any], Any]:
    """Return the op of one array, element by element unless it says otherwise."""

    def call(x: Any) -> Any:
        return function(array(x))

    return named(call, name or function.__name__, doc)


def binary(function: Callable[..., Any], doc: str, name: str = "") -> Callable[[Any, Any], Any]:
    """Return the op of two arrays that broadcast against each other; Python numbers stay weakly typed."""

    def call(x1: Any, x2: Any) -> Any:
        x1, x2 = operand(x1), operand(x2)
        if not isinstance(x1, jax.Array) and not isinstance(x2, jax.Array):
            x1, x2 = array(x1), array(x2)
        return function(x1, x2)

    return named(call, name or function.__name__, doc)


def as_axis(axis: Any) -> Any:
    """Return an axis argument as JAX takes it: lists as tuples."""
    return tuple(axis) if isinstance(axis, (list, np.ndarray)) else axis
