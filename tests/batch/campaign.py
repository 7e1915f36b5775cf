"""The soundness campaign: programs at random, each run on numbers in which one sample at a time is changed.

python -m tests.batch.campaign --programs 10000
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
from typing import Any

import jax
import numpy as np

from lamella.batch import Report
from lamella.batch.check import check_call
from lamella.core.axes import BATCH
from tests.batch.grammar import FEATURES, TIME, generate

BATCH_SIZE = 5
Spec = jax.ShapeDtypeStruct
SPECS = (
    Spec((BATCH, TIME, FEATURES), "float32"),
    Spec((BATCH, FEATURES), "float32"),
    Spec((BATCH, TIME), "bool"),
)
Arrays = tuple[Any, ...]


def numbers(rng: np.random.Generator, samples: int) -> Arrays:
    """Inputs at random."""
    x = rng.normal(size=(samples, TIME, FEATURES)).astype("float32")
    y = rng.normal(size=(samples, FEATURES)).astype("float32")
    return x, y, rng.random((samples, TIME)) < 0.7


def changes(rng: np.random.Generator, arrays: Arrays, sample: int) -> list[Arrays]:
    """The inputs with one sample changed: other numbers, large ones, NaN."""
    changed = []
    for kind in ("other", "large", "nan"):
        x, y, mask = (array.copy() for array in arrays)
        other = numbers(rng, 1)
        scale = {"other": 1.0, "large": 50.0, "nan": np.nan}[kind]
        x[sample], y[sample], mask[sample] = other[0][0] * scale, other[1][0] * scale, ~mask[sample]
        changed.append((x, y, mask))
    return changed


def influence(program: Any, arrays: Arrays, rng: np.random.Generator) -> bool:
    """Tell whether changing one sample changed the result of another."""
    before = np.asarray(program(*arrays))
    for sample in rng.choice(BATCH_SIZE, 2, replace=False):
        for changed in changes(rng, arrays, int(sample)):
            after = np.asarray(program(*changed))
            others = [i for i in range(len(before)) if i != sample] if before.ndim else ...
            if not np.array_equal(before[others], after[others], equal_nan=True):
                return True
    return False


def breaks_promise(program: Any, arrays: Arrays, report: Report, rng: np.random.Generator) -> str | None:
    """Return which promise about padded and split batches does not hold, if any."""
    before = np.asarray(program(*arrays))
    if report.may_pad:
        longer = [np.concatenate([a, b]) for a, b in zip(arrays, numbers(rng, 2), strict=True)]
        if not _close(np.asarray(program(*longer))[:BATCH_SIZE], before):
            return "may_pad"
    if report.may_split and "noise" not in report.uses:
        pieces = [np.asarray(program(*(a[part] for a in arrays))) for part in (slice(0, 2), slice(2, None))]
        if not _close(np.concatenate(pieces), before):
            return "may_split"
    return None


def _close(a: Any, b: Any) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True))


def examine(seed: int) -> tuple[str, str]:
    """Return the verdict on one program, and what its run says: "same", "influence" or the promise broken."""
    rng = np.random.default_rng(seed)
    program = generate(seed, SPECS, length=int(rng.integers(2, 9)))
    arrays = numbers(rng, BATCH_SIZE)
    report = check_call(program, list(SPECS), f"program {seed}", training=False)
    try:
        program(*arrays)
    except (TypeError, ValueError):
        # A reshape may fit an unknown batch size and not this one.
        return report.verdict, "no run"
    broken = "influence" if influence(program, arrays, rng) else None
    # Other batch sizes compile everything anew, so the promises about them are tried on every fourth program, where its
    # result has samples: an empty one may be independent without them.
    if seed % 4 == 0 and report.independent and broken is None and np.shape(program(*arrays))[:1] == (BATCH_SIZE,):
        broken = breaks_promise(program, arrays, report, rng)
    return report.verdict, broken or "same"


def run(seeds: range) -> collections.Counter[tuple[str, str]]:
    """Examine programs; a verdict of "independent" beside anything but "same" is a wrong proof."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for seed in seeds:
        found = examine(seed)
        counts[found] += 1
        if found[0] == "independent" and found[1] not in ("same", "no run"):
            print(f"program {seed}: proven independent, but {found[1]}")
        if seed % 500 == 499:
            # Each program compiles operations of its own; what they took is given back now and then.
            jax.clear_caches()
    return counts


def wrong(counts: collections.Counter[tuple[str, str]]) -> int:
    """Return how many programs were called independent and are not, or break what was promised of them."""
    return sum(
        n for (verdict, found), n in counts.items() if verdict == "independent" and found not in ("same", "no run")
    )


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    start = time.time()
    counts = run(range(chosen.first, chosen.first + chosen.programs))
    for (verdict, found), count in sorted(counts.items()):
        print(f"{verdict:12s} {found:10s} {count:6d}")
    print(f"{chosen.programs} programs in {time.time() - start:.0f} s; wrongly called independent: {wrong(counts)}")
    return 1 if wrong(counts) else 0


if __name__ == "__main__":
    sys.exit(main())
