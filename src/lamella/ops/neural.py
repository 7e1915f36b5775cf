"""Ops of neural networks: activations, normalizations, encodings and cross-entropies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lamella.core.dtypes import standardize_dtype
from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.settings import epsilon as default_epsilon
from lamella.ops.dispatch import array, as_axis, finfo, op, operand, unary

__all__ = [
    "batch_normalization",
    "binary_crossentropy",
    "categorical_crossentropy",
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "layer_normalization",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "moments",
    "multi_hot",
    "one_hot",
    "relu",
    "relu6",
    "rms_normalization",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_categorical_crossentropy",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh_shrink",
    "threshold",
]


def _float(x: Any) -> Any:
    x = array(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype("float32")


def _sparse_sigmoid(x: Any) -> Any:
    return jnp.clip(0.5 * (x + 1.0), 0.0, 1.0)


hard_sigmoid = unary(jax.nn.hard_sigmoid, "`relu6(x + 3) / 6`.")
hard_silu = hard_swish = unary(jax.nn.hard_silu, "`x * hard_sigmoid(x)`.", "hard_silu")
hard_tanh = unary(jax.nn.hard_tanh, "Return x cut to [-1, 1].")
log_sigmoid = unary(jax.nn.log_sigmoid, "`log(sigmoid(x))`, without overflow on the way.")
relu = unary(jax.nn.relu, "`max(x, 0)`.", "relu")
relu6 = unary(jax.nn.relu6, "Return x cut to [0, 6].")
selu = unary(jax.nn.selu, "The ELU whose constants keep mean and variance (Klambauer et al., 2017).")
sigmoid = unary(jax.nn.sigmoid, "`1 / (1 + exp(-x))`.")
silu = swish = unary(jax.nn.silu, "`x * sigmoid(x)` (Ramachandran et al., 2017).", "silu")
softplus = unary(jax.nn.softplus, "`log(1 + exp(x))`.")
softsign = unary(jax.nn.soft_sign, "`x / (1 + abs(x))`.", "softsign")
sparse_plus = unary(jax.nn.sparse_plus, "0 below -1, x above 1, `(x + 1)**2 / 4` between.")
sparse_sigmoid = unary(_sparse_sigmoid, "The derivative of `sparse_plus`.", "sparse_sigmoid")
tanh_shrink = unary(lambda x: x - jnp.tanh(x), "`x - tanh(x)`.", "tanh_shrink")


@op
def celu(x: Any, alpha: float = 1.0) -> Any:
    """`max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))` (Barron, 2017)."""
    return jax.nn.celu(array(x), alpha)


@op
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x above 0, `alpha * (exp(x) - 1)` below (Clevert et al., 2015)."""
    return jax.nn.elu(array(x), alpha)


@op
def gelu(x: Any, approximate: bool = True) -> Any:
    """`x * Phi(x)` with the normal distribution's Phi, or a tanh near it (Hendrycks and Gimpel, 2016)."""
    return jax.nn.gelu(array(x), approximate)


@op
def glu(x: Any, axis: int = -1) -> Any:
    """Return the first half of an axis times the sigmoid of the second (Dauphin et al., 2016)."""
    x = array(x)
    if x.shape[axis] % 2:
        raise ShapeError(f"glu halves axis {axis}, which must be even; got {x.shape}.")
    return jax.nn.glu(x, axis)


@op
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """x above 0, `negative_slope * x` below."""
    return jax.nn.leaky_relu(array(x), negative_slope)


@op
def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x where it is further from 0 than the threshold, else 0."""
    x = _float(x)
    return jnp.where(jnp.abs(x) > threshold, x, jnp.zeros_like(x))


@op
def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x moved towards 0 by the threshold, and 0 where it would pass it."""
    x = _float(x)
    return jnp.where(jnp.abs(x) > threshold, x - jnp.sign(x) * threshold, jnp.zeros_like(x))


