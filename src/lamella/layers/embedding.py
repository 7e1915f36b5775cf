"""Embedding: ids to vectors, and back."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lamella import kernels
from lamella.core.errors import ArgumentError
from lamella.core.masked import with_mask
from lamella.layers.quantization import Quantizable, matrix_axes
from lamella.parts.constraints import ConstraintLike
from lamella.parts.initializers import InitializerLike
from lamella.parts.quantizers import QuantizationConfigLike
from lamella.parts.regularizers import RegularizerLike


class Embedding(Quantizable):
    """A row of a table for each id: (batch, ...) of integers below `input_dim` -> (batch, ..., output_dim).

    With `mask_zero`, id 0 is padding: a mask goes along with the output. `weights` gives the table its first values.

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
    lora_rank: int | None = None
    lora_alpha: Any = None
    quantization_config: QuantizationConfigLike = None

    adapted = "embeddings"
    supports_masking = True

    def _set_fields(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first_values = kwargs.pop("weights", None)
        super()._set_fields(args, kwargs)
        if first_values is not None:
            self.build()
            self.set_weights(first_values if isinstance(first_values, list) else [first_values])

    def __post_init__(self) -> None:
        for name in ("input_dim", "output_dim"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ArgumentError(f"Embedding: {name} must be a positive integer, got {getattr(self, name)!r}.")

    def build(self, input_shape: Any = None) -> None:
        self._embeddings = self._add_adapted((self.input_dim, self.output_dim), self.embeddings_initializer)
        if self.lora_rank:
            self._adapt(self.lora_rank, self.lora_alpha)

    @property
    def embeddings(self) -> Any:
        """The table, or what it comes to with its adaptation."""
        return self._adapted_value() if self.lora_enabled else self._embeddings

    def call(self, inputs: Any) -> Any:
        if self.quantization_mode is None:
            return kernels.embed(inputs, self._adapted_value())
        rows = kernels.dequantized(*(kernels.embed(inputs, part) for part in self._quantized()))
        if self.lora_enabled:
            a, b = self._factors()
            rows = rows + (kernels.embed(inputs, a) @ b).astype(rows.dtype)
        return rows

    def _summed(self) -> dict[str, tuple[int, ...]]:
        return {"embeddings": (1,)}

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return where the ids are not 0, if that is what 0 means."""
        return jnp.not_equal(inputs, 0) if self.mask_zero else None


class ReversibleEmbedding(Embedding):
    """A table that is also read backward: (batch, ...) of ids -> (batch, ..., output_dim), or vectors -> scores.

    With `reverse=True`: (batch, ..., output_dim) -> (batch, ..., input_dim), a score for each id. With
    `tie_weights=False` the way back has a table of its own. `logit_soft_cap` bounds the scores. Press and Wolf, "Using
    the Output Embedding to Improve Language Models", 2016, https://arxiv.org/abs/1608.05859.

    >>> import numpy as np
    >>> layer = ReversibleEmbedding(100, 8)
    >>> vectors = layer(np.array([[3, 5, 0]]))
    >>> layer(vectors, reverse=True).shape
    (1, 3, 100)
    """

    arguments_first = (
        *("input_dim", "output_dim", "tie_weights", "embeddings_initializer", "embeddings_regularizer"),
        *("embeddings_constraint", "mask_zero", "reverse_dtype", "logit_soft_cap"),
    )
    tie_weights: bool = True
    reverse_dtype: Any = None
    logit_soft_cap: float | None = None

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        if not self.tie_weights:
            self.reverse_embeddings = self._add_large(
                "reverse_embeddings", (self.output_dim, self.input_dim), self.embeddings_initializer
            )

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        if not reverse:
            return with_mask(super().call(inputs), super().compute_mask(inputs))
        inputs = inputs if self.reverse_dtype is None else inputs.astype(self.reverse_dtype)
        scores = self._scores(inputs)
        return scores if self.logit_soft_cap is None else self.logit_soft_cap * jnp.tanh(scores / self.logit_soft_cap)

    def _scores(self, inputs: Any) -> Any:
        if self.quantization_mode is None:
            kernel = self._adapted_value().T if self.tie_weights else self.reverse_embeddings.value
            return kernels.dense(inputs, kernel if self.reverse_dtype is None else kernel.astype(self.reverse_dtype))
        axes = matrix_axes(inputs.ndim, transposed=self.tie_weights)
        return self._quantized_product(axes, inputs, "embeddings" if self.tie_weights else "reverse_embeddings")

    def _summed(self) -> dict[str, tuple[int, ...]]:
        return super()._summed() | ({} if self.tie_weights else {"reverse_embeddings": (0,)})

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return None: the mask comes out of `call`, which knows the way."""
        return None
