"""Cells, RNN around them and Lambda beside Keras's; they take other arguments than the layers of the table."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import lamella
from tests.parity.test_layers import assert_close

DRAW = np.random.default_rng(9)
X = DRAW.normal(size=(3, 7, 5)).astype("float32")
CELLS: list[tuple[str, dict[str, Any], int]] = [
    ("SimpleRNNCell", {"units": 4, "activation": "relu"}, 1),
    ("LSTMCell", {"units": 4}, 2),
    ("GRUCell", {"units": 4}, 1),
    ("GRUCell", {"units": 4, "reset_after": False, "use_bias": False}, 1),
]


def same_weights(ours: Any, theirs: Any) -> None:
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    weights = [DRAW.normal(size=w.shape).astype("float32") * 0.4 for w in theirs.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)


@pytest.mark.parametrize(("name", "arguments", "states"), CELLS)
def test_one_step(name: str, arguments: dict[str, Any], states: int) -> None:
    ours, theirs = getattr(lamella.layers, name)(**arguments), getattr(keras.layers, name)(**arguments)
    before = [DRAW.normal(size=(3, 4)).astype("float32") for _ in range(states)]
    ours(X[:, 0], before), theirs(X[:, 0], before)
    same_weights(ours, theirs)
    assert_close(ours(X[:, 0], before), theirs(X[:, 0], before))
    assert type(ours).from_config(ours.get_config()).get_config() == ours.get_config()


@pytest.mark.parametrize(("name", "arguments", "states"), CELLS)
def test_in_a_loop(name: str, arguments: dict[str, Any], states: int) -> None:
    options = {"return_sequences": True, "return_state": True, "go_backwards": True}
    ours = lamella.layers.RNN(getattr(lamella.layers, name)(**arguments), **options)
    theirs = keras.layers.RNN(getattr(keras.layers, name)(**arguments), **options)
    ours(X), theirs(X)
    same_weights(ours, theirs)
    assert_close(ours(X), theirs(X))
    start = [DRAW.normal(size=(3, 4)).astype("float32") for _ in range(states)]
    assert_close(ours(X, initial_state=start), theirs(X, initial_state=start))


def test_lambda() -> None:
    def double(x: Any, times: float = 1.0) -> Any:
        return 2 * x[..., :3] * times

    ours = lamella.layers.Lambda(double, output_shape=(7, 3), arguments={"times": 1.5})
    theirs = keras.layers.Lambda(double, output_shape=(7, 3), arguments={"times": 1.5})
    assert_close(ours(X), theirs(X))
    assert ours(lamella.Input((7, 5))).shape == (None, 7, 3)
