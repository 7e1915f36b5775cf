"""Cross-entropies of logits, computed without the overflow of exponentials."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def softmax_cross_entropy(logits: jax.Array, targets: jax.Array, axis: int = -1) -> jax.Array:
    """-sum(targets * log softmax(logits)) over `axis`."""
    return -jnp.sum(targets * jax.nn.log_softmax(logits, axis=axis), axis=axis)


def sparse_softmax_cross_entropy(logits: jax.Array, ids: jax.Array, axis: int = -1) -> jax.Array:
    """-log softmax(logits) at the target ids, which have one axis less than the logits."""
    chosen = jnp.take_along_axis(logits, jnp.expand_dims(ids.astype("int32"), axis), axis=axis)
    return jax.nn.logsumexp(logits, axis=axis) - jnp.squeeze(chosen, axis)


def sigmoid_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """-targets * log sigmoid(logits) - (1 - targets) * log(1 - sigmoid(logits)), element by element."""
    return jnp.maximum(logits, 0) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits)))
