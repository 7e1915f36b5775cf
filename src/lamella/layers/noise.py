"""Noise in training, nothing otherwise: Gaussian, alpha dropout; and a penalty on what passes through."""

from __future__ import annotations

from typing import Any

from lamella.core.errors import ArgumentError
from lamella.core.seeds import SeedGenerator
from lamella.layers.dropout import Dropout, check_rate
from lamella.layers.layer import Layer
from lamella.ops import random
from lamella.parts import regularizers

# The scale and the slope of SELU.
_SCALE, _ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


class GaussianNoise(Layer):
    """Normal noise of this standard deviation is added in training: shape unchanged.

    >>> import numpy as np
    >>> GaussianNoise(0.1, seed=1)(np.zeros((2, 3), "float32"), training=True).shape
    (2, 3)
    """

    stddev: float
    seed: Any = None
    supports_masking = True

    def __post_init__(self) -> None:
        if not 0 <= self.stddev <= 1:
            raise ArgumentError(f"GaussianNoise: stddev lies between 0 and 1, got {self.stddev!r}.")
        self.seed_generator = SeedGenerator(self.seed) if self.stddev > 0 else None

    def call(self, inputs: Any, training: Any = False) -> Any:
        if not training or self.seed_generator is None:
            return inputs
        return inputs + random.normal(inputs.shape, 0.0, self.stddev, self.compute_dtype, self.seed_generator)


class GaussianDropout(Layer):
    """In training, values are multiplied by normal noise of mean 1 and variance rate / (1 - rate): shape unchanged.

    Srivastava et al., "Dropout", JMLR 15 (2014), section 10.
    """

    rate: float
    seed: Any = None
    supports_masking = True

    def __post_init__(self) -> None:
        check_rate("GaussianDropout", self.rate)
        self.seed_generator = SeedGenerator(self.seed) if self.rate > 0 else None

    def call(self, inputs: Any, training: Any = False) -> Any:
        if not training or self.seed_generator is None:
            return inputs
        spread = (self.rate / (1 - self.rate)) ** 0.5
        return inputs * random.normal(inputs.shape, 1.0, spread, self.compute_dtype, self.seed_generator)


class AlphaDropout(Dropout):
    """Dropout for SELU: dropped values become its lowest, mean and variance stay: shape unchanged.

    Klambauer et al., "Self-Normalizing Neural Networks", 2017, https://arxiv.org/abs/1706.02515.
    """

    def call(self, inputs: Any, training: Any = False) -> Any:
        if not training or self.seed_generator is None:
            return inputs
        low = -_ALPHA * _SCALE
        shape = self._noise_shape(inputs.shape) or inputs.shape
        kept = (random.uniform(shape, seed=self.seed_generator) >= self.rate).astype(inputs.dtype)
        factor = ((1 - self.rate) * (1 + self.rate * low**2)) ** -0.5
        return factor * (inputs * kept + low * (1 - kept)) - factor * low * self.rate


class ActivityRegularization(Layer):
    """What passes through is penalized in training, by its absolute values and its squares: shape unchanged."""

    l1: float = 0.0
    l2: float = 0.0
    supports_masking = True

    def __post_init__(self) -> None:
        self.activity_regularizer = regularizers.L1L2(l1=self.l1, l2=self.l2)

    def call(self, inputs: Any) -> Any:
        return inputs
