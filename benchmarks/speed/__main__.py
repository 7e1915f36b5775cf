"""lamella beside its peers on ten workloads: `python -m benchmarks.speed [--workload NAME ...] [--peer NAME ...]`.

A pair of processes, lamella and one peer, takes turns on each workload. `--json FILE` keeps the figures, pair by pair:
what the file has of other pairs stays in it. `--page FILE` writes a page with tables and a figure from it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from benchmarks.speed.measure import EAGER, PREDICTED_BATCHES, Effort, WorkerError, eager, pair, ratio, spread
from benchmarks.speed.page import write
from benchmarks.speed.peers import PEERS, USUAL
from benchmarks.speed.workloads import WORKLOADS


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    names = [fields.get(key, "") for key in ("model name", "cpu family", "model")]
    return {
        "cpu": f"{names[0]} (family {names[1]}, model {names[2]})" if names[0] else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def shown(found: dict[str, Any]) -> str:
    """A pair's figures in a few lines."""
    peer, name = found["peer"], found["workload"]
    if "error" in found:
        return f"{name}, {peer}: {found['error']}"
    lines = [f"{name}: lamella beside {PEERS[peer].title}; {found['busy elsewhere']:.1f} cores busy elsewhere"]
    for part in ("train", *(f"predict {batch}" for batch in PREDICTED_BATCHES)) if name != EAGER else ():
        taken, samples = found[part]["seconds"], found[part]["samples"]
        speeds = "  ".join(
            f"{who} {samples / sorted(values)[len(values) // 2]:,.0f}/s ±{spread(values) / 2:.0%}"
            for who, values in taken.items()
        )
        lines.append(f"  {part:12s} {speeds}  lamella is {ratio(taken, peer):.2f} times as fast")
    for part in ("start", "second start") if name != EAGER else ():
        lines += [
            f"  {part:12s} " + "  ".join(f"{who} {values['first step']:.1f} s" for who, values in found[part].items())
        ]
    if name == EAGER:
        for layer, measured in found["layers"].items():
            taken = measured["seconds"]
            speeds = "  ".join(
                f"{who} {sorted(values)[len(values) // 2] * 1e6:,.0f} µs" for who, values in taken.items()
            )
            lines.append(f"  {layer:34s} {speeds}  lamella is {ratio(taken, peer):.2f} times as fast")
    else:
        lines.append("  peak memory  " + "  ".join(f"{who} {value:,.0f} MB" for who, value in found["peak"].items()))
    return "\n".join(lines)


def keep(path: Path | None, found: dict[str, Any]) -> None:
    """Put a pair's figures into the file, in place of older ones."""
    if path is None:
        return
    kept = json.loads(path.read_text()) if path.exists() else {"pairs": []}
    others = [one for one in kept["pairs"] if (one["peer"], one["workload"]) != (found["peer"], found["workload"])]
    kept = {"machine": machine(), "pairs": [*others, found]}
    path.write_text(json.dumps(kept, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--workload", nargs="+", choices=[*WORKLOADS, EAGER], default=[*WORKLOADS, EAGER])
    parser.add_argument("--peer", nargs="+", choices=[*PEERS][1:], default=list(USUAL))
    parser.add_argument("--slice", type=float, default=Effort.slice_seconds, help="seconds of one slice of training")
    parser.add_argument("--rounds", type=int, default=Effort.rounds)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--page", type=Path, help="write a page from the file of --json; with --rounds 0 nothing is run"
    )
    chosen = parser.parse_args()
    effort = Effort(chosen.slice, chosen.rounds)
    for name in chosen.workload if chosen.rounds else ():
        for peer in chosen.peer:
            if not PEERS[peer].installed:
                print(f"{peer} is left out: it needs {' and '.join(PEERS[peer].needs)}", file=sys.stderr)
                continue
            try:
                found = eager(peer, effort) if name == EAGER else pair(peer, name, effort)
            except WorkerError as error:
                found = {"peer": peer, "workload": name, "error": str(error)}
            found |= {"date": datetime.date.today().isoformat(), "effort": [chosen.slice, chosen.rounds]}
            print(shown(found), flush=True)
            keep(chosen.json, found)
    if chosen.page:
        write(chosen.page, json.loads(chosen.json.read_text()))


if __name__ == "__main__":
    main()
