"""What the platform does well, as far as callers must know it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params


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
