"""Layers that people write, the Keras way and with fields."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import lamella
from lamella import Input, Model, Sequential, layers, ops

X = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")


class Linear(layers.Layer):
    def __init__(self, units: int = 3, factor: Any = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.factor = factor

    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight(
            shape=(input_shape[-1], self.units), initializer="random_normal", trainable=True, name="w",
            regularizer="l2", constraint=lamella.constraints.NonNeg(),
        )  # fmt: skip
        self.b = self.add_weight(shape=(self.units,), initializer="zeros", name="b")

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return inputs @ self.w * self.factor + self.b


class Scaled(layers.Layer):
    inner: Any
    factor: float = 2.0
    activation: lamella.parts.activations.Activation = "tanh"

    def call(self, inputs: Any) -> Any:
        return self.activation(self.inner(inputs)) * self.factor


class Counting(layers.Layer):
    def __init__(self) -> None:
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

    def call(self, inputs: Any, training: Any = False) -> Any:
        if training:
            self.seen.assign_add(1.0)
        self.add_loss(0.01 * ops.sum(inputs**2))
        return inputs


def test_the_keras_way() -> None:
    layer = Linear(4, factor=0.5)
    out = layer(X)
    np.testing.assert_allclose(out, X @ layer.w.numpy() * 0.5, rtol=1e-5, atol=1e-6)
    assert layer.get_config()["units"] == 4 and layer.get_config()["factor"] == 0.5
    twin = Linear.from_config(layer.get_config())
    twin(X)
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(X), out)
    assert layer(Input((5,))).shape == (None, 4)


def test_fields() -> None:
    layer = Scaled(Linear(2), factor=3.0)
    assert layer(X).shape == (8, 2)
    assert len(layer.trainable_weights) == 2
    with pytest.raises(ValueError, match=r"'Linear', which is not known here[\s\S]*custom_objects"):
        Scaled.from_config(layer.get_config())
    with lamella.utils.custom_object_scope({"Linear": Linear}):
        twin = Scaled.from_config(layer.get_config())
    twin(X)
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(X), layer(X))
    with pytest.raises(ValueError, match="Did you mean 'factor'"):
        Scaled(Linear(2), facto=1.0)
    with pytest.raises(ValueError, match="needs the argument 'inner'"):
        Scaled()


def test_no_call_to_super_and_state_and_losses() -> None:
    counting = Counting()
    model = Sequential([Input((5,)), counting, layers.Dense(1)])
    model.compile("sgd", loss="mse")
    model.set_weights([w * 0 for w in model.get_weights()])
    loss = model.train_on_batch(X, np.zeros((8, 1)))
    np.testing.assert_allclose(loss, 0.01 * (X**2).sum(), rtol=1e-5)
    assert float(counting.seen) == 1
    model.predict(X)
    assert float(counting.seen) == 1
    assert "seen" in [w.name for w in counting.non_trainable_weights]


def test_regularizers_and_constraints() -> None:
    layer = Linear(2)
    model = Sequential([Input((5,)), layer])
    model.compile(lamella.optimizers.SGD(10.0), loss="mse")
    model.fit(X, X[:, :2] * 0 - 5, epochs=2, verbose=0)
    assert (layer.w.numpy() >= 0).all()
    np.testing.assert_allclose(float(sum(layer.losses)), 0.01 * float((layer.w.numpy() ** 2).sum()), rtol=1e-5)


def test_several_inputs_and_masks_by_name() -> None:
    class Attend(layers.Layer):
        def build(self, query_shape: Any, value_shape: Any) -> None:
            assert query_shape[-1] == 5 and value_shape[-1] == 6
            self.k = self.add_weight(shape=(query_shape[-1], value_shape[-1]), name="k")

        def call(self, query: Any, value: Any, value_mask: Any = None) -> Any:
            assert value_mask is not None
            return (query @ self.k) * ops.sum(ops.where(value_mask[..., None], value, 0.0), axis=1)

    words = Input((None,), dtype="int32")
    embedded = layers.Embedding(10, 6, mask_zero=True)(words)
    query = Input((5,))
    model = Model([query, words], Attend()(query, embedded))
    assert model.predict([X, np.ones((8, 3), int)]).shape == (8, 6)


def test_a_random_layer_of_ones_own() -> None:
    class Noise(layers.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.seeds = lamella.SeedGenerator(3)

        def call(self, inputs: Any, training: Any = False) -> Any:
            return inputs + lamella.random.normal(ops.shape(inputs), seed=self.seeds) if training else inputs

    layer = Noise()
    first, second = layer(X, training=True), layer(X, training=True)
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(layer(X), X)
    model = Sequential([Input((5,)), layer, layers.Dense(1)])
    model.compile("sgd", loss="mse")
    state = layer.seeds.state.numpy().copy()
    model.fit(X, X[:, :1], epochs=1, verbose=0)
    assert layer.seeds.state.numpy()[1] > state[1]


def test_cells_of_ones_own() -> None:
    class Leaky(layers.Layer):
        state_size = 4
        output_size = 4

        def build(self, input_shape: Any) -> None:
            self.w = self.add_weight(shape=(input_shape[-1], 4), name="w")
            self.dropout = layers.Dropout(0.5, seed=1)

        def call(self, inputs: Any, states: Any, training: Any = False) -> Any:
            new = 0.5 * states[0] + self.dropout(inputs, training=training) @ self.w
            return new, [new]

    cell = Leaky()
    layer = layers.RNN(cell, return_sequences=True)
    x = np.random.default_rng(1).normal(size=(3, 7, 5)).astype("float32")
    state, wanted = np.zeros((3, 4), "float32"), []
    out = layer(x)
    for step in range(7):
        state = 0.5 * state + x[:, step] @ cell.w.numpy()
        wanted.append(state)
    np.testing.assert_allclose(out, np.stack(wanted, 1), rtol=1e-4, atol=1e-5)
    before = cell.dropout.seed_generator.state.numpy().copy()
    layer(x, training=True)
    assert not np.array_equal(before, cell.dropout.seed_generator.state.numpy())
    mask = np.array([[True] * 4 + [False] * 3] * 3)
    np.testing.assert_allclose(layer(x, mask=mask)[:, -1], np.stack(wanted, 1)[:, 3], rtol=1e-4, atol=1e-5)


def test_weights_in_arithmetic_and_jnp() -> None:
    layer = Linear(3)
    layer(X)
    w = layer.w
    for ours, theirs in (
        (w + 1, w.numpy() + 1),
        (2 * w, 2 * w.numpy()),
        (X @ w, X @ w.numpy()),
        (-w, -w.numpy()),
        (jnp.sum(w, axis=0), w.numpy().sum(0)),
        (jnp.dot(X, w), X @ w.numpy()),
        (w.T, w.numpy().T),
        (w[0], w.numpy()[0]),
        (ops.square(w), w.numpy() ** 2),
        (w > 0, w.numpy() > 0),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    with pytest.raises(AttributeError, match="Did you mean 'reshape'"):
        _ = w.reshap
