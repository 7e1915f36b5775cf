"""One environment for every test, set before anything imports JAX, Keras or Matplotlib."""

from __future__ import annotations

import itertools
import os
import tempfile

from hypothesis import settings

os.environ["KERAS_BACKEND"] = "jax"
os.environ["MPLBACKEND"] = "Agg"
# Many tests compile the same programs. They are kept for this run and shared by its processes; those of an earlier run
# would hide a failure to compile.
if "PYTEST_XDIST_WORKER" not in os.environ:
    PROGRAMS = tempfile.TemporaryDirectory(prefix="lamella-programs-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = PROGRAMS.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import keras
import numpy as np
import pytest

# the first example of a test compiles, the others do not: a time limit for each would measure the compiler
settings.register_profile("lamella", settings.default, deadline=None)
settings.load_profile("lamella")

COUNT = itertools.count(1)


def pytest_runtest_teardown() -> None:
    """Let go of compiled programs now and then: a process would hold gigabytes of them in the end."""
    if next(COUNT) % 200 == 0:
        jax.clear_caches()


@pytest.fixture
def drawn_by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras's random first values are NumPy's, for tests that give both libraries the same weights.

    Keras compiles a program for each shape that it draws, which would take most of the time.
    """
    draw = np.random.default_rng(0)

    def values(self: object, shape: tuple[int, ...], dtype: str | None = None) -> object:
        return (0.3 * draw.normal(size=shape)).astype(jax.numpy.dtype(dtype or "float32"))

    for name in ("VarianceScaling", "RandomUniform", "RandomNormal", "TruncatedNormal", "Orthogonal"):
        monkeypatch.setattr(getattr(keras.initializers, name), "__call__", values)
