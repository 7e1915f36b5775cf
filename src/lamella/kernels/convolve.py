"""Convolution over one, two or three spatial axes, in both layouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lamella.core.settings import conv_algorithm
from lamella.kernels.convolution import conv_input_gradient_p, conv_p
from lamella.kernels.convolution_plain import plain, transposed
from lamella.kernels.platform import for_readers
from lamella.kernels.windows import Windows


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, ...],
    padding: str,
    data_format: str,
    dilation_rate: tuple[int, ...],
    groups: int = 1,
) -> jax.Array:
    """Convolve (batch, *spatial, channels) with a kernel (*size, channels / groups, filters).

    "same" pads as evenly as it can, the odd one behind; "causal" pads in front only, for one spatial axis.
    """
    first = data_format == "channels_first"
    images = jnp.moveaxis(x, 1, -1) if first else x
    taps = tuple(kernel.shape[:-2])
    pads = _pads(images.shape[1:-1], taps, strides, dilation_rate, padding)
    windows = Windows(tuple(images.shape[1:-1]), taps, strides, pads, dilation_rate, groups)
    kernel = kernel.astype(x.dtype)
    if _in_plain_form():
        out = plain(images, kernel, windows)
    else:
        out = conv_p.bind(images, kernel, windows=windows, mapped=False)
    return jnp.moveaxis(out, -1, 1) if first else out


def convolve_transposed(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, ...],
    borders: Sequence[tuple[Any, Any]],
    data_format: str,
    dilation_rate: tuple[int, ...],
) -> jax.Array:
    """The gradient of a convolution by its input: (batch, *spatial, channels) -> (batch, *larger, filters).

    The kernel is (*size, filters, channels); `borders` says what is cut from each end of the whole result, of
    (spatial - 1) * strides + size positions.
    """
    first = data_format == "channels_first"
    images = jnp.moveaxis(x, 1, -1) if first else x
    taps, cut = tuple(kernel.shape[:-2]), tuple(borders)
    sizes = tuple(
        (size - 1) * stride + (tap - 1) * step + 1 - low - high
        for size, stride, tap, step, (low, high) in zip(
            images.shape[1:-1], strides, taps, dilation_rate, cut, strict=True
        )
    )
    windows = Windows(sizes, taps, strides, cut, dilation_rate)
    kernel = kernel.astype(x.dtype)
    if _in_plain_form():
        out = transposed(images, kernel, windows)
    else:
        out = conv_input_gradient_p.bind(images, kernel, windows=windows, mapped=False)
    return jnp.moveaxis(out, -1, 1) if first else out


def _in_plain_form() -> bool:
    return conv_algorithm() == "plain" or for_readers()


def _pads(
    sizes: Sequence[Any], taps: Sequence[int], strides: Sequence[int], dilation: Sequence[int], padding: str
) -> tuple[tuple[Any, Any], ...]:
    reach = [(tap - 1) * step + 1 for tap, step in zip(taps, dilation, strict=True)]
    if padding == "causal":
        return ((reach[0] - 1, 0),)
    return tuple(lax.padtype_to_pads(sizes, reach, strides, padding.upper()))
