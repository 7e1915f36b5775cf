"""SpectralNormalization: a layer whose kernel is kept from stretching its input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lamella import ops
from lamella.core.errors import ArgumentError
from lamella.core.variable import Variable
from lamella.layers.spec import InputSpec
from lamella.layers.wrappers import Wrapper
from lamella.parts.initializers import TruncatedNormal


class SpectralNormalization(Wrapper):
    """A layer whose kernel (or embeddings) is divided by its largest singular value in training: shapes as the layer's.

    The value is estimated by `power_iterations` steps from one call to the next. Miyato et al., "Spectral Normalization
    for Generative Adversarial Networks", ICLR 2018, https://arxiv.org/abs/1802.05957.

    >>> import numpy as np
    >>> from lamella.layers.dense import Dense
    >>> SpectralNormalization(Dense(3))(np.ones((2, 5), "float32"), training=True).shape
    (2, 3)
    """

    power_iterations: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.power_iterations < 1:
            raise ArgumentError(
                f"SpectralNormalization: power_iterations must be positive, got {self.power_iterations}."
            )

    def build(self, input_shape: Any) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)
        self.input_spec = InputSpec(min_ndim=1, axes={-1: input_shape[-1]})
        self.kernel = self._found()
        width = self.kernel.shape[-1]
        self.vector_u = self.add_weight((1, width), TruncatedNormal(stddev=0.02), trainable=False, name="vector_u")

    def _found(self) -> Variable:
        for name in ("kernel", "embeddings"):
            found = getattr(self.layer, name, None)
            if isinstance(found, Variable):
                return found
        raise ArgumentError(
            f"SpectralNormalization: {type(self.layer).__name__} has neither a kernel nor embeddings.",
            mend="SpectralNormalization(Dense(3))",
        )

    def call(self, inputs: Any, training: Any = False) -> Any:
        if training:
            self._normalize()
        return self.layer(inputs).astype(inputs.dtype)

    def _normalize(self) -> None:
        kernel, u = self.kernel.value, self.vector_u.value
        rows = kernel.reshape(-1, kernel.shape[-1])
        for _ in range(self.power_iterations):
            v = ops.normalize(u @ rows.T, None)
            u = ops.normalize(v @ rows, None)
        u, v = jax.lax.stop_gradient((u, v))
        empty = jnp.all(kernel == 0)
        # A kernel of zeros has no direction; it stays as it is.
        self.vector_u.assign(jnp.where(empty, self.vector_u.value, u))
        self.kernel.assign(kernel / jnp.where(empty, 1, v @ rows @ u.T).reshape(()))
