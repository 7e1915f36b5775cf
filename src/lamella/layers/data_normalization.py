"""Normalization: data brought to mean 0 and variance 1 by statistics known before training."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.errors import ArgumentError, DataError, ShapeError
from lamella.core.settings import epsilon
from lamella.layers.layer import Layer


class Normalization(Layer):
    """(x - mean) / sqrt(variance), each place along `axis` with its own statistics: shape unchanged.

    They are `mean` and `variance`, or those of the data given to `adapt`. `axis=None` takes one of each for all.
    `invert` does the reverse.

    >>> import numpy as np
    >>> layer = Normalization()
    >>> layer.adapt(np.array([[0.0, 10.0], [2.0, 30.0]], "float32"))
    >>> layer(np.array([[2.0, 20.0]], "float32")).tolist()
    [[1.0, 0.0]]
    """

    supports_masking = True

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.input_mean, self.input_variance, self.invert = mean, variance, invert
        if (mean is None) != (variance is None):
            raise ArgumentError("Normalization: mean and variance are given together, or neither.")
        if mean is not None and (np.shape(mean) != np.shape(variance) or np.ndim(mean) > len(self.axis)):
            raise ShapeError(
                f"Normalization: mean {np.shape(mean)} and variance {np.shape(variance)} have one shape, with at most "
                f"the axes {self.axis}."
            )

    def build(self, input_shape: Any) -> None:
        rank = len(input_shape)
        if any(not -rank <= axis < rank for axis in self.axis):
            raise ShapeError(f"Normalization: the input {tuple(input_shape)} has no such axes as {self.axis}.")
        self._kept = tuple(sorted(axis % rank for axis in self.axis))
        shape = tuple(input_shape[axis] for axis in self._kept)
        if None in shape:
            raise ShapeError(
                f"Normalization: the axes {self.axis} need known sizes; the input is {tuple(input_shape)}.",
                mend="axis=-1 with Input((None, 3)), or axis=None",
            )
        self._sizes = tuple(input_shape[axis] if axis in self._kept else 1 for axis in range(rank))
        if self.input_mean is None:
            self.adapt_mean = self.add_weight(shape, "zeros", trainable=False, name="mean")
            self.adapt_variance = self.add_weight(shape, "ones", trainable=False, name="variance")
            self.count = self.add_weight((), "zeros", dtype="int32", trainable=False, name="count")

    def adapt(self, data: Any) -> None:
        """Take the statistics of an array, or of an iterable of batches; the layer is built if it was not."""
        if isinstance(data, np.ndarray | jax.Array):
            batches: Iterable[Any] = [data]
        elif isinstance(data, Iterable):
            batches = (batch[0] if isinstance(batch, tuple) else batch for batch in data)
        else:
            raise DataError(f"adapt takes an array or an iterable of batches, got {type(data).__name__}.")
        count, mean, variance = 0, 0.0, 0.0
        for batch in batches:
            array = np.asarray(batch)
            self._check(array.shape)
            reduced = tuple(axis for axis in range(array.ndim) if axis not in self._kept)
            places = math.prod(array.shape[axis] for axis in reduced)
            count += places
            share = places / count
            new = mean * (1 - share) + array.mean(axis=reduced) * share
            variance = (variance + (mean - new) ** 2) * (1 - share)
            variance = variance + (array.var(axis=reduced) + (array.mean(axis=reduced) - new) ** 2) * share
            mean = new
        if not count:
            raise DataError("adapt got no data.", mend="layer.adapt(x_train)")
        self.adapt_mean.assign(mean)
        self.adapt_variance.assign(variance)

    def _check(self, shape: tuple[int, ...]) -> None:
        if self.input_mean is not None:
            raise ArgumentError("Normalization: mean and variance were given; there is nothing to adapt.")
        if not self.built:
            self.build(shape)
        if len(shape) != len(self._sizes) or any(shape[axis] != self._sizes[axis] for axis in self._kept):
            raise ShapeError(f"adapt got data of shape {shape}; the layer was built for {self._sizes} (1: any size).")

    @property
    def mean(self) -> Any:
        """The mean, shaped to broadcast against the inputs; None before the layer is built."""
        return self._statistic(self.input_mean, "adapt_mean")

    @property
    def variance(self) -> Any:
        """The variance, shaped to broadcast against the inputs; None before the layer is built."""
        return self._statistic(self.input_variance, "adapt_variance")

    def _statistic(self, given: Any, weight: str) -> Any:
        if not hasattr(self, "_sizes"):
            return None
        if given is None:
            return getattr(self, weight).value.astype(self.compute_dtype).reshape(self._sizes)
        array = np.asarray(given, "float32")
        shape = [1] * len(self._sizes)
        for place, size in zip(reversed(self._kept), reversed(array.shape), strict=False):
            shape[place] = size
        return jnp.broadcast_to(array.reshape(shape), self._sizes).astype(self.compute_dtype)

    def call(self, inputs: Any) -> Any:
        inputs = inputs.astype(self.compute_dtype)
        spread = jnp.maximum(jnp.sqrt(self.variance), epsilon())
        return self.mean + inputs * spread if self.invert else (inputs - self.mean) / spread
