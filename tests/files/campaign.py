"""Broken files of weights by the thousand: each is refused with an error that says where, or read as far as it fits.

    python -m tests.files.campaign 100000

Files are cut off, have bits turned, bytes overwritten, parts moved and parts of one put into another. They are read in
other processes, so that a crash is counted and not met; each file has a few seconds and little memory.
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

KINDS = ("weights.h5", "h5", "safetensors")
SECONDS = 10
BATCH = 250
# Beside what the process has when it begins.
MEMORY = 1 << 30


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


def broken(data: bytes, rng: random.Random) -> bytes:
    """A file with one to a few faults."""
    new = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place, length = rng.randrange(len(new)), rng.choice((1, 2, 4, 8, 64))
        way = rng.randrange(7)
        if way == 0:
            new = new[: max(1, place)]
        elif way in (1, 2):
            new[place] ^= 1 << rng.randrange(8)
        elif way == 3:
            new[place : place + length] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
        elif way == 4:
            new[place : place + length] = rng.randbytes(length)
        elif way == 5:
            other = rng.randrange(len(new))
            new[place : place + length] = new[other : other + length]
        else:
            donor = rng.choice(list(originals().values()))
            start = rng.randrange(len(donor))
            new[place : place + 512] = donor[start : start + 512]
    return bytes(new)


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


def run(count: int, seed: int) -> collections.Counter[str]:
    """Break and read so many files; what became of them."""
    counts: collections.Counter[str] = collections.Counter()
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        kind = rng.choice(KINDS)
        counts[outcome(broken(originals()[kind], rng), kind)] += 1
    return counts


def guarded(count: int, seed: int) -> collections.Counter[str]:
    """Break and read so many files in a process that a hang or a bomb ends."""
    target(), originals()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    signal.alarm(SECONDS + count // 10)
    begun = time.perf_counter()
    counts = run(count, seed)
    signal.alarm(0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - used
    counts["memory"] = int(grown > MEMORY)
    counts["slow"] = int(time.perf_counter() - begun > SECONDS + count / 20)
    return counts


def main() -> None:
    """Print what became of the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    np.seterr(all="ignore")
    counts: collections.Counter[str] = collections.Counter()
    seeds = range(given.seed * 10_000_000, given.seed * 10_000_000 + -(-given.count // BATCH))
    context = multiprocessing.get_context("spawn")
    waiting = list(seeds)
    while waiting:
        with concurrent.futures.ProcessPoolExecutor(given.processes, mp_context=context) as pool:
            futures = {pool.submit(guarded, BATCH, seed): seed for seed in waiting}
            waiting = []
            for future in concurrent.futures.as_completed(futures):
                try:
                    counts.update(future.result())
                except concurrent.futures.process.BrokenProcessPool:
                    waiting.append(futures[future])
        if len(waiting) == len(futures):
            seed = waiting.pop(0)
            counts[f"crashed or hung, seed {seed}"] += 1
    for what, number in counts.most_common():
        print(f"{number:9,}  {what}")


if __name__ == "__main__":
    main()
