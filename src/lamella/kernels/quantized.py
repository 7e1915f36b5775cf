"""Products with weights that are kept in whole numbers: the weight is codes / scale."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

# The names, one letter each, of the axes of the inputs, of the weight and of the result.
Axes = tuple[str, str, str]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def quantized_product(
    axes: Axes, quantize: Callable[..., tuple[Any, Any]] | None, x: jax.Array, codes: jax.Array, scale: jax.Array
) -> jax.Array:
    """einsum of x with codes / scale; `scale` has size 1 along the axes of `codes` that are summed over.

    `quantize(x, axis=...)` gives the inputs as whole numbers and their scale, and the sums are those of whole numbers;
    None leaves the inputs as they are. The derivative is that of the product of x with the weight, as if x had not
    been rounded.
    """
    inputs, weight, outputs = axes
    equation, scale = f"{inputs},{weight}->{outputs}", laid_out(scale, weight, outputs)
    if quantize is None:
        return jnp.einsum(equation, x, codes.astype(x.dtype)) / scale
    whole, x_scale = quantize(x, axis=tuple(place for place, axis in enumerate(inputs) if axis not in outputs))
    sums = jnp.einsum(equation, whole, codes, preferred_element_type="int32")
    descaled: jax.Array = sums.astype(x.dtype) / (laid_out(x_scale, inputs, outputs) * scale)
    return descaled


@quantized_product.defjvp
def _derivative(axes: Axes, quantize: Any, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    inputs, weight, outputs = axes
    out = quantized_product(axes, quantize, *primals)
    return out, jnp.einsum(f"{inputs},{weight}->{outputs}", tangents[0], dequantized(*primals[1:]))


def dequantized(codes: jax.Array, scale: jax.Array) -> jax.Array:
    """Return the weight, in the scale's type."""
    return codes.astype(scale.dtype) / scale


def laid_out(x: Any, axes: str, wanted: str) -> Any:
    """Return x along other axes: those that are not wanted must have size 1, and new ones get it.

    >>> laid_out(jnp.ones((4, 1, 6)), "dce", "abed").shape
    (1, 1, 6, 4)
    """
    kept = [axis for axis in axes if axis in wanted]
    x = x.squeeze(tuple(place for place, axis in enumerate(axes) if axis not in wanted))
    x = x.transpose([kept.index(axis) for axis in wanted if axis in kept])
    return jnp.expand_dims(x, [place for place, axis in enumerate(wanted) if axis not in axes])
