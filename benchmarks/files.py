"""Saving and loading a model of 1 GB, beside h5py with the same arrays: time and peak memory.

    python -m benchmarks.files

Each way runs in a process of its own, five times, in turns; the best time counts. Memory is what the process had at
most from when the model, or the arrays, stood ready. All have imported lamella, and JAX with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rich.console import Console
from rich.table import Table

import lamella
from lamella import layers

GIGABYTE = 1_000_000_000
LAYERS = 20
ROUNDS = 5
SIDE = int((GIGABYTE / 4 / LAYERS) ** 0.5)
# Files have to be written before they are read.
VERBS = ("writes", "reads")
WAYS = ("h5py writes", "save_weights", "save", "h5py reads", "load_weights", "load_model")


def arrays() -> list[Any]:
    """The arrays of the model."""
    rng = np.random.default_rng(0)
    return [rng.random((SIDE, SIDE), "float32") for _ in range(LAYERS)]


def model() -> Any:
    """A model of a gigabyte."""
    made = [layers.Dense(SIDE, use_bias=False, kernel_initializer="ones") for _ in range(LAYERS)]
    return lamella.Sequential([lamella.Input((SIDE,)), *made])


def plain_save(given: list[Any], path: Path) -> None:
    """Write arrays with h5py, to the disk."""
    with h5py.File(path, "w") as file:
        for place, array in enumerate(given):
            file[f"layers/dense_{place}/vars/0"] = array
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def plain_load(given: list[Any], path: Path) -> None:
    """Read arrays with h5py in the place of those that are there."""
    with h5py.File(path, "r") as file:
        for place in range(LAYERS):
            given[place] = file[f"layers/dense_{place}/vars/0"][()]


def prepared(way: str, folder: Path) -> Callable[[], object]:
    """What is measured, with everything made that it takes."""
    if way == "load_model":
        return lambda: lamella.models.load_model(folder / "model.keras")
    if way.startswith("h5py"):
        given, run = arrays(), plain_save if way == "h5py writes" else plain_load
        return lambda: run(given, folder / "plain.h5")
    made = model()
    runs: dict[str, Callable[[], None]] = {
        "save_weights": lambda: made.save_weights(folder / "a.weights.h5"),
        "load_weights": lambda: made.load_weights(folder / "a.weights.h5"),
        "save": lambda: made.save(folder / "model.keras"),
    }
    return runs[way]


def measure(way: str, folder: Path) -> None:
    """Print seconds and bytes of one way."""
    run = prepared(way, folder)
    Path("/proc/self/clear_refs").write_text("5")
    begun = time.perf_counter()
    run()
    print(time.perf_counter() - begun, _peak())


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Measure all ways and print them beside each other."""
    if len(sys.argv) == 3:
        measure(sys.argv[1], Path(sys.argv[2]))
        return
    rounds: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for _ in range(ROUNDS):
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks.files", way, folder]
                seconds, held = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                rounds[way].append((float(seconds), float(held)))
    best = {way: tuple(min(numbers) for numbers in zip(*found, strict=True)) for way, found in rounds.items()}
    table = Table("", "seconds", "GB at most", "beside h5py's writing", "beside h5py's reading")
    for way in WAYS:
        beside = [[mine / base for mine, base in zip(best[way], best[f"h5py {verb}"], strict=True)] for verb in VERBS]
        ratios = [f"{spent:.2f}x, {held:.2f}x" for spent, held in beside]
        table.add_row(way, f"{best[way][0]:.2f}", f"{best[way][1] / 1e9:.2f}", *ratios)
    Console().print(table)


if __name__ == "__main__":
    main()
