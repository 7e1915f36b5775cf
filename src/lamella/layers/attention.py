"""Attention: each place of a query takes a weighted mean of values."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lamella import kernels
from lamella.core.errors import ArgumentError
from lamella.core.seeds import SeedGenerator
from lamella.core.settings import one_of
from lamella.layers.dropout import check_rate
from lamella.layers.layer import Layer
from lamella.ops import random


class Attention(Layer):
    """Luong's attention on [query, value(, key)]: (batch, time, size), (batch, keys, size) -> (batch, time, size).

    The weights are a softmax of `query @ key`, or of `sum(tanh(query + key))` with `score_mode="concat"`. `mask` is
    [query's, value's]: values where it is False count for nothing, outputs where the query's is False are 0. Luong et
    al., "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015.

    >>> import numpy as np
    >>> query, value = np.ones((2, 4, 8), "float32"), np.ones((2, 6, 8), "float32")
    >>> Attention()([query, value]).shape
    (2, 4, 8)
    """

    use_scale: bool = False
    score_mode: str = "dot"
    dropout: float = 0.0
    seed: Any = None

    axis_names = ("batch", "time", "features")

    def __post_init__(self) -> None:
        one_of("score_mode", self.score_mode, ("dot", "concat"))
        check_rate(type(self).__name__, self.dropout)
        self.seed_generator = SeedGenerator(self.seed) if self.dropout > 0 else None

    def build(self, input_shape: Any) -> None:
        self._check(input_shape)
        self.scale = self.concat_score_weight = None
        if self.use_scale:
            self.scale = self.add_weight((), "ones", name="scale")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")

    def _check(self, inputs: Any) -> None:
        if not isinstance(inputs, list | tuple) or len(inputs) not in (2, 3) or isinstance(inputs[0], int | None):
            raise ArgumentError(
                f"{type(self).__name__} takes a list: [query, value] or [query, value, key].",
                mend=f"{type(self).__name__}()([query, value])",
            )

    def _scores(self, query: Any, key: Any) -> Any:
        """(..., time, size), (..., keys, size) -> (..., time, keys)."""
        scale = 1 if self.scale is None else self.scale.value
        if self.score_mode == "dot":
            return (query @ jnp.swapaxes(key, -2, -1)) * scale
        together = jnp.tanh(scale * (query[..., None, :] + key[..., None, :, :]))
        total = jnp.sum(together, axis=-1)
        return total if self.concat_score_weight is None else self.concat_score_weight.value * total

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: Any = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        self._check(inputs)
        query, value = inputs[:2]
        query_mask, value_mask = (None, None) if mask is None else mask[:2]
        scores = self._scores(query, inputs[-1])
        seen = value_mask[..., None, :].astype(bool) if value_mask is not None else None
        if use_causal_mask:
            past = jnp.arange(scores.shape[-2])[:, None] >= jnp.arange(scores.shape[-1])
            seen = past if seen is None else seen & past
        if seen is not None:
            scores = jnp.where(seen, scores, scores - (65504.0 if scores.dtype == "float16" else 1e9))
        out, weights = self._weighted(scores, value, training, return_attention_scores)
        if query_mask is not None:
            out = jnp.where(query_mask[..., None].astype(bool), out, 0)
        return (out, weights) if return_attention_scores else out

    def _weighted(self, scores: Any, value: Any, training: Any, wanted: bool) -> tuple[Any, Any]:
        """Return the mean of the values and, where there are any, the weights."""
        dropping = training and self.seed_generator is not None
        if not (wanted or dropping):
            return kernels.weighted_mean(scores, value), None
        weights = jax.nn.softmax(scores, axis=-1)
        kept = random.dropout(weights, self.dropout, seed=self.seed_generator) if dropping else weights
        return kept @ value, kept

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return the query's mask."""
        return None if previous_mask is None else previous_mask[0]


class AdditiveAttention(Attention):
    """Bahdanau's attention on [query, value(, key)]: (batch, time, size), (batch, keys, size) -> (batch, time, size).

    The weights are a softmax of `sum(scale * tanh(query + key))`; all else is as in `Attention`. Bahdanau et al.,
    "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR 2015.

    >>> import numpy as np
    >>> query, value = np.ones((2, 4, 8), "float32"), np.ones((2, 6, 8), "float32")
    >>> out, weights = AdditiveAttention()([query, value], return_attention_scores=True)
    >>> weights.shape
    (2, 4, 6)
    """

    arguments_first = ("use_scale", "dropout")
    use_scale: bool = True

    def build(self, input_shape: Any) -> None:
        self._check(input_shape)
        self.scale = self.add_weight((input_shape[0][-1],), name="scale") if self.use_scale else None

    def _scores(self, query: Any, key: Any) -> Any:
        scale = 1 if self.scale is None else self.scale.value
        return jnp.sum(scale * jnp.tanh(query[..., None, :] + key[..., None, :, :]), axis=-1)
