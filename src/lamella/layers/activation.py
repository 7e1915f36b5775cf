"""Activation layers: elementwise, but for Softmax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lamella.core.errors import ArgumentError
from lamella.layers.layer import Layer
from lamella.layers.spec import InputSpec
from lamella.parts import activations
from lamella.parts.activations import Activation as ActivationField
from lamella.parts.constraints import ConstraintLike
from lamella.parts.initializers import InitializerLike
from lamella.parts.regularizers import RegularizerLike


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

    def _set_fields(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if "alpha" in kwargs:
            kwargs["negative_slope"] = kwargs.pop("alpha")
        super()._set_fields(args, kwargs)
        if self.negative_slope is None or self.negative_slope < 0:
            raise ArgumentError(f"LeakyReLU: negative_slope must not be negative, got {self.negative_slope}.")

    def call(self, inputs: Any) -> Any:
        return activations.leaky_relu(inputs, self.negative_slope)


class ELU(Layer):
    """x where positive, `alpha * (exp(x) - 1)` elsewhere: shape unchanged. Clevert et al., ICLR 2016."""

    alpha: float = 1.0
    supports_masking = True

    def call(self, inputs: Any) -> Any:
        return activations.elu(inputs, self.alpha)


class PReLU(Layer):
    """x where positive, `alpha` times x elsewhere, alpha learned for each place: (batch, ...), unchanged.

    Along `shared_axes` the places share it. He et al., "Delving Deep into Rectifiers", ICCV 2015.

    >>> import numpy as np
    >>> layer = PReLU(shared_axes=[1, 2])
    >>> layer(np.ones((4, 8, 8, 3), "float32")).shape, layer.alpha.shape
    ((4, 8, 8, 3), (1, 1, 3))
    """

    alpha_initializer: InitializerLike = "Zeros"
    alpha_regularizer: RegularizerLike = None
    alpha_constraint: ConstraintLike = None
    shared_axes: Any = None
    supports_masking = True

    def build(self, input_shape: Any) -> None:
        shared = [self.shared_axes] if isinstance(self.shared_axes, int) else list(self.shared_axes or ())
        sizes = {axis: size for axis, size in enumerate(input_shape) if axis > 0 and axis not in shared}
        self.alpha = self._add_declared("alpha", tuple(sizes.get(axis, 1) for axis in range(1, len(input_shape))))
        self.input_spec = InputSpec(ndim=len(input_shape), axes=sizes if shared else {})

    def call(self, inputs: Any) -> Any:
        return activations.relu(inputs) - self.alpha.value * activations.relu(-inputs)


class Softmax(Layer):
    """Exponentials that sum to one along `axis`; elements whose mask is False get zero: shape unchanged."""

    axis: Any = -1
    supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        axis = tuple(self.axis) if isinstance(self.axis, list | tuple) else self.axis
        return masked_softmax(inputs, mask, axis)


def masked_softmax(x: Any, mask: Any, axis: Any) -> Any:
    """Exponentials that sum to one along `axis` over what a mask keeps; 0 elsewhere, everywhere if it keeps nothing."""
    if mask is None:
        return jax.nn.softmax(x, axis=axis)
    kept = mask if mask.dtype == bool else mask > 0.5
    weights = jax.nn.softmax(jnp.where(kept, x, -3e4 if x.dtype == "float16" else -1e9), axis=axis)
    return jnp.where(kept, weights, 0)
