"""Times taken in turns: what the benchmarks share."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

Figures = dict[str, dict[str, float]]


def seconds(call: Callable[[], Any], calls: int = 1) -> float:
    """Return the time of one call of several, results awaited."""
    start = time.perf_counter()
    for _ in range(calls):
        out = call()
    jax.block_until_ready(jax.tree.leaves(out))
    return (time.perf_counter() - start) / calls


def in_turns(
    calls: dict[str, Callable[[], Any]], count: int = 1, rounds: int = 15, unit: float = 1e3, rest: float = 0
) -> dict[str, float]:
    """Return the median of each in milliseconds, the calls taken in turns so that a slow moment meets all of them.

    `rest` is the time in seconds between two turns.
    """
    for call in calls.values():
        seconds(call)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(rest)
            taken[name].append(seconds(call, count) * unit)
    return {name: statistics.median(values) for name, values in taken.items()}


def report(measure: Callable[[], Figures], about: str | None, versions: str = "") -> None:
    """Run a benchmark as a program: print each line with the ratio of the first to each other, and write JSON."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", type=Path, help="write the figures to a file as well")
    chosen = parser.parse_args()
    print(f"jax {jax.__version__}{versions}, {os.cpu_count()} cores, {jax.default_backend()}")
    figures = measure()
    for title, values in figures.items():
        first, *others = values.values()
        ratios = "   ratio " + ", ".join(f"{first / other:.2f}" for other in others) if others else ""
        print(f"{title:46s} " + "  ".join(f"{name} {value:.3g}" for name, value in values.items()) + ratios)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1))
