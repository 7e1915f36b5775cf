"""Quantizers: arrays as whole numbers of few bits and a scale, `x = codes / scale`; and what is to be quantized how."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core import config
from lamella.core.config import Configurable, Convert
from lamella.core.config import deserialize as described
from lamella.core.dtypes import check_quantization_mode, is_float
from lamella.core.errors import ArgumentError
from lamella.core.registry import Registry
from lamella.ops.dispatch import array, finfo, op
from lamella.parts.identify import find

__all__ = [
    "AbsMaxQuantizer",
    "Int8QuantizationConfig",
    "QuantizationConfig",
    "QuantizationConfigLike",
    "Quantizer",
    "abs_max_quantize",
    "compute_float8_amax_history",
    "compute_float8_scale",
    "deserialize",
    "fake_quant_with_min_max_vars",
    "get",
    "quantize_and_dequantize",
    "serialize",
]

quantizers = Registry("quantizer")


@quantizers.register("quantizer")
class Quantizer(Configurable):
    """An array of any shape -> its codes and their scale; the `__call__` of a subclass takes `axis` and `to_numpy`."""

    keras_module: ClassVar[str] = "keras.quantizers"
    output_dtype: str = "int8"

    def __call__(self, x: Any) -> Any:
        """Return x as it is; a subclass quantizes."""
        return x


@quantizers.register("abs_max_quantizer")
class AbsMaxQuantizer(Quantizer):
    """`abs_max_quantize` with its arguments set: the largest number along `axis` becomes the largest code.

    >>> codes, scale = AbsMaxQuantizer(axis=-1)(jnp.array([[1.0, -4.0], [0.5, 0.1]]))
    >>> codes.tolist()
    [[32, -127], [127, 25]]
    """

    arguments_first = ("axis", "value_range", "epsilon")
    axis: Any = None
    value_range: tuple[int, int] = (-127, 127)
    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        self.axis = (self.axis,) if isinstance(self.axis, int) else None if self.axis is None else tuple(self.axis)
        self.value_range = tuple(self.value_range)  # type: ignore[assignment]
        low, high = self.value_range
        if self.output_dtype == "int8" and (low < -128 or high > 127):
            raise ArgumentError(f"AbsMaxQuantizer: int8 reaches from -128 to 127; value_range is {self.value_range}.")

    def __call__(self, x: Any, axis: Any = None, to_numpy: bool = False) -> tuple[Any, Any]:
        """Return the codes and the scale; an `axis` given here counts before the quantizer's own, and -1 after it."""
        axis = self.axis if axis is None else axis
        axis = -1 if axis is None else axis
        return abs_max_quantize(x, axis, self.value_range, self.output_dtype, self.epsilon, to_numpy)


@op
def abs_max_quantize(
    inputs: Any,
    axis: Any,
    value_range: tuple[int, int] = (-127, 127),
    dtype: str = "int8",
    epsilon: float = 1e-7,
    to_numpy: bool = False,
) -> tuple[Any, Any]:
    """An array -> its codes, and the scale with size 1 along `axis`; with `to_numpy` the host computes.

    >>> codes, scale = abs_max_quantize(jnp.array([[1.0, -4.0]]), -1)
    >>> codes.tolist(), scale.tolist()
    ([[32, -127]], [[31.75]])
    """
    xp: Any = np if to_numpy else jnp
    inputs = array(inputs)
    x = np.asarray(inputs) if to_numpy else inputs if is_float(inputs.dtype) else inputs.astype("float32")
    axis = axis if isinstance(axis, int) else tuple(axis)
    scale = value_range[1] / (xp.max(xp.abs(x), axis=axis, keepdims=True) + epsilon)
    codes = xp.clip(xp.round(x * scale), *value_range).astype(dtype)
    return jnp.asarray(codes), jnp.asarray(scale, x.dtype)


@op
def quantize_and_dequantize(inputs: Any, scale: Any, quantized_dtype: Any, compute_dtype: Any) -> Any:
    """What is left of an array after `inputs / scale` went through a float type of 8 bits: shape unchanged."""
    scale = array(scale).astype(compute_dtype)
    most = finfo(quantized_dtype).max.astype(compute_dtype)
    codes = jnp.clip(array(inputs) / scale, -most, most).astype(quantized_dtype)
    return codes.astype(compute_dtype) * scale


@op
def compute_float8_scale(amax: Any, scale: Any, dtype_max: Any, margin: int = 0) -> Any:
    """The scale that brings `amax` to `dtype_max / 2**margin`; the old one where `amax` is 0 or not finite."""
    amax, scale = array(amax), array(scale)
    return jnp.where((amax > 0) & jnp.isfinite(amax), 1 / (dtype_max / amax / 2**margin), scale)


@op
def compute_float8_amax_history(x: Any, amax_history: Any) -> Any:
    """The history of largest magnitudes moved on by one place, with the array's own at its start."""
    history = array(amax_history)
    return jnp.roll(history, -1).at[0].set(jnp.max(jnp.abs(array(x))).astype(history.dtype))


