"""Keras on the backend that its environment variable names: `fit` and `predict`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import keras

from benchmarks.speed.peers.fitted import Fitted, eager_layers

_backend = importlib.import_module(keras.backend.backend())
VERSIONS = {"keras": keras.__version__, _backend.__name__: _backend.__version__}
THREADS = _backend.get_num_threads() if hasattr(_backend, "get_num_threads") else os.cpu_count()


def wait(result: Any) -> Any:
    return result.block_until_ready() if hasattr(result, "block_until_ready") else result


def runner(name: str) -> Fitted:
    return Fitted(keras, name)


def eager() -> dict[str, Callable[[], Any]]:
    return eager_layers(keras)
