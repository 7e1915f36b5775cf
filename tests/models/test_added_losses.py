"""What layers add to the loss, seen in `losses` after eager calls, beside Keras."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import lamella
from lamella import layers
from tests.parity.test_layers import assert_close

X = np.random.default_rng(6).normal(size=(4, 3, 5)).astype("float32")
L2: dict[str, Any] = {"activity_regularizer": "l2"}

MAKERS: dict[str, Any] = {
    "ActivityRegularization": lambda k: k.layers.ActivityRegularization(0.1, 0.2),
    "Dense": lambda k: k.layers.Dense(2, kernel_regularizer="l1", **L2),
    "EinsumDense": lambda k: k.layers.EinsumDense("abc,cd->abd", (None, 2), **L2),
    "Conv1D": lambda k: k.layers.Conv1D(2, 2, **L2),
    "LSTM": lambda k: k.layers.LSTM(2, return_sequences=True, return_state=True, **L2),
    "Bidirectional": lambda k: k.layers.Bidirectional(k.layers.GRU(2, **L2)),
    "TimeDistributed": lambda k: k.layers.TimeDistributed(k.layers.Dense(2, kernel_regularizer="l2")),
    "MultiHeadAttention": lambda k: Itself(k.layers.MultiHeadAttention(2, 2, **L2)),
    "Sequential": lambda k: k.Sequential(
        [k.layers.Dense(3, **L2), k.Sequential([k.layers.ActivityRegularization(1.0)])]
    ),
}


class Itself:
    """An attention of a sequence to itself."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Any) -> Any:
        return self.layer(x, x)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)


@pytest.mark.parametrize("name", MAKERS)
def test_losses_after_each_call(name: str) -> None:
    ours, theirs = (MAKERS[name](library) for library in (lamella, keras))
    ours(X), theirs(X)
    ours.set_weights(theirs.get_weights())
    for data in (X, 2 * X):
        ours(data), theirs(data)
        assert_close(ours.losses, theirs.losses)


def test_attention_counts_its_output_once() -> None:
    ours, theirs = (library.layers.GroupQueryAttention(2, 2, 1, **L2) for library in (lamella, keras))
    ours(X, X), theirs(X, X)
    ours.set_weights(theirs.get_weights())
    ours(X, X), theirs(X, X)
    # Keras penalizes the projections, that of the output among them, and then the output again.
    own, *projections = theirs.losses
    assert_close(projections[3], own)
    assert_close(ours.losses, projections)


def doubled(library: Any) -> Any:
    """A layer of one's own that adds losses before and after a layer inside does; `seen` are its losses on the way."""

    class Own(library.layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inside = library.layers.Dense(2, kernel_initializer="ones", **L2)
            self.seen: list[int] = []

        def call(self, inputs: Any) -> Any:
            self.add_loss(inputs.sum())
            outputs = self.inside(inputs)
            self.seen.append(len(self.losses))
            self.add_loss([outputs.sum(), jnp.float32(0.5)])
            return self.inside(outputs @ jnp.ones((2, 5)))

    return Own()


def test_a_layer_of_ones_own() -> None:
    ours, theirs = doubled(lamella), doubled(keras)
    for data in (X, -X):
        ours(data), theirs(data)
        assert_close([float(loss) for loss in ours.losses], [float(loss) for loss in theirs.losses])
        assert_close(ours.inside.losses, theirs.inside.losses)
    assert ours.seen == theirs.seen[-2:] == [2, 2]  # Keras traced the call once before
    ours.inside(X)
    assert len(ours.inside.losses) == 1 and len(ours.losses) == 4


def test_the_loss_of_training_is_theirs() -> None:
    totals = []
    for library in (lamella, keras):
        model = library.Sequential([library.Input((3, 5)), doubled(library)])
        model.compile("sgd", "mse")
        totals.append(np.float32(model.evaluate(X, np.zeros((4, 3, 2)), verbose=0)))
    assert_close(*totals)


def test_nothing_traced_is_kept() -> None:
    layer = doubled(lamella)
    layer(X)
    before = [float(loss) for loss in layer.losses]
    layer(lamella.Input((3, 5)))
    lamella.jit(layer)(2 * X)
    model = lamella.Sequential([lamella.Input((3, 5)), layer])
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((4, 3, 2)), verbose=0)
    kept = [loss for inner in (layer, layer.inside) for loss in inner._state.losses]
    assert [float(loss) for loss in kept] == before
    with lamella.name_scope("outer"):
        for _ in range(2):
            layer(X)
    assert len(layer.losses) == len(before)


def test_losses_of_a_stateless_call() -> None:
    results = []
    for library in (lamella, keras):
        layer = library.layers.Dense(2, kernel_initializer="ones", kernel_regularizer="l2", **L2)
        layer.build((None, 3, 5))
        weights = [jnp.asarray(weight.value) * 3 for weight in layer.trainable_variables]
        call = jax.jit(layer.stateless_call, static_argnames="return_losses")
        results.append(call(weights, [], jnp.asarray(X), return_losses=True))
        assert len(call(weights, [], jnp.asarray(X))) == 2
    # Keras's stateless call leaves the regularizer of the outputs out, for it passes by `__call__`.
    assert_close(results[0][2][1:], results[1][2])
    expected = 0.01 * np.sum(np.square(results[0][0])) / 4
    np.testing.assert_allclose(results[0][2][0], expected, rtol=1e-5)


def test_one_sample_at_a_time() -> None:
    class Each(layers.Layer):
        def call_sample(self, x: Any) -> Any:
            self.add_loss(x.sum())
            return x

    layer = Each()
    layer(X)
    assert_close(np.asarray(layer.losses[0]), X.sum((1, 2)).mean())
