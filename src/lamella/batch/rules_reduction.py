"""Rules for primitives that bring elements of an axis together: reductions, products, windows, matrices."""

from __future__ import annotations

from collections.abc import Sequence

from lamella.batch.equation import Equation, RuleTable
from lamella.batch.rules_elementwise import elementwise
from lamella.batch.rules_structure import after_removing
from lamella.batch.values import CONSTANT, LOST, Value, along, quotient

rule = RuleTable()

REDUCTIONS = [
    "reduce_sum",
    "reduce_max",
    "reduce_min",
    "reduce_prod",
    "reduce_and",
    "reduce_or",
    "reduce_xor",
    "argmax",
    "argmin",
]
# How many axes at the end an operation on matrices (or vectors) takes together.
MATRICES = {
    **dict.fromkeys(
        ["cholesky", "eig", "eigh", "qr", "svd", "lu", "triangular_solve", "householder_product", "geqrf"], 2
    ),
    **dict.fromkeys(
        ["schur", "hessenberg", "tridiagonal", "cholesky_update", "symmetric_product", "geqp3", "ormqr"], 2
    ),
    **{"lu_pivots_to_permutation": 1, "tridiagonal_solve": 1},
}


@rule(*REDUCTIONS, "reduce")
def reduction(eq: Equation, ins: Sequence[Value]) -> Value:
    """Over the batch: one number of all samples."""
    value = elementwise(eq, [v for v, shape in zip(ins, eq.shapes, strict=True) if shape])
    if not value.is_along:
        return value
    axes = [int(axis) for axis in eq.params["dimensions" if eq.name == "reduce" else "axes"]]
    if value.axis in axes:
        return eq.mixed("reduced", value.axis, then=CONSTANT)
    return value.moved(after_removing(value.axis, axes))


