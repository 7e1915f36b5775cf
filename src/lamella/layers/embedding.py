"""Embedding: ids to vectors."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lamella import kernels
from lamella.core.errors import ArgumentError
from lamella.layers.layer import Layer
from lamella.parts.constraints import ConstraintLike
from lamella.parts.initializers import InitializerLike
from lamella.parts.regularizers import RegularizerLike


class Embedding(Layer):
    """A row of a table for each id: (batch, ...) of integers below `input_dim` -> (batch, ..., output_dim).

    With `mask_zero`, id 0 is padding: a mask goes along with the output.

    >>> import numpy as np
    >>> Embedding(100, 8)(np.array([[3, 5, 0]])).shape
    (1, 3, 8)
    """

    input_dim: int
    output_dim: int
    embeddings_initializer: InitializerLike = "uniform"
    embeddings_regularizer: RegularizerLike = None
    embeddings_constraint: ConstraintLike = None
    mask_zero: bool = False

    supports_masking = True

    def __post_init__(self) -> None:
        for name in ("input_dim", "output_dim"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ArgumentError(f"Embedding: {name} must be a positive integer, got {getattr(self, name)!r}.")

    def build(self, input_shape: Any = None) -> None:
        self.embeddings = self.add_weight(
            (self.input_dim, self.output_dim),
            self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
            name="embeddings",
        )

    def call(self, inputs: Any) -> Any:
        return kernels.embed(inputs, self.embeddings.value)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return where the ids are not 0, if that is what 0 means."""
        return jnp.not_equal(inputs, 0) if self.mask_zero else None
