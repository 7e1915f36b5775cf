"""What a checkpoint costs a training: a model with 100 MB of weights, whose optimizer keeps 200 MB more, on CPU.

`python benchmarks/checkpoints.py [--json FILE]`. Medians, in milliseconds, of several turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from timing import Figures, report

import lamella
from lamella.callbacks import BackupAndRestore
from lamella.checkpoint import Checkpoints

WIDTH, BATCH, TIMES = 2500, 64, 5


def made() -> Any:
    model = lamella.Sequential([lamella.Input((WIDTH,)), *(lamella.layers.Dense(WIDTH, "relu") for _ in range(4))])
    model.compile("adam", "mse")
    return model


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure() -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        found = turns(Path(folder))
    return {kind: {"ms": statistics.median(times) * 1e3} for kind, times in found.items()}


def turns(folder: Path) -> dict[str, list[float]]:
    model, x = made(), np.random.default_rng(0).normal(size=(BATCH, WIDTH)).astype("float32")

    def step() -> None:
        model.train_on_batch(x, x)
        jax.block_until_ready([variable.value for variable in model.variables])

    backup = BackupAndRestore(folder / "backup")
    backup.set_model(model)
    found: dict[str, list[float]] = {}
    step()
    with (
        Checkpoints(folder / "at once", max_to_keep=1) as at_once,
        Checkpoints(folder / "background", max_to_keep=1, save_on_background=True) as background,
    ):
        at_once.save(model, 0)
        background.save(model, 0)
        for turn in range(1, TIMES + 1):
            background.wait()
            kinds: dict[str, Callable[[], Any]] = {
                "a step": step,
                "save": lambda turn=turn: at_once.save(model, turn),
                "save on background, until it returns": lambda turn=turn: background.save(model, turn),
                "a step meanwhile": step,
                "until it is on the disk": background.wait,
                "BackupAndRestore, an .h5 file": lambda: backup.keep(0, None, {}),
                "restore": lambda: at_once.restore(model),
            }
            for kind, work in kinds.items():
                found.setdefault(kind, []).append(timed(work))
    return found


if __name__ == "__main__":
    report(measure, __doc__)
