"""A convolution and its two gradients in their plain forms, as XLA has them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lamella.kernels.windows import Windows, padded

LETTERS = {1: "W", 2: "HW", 3: "DHW"}


def plain(x: Any, kernel: Any, windows: Windows) -> Any:
    """The plain form: (batch, *sizes, channels), (*taps, channels / groups, filters) -> (batch, *outputs, filters)."""
    letters = LETTERS[len(windows.taps)]
    pads = windows.pads
    if not all(isinstance(end, int) for ends in pads for end in ends):
        # A convolution pads by numbers alone.
        x, pads = padded(x, pads), ((0, 0),) * len(pads)
    return lax.conv_general_dilated(
        x,
        kernel,
        windows.strides,
        pads,
        rhs_dilation=windows.dilation,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        feature_group_count=windows.groups,
    )


def transposed(x: Any, kernel: Any, windows: Windows) -> Any:
    """The gradient by the input where windows leave no end out, as one convolution of what is spread by the strides."""
    letters = LETTERS[len(windows.taps)]
    spatial = tuple(range(len(windows.taps)))
    reach = [(tap - 1) * step for tap, step in zip(windows.taps, windows.dilation, strict=True)]
    return lax.conv_general_dilated(
        x,
        jnp.swapaxes(jnp.flip(kernel, spatial), -1, -2),
        (1,) * len(windows.taps),
        [(size - low, size - high) for size, (low, high) in zip(reach, windows.pads, strict=True)],
        lhs_dilation=windows.strides,
        rhs_dilation=windows.dilation,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )


def plain_input_gradient(dy: Any, kernel: Any, windows: Windows) -> Any:
    """The plain form of the gradient by the input: -> (batch, *sizes, channels)."""
    x = jax.ShapeDtypeStruct((dy.shape[0], *windows.sizes, kernel.shape[-2] * windows.groups), dy.dtype)
    return jax.linear_transpose(lambda x: plain(x, kernel, windows), x)(dy)[0]


def plain_kernel_gradient(x: Any, dy: Any, windows: Windows) -> Any:
    """The plain form of the gradient by the kernel: -> (*taps, channels / groups, filters)."""
    kernel = jax.ShapeDtypeStruct((*windows.taps, x.shape[-1] // windows.groups, dy.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: plain(x, kernel, windows), kernel)(dy)[0]
