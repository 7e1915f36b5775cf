"""Single operations, forward and with all gradients: lamella, JAX as one usually writes it, and torch.

`python benchmarks/kernels.py [--json FILE] [--only conv lstm] [--seconds 2]`; `--list` names the cases. Without torch
its column is missing. The ceilings of the machine are measured in the same run. A share says how much of them lamella
reaches: the time that the arithmetic or the traffic needs at best, whichever is longer, by the time taken. A form that
needs less arithmetic than the textbook's can come above 1.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# threads of torch that spin while they wait lose tenfold where anything else runs, and slow down whoever comes next
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jax
import jax.numpy as jnp
import numpy as np
from cases import CASES, Case
from timing import in_turns, seconds

import lamella

try:
    import torch
except ImportError:
    torch = None

MATRICES = (512, 1024, 2048)
COPIED_FLOATS = 1 << 25
REST = 0.003
TURN = 0.003

Calls = dict[str, Callable[[], Any]]


def ceilings() -> dict[str, float]:
    """The best of everyone here: matrix products in GFLOP/s by size, memory traffic in GB/s."""
    found = {}
    for size in MATRICES:
        square = np.ones((size, size), "float32")
        here, product = jnp.asarray(square), jax.jit(jnp.matmul)
        calls: Calls = {"jax": lambda f=product, a=here: f(a, a)}
        if torch is not None:
            there = torch.from_numpy(square)
            calls["torch"] = lambda a=there: a @ a
        best = min(in_turns(calls, 3, 7, 1.0, rest=REST).values())
        found[f"product {size}"] = 2 * size**3 / best / 1e9
    source, target = np.ones(COPIED_FLOATS, "float32"), np.zeros(COPIED_FLOATS, "float32")
    calls = {"numpy": lambda: np.copyto(target, source)}
    if torch is not None:
        pair = torch.from_numpy(target), torch.from_numpy(source)
        calls["torch"] = lambda: pair[0].copy_(pair[1])
    found["copy"] = 2 * source.nbytes / min(in_turns(calls, 1, 7, 1.0, rest=REST).values()) / 1e9
    return found


def with_gradients(forward: Callable[[Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """The output, and the gradients with respect to input and weights; integers have none."""

    def both(weights: Any, x: Any, change: Any) -> Any:
        if jnp.issubdtype(x.dtype, jnp.integer):
            y, pull = jax.vjp(lambda weights: forward(weights, x), weights)
        else:
            y, pull = jax.vjp(forward, weights, x)
        return y, pull(change)

    return both


def of_jax(forward: Callable[[Any, Any], Any], weights: Any, x: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Both calls, compiled, with everything that they need on the device."""
    once, both = jax.jit(forward), jax.jit(with_gradients(forward))
    change = jnp.ones_like(once(weights, x))
    return lambda: once(weights, x), lambda: both(weights, x, change)


def of_lamella(case: Case, x: Any) -> tuple[Callable[[Any, Any], Any], list[Any]]:
    """A layer as a pure function of its weights; or the function itself, of no weights."""
    made = case.lamella()
    if not isinstance(made, lamella.Layer):
        return lambda weights, x: made(weights, x), [jnp.asarray(w) for w in case.weights()]
    made(x)
    fixed = [variable.value for variable in made.non_trainable_variables]

    def forward(weights: Any, x: Any) -> Any:
        return made.stateless_call(weights, fixed, x, training=True)[0]

    return forward, [variable.value for variable in made.trainable_variables]


