"""Memory foretold and memory taken: the peak of one training step, each model in a process of its own.

`python benchmarks/memory.py [--json FILE]`; Linux, on CPU. What is taken is the growth of the process during steps that
follow a first one, plus the arrays that were there before: weights, optimizer state and the batch.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import Figures, report

import lamella
from lamella import layers
from lamella.core.startup import give_back_freed_memory
from lamella.training.data import ArrayData
from lamella.training.planning import train_bytes

# name: shape of a sample, layers, batch size, size of pieces
MODELS: dict[str, tuple[tuple[int, ...], Any, int, int | None]] = {
    "mlp": (
        (1000,),
        lambda: [layers.Dense(2000, activation="relu"), layers.Dense(2000, activation="relu")],
        4096,
        None,
    ),
    "mlp in pieces": (
        (1000,),
        lambda: [layers.Dense(2000, activation="relu"), layers.Dense(2000, activation="relu")],
        8192,
        1024,
    ),
    "cnn": (
        (32, 32, 3),
        lambda: [
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ],
        512,
        None,
    ),
    "lstm": ((100, 32), lambda: [layers.LSTM(128)], 1024, None),
    "flattened sequences": ((1000, 100), lambda: [layers.Flatten(), layers.Dense(128, activation="relu")], 1024, None),
}


def resident() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) * 1024


def taken_by(name: str) -> dict[str, float]:
    """Return the peak of a step in MB, foretold and taken."""
    shape, body, samples, pieces = MODELS[name]
    model = lamella.Sequential([lamella.Input(shape), *body(), layers.Dense(10)])
    model.compile("adam", lamella.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).random((samples, *shape), "float32")
    y = np.zeros((samples, 1), "int32")
    compiled: Any = model._trainer.compiled
    data = ArrayData(x, y, None, samples)
    steps = compiled.prepare(data.first(), training=True)
    foretold = train_bytes(steps, data.first(), samples, pieces)
    (block,) = data.blocks(1)
    arrays = jax.tree.map(lambda a: jnp.array(a, copy=True), block.arrays)
    steps.micro_batch = pieces
    give_back_freed_memory()
    for _ in range(2):
        jax.block_until_ready(steps.train(arrays, 1))
    there = sum(a.nbytes for a in [*jax.tree.leaves(arrays), *(v._value for v in steps.variables)])
    gc.collect()
    before, peak, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], resident())
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(3):
        jax.block_until_ready(steps.train(arrays, 1))
    done.set()
    watcher.join()
    return {"foretold": foretold / 1e6, "taken": (peak[0] - before + there) / 1e6}


def measure() -> Figures:
    figures = {}
    for name, (_, _, samples, _) in MODELS.items():
        done = subprocess.run([sys.executable, __file__, "--model", name], capture_output=True, check=True, text=True)
        figures[f"{name}, batch of {samples}, MB"] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["--model"]:
        print(json.dumps(taken_by(sys.argv[2])))
    else:
        report(measure, __doc__)
