"""Attention: each place of a query takes a weighted mean of values.

On CPU the heads come before the time, so that each head's products are plain ones; the weights stay unnormalized, and
the mean, much smaller than they are, is divided instead. Backward, the sum that the softmax needs is taken over the
mean's width, not over the keys (Dao et al., "FlashAttention", 2022, https://arxiv.org/abs/2205.14135, appendix B).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.kernels.platform import made_here, on_platform

# cuDNN's kernels go up to this width of a head.
_WIDEST = 128
_FAR_BELOW = -0.7 * float(np.finfo("float32").max)


def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    scale: float,
    bias: Any = None,
    mask: Any = None,
    is_causal: bool = False,
    soft_cap: float | None = None,
    flash: bool = False,
) -> Any:
    """(batch, time, heads, width), (batch, keys, key_heads, width), (..., size) -> (batch, time, heads, size).

    `bias` and `mask` broadcast to (batch, heads, time, keys). A head of keys may serve several of queries. `flash` asks
    for cuDNN's kernel, which never holds all scores, where there is one; it has a gradient, but no forward mode and no
    second derivative.
    """
    if flash and soft_cap is None and _fits_cudnn(query, key, value):
        return jax.nn.dot_product_attention(
            query, key, value, bias, mask, scale=scale, is_causal=is_causal, implementation="cudnn"
        )
    adjust = partial(_adjusted, bias=bias, mask=mask, is_causal=is_causal, soft_cap=soft_cap)
    shared = query.shape[2] // key.shape[2]
    key, value = (_repeated(x, shared) if shared > 1 else x for x in (key, value))
    form = on_platform(partial(_heads_first, scale, adjust), partial(attention_plain, scale, adjust))
    return form(query, key, value)


def _fits_cudnn(query: Any, key: Any, value: Any) -> bool:
    """Tell whether cuDNN has a kernel for these arrays; for sizes that are symbols it has none."""
    width = query.shape[-1]
    known = all(isinstance(size, int) for size in (*query.shape, *key.shape))
    return (
        made_here()
        and jax.default_backend() == "gpu"
        and query.dtype in (jnp.float16, jnp.bfloat16)
        and known
        and width == value.shape[-1]
        and width % 8 == 0
        and width <= _WIDEST
    )


def attention_plain(scale: float, adjust: Any, query: Any, key: Any, value: Any) -> Any:
    """The plain form: softmax(adjust(scale * query @ key)) @ value."""
    scores = jnp.einsum("bthd,bshd->bhts", query, key, preferred_element_type=_wide(query)) * scale
    weights = jax.nn.softmax(adjust(scores), axis=-1).astype(query.dtype)
    return jnp.einsum("bhts,bshd->bthd", weights, value)


def _heads_first(scale: float, adjust: Any, query: Any, key: Any, value: Any) -> Any:
    wide = _wide(query)
    q, k, v = (jnp.swapaxes(x, 1, 2).astype(wide) for x in (query, key, value))
    out = _softmax_product(adjust((q * scale) @ jnp.swapaxes(k, -1, -2)), v)
    return jnp.swapaxes(out, 1, 2).astype(query.dtype)


def weighted_mean(scores: Any, values: Any) -> Any:
    """softmax(scores) @ values: (..., time, keys), (..., keys, size) -> (..., time, size)."""
    return on_platform(_weighted_mean, weighted_mean_plain)(scores, values)


def weighted_mean_plain(scores: Any, values: Any) -> Any:
    """The plain form."""
    return jax.nn.softmax(scores, axis=-1) @ values


def _weighted_mean(scores: Any, values: Any) -> Any:
    return _softmax_product(scores.astype(_wide(scores)), values.astype(_wide(values))).astype(values.dtype)


def _wide(x: Any) -> Any:
    """Scores of half-precision values are taken in single precision."""
    return jnp.promote_types(x.dtype, "float32")


def _repeated(x: Any, times: int) -> Any:
    # A broadcast and a reshape: jnp.repeat would gather.
    batch, time, heads, width = x.shape
    return jnp.broadcast_to(x[:, :, :, None], (batch, time, heads, times, width)).reshape(
        batch, time, heads * times, width
    )


def _adjusted(scores: Any, bias: Any, mask: Any, is_causal: bool, soft_cap: float | None) -> Any:
    if bias is not None:
        scores = scores + bias
    if soft_cap is not None:
        scores = soft_cap * jnp.tanh(scores / soft_cap)
    if mask is not None:
        scores = jnp.where(mask.astype(bool), scores, _FAR_BELOW)
    if is_causal:
        past = jnp.arange(scores.shape[-2])[:, None] >= jnp.arange(scores.shape[-1])
        scores = jnp.where(past, scores, _FAR_BELOW)
    return scores


@jax.custom_jvp
def _softmax_product(scores: Any, values: Any) -> Any:
    """softmax(scores) @ values: (..., time, keys), (..., keys, size) -> (..., time, size)."""
    return _softmax_parts(scores, values)[2]


def _softmax_parts(scores: Any, values: Any) -> tuple[Any, Any, Any]:
    """Return the unnormalized weights, one over their sums, and the weighted mean."""
    largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.exp(scores - largest)
    share = 1 / jnp.sum(weights, axis=-1, keepdims=True)
    return weights, share, (weights @ values) * share


@_softmax_product.defjvp
def _softmax_product_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    (scores, values), (dscores, dvalues) = primals, tangents
    weights, share, mean = _softmax_parts(scores, values)
    change = weights * dscores
    # The sign stands with the mean: a difference would negate a whole array backward.
    dmean = share * (weights @ dvalues + change @ values + -mean * jnp.sum(change, axis=-1, keepdims=True))
    return mean, dmean
