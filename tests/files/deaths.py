"""The campaign of deaths: a process that saves a model again and again is killed at a random moment, many times.

python -m tests.files.deaths --deaths 200
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lamella


@dataclass
class Found:
    """How many deaths left the file of before, the new one, or neither."""

    old: int = 0
    new: int = 0
    broken: int = 0


def _filled(value: float) -> Any:
    model = lamella.Sequential([lamella.Input((64,)), lamella.layers.Dense(4096)])
    model.set_weights([np.full(weight.shape, value, "float32") for weight in model.weights])
    return model


def _value(path: Path) -> float | None:
    """Return the one value of all weights in a file, or None if there is no such model in it."""
    weights = lamella.models.load_model(path).get_weights()
    values = {float(weight.min()) for weight in weights} | {float(weight.max()) for weight in weights}
    return values.pop() if len(values) == 1 else None


def campaign(folder: Path, deaths: int, seed: int) -> Found:
    """Save and kill; return what was found."""
    draw, found = random.Random(seed), Found()
    path = folder / "model.keras"
    model, before = _filled(0.0), 0.0
    model.save(path)
    start = time.perf_counter()
    model.save(path)
    # From before the first byte to after the last.
    longest = (time.perf_counter() - start) * 1.5
    for death in range(1, deaths + 1):
        model.set_weights([np.full(weight.shape, float(death), "float32") for weight in model.weights])
        with warnings.catch_warnings():
            # Threads do not come along into the child; what it does needs none.
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            model.save(path)
            time.sleep(longest)
            os._exit(0)
        time.sleep(draw.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        after = _value(path)
        found.old += after == before
        found.new += after == death
        found.broken += after not in (before, death)
        # On a machine that is busy the child may be slower than the save above was, or faster.
        longest *= 1.2 if after == before else 0.9
        before = after if after is not None else before
    return found


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deaths", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder), given.deaths, given.seed)
    print(found)
    return int(found.broken > 0)


if __name__ == "__main__":
    sys.exit(main())
