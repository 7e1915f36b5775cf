"""Two workers who take turns: lamella and a peer on one workload, in slices so short that a noisy moment meets both."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed.peers import PEERS
from benchmarks.speed.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]
PREDICTED_BATCHES = (32, 256)
FEWEST_BATCHES = 4
EAGER = "eager"
EAGER_SLICE = 0.02

Taken = dict[str, list[float]]


class WorkerError(RuntimeError):
    """A worker ended without an answer; the message is the last line that it wrote."""


@dataclass(frozen=True)
class Effort:
    """How long a slice is meant to take, in seconds, how many there are, and whether a second start is measured."""

    slice_seconds: float = 0.7
    rounds: int = 5
    second_start: bool = True


class Process:
    """A worker, from outside."""

    def __init__(self, peer: str, workload: str, cache: str, errors: Any) -> None:
        paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        caches = {"XDG_CACHE_HOME": cache, "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor"}
        found = {
            **os.environ,
            **caches,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self.errors = errors
        self.child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed.worker", peer, workload, repr(time.time())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT,
            env={**found, **PEERS[peer].environment},
        )  # fmt: skip

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """Have a slice of work done."""
        try:
            self.child.stdin.write(json.dumps({"do": do, **given}) + "\n")
            self.child.stdin.flush()
            return dict(json.loads(self.child.stdout.readline()))
        except (BrokenPipeError, json.JSONDecodeError) as error:
            self.child.wait()
            self.errors.seek(0)
            raise WorkerError(
                (self.errors.read().strip() or f"exit {self.child.returncode}").splitlines()[-1]
            ) from error

    def end(self) -> None:
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()


@contextmanager
def worker(peer: str, workload: str, cache: str) -> Iterator[Process]:
    with tempfile.TemporaryFile("w+") as errors:
        process = Process(peer, workload, cache, errors)
        try:
            yield process
        finally:
            process.end()


def busy_elsewhere(seconds: float = 0.3) -> float:
    """The cores that others keep busy while nothing is measured."""

    def worked() -> tuple[int, int]:
        numbers = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return sum(numbers[:8]), numbers[3] + numbers[4]

    before = worked()
    time.sleep(seconds)
    after = worked()
    return (1 - (after[1] - before[1]) / max(1, after[0] - before[0])) * (os.cpu_count() or 1)


def _in_turns(rounds: int, slices: dict[str, Callable[[], dict[str, float]]]) -> Taken:
    """The seconds of each, round by round; who begins changes from round to round."""
    taken: Taken = {name: [] for name in slices}
    for turn in range(rounds):
        for name in list(slices)[:: -1 if turn % 2 else 1]:
            taken[name].append(slices[name]()["seconds"])
    return taken


def _sized(least: int, most: int, seconds: float, ask: Callable[[int], list[float]]) -> int:
    """So many samples that a slice takes the slower of the two about these seconds, in whole `least`s."""
    first = least * FEWEST_BATCHES
    ask(first)
    wanted = int(first * seconds / max(ask(first)))
    samples = max(first, min(most, wanted) // least * least)
    if samples != first:
        ask(samples)
    return samples


def pair(peer: str, name: str, effort: Effort) -> dict[str, Any]:
    """Everything that is measured for lamella and one peer on one workload."""
    workload, names = WORKLOADS[name], ("lamella", peer)
    found: dict[str, Any] = {"peer": peer, "workload": name, "start": {}, "second start": {}, "about": {}}
    found["busy elsewhere"] = busy_elsewhere()
    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        workers = {}
        for who in names:
            workers[who] = stack.enter_context(worker(who, name, f"{cache}/{who}"))
            found["start"][who] = workers[who].ask("first")
            found["about"][who] = workers[who].ask("about")
        found["train"] = _turns(workers, workload.batch, workload.samples, effort.slice_seconds, effort.rounds, "train")
        found["peak"] = {who: workers[who].ask("peak")["megabytes"] for who in names}
        for batch in PREDICTED_BATCHES:
            seconds = effort.slice_seconds / 2
            found[f"predict {batch}"] = _turns(
                workers, batch, workload.samples, seconds, effort.rounds, "predict", batch=batch
            )
        for who in names if effort.second_start else ():
            with worker(who, name, f"{cache}/{who}") as again:
                found["second start"][who] = again.ask("first")
    return found


def _turns(
    workers: dict[str, Process], least: int, most: int, seconds: float, rounds: int, do: str, **given: Any
) -> dict[str, Any]:
    samples = _sized(
        least, most, seconds, lambda n: [process.ask(do, samples=n, **given)["seconds"] for process in workers.values()]
    )

    def slice_of(process: Process) -> Callable[[], dict[str, float]]:
        return lambda: process.ask(do, samples=samples, **given)

    return {
        "samples": samples,
        "seconds": _in_turns(rounds, {who: slice_of(process) for who, process in workers.items()}),
    }


def eager(peer: str, effort: Effort) -> dict[str, Any]:
    """One eager call of each of six layers, in seconds, and what importing costs."""
    found: dict[str, Any] = {"peer": peer, "workload": EAGER, "about": {}, "layers": {}}
    found["busy elsewhere"] = busy_elsewhere()
    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        workers = {who: stack.enter_context(worker(who, EAGER, f"{cache}/{who}")) for who in ("lamella", peer)}
        for who, process in workers.items():
            found["about"][who] = process.ask("about")
        for layer in workers["lamella"].ask("layers")["names"]:

            def slice_of(process: Process, layer: str = layer) -> Callable[[], dict[str, float]]:
                process.ask("eager", layer=layer, calls=1)
                once = process.ask("eager", layer=layer, calls=3)["seconds"]
                calls = max(1, min(1000, int(EAGER_SLICE / once)))
                return lambda: process.ask("eager", layer=layer, calls=calls)

            slices = {who: slice_of(process) for who, process in workers.items()}
            found["layers"][layer] = {"seconds": _in_turns(effort.rounds, slices)}
    return found


def ratio(taken: Taken, peer: str) -> float:
    """How many times faster lamella is: the median over the rounds, so that both sides of each were taken together."""
    return statistics.median(theirs / ours for ours, theirs in zip(taken["lamella"], taken[peer], strict=True))


def spread(values: list[float]) -> float:
    """The distance of the middle half's ends, by the median."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / statistics.median(values)