@op
def threshold(x: Any, threshold: float, default_value: Any) -> Any:
    """x where it is above the threshold, else the default."""
    x = operand(x)
    return jnp.where(x > threshold, x, operand(default_value))


@op
def squareplus(x: Any, b: float = 4) -> Any:
    """`(x + sqrt(x**2 + b)) / 2` (Barron, 2021)."""
    return jax.nn.squareplus(array(x), b)


@op
def softmax(x: Any, axis: Any = -1) -> Any:
    """Return exponentials divided by their sum along an axis, or along several together; None takes all."""
    return jax.nn.softmax(array(x), as_axis(axis))


@op
def log_softmax(x: Any, axis: Any = -1) -> Any:
    """`log(softmax(x))`, without overflow on the way."""
    return jax.nn.log_softmax(array(x), as_axis(axis))


@op
def sparsemax(x: Any, axis: int = -1) -> Any:
    """Return the nearest probabilities to the scores, many of them 0 (Martins and Astudillo, 2016)."""
    x = jnp.moveaxis(_float(x), axis, -1)
    ordered = -jnp.sort(-x, axis=-1)
    rank = jnp.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    total = jnp.cumsum(ordered, axis=-1)
    support = jnp.sum(1 + rank * ordered > total, axis=-1, keepdims=True)
    level = (jnp.take_along_axis(total, support - 1, axis=-1) - 1) / support.astype(x.dtype)
    return jnp.moveaxis(jnp.maximum(x - level, 0), -1, axis)


@op
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Any:
    """(...) class numbers -> (..., num_classes), 1 at the class; unknown ones are all 0."""
    _dense_only(sparse)
    return jax.nn.one_hot(array(x), num_classes, axis=axis, dtype=standardize_dtype(dtype))


@op
def multi_hot(
    inputs: Any,
    num_classes: int | None = None,
    axis: int = -1,
    dtype: Any = None,
    sparse: bool = False,
    **kwargs: Any,
) -> Any:
    """(..., k) class numbers -> (..., num_classes), 1 at each class that occurs."""
    _dense_only(sparse)
    if num_classes is None:
        raise ArgumentError("multi_hot needs the number of classes.", mend="multi_hot(x, num_classes=10)")
    x = array(inputs)
    hot = jax.nn.one_hot(x, num_classes, axis=axis, dtype=standardize_dtype(dtype))
    return jnp.max(hot, axis=1 if x.ndim > 1 else 0)


def _dense_only(sparse: bool) -> None:
    if sparse:
        raise ArgumentError("There are no sparse arrays here.", mend="sparse=False")


@op
def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> Any:
    """Return the mean and the variance over axes; half precision is computed in float32."""
    x = array(x)
    wide = x.astype("float32") if x.dtype.name in ("float16", "bfloat16") else x
    mean, variance = (f(wide, axis=as_axis(axes), keepdims=keepdims) for f in (jnp.mean, jnp.var))
    if wide is x:
        return mean, variance
    limit = finfo(x.dtype).max
    return tuple(jnp.clip(value, -limit, limit).astype(x.dtype) for value in (mean, variance))


