"""The peers by name: the module that knows each, and what its process needs in the environment.

A module has `VERSIONS`, `THREADS`, `wait(result)`, `runner(workload_name)` and `eager()`; it is imported only in a
process that runs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec


@dataclass(frozen=True)
class Peer:
    """Where a peer's module is, which distributions it needs, and how it is shown."""

    module: str
    title: str
    needs: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        return all(find_spec(name) for name in self.needs)


# Threads that spin while they wait lose tenfold as soon as anything else runs; asleep they lose nothing that shows.
_ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}


def _keras(backend: str, title: str) -> Peer:
    environment = {"KERAS_BACKEND": backend, **(_ASLEEP if backend == "torch" else {})}
    return Peer("of_keras", f"Keras on {title}", ("keras", backend), environment)


PEERS = {
    "lamella": Peer("of_lamella", "lamella", ("lamella",)),
    "keras-jax": _keras("jax", "JAX"),
    "torch": Peer("of_torch", "PyTorch", ("torch",), _ASLEEP),
    "jax-by-hand": Peer("of_jax", "JAX by hand", ("jax", "optax")),
    "torch-compiled": Peer("of_torch", "PyTorch, compiled", ("torch",), {"BENCHMARK_COMPILES": "1", **_ASLEEP}),
    "flax": Peer("of_flax", "Flax NNX", ("flax", "optax")),
    "equinox": Peer("of_equinox", "Equinox", ("equinox", "optax")),
    "keras-tensorflow": _keras("tensorflow", "TensorFlow"),
    "keras-torch": _keras("torch", "PyTorch"),
}
USUAL = ("keras-jax", "torch", "jax-by-hand", "flax")
