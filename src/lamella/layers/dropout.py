"""Dropout: in training, some values become zero and the others larger, so that the mean stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lamella.core.errors import ArgumentError
from lamella.core.seeds import SeedGenerator
from lamella.layers.layer import Layer
from lamella.layers.windows import settle_format
from lamella.ops import random


class Dropout(Layer):
    """Zeros at random places in training, the identity otherwise: shape unchanged.

    Where `noise_shape` has a 1, one draw serves the whole axis. Srivastava et al., "Dropout: A Simple Way to Prevent
    Neural Networks from Overfitting", JMLR 15 (2014).

    >>> import numpy as np
    >>> Dropout(0.5)(np.ones((1, 3), "float32")).tolist()
    [[1.0, 1.0, 1.0]]
    """

    rate: float
    noise_shape: Any = None
    seed: Any = None
    supports_masking = True

    def __post_init__(self) -> None:
        check_rate(type(self).__name__, self.rate)
        self.seed_generator = SeedGenerator(self.seed) if self.rate > 0 else None

    def _noise_shape(self, shape: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self.noise_shape is None:
            return None
        return tuple(size if given is None else given for given, size in zip(self.noise_shape, shape, strict=True))

    def call(self, inputs: Any, training: Any = False) -> Any:
        if not training or self.seed_generator is None:
            return inputs
        return random.dropout(inputs, self.rate, self._noise_shape(inputs.shape), seed=self.seed_generator)


def check_rate(owner: str, rate: float) -> None:
    """Refuse a rate that is no probability."""
    if isinstance(rate, bool) or not 0 <= rate <= 1:
        raise ArgumentError(f"{owner}: rate is the share of values dropped, between 0 and 1; got {rate!r}.")


class SpatialDropout(Dropout):
    """Whole channels become zero in training: shape unchanged.

    Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015.
    """

    arguments_beyond: ClassVar[Mapping[str, Any]] = {"trainable": True}
    rank: ClassVar[int]

    def __init__(self, rate: float, data_format: str | None = None, seed: Any = None, **kwargs: Any) -> None:
        self.data_format = data_format
        super().__init__(rate=rate, seed=seed, **kwargs)
        settle_format(self, self.rank)

    def _noise_shape(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        ones = (1,) * self.rank
        return (shape[0], *ones, shape[-1]) if self.data_format == "channels_last" else (shape[0], shape[1], *ones)


class SpatialDropout1D(SpatialDropout):
    """Whole channels of sequences become zero in training: (batch, steps, channels), unchanged."""

    rank = 1

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(rate, "channels_last", seed, **kwargs)


class SpatialDropout2D(SpatialDropout):
    """Whole channels of images become zero in training: (batch, rows, cols, channels), unchanged."""

    rank = 2


class SpatialDropout3D(SpatialDropout):
    """Whole channels of volumes become zero in training: (batch, depth, rows, cols, channels), unchanged."""

    rank = 3
