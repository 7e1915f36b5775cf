"""lamella: `fit` and `predict`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax

import lamella
from benchmarks.speed.peers.fitted import Fitted, eager_layers

VERSIONS = {"lamella": lamella.__version__, "jax": jax.__version__}
THREADS = os.cpu_count()
wait = jax.block_until_ready


def runner(name: str) -> Fitted:
    return Fitted(lamella, name)


def eager() -> dict[str, Callable[[], Any]]:
    return eager_layers(lamella)
