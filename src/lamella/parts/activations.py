"""Activations: functions of one array that go between layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from lamella.core import config
from lamella.core.config import Convert, custom_object_scope
from lamella.core.registry import Registry
from lamella.ops.dispatch import op
from lamella.parts.identify import find

__all__ = [
    "Activation",
    "celu",
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "get",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
]

activations = Registry("activation")


@activations.register()
@op
def linear(x: Any) -> Any:
    """Return x as it is."""
    return x


@activations.register()
@op
def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """x above the threshold, at most `max_value`; `negative_slope * (x - threshold)` below."""
    x = jnp.asarray(x)
    if negative_slope == 0.0 and threshold == 0.0:
        out = jax.nn.relu(x)
    else:
        out = jnp.where(x > threshold, x, negative_slope * (x - threshold))
    return out if max_value is None else jnp.minimum(out, max_value)


@activations.register()
@op
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """x above 0, `negative_slope * x` below (Maas et al., 2013)."""
    return jax.nn.leaky_relu(jnp.asarray(x), negative_slope)


@activations.register()
@op
def relu6(x: Any) -> Any:
    """Return x cut to [0, 6]."""
    return jax.nn.relu6(jnp.asarray(x))


@activations.register()
@op
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x above 0, `alpha * (exp(x) - 1)` below (Clevert et al., 2015)."""
    return jax.nn.elu(jnp.asarray(x), alpha)


@activations.register()
@op
def selu(x: Any) -> Any:
    """The ELU whose constants keep mean 0 and variance 1 from layer to layer (Klambauer et al., 2017)."""
    return jax.nn.selu(jnp.asarray(x))


@activations.register()
@op
def celu(x: Any, alpha: float = 1.0) -> Any:
    """`max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))` (Barron, 2017)."""
    return jax.nn.celu(jnp.asarray(x), alpha)


@activations.register()
@op
def gelu(x: Any, approximate: bool = False) -> Any:
    """`x * Phi(x)` with the normal distribution's Phi, or a tanh near it (Hendrycks and Gimpel, 2016)."""
    return jax.nn.gelu(jnp.asarray(x), approximate)


@activations.register("swish")
@op
def silu(x: Any) -> Any:
    """`x * sigmoid(x)` (Ramachandran et al., 2017)."""
    return jax.nn.silu(jnp.asarray(x))


@activations.register("hard_swish")
@op
def hard_silu(x: Any) -> Any:
    """`x * hard_sigmoid(x)` (Howard et al., 2019)."""
    return jax.nn.hard_silu(jnp.asarray(x))


@activations.register()
@op
def mish(x: Any) -> Any:
    """`x * tanh(softplus(x))` (Misra, 2019)."""
    return jax.nn.mish(jnp.asarray(x))


@activations.register()
@op
def glu(x: Any, axis: int = -1) -> Any:
    """Return the first half of an axis times the sigmoid of the second (Dauphin et al., 2016)."""
    return jax.nn.glu(jnp.asarray(x), axis)


@activations.register()
@op
def softmax(x: Any, axis: Any = -1) -> Any:
    """Return exponentials divided by their sum along an axis, or along several together."""
    return jax.nn.softmax(jnp.asarray(x), axis)


@activations.register()
@op
def log_softmax(x: Any, axis: Any = -1) -> Any:
    """`log(softmax(x))`, without overflow on the way."""
    return jax.nn.log_softmax(jnp.asarray(x), axis)


@activations.register()
@op
def sparsemax(x: Any, axis: int = -1) -> Any:
    """Return the probabilities nearest to the scores, many of them 0 (Martins and Astudillo, 2016)."""
    scores = jnp.moveaxis(jnp.asarray(x), axis, -1)
    ordered = jnp.flip(jnp.sort(scores, axis=-1), axis=-1)
    rank = jnp.arange(1, scores.shape[-1] + 1, dtype=scores.dtype)
    sums = jnp.cumsum(ordered, axis=-1)
    size = jnp.sum(1 + rank * ordered > sums, axis=-1, keepdims=True)
    level = (jnp.take_along_axis(sums, size - 1, axis=-1) - 1) / size.astype(scores.dtype)
    return jnp.moveaxis(jnp.maximum(scores - level, 0), -1, axis)


@activations.register()
@op
def sigmoid(x: Any) -> Any:
    """`1 / (1 + exp(-x))`."""
    return jax.nn.sigmoid(jnp.asarray(x))


@activations.register()
@op
def log_sigmoid(x: Any) -> Any:
    """`log(sigmoid(x))`, without overflow on the way."""
    return jax.nn.log_sigmoid(jnp.asarray(x))


@activations.register()
@op
def hard_sigmoid(x: Any) -> Any:
    """`relu6(x + 3) / 6`: straight lines in the place of a sigmoid."""
    return jax.nn.hard_sigmoid(jnp.asarray(x))


@activations.register()
@op
def sparse_sigmoid(x: Any) -> Any:
    """The slope of `sparse_plus`: 0 below -1, 1 above 1, a straight line between."""
    return jnp.clip((jnp.asarray(x) + 1) * 0.5, 0, 1)


@activations.register()
@op
def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return jnp.tanh(jnp.asarray(x))


@activations.register()
@op
def hard_tanh(x: Any) -> Any:
    """Return x cut to [-1, 1]."""
    return jax.nn.hard_tanh(jnp.asarray(x))


@activations.register()
@op
def tanh_shrink(x: Any) -> Any:
    """`x - tanh(x)`."""
    x = jnp.asarray(x)
    return x - jnp.tanh(x)


@activations.register()
@op
def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x moved towards 0 by the threshold, and 0 where it would pass it."""
    x = jnp.asarray(x)
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0)


@activations.register()
@op
def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x where it is further from 0 than the threshold, else 0."""
    x = jnp.asarray(x)
    return jnp.where(jnp.abs(x) > threshold, x, jnp.zeros_like(x))


@activations.register()
@op
def threshold(x: Any, threshold: float, default_value: Any) -> Any:
    """x where it is above the threshold, else the default."""
    x = jnp.asarray(x)
    return jnp.where(x > threshold, x, jnp.asarray(default_value, x.dtype))


@activations.register()
@op
def softplus(x: Any) -> Any:
    """`log(1 + exp(x))`."""
    return jax.nn.softplus(jnp.asarray(x))


@activations.register()
@op
def sparse_plus(x: Any) -> Any:
    """0 below -1, x above 1, `(x + 1)**2 / 4` between."""
    return jax.nn.sparse_plus(jnp.asarray(x))


@activations.register()
@op
def squareplus(x: Any, b: float = 4) -> Any:
    """`(x + sqrt(x**2 + b)) / 2` (Barron, 2021)."""
    return jax.nn.squareplus(jnp.asarray(x), b)


@activations.register()
@op
def softsign(x: Any) -> Any:
    """`x / (1 + abs(x))`."""
    return jax.nn.soft_sign(jnp.asarray(x))


@activations.register()
@op
def exponential(x: Any) -> Any:
    """`exp(x)`."""
    return jnp.exp(jnp.asarray(x))


swish = silu
hard_swish = hard_silu


def get(identifier: Any) -> Any:
    """Return the activation that a name, a config or a callable stands for; None is `linear`.

    >>> get("swish") is silu, get(None) is linear
    (True, True)
    """
    return linear if identifier is None else find(identifier, activations, "keras.activations")


def serialize(activation: Any) -> Any:
    """Return an activation as plain data: a name, or a config."""
    return config.serialize(activation)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the activation that `serialize` described."""
    with custom_object_scope(custom_objects or {}):
        return get(config)


Activation = Annotated[Any, Convert(get)]
