"""Calls of ops on one array and on two, by the op's name: `call(ops, x)` and `call(ops, x, y)`, on any library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[..., Any]


def _names(text: str) -> list[str]:
    return text.split()


ELEMENTWISE = _names(
    """
    abs absolute angle arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil conj conjugate copy cos cosh deg2rad
    erf erfc erfinv exp exp2 expm1 fabs floor i0 imag isfinite isinf isnan isneginf isposinf isreal log log10 log1p
    log2 logical_not nan_to_num negative rad2deg real reciprocal round rsqrt sign signbit sin sinc sinh sqrt square
    tan tanh trunc bitwise_not bitwise_invert celu elu gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh
    leaky_relu log_sigmoid relu relu6 selu sigmoid silu soft_shrink softplus softsign sparse_plus sparse_sigmoid
    squareplus swish tanh_shrink zeros_like ones_like empty_like stop_gradient convert_to_tensor array ndim size
    shape dtype is_tensor ravel transpose flip fliplr flipud squeeze diag diagflat diagonal tril triu trace rot90
    nonzero norm softmax log_softmax sparsemax
    """
)
REDUCTIONS = _names(
    """
    all any amax amin argmax argmin max min mean median nanargmax nanargmin nanmax nanmean nanmedian nanmin nanprod
    nanstd nansum nanvar prod ptp std sum var logsumexp
    """
)
ALONG = _names(
    """
    cumsum cumprod nancumsum nancumprod sort argsort softmax log_softmax sparsemax flip count_nonzero average
    """
)
PAIRED = _names(
    """
    add subtract multiply divide true_divide divide_no_nan floor_divide mod power maximum minimum fmax fmin fmod
    arctan2 equal not_equal less less_equal greater greater_equal heaviside hypot logaddexp logaddexp2 logical_and
    logical_or logical_xor isclose allclose isin nextafter ldexp gcd lcm bitwise_and bitwise_or bitwise_xor
    bitwise_left_shift bitwise_right_shift left_shift right_shift outer polar
    """
)
PRODUCTS = ["dot", "inner", "kron", "matmul", "vdot"]


def bare(name: str) -> Call:
    return lambda ops, *xs: getattr(ops, name)(*xs)


def along(name: str, **options: Any) -> Call:
    return lambda ops, x: getattr(ops, name)(x, **options)


def _reduction(name: str) -> list[Call]:
    single = name in ("argmax", "argmin", "nanargmax", "nanargmin")
    axes = (0, 2, -3) if single else (0, 2, (0, -1))
    return [bare(name), along(name, keepdims=True), along(name, axis=-1, keepdims=True)] + [
        along(name, axis=axis) for axis in axes
    ]


# On one array; what needs at least two axes, or three elements in the last, has them on the grid's largest part.
ONE: dict[str, list[Call]] = {name: [bare(name)] for name in ELEMENTWISE}
ONE |= {name: _reduction(name) for name in REDUCTIONS}
for _name in ALONG:
    ONE[_name] = [bare(_name), *(along(_name, axis=axis) for axis in (None, 0, -2))]

_MORE: dict[str, list[Call]] = {
    "max": [along("max", axis=-1, initial=1), along("max", initial=1)],
    "min": [along("min", axis=0, initial=0), along("min", initial=0)],
    "prod": [along("prod", axis=0, dtype="float32")],
    "cumsum": [along("cumsum", axis=0, dtype="float32")],
    "average": [
        lambda ops, x: ops.average(x, axis=-1, weights=[1.0, 2.0, 3.0]),
        lambda ops, x: ops.average(x, weights=x),
    ],
    "quantile": [along("quantile", q=0.3), along("quantile", q=[0.25, 0.5], axis=-1, keepdims=True)],
    "percentile": [along("percentile", q=40, axis=0), along("percentile", q=40, method="nearest")],
    "nanquantile": [along("nanquantile", q=0.3), along("nanquantile", q=0.3, axis=(0, 1))],
    "nanpercentile": [along("nanpercentile", q=30.0), along("nanpercentile", q=30, axis=-1)],
    "diff": [bare("diff"), along("diff", n=2), along("diff", axis=0)],
    "trapezoid": [along("trapezoid", dx=0.5), along("trapezoid", axis=0), lambda ops, x: ops.trapezoid(x, x)],
    "argpartition": [along("argpartition", kth=1), along("argpartition", kth=0, axis=0)],
    "top_k": [along("top_k", k=2), along("top_k", k=1, sorted=False)],
    "histogram": [
        lambda ops, x: ops.histogram(x[0], bins=4, range=(0, 3)),
        lambda ops, x: ops.histogram(x[0], bins=4),
    ],
    "unique": [
        bare("unique"),
        along("unique", return_index=True, return_inverse=True, return_counts=True),
        along("unique", size=8, fill_value=0),
        along("unique", axis=0),
    ],
    "in_top_k": [lambda ops, x: ops.in_top_k(np.array([1, 2]), x, k=2)],
    "segment_sum": [lambda ops, x: ops.segment_sum(x, np.array([1, 0]), num_segments=3)],
    "segment_max": [lambda ops, x: ops.segment_max(x, np.array([1, 1]), num_segments=2)],
    "segment_min": [lambda ops, x: ops.segment_min(x, np.array([1, 1]), num_segments=2)],
    "segment_prod": [lambda ops, x: ops.segment_prod(x, np.array([0, 0]), num_segments=1, sorted=True)],
    "corrcoef": [bare("corrcoef")],
    "searchsorted": [
        lambda ops, x: ops.searchsorted(np.array([-1, 0, 2], "float32"), x, side="right"),
        lambda ops, x: ops.searchsorted(x, 1),
    ],
    "digitize": [lambda ops, x: ops.digitize(x, np.array([-1.0, 0.5, 2.0])), lambda ops, x: ops.digitize(x, [0, 1])],
    "bincount": [
        lambda ops, x: ops.bincount(abs(x[0]), minlength=3),
        lambda ops, x: ops.bincount(x * x % 5, minlength=6, weights=x),
    ],
    "psnr": [lambda ops, x: ops.psnr(x, x[::-1], max_val=1.0)],
    "clip": [along("clip", x_min=-1, x_max=1), along("clip", x_min=-0.5, x_max=1.5)],
    "round": [along("round", decimals=1)],
    "nan_to_num": [along("nan_to_num", nan=1.0, posinf=2.0, neginf=-3)],
    "cast": [along("cast", dtype=dtype) for dtype in ("float16", "bool", "int32")],
    "saturate_cast": [along("saturate_cast", dtype=dtype) for dtype in ("float16", "bool", "uint8", "int32")],
    "view": [along("view", dtype=dtype) for dtype in ("int32", "uint8", "float16")],
    "view_as_complex": [lambda ops, x: ops.view_as_complex(x[..., :2])],
    "view_as_real": [lambda ops, x: ops.view_as_real(ops.polar(x, x))],
    "zeros_like": [along("zeros_like", dtype="int32")],
    "ones_like": [along("ones_like", dtype="bfloat16")],
    "empty_like": [along("empty_like", dtype="bool")],
    "full_like": [along("full_like", fill_value=2), along("full_like", fill_value=2.5, dtype="float16")],
    "convert_to_tensor": [along("convert_to_tensor", dtype="float16")],
    "array": [along("array", dtype="int32")],
    "convert_to_numpy": [lambda ops, x: np.asarray(ops.convert_to_numpy(x), copy=True)],
    "reshape": [along("reshape", newshape=shape) for shape in ((3, -1), -1, (-1, 1), (2, 3), ())],
    "transpose": [along("transpose", axes=(1, 0)), along("transpose", axes=(-1, 0, 1))],
    "moveaxis": [along("moveaxis", source=0, destination=-1), along("moveaxis", source=(0, 1), destination=[1, 0])],
    "swapaxes": [along("swapaxes", axis1=0, axis2=-1)],
    "expand_dims": [along("expand_dims", axis=axis) for axis in (-1, 0, 1, (0, -1))],
    "squeeze": [along("squeeze", axis=1), lambda ops, x: ops.squeeze(x[:1], axis=0)],
    "broadcast_to": [along("broadcast_to", shape=(4, 2, 3)), along("broadcast_to", shape=[3])],
    "tile": [along("tile", repeats=repeats) for repeats in ((2, 1), 2, [1, 2, 1, 1], ())],
    "repeat": [
        along("repeat", repeats=2),
        along("repeat", repeats=np.array([2]), axis=-1),
        along("repeat", repeats=np.array([1, 3]), axis=0),
    ],
    "flip": [along("flip", axis=(0, 1))],
    "roll": [along("roll", shift=2), along("roll", shift=1, axis=-1), along("roll", shift=(1, -1), axis=(0, 1))],
    "rot90": [along("rot90", k=3), along("rot90", k=-1, axes=(1, 2))],
    "pad": [
        along("pad", pad_width=((1, 0), (0, 2))),
        along("pad", pad_width=1, constant_values=1),
        *(along("pad", pad_width=1, mode=mode) for mode in ("reflect", "symmetric", "edge")),
    ],
    "split": [
        along("split", indices_or_sections=3, axis=-1),
        along("split", indices_or_sections=[1], axis=1),
        along("split", indices_or_sections=1),
    ],
    "array_split": [
        along("array_split", indices_or_sections=2, axis=-1),
        along("array_split", indices_or_sections=2),
    ],
    "hsplit": [along("hsplit", indices_or_sections=3), along("hsplit", indices_or_sections=[1])],
    "vsplit": [along("vsplit", indices_or_sections=2), along("vsplit", indices_or_sections=(1,))],
    "dsplit": [lambda ops, x: ops.dsplit(x[None], 3), along("dsplit", indices_or_sections=1)],
    "unstack": [bare("unstack"), along("unstack", axis=-1), along("unstack", num=2)],
    "get_item": [lambda ops, x: ops.get_item(x, (slice(None), 1)), lambda ops, x: ops.get_item(x, (..., None, -1))],
    "take": [
        along("take", indices=[0, -1], axis=-1),
        along("take", indices=np.array([[0, 5], [1, 1]])),
        along("take", indices=1, axis=0),
        along("take", indices=[7, -9], axis=0),
    ],
    "take_along_axis": [
        along("take_along_axis", indices=np.array([[0, -1], [1, 1]]), axis=1),
        along("take_along_axis", indices=np.array([0, 4])),
        lambda ops, x: ops.take_along_axis(x, ops.argsort(x, axis=-1), axis=-1),
    ],
    "diag": [along("diag", k=1), lambda ops, x: ops.diag(x[0], k=-1)],
    "diagflat": [along("diagflat", k=-1)],
    "diagonal": [along("diagonal", offset=1), along("diagonal", axis1=-1, axis2=0)],
    "tril": [along("tril", k=-1)],
    "triu": [along("triu", k=1)],
    "trace": [along("trace", offset=1), along("trace", axis1=-1, axis2=0)],
    "rearrange": [
        lambda ops, x: ops.rearrange(x, "a (b c) -> (c a) b", c=3),
        lambda ops, x: ops.rearrange(x, "a b -> b a"),
    ],
    "unravel_index": [lambda ops, x: ops.unravel_index(x, (4, 5))],
    "vander": [lambda ops, x: ops.vander(x[0], N=4), lambda ops, x: ops.vander(x, increasing=True)],
    "norm": [
        along("norm", axis=-1, keepdims=True),
        *(along("norm", ord=order, axis=-1) for order in (0, 1, 3.0, -1, np.inf)),
        *(along("norm", ord=order, axis=(0, 1)) for order in ("fro", 1, -np.inf)),
    ],
    "normalize": [
        bare("normalize"),
        along("normalize", axis=0, order=1),
        along("normalize", order=3, epsilon=1.0),
    ],
    "softmax": [along("softmax", axis=(0, 1))],
    "log_softmax": [along("log_softmax", axis=(-1, 0))],
    "glu": [along("glu", axis=0), bare("glu")],
    "gelu": [along("gelu", approximate=False)],
    "celu": [along("celu", alpha=0.5)],
    "elu": [along("elu", alpha=0.5)],
    "leaky_relu": [along("leaky_relu", negative_slope=0.5)],
    "hard_shrink": [along("hard_shrink", threshold=0)],
    "soft_shrink": [along("soft_shrink", threshold=1)],
    "squareplus": [along("squareplus", b=0)],
    "threshold": [
        along("threshold", threshold=0.5, default_value=-1),
        along("threshold", threshold=1, default_value=0.5),
    ],
    "moments": [along("moments", axes=[0]), along("moments", axes=(0, -1), keepdims=True), along("moments", axes=-1)],
    "one_hot": [
        along("one_hot", num_classes=4),
        lambda ops, x: ops.one_hot(ops.cast(x, "int32"), 4, axis=0, dtype="int32"),
        lambda ops, x: ops.one_hot(ops.cast(x, "int32"), 3, axis=-2, dtype="bool"),
    ],
    "multi_hot": [
        lambda ops, x: ops.multi_hot(ops.cast(x, "int32"), 4),
        lambda ops, x: ops.multi_hot(ops.cast(x, "uint8"), 4, dtype="int32"),
    ],
    "layer_normalization": [bare("layer_normalization"), along("layer_normalization", axis=(0, 1), epsilon=1e-5)],
    "rms_normalization": [bare("rms_normalization"), along("rms_normalization", axis=0)],
    "slice": [along("slice", start_indices=(0, 1), shape=(2, 2))],
    "slice_update": [lambda ops, x: ops.slice_update(x, (1, 0), x[:1])],
    "scatter": [
        lambda ops, x: ops.scatter(np.array([[0], [3], [0]]), x[0], (5,)),
        lambda ops, x: ops.scatter(np.array([[0], [9]]), x, (3, 3)),
    ],
    "scatter_update": [
        lambda ops, x: ops.scatter_update(x, np.array([[0, 1], [1, 2]]), x[0, :2]),
        lambda ops, x: ops.scatter_update(x, np.array([[0, 1], [1, 7]]), x[0, :2]),
        *(
            along("scatter_update", indices=np.array([[0], [0]]), updates=np.full((2, 3), 2), reduction=reduction)
            for reduction in ("add", "max", "min", "mul")
        ),
    ],
    "extract_sequences": [along("extract_sequences", sequence_length=2, sequence_stride=1)],
    "rfft": [bare("rfft"), along("rfft", fft_length=4)],
    "fft": [lambda ops, x: ops.fft((x, x))],
    "fft2": [lambda ops, x: ops.fft2((x, x))],
    "ifft2": [lambda ops, x: ops.ifft2((x, x))],
    "irfft": [lambda ops, x: ops.irfft((x, x)), lambda ops, x: ops.irfft((x, x), fft_length=3)],
    "map": [lambda ops, x: ops.map(lambda row: row + row, x)],
    "vectorized_map": [lambda ops, x: ops.vectorized_map(lambda row: row + row, x)],
    "vectorize": [lambda ops, x: ops.vectorize(lambda a: ops.sum(a), signature="(n)->()")(x)],
    "scan": [lambda ops, x: ops.scan(lambda carry, row: (carry, row), x[0], x)],
    "associative_scan": [
        lambda ops, x: ops.associative_scan(ops.maximum, x, axis=1),
        lambda ops, x: ops.associative_scan(ops.add, x, reverse=True),
    ],
    "fori_loop": [lambda ops, x: ops.fori_loop(0, 3, lambda i, y: ops.maximum(y, i), x)],
    "while_loop": [
        lambda ops, x: ops.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, ops.maximum(y, i)), (0, x)),
        lambda ops, x: ops.while_loop(lambda y: ops.any(y < 0), lambda y: ops.abs(y), x, maximum_iterations=2),
    ],
    "where": [lambda ops, x: ops.where(x), lambda ops, x: ops.where(x > 0, 1, 2.5)],
    "cond": [lambda ops, x: ops.cond(True, lambda: x, lambda: x * 2)],
    "switch": [lambda ops, x: ops.switch(1, [lambda y: y, lambda y: y * 2], x)],
    "jvp": [lambda ops, x: ops.jvp(ops.sin, (x,), (x,))],
    "custom_gradient": [
        lambda ops, x: ops.custom_gradient(lambda y: (y * 2, lambda *a, upstream=None: (upstream or a[0]) * 3))(x)
    ],
}
for _name, _calls in _MORE.items():
    ONE[_name] = [*ONE.get(_name, []), *_calls]

# On two arrays that broadcast, and on one and a number.
TWO: dict[str, list[Call]] = {name: [bare(name)] for name in PAIRED}
TWO |= {
    "isclose": [bare("isclose"), lambda ops, x, y: ops.isclose(x, y, rtol=0.1, atol=0.5, equal_nan=True)],
    "isin": [bare("isin"), lambda ops, x, y: ops.isin(x, y, assume_unique=True, invert=True)],
    "where": [
        lambda ops, x, y: ops.where(x, x, y),
    ],
    "clip": [lambda ops, x, y: ops.clip(x, y, 2), lambda ops, x, y: ops.clip(x, -1, y)],
    "full_like": [lambda ops, x, y: ops.full_like(x, y)],
    "linspace": [
        lambda ops, x, y: ops.linspace(x, y, num=4),
        lambda ops, x, y: ops.linspace(x, y, num=3, endpoint=False, axis=-1),
    ],
    "logspace": [lambda ops, x, y: ops.logspace(x, y, num=3)],
    "geomspace": [lambda ops, x, y: ops.geomspace(x, y, num=3)],
    "append": [bare("append"), lambda ops, x, y: ops.append(x, y, axis=-1)],
    "meshgrid": [bare("meshgrid"), lambda ops, x, y: ops.meshgrid(x, y, indexing="ij")],
    "select": [lambda ops, x, y: ops.select([x > 1, x > 0], [x, y], 0)],
    "threshold": [lambda ops, x, y: ops.threshold(x, 0.5, y)],
}

# On two square matrices, and on pairs of other shapes.
PRODUCT: dict[str, list[Call]] = {name: [bare(name)] for name in PRODUCTS}
PRODUCT |= {
    "tensordot": [
        lambda ops, x, y: ops.tensordot(x, y, axes=1),
        lambda ops, x, y: ops.tensordot(x, y, axes=[[0], [-1]]),
        lambda ops, x, y: ops.tensordot(x, y, axes=0),
    ],
    "einsum": [
        lambda ops, x, y: ops.einsum("ij,kj->ik", x, y),
        lambda ops, x, y: ops.einsum("...j,j...->...", x, y),
    ],
    "cross": [bare("cross"), lambda ops, x, y: ops.cross(x, y, axis=0)],
    "cdist": [bare("cdist")],
    "correlate": [
        lambda ops, x, y: ops.correlate(x[0], y[0]),
        lambda ops, x, y: ops.correlate(x[0], y[1], mode="same"),
        lambda ops, x, y: ops.correlate(x[0, :2], y[1], mode="full"),
    ],
    "psnr": [lambda ops, x, y: ops.psnr(x, y, max_val=1.0)],
    "binary_crossentropy": [bare("binary_crossentropy"), lambda ops, x, y: ops.binary_crossentropy(x, y, True)],
    "categorical_crossentropy": [
        bare("categorical_crossentropy"),
        lambda ops, x, y: ops.categorical_crossentropy(x, y, from_logits=True, axis=0),
    ],
    "concatenate": [
        lambda ops, x, y: ops.concatenate([x, y]),
        lambda ops, x, y: ops.concatenate((x, y), axis=-1),
    ],
    "stack": [lambda ops, x, y: ops.stack([x, y]), lambda ops, x, y: ops.stack((x, y), axis=-1)],
    "hstack": [lambda ops, x, y: ops.hstack([x, y])],
    "vstack": [lambda ops, x, y: ops.vstack([x, y])],
    "dstack": [lambda ops, x, y: ops.dstack([x, y])],
    "trapezoid": [lambda ops, x, y: ops.trapezoid(x, y)],
    "average": [lambda ops, x, y: ops.average(x, weights=y, axis=0)],
    "slice_update": [lambda ops, x, y: ops.slice_update(x, (1, 0), y[:1])],
    "scatter_update": [lambda ops, x, y: ops.scatter_update(x, np.array([[0], [1]]), y[:2], "add")],
    "searchsorted": [lambda ops, x, y: ops.searchsorted(x[0], y)],
    "digitize": [lambda ops, x, y: ops.digitize(x, y[0])],
    "layer_normalization": [lambda ops, x, y: ops.layer_normalization(x, y[0], y[1])],
    "rms_normalization": [lambda ops, x, y: ops.rms_normalization(x, y[0])],
    "batch_normalization": [
        lambda ops, x, y: ops.batch_normalization(x, y[0], y[1], axis=-1),
        lambda ops, x, y: ops.batch_normalization(x, y[0], y[1], 0, offset=y[2], scale=x[0], epsilon=0.1),
    ],
}