@op
def batch_normalization(
    x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> Any:
    """Return `(x - mean) / sqrt(variance + epsilon) * scale + offset`, the vectors along one axis of x."""
    x = array(x)
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    factor = jax.lax.rsqrt(array(variance).reshape(shape) + epsilon)
    if scale is not None:
        factor = factor * array(scale).reshape(shape)
    shift = -array(mean).reshape(shape) * factor
    if offset is not None:
        shift = shift + array(offset).reshape(shape)
    return x * factor + shift


@op
def layer_normalization(
    x: Any, gamma: Any = None, beta: Any = None, axis: Any = -1, epsilon: float | None = None, **kwargs: Any
) -> Any:
    """Return x with mean 0 and variance 1 along axes, times gamma, plus beta (Ba et al., 2016)."""
    if kwargs.get("rms_scaling"):
        raise ArgumentError("layer_normalization does not scale by a root mean square.", mend="rms_normalization(x)")
    x = array(x)
    axes = as_axis(axis)
    wide = x.astype(jnp.promote_types(x.dtype, "float32"))
    centred = wide - jnp.mean(wide, axis=axes, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=axes, keepdims=True)
    out = centred * jax.lax.rsqrt(variance + (default_epsilon() if epsilon is None else epsilon))
    out = out if gamma is None else out * _along(gamma, x, axes)
    out = out if beta is None else out + _along(beta, x, axes)
    return out.astype(x.dtype)


@op
def rms_normalization(x: Any, scale: Any = None, axis: Any = -1, epsilon: float | None = None) -> Any:
    """Return x divided by its root mean square along axes, times scale (Zhang and Sennrich, 2019).

    Beside the last axis, the scale may be any that broadcasts against x.
    """
    x = array(x)
    axes = as_axis(axis)
    wide = x.astype(jnp.promote_types(x.dtype, "float32"))
    power = jnp.mean(jnp.square(wide), axis=axes, keepdims=True)
    least = default_epsilon() if epsilon is None else epsilon
    out = wide * jax.lax.rsqrt(power + least)
    if scale is not None:
        out = out * (array(scale) if axes == -1 else _along(scale, x, axes))
    return out.astype(x.dtype)


def _along(parameter: Any, x: Any, axes: Any) -> Any:
    """Return a parameter of the normalized axes shaped to broadcast against x."""
    kept = {axis % x.ndim for axis in (axes if isinstance(axes, tuple) else (axes,))}
    parameter = array(parameter)
    if parameter.ndim == x.ndim:
        return parameter
    return parameter.reshape([x.shape[axis] if axis in kept else 1 for axis in range(x.ndim)])


@op
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """Return `-target log(output) - (1 - target) log(1 - output)`, element by element."""
    target, output = array(target), array(output)
    _same_shape(target, output)
    if from_logits:
        yes, no = jax.nn.log_sigmoid(output), jax.nn.log_sigmoid(-output)
    else:
        inside = _inside(output)
        yes, no = jnp.log(inside), jnp.log(1.0 - inside)
    return -(target * yes) - (1.0 - target) * no


@op
def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """(..., classes) probabilities twice -> (...) `-sum(target * log(output))`; outputs are scaled to 1."""
    target, output = array(target), array(output)
    _same_shape(target, output)
    return -jnp.sum(target * _log_probabilities(output, from_logits, axis), axis=axis)


@op
def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """(...) class numbers, (..., classes) probabilities -> (...) `-log(output[target])`."""
    target, output = array(target).astype("int32"), array(output)
    if target.ndim == output.ndim and target.shape[-1] == 1:
        target = jnp.squeeze(target, axis=-1)
    logs = _log_probabilities(output, from_logits, axis)
    others = tuple(dim for index, dim in enumerate(output.shape) if index != axis % output.ndim)
    if target.shape != others:
        raise ShapeError(f"The targets must have shape {others} beside outputs {output.shape}, got {target.shape}.")
    hot = jax.nn.one_hot(target, output.shape[axis], axis=axis, dtype=jnp.promote_types(logs.dtype, "float32"))
    return -jnp.sum(hot * logs, axis=axis)


def _log_probabilities(output: Any, from_logits: bool, axis: int) -> Any:
    if from_logits:
        return jax.nn.log_softmax(output, axis)
    return jnp.log(_inside(output / jnp.sum(output, axis, keepdims=True)))


def _inside(probability: Any) -> Any:
    return jnp.clip(probability, default_epsilon(), 1.0 - default_epsilon())


def _same_shape(target: Any, output: Any) -> None:
    if target.ndim != output.ndim or any(a != b for a, b in zip(target.shape, output.shape, strict=True)):
        raise ShapeError(f"target and output must have one shape, got {target.shape} and {output.shape}.")
