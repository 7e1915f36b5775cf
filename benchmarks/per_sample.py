"""What writing a layer for one sample costs: attention pooling as `call_sample` beside its hand-batched twin.

Every comparison is a ratio of medians taken in turns in one run. `python benchmarks/per_sample.py [--json FILE]`
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import lamella
from lamella import ops

ROUNDS = 15
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


def milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(jax.tree.leaves(call()))
    return (time.perf_counter() - start) * 1e3


def in_turns(calls: dict[str, Callable[[], Any]], each: int) -> dict[str, float]:
    """Return the median of each, the calls taken in turns so that a slow moment meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        milliseconds(call)
    for _ in range(ROUNDS * each):
        for name, call in calls.items():
            taken[name].append(milliseconds(call))
    return {name: statistics.median(values) for name, values in taken.items()}


def model(layer: lamella.Layer) -> Any:
    made = lamella.Sequential([lamella.Input((STEPS, FEATURES)), layer, lamella.layers.Dense(1)])
    made.compile("adam", loss="mse")
    return made


def epoch(made: Any, x: Any, y: Any) -> Any:
    return made.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0).history["loss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to a file as well")
    chosen = parser.parse_args()
    print(f"jax {jax.__version__}, {os.cpu_count()} cores, {jax.default_backend()}")
    x = np.random.default_rng(0).normal(size=(BATCH, STEPS, FEATURES)).astype("float32")
    many = np.tile(x, (BATCHES, 1, 1))
    y = many[:, 0, :1]
    ours, by_hand = model(OneSample()), model(Batched())
    by_hand.set_weights(ours.get_weights())
    forward, forward_by_hand = lamella.jit(ours), lamella.jit(by_hand)
    np.testing.assert_allclose(forward(x), forward_by_hand(x), rtol=1e-4, atol=1e-5)
    on_device = jax.device_put(x)
    figures = {
        "jitted forward, ms": in_turns(
            {"call_sample": lambda: forward(on_device), "by hand": lambda: forward_by_hand(on_device)}, 10
        ),
        f"an epoch of {BATCHES} steps, ms": in_turns(
            {"call_sample": lambda: epoch(ours, many, y), "by hand": lambda: epoch(by_hand, many, y)}, 1
        ),
    }
    for title, values in figures.items():
        first, other = values.values()
        shown = "  ".join(f"{name} {value:.3g}" for name, value in values.items())
        print(f"{title:26s} {shown}   ratio {first / other:.2f}")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
