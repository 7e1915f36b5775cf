"""Operations between layers as plain data, in Keras's form: a closed table, of classes there and functions here."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lamella import ops
from lamella.core.config import deserialize, serialize
from lamella.core.dtypes import standardize_dtype
from lamella.core.errors import ArgumentError, FileFormatError, LamellaError, UnknownNameError
from lamella.core.naming import snake_case
from lamella.core.structure import leaves_of
from lamella.core.variable import Variable
from lamella.graph.tensor import Node, Op, SymbolicTensor, apply, symbols_of

Call: TypeAlias = tuple[list[Any], dict[str, Any]]
_MEND = "Lambda with a registered function, or a layer of its own"
_MODULE = "keras.src.ops."
# Each module's operations, with the arguments that are the constructor's; the others are those of the call. Operations
# that take a Python function are not among them: a file has none to give.
_TABLE = {
    "core": """
        Cast(dtype) ConvertToTensor(dtype sparse ragged) SaturateCast(dtype) Scatter(shape)
        ScatterUpdate(reduction) Slice(shape) SliceUpdate StopGradient Unstack(num axis)
    """,
    "einops": """
        Rearrange
    """,
    "image": """
        AffineTransform(interpolation fill_mode fill_value data_format) CropImages(top_cropping left_cropping
        bottom_cropping right_cropping target_height target_width data_format) ElasticTransform(alpha sigma
        interpolation fill_mode fill_value seed data_format) ExtractPatches(size strides dilation_rate padding
        data_format) GaussianBlur(kernel_size sigma data_format) HSVToRGB(data_format) MapCoordinates(order
        fill_mode fill_value) PadImages(top_padding left_padding bottom_padding right_padding target_height
        target_width data_format) PerspectiveTransform(interpolation fill_value data_format)
        RGBToGrayscale(data_format) RGBToHSV(data_format) Resize(size interpolation antialias crop_to_aspect_ratio
        pad_to_aspect_ratio fill_mode fill_value data_format) SSIM(max_val filter_size filter_sigma k1 k2
        data_format) ScaleAndTranslate(spatial_dims method antialias) SobelEdges(data_format)
    """,
    "linalg": """
        Cholesky(upper) CholeskyInverse(upper) Det Eig Eigh Inv Lstsq(rcond) LuFactor MatrixRank(tol) Norm(ord
        axis keepdims) Pinv(rcond) Qr(mode) SVD(full_matrices compute_uv) Solve SolveTriangular(lower)
    """,
    "math": """
        CDist Erf Erfc Erfinv ExtractSequences(sequence_length sequence_stride) FFT FFT2 IFFT2 IRFFT(fft_length)
        ISTFT(sequence_length sequence_stride fft_length length window center) InTopK(k) Logdet Logsumexp(axis
        keepdims) RFFT(fft_length) Rsqrt STFT(sequence_length sequence_stride fft_length window center)
        SegmentMax(num_segments sorted) SegmentMin(num_segments sorted) SegmentProd(num_segments sorted)
        SegmentSum(num_segments sorted) TopK(k sorted) ViewAsComplex ViewAsReal
    """,
    "nn": """
        AdaptiveAveragePool(output_size data_format) AdaptiveMaxPool(output_size data_format)
        AveragePool(pool_size strides padding data_format) BatchNorm(axis epsilon) BinaryCrossentropy(from_logits)
        CTCDecode(strategy beam_width top_paths merge_repeated mask_index) CTCLoss(mask_index)
        CategoricalCrossentropy(from_logits axis) Celu(alpha) Conv(strides padding data_format dilation_rate)
        ConvTranspose(strides padding output_padding data_format dilation_rate) DepthToSpace(block_size
        data_format) DepthwiseConv(strides padding data_format dilation_rate) DotProductAttention(is_causal
        flash_attention attn_logits_soft_cap) Elu(alpha) Fold(output_size kernel_size dilation padding stride)
        Gelu(approximate) Glu(axis) HardShrink(threshold) HardSigmoid HardSilu HardTanh LayerNorm(axis epsilon
        rms_scaling) LeakyRelu(negative_slope) LogSigmoid LogSoftmax(axis) MaxPool(pool_size strides padding
        data_format) Moments(axes keepdims synchronized) MultiHot(num_classes axis dtype sparse) Normalize(axis
        order epsilon) OneHot(num_classes axis dtype sparse) PSNR(max_val) Polar RMSNorm(axis epsilon) Relu Relu6
        Selu SeparableConv(strides padding data_format dilation_rate) Sigmoid Silu SoftShrink(threshold)
        Softmax(axis) Softplus Softsign SpaceToDepth(block_size data_format)
        SparseCategoricalCrossentropy(from_logits axis) SparsePlus SparseSigmoid Sparsemax(axis) Squareplus(b)
        TanhShrink Threshold(threshold default_value) Unfold(kernel_size dilation padding stride)
    """,
    "numpy": """
        Abs Absolute Add All(axis keepdims) AllClose(rtol atol equal_nan) Amax(axis keepdims) Amin(axis keepdims)
        Angle Any(axis keepdims) Append(axis) Arange(dtype) Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh
        Argmax(axis keepdims) Argmin(axis keepdims) Argpartition(kth axis) Argsort(axis) Array(dtype)
        ArraySplit(indices_or_sections axis) Average(axis) Bincount(weights minlength sparse) BitwiseAnd
        BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor BroadcastTo(shape) Cbrt
        Ceil Clip(x_min x_max) Concatenate(axis) Conj Conjugate Copy Corrcoef Correlate(mode) Cos Cosh
        CountNonzero(axis) Cross(axisa axisb axisc axis) Cumprod(axis dtype) Cumsum(axis dtype) Deg2rad Diag(k)
        Diagflat(k) Diagonal(offset axis1 axis2) Diff(n axis) Digitize Divide DivideNoNan Dot
        Dsplit(indices_or_sections) Dstack Einsum(subscripts) EmptyLike(dtype) Equal Exp Exp2 ExpandDims(axis)
        Expm1 Fabs Flip(axis) Fliplr Flipud Floor FloorDivide Fmax Fmin Fmod Full(shape dtype) FullLike(dtype) Gcd
        Geomspace(num endpoint dtype axis) GetItem Greater GreaterEqual Heaviside Histogram(bins range)
        Hsplit(indices_or_sections) Hstack Hypot I0 Imag Inner IsIn(assume_unique invert) Isclose(equal_nan)
        Isfinite Isinf Isnan Isneginf Isposinf Isreal Kron Lcm Ldexp LeftShift Less LessEqual Linspace(num
        endpoint retstep dtype axis) Log Log10 Log1p Log2 Logaddexp Logaddexp2 LogicalAnd LogicalNot LogicalOr
        LogicalXor Logspace(num endpoint base dtype axis) Matmul Max(axis keepdims initial) Maximum Mean(axis
        keepdims) Median(axis keepdims) Meshgrid(indexing) Min(axis keepdims initial) Minimum Mod Moveaxis(source
        destination) Multiply NanToNum(nan posinf neginf) Nanargmax(axis keepdims) Nanargmin(axis keepdims)
        Nancumprod(axis dtype) Nancumsum(axis dtype) Nanmax(axis keepdims) Nanmean(axis keepdims) Nanmedian(axis
        keepdims) Nanmin(axis keepdims) Nanpercentile(axis method keepdims) Nanprod(axis keepdims)
        Nanquantile(axis method keepdims) Nanstd(axis keepdims) Nansum(axis keepdims) Nanvar(axis keepdims) Ndim
        Negative Nextafter Nonzero NotEqual OnesLike(dtype) Outer Pad(pad_width mode) Percentile(axis method
        keepdims) Power Prod(axis keepdims dtype) Ptp(axis keepdims) Quantile(axis method keepdims) Rad2deg Ravel
        Real Reciprocal Repeat(repeats axis) Reshape(newshape) RightShift Roll(shift axis) Rot90(k axes)
        Round(decimals) SearchSorted(side) Select Sign Signbit Sin Sinc Sinh Size Slogdet Sort(axis)
        Split(indices_or_sections axis) Sqrt Square Squeeze(axis) Stack(axis) Std(axis keepdims) Subtract Sum(axis
        keepdims) Swapaxes(axis1 axis2) Take(axis) TakeAlongAxis(axis) Tan Tanh Tensordot(axes) Tile(repeats)
        Trace(offset axis1 axis2) Transpose(axes) Trapezoid(x dx axis) Tril(k) Triu(k) TrueDivide Trunc
        Unique(sorted return_index return_inverse return_counts axis size fill_value) UnravelIndex(shape) Vander(N
        increasing) Var(axis keepdims) Vdot View(dtype) Vsplit(indices_or_sections) Vstack Where ZerosLike(dtype)
    """,
}
# Functions that are not the class's name in snake case.
_NAMES = {
    "AllClose": "allclose",
    "BatchNorm": "batch_normalization",
    "CDist": "cdist",
    "IsIn": "isin",
    "LayerNorm": "layer_normalization",
    "RMSNorm": "rms_normalization",
    "SearchSorted": "searchsorted",
}


class Known(NamedTuple):
    """An operation: its class's name and module in Keras, the function here, the constructor's arguments there."""

    name: str
    module: str
    function: Any
    arguments: tuple[str, ...]


def _entries() -> list[Known]:
    found = []
    for module, text in _TABLE.items():
        space = getattr(ops, module) if module in ("image", "linalg") else ops
        for name, arguments in re.findall(r"(\w+)(?:\(([^)]*)\))?", text):
            function = getattr(space, _NAMES.get(name, snake_case(name)))
            found.append(Known(name, _MODULE + module, function, tuple(arguments.split())))
    return found


def _length(value: Any) -> int:
    """Return how many pieces an argument stands for: a number, a list, or the rows of a tensor."""
    if isinstance(value, SymbolicTensor):
        return value.shape[0] or 1
    return value if isinstance(value, int) else len(value)


# How often Python goes round in an operation, where that depends on what it is given: an hour has room in one number.
_ROUNDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "Diff": lambda given: 10 * given["n"],
    "Unstack": lambda given: given["x"].shape[given["axis"]] or 1,
    "MapCoordinates": lambda given: _length(given["coordinates"]),
    **dict.fromkeys(("Scatter", "ScatterUpdate"), lambda given: np.shape(given["indices"])[-1] or 1),
    **dict.fromkeys(("Concatenate", "Hstack", "Vstack", "Dstack"), lambda given: _length(given["xs"])),
    "Stack": lambda given: _length(given["x"]),
    **dict.fromkeys(
        ("Split", "ArraySplit", "Hsplit", "Vsplit", "Dsplit"), lambda given: _length(given["indices_or_sections"])
    ),
}
_MOST_ROUNDS = 1000

BY_NAME = {known.name: known for known in _entries()}
# Of two names of one function the longer one, which is what Keras writes: Absolute for Abs.
_BY_FUNCTION = {known.function: known for known in BY_NAME.values()}


def is_operation(entry: dict[str, Any]) -> bool:
    """Tell whether a graph's entry is one of Keras's operations, not a layer."""
    return str(entry.get("module")).startswith(_MODULE)


def operation_config(operation: Op, name: str, nodes: list[Node]) -> tuple[dict[str, Any], list[Call]]:
    """Return an operation in Keras's form, and of each of its calls what is not the constructor's."""
    known = _BY_FUNCTION.get(operation.function)
    if known is None:
        raise ArgumentError(f"The operation {operation.name!r} between layers has no place in a config.", mend=_MEND)
    config: dict[str, Any] = {}
    calls = []
    for node in nodes:
        config, args, kwargs = _split(known, node)
        calls.append((args, kwargs))
    entry = {"module": known.module, "class_name": known.name, "config": {"name": name, **config}}
    return {**entry, "registered_name": known.name}, calls


def _split(known: Known, node: Node) -> tuple[dict[str, Any], list[Any], dict[str, Any]]:
    """Return a call's arguments as Keras keeps them: the constructor's as plain data, then those of its `call`."""
    bound = _signature(known.function).bind(*node.args, **node.kwargs)
    bound.apply_defaults()
    given = bound.arguments
    config = {name: _plain(known, name, given[name]) for name in known.arguments if name in given}
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            args += given[name]
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs = {key: value for key, value in given[name].items() if key not in known.arguments}
        elif name not in known.arguments:
            args.append(given[name])
    if known.name == "GetItem" and not isinstance(args[1], tuple):
        args[1] = (args[1],)
    if any(isinstance(leaf, Variable) for leaf in leaves_of((args, kwargs))):
        raise ArgumentError(
            f"The operation {node.operation.name!r} between layers reads a variable, which no layer keeps.",
            mend="a layer of its own, with add_weight",
        )
    return config, args, kwargs


@functools.cache
def _signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


def _plain(known: Known, name: str, value: Any) -> Any:
    """Return an argument of the constructor in strings, numbers and lists: Keras's operations take nothing else."""
    if symbols_of(value):
        raise ArgumentError(
            f"The operation {known.name!r} takes {name!r} from a tensor, which has no place in a config.", mend=_MEND
        )
    if name == "dtype" and value is not None:
        return standardize_dtype(value)
    if known.name == "Reshape" and isinstance(value, int):
        return [value]
    return np.asarray(value).tolist() if hasattr(value, "__array__") else serialize(value)


