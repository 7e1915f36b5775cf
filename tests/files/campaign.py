"""Broken files by the thousand: each is refused with an error that says where, or read as far as it fits.

    python -m tests.files.campaign 100000
    python -m tests.files.campaign 100000 --what archives

Files are cut off, have bits turned, bytes overwritten, parts moved and parts of one put into another. Archives are also
broken in what they say, and then are right in their form: values of the config are exchanged, blown up, taken away. All
are read in other processes, so that a crash is counted and not met; each file has a few seconds and little memory.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import io
import multiprocessing
import random
import resource
import signal
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import lamella
from lamella.errors import LamellaError
from lamella.saving.legacy import read_legacy_weights
from lamella.saving.safetensors import read_safetensors, write_safetensors
from lamella.saving.weights import read_weights, write_weights
from tests.files import archives, faults

KINDS = ("weights.h5", "h5", "safetensors")
BATCH = 250
# For one file; a process that takes ten times as long is ended.
SECONDS = 20
# What one file may take of memory, and what the process may: beside what it has when it begins.
MEMORY, ROOM = 500 << 20, 4 << 30


@cache
def target() -> Any:
    """A model with a weight of each sort that files have: nested, statistics, scalars, whole numbers."""
    layers = lamella.layers
    inner = lamella.Sequential([lamella.Input((3,)), layers.Dense(3), layers.BatchNormalization()], name="inner")
    model = lamella.Sequential([lamella.Input((4, 3)), layers.GRU(3, name="memory"), inner], name="outer")
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@cache
def originals() -> dict[str, bytes]:
    """The files that are broken, by their kinds."""
    model, files = target(), {kind: io.BytesIO() for kind in KINDS}
    write_weights(model, files["weights.h5"], optimizer=True)
    files["safetensors"].write(safetensors_of(model))
    with h5py.File(files["h5"], "w") as file:
        file.attrs["layer_names"] = [layer.name for layer in model.layers]
        for layer in model.layers:
            weights = [*layer.trainable_weights, *layer.non_trainable_weights]
            file.create_group(layer.name).attrs["weight_names"] = [weight.path for weight in weights]
            for weight in weights:
                file[f"{layer.name}/{weight.path}"] = weight.numpy()
    return {kind: file.getvalue() for kind, file in files.items()}


def safetensors_of(model: Any) -> bytes:
    """The bytes of a file of safetensors."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        write_safetensors(model, path)
        return path.read_bytes()


def outcome(data: bytes, kind: str = "weights.h5") -> str:
    """Read a file: "refused" with an error of ours, "read", or the name of an error that should not come."""
    model, file = target(), io.BytesIO(data)
    kept = [*model.weights, *model.optimizer.variables]
    before = [variable._value for variable in kept]
    try:
        if kind == "h5":
            read_legacy_weights(model, file)
        elif kind == "safetensors":
            with tempfile.NamedTemporaryFile() as named:
                named.write(data)
                named.flush()
                read_safetensors(model, named.name)
        else:
            read_weights(model, file, optimizer=True)
    except LamellaError:
        same = all(variable._value is value for variable, value in zip(kept, before, strict=True))
        return "refused" if same else "refused, but changed"
    except UserWarning:
        return "read"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        for variable, value in zip(kept, before, strict=True):
            variable._value = value
    return "read"


def weights(rng: random.Random) -> str:
    """Break and read a file of weights."""
    kind = rng.choice(KINDS)
    return outcome(faults.broken(originals()[kind], rng, list(originals().values())), kind)


def archive(rng: random.Random) -> str:
    """Break and read an archive."""
    return archives.outcome(archives.broken(rng))


WHAT = {"weights": weights, "archives": archive}


def run(count: int, seed: int, what: str = "weights") -> collections.Counter[str]:
    """Break and read so many files; what became of them, with the number of one that went wrong."""
    counts: collections.Counter[str] = collections.Counter()
    for number in range(count):
        used, begun = _memory(), time.perf_counter()
        signal.alarm(10 * SECONDS)
        found = WHAT[what](random.Random(f"{seed}/{number}"))
        signal.alarm(0)
        taken = [f"more than {MEMORY >> 20} MB"] * (_memory() - used > MEMORY)
        taken += [f"more than {SECONDS} s"] * (time.perf_counter() - begun > SECONDS)
        counts[found] += 1
        counts.update(f"{fault}, number {seed}/{number}" for fault in taken)
        if found not in ("refused", "read", "loaded"):
            counts[f"  number {seed}/{number}"] += 1
    return counts


def _memory() -> int:
    """Return the most memory that the process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _held(field: int) -> int:
    """Return the memory that the process has now: 1 for what is in use, 5 for what it may write to."""
    return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()


def guarded(count: int, seed: int, what: str) -> tuple[collections.Counter[str], int]:
    """Break and read so many files in a process that a hang or a bomb ends; tell the memory that did not come back."""
    np.seterr(all="ignore")
    WHAT[what](random.Random(0))
    limit = _held(5) + ROOM
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    before = _held(1)
    return run(count, seed, what), _held(1) - before


def main() -> None:
    """Print what became of the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("--what", choices=WHAT, default="weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    first = given.seed * 10_000_000
    seeds = range(first, first + -(-given.count // BATCH))
    counts, kept = campaign(list(seeds), given.what, given.processes)
    for what, number in counts.most_common():
        print(f"{number:9,}  {what}")
    print(f"{kept >> 20:9,}  MB more than before after {BATCH} files, at most")


def campaign(waiting: list[int], what: str, processes: int) -> tuple[collections.Counter[str], int]:
    """Run a batch for each seed, and go on after a crash with the others."""
    counts: collections.Counter[str] = collections.Counter()
    kept, context = 0, multiprocessing.get_context("spawn")
    while waiting:
        with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
            futures = {pool.submit(guarded, BATCH, seed, what): seed for seed in waiting}
            waiting = []
            for future in concurrent.futures.as_completed(futures):
                try:
                    found, more = future.result()
                    counts.update(found)
                    kept = max(kept, more)
                except concurrent.futures.process.BrokenProcessPool:
                    waiting.append(futures[future])
        # One at a time, in order: the first is the one that ends the process.
        processes = 1 if waiting else processes
        waiting.sort()
        if len(waiting) == len(futures):
            counts[f"crashed or hung, seed {waiting.pop(0)}"] += 1
    return counts, kept


if __name__ == "__main__":
    main()