@rule("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def cumulative(eq: Equation, ins: Sequence[Value]) -> Value:
    """Along the batch: each sample sees those before it."""
    (value,) = ins
    if eq.params["axis"] == value.axis:
        return eq.mixed("accumulated", value.axis, then=value.moved(value.axis))
    return value.moved(value.axis)


@rule("sort")
def sort(eq: Equation, ins: Sequence[Value]) -> Value:
    """Along the batch: samples change places."""
    return _ordered(eq, elementwise(eq, ins), eq.params["dimension"])


@rule("top_k", "approx_top_k")
def top_k(eq: Equation, ins: Sequence[Value]) -> Value:
    """Along the batch: the largest of all samples."""
    axis = eq.params["reduction_dimension"] if eq.name == "approx_top_k" else eq.params["axis"]
    return _ordered(eq, ins[0].moved(ins[0].axis), axis % len(eq.shapes[0]))


def _ordered(eq: Equation, value: Value, axis: int) -> Value:
    if value.is_along and value.axis == axis:
        return eq.mixed("reordered", axis, then=value if eq.name == "sort" else LOST)
    return value


@rule("dot_general")
def dot_general(eq: Equation, ins: Sequence[Value]) -> Value:
    """A product sums over the contracted axes; the batch may be a batch axis of both, or a free axis of one."""
    contracted, batched = eq.params["dimension_numbers"]
    left_free = len(eq.shapes[0]) - len(contracted[0])
    sides = []
    for value, sums, pairs, offset in zip(ins, contracted, batched, (0, left_free - len(batched[0])), strict=True):
        if value.is_along and value.axis in sums:
            return eq.mixed("contracted", value.axis, then=CONSTANT)
        if value.is_along and value.axis in pairs:
            sides.append(value.moved(tuple(pairs).index(value.axis)))
        elif value.is_along:
            sides.append(value.moved(len(pairs) + offset + after_removing(value.axis, [*sums, *pairs])))
    if len(sides) == 1 or sides[0] == sides[1]:
        return sides[0]
    return eq.mixed("all pairs", ins[0].axis)


@rule("conv_general_dilated")
def convolution(eq: Equation, ins: Sequence[Value]) -> Value:
    """The batch axis of the images is free; a batch in the channels stays apart where it is in groups of its own."""
    images, kernels = ins
    numbers = eq.params["dimension_numbers"]
    lhs, rhs, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    if images.is_along and not kernels.is_along and images.axis == lhs[0] and eq.params["batch_group_count"] == 1:
        return images.moved(out[0])
    groups = eq.params["feature_group_count"]
    per_group = quotient(eq.shapes[0][lhs[1]], groups)
    on_channels = images.is_along and images.axis == lhs[1] and images.outer == 1 and per_group is not None
    if on_channels and quotient(images.inner, per_group) is not None:
        features = quotient(eq.shapes[1][rhs[0]], eq.size)
        fits = features is not None and (
            not kernels.is_along or kernels.layout == (rhs[0], 1, features) or kernels.layout == (rhs[0], 1, 1)
        )
        if fits and (not kernels.is_along or kernels.inner == features):
            return along(out[1], 1, features)
    if images.is_along and images.axis in lhs[2:]:
        return eq.mixed("windowed", images.axis)
    if kernels.is_along and not images.is_along and kernels.axis == rhs[0] and groups == 1:
        return kernels.moved(out[1])
    if images.is_along and images.axis == lhs[1] and groups == 1:
        return eq.mixed("contracted", images.axis)
    return eq.doubtful("grouped")


@rule("conv", "conv_input_gradient", "conv_kernel_gradient")
def channels_last_convolution(eq: Equation, ins: Sequence[Value]) -> Value:
    """lamella's own convolutions: the batch is the first axis of images, or a leading axis over which all is mapped."""
    first, second = ins
    batch = 1 if eq.params["mapped"] else 0
    layouts = {value.layout for value in ins if value.is_along}
    if batch and len(layouts) == 1 and all(axis == 0 for axis, _, _ in layouts):
        return along(*layouts.pop())
    if eq.name == "conv_kernel_gradient":
        return eq.mixed("contracted", min(axis for axis, _, _ in layouts), then=CONSTANT)
    if first.is_along and not second.is_along and first.axis == batch:
        return first.moved(batch)
    if first.is_along and batch < first.axis < len(eq.shapes[0]) - 1:
        return eq.mixed("windowed", first.axis)
    if second.is_along and not first.is_along and second.axis == len(eq.shapes[1]) - 1 and eq.name == "conv":
        return second.moved(len(eq.shapes[0]) - 1)
    if first.is_along and first.axis == len(eq.shapes[0]) - 1 and eq.params["windows"].groups == 1:
        return eq.mixed("contracted", first.axis)
    return eq.doubtful("grouped")


WINDOWS = ["reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum", "select_and_gather_add"]


@rule(*WINDOWS, "select_and_scatter_add", "select_and_scatter")
def window(eq: Equation, ins: Sequence[Value]) -> Value:
    """A window of one entry along the batch keeps samples apart."""
    value = elementwise(eq, [v for v, shape in zip(ins, eq.shapes, strict=True) if shape])
    if not value.is_along:
        return value
    axis, params = value.axis, eq.params
    dilated = any(params.get(name, ())[axis : axis + 1] not in ((), (1,)) for name in ("base_dilation",))
    plain = params["window_dimensions"][axis] == 1 and params["window_strides"][axis] == 1
    if plain and not dilated and tuple(params["padding"][axis]) == (0, 0):
        return value
    return eq.mixed("windowed", axis)


@rule("fft")
def fft(eq: Equation, ins: Sequence[Value]) -> Value:
    """Over the last axes."""
    (value,) = ins
    if value.axis >= len(eq.shapes[0]) - len(eq.params["fft_lengths"]):
        return eq.mixed("transformed", value.axis)
    return value.moved(value.axis)


@rule(*MATRICES)
def matrices(eq: Equation, ins: Sequence[Value]) -> Value:
    """Each matrix by itself; its own axes are the last ones."""
    value = elementwise(eq, ins)
    own = MATRICES[eq.name]
    if value.is_along and value.axis >= min(len(shape) for shape in eq.shapes) - own:
        return eq.mixed("transformed", value.axis)
    return value
