"""What the platform does well, as far as callers must know it."""

from __future__ import annotations

from typing import Any

import jax
from jax.extend.core import jaxprs_in_params


def loops_well(jaxpr: Any) -> bool:
    """Tell whether a loop inside a program is as fast as calling the program again and again.

    On CPU, XLA runs convolutions inside loops without its fast library: fifteen times slower was measured.
    """
    return jax.default_backend() != "cpu" or not _contains(jaxpr, "conv_general_dilated")


def _contains(jaxpr: Any, primitive: str) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name == primitive:
            return True
        if any(_contains(inner, primitive) for inner in jaxprs_in_params(equation.params)):
            return True
    return False
