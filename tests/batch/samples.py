"""Data, comparisons and layers of the tests of code for one sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lamella import layers, ops

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 6, 5)).astype("float32")
Y = RNG.normal(size=(8, 3)).astype("float32")
MASK = np.arange(6) < RNG.integers(1, 7, (8, 1))


def close(ours: Any, wanted: Any) -> None:
    np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)


def message(kind: type[Exception], call: Callable[[], Any]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


class Scores(layers.Layer):
    """What the two forms of attention pooling share."""

    units: int = 3
    supports_masking = True

    def build(self, input_shape: Any) -> None:
        self.query = self.add_weight(shape=(input_shape[-1],), initializer="random_normal", name="query")
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        return None


class Pool(Scores):
    def call_sample(self, x: Any, mask: Any = None) -> Any:
        scores = x @ self.query
        if mask is not None:
            scores = ops.where(mask, scores, -1e9)
        return ops.softmax(scores) @ x @ self.kernel


class BatchedPool(Scores):
    def call(self, x: Any, mask: Any = None) -> Any:
        scores = x @ self.query
        if mask is not None:
            scores = ops.where(mask, scores, -1e9)
        return ops.einsum("bt,btf->bf", ops.softmax(scores), x) @ self.kernel


class Inside(layers.Layer):
    """A layer of lamella's, called on one sample."""

    inner: Any

    def call_sample(self, x: Any, mask: Any = None, training: Any = None) -> Any:
        return self.inner(x) if mask is None else self.inner(x, mask=mask)
