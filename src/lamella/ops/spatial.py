"""Ops over space: convolutions, pooling, patches; and attention over time."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import lax

from lamella import kernels
from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.settings import one_of, standardize_data_format
from lamella.ops.dispatch import array, arrays, op

__all__ = [
    "adaptive_average_pool",
    "adaptive_max_pool",
    "average_pool",
    "conv",
    "conv_transpose",
    "depth_to_space",
    "depthwise_conv",
    "dot_product_attention",
    "fold",
    "max_pool",
    "separable_conv",
    "space_to_depth",
    "unfold",
]

_SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


def _tuple(argument: str, value: Any, rank: int) -> tuple[int, ...]:
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank:
        raise ArgumentError(f"{argument} must be one number or {rank}, got {value!r}.")
    return values


@op
def conv(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    """(batch, *space, channels), (*window, channels / groups, filters) -> (batch, *new_space, filters)."""
    x, kernel, data_format = array(inputs), array(kernel), standardize_data_format(data_format)
    rank = x.ndim - 2
    channels = x.shape[-1 if data_format == "channels_last" else 1]
    if channels % kernel.shape[-2]:
        raise ShapeError(
            f"The kernel {kernel.shape} takes {kernel.shape[-2]} channels a group; the input has {channels}."
        )
    return kernels.convolve(
        x.astype(kernel.dtype),
        kernel,
        strides=_tuple("strides", strides, rank),
        padding=one_of("padding", padding, ("valid", "same")),
        data_format=data_format,
        dilation_rate=_tuple("dilation_rate", dilation_rate, rank),
        groups=channels // kernel.shape[-2],
    )


@op
def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    """(batch, *space, channels), (*window, channels, times) -> (batch, *new_space, channels * times)."""
    kernel = array(kernel)
    kernel = kernel.reshape(*kernel.shape[:-2], 1, kernel.shape[-2] * kernel.shape[-1])
    return conv(inputs, kernel, strides, padding, data_format, dilation_rate)


@op
def separable_conv(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    """A depthwise convolution, then one with a window of 1 that mixes the channels."""
    x = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(x, pointwise_kernel, data_format=data_format)


@op
def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    """(batch, *space, channels), (*window, filters, channels) -> (batch, *larger_space, filters)."""
    x, kernel, data_format = array(inputs), array(kernel), standardize_data_format(data_format)
    padding = one_of("padding", padding, ("valid", "same"))
    rank = x.ndim - 2
    strides = _tuple("strides", strides, rank)
    dilation = _tuple("dilation_rate", dilation_rate, rank)
    extra = (None,) * rank if output_padding is None else _tuple("output_padding", output_padding, rank)
    widths = [(size - 1) * rate + 1 for size, rate in zip(kernel.shape, dilation, strict=False)]
    return kernels.convolve_transposed(
        x.astype(dtype := jnp.result_type(x, kernel)),
        kernel.astype(dtype),
        strides=strides,
        borders=[_borders(*each, padding) for each in zip(widths, strides, extra, strict=True)],
        data_format=data_format,
        dilation_rate=dilation,
    )


def _borders(width: int, stride: int, extra: int | None, padding: str) -> tuple[int, int]:
    """Return how much is cut off from each end of the whole result; a negative number adds zeros."""
    if extra is None:
        left = max(width - stride, 0) // 2 if padding == "same" else 0
        right = width - stride - left if padding == "same" else min(width - stride, 0)
    else:
        cut = 2 * (width // 2) - extra if padding == "same" else -extra
        left = max(cut, 0) // 2 if padding == "same" else 0
        right = cut - left
    return left, right


def _windows(
    rank: int, pool_size: Any, strides: Any, padding: str, data_format: str | None
) -> tuple[tuple[int, ...], tuple[int, ...], str, str]:
    """Return what both kinds of pooling need, checked and complete."""
    window = _tuple("pool_size", pool_size, rank)
    steps = window if strides is None else _tuple("strides", strides, rank)
    return window, steps, one_of("padding", padding, ("valid", "same")), standardize_data_format(data_format)


@op
def max_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: str | None = None
) -> Any:
    """(batch, *space, channels) -> (batch, *fewer, channels): the largest value of each window."""
    x = array(inputs)
    return kernels.max_pool(x, *_windows(x.ndim - 2, pool_size, strides, padding, data_format))


@op
def average_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: str | None = None
) -> Any:
    """(batch, *space, channels) -> (batch, *fewer, channels): the mean of each window, borders left out."""
    x = array(inputs)
    return kernels.average_pool(x, *_windows(x.ndim - 2, pool_size, strides, padding, data_format))


@op
def adaptive_average_pool(inputs: Any, output_size: Any, data_format: str | None = None) -> Any:
    """(batch, *space, channels) -> (batch, *output_size, channels): means of windows that cover it."""
    x = array(inputs)
    size = _tuple("output_size", output_size, x.ndim - 2)
    return kernels.adaptive_average_pool(x, size, standardize_data_format(data_format))


@op
def adaptive_max_pool(inputs: Any, output_size: Any, data_format: str | None = None) -> Any:
    """(batch, *space, channels) -> (batch, *output_size, channels): maxima of windows that cover it."""
    x = array(inputs)
    size = _tuple("output_size", output_size, x.ndim - 2)
    return kernels.adaptive_max_pool(x, size, standardize_data_format(data_format))


@op
def space_to_depth(x: Any, block_size: int, data_format: str = "channels_last") -> Any:
    """(batch, rows, cols, channels) -> (batch, rows / b, cols / b, b * b * channels)."""
    x, b = _as_last(array(x), data_format), block_size
    n, rows, cols, channels = x.shape
    x = x.reshape(n, rows // b, b, cols // b, b, channels).transpose(0, 1, 3, 2, 4, 5)
    return _back(x.reshape(n, rows // b, cols // b, b * b * channels), data_format)


@op
def depth_to_space(x: Any, block_size: int, data_format: str = "channels_last") -> Any:
    """(batch, rows, cols, b * b * channels) -> (batch, rows * b, cols * b, channels)."""
    x, b = _as_last(array(x), data_format), block_size
    n, rows, cols, depth = x.shape
    x = x.reshape(n, rows, cols, b, b, depth // (b * b)).transpose(0, 1, 3, 2, 4, 5)
    return _back(x.reshape(n, rows * b, cols * b, depth // (b * b)), data_format)


def _as_last(x: Any, data_format: str) -> Any:
    return x if data_format == "channels_last" else jnp.moveaxis(x, 1, -1)


def _back(x: Any, data_format: str) -> Any:
    return x if data_format == "channels_last" else jnp.moveaxis(x, -1, 1)


@op
def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """(batch, channels, rows, cols) -> (batch, channels * window, places): every window as a column."""
    x = array(x)
    window, rate = _tuple("kernel_size", kernel_size, 2), _tuple("dilation", dilation, 2)
    border, step = _tuple("padding", padding, 2), _tuple("stride", stride, 2)
    patches = lax.conv_general_dilated_patches(
        x,
        window,
        step,
        [(size, size) for size in border],
        rhs_dilation=rate,
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )
    return patches.reshape(*patches.shape[:2], patches.shape[2] * patches.shape[3])


@op
def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """(batch, channels * window, places) -> (batch, channels, rows, cols): columns of `unfold` added up."""
    x = array(x)
    size, window = _tuple("output_size", output_size, 2), _tuple("kernel_size", kernel_size, 2)
    rate, border, step = _tuple("dilation", dilation, 2), _tuple("padding", padding, 2), _tuple("stride", stride, 2)
    padded = [n + 2 * edge for n, edge in zip(size, border, strict=True)]
    counts = [(n - r * (w - 1) - 1) // s + 1 for n, r, w, s in zip(padded, rate, window, step, strict=True)]
    rows, cols = (
        jnp.arange(w)[:, None] * r + jnp.arange(n) * s for w, r, n, s in zip(window, rate, counts, step, strict=True)
    )
    channels = x.shape[1] // math.prod(window)
    empty = jnp.zeros((x.shape[0], channels, *padded), x.dtype)
    columns = x.reshape(x.shape[0], channels, *window, *counts)
    image = empty.at[:, :, rows[:, None, :, None], cols[None, :, None, :]].add(columns)
    return image[:, :, border[0] : border[0] + size[0], border[1] : border[1] + size[1]]


@op
def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> Any:
    """(batch, time, heads, size), (batch, keys, key_heads, size) twice -> (batch, time, heads, size).

    `softmax(scale * query @ key + bias) @ value` (Vaswani et al., 2017); a head of keys may serve
    several of queries. With `flash_attention=True` cuDNN's kernel is taken where it fits: on an NVIDIA GPU, in half
    precision, for heads of up to 128.
    """
    query, key, value = arrays((query, key, value))
    dtype = jnp.result_type(query, key, value)
    query, key, value = (x.astype(dtype) for x in (query, key, value))
    return kernels.attention(
        query,
        key,
        value,
        scale=query.shape[-1] ** -0.5 if scale is None else scale,
        bias=None if bias is None else array(bias),
        mask=None if mask is None else array(mask),
        is_causal=is_causal,
        soft_cap=attn_logits_soft_cap,
        flash=bool(flash_attention),
    )
