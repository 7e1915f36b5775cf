"""Optimizers beside Keras's over twenty steps, eager and compiled."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import keras
import numpy as np
import optax
import pytest

import lamella
from lamella.core.variable import Variable, pure

DRAW = np.random.default_rng(4)
START = [DRAW.normal(size=(4, 3)).astype("float32"), DRAW.normal(size=(3,)).astype("float32")]
GRADS = [[DRAW.normal(size=a.shape).astype("float32") for a in START] for _ in range(20)]

CONFIGURATIONS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"learning_rate": 0.1}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"learning_rate": 0.1, "clipnorm": 0.5}),
    ("SGD", {"learning_rate": 0.1, "clipvalue": 0.3}),
    ("SGD", {"learning_rate": 0.1, "global_clipnorm": 0.7}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.9, "amsgrad": True}),
    ("AdamW", {"learning_rate": 0.05}),
    ("AdamW", {"learning_rate": 0.05, "weight_decay": 0.1}),
    ("Nadam", {"learning_rate": 0.02}),
    ("Adamax", {"learning_rate": 0.02}),
    ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.2}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("RMSprop", {"learning_rate": 0.02}),
    ("RMSprop", {"learning_rate": 0.02, "rho": 0.8, "momentum": 0.7, "centered": True}),
    ("Lion", {"learning_rate": 0.02, "weight_decay": 0.1}),
    ("Ftrl", {"learning_rate": 0.1}),
    (
        "Ftrl",
        {
            "learning_rate": 0.1,
            "learning_rate_power": -0.3,
            "l1_regularization_strength": 0.4,
            "l2_regularization_strength": 0.1,
            "l2_shrinkage_regularization_strength": 0.2,
            "beta": 0.3,
        },
    ),
    ("Adafactor", {"learning_rate": 0.05}),
    ("Adafactor", {"learning_rate": 0.5, "relative_step": False, "clip_threshold": 0.7, "weight_decay": 0.01}),
    ("Lamb", {"learning_rate": 0.05}),
    ("Lamb", {"learning_rate": 0.05, "beta_1": 0.8, "weight_decay": 0.1, "global_clipnorm": 0.5}),
    ("Muon", {"learning_rate": 0.05}),
    ("Muon", {"learning_rate": 0.05, "nesterov": False, "rms_rate": None, "ns_steps": 3, "adam_lr_ratio": 0.5}),
    ("Muon", {"learning_rate": 0.05, "exclude_layers": ["v0"], "adam_weight_decay": None, "clipnorm": 0.5}),
    ("ScheduleFreeAdamW", {"learning_rate": 0.05}),
    ("ScheduleFreeAdamW", {"learning_rate": 0.05, "warmup_steps": 5, "beta_1": 0.8, "weight_decay": 0.1}),
    ("SGD", {"learning_rate": 0.1, "gradient_accumulation_steps": 3}),
    ("Adam", {"learning_rate": 0.05, "gradient_accumulation_steps": 2, "clipnorm": 0.5, "weight_decay": 0.01}),
    ("Nadam", {"learning_rate": 0.02, "gradient_accumulation_steps": 4}),
    ("Adam", {"learning_rate": 0.05, "use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 3}),
    ("SGD", {"learning_rate": 0.1, "use_ema": True, "ema_overwrite_frequency": 2, "gradient_accumulation_steps": 3}),
    ("RMSprop", {"learning_rate": 0.02, "loss_scale_factor": 8.0, "clipvalue": 0.1}),
]


def name(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(f"{k}={v}" for k, v in value.items())


def run(optimizer: Any, variables: list[Any], rates: dict[int, float] | None = None) -> list[list[np.ndarray]]:
    path = []
    for step, grads in enumerate(GRADS):
        if rates and step in rates:
            optimizer.learning_rate = rates[step]
        optimizer.apply_gradients(zip([jax.numpy.asarray(g) for g in grads], variables, strict=True))
        path.append([np.array(v.value) for v in variables])
    return path


def ours(kind: str, arguments: dict[str, Any]) -> tuple[Any, list[Variable]]:
    return getattr(lamella.optimizers, kind)(**arguments), [Variable(a, name=f"v{i}") for i, a in enumerate(START)]


@pytest.mark.parametrize("rates", [None, {7: 0.01}], ids=["one rate", "a rate assigned on the way"])
@pytest.mark.parametrize(("kind", "arguments"), CONFIGURATIONS, ids=name)
def test_twenty_steps(kind: str, arguments: dict[str, Any], rates: Any) -> None:
    theirs = [keras.Variable(a, name=f"v{i}") for i, a in enumerate(START)]
    other = getattr(keras.optimizers, kind)(**arguments)
    wanted = run(other, theirs, rates)
    optimizer, variables = ours(kind, arguments)
    for a, b in zip(run(optimizer, variables, rates), wanted, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    named = [(v.name, tuple(v.shape)) for v in optimizer.variables]
    # Keras leaves the name of Nadam's product to its counter of variables.
    assert [pair for pair in named if pair[0] != "product"] == [
        (v.name, tuple(v.shape)) for v in other.variables if not v.name.startswith("variable")
    ]
    for mine, their in zip(optimizer.variables, other.variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), np.asarray(their), rtol=1e-4, atol=1e-5)
    for end in (optimizer, other):
        end.finalize_variable_values(variables if end is optimizer else theirs)
    np.testing.assert_allclose(variables[0].numpy(), np.asarray(theirs[0]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in CONFIGURATIONS}))
def test_arguments(kind: str) -> None:
    signatures = [inspect.signature(getattr(module.optimizers, kind)) for module in (lamella, keras)]
    mine, theirs = ({n: p.default for n, p in s.parameters.items() if n != "kwargs"} for s in signatures)
    assert list(mine.items()) == list(theirs.items())
    wanted = getattr(keras.optimizers, kind)().get_config()
    found = getattr(lamella.optimizers, kind)().get_config()
    assert {**found, "name": ""} == {**wanted, "name": ""}


@pytest.mark.parametrize(("kind", "arguments"), CONFIGURATIONS, ids=name)
def test_compiled_is_the_same(kind: str, arguments: dict[str, Any]) -> None:
    eager = run(*ours(kind, arguments))
    optimizer, variables = ours(kind, arguments)
    optimizer.build(variables)
    state = [*variables, *optimizer.variables]
    step = jax.jit(pure(lambda grads: optimizer.apply(grads, variables), state))
    values = [v.value for v in state]
    for grads in GRADS:
        _, values = step(values, grads)
    for value, wanted in zip(values, eager[-1], strict=False):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)


SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "decay_rate": 0.5}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "decay_rate": 0.5, "staircase": True}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "decay_rate": 0.5}),
    ("PiecewiseConstantDecay", {"boundaries": [3, 8], "values": [0.1, 0.05, 0.01]}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 12, "power": 2.0}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 6, "cycle": True}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 15, "alpha": 0.1}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 4, "alpha": 0.1}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 5, "t_mul": 1.0, "m_mul": 0.5}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 3, "t_mul": 1.5, "m_mul": 0.8}),
    ("CosineDecay", {"initial_learning_rate": 0.0, "decay_steps": 12, "warmup_target": 0.1, "warmup_steps": 4}),
]


@pytest.mark.parametrize(("kind", "arguments"), SCHEDULES, ids=name)
def test_schedules(kind: str, arguments: dict[str, Any]) -> None:
    mine = getattr(lamella.optimizers.schedules, kind)(**arguments)
    theirs = getattr(keras.optimizers.schedules, kind)(**arguments)
    for step in range(20):
        np.testing.assert_allclose(mine(step), theirs(step), rtol=1e-5, atol=1e-7)
    module = lamella.optimizers.schedules
    for twin in (type(mine).from_config(mine.get_config()), module.deserialize(module.serialize(mine))):
        np.testing.assert_array_equal(twin(7), mine(7))
    optimizer, variables = ours("SGD", {"learning_rate": mine})
    wanted = run(keras.optimizers.SGD(theirs), [keras.Variable(a) for a in START])
    np.testing.assert_allclose(run(optimizer, variables)[-1][0], wanted[-1][0], rtol=1e-5, atol=1e-6)


def test_variables_left_out_of_the_decay() -> None:
    optimizer, variables = ours("AdamW", {"weight_decay": 0.5})
    optimizer.exclude_from_weight_decay(var_names=["v1"])
    theirs = [keras.Variable(a, name=f"v{i}") for i, a in enumerate(START)]
    other = keras.optimizers.AdamW(weight_decay=0.5)
    other.exclude_from_weight_decay(var_names=["v1"])
    np.testing.assert_allclose(run(optimizer, variables)[-1][1], run(other, theirs)[-1][1], rtol=1e-5, atol=1e-6)


def test_any_optax_transformation() -> None:
    variables = [Variable(a) for a in START]
    path = run(lamella.optimizers.get(optax.adam(0.05)), variables)
    values: Any = [jax.numpy.asarray(a) for a in START]
    transformation = optax.adam(0.05)
    state = transformation.init(values)
    for grads in GRADS:
        updates, state = transformation.update([jax.numpy.asarray(g) for g in grads], state, values)
        values = optax.apply_updates(values, updates)
    np.testing.assert_allclose(path[-1][0], values[0], rtol=1e-6)


@pytest.mark.parametrize(("kind", "arguments"), CONFIGURATIONS, ids=name)
def test_config_round_trip(kind: str, arguments: dict[str, Any]) -> None:
    optimizer, _ = ours(kind, arguments)
    twin = type(optimizer).from_config(optimizer.get_config())
    assert twin.get_config() == optimizer.get_config()
    again = lamella.utils.deserialize_keras_object(lamella.utils.serialize_keras_object(optimizer))
    assert type(again) is type(optimizer)


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="Did you mean 'adam'"):
        lamella.optimizers.get("adm")
    with pytest.raises(ValueError, match="clipped in one way"):
        lamella.optimizers.SGD(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ValueError, match="momentum lies between"):
        lamella.optimizers.SGD(momentum=2.0)
    with pytest.raises(ValueError, match="1 gradients for 2"):
        optimizer, variables = ours("SGD", {})
        optimizer.apply(GRADS[0][:1], variables)
    with pytest.raises(ValueError, match="name or an Optimizer"):
        lamella.optimizers.get(3)
    with pytest.raises(ValueError, match="no gradient for any"):
        optimizer.apply([None, None], variables)
    with pytest.raises(ValueError, match="has no argument 'lerning_rate'"):
        lamella.optimizers.SGD(lerning_rate=1.0)
    with pytest.raises(ValueError, match="multiple values"):
        lamella.optimizers.SGD(1.0, learning_rate=1.0)
    with pytest.raises(NotImplementedError, match="neither `rule` nor"):
        lamella.optimizers.Optimizer(0.1).apply(GRADS[0], variables)
    with pytest.raises(ValueError, match="2 initializers for 1 names"):
        optimizer.add_optimizer_variables(variables, ["a"], ["zeros", "ones"])
    for arguments, text in (
        ({"gradient_accumulation_steps": 1}, "at least 2"),
        ({"use_ema": True, "ema_momentum": 2.0}, "ema_momentum lies"),
        ({"use_ema": True, "ema_overwrite_frequency": 0.5}, "ema_overwrite_frequency is"),
    ):
        with pytest.raises(ValueError, match=text):
            lamella.optimizers.SGD(**arguments)
    for arguments in ({"learning_rate_power": 1.0}, {"beta": 0.1, "l1_regularization_strength": -1.0}):
        with pytest.raises(ValueError, match="Ftrl: l"):
            lamella.optimizers.Ftrl(**arguments)
    with pytest.raises(ValueError, match="first_decay_steps is above"):
        lamella.optimizers.schedules.CosineDecayRestarts(0.1, 0)


def test_state_and_iterations() -> None:
    optimizer, variables = ours("Adam", {})
    run(optimizer, variables)
    assert int(optimizer.iterations) == 20
    assert [v.shape for v in optimizer.variables] == [(), (), (4, 3), (4, 3), (3,), (3,)]
    assert [v.name for v in optimizer.variables[2:4]] == ["v0_momentum", "v0_velocity"]