class ReadOperation:
    """An operation that a config names, called on symbolic tensors alone: nothing is computed while a file is read.

    What its arguments may be is bounded: some operations are loops in Python over a number that they are given.
    """

    def __init__(self, entry: dict[str, Any]) -> None:
        name = entry.get("class_name")
        if not isinstance(name, str) or name not in BY_NAME:
            raise UnknownNameError(
                f"The config has the operation {str(name)[:80]!r} between its layers, which is not known here.",
                mend=f"{_MEND}, in the model that was saved",
            )
        self.known = BY_NAME[name]
        config = entry["config"]
        unknown = sorted(set(config) - {"name", *self.known.arguments})
        if unknown:
            raise ArgumentError(f"The operation {name!r} has no argument {unknown[0][:80]!r}.")
        self.arguments = {key: deserialize(value) for key, value in config.items() if key != "name"}
        self.operation = Op(self.known.function, entry["name"])

    @property
    def nodes(self) -> list[Node]:
        """The calls so far."""
        return self.operation.nodes

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call on what the config gives beside the constructor's arguments."""
        if not symbols_of((args, kwargs)):
            raise FileFormatError(f"The config calls the operation {self.operation.name!r} on no tensor.")
        try:
            bound = self._bound(list(args), {**kwargs, **self.arguments})
            self._check_rounds(bound.arguments)
            return apply(self.operation, bound.args, bound.kwargs)
        except LamellaError:
            raise
        except Exception as error:
            raise FileFormatError(
                f"The config calls the operation {self.operation.name!r} ({self.known.name}) with arguments that it "
                f"does not take: {str(error)[:200]}"
            ) from error

    def _check_rounds(self, given: dict[str, Any]) -> None:
        rounds = _ROUNDS[self.known.name](given) if self.known.name in _ROUNDS else 1
        if rounds > _MOST_ROUNDS:
            raise FileFormatError(
                f"The config has the operation {self.operation.name!r} ({self.known.name}) work on {rounds:,} pieces; "
                f"at most {_MOST_ROUNDS:,} are read."
            )

    def _bound(self, args: list[Any], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        """Give the arguments by position to those parameters that are not the constructor's."""
        signature = _signature(self.known.function)
        given: dict[str, Any] = {}
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                given[name], args = tuple(args), []
            elif parameter.kind is parameter.VAR_KEYWORD:
                given[name], kwargs = kwargs, {}
            elif name in kwargs:
                given[name] = kwargs.pop(name)
            elif args and name not in self.known.arguments:
                given[name] = args.pop(0)
            elif parameter.default is not parameter.empty:
                given[name] = parameter.default
        if args or kwargs or len(given) < len(signature.parameters):
            raise ArgumentError(f"The operation {self.operation.name!r} has too many arguments, or too few.")
        if self.known.name == "GetItem" and isinstance(given["key"], list):
            given["key"] = tuple(given["key"])
        return inspect.BoundArguments(signature, given)
