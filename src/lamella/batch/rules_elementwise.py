"""Rules for primitives that work element by element, and for random numbers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lamella.batch.equation import Equation, RuleTable
from lamella.batch.values import CONSTANT, Rows, Value, tainted

rule = RuleTable()

# fmt: off
ELEMENTWISE = (
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e",
    "bessel_i1e", "cbrt", "ceil", "clamp", "clz", "complex", "conj", "copy", "copy_p", "cos", "cosh", "digamma",
    "div", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "igamma", "igamma_grad_a", "igammac", "imag",
    "integer_pow", "is_finite", "lgamma", "log", "log1p", "logistic", "max", "min", "mul", "mulhi", "name", "ne",
    "neg", "nextafter", "not", "or", "polygamma", "population_count", "pow", "real", "reduce_precision",
    "regularized_incomplete_beta", "rem", "round", "rsqrt", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub", "tan", "tanh",
    "threefry2x32", "threefry4x32", "philox2x32", "philox4x32", "xor", "zeta", "zeros_like", "random_seed",
    "random_fold_in", "random_clone", "random_gamma", "eq_to", "lt_to", "le_to", "to_edtype", "from_edtype",
)
# fmt: on
COMPARISONS = {"lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq}
# Each output is the input in the same place.
PASSING = [
    "optimization_barrier",
    "device_put",
    "sharding_constraint",
    "layout_constraint",
    "with_memory_space_constraint",
    "pvary",
]


@rule(*ELEMENTWISE)
def elementwise(eq: Equation, ins: Sequence[Value]) -> Value:
    """All arrays must have their samples at the same place."""
    layouts = {value.layout: value for value in ins if value.is_along}
    if len(layouts) == 1:
        (value,) = layouts.values()
        return value.moved(value.axis)
    if not layouts:
        return CONSTANT
    first, second = list(layouts)[:2]
    return eq.mixed("crossed", detail=f"axis {first[0]} of the one, axis {second[0]} of the other")


@rule("add", "mul", "convert_element_type", whole=True)
def counting(eq: Equation, ins: Sequence[Value]) -> Value:
    """Numbers that count the samples go on counting when nothing is added, or when they are multiplied by one."""
    neutral = {"add": 0, "mul": 1}.get(eq.name)
    for here, other in ((0, 1), (1, 0)) if len(ins) == 2 else ():
        if ins[here].rows is not None and ins[other].known is not None and ins[other].known == neutral:
            return ins[here]
    if len(ins) == 1:
        return ins[0]
    return tainted(eq.walk.by_kind(eq, ins, elementwise), ins)


@rule(*COMPARISONS, whole=True)
def comparison(eq: Equation, ins: Sequence[Value]) -> Value:
    """A comparison of numbers that are known has a known answer; counts of samples are never negative."""
    left, right = ins
    if left.known is not None and right.known is not None:
        return replace(CONSTANT, known=bool(COMPARISONS[eq.name](left.known, right.known)))
    if eq.name == "lt" and left.rows is not None and left.rows.columns is None and right.known == 0:
        return replace(CONSTANT, known=False)
    return tainted(eq.walk.by_kind(eq, ins, elementwise), ins)


@rule("select_n", whole=True)
def select(eq: Equation, ins: Sequence[Value]) -> Value:
    """The case taken, where it is known; else all cases, element by element."""
    if ins[0].known is not None:
        return ins[1 + int(ins[0].known)]
    return tainted(eq.walk.by_kind(eq, ins, elementwise), ins)


@rule(*PASSING, whole=True)
def passing(eq: Equation, ins: Sequence[Value]) -> list[Value]:
    """What comes in goes out."""
    return list(ins)


@rule("bitcast_convert_type")
def bitcast(eq: Equation, ins: Sequence[Value]) -> Value:
    """An axis may be added or taken off at the end."""
    (value,) = ins
    return value.moved(value.axis)


@rule("iota", whole=True)
def iota(eq: Equation, ins: Sequence[Value]) -> Value:
    """Numbers along an axis; along one of the batch's size they count the samples."""
    axis = eq.params["dimension"]
    if eq.out_shapes[0][axis] == eq.size and not isinstance(eq.size, int):
        return replace(CONSTANT, rows=Rows(axis))
    numbered = eq.walk.follows_size([eq.out_shapes[0][axis]])
    return replace(CONSTANT, uses=frozenset({"order", "size"} if numbered else ()))


@rule("iota_2x32_shape", whole=True)
def counters(eq: Equation, ins: Sequence[Value]) -> list[Value]:
    """Counters for random numbers."""
    return [_noise(eq, CONSTANT)] * 2


@rule("dim_as_value", whole=True)
def size_as_number(eq: Equation, ins: Sequence[Value]) -> Value:
    """`x.shape[0]` as a number in the computation."""
    return replace(CONSTANT, uses=frozenset({"size"} if eq.walk.follows_size([eq.params["dim"]]) else ()))


@rule("random_bits", "rng_uniform", "random_split", whole=True)
def drawn(eq: Equation, ins: Sequence[Value]) -> Value:
    """Keys come first in the shape of what is drawn from them; a key for all draws over the whole shape."""
    found = eq.walk.by_kind(eq, ins, lambda _, values: values[0].moved(values[0].axis))
    return _noise(eq, tainted(found, ins))


@rule("bernoulli", whole=True)
def drawn_from_words(eq: Equation, ins: Sequence[Value]) -> Value:
    """The same from keys as two words each, which are the last axis."""
    if ins[0].axis == len(eq.shapes[0]) - 1:
        return eq.mixed("crossed", ins[0].axis)
    return drawn(eq, ins)


@rule("random_wrap", "random_unwrap")
def wrapped_key(eq: Equation, ins: Sequence[Value]) -> Value:
    """A key's own words are the last axis."""
    (value,) = ins
    if value.axis == len(eq.shapes[0]) - 1 and eq.name == "random_wrap":
        return eq.mixed("crossed", value.axis)
    return value.moved(value.axis)


def _noise(eq: Equation, value: Value) -> Value:
    """Random numbers hide in what order they were drawn; over the batch's shape they depend on it as noise does."""
    over_batch = eq.walk.follows_size(eq.out_shapes[0])
    hidden: frozenset[Any] = value.uses - {"order"} if "order" in value.uses else value.uses
    noisy = over_batch or "order" in value.uses
    return replace(value, uses=hidden | {"noise"} if noisy else hidden)
