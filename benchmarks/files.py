"""Saving and loading the weights of a 1 GB model, beside h5py with the same arrays: time and peak memory.

    python -m benchmarks.files

Each of the four runs in a process of its own, five times; the best time counts. Memory is what the process had at most
from when the model, or the arrays, stood ready. All four have imported lamella, and JAX with it.
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

import lamella
from lamella import layers

GIGABYTE = 1_000_000_000
LAYERS = 20
WAYS = ("h5py save", "lamella save", "h5py load", "lamella load")
ROUNDS = 5


def arrays() -> list[Any]:
    """The arrays of the model."""
    side = int((GIGABYTE / 4 / LAYERS) ** 0.5)
    rng = np.random.default_rng(0)
    return [rng.random((side, side), "float32") for _ in range(LAYERS)]


def model() -> Any:
    """A model of a gigabyte."""
    side = int((GIGABYTE / 4 / LAYERS) ** 0.5)
    made = [layers.Dense(side, use_bias=False, kernel_initializer="ones") for _ in range(LAYERS)]
    return lamella.Sequential([lamella.Input((side,)), *made])


def plain_save(given: list[Any], path: str) -> None:
    """Write arrays with h5py, to the disk."""
    with h5py.File(path, "w") as file:
        for place, array in enumerate(given):
            file[f"layers/dense_{place}/vars/0"] = array
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def plain_load(given: list[Any], path: str) -> None:
    """Read arrays with h5py into those that are there."""
    with h5py.File(path, "r") as file:
        for place in range(LAYERS):
            name = f"layers/dense_{place}" if place else "layers/dense"
            given[place] = file[f"{name}/vars/0"][()]


def measure(way: str, path: str) -> None:
    """Print seconds and bytes of one way."""
    ready = model() if way.startswith("lamella") else arrays()
    runs: dict[str, Callable[[], None]] = {
        "h5py save": lambda: plain_save(ready, path),
        "h5py load": lambda: plain_load(ready, path),
        "lamella save": lambda: ready.save_weights(path),
        "lamella load": lambda: ready.load_weights(path),
    }
    Path("/proc/self/clear_refs").write_text("5")
    begun = time.perf_counter()
    runs[way]()
    print(time.perf_counter() - begun, _peak())


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Measure all ways and print them beside each other."""
    if len(sys.argv) == 3:
        measure(sys.argv[1], sys.argv[2])
        return
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = os.path.join(folder, "a.weights.h5")
        for way in WAYS:
            rounds = []
            for _ in range(ROUNDS):
                command = [sys.executable, "-m", "benchmarks.files", way, path]
                out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                rounds.append([float(number) for number in out.split()])
            found[way] = min(r[0] for r in rounds), min(r[1] for r in rounds)
    for what in ("save", "load"):
        (base, least), (ours, most) = found[f"h5py {what}"], found[f"lamella {what}"]
        spent = f"{ours:.2f} s beside {base:.2f} s ({ours / base:.2f}x)"
        print(f"{what}: {spent}, {most / 1e9:.2f} GB beside {least / 1e9:.2f} GB ({most / least:.2f}x)")


if __name__ == "__main__":
    main()
