"""What `compile` was given, in files: optimizers with their state, losses, metrics and weights of losses, both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lamella

DRAW = np.random.default_rng(0)
X, Y = DRAW.normal(size=(6, 4)).astype("float32"), DRAW.integers(0, 2, (6, 3)).astype("float32")
WAYS = [(keras, lamella), (lamella, keras), (lamella, lamella)]

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "Adam": lambda o: o.Adam(0.1, beta_1=0.8, amsgrad=True, clipnorm=0.5),
    "AdamW": lambda o: o.AdamW(0.1, weight_decay=0.02, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2),
    "SGD": lambda o: o.SGD(0.1, momentum=0.9, nesterov=True, global_clipnorm=1.0),
    "RMSprop": lambda o: o.RMSprop(0.1, rho=0.8, momentum=0.5, centered=True),
    "Lion": lambda o: o.Lion(0.1, beta_2=0.9),
    "Nadam": lambda o: o.Nadam(0.1),
    "Adamax": lambda o: o.Adamax(0.1),
    "Adagrad": lambda o: o.Adagrad(0.1, initial_accumulator_value=0.2),
    "Adadelta": lambda o: o.Adadelta(0.1),
    "Ftrl": lambda o: o.Ftrl(0.1, l1_regularization_strength=0.01),
    "Lamb": lambda o: o.Lamb(0.1),
    "accumulation": lambda o: o.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2),
    "LossScaleOptimizer": lambda o: o.LossScaleOptimizer(o.Adam(0.1), initial_scale=8.0, dynamic_growth_steps=3),
    "ExponentialDecay": lambda o: o.SGD(o.schedules.ExponentialDecay(0.1, 2, 0.5, staircase=True)),
    "CosineDecay": lambda o: o.Adam(o.schedules.CosineDecay(0.1, 10, alpha=0.1, warmup_target=0.3, warmup_steps=3)),
    "PiecewiseConstantDecay": lambda o: o.SGD(o.schedules.PiecewiseConstantDecay([1, 3], [0.3, 0.2, 0.1])),
    "PolynomialDecay": lambda o: o.SGD(o.schedules.PolynomialDecay(0.1, 3, power=2.0, cycle=True)),
    "InverseTimeDecay": lambda o: o.SGD(o.schedules.InverseTimeDecay(0.1, 2, 0.5)),
}


def stack(k: Any) -> Any:
    return k.Sequential([k.Input((4,)), k.layers.Dense(3, name="d")], name="stack")


def steps(model: Any, count: int) -> None:
    """Give the optimizer gradients that follow from its steps alone."""
    for _ in range(count):
        if hasattr(model.optimizer, "inner_optimizer"):
            # Keras applies it within a step of training alone.
            model.train_on_batch(X, Y)
            continue
        scale = 0.1 * (1 + int(model.optimizer.iterations))
        wave = [np.sin(np.arange(np.prod(w.shape)).reshape(w.shape) * scale) for w in model.trainable_variables]
        model.optimizer.apply(wave)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    for source, target in WAYS:
        model = stack(source)
        model.compile(OPTIMIZERS[name](source.optimizers), "mse")
        model.optimizer.build(model.trainable_variables)
        steps(model, 3)
        model.save(tmp_path / "a.keras")
        twin = target.models.load_model(tmp_path / "a.keras")
        assert int(twin.optimizer.iterations) == int(model.optimizer.iterations)
        for mine, other in zip(twin.optimizer.variables, model.optimizer.variables, strict=True):
            np.testing.assert_allclose(np.asarray(mine), np.asarray(other), rtol=1e-6)
        for one in (model, twin):
            steps(one, 3)
        for mine, other in zip(twin.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


def network(k: Any) -> Any:
    x = k.Input((4,), name="x")
    return k.Model(x, {"a": k.layers.Dense(3, name="a")(x), "b": k.layers.Dense(3, name="b")(x)}, name="network")


def pair(k: Any) -> Any:
    x = k.Input((4,), name="x")
    return k.Model(x, [k.layers.Dense(3, name="a")(x), k.layers.Dense(3, name="b")(x)], name="pair")


BOTH = {"a": Y, "b": 1 - Y}
# A model, what it is compiled with, and its targets.
COMPILED: dict[str, tuple[Callable[[Any], Any], Callable[[Any], dict[str, Any]], Any]] = {
    "names": (stack, lambda k: {"loss": "mse", "metrics": ["mae", "accuracy"], "weighted_metrics": ["mse"]}, Y),
    "objects": (
        stack,
        lambda k: {
            "loss": k.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
            "metrics": [k.metrics.BinaryAccuracy(threshold=0.2), k.metrics.AUC(num_thresholds=5, from_logits=True)],
            "jit_compile": True,
            "steps_per_execution": 1,
        },
        Y,
    ),
    "dicts": (
        network,
        lambda k: {
            "loss": {"a": k.losses.MeanSquaredError(reduction="sum"), "b": "mae"},
            "loss_weights": {"a": 0.3, "b": 2.0},
            "metrics": {"a": ["mse", k.metrics.MeanAbsoluteError(name="off")], "b": []},
        },
        BOTH,
    ),
    "lists": (
        pair,
        lambda k: {
            "loss": [k.losses.CategoricalFocalCrossentropy(gamma=1.5, from_logits=True), k.losses.LogCosh()],
            "loss_weights": [0.5, 1.5],
            "metrics": [["mae"], [k.metrics.TopKCategoricalAccuracy(k=2)]],
        },
        [Y, 1 - Y],
    ),
    "nothing for one": (pair, lambda k: {"loss": ["mse", None]}, [Y, 1 - Y]),
}


@pytest.mark.parametrize("name", COMPILED)
def test_losses_and_metrics_are_the_same(name: str, tmp_path: Path) -> None:
    make, given, y = COMPILED[name]
    for source, target in WAYS[:2]:
        model = make(source)
        model.compile("sgd", **given(source))
        model.train_on_batch(X, y)
        model.save(tmp_path / "a.keras")
        twin = target.models.load_model(tmp_path / "a.keras")
        mine, other = (one.evaluate(X, y, verbose=0, return_dict=True) for one in (twin, model))
        assert mine.keys() == other.keys()
        for key, value in other.items():
            np.testing.assert_allclose(mine[key], value, rtol=1e-5, err_msg=key)
        again = json.dumps(twin.get_compile_config(), default=str)
        twin.save(tmp_path / "b.keras")
        assert json.dumps(target.models.load_model(tmp_path / "b.keras").get_compile_config(), default=str) == again
