"""Gradients of each sample by itself: beside one batch for each sample, as a mean, clipped, and refused."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import lamella
from lamella import Input, Sequential, errors, layers
from lamella.batch import clip_per_sample, norm_per_sample, per_sample_gradients

DRAW = np.random.default_rng(9)
X = DRAW.normal(size=(6, 5, 5, 2)).astype("float32")
Y = DRAW.integers(0, 3, size=6)


def network(**arguments: Any) -> Any:
    lamella.utils.set_random_seed(5)
    model = Sequential(
        [
            Input((5, 5, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.3, seed=1),
            layers.Dense(3),
        ],
        name="net",
    )
    loss = lamella.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(lamella.optimizers.SGD(1.0), loss, **arguments)
    return model


def one_by_one(make: Any, x: Any, y: Any) -> list[Any]:
    """The gradients of batches of one, read off steps of gradient descent with rate 1."""
    rows = []
    for i in range(len(x)):
        model = make()
        before = model.get_weights()
        model.layers[-2].rate = 0.0
        model.train_on_batch(x[i : i + 1], y[i : i + 1])
        rows.append([a - b for a, b in zip(before, model.get_weights(), strict=True)])
    return [np.stack(column) for column in zip(*rows, strict=True)]


class TestModel:
    def test_beside_batches_of_one(self) -> None:
        gradients = network().per_sample_gradients(X, Y)
        for ours, alone in zip(gradients, one_by_one(network, X, Y), strict=True):
            assert ours.shape == alone.shape
            np.testing.assert_allclose(np.asarray(ours), alone, rtol=1e-4, atol=1e-6)

    def test_their_mean_is_the_gradient_of_the_batch(self) -> None:
        weights = DRAW.random(6).astype("float32")
        model = network()
        model.layers[-2].rate = 0.0
        gradients = model.per_sample_gradients(X, Y, sample_weight=weights)
        before = model.get_weights()
        model.train_on_batch(X, Y, sample_weight=weights)
        for a, b, g in zip(before, model.get_weights(), gradients, strict=True):
            np.testing.assert_allclose(a - b, np.asarray(g).mean(0), rtol=1e-4, atol=1e-6)

    def test_noise_is_each_samples_own_and_the_model_stays(self) -> None:
        model = network()
        x, y = np.repeat(X[:1], 4, axis=0), np.repeat(Y[:1], 4)
        state = [variable.numpy() for variable in model.variables]
        kernel = np.asarray(model.per_sample_gradients(x, y, training=True)[-2])
        assert len(np.unique(kernel.round(6), axis=0)) > 1
        for variable, value in zip(model.variables, state, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)

    def test_masks_and_words(self) -> None:
        lamella.utils.set_random_seed(1)
        model = Sequential([Input((4,), dtype="int32"), layers.Embedding(9, 3, mask_zero=True), layers.LSTM(4)])
        model.add(layers.Dense(1))
        model.compile(lamella.optimizers.SGD(1.0), "mse")
        ids, y = np.array([[1, 2, 0, 0], [3, 4, 5, 0], [8, 1, 1, 1]]), np.ones((3, 1), "float32")
        gradients = model.per_sample_gradients(ids, y)
        before = model.get_weights()
        model.train_on_batch(ids, y)
        for a, b, g in zip(before, model.get_weights(), gradients, strict=True):
            np.testing.assert_allclose(a - b, np.asarray(g).mean(0), rtol=1e-4, atol=1e-6)

    def test_refused_where_samples_mix(self) -> None:
        model = Sequential([Input((4,)), layers.BatchNormalization(name="norm"), layers.Dense(1)], name="m")
        model.compile("sgd", "mse")
        x, y = np.ones((3, 4), "float32"), np.ones((3, 1), "float32")
        assert model.per_sample_gradients(x, y)[0].shape == (3, 4)
        with pytest.raises(errors.MixesSamplesError, match=r"(?s)per_sample_gradients needs.*'m/norm'"):
            model.per_sample_gradients(x, y, training=True)
        model = Sequential([Input((4,)), layers.Dense(1, activity_regularizer="l2")])
        model.compile("sgd", "mse")
        with pytest.raises(errors.MixesSamplesError, match="adds a loss of the whole batch"):
            model.per_sample_gradients(x, y)


class TestClipping:
    def test_the_update_is_the_mean_of_clipped_gradients(self) -> None:
        model = network(per_sample_clipnorm=0.1)
        model.layers[-2].rate = 0.0
        expected = clip_per_sample(model.per_sample_gradients(X, Y), 0.1)
        assert float(norm_per_sample(expected).max()) <= 0.1 * (1 + 1e-5)
        before = model.get_weights()
        model.train_on_batch(X, Y)
        for a, b, g in zip(before, model.get_weights(), expected, strict=True):
            np.testing.assert_allclose(a - b, np.asarray(g).mean(0), rtol=1e-3, atol=1e-6)

    def test_a_large_norm_changes_nothing(self) -> None:
        results = []
        for arguments in ({}, {"per_sample_clipnorm": 1e6}, {"per_sample_clipnorm": 1e6, "micro_batch": 2}):
            model = network(metrics=["accuracy"], **arguments)
            model.layers[-2].rate = 0.0
            logs = model.fit(X, Y, batch_size=4, epochs=2, verbose=0, shuffle=False).history
            results.append([*logs["loss"], *logs["accuracy"], *(w.ravel() for w in model.get_weights())])
        for others in results[1:]:
            for a, b in zip(results[0], others, strict=True):
                np.testing.assert_allclose(np.asarray(b), np.asarray(a), rtol=1e-4, atol=1e-5)

    def test_penalties_are_not_clipped(self) -> None:
        model = Sequential([Input((2,)), layers.Dense(1, kernel_regularizer="l2", kernel_initializer="ones")])
        model.compile(lamella.optimizers.SGD(1.0), "mse", per_sample_clipnorm=1e-9)
        x = np.ones((4, 2), "float32")
        model.train_on_batch(x, np.zeros((4, 1), "float32"))
        np.testing.assert_allclose(model.get_weights()[0], 1 - 0.02, rtol=1e-5)

    def test_refused_where_samples_mix_and_for_bad_norms(self) -> None:
        model = Sequential([Input((4,)), layers.BatchNormalization(name="norm"), layers.Dense(1)])
        model.compile("sgd", "mse", per_sample_clipnorm=1.0)
        with pytest.raises(errors.MixesSamplesError, match=r"(?s)per_sample_clipnorm.*norm'"):
            model.fit(np.ones((4, 4), "float32"), np.ones((4, 1), "float32"), verbose=0)
        with pytest.raises(errors.ArgumentError, match="a norm above 0, got -1"):
            model.compile("sgd", "mse", per_sample_clipnorm=-1)


class TestFunctions:
    def test_structures_and_hand_computation(self) -> None:
        params = {"w": jnp.array([1.0, -1.0]), "b": jnp.float32(0.5)}
        x, y = jnp.array([[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]]), jnp.array([0.0, 1.0, 2.0])
        gradients = per_sample_gradients(lambda p, x, y: (x @ p["w"] + p["b"] - y) ** 2)(params, x, y)
        errors_ = np.asarray(x @ params["w"] + params["b"] - y)
        np.testing.assert_allclose(gradients["b"], 2 * errors_, rtol=1e-6)
        np.testing.assert_allclose(gradients["w"], 2 * errors_[:, None] * x, rtol=1e-6)
        norms = np.sqrt((2 * errors_) ** 2 * (1 + (np.asarray(x) ** 2).sum(1)))
        np.testing.assert_allclose(norm_per_sample(gradients), norms, rtol=1e-6)

    def test_refused_where_samples_mix(self) -> None:
        def centred(w: Any, x: Any) -> Any:
            return ((x - x.mean(0)) @ w) ** 2

        with pytest.raises(errors.MixesSamplesError, match=r"(?s)x - x.mean\(0\)"):
            per_sample_gradients(centred)(jnp.ones(2), jnp.ones((3, 2)))

    def test_the_loss_must_be_one_number_for_each_sample(self) -> None:
        with pytest.raises(errors.ShapeError, match=r"returns shape \(\) for 3 samples"):
            per_sample_gradients(lambda w, x: (x @ w).mean())(jnp.ones(2), jnp.ones((3, 2)))
        with pytest.raises(errors.ArgumentError, match="needs a batch"):
            per_sample_gradients(lambda w: w)(jnp.ones(2))
        with pytest.raises(errors.ShapeError, match="one of them has no axis"):
            per_sample_gradients(lambda w, x: w * x)(jnp.ones(2), jnp.float32(1))
