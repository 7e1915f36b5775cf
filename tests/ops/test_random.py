"""Random numbers are Keras-on-JAX's for an equal seed."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from lamella.core.errors import ArgumentError
from lamella.ops import random

ROW = np.array([1.0, 2.0, 3.0], "float32")
LOGITS = np.log([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]]).astype("float32")

DRAWS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *((name, ((3, 4),), {"dtype": d}) for name in ("normal", "uniform") for d in (None, "float16", "bfloat16")),
    ("normal", ((3, 4), 1.0, 2.0), {"dtype": "bfloat16"}),
    ("normal", ((2, 3), ROW, 0.5), {}),
    ("uniform", ((3, 4), -1.0, 2.0), {}),
    ("uniform", ((4,), 0, 10), {}),
    ("truncated_normal", ((3, 4), 1.0, 2.0), {}),
    ("truncated_normal", ((3, 4),), {"dtype": "bfloat16"}),
    ("gamma", ((3,), 2.0), {}),
    ("gamma", ((2, 3), ROW), {"dtype": "bfloat16"}),
    ("beta", ((3,), 2.0, 0.5), {}),
    ("beta", ((2, 3), ROW, 2.0), {}),
    ("beta", ((3,), 2.0, 0.5), {"dtype": "float16"}),
    ("binomial", ((3,), 10.0, 0.5), {}),
    ("binomial", ((2, 3), ROW * 9, 0.3), {"dtype": "bfloat16"}),
    ("randint", ((3, 4), 0, 10), {}),
    ("randint", ((3, 4), -5, 5), {"dtype": "int8"}),
    ("categorical", (LOGITS, 5), {}),
    ("categorical", (LOGITS, 1), {"dtype": "uint8"}),
    ("dropout", (np.ones((3, 4), "float32"), 0.4), {}),
    ("dropout", (np.ones((3, 4), "float32"), 0.4), {"noise_shape": (None, 1)}),
    ("dropout", (jnp.ones((3, 4), "bfloat16"), 0.3), {"noise_shape": (1, 4)}),
    ("shuffle", (np.arange(10),), {}),
    ("shuffle", (np.arange(12).reshape(3, 4),), {}),
    ("shuffle", (np.arange(12).reshape(3, 4),), {"axis": -1}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), DRAWS)
def test_draw_equals_keras(name: str, args: Any, kwargs: Any) -> None:
    ours = getattr(random, name)(*args, seed=7, **kwargs)
    theirs = getattr(keras.random, name)(*args, seed=7, **kwargs)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_generators_move_on_alike() -> None:
    ours, theirs = random.SeedGenerator(5), keras.random.SeedGenerator(5)
    for _ in range(3):
        np.testing.assert_array_equal(random.normal((4,), seed=ours), keras.random.normal((4,), seed=theirs))


def test_no_seed_gives_new_numbers() -> None:
    assert not np.array_equal(random.uniform((4,)), random.uniform((4,)))


def test_a_key_is_a_seed() -> None:
    key = jnp.array([7, 0], "uint32")
    np.testing.assert_array_equal(random.uniform((4,), seed=key), random.uniform((4,), seed=7))


def test_randint_refuses_fractions() -> None:
    with pytest.raises(ArgumentError, match="randint draws integers, got dtype 'float32'"):
        random.randint((2,), 0, 5, dtype="float32", seed=1)


def test_dropout_keeps_the_mean() -> None:
    kept = random.dropout(jnp.ones(10_000), 0.2, seed=1)
    assert abs(float(kept.mean()) - 1) < 0.02 and set(np.unique(kept).tolist()) == {0.0, 1.25}
    assert jax.numpy.all(random.dropout(jnp.ones(5), 0.0, seed=1) == 1)
