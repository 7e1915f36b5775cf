"""lamella's own overhead: eager calls, a jitted forward pass, import, and building a model.

Every comparison is a ratio of medians taken in turns in one run. `python benchmarks/overhead.py [--json FILE]`
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np
from timing import Figures, in_turns, report

import lamella

MICRO = 1e6


def eager_calls() -> dict[str, dict[str, float]]:
    x = np.random.default_rng(0).normal(size=(10, 5)).astype("float32")
    sequence = np.random.default_rng(0).normal(size=(2, 10, 8)).astype("float32")
    ours, theirs = lamella.layers.Dense(3), keras.layers.Dense(3)
    lstm, their_lstm = lamella.layers.LSTM(32), keras.layers.LSTM(32)
    return {
        "eager Dense(3) on (10, 5), µs": in_turns(
            {"lamella": lambda: ours(x), "keras": lambda: theirs(x)}, 200, unit=MICRO
        ),
        "eager LSTM(32) on (2, 10, 8), µs": in_turns(
            {"lamella": lambda: lstm(sequence), "keras": lambda: their_lstm(sequence)}, 3, unit=MICRO
        ),
    }


def jitted_forward() -> dict[str, float]:
    x = jnp.ones((32, 64))
    model = lamella.Sequential(
        [lamella.Input((64,)), *(lamella.layers.Dense(64, activation="relu") for _ in range(10))]
    )
    forward = lamella.jit(model)
    weights = [weight.value for weight in model.weights]

    @jax.jit
    def by_hand(weights: list[Any], x: Any) -> Any:
        for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
            x = jax.nn.relu(x @ kernel + bias)
        return x

    np.testing.assert_allclose(forward(x), by_hand(weights, x), rtol=1e-6)
    return in_turns({"lamella": lambda: forward(x), "hand-written": lambda: by_hand(weights, x)}, 200, unit=MICRO)


def import_seconds() -> dict[str, float]:
    def once(statement: str) -> float:
        code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)

    taken: dict[str, list[float]] = {"jax": [], "lamella": []}
    for _ in range(7):
        for name, values in taken.items():
            values.append(once(f"import {name}"))
    return {name: statistics.median(values) for name, values in taken.items()}


def build_seconds() -> dict[str, float]:
    def functional(library: Any) -> float:
        start = time.perf_counter()
        x = inputs = library.Input((64,))
        for _ in range(50):
            x = library.layers.Dense(64, activation="relu")(x)
        library.Model(inputs, x).count_params()
        return time.perf_counter() - start

    taken = {
        name: [functional(library) for _ in range(5)] for name, library in (("lamella", lamella), ("keras", keras))
    }
    return {f"{name}, {which}": value for name, values in taken.items() for which, value in (
        ("first", values[0]), ("median of the next", statistics.median(values[1:])))}  # fmt: skip


def measure() -> Figures:
    return {
        **eager_calls(),
        "jitted forward pass of ten Dense(64), µs": jitted_forward(),
        "import, s": import_seconds(),
        "functional model of 50 Dense layers, s": build_seconds(),
    }


if __name__ == "__main__":
    report(measure, __doc__, f", keras {keras.__version__}")
