"""Convolution over one, two or three spatial axes."""

from __future__ import annotations

import jax
from jax import lax

_AXES = {1: "W", 2: "HW", 3: "DHW"}


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
    rank = kernel.ndim - 2
    letters = _AXES[rank]
    layout = f"N{letters}C" if data_format == "channels_last" else f"NC{letters}"
    pads: str | list[tuple[int, int]] = padding.upper()
    if padding == "causal":
        pads = [((kernel.shape[0] - 1) * dilation_rate[0], 0)]
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        strides,
        pads,
        rhs_dilation=dilation_rate,
        dimension_numbers=(layout, f"{letters}IO", layout),
        feature_group_count=groups,
    )