@op
def fake_quant_with_min_max_vars(
    inputs: Any, min_vals: Any, max_vals: Any, num_bits: int = 8, narrow_range: bool = False, axis: Any = None
) -> Any:
    """Round to the steps that `num_bits` leave between a smallest and a largest value: shape unchanged.

    With `axis` the two are vectors along it. Gradients pass where nothing was cut off; what was, goes to the bound.
    Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2017,
    https://arxiv.org/abs/1712.05877.

    >>> fake_quant_with_min_max_vars(jnp.array([-1.0, 0.3, 9.0]), 0.0, 3.0, num_bits=2).tolist()
    [0.0, 0.0, 3.0]
    """
    x = array(inputs)
    dtype = jnp.promote_types(x.dtype, "float32")
    bounds = [array(bound).astype(dtype) for bound in (min_vals, max_vals)]
    if axis is not None:
        along = [size if place == axis % x.ndim else 1 for place, size in enumerate(x.shape)]
        bounds = [bound.reshape(along) if bound.ndim == 1 else bound for bound in bounds]
    return _fake_quantized(int(num_bits), bool(narrow_range), x.astype(dtype), *bounds).astype(x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _fake_quantized(bits: int, narrow: bool, x: Any, low: Any, high: Any) -> Any:
    low, high, step, steps = _nudged(bits, narrow, low, high)
    zero = jnp.floor(-low * steps + 0.5)
    return jnp.floor((jnp.clip(x, low, high) - low) * steps - zero + 0.5) * step


@_fake_quantized.defjvp
def _fake_derivative(bits: int, narrow: bool, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    x, dots = primals[0], tangents
    low, high, *_ = _nudged(bits, narrow, *primals[1:])
    cases = ((x >= low) & (x <= high), x <= low, x >= high)
    return _fake_quantized(bits, narrow, *primals), sum(
        jnp.where(case, dot, 0.0) for case, dot in zip(cases, dots, strict=True)
    )


def _nudged(bits: int, narrow: bool, low: Any, high: Any) -> tuple[Any, Any, Any, Any]:
    """Return the bounds moved so that 0 is a step, the size of a step, and its inverse."""
    least, most = int(narrow), 2**bits - 1
    step, steps = (high - low) / (most - least), (most - least) / (high - low)
    zero = jnp.round(jnp.clip(least - low / step, least, most))
    return (least - zero) * step, (most - zero) * step, step, steps


class QuantizationConfig(Configurable):
    """How a layer is quantized: its weights by one quantizer, its inputs by another; None leaves inputs in floats."""

    keras_module: ClassVar[str] = "keras.quantizers"
    weight_quantizer: Any = None
    activation_quantizer: Any = None

    @property
    def mode(self) -> str:
        """The mode, as `quantize` takes it; a subclass says which."""
        raise NotImplementedError(f"{type(self).__name__} does not define `mode`.")


class Int8QuantizationConfig(QuantizationConfig):
    """Weights as whole numbers of 8 bits; inputs too, sample by sample, unless `activation_quantizer=None`.

    >>> Int8QuantizationConfig(activation_quantizer=None).mode
    'int8'
    """

    activation_quantizer: Any = "default"

    def __post_init__(self) -> None:
        if self.activation_quantizer == "default":
            self.activation_quantizer = AbsMaxQuantizer()
        kept = getattr(self.weight_quantizer, "output_dtype", "int8")
        if kept != "int8":
            raise ArgumentError(f"Int8QuantizationConfig: the weights' quantizer must give int8, it gives {kept}.")

    @property
    def mode(self) -> str:
        """Return "int8"."""
        return "int8"


def resolve(mode: Any, config: Any) -> QuantizationConfig:
    """Return the config that the arguments of `quantize` stand for."""
    if isinstance(config, str):
        mode, config = config, None
    if config is None and mode is None:
        raise ArgumentError("quantize needs a mode or a config.", mend='quantize("int8")')
    if config is None:
        check_quantization_mode(mode)
        return Int8QuantizationConfig()
    if not isinstance(config, QuantizationConfig):
        raise ArgumentError(f"quantize takes a QuantizationConfig, got {config!r}.", mend="Int8QuantizationConfig()")
    if mode not in (None, config.mode):
        raise ArgumentError(f"quantize got the mode {mode!r} and a config of the mode {config.mode!r}.")
    check_quantization_mode(config.mode)
    return config


def get(identifier: Any, **kwargs: Any) -> Any:
    """Return the quantizer that a name, a class, a config or a callable stands for; `kwargs` are a class's arguments.

    >>> get("abs_max_quantizer", axis=0).axis
    (0,)
    """
    if isinstance(identifier, str):
        identifier = quantizers[identifier]
    if isinstance(identifier, type):
        identifier = identifier(**kwargs)
    return find(identifier, quantizers, "keras.quantizers")


def serialize(initializer: Any) -> Any:
    """Return a quantizer, or a config of quantization, as plain data."""
    return config.serialize(initializer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the quantizer, or the config, that `serialize` described."""
    return described(config, custom_objects)


def _as_config(given: Any) -> QuantizationConfig | None:
    return None if given is None else resolve(None, given)


QuantizationConfigLike = Annotated[Any, Convert(_as_config)]