def of_torch(case: Case, x: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Both calls in torch, pictures in its fast layout (channels last in memory)."""
    forward, weights = case.torch(torch)
    array = torch.from_numpy(np.array(x))
    wanted = list(weights)
    if array.is_floating_point():
        array.requires_grad_()
        wanted.append(array)
    shown = array.permute(0, array.ndim - 1, *range(1, array.ndim - 1)) if case.channels_first else array
    with torch.no_grad():
        change = torch.ones_like(forward(shown))

    def once() -> Any:
        with torch.no_grad():
            return forward(shown)

    return once, lambda: torch.autograd.grad(forward(shown), wanted, change)


def floor(case: Case, weights: Any, x: Any, y: Any, peaks: dict[str, float]) -> tuple[float, float]:
    """The milliseconds that the ceilings allow, where each array goes through memory once a pass."""
    w = sum(weight.nbytes for weight in weights)
    rate, traffic = max(v for k, v in peaks.items() if k != "copy") * 1e6, peaks["copy"] * 1e6
    once = x.nbytes + w + y.nbytes
    if x.dtype == np.int32:  # rows that are looked up: the table is neither read nor written whole
        once = x.nbytes + 2 * y.nbytes
        return once / traffic, (2 * once + w) / traffic
    back = once + 2 * (x.nbytes + w) + y.nbytes
    return max(case.flops / rate, once / traffic), max(3 * case.flops / rate, back / traffic)


def measure(case: Case, peaks: dict[str, float], budget: float) -> dict[str, dict[str, float]]:
    """Milliseconds of each, forward and with gradients, and lamella's share of the ceiling."""
    x = jnp.asarray(case.x())
    forward, weights = of_lamella(case, x)
    y = jax.jit(forward)(weights, x)
    candidates = {"lamella": of_jax(forward, weights, x), "jax": of_jax(case.stock, weights, x)}
    if case.comparable:
        np.testing.assert_allclose(y, jax.jit(case.stock)(weights, x), rtol=1e-3, atol=1e-3)
    if torch is not None:
        candidates["torch"] = of_torch(case, x)
    figures = {}
    for place, (mode, least) in enumerate(zip(("forward", "both"), floor(case, weights, x, y, peaks), strict=True)):
        calls = {name: pair[place] for name, pair in candidates.items()}
        for call in calls.values():
            seconds(call)
        slowest = max(seconds(call) for call in calls.values())
        count = max(1, int(TURN / slowest))
        rounds = int(min(25, max(5, budget / 2 / (count * len(calls) * slowest))))
        figures[mode] = in_turns(calls, count, rounds, rest=REST)
        figures[mode]["share"] = least / figures[mode]["lamella"]
    return figures


def line(name: str, figures: dict[str, dict[str, float]]) -> str:
    """One line of the table: milliseconds forward / both, the ratio to each peer, the shares."""
    once, both = figures["forward"], figures["both"]
    peers = [peer for peer in once if peer != "share"]
    pairs = "  ".join(f"{once[p]:8.3f} /{both[p]:9.3f}" for p in peers)
    ratios = "  ".join(f"{once['lamella'] / once[p]:5.2f} /{both['lamella'] / both[p]:5.2f}" for p in peers[1:])
    shares = f"{once['share']:5.2f} /{both['share']:5.2f}"
    return f"{name:34s} {pairs}   {ratios}   {shares}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to a file as well")
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose name contains one of these")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for one case, compilation apart")
    parser.add_argument("--list", action="store_true", help="name the cases")
    chosen = parser.parse_args()
    cases = {name: case for name, case in CASES.items() if any(part in name for part in chosen.only)}
    if chosen.list:
        print("\n".join(cases))
        return
    peers = ["lamella", "jax", *(["torch"] if torch is not None else [])]
    threads = f", torch {torch.__version__} on {torch.get_num_threads()} threads" if torch is not None else ""
    print(f"jax {jax.__version__}{threads}, {os.cpu_count()} cores, {jax.default_backend()}")
    peaks = ceilings()
    print("  ".join(f"{name}: {value:.0f} {'GB/s' if name == 'copy' else 'GFLOP/s'}" for name, value in peaks.items()))
    titles = "  ".join(f"{peer:>19s}" for peer in peers) + "   " + "  ".join(f"{'to ' + p:>12s}" for p in peers[1:])
    print(f"{'ms, forward / with gradients':34s} {titles}   {'share':>12s}")
    figures = {}
    for name, case in cases.items():
        figures[name] = measure(case, peaks, chosen.seconds)
        print(line(name, figures[name]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({"ceilings": peaks, "cases": figures}, indent=1))


if __name__ == "__main__":
    main()
