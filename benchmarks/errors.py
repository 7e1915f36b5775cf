"""Rounding errors of single operations: lamella's forms and JAX as one usually writes it, both beside float64.

`python benchmarks/errors.py [--json FILE] [--only conv lstm]` prints a table, as docs/kernels.md has it. An error is
the norm of the difference from the same operation in float64, by the norm of that; of the gradients with respect to
input and weights, the largest. Operations without rounding, or with noise, are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import CASES, Case
from kernels import of_lamella, with_gradients

WITHOUT = ("max pool", "embedding", "dropout", "transposed")


def distance(found: Any, exact: Any) -> float:
    """The largest relative error among arrays."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True)
    wide = [(np.asarray(a, "float64"), np.asarray(b)) for a, b in pairs]
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in wide)


def measure(case: Case) -> dict[str, tuple[float, float]]:
    """Errors of the output and of the gradients."""
    x = jnp.asarray(case.x())
    forward, weights = of_lamella(case, x)
    change = jnp.asarray(np.random.default_rng(2).normal(size=jax.eval_shape(forward, weights, x).shape), "float32")

    def run(form: Callable[[Any, Any], Any], *given: Any) -> tuple[Any, Any]:
        return jax.device_get(jax.jit(with_gradients(form))(*given))

    ours, usual = run(forward, weights, x, change), run(case.stock, weights, x, change)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), "float64"), (weights, x, change))
        exact = run(case.stock, *wide)
    return {
        "lamella": (distance(ours[0], exact[0]), distance(ours[1], exact[1])),
        "jax": (distance(usual[0], exact[0]), distance(usual[1], exact[1])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to a file as well")
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose name contains one of these")
    chosen = parser.parse_args()
    wanted = [name for name in CASES if any(part in name for part in chosen.only) and not name.startswith(WITHOUT)]
    print("| operation | output | the usual form's | gradients | the usual form's |\n| --- | --- | --- | --- | --- |")
    figures = {}
    for name in wanted:
        figures[name] = found = measure(CASES[name])
        (y, gradients), (usual_y, usual_gradients) = found["lamella"], found["jax"]
        print(f"| {name} | {y:.1e} | {usual_y:.1e} | {gradients:.1e} | {usual_gradients:.1e} |", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
