"""Training on one GPU in bfloat16, beside JAX by hand and compiled PyTorch: `python -m benchmarks.gpu`.

Each library runs in a process of its own, one after the other in turns. It prints the time of a step, and the share of
the device's own rate of products that the model's operations come to.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.gpu.sizes import LARGE, SMALL

LIBRARIES = {"lamella": "of_lamella", "JAX by hand": "of_jax", "PyTorch compiled": "of_torch"}
STEPS = 20


def train(library: str, name: str, small: bool) -> dict[str, Any]:
    """Take steps and say how long one took."""
    sizes = (SMALL if small else LARGE)[name]
    runner = importlib.import_module(f"benchmarks.gpu.{LIBRARIES[library]}").Runner(name, sizes)
    x, y = sizes.data(sizes.batch * STEPS)
    loss = runner.train(x, y)
    taken = []
    for _ in range(3):
        begin = time.perf_counter()
        runner.train(x, y)
        taken.append((time.perf_counter() - begin) / STEPS)
    return {"seconds": min(taken), "first loss": loss, "parameters": runner.parameters()}


def ceiling() -> dict[str, Any]:
    """Measure the device: products of large matrices in bfloat16, in operations a second."""
    size = 8192 if jax.default_backend() == "gpu" else 1024
    product = jax.jit(lambda a: a @ a)
    a = jax.block_until_ready(product(jnp.zeros((size, size), "bfloat16")))
    begin = time.perf_counter()
    for _ in range(10):
        a = product(a)
    jax.block_until_ready(a)
    rate = 10 * 2 * size**3 / (time.perf_counter() - begin)
    return {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "rate": rate}


def operations(name: str, small: bool) -> float:
    """Return the operations of a step: those of the forward pass, and twice as many backward."""
    of_jax = importlib.import_module("benchmarks.gpu.of_jax")
    return 3.0 * of_jax.forward_operations(name, (SMALL if small else LARGE)[name])


def apart(part: str, *arguments: str, small: bool) -> Any:
    """Run a part of this program in a process of its own, which leaves no memory taken."""
    command = [sys.executable, "-m", "benchmarks.gpu", *(["--small"] if small else []), "--part", part, *arguments]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.splitlines()[-1])


def compare(small: bool, rounds: int) -> None:
    """Print a table: a line for each model and library."""
    device = apart("ceiling", small=small)
    print(f"{device['device']}, jax {device['jax']}, products at {device['rate'] / 1e12:.4g} TFLOP/s in bfloat16")
    libraries = [name for name in LIBRARIES if "PyTorch" not in name or find_spec("torch")]
    for name in LARGE:
        work = apart("operations", name, small=small)
        taken = [{who: apart("train", who, name, small=small) for who in libraries} for _ in range(rounds)]
        counts = {answers[who]["parameters"] for answers in taken for who in libraries}
        if len(counts) > 1:
            raise SystemExit(f"{name}: the models differ in size: {counts}")
        for who in libraries:
            seconds = statistics.median(answers[who]["seconds"] for answers in taken)
            share = work / seconds / device["rate"]
            print(f"{name:12s} {who:18s} {seconds * 1e3:10.4g} ms a step   {share:7.1%} of the products' rate")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--small", action="store_true", help="tiny models, to see that all of it runs, on a CPU too")
    parser.add_argument("--rounds", type=int, default=3, help="how often each library has its turn")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        part, *arguments = chosen.part
        parts = {"train": train, "operations": operations}
        print(json.dumps(ceiling() if part == "ceiling" else parts[part](*arguments, chosen.small)))
    else:
        compare(chosen.small, chosen.rounds)


if __name__ == "__main__":
    main()
