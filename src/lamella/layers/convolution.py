"""Convolutions: plain, transposed, by channel and separable; one class each, every rank, both data formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from lamella import kernels, ops
from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.variable import Variable
from lamella.layers.layer import Layer
from lamella.layers.spec import InputSpec
from lamella.layers.windows import (
    check_windows_fit,
    reach_of,
    refuse_strides_with_dilation,
    settle_windows,
    tuple_of,
)
from lamella.parts.activations import Activation
from lamella.parts.constraints import ConstraintLike
from lamella.parts.initializers import InitializerLike
from lamella.parts.regularizers import RegularizerLike


class Convolution(Layer):
    """What convolutions have in common: the geometry of windows, weights with their arguments, bias and activation."""

    rank: ClassVar[int]
    if TYPE_CHECKING:
        kernel_size: Any
        strides: Any
        padding: str
        data_format: Any
        dilation_rate: Any
        use_bias: bool
        activation: Activation

    def __post_init__(self) -> None:
        settle_windows(self, self.rank, self._paddings())

    def _paddings(self) -> tuple[str, ...]:
        return ("valid", "same")

    def _channels(self, input_shape: Any, groups: int = 1) -> int:
        """Return the number of channels, from now on the only one allowed."""
        axis = -1 if self.data_format == "channels_last" else 1
        channels = input_shape[axis]
        if channels is None or channels % groups:
            raise ShapeError(
                f"{type(self).__name__}: the input's channels must be known and a multiple of groups={groups}, "
                f"got {channels}."
            )
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: channels})
        return int(channels)

    def _bias(self, filters: int) -> Variable | None:
        return self._add_declared("bias", (filters,)) if self.use_bias else None

    def _geometry(self, inputs: Any) -> dict[str, Any]:
        """Return how windows slide, having seen that they fit."""
        check_windows_fit(type(self).__name__, inputs.shape, reach_of(self), self.data_format, self.padding)
        return {
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }

    def _finished(self, outputs: Any, bias: Variable | None) -> Any:
        if bias is not None:
            beside = (1,) * (0 if self.data_format == "channels_last" else self.rank)
            outputs = outputs + bias.value.reshape(-1, *beside)
        return self.activation(outputs)


class WithFilters(Convolution):
    """The arguments of the convolutions, plain and transposed, that have one kernel for all channels."""

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    data_format: Any = None
    dilation_rate: Any = 1
    activation: Activation = None
    use_bias: bool = True
    kernel_initializer: InitializerLike = "glorot_uniform"
    bias_initializer: InitializerLike = "zeros"
    kernel_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None
    activity_regularizer: RegularizerLike = None
    kernel_constraint: ConstraintLike = None
    bias_constraint: ConstraintLike = None


class Conv(WithFilters):
    """Convolution over `rank` spatial axes: (batch, *spatial, channels) -> (batch, *new_spatial, filters)."""

    groups: int = 1

    arguments_first = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.filters % self.groups:
            raise ArgumentError(
                f"{type(self).__name__}: filters must be a positive multiple of groups, got filters={self.filters}, "
                f"groups={self.groups}."
            )
        refuse_strides_with_dilation(self)

    def _paddings(self) -> tuple[str, ...]:
        return ("valid", "same", "causal") if self.rank == 1 else ("valid", "same")

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape, self.groups)
        self.kernel = self._add_declared("kernel", (*self.kernel_size, channels // self.groups, self.filters))
        self.bias = self._bias(self.filters)

    def call(self, inputs: Any) -> Any:
        outputs = kernels.convolve(inputs, self.kernel.value, groups=self.groups, **self._geometry(inputs))
        return self._finished(outputs, self.bias)


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


class ConvTranspose(WithFilters):
    """The way back through a convolution, as its gradient goes: (batch, *spatial, channels) -> (..., filters).

    Several input sizes lead to one output size of a convolution with strides; `output_padding` says which to return
    to. Zeiler et al., "Deconvolutional Networks", CVPR 2010.
    """

    output_padding: Any = None

    arguments_first: ClassVar[tuple[str, ...]] = ("filters", "kernel_size", "strides", "padding", "output_padding")

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_strides_with_dilation(self)
        if self.output_padding is not None:
            owner = type(self).__name__
            self.output_padding = tuple_of(self.output_padding, self.rank, owner, "output_padding", least=0)
            if any(extra >= stride for extra, stride in zip(self.output_padding, self.strides, strict=True)):
                raise ArgumentError(
                    f"{owner}: output_padding must be smaller than strides, got output_padding={self.output_padding}, "
                    f"strides={self.strides}."
                )

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        self.kernel = self._add_declared("kernel", (*self.kernel_size, self.filters, channels))
        self.bias = self._bias(self.filters)

    def call(self, inputs: Any) -> Any:
        outputs = ops.conv_transpose(
            inputs,
            self.kernel.value,
            self.strides,
            self.padding,
            self.output_padding,
            self.data_format,
            self.dilation_rate,
        )
        return self._finished(outputs, self.bias)


class Conv1DTranspose(ConvTranspose):
    """The way back through a convolution over steps: (batch, steps, channels) -> (batch, more_steps, filters).

    >>> import numpy as np
    >>> Conv1DTranspose(3, 3, strides=2)(np.ones((4, 10, 8), "float32")).shape
    (4, 21, 3)
    """

    rank = 1


class Conv2DTranspose(ConvTranspose):
    """The way back through a convolution over images: (batch, rows, cols, channels) -> (batch, more, more, filters).

    >>> import numpy as np
    >>> Conv2DTranspose(3, 3, strides=2, padding="same")(np.ones((4, 7, 7, 8), "float32")).shape
    (4, 14, 14, 3)
    """

    rank = 2


class Conv3DTranspose(ConvTranspose):
    """The way back through a convolution over volumes: (batch, depth, rows, cols, channels) -> (..., filters).

    >>> import numpy as np
    >>> Conv3DTranspose(2, 2, strides=2)(np.ones((1, 4, 4, 4, 1), "float32")).shape
    (1, 8, 8, 8, 2)
    """

    rank = 3
    arguments_first = ("filters", "kernel_size", "strides", "padding", "data_format", "output_padding")


class DepthwiseConv(Convolution):
    """`depth_multiplier` filters for each channel alone: (batch, *spatial, channels) -> (..., channels times them)."""

    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    depth_multiplier: int = 1
    data_format: Any = None
    dilation_rate: Any = 1
    activation: Activation = None
    use_bias: bool = True
    depthwise_initializer: InitializerLike = "glorot_uniform"
    bias_initializer: InitializerLike = "zeros"
    depthwise_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None
    activity_regularizer: RegularizerLike = None
    depthwise_constraint: ConstraintLike = None
    bias_constraint: ConstraintLike = None

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        self.kernel = self._add_declared("kernel", (*self.kernel_size, channels, self.depth_multiplier), "depthwise")
        self.bias = self._bias(channels * self.depth_multiplier)

    def call(self, inputs: Any) -> Any:
        outputs = ops.depthwise_conv(inputs, self.kernel.value, **self._geometry(inputs))
        return self._finished(outputs, self.bias)


class DepthwiseConv1D(DepthwiseConv):
    """Filters over steps for each channel alone: (batch, steps, channels) -> (batch, new_steps, channels times them).

    >>> import numpy as np
    >>> DepthwiseConv1D(3, depth_multiplier=2)(np.ones((4, 10, 8), "float32")).shape
    (4, 8, 16)
    """

    rank = 1


class DepthwiseConv2D(DepthwiseConv):
    """Filters over images for each channel alone: (batch, rows, cols, channels) -> (..., channels times them).

    >>> import numpy as np
    >>> layer = DepthwiseConv2D(3)
    >>> layer(np.ones((4, 28, 28, 3), "float32")).shape, layer.kernel.shape
    ((4, 26, 26, 3), (3, 3, 3, 1))
    """

    rank = 2


class SeparableConv(Convolution):
    """Filters for each channel alone, then a mixture of the channels: (batch, *spatial, channels) -> (..., filters).

    Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017.
    """

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    data_format: Any = None
    dilation_rate: Any = 1
    depth_multiplier: int = 1
    activation: Activation = None
    use_bias: bool = True
    depthwise_initializer: InitializerLike = "glorot_uniform"
    pointwise_initializer: InitializerLike = "glorot_uniform"
    bias_initializer: InitializerLike = "zeros"
    depthwise_regularizer: RegularizerLike = None
    pointwise_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None
    activity_regularizer: RegularizerLike = None
    depthwise_constraint: ConstraintLike = None
    pointwise_constraint: ConstraintLike = None
    bias_constraint: ConstraintLike = None

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        each = (*self.kernel_size, channels, self.depth_multiplier)
        mixed = (*[1] * self.rank, channels * self.depth_multiplier, self.filters)
        self.depthwise_kernel = self._add_declared("depthwise_kernel", each, "depthwise")
        self.pointwise_kernel = self._add_declared("pointwise_kernel", mixed, "pointwise")
        self.bias = self._bias(self.filters)

    def call(self, inputs: Any) -> Any:
        outputs = ops.separable_conv(
            inputs, self.depthwise_kernel.value, self.pointwise_kernel.value, **self._geometry(inputs)
        )
        return self._finished(outputs, self.bias)


class SeparableConv1D(SeparableConv):
    """Filters over steps by channel, then a mixture: (batch, steps, channels) -> (batch, new_steps, filters).

    >>> import numpy as np
    >>> SeparableConv1D(5, 3)(np.ones((4, 10, 8), "float32")).shape
    (4, 8, 5)
    """

    rank = 1


class SeparableConv2D(SeparableConv):
    """Filters over images by channel, then a mixture: (batch, rows, cols, channels) -> (batch, new, new, filters).

    >>> import numpy as np
    >>> layer = SeparableConv2D(5, 3)
    >>> layer(np.ones((4, 28, 28, 3), "float32")).shape, layer.count_params()
    ((4, 26, 26, 5), 47)
    """

    rank = 2


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
Convolution1DTranspose, Convolution2DTranspose, Convolution3DTranspose = (
    Conv1DTranspose,
    Conv2DTranspose,
    Conv3DTranspose,
)
SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D
