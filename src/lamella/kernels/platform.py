"""What the platform does well, as far as callers must know it; and the choice of forms by platform."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import jax
from jax import lax
from jax.extend.core import jaxprs_in_params

# Whom a program is made for: this machine, each of several platforms, or readers of JAX's own operations alone.
_made_for: ContextVar[Literal["here", "each", "readers"]] = ContextVar("lamella_made_for", default="here")


@contextmanager
def made_for(whom: Literal["each", "readers"]) -> Iterator[None]:
    """Trace programs for each platform in its own form, or for readers in plain forms of JAX's own operations."""
    token = _made_for.set(whom)
    try:
        yield
    finally:
        _made_for.reset(token)


def made_here() -> bool:
    """Tell whether a program is made for this machine alone."""
    return _made_for.get() == "here"


def for_readers() -> bool:
    """Tell whether a program is made for readers, who know JAX's own operations alone."""
    return _made_for.get() == "readers"


def on_platform(cpu: Callable[..., Any], others: Callable[..., Any]) -> Callable[..., Any]:
    """Return the form of a kernel for the platform that the present program is made for."""
    if _made_for.get() == "each":
        return lambda *operands: lax.platform_dependent(*operands, cpu=cpu, default=others)
    return cpu if made_here() and jax.default_backend() == "cpu" else others


def loops_well(jaxpr: Any) -> bool:
    """Tell whether a loop inside a program is as fast as calling the program again and again.

    On CPU, XLA runs convolutions inside loops without its fast library: fifteen times slower was measured.
    """
    return jax.default_backend() != "cpu" or not any(equations(jaxpr, "conv_general_dilated"))


def uncounted_bytes(jaxpr: Any) -> int:
    """Return the scratch memory of a program that XLA's own analysis does not count.

    On CPU, XLA's convolutions over two axes without padding lay out every window as a row of a matrix. What was
    measured is that matrix, to two percent; convolutions with padding take less, which is not followed.
    """
    if jax.default_backend() != "cpu":
        return 0
    return max((_window_matrix(equation) for equation in equations(jaxpr, "conv_general_dilated")), default=0)


def _window_matrix(equation: Any) -> int:
    params = equation.params
    plain = all(tuple(pads) == (0, 0) for pads in params["padding"]) and set(params["lhs_dilation"]) == {1}
    if len(params["padding"]) != 2 or not plain or params["feature_group_count"] != 1:
        return 0
    out, kernel = equation.outvars[0].aval, equation.invars[1].aval
    positions = math.prod(out.shape) // out.shape[params["dimension_numbers"].out_spec[1]]
    window = math.prod(kernel.shape) // kernel.shape[params["dimension_numbers"].rhs_spec[0]]
    return int(positions * window * out.dtype.itemsize)


def equations(jaxpr: Any, primitive: str) -> Iterator[Any]:
    """Yield the equations of a primitive, in a program and in the programs inside it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == primitive:
            yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner, primitive)
