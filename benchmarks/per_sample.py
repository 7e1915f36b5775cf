"""What writing a layer for one sample costs: attention pooling as `call_sample` beside its hand-batched twin.

Every comparison is a ratio of medians taken in turns in one run. `python benchmarks/per_sample.py [--json FILE]`
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from timing import Figures, in_turns, report

import lamella
from lamella import ops

BATCH, STEPS, FEATURES, UNITS = 128, 64, 64, 64
BATCHES = 32


class Attention(lamella.Layer):
    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        self.keys = self.add_weight(shape=(features, UNITS), name="keys")
        self.query = self.add_weight(shape=(UNITS,), initializer="random_normal", name="query")
        self.values = self.add_weight(shape=(features, UNITS), name="values")


class Batched(Attention):
    def call(self, x: Any) -> Any:
        weights = ops.softmax(ops.tanh(x @ self.keys) @ self.query, axis=1)
        return ops.einsum("bt,btf->bf", weights, x) @ self.values


class OneSample(Attention):
    def call_sample(self, x: Any) -> Any:
        weights = ops.softmax(ops.tanh(x @ self.keys) @ self.query)
        return weights @ x @ self.values


def model(layer: lamella.Layer) -> Any:
    made = lamella.Sequential([lamella.Input((STEPS, FEATURES)), layer, lamella.layers.Dense(1)])
    made.compile("adam", loss="mse")
    return made


def epoch(made: Any, x: Any, y: Any) -> Any:
    return made.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0).history["loss"]


def measure() -> Figures:
    x = np.random.default_rng(0).normal(size=(BATCH, STEPS, FEATURES)).astype("float32")
    many = np.tile(x, (BATCHES, 1, 1))
    y = many[:, 0, :1]
    ours, by_hand = model(OneSample()), model(Batched())
    by_hand.set_weights(ours.get_weights())
    forward, forward_by_hand = lamella.jit(ours), lamella.jit(by_hand)
    np.testing.assert_allclose(forward(x), forward_by_hand(x), rtol=1e-4, atol=1e-5)
    on_device = jax.device_put(x)
    return {
        "jitted forward, ms": in_turns(
            {"call_sample": lambda: forward(on_device), "by hand": lambda: forward_by_hand(on_device)}, rounds=150
        ),
        f"an epoch of {BATCHES} steps, ms": in_turns(
            {"call_sample": lambda: epoch(ours, many, y), "by hand": lambda: epoch(by_hand, many, y)}
        ),
    }


if __name__ == "__main__":
    report(measure, __doc__)
