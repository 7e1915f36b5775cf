"""`fit`, `evaluate` and `predict` beside Keras's: the same weights, the same data, the same logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import lamella

DRAW = np.random.default_rng(2)
X = DRAW.normal(size=(50, 6)).astype("float32")
Y = DRAW.integers(0, 3, 50)
Z = DRAW.normal(size=(50, 1)).astype("float32")
W = DRAW.uniform(0.1, 2, 50).astype("float32")


def stack(library: Any) -> Any:
    layers = library.layers
    return library.Sequential(
        [
            library.Input((6,)),
            layers.Dense(8, activation="tanh", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dense(3, activation="softmax", activity_regularizer="l2"),
        ]
    )


def branches(library: Any) -> Any:
    layers = library.layers
    x = library.Input((6,), name="numbers")
    shared = layers.Dense(5, activation="relu")(x)
    kind = layers.Dense(3, activation="softmax", name="kind")(shared)
    size = layers.Dense(1, name="size")(layers.concatenate([shared, x]))
    return library.Model(x, {"kind": kind, "size": size})


def masked(library: Any) -> Any:
    layers = library.layers
    x = library.Input((None,), dtype="int32")
    y = layers.Embedding(9, 4, mask_zero=True)(x)
    y = layers.LSTM(5, return_sequences=True)(y)
    return library.Model(x, layers.TimeDistributed(layers.Dense(3, activation="softmax"))(y))


def history(
    library: Any, make: Callable[[Any], Any], weights: Any, compiled: dict[str, Any], fit: dict[str, Any]
) -> Any:
    model = make(library)
    model.set_weights(weights)
    model.compile(library.optimizers.SGD(0.1, momentum=0.5), **compiled)
    logs = model.fit(epochs=3, verbose=0, shuffle=False, **fit).history
    data = {key: fit[key] for key in ("x", "y", "sample_weight") if key in fit}
    return (
        logs,
        model.evaluate(**data, verbose=0, return_dict=True),
        model.get_weights(),
        model.predict(fit["x"], verbose=0),
    )


CONFIGURATIONS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "classes": (stack, {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}, {"x": X, "y": Y}),
    "ragged last batch": (
        stack,
        {"loss": "categorical_crossentropy", "metrics": ["accuracy", "mse"]},
        {"x": X, "y": np.eye(3, dtype="float32")[Y], "batch_size": 16},
    ),
    "validation split and class weights": (
        stack,
        {"loss": "sparse_categorical_crossentropy", "weighted_metrics": ["accuracy"]},
        {"x": X, "y": Y, "validation_split": 0.3, "class_weight": {0: 0.5, 1: 2.0, 2: 1.0}},
    ),
    "sample weights and validation data": (
        stack,
        {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], "weighted_metrics": ["accuracy"]},
        {"x": X, "y": Y, "sample_weight": W, "validation_data": (X[:9], Y[:9], W[:9]), "batch_size": 20},
    ),
    "two outputs by name": (
        branches,
        {
            "loss": {"kind": "sparse_categorical_crossentropy", "size": "mse"},
            "loss_weights": {"kind": 0.3, "size": 2.0},
            "metrics": {"kind": ["accuracy"], "size": ["mae"]},
        },
        {"x": X, "y": {"kind": Y, "size": Z}},
    ),
    "masks in the loss": (
        masked,
        {"loss": "sparse_categorical_crossentropy", "weighted_metrics": []},
        {"x": DRAW.integers(0, 3, (20, 7)), "y": DRAW.integers(0, 3, (20, 7)), "batch_size": 8},
    ),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_same_logs_and_weights(name: str) -> None:
    make, compiled, fit = CONFIGURATIONS[name]
    weights = [DRAW.normal(size=w.shape).astype("float32") ** 2 * 0.3 for w in make(keras).get_weights()]
    ours, theirs = (history(library, make, weights, compiled, fit) for library in (lamella, keras))
    assert set(ours[0]) == set(theirs[0])
    for key, values in theirs[0].items():
        np.testing.assert_allclose(ours[0][key], values, rtol=2e-5, err_msg=key)
    assert set(ours[1]) == set(theirs[1])
    for key, value in theirs[1].items():
        np.testing.assert_allclose(ours[1][key], value, rtol=2e-5, err_msg=key)
    for a, b in zip(ours[2], theirs[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for a, b in zip(*map(_leaves, (ours[3], theirs[3])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def _leaves(outputs: Any) -> list[Any]:
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def test_same_seed_gives_kerass_first_weights() -> None:
    models = []
    for library in (lamella, keras):
        library.utils.set_random_seed(11)
        models.append(stack(library))
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
