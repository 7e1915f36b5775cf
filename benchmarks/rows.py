"""A step of plain gradient descent on a table of words: by the rows that were looked up, and by the whole gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from timing import Figures, in_turns, report

import lamella
from lamella import layers, optimizers

STEPS, BATCH, WORDS = 32, 32, 80


class Whole(optimizers.SGD):
    """The same descent, of which lamella does not know that it leaves alone what has no gradient."""

    def rule(self, g: Any, value: Any, slots: Any, rate: Any, step: Any) -> Any:
        return super().rule(g, value, slots, rate, step)


def epoch(optimizer: Any, rows: int, width: int) -> Any:
    """An epoch of a model that averages the vectors of words."""
    draw = np.random.default_rng(0)
    x = draw.integers(0, rows, (STEPS * BATCH, WORDS), dtype="int32")
    y = draw.integers(0, 2, (STEPS * BATCH, 1)).astype("float32")
    table = layers.Embedding(rows, width)
    model = lamella.Sequential([lamella.Input((WORDS,), dtype="int32"), table])
    model.add(layers.GlobalAveragePooling1D())
    model.add(layers.Dense(1))
    model.compile(optimizer, "mse")
    return lambda: model.fit(x, y, batch_size=BATCH, verbose=0).history["loss"]


def measure() -> Figures:
    figures = {}
    for rows, width in ((5_000, 128), (12_000, 128), (20_000, 64), (20_000, 128), (100_000, 64)):
        calls = {"by rows": epoch(optimizers.SGD(0.1), rows, width), "whole": epoch(Whole(0.1), rows, width)}
        taken = in_turns(calls, rounds=9, unit=1e3 / STEPS)
        figures[f"ms a step, {rows} rows of {width}, {BATCH * WORDS} looked up"] = taken
    return figures


if __name__ == "__main__":
    report(measure, __doc__)
