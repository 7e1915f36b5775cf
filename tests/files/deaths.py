"""The campaign of deaths: a process that saves a model again and again is killed, many times.

python -m tests.files.deaths --deaths 200
python -m tests.files.deaths --deaths 200 --checkpoints

The command kills at random moments. Where a moment falls depends on the machine, so the tests kill at chosen lines.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import lamella
from lamella.checkpoint import Checkpoints
from lamella.saving import durable

# Each process that dies is forked from one that has imported all and started no thread.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["lamella"])


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
    """Save, kill at random moments, and return what was found."""
    draw = random.Random(seed)

    def die(path: Path, number: int) -> None:
        here, there = _PROCESSES.Pipe()
        child = _PROCESSES.Process(target=_save_twice, args=(path, number, there))
        child.start()
        took = here.recv()
        # From before the first byte to after the last.
        time.sleep(draw.uniform(0, 1.5 * took))
        child.kill()
        child.join()

    return _count(folder, die, deaths)


def _save_twice(path: Path, number: int, told: Any) -> None:
    """Save beside the path, tell how long it takes, and save to the path; wait for the end."""
    model, other = _filled(float(number)), path.with_name("other.keras")
    model.save(other)
    start = time.perf_counter()
    model.save(other)
    told.send(time.perf_counter() - start)
    model.save(path)
    time.sleep(60)


def at_lines(folder: Path, deaths: int) -> Found:
    """Save, die at lines from the first to the last that saving runs through, and return what was found."""
    lines = _save_and_die(folder / "counted.keras", 0, None)

    def die(path: Path, number: int) -> None:
        child = _PROCESSES.Process(target=_save_and_die, args=(path, number, lines * number // deaths))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL

    return _count(folder, die, deaths)


def _save_and_die(path: Path, number: int, last: int | None) -> int:
    """Save, and kill this very process at a line of the file that puts files in their place; count the lines."""
    model, count = _filled(float(number)), 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != durable.__file__:
            return None
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    try:
        model.save(path)
    finally:
        sys.settrace(None)
    return count


def _count(folder: Path, die: Callable[[Path, int], None], deaths: int) -> Found:
    found, before, path = Found(), 0.0, folder / "model.keras"
    _filled(before).save(path)
    for death in range(1, deaths + 1):
        die(path, death)
        after = _value(path)
        found.old += after == before
        found.new += after == death
        found.broken += after not in (before, death)
        before = after if after is not None else before
    return found


def checkpoint_campaign(folder: Path, deaths: int, seed: int) -> Found:
    """Save checkpoints on and on and kill; "old" are deaths inside a save, after which only earlier ones are there."""
    draw, found = random.Random(seed), Found()
    for _ in range(deaths):
        here, there = _PROCESSES.Pipe()
        child = _PROCESSES.Process(target=_save_checkpoints, args=(folder, there))
        child.start()
        here.recv()
        time.sleep(draw.uniform(0, 1))
        child.kill()
        child.join()
        unfinished = any("tmp" in name for name in os.listdir(folder))
        broken = _broken_checkpoints(folder)
        found.old += unfinished and not broken
        found.new += not unfinished and not broken
        found.broken += broken
    return found


def _save_checkpoints(folder: Path, told: Any) -> None:
    checkpoints = Checkpoints(folder, max_to_keep=3, save_on_background=True)
    for step in range((checkpoints.latest_step or 0) + 1, 1_000_000):
        checkpoints.save(_filled(float(step)), step)
        told.send(step)


def _broken_checkpoints(folder: Path) -> bool:
    """Tell whether anything is wrong: a step that is listed and not whole, or none at all."""
    model, checkpoints = _filled(0.0), Checkpoints(folder)
    for step in checkpoints.steps:
        checkpoints.restore(model, step)
        if {float(value) for weight in model.get_weights() for value in (weight.min(), weight.max())} != {step}:
            return True
    return not checkpoints.steps


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deaths", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = checkpoint_campaign if given.checkpoints else campaign
        found = run(Path(folder), given.deaths, given.seed)
    print(found)
    return int(found.broken > 0)


if __name__ == "__main__":
    sys.exit(main())
