"""Dense: an affine map of the last axis."""

from __future__ import annotations

from typing import Any

from lamella import kernels
from lamella.core.errors import ArgumentError, ShapeError
from lamella.layers.quantization import Quantizable, matrix_axes
from lamella.layers.spec import InputSpec
from lamella.parts.activations import Activation
from lamella.parts.constraints import ConstraintLike
from lamella.parts.initializers import InitializerLike
from lamella.parts.quantizers import QuantizationConfigLike
from lamella.parts.regularizers import RegularizerLike


class Dense(Quantizable):
    """Affine map of the last axis, `activation(x @ kernel + bias)`: (..., features) -> (..., units).

    The other axes are left alone: each place along them gets the same kernel. Nothing is flattened.

    >>> import numpy as np
    >>> layer = Dense(3, activation="relu")
    >>> layer(np.ones((10, 7, 5), "float32")).shape, layer.kernel.shape
    ((10, 7, 3), (5, 3))
    """

    units: int
    activation: Activation = None
    use_bias: bool = True
    kernel_initializer: InitializerLike = "glorot_uniform"
    bias_initializer: InitializerLike = "zeros"
    kernel_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None
    activity_regularizer: RegularizerLike = None
    kernel_constraint: ConstraintLike = None
    bias_constraint: ConstraintLike = None
    lora_rank: int | None = None
    lora_alpha: Any = None
    quantization_config: QuantizationConfigLike = None

    adapted = "kernel"
    supports_masking = True

    def __post_init__(self) -> None:
        if not isinstance(self.units, int) or self.units < 1:
            raise ArgumentError(f"Dense: units must be a positive integer, got {self.units!r}.", mend="Dense(64)")
        self.input_spec = InputSpec(min_ndim=2)

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        if features is None:
            raise ShapeError(
                f"Dense needs to know the size of its input's last axis; the shape is {tuple(input_shape)}.",
                mend="a number in place of the last None in Input(shape=...)",
            )
        self._kernel = self._add_adapted((features, self.units), self.kernel_initializer)
        self.bias = self._add_declared("bias", (self.units,)) if self.use_bias else None
        self.input_spec = InputSpec(min_ndim=2, axes={-1: features})
        if self.lora_rank:
            self._adapt(self.lora_rank, self.lora_alpha)

    @property
    def kernel(self) -> Any:
        """The weight, or what it comes to with its adaptation."""
        return self._adapted_value() if self.lora_enabled else self._kernel

    def call(self, inputs: Any) -> Any:
        bias = None if self.bias is None else self.bias.value
        if self.quantization_mode is None:
            return kernels.dense(inputs, self._adapted_value(), bias, self.activation)
        product = self._quantized_product(matrix_axes(inputs.ndim), inputs)
        return kernels.finished(product, bias, self.activation)
