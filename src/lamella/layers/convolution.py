"""Convolutions: one class, three ranks, both data formats."""

from __future__ import annotations

from typing import Any, ClassVar

from lamella import kernels
from lamella.core.axes import spatial_names
from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.settings import one_of, standardize_data_format
from lamella.layers.layer import Layer
from lamella.layers.spec import InputSpec
from lamella.layers.windows import check_windows_fit, tuple_of
from lamella.parts.activations import Activation
from lamella.parts.constraints import ConstraintLike
from lamella.parts.initializers import InitializerLike
from lamella.parts.regularizers import RegularizerLike


class Conv(Layer):
    """Convolution over `rank` spatial axes: (batch, *spatial, channels) -> (batch, *new_spatial, filters)."""

    rank: ClassVar[int]

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    data_format: Any = None
    dilation_rate: Any = 1
    groups: int = 1
    activation: Activation = None
    use_bias: bool = True
    kernel_initializer: InitializerLike = "glorot_uniform"
    bias_initializer: InitializerLike = "zeros"
    kernel_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None
    kernel_constraint: ConstraintLike = None
    bias_constraint: ConstraintLike = None

    def __post_init__(self) -> None:
        owner = type(self).__name__
        for name in ("kernel_size", "strides", "dilation_rate"):
            setattr(self, name, tuple_of(getattr(self, name), self.rank, owner, name))
        self.padding = one_of("padding", self.padding, ("valid", "same", *(("causal",) if self.rank == 1 else ())))
        self.data_format = standardize_data_format(self.data_format)
        self.axis_names = spatial_names(self.rank, self.data_format)
        if self.filters < 1 or self.groups < 1 or self.filters % self.groups:
            raise ArgumentError(
                f"{owner}: filters must be a positive multiple of groups, got filters={self.filters}, "
                f"groups={self.groups}."
            )
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ArgumentError(
                f"{owner}: strides={self.strides} and dilation_rate={self.dilation_rate} exclude each other."
            )
        self.input_spec = InputSpec(ndim=self.rank + 2)

    @property
    def _channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else 1

    def build(self, input_shape: Any) -> None:
        channels = input_shape[self._channel_axis]
        if channels is None or channels % self.groups:
            raise ShapeError(
                f"{type(self).__name__}: the input's channels must be known and a multiple of groups={self.groups}, "
                f"got {channels}."
            )
        self.kernel = self.add_weight(
            (*self.kernel_size, channels // self.groups, self.filters),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                (self.filters,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={self._channel_axis: channels})

    def call(self, inputs: Any) -> Any:
        reach = tuple((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation_rate, strict=True))
        check_windows_fit(type(self).__name__, inputs.shape, reach, self.data_format, self.padding)
        outputs = kernels.convolve(
            inputs,
            self.kernel.value,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
            groups=self.groups,
        )
        if self.bias is not None:
            shape = [1] * outputs.ndim
            shape[self._channel_axis] = self.filters
            outputs = outputs + self.bias.value.reshape(shape)
        return self.activation(outputs)


class Conv1D(Conv):
    """Convolution over steps: (batch, steps, channels) -> (batch, new_steps, filters).

    `padding="causal"` pads on the left, so that an output depends on no later step.

    >>> import numpy as np
    >>> Conv1D(16, 3)(np.ones((4, 10, 8), "float32")).shape
    (4, 8, 16)
    """

    rank = 1


class Conv2D(Conv):
    """Convolution over rows and columns: (batch, rows, cols, channels) -> (batch, new_rows, new_cols, filters).

    >>> import numpy as np
    >>> layer = Conv2D(16, 3, activation="relu")
    >>> layer(np.ones((4, 28, 28, 3), "float32")).shape, layer.kernel.shape
    ((4, 26, 26, 16), (3, 3, 3, 16))
    """

    rank = 2


class Conv3D(Conv):
    """Convolution over depth, rows and columns: (batch, depth, rows, cols, channels) -> (..., filters).

    >>> import numpy as np
    >>> Conv3D(2, 3)(np.ones((1, 5, 5, 5, 1), "float32")).shape
    (1, 3, 3, 3, 2)
    """

    rank = 3


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
