"""The page of figures: tables and one drawing from the JSON that the suite keeps."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot

from benchmarks.speed.measure import EAGER, PREDICTED_BATCHES, ratio
from benchmarks.speed.peers import PEERS
from benchmarks.speed.workloads import WORKLOADS

MOST_BUSY = 0.3

Pairs = dict[tuple[str, str], dict[str, Any]]

HEAD = """# Speed

How fast lamella trains and predicts beside its peers, on one machine without an accelerator. `make bench` measures it
anew and writes this page; `make bench WORKLOAD=mnist_convnet PEER=torch` measures one pair. [How the kernels
work](kernels.md) explains where the speed comes from, and where it ends. The figures below are of
{dates}, by

    {command}

on {cpu}, {cores} cores, {system},
Python {python}, with
{versions}.
Meanwhile other programs kept {busy} cores busy (median over the pairs; at most {busiest}). A ratio with a star was
taken while others kept more than {most} cores busy: it may be far off, above all for torch, whose threads wait for each
other at every operation.

## How it is measured

- Ten workloads with synthetic data of the usual shapes, in NumPy on the host; Adam; the batch sizes stand below.
- Each peer through its ordinary loop: `fit` and `predict` for lamella and Keras, which read one definition; slices of
  shuffled arrays, one compiled and donated step where there is a compiler, for the others. The models have equal
  numbers of parameters (torch's LSTMs have a second bias besides, the GRUs of Flax
  and Equinox a bias less).
- lamella and one peer are two processes that take turns, slice by slice, on the same samples; only one works at a
  time. A slice is as much of an epoch as the slower of the two does in about {slice} s. Figures are medians of at least
  {rounds} rounds. A ratio is the median of the rounds' ratios.
- Every peer has all cores and its own defaults, with one exception: threads of torch sleep while they wait
  (`OMP_WAIT_POLICY=PASSIVE`). Where they spin, another program on the machine costs torch up to a factor of ten.
- `predict` of lamella takes several small batches together where it has proven that samples do not mix: a batch of 32
  need not be computed as one. The others compute batch by batch.
- First steps are those of a fresh process with empty caches: the model is made, and one step is done. The second start
  has what the first one left in its caches.

The models of lamella and Keras come from one function:

```python
import lamella
from benchmarks.speed.definition import build

print(build(lamella, "tabular_mlp").count_params())
```

```text
6337
```
"""

GPU = """## On a GPU

None of this has been run on a GPU yet. There lamella hands convolutions, attention and recurrence to XLA in their plain
forms; what that gives beside the peers is not known.

`python -m benchmarks.gpu` will tell. It trains a ResNet-50, two layers of LSTM and a GPT-2 small in bfloat16, with
lamella, with JAX by hand and with compiled PyTorch, and prints what share of the device's own rate of products each
reaches. With `--small` it runs anywhere, which says nothing about speed.
"""


def write(path: Path, kept: dict[str, Any]) -> None:
    """Write the page, and the drawing beside it."""
    pairs = {(one["peer"], one["workload"]): one for one in kept["pairs"] if "error" not in one}
    peers = [peer for peer in PEERS if any(peer == who for who, _ in pairs)]
    busy = [one["busy elsewhere"] for one in pairs.values()]
    versions = {name: version for one in pairs.values() for about in one["about"].values()
                for name, version in about["versions"].items()}  # fmt: skip
    slice_seconds, rounds = min(one["effort"] for one in kept["pairs"])
    head = HEAD.format(
        dates=" to ".join(sorted({min(dates := [one["date"] for one in kept["pairs"]]), max(dates)})),
        command=f"python -m benchmarks.speed --peer {' '.join(peers)} --slice {slice_seconds} --rounds {rounds}"
        " --json speed.json --page docs/speed.md",
        slice=slice_seconds,
        rounds=rounds,
        versions=", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
        busy=f"{statistics.median(busy):.1f}",
        busiest=f"{max(busy):.1f}",
        most=MOST_BUSY,
        **kept["machine"],
    )
    drawing = path.with_suffix(".svg")
    draw(drawing, pairs, peers)
    parts = [
        head,
        f"## Training\n\n![How many times as fast as each peer lamella trains]({drawing.name})\n",
        speeds(pairs, peers, "train", "samples a second"),
        *(
            f"## Predicting, batches of {batch}\n\n{speeds(pairs, peers, f'predict {batch}', 'samples a second')}"
            for batch in PREDICTED_BATCHES
        ),
        f"## First step, seconds\n\nFrom a model's definition to its first step done, imports apart.\n\n"
        f"{each(pairs, peers, lambda one, who: _number(one['start'][who]['first step']))}",
        f"## First step after a second start, seconds\n\n"
        f"{each(pairs, peers, lambda one, who: _number(one['second start'][who]['first step']))}",
        f"## Peak memory of a training process, MB\n\n{each(pairs, peers, lambda one, who: _number(one['peak'][who]))}",
        *_eager(pairs, peers),
        GPU,
        *_failures(kept),
    ]
    path.write_text("\n".join(parts))


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(titles), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def star(one: dict[str, Any]) -> str:
    """Mark what was measured on a machine that had other work."""
    return "\\*" if one["busy elsewhere"] > MOST_BUSY else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def speeds(pairs: Pairs, peers: list[str], part: str, unit: str) -> str:
    """lamella's own speed, and how many times the speed of each peer that is."""
    rows = []
    for name, workload in WORKLOADS.items():
        measured = {peer: pairs[peer, name][part] for peer in peers if (peer, name) in pairs}
        if not measured:
            continue
        own = statistics.median(
            one["samples"] / seconds for one in measured.values() for seconds in one["seconds"]["lamella"]
        )
        cells = [
            f"{ratio(measured[peer]['seconds'], peer):.2f}{star(pairs[peer, name])}" if peer in measured else ""
            for peer in peers
        ]
        rows.append([f"{name}: {workload.about}", str(workload.batch), _number(own), *cells])
    means = [
        statistics.geometric_mean(
            ratio(pairs[peer, name][part]["seconds"], peer) for name in WORKLOADS if (peer, name) in pairs
        )
        for peer in peers
    ]
    rows.append(["geometric mean", "", "", *(f"{mean:.2f}" for mean in means)])
    titles = ["workload", "batch in training", f"lamella, {unit}", *(f"times {PEERS[peer].title}" for peer in peers)]
    return table(titles, rows)


