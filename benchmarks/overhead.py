"""lamella's own overhead: eager calls, a jitted forward pass, import, and building a model.

Every comparison is a ratio of medians taken in turns in one run. `python benchmarks/overhead.py [--json FILE]`
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np

import lamella

ROUNDS = 15


def microseconds(call: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        out = call()
    jax.block_until_ready(jax.tree.leaves(out))
    return (time.perf_counter() - start) / calls * 1e6


def in_turns(calls: dict[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """Return the median of each, the calls taken in turns so that a slow moment meets all of them."""
    for call in calls.values():
        jax.block_until_ready(jax.tree.leaves(call()))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            taken[name].append(microseconds(call, count))
    return {name: statistics.median(values) for name, values in taken.items()}


def eager_calls() -> dict[str, dict[str, float]]:
    x = np.random.default_rng(0).normal(size=(10, 5)).astype("float32")
    sequence = np.random.default_rng(0).normal(size=(2, 10, 8)).astype("float32")
    ours, theirs = lamella.layers.Dense(3), keras.layers.Dense(3)
    lstm, their_lstm = lamella.layers.LSTM(32), keras.layers.LSTM(32)
    return {
        "eager Dense(3) on (10, 5), µs": in_turns({"lamella": lambda: ours(x), "keras": lambda: theirs(x)}, 200),
        "eager LSTM(32) on (2, 10, 8), µs": in_turns(
            {"lamella": lambda: lstm(sequence), "keras": lambda: their_lstm(sequence)}, 3
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
    return in_turns({"lamella": lambda: forward(x), "hand-written": lambda: by_hand(weights, x)}, 200)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to a file as well")
    chosen = parser.parse_args()
    print(f"jax {jax.__version__}, keras {keras.__version__}, {os.cpu_count()} cores, {jax.default_backend()}")
    figures = {
        **eager_calls(),
        "jitted forward pass of ten Dense(64), µs": jitted_forward(),
        "import, s": import_seconds(),
        "functional model of 50 Dense layers, s": build_seconds(),
    }
    for title, values in figures.items():
        first, *others = values.values()
        ratio = f"   ratio {first / others[0]:.2f}" if len(others) == 1 else ""
        print(f"{title:42s} " + "  ".join(f"{name} {value:.3g}" for name, value in values.items()) + ratio)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
