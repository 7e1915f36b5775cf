"""What the peers on JAX without a `fit` share: losses, and batches as an ordinary loop takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax


def loss_of(kind: str, outputs: Any, targets: Any) -> Any:
    """The mean loss of a batch; the outputs are logits or numbers."""
    if kind == "mse":
        return jnp.mean((outputs - targets) ** 2)
    if kind == "binary":
        return jnp.mean(optax.sigmoid_binary_cross_entropy(outputs, targets))
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, targets))


def shuffled(x: Any, y: Any, size: int) -> Iterator[tuple[Any, Any]]:
    """Batches of NumPy arrays in a new order, full ones: another size would be compiled anew."""
    order = np.random.permutation(len(x))
    for start in range(0, len(x) - size + 1, size):
        chosen = order[start : start + size]
        yield x[chosen], y[chosen]


def predicted(forward: Any, x: Any, size: int) -> Any:
    """Outputs of batch after batch, fetched when all are under way."""
    outputs = [forward(x[start : start + size]) for start in range(0, len(x), size)]
    return np.concatenate([np.asarray(output) for output in outputs])


def key() -> Any:
    return jax.random.key(0)
