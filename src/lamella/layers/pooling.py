"""Pooling: largest or mean values of windows, or of everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from lamella import kernels
from lamella.core.settings import one_of
from lamella.layers.layer import Layer
from lamella.layers.windows import check_windows_fit, settle_format, tuple_of


class Pooling(Layer):
    """Windows reduced to one value each: (batch, *spatial, channels) -> (batch, *fewer, channels)."""

    rank: ClassVar[int]
    kernel: ClassVar[Callable[..., Any]]

    pool_size: Any = 2
    strides: Any = None
    padding: str = "valid"
    data_format: Any = None

    def __post_init__(self) -> None:
        owner = type(self).__name__
        self.pool_size = tuple_of(self.pool_size, self.rank, owner, "pool_size")
        strides = self.pool_size if self.strides is None else self.strides
        self.strides = tuple_of(strides, self.rank, owner, "strides")
        self.padding = one_of("padding", self.padding, ("valid", "same"))
        settle_format(self, self.rank)

    def call(self, inputs: Any) -> Any:
        check_windows_fit(type(self).__name__, inputs.shape, self.pool_size, self.data_format, self.padding)
        return type(self).kernel(inputs, self.pool_size, self.strides, self.padding, self.data_format)


class MaxPooling1D(Pooling):
    """The largest of each window of steps: (batch, steps, channels) -> (batch, fewer_steps, channels)."""

    rank, kernel = 1, staticmethod(kernels.max_pool)


class MaxPooling2D(Pooling):
    """The largest of each window of pixels: (batch, rows, cols, channels) -> (batch, fewer, fewer, channels).

    >>> import numpy as np
    >>> MaxPooling2D()(np.ones((1, 5, 4, 3), "float32")).shape
    (1, 2, 2, 3)
    """

    rank, kernel = 2, staticmethod(kernels.max_pool)


class MaxPooling3D(Pooling):
    """The largest of each window: (batch, depth, rows, cols, channels) -> (batch, fewer, fewer, fewer, channels)."""

    rank, kernel = 3, staticmethod(kernels.max_pool)


class AveragePooling1D(Pooling):
    """The mean of each window of steps: (batch, steps, channels) -> (batch, fewer_steps, channels)."""

    rank, kernel = 1, staticmethod(kernels.average_pool)


class AveragePooling2D(Pooling):
    """The mean of each window of pixels: (batch, rows, cols, channels) -> (batch, fewer, fewer, channels)."""

    rank, kernel = 2, staticmethod(kernels.average_pool)


class AveragePooling3D(Pooling):
    """The mean of each window: (batch, depth, rows, cols, channels) -> (batch, fewer, fewer, fewer, channels)."""

    rank, kernel = 3, staticmethod(kernels.average_pool)


class GlobalPooling(Layer):
    """All of a channel's values reduced to one: (batch, *spatial, channels) -> (batch, channels)."""

    rank: ClassVar[int]

    data_format: Any = None
    keepdims: bool = False

    def __post_init__(self) -> None:
        settle_format(self, self.rank)


class GlobalMaxPooling(GlobalPooling):
    """The largest of a channel's values: (batch, *spatial, channels) -> (batch, channels)."""

    def call(self, inputs: Any) -> Any:
        return kernels.global_max_pool(inputs, self.data_format, self.keepdims)


class GlobalAveragePooling(GlobalPooling):
    """The mean of a channel's values: (batch, *spatial, channels) -> (batch, channels)."""

    def call(self, inputs: Any) -> Any:
        return kernels.global_average_pool(inputs, self.data_format, self.keepdims)


class GlobalMaxPooling1D(GlobalMaxPooling):
    """The largest over steps: (batch, steps, channels) -> (batch, channels)."""

    rank = 1


class GlobalMaxPooling2D(GlobalMaxPooling):
    """The largest over rows and columns: (batch, rows, cols, channels) -> (batch, channels)."""

    rank = 2


class GlobalMaxPooling3D(GlobalMaxPooling):
    """The largest over depth, rows and columns: (batch, depth, rows, cols, channels) -> (batch, channels)."""

    rank = 3


class GlobalAveragePooling1D(GlobalAveragePooling):
    """The mean over steps, of those that a mask keeps: (batch, steps, channels) -> (batch, channels).

    >>> import numpy as np
    >>> GlobalAveragePooling1D()(np.ones((2, 7, 3), "float32")).shape
    (2, 3)
    """

    rank = 1

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return kernels.global_average_pool(inputs, self.data_format, self.keepdims, mask)


class GlobalAveragePooling2D(GlobalAveragePooling):
    """The mean over rows and columns: (batch, rows, cols, channels) -> (batch, channels)."""

    rank = 2


class GlobalAveragePooling3D(GlobalAveragePooling):
    """The mean over depth, rows and columns: (batch, depth, rows, cols, channels) -> (batch, channels)."""

    rank = 3


class AdaptivePooling(Layer):
    """Spatial axes in so many parts, each reduced to one value: (batch, *spatial, channels) -> (..., channels).

    Parts overlap where a size cannot be divided; part i of n goes from floor(i size / n) to ceil((i + 1) size / n).
    """

    rank: ClassVar[int]
    kernel: ClassVar[Callable[..., Any]]

    output_size: Any
    data_format: Any = None

    def __post_init__(self) -> None:
        self.output_size = tuple_of(self.output_size, self.rank, type(self).__name__, "output_size")
        settle_format(self, self.rank)

    def call(self, inputs: Any) -> Any:
        return type(self).kernel(inputs, self.output_size, self.data_format)


class AdaptiveAveragePooling1D(AdaptivePooling):
    """The mean of each part of the steps: (batch, steps, channels) -> (batch, size, channels)."""

    rank, kernel = 1, staticmethod(kernels.adaptive_average_pool)


class AdaptiveAveragePooling2D(AdaptivePooling):
    """The mean of each part of images: (batch, rows, cols, channels) -> (batch, *output_size, channels).

    >>> import numpy as np
    >>> AdaptiveAveragePooling2D((2, 3))(np.ones((1, 5, 4, 3), "float32")).shape
    (1, 2, 3, 3)
    """

    rank, kernel = 2, staticmethod(kernels.adaptive_average_pool)


class AdaptiveAveragePooling3D(AdaptivePooling):
    """The mean of each part of volumes: (batch, depth, rows, cols, channels) -> (batch, *output_size, channels)."""

    rank, kernel = 3, staticmethod(kernels.adaptive_average_pool)


class AdaptiveMaxPooling1D(AdaptivePooling):
    """The largest of each part of the steps: (batch, steps, channels) -> (batch, size, channels)."""

    rank, kernel = 1, staticmethod(kernels.adaptive_max_pool)


class AdaptiveMaxPooling2D(AdaptivePooling):
    """The largest of each part of images: (batch, rows, cols, channels) -> (batch, *output_size, channels)."""

    rank, kernel = 2, staticmethod(kernels.adaptive_max_pool)


class AdaptiveMaxPooling3D(AdaptivePooling):
    """The largest of each part of volumes: (batch, depth, rows, cols, channels) -> (batch, *output_size, channels)."""

    rank, kernel = 3, staticmethod(kernels.adaptive_max_pool)


MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
GlobalAvgPool1D, GlobalAvgPool2D, GlobalAvgPool3D = (
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
)
