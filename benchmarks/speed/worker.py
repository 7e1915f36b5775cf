"""One peer in one process: `python -m benchmarks.speed.worker PEER WORKLOAD STARTED`.

It does a slice of work for each line of JSON that comes in, and answers with a line; between lines it waits.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.speed.peers import PEERS
from benchmarks.speed.workloads import WORKLOADS


class Worker:
    """A peer's model, made at the first step as a program would make it."""

    def __init__(self, peer: str, workload: str, started: float) -> None:
        begin = time.perf_counter()
        self.peer = importlib.import_module(f"benchmarks.speed.peers.{PEERS[peer].module}")
        self.import_seconds = time.perf_counter() - begin
        self.started, self.workload, self.runner = started, workload, None
        self.data = lru_cache(2)(WORKLOADS[workload].data) if workload in WORKLOADS else None
        self.calls: dict[str, Callable[[], Any]] = {} if workload in WORKLOADS else self.peer.eager()

    def first(self) -> dict[str, Any]:
        """Make the model and take one step: seconds from here, and from the start of the process."""
        x, y = self.data(WORKLOADS[self.workload].batch)
        begin = time.perf_counter()
        self.runner = self.peer.runner(self.workload)
        self.runner.train(x, y)
        return {
            "first step": time.perf_counter() - begin,
            "start to first step": time.time() - self.started,
            "parameters": self.runner.parameters(),
        }

    def about(self) -> dict[str, Any]:
        return {"versions": self.peer.VERSIONS, "threads": self.peer.THREADS, "import": self.import_seconds}

    def train(self, samples: int) -> dict[str, float]:
        x, y = self.data(samples)
        return {"seconds": _seconds(lambda: self.runner.train(x, y))}

    def peak(self) -> dict[str, float]:
        """The most memory in megabytes that the process has held so far."""
        lines = Path("/proc/self/status").read_text().splitlines()
        return {"megabytes": next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3}

    def predict(self, samples: int, batch: int) -> dict[str, float]:
        x, _ = self.data(samples)
        return {"seconds": _seconds(lambda: self.runner.predict(x, batch))}

    def layers(self) -> dict[str, list[str]]:
        """The layers that are called eagerly."""
        return {"names": list(self.calls)}

    def eager(self, layer: str, calls: int) -> dict[str, float]:
        def run() -> None:
            for _ in range(calls):
                result = self.calls[layer]()
            self.peer.wait(result)

        return {"seconds": _seconds(run) / calls}


def _seconds(call: Callable[[], Any]) -> float:
    gc.collect()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main() -> None:
    peer, workload, started = sys.argv[1:]
    worker = Worker(peer, workload, float(started))
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(worker, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