def each(pairs: Pairs, peers: list[str], cell: Callable[[dict[str, Any], str], str]) -> str:
    """A figure of every peer, and of lamella in the first pair of a workload."""
    rows = []
    for name in WORKLOADS:
        found = {peer: pairs[peer, name] for peer in peers if (peer, name) in pairs}
        if found:
            first = next(iter(found.values()))
            rows.append([name, cell(first, "lamella"), *(cell(found[p], p) if p in found else "" for p in peers)])
    return table(["workload", "lamella", *(PEERS[peer].title for peer in peers)], rows)


def _eager(pairs: Pairs, peers: list[str]) -> list[str]:
    found = {peer: pairs[peer, EAGER] for peer in peers if (peer, EAGER) in pairs}
    if not found:
        return []
    first = next(iter(found.values()))

    def micro(one: dict[str, Any], layer: str, who: str) -> str:
        return _number(statistics.median(one["layers"][layer]["seconds"][who]) * 1e6)

    rows = [[layer, micro(first, layer, "lamella"), *(micro(one, layer, peer) for peer, one in found.items())]
            for layer in first["layers"]]  # fmt: skip
    imports = [_number(first["about"]["lamella"]["import"]),
               *(_number(one["about"][peer]["import"]) for peer, one in found.items())]  # fmt: skip
    titles = ["", "lamella", *(PEERS[peer].title for peer in found)]
    return [
        f"## One eager call of a layer, µs\n\n{table(titles, rows)}",
        f"## Import, seconds\n\n{table(titles, [['import', *imports]])}",
    ]


def _failures(kept: dict[str, Any]) -> list[str]:
    failed = [f"- {one['workload']}, {PEERS[one['peer']].title}: `{one['error']}`\n"
              for one in kept["pairs"] if "error" in one]  # fmt: skip
    return [f"## What did not run\n\n{''.join(failed)}"] if failed else []


def draw(path: Path, pairs: Pairs, peers: list[str]) -> None:
    """Bars of the training ratios on a logarithmic axis; 1 is equal."""
    names = [name for name in WORKLOADS if any((peer, name) in pairs for peer in peers)]
    height = 0.8 / max(1, len(peers))
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lamella"}):
        figure, axes = pyplot.subplots(figsize=(8, 0.6 + 0.5 * len(names)))
        for place, peer in enumerate(peers):
            rows = [row for row, name in enumerate(names) if (peer, name) in pairs]
            values = [ratio(pairs[peer, names[row]]["train"]["seconds"], peer) for row in rows]
            axes.barh([row + place * height for row in rows], [value - 1 for value in values], height, left=1,
                      label=f"times {PEERS[peer].title}")  # fmt: skip
        axes.set(xscale="log", xlabel="lamella's training speed by the peer's; right of 1 lamella is faster")
        axes.set_yticks([row + 0.4 - height / 2 for row in range(len(names))], names)
        ticks = (0.25, 0.5, 1, 2, 4, 8, 16)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        axes.minorticks_off()
        axes.invert_yaxis()
        axes.axvline(1, color="black", linewidth=0.8)
        axes.legend(frameon=False)
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
