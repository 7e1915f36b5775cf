"""What a traced program computes: floating-point operations, counted equation by equation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# They put numbers elsewhere or give them another type; no number is computed.
_MOVES = frozenset(
    {
        "bitcast_convert_type",
        "broadcast_in_dim",
        "concatenate",
        "convert_element_type",
        "copy",
        "copy_p",
        "dynamic_slice",
        "dynamic_update_slice",
        "gather",
        "iota",
        "optimization_barrier",
        "pad",
        "reshape",
        "rev",
        "scatter",
        "slice",
        "split",
        "squeeze",
        "stop_gradient",
        "transpose",
    }
)
_OVER_THE_INPUT = frozenset(
    {
        "argmax",
        "argmin",
        "cumlogsumexp",
        "cummax",
        "cummin",
        "cumprod",
        "cumsum",
        "reduce_and",
        "reduce_max",
        "reduce_min",
        "reduce_or",
        "reduce_prod",
        "reduce_sum",
        "scatter-add",
        "scatter-mul",
        "sort",
    }
)


@dataclass
class Count:
    """A number of operations, and whether a loop of unknown length is in it (its body is counted once)."""

    flops: int = 0
    endless: bool = False

    def add(self, other: Count, times: int = 1) -> None:
        """Add what is done `times` times."""
        self.flops += times * other.flops
        self.endless = self.endless or other.endless


def count(jaxpr: Any) -> Count:
    """Count a program's operations; a product of two numbers that is added to a sum is two.

    Sums and other reductions count one for each number that goes in, everything else that computes one for each
    number that comes out, whatever it costs a processor; moving numbers counts nothing, and so does what nothing uses.
    A scan counts as often as it runs, a branch as its most expensive side.

    >>> import jax, jax.numpy as jnp
    >>> count(jax.make_jaxpr(lambda x, y: x @ y + 1)(jnp.ones((2, 3)), jnp.ones((3, 4)))).flops
    56
    """
    total = Count()
    for eqn in _used(getattr(jaxpr, "jaxpr", jaxpr)):
        total.add(_equation(eqn))
    return total


def _used(jaxpr: Any) -> Iterator[Any]:
    """The equations that a result or an effect needs, the last first."""
    needed = {id(variable) for variable in jaxpr.outvars}
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or any(id(variable) in needed for variable in eqn.outvars):
            needed.update(id(variable) for variable in eqn.invars)
            yield eqn


def _equation(eqn: Any) -> Count:
    name, params = eqn.primitive.name, eqn.params
    total = Count()
    if name == "scan":
        total.add(count(params["jaxpr"]), int(params["length"]))
    elif name == "while":
        total.add(count(params["body_jaxpr"]))
        total.add(count(params["cond_jaxpr"]))
        total.endless = True
    elif name == "cond":
        total.add(max(map(count, params["branches"]), key=lambda side: side.flops))
    elif (inner := next(_programs(params), None)) is not None and not name.startswith(("reduce", "scatter", "sort")):
        total.add(count(inner))
    else:
        total.flops = _one(eqn, name, params)
    return total


def _programs(params: dict[str, Any]) -> Iterator[Any]:
    """The programs that an equation runs once; a custom derivative is not run."""
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if hasattr(params.get(key), "eqns") or hasattr(params.get(key), "jaxpr"):
            yield params[key]


# Where the result of a convolution, and its kernel, stand among operands and result.
_CONVOLUTIONS = {"conv": (2, 1), "conv_input_gradient": (0, 1), "conv_kernel_gradient": (1, 2)}


def _one(eqn: Any, name: str, params: dict[str, Any]) -> int:
    inputs: list[tuple[int, ...]] = [tuple(getattr(v.aval, "shape", ())) for v in eqn.invars]
    out: int = math.prod(getattr(eqn.outvars[0].aval, "shape", ())) if eqn.outvars else 0
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return int(2 * out * math.prod(inputs[0][axis] for axis in contracted))
    if name == "conv_general_dilated":
        filters: int = inputs[1][params["dimension_numbers"].rhs_spec[0]]
        return 2 * out * math.prod(inputs[1]) // filters
    if name in _CONVOLUTIONS:
        shapes = [*inputs, tuple(eqn.outvars[0].aval.shape)]
        y, kernel = (shapes[place] for place in _CONVOLUTIONS[name])
        return int(2 * math.prod(y) * math.prod(kernel) // kernel[-1])
    if name.startswith("reduce_window"):
        return out * (int(math.prod(params["window_dimensions"])) - 1)
    if name == "fft":
        lengths = params["fft_lengths"]
        return int(5 * math.prod(inputs[0]) * math.log2(max(2, math.prod(lengths))))
    if name in _MOVES:
        return 0
    return math.prod(inputs[0]) if name in _OVER_THE_INPUT else out
