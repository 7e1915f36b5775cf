"""Copies and pickles of models: equal, compiled, apart, and trained on where the model was."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lamella
from lamella import Model, Sequential, layers, ops
from tests.models.test_described import X, network, stack

Y = np.random.default_rng(3).normal(size=(3, 2)).astype("float32")


class Own(Model):
    """A class of its own, with a functional model inside."""

    def __init__(self) -> None:
        super().__init__()
        self.first = stack(lamella)
        self.tied = [self.first, layers.Dense(2)]

    def call(self, inputs: Any) -> Any:
        for layer in self.tied:
            inputs = layer(inputs)
        return inputs


def operations() -> Model:
    x = lamella.Input((6,))
    hidden = layers.Dense(3)(x)
    return Model(x, ops.relu(hidden * 2 + ops.sum(hidden, axis=1, keepdims=True))[:, :2])


def tanh() -> Model:
    return Sequential([lamella.Input((6,)), layers.Dense(4, activation="tanh"), layers.Dropout(0.5), layers.Dense(2)])


def unbuilt() -> Model:
    return Sequential([layers.Dense(2)])


def pickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize(
    ("make", "again"),
    [(tanh, pickled), (Own, pickled), (operations, pickled), (unbuilt, pickled), (Own, copy.deepcopy)],
)
def test_a_copy_goes_on_as_the_model_does(make: Callable[[], Model], again: Callable[[Any], Any]) -> None:
    model = make()
    model.compile(lamella.optimizers.SGD(0.01, momentum=0.9, use_ema=True), "mse", metrics=["mae"])
    model.fit(X, Y, verbose=0, shuffle=False)
    twin = again(model)
    after = [m.fit(X, Y, verbose=0, shuffle=False).history for m in (model, twin)]
    assert after[0] == after[1]
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    for a, b in zip(twin.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert a.path == b.path and a is not b


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
def test_a_graph_is_the_same(again: Callable[[Any], Any]) -> None:
    model = network(lamella)
    twin = again(model)
    assert twin.get_config() == model.get_config() and twin.output_shape == model.output_shape
    assert [w.path for w in twin.weights] == [w.path for w in model.weights]
    assert not {id(w) for w in twin.weights} & {id(w) for w in model.weights}
    assert twin.get_layer("shared").output.shape == (None, 4)


@pytest.mark.parametrize("first", [True, False])
def test_what_is_copied_survives_the_training_of_the_other(first: bool) -> None:
    model = stack(lamella)
    model.compile("sgd", "mse")
    twins = [model, copy.deepcopy(model)]
    twins[first].fit(X, Y, verbose=0)
    assert np.isfinite(twins[not first].predict(X)).all()


OPTIMIZERS: list[Any] = [
    lambda: lamella.optimizers.MultiOptimizer(lamella.optimizers.OptimizerMap(lamella.optimizers.Lion(0.1))),
    lambda: lamella.optimizers.LossScaleOptimizer(lamella.optimizers.Nadam(gradient_accumulation_steps=2)),
    lambda: lamella.optimizers.AdamW(lamella.optimizers.schedules.CosineDecay(0.1, 10)),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_optimizers_with_their_variables(make: Callable[[], Any]) -> None:
    weight, optimizer = lamella.Variable([1.0, 2.0], name="w"), make()
    optimizer.apply([np.ones(2, "float32")], [weight])
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay([weight])
    pairs = [(optimizer, weight), pickled((optimizer, weight)), copy.deepcopy((optimizer, weight))]
    for twin, value in pairs:
        twin.apply([np.full(2, 3, "float32")], [value])
    for _, value in pairs[1:]:
        np.testing.assert_array_equal(value.numpy(), weight.numpy())


def test_a_clone_is_compiled_with_parts_of_its_own() -> None:
    model, metric = stack(lamella), lamella.metrics.MeanAbsoluteError()
    assert not lamella.models.clone_model(model).compiled
    model.compile(lamella.optimizers.SGD(0.5, momentum=0.9), {"dense_1": "mse"}, metrics=[[metric, "mse"]])
    twin = lamella.models.clone_model(model)
    assert twin.optimizer.get_config() == model.optimizer.get_config() and twin.optimizer is not model.optimizer
    assert [type(twin.loss), twin.compiled] == [dict, True]
    given = twin._trainer.compiled.arguments()["metrics"]
    assert given[0][1] == "mse" and type(given[0][0]) is type(metric) and given[0][0] is not metric
