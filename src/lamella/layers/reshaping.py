"""Layers that move values around: flatten, reshape, permute, repeat, pad, crop, enlarge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp

from lamella import kernels
from lamella.core.axes import describe, is_symbolic
from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.settings import one_of, standardize_data_format
from lamella.layers.layer import Layer
from lamella.layers.spec import InputSpec
from lamella.layers.windows import pairs_of, settle_format, spatial, tuple_of


class Flatten(Layer):
    """All axes but the batch in one: (batch, ...) -> (batch, features). The batch axis is left alone.

    >>> import numpy as np
    >>> Flatten()(np.ones((32, 10, 5), "float32")).shape
    (32, 50)
    """

    data_format: Any = None

    def __post_init__(self) -> None:
        self.data_format = standardize_data_format(self.data_format)
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs: Any) -> Any:
        if self.data_format == "channels_first" and inputs.ndim > 2:
            inputs = jnp.moveaxis(inputs, 1, -1)
        return inputs.reshape(inputs.shape[0], math.prod(inputs.shape[1:]))


class Reshape(Layer):
    """Each sample in another shape: (batch, ...) -> (batch, *target_shape); one size may be -1.

    >>> import numpy as np
    >>> Reshape((3, -1))(np.ones((2, 12), "float32")).shape
    (2, 3, 4)
    """

    target_shape: Any

    def __post_init__(self) -> None:
        sizes = (self.target_shape,) if isinstance(self.target_shape, int) else tuple(self.target_shape)
        self.target_shape = tuple(-1 if size is None else int(size) for size in sizes)
        if self.target_shape.count(-1) > 1 or any(size < -1 for size in self.target_shape):
            raise ArgumentError(f"Reshape: one size may be -1, the others not negative; got {self.target_shape}.")

    def call(self, inputs: Any) -> Any:
        sample = inputs.shape[1:]
        known = math.prod(size for size in self.target_shape if size != -1)
        total = math.prod(sample)
        if not is_symbolic(total) and (total % known if -1 in self.target_shape else total != known):
            raise ShapeError(
                f"Reshape: a sample {describe(inputs.shape)} has {total:,} elements; "
                f"target_shape={self.target_shape} needs {'n times ' if -1 in self.target_shape else ''}{known:,}."
            )
        return inputs.reshape(inputs.shape[0], *self.target_shape)


class Permute(Layer):
    """The axes of a sample in another order, counted from 1: (batch, a, b) with dims (2, 1) -> (batch, b, a)."""

    dims: Any

    def __post_init__(self) -> None:
        self.dims = tuple(self.dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ArgumentError(
                f"Permute: dims must hold each of 1 to {len(self.dims)} once, got {self.dims}. Axis 0 stays."
            )
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def call(self, inputs: Any) -> Any:
        return jnp.transpose(inputs, (0, *self.dims))


class RepeatVector(Layer):
    """Each vector n times along a new time axis: (batch, features) -> (batch, n, features)."""

    n: int

    def __post_init__(self) -> None:
        if not isinstance(self.n, int):
            raise ArgumentError(f"RepeatVector: n must be an integer, got {self.n!r}.")
        self.input_spec = InputSpec(ndim=2)

    def call(self, inputs: Any) -> Any:
        return jnp.broadcast_to(inputs[:, None, :], (inputs.shape[0], self.n, inputs.shape[1]))


class Spatial(Layer):
    """The base of layers that change the sizes of `rank` spatial axes."""

    rank: ClassVar[int]
    if TYPE_CHECKING:
        data_format: Any

    def __post_init__(self) -> None:
        settle_format(self, self.rank)

    def _pairs(self, argument: str) -> tuple[tuple[int, int], ...]:
        """Return an argument as a pair for each spatial axis."""
        return pairs_of(getattr(self, argument), self.rank, type(self).__name__, argument)

    def _as_kept(self, values: tuple[Any, ...]) -> Any:
        """Return values, one for each spatial axis, as Keras keeps them: the one itself where there is one axis."""
        return values[0] if self.rank == 1 else values


class ZeroPadding(Spatial):
    """Zeros around the spatial axes: (batch, *spatial, channels) -> (batch, *larger, channels)."""

    padding: Any = 1
    data_format: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.padding = self._as_kept(self._pairs("padding"))

    def call(self, inputs: Any) -> Any:
        return kernels.zero_pad(inputs, self._pairs("padding"), self.data_format)


class ZeroPadding1D(ZeroPadding):
    """Zeros before and after the steps: (batch, steps, channels) -> (batch, more_steps, channels)."""

    rank = 1


class ZeroPadding2D(ZeroPadding):
    """Zeros around images: (batch, rows, cols, channels) -> (batch, more_rows, more_cols, channels)."""

    rank = 2


class ZeroPadding3D(ZeroPadding):
    """Zeros around volumes: (batch, depth, rows, cols, channels) -> (batch, more, more, more, channels)."""

    rank = 3


class Cropping(Spatial):
    """The spatial axes without their borders: (batch, *spatial, channels) -> (batch, *smaller, channels)."""

    cropping: Any = 1
    data_format: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.cropping = self._as_kept(self._pairs("cropping"))

    def call(self, inputs: Any) -> Any:
        sizes, pairs = spatial(inputs.shape, self.data_format), self._pairs("cropping")
        if any(not is_symbolic(size) and size <= sum(pair) for size, pair in zip(sizes, pairs, strict=True)):
            raise ShapeError(
                f"{type(self).__name__}: cropping={self.cropping} leaves nothing of {describe(inputs.shape)}."
            )
        return kernels.crop(inputs, pairs, self.data_format)


class Cropping1D(Cropping):
    """The steps without the first and last: (batch, steps, channels) -> (batch, fewer_steps, channels)."""

    arguments_beyond: ClassVar[Mapping[str, Any]] = {"data_format": "channels_last"}
    rank = 1


class Cropping2D(Cropping):
    """Images without their borders: (batch, rows, cols, channels) -> (batch, fewer_rows, fewer_cols, channels)."""

    cropping = ((0, 0), (0, 0))
    rank = 2


class Cropping3D(Cropping):
    """Volumes without their borders: (batch, depth, rows, cols, channels) -> (batch, fewer, fewer, fewer, channels)."""

    rank = 3


class UpSampling(Spatial):
    """Each value repeated: (batch, *spatial, channels) -> (batch, *spatial times size, channels)."""

    size: Any = 2
    data_format: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.size = self._as_kept(tuple_of(self.size, self.rank, type(self).__name__, "size"))

    def call(self, inputs: Any) -> Any:
        sizes = tuple_of(self.size, self.rank, type(self).__name__, "size")
        return kernels.upsample(inputs, sizes, self.data_format)


class UpSampling1D(UpSampling):
    """Each step repeated: (batch, steps, channels) -> (batch, steps times size, channels)."""

    arguments_beyond: ClassVar[Mapping[str, Any]] = {"data_format": "channels_last"}
    rank = 1

    def __post_init__(self) -> None:
        self.data_format = "channels_last"
        super().__post_init__()


class UpSampling2D(UpSampling):
    """Images enlarged: (batch, rows, cols, channels) -> (batch, rows times size, cols times size, channels)."""

    interpolation: str = "nearest"
    rank = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.interpolation = one_of(
            "interpolation", self.interpolation, ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
        )

    def call(self, inputs: Any) -> Any:
        return kernels.upsample(inputs, self.size, self.data_format, self.interpolation)


class UpSampling3D(UpSampling):
    """Volumes enlarged: (batch, depth, rows, cols, channels) -> (batch, larger, larger, larger, channels)."""

    rank = 3
