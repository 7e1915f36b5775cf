"""Activation layers: elementwise, but for Softmax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.errors import ArgumentError
from lamella.layers.layer import Layer
from lamella.parts import activations
from lamella.parts.activations import Activation as ActivationField


class Activation(Layer):
    """A function applied to each element: shape unchanged.

    >>> Activation("relu")(jnp.array([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """

    activation: ActivationField
    supports_masking = True

    def call(self, inputs: Any) -> Any:
        return self.activation(inputs)


class ReLU(Layer):
    """max(x, 0), with a slope below `threshold` and a ceiling: shape unchanged."""

    max_value: float | None = None
    negative_slope: float = 0.0
    threshold: float = 0.0
    supports_masking = True

    def __post_init__(self) -> None:
        for name in ("max_value", "negative_slope", "threshold"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ArgumentError(f"ReLU: {name} must not be negative, got {value}.")

    def call(self, inputs: Any) -> Any:
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)


class LeakyReLU(Layer):
    """x where positive, `negative_slope` times x elsewhere: shape unchanged."""

    negative_slope: float = 0.3
    supports_masking = True

    def call(self, inputs: Any) -> Any:
        return activations.leaky_relu(inputs, self.negative_slope)


class Softmax(Layer):
    """Exponentials that sum to one along `axis`; elements whose mask is False get zero: shape unchanged."""

    axis: Any = -1
    supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        axis = tuple(self.axis) if isinstance(self.axis, list | tuple) else self.axis
        if mask is not None:
            inputs = jnp.where(
                mask, inputs, float(np.finfo("float16" if inputs.dtype == "float16" else "float32").min) / 2
            )
        return jax.nn.softmax(inputs, axis=axis)
