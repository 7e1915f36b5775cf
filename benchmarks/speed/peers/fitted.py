"""What lamella and Keras share: models of one definition, trained by `fit`, asked by `predict`."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from benchmarks.speed.definition import build
from benchmarks.speed.workloads import WORKLOADS


class Fitted:
    """A model of a library that speaks Keras's language."""

    def __init__(self, library: Any, name: str) -> None:
        self.model = build(library, name)
        self.batch = WORKLOADS[name].batch

    def parameters(self) -> tuple[int, int]:
        """Trained, and kept besides (moving statistics; not the states of random numbers)."""
        kept = [w for w in self.model.non_trainable_weights if "seed" not in w.path]
        trained = self.model.trainable_weights
        return sum(prod(w.shape) for w in trained), sum(prod(w.shape) for w in kept)

    def train(self, x: Any, y: Any) -> None:
        """One epoch; `fit` returns when its losses are known."""
        self.model.fit(x, y, batch_size=self.batch, epochs=1, verbose=0)

    def predict(self, x: Any, batch: int) -> Any:
        """Outputs in NumPy."""
        return self.model.predict(x, batch_size=batch, verbose=0)


def eager_layers(library: Any) -> dict[str, Callable[[], Any]]:
    """One call of each of six layers, nothing compiled by the caller."""
    layers, draw = library.layers, np.random.default_rng(0)
    given = {
        "Dense(3) on (10, 5)": (layers.Dense(3), (10, 5)),
        "Conv2D(16, 3) on (4, 28, 28, 3)": (layers.Conv2D(16, 3), (4, 28, 28, 3)),
        "LSTM(32) on (2, 10, 8)": (layers.LSTM(32), (2, 10, 8)),
        "GRU(32) on (2, 10, 8)": (layers.GRU(32), (2, 10, 8)),
        "MaxPooling2D() on (4, 28, 28, 3)": (layers.MaxPooling2D(), (4, 28, 28, 3)),
        "LayerNormalization() on (10, 5)": (layers.LayerNormalization(), (10, 5)),
    }
    calls = {}
    for name, (layer, shape) in given.items():
        x = library.ops.convert_to_tensor(draw.random(shape, "float32"))
        calls[name] = lambda layer=layer, x=x: layer(x)
    return calls
