"""Optimizers around others, by variable, in compiled training, and of one's own, beside Keras's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import lamella
from lamella.core.variable import Variable, pure

DRAW = np.random.default_rng(5)
START = [DRAW.normal(size=(4, 3)).astype("float32"), DRAW.normal(size=(3,)).astype("float32")]
GRADS = [[DRAW.normal(size=a.shape).astype("float32") for a in START] for _ in range(8)]
X = DRAW.normal(size=(48, 4)).astype("float32")
Y = (X @ DRAW.normal(size=(4, 1))).astype("float32")
Make = Callable[[Any], Any]


def model_of(library: Any, optimizer: Any, **arguments: Any) -> Any:
    layers = [library.Input((4,)), library.layers.Dense(5, activation="tanh"), library.layers.Dense(1)]
    model = library.Sequential(layers)
    model.compile(optimizer, loss="mse", **arguments)
    return model


def trained(make: Make, epochs: int = 2, **arguments: Any) -> tuple[Any, Any]:
    """Two models, lamella's and Keras's, from one start on the same batches."""
    models = [model_of(library, make(library.optimizers), **arguments) for library in (lamella, keras)]
    start = [np.asarray(weight) for weight in models[1].get_weights()]
    models[0].set_weights(start)
    for model in models:
        model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return models[0], models[1]


FITS: dict[str, Make] = {
    "accumulation": lambda o: o.Adam(0.05, gradient_accumulation_steps=4),
    "accumulation over the epoch's end": lambda o: o.SGD(0.1, momentum=0.9, gradient_accumulation_steps=5),
    "averages at the end": lambda o: o.SGD(0.1, use_ema=True, ema_momentum=0.9),
    "averages on the way": lambda o: o.Adam(0.05, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=4),
    "all at once": lambda o: o.AdamW(
        0.05, use_ema=True, ema_overwrite_frequency=3, gradient_accumulation_steps=2, loss_scale_factor=4.0
    ),
    "loss scale": lambda o: o.LossScaleOptimizer(o.Adam(0.05), initial_scale=64.0, dynamic_growth_steps=5),
    "several": lambda o: o.MultiOptimizer(o.OptimizerMap(o.SGD(0.1), {".*bias": o.Adam(0.05, use_ema=True)})),
}


@pytest.mark.parametrize("make", FITS.values(), ids=FITS)
def test_compiled_training(make: Make) -> None:
    mine, theirs = trained(make)
    for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for x, y in zip(mine.optimizer.variables, theirs.optimizer.variables, strict=True):
        np.testing.assert_allclose(x.numpy(), np.asarray(y), rtol=1e-4, atol=1e-5)


def test_training_goes_on_from_the_averages() -> None:
    model = model_of(lamella, lamella.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5))
    losses = [model.fit(X, Y, batch_size=8, epochs=3, verbose=0).history["loss"][-1] for _ in range(2)]
    assert losses[1] < losses[0]
    for variable, average in model.optimizer.averages:
        np.testing.assert_array_equal(variable.numpy(), average.numpy())


def test_accumulation_is_one_step_of_a_larger_batch() -> None:
    whole = model_of(lamella, lamella.optimizers.SGD(0.1))
    parts = model_of(lamella, lamella.optimizers.SGD(0.1, gradient_accumulation_steps=4))
    parts.set_weights(whole.get_weights())
    whole.fit(X, Y, batch_size=48, shuffle=False, verbose=0)
    parts.fit(X, Y, batch_size=12, shuffle=False, verbose=0)
    for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arguments", [{"micro_batch": 4}, {"per_sample_clipnorm": 0.5}], ids=str)
def test_the_loss_scale_leaves_no_trace(arguments: dict[str, Any]) -> None:
    plain = model_of(lamella, lamella.optimizers.SGD(0.1), **arguments)
    scaled = model_of(lamella, lamella.optimizers.SGD(0.1, loss_scale_factor=32.0), **arguments)
    scaled.set_weights(plain.get_weights())
    logs = [model.fit(X, Y, batch_size=16, shuffle=False, verbose=0).history["loss"] for model in (plain, scaled)]
    np.testing.assert_allclose(logs[0], logs[1], rtol=1e-6)
    for a, b in zip(plain.get_weights(), scaled.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_half_precision_scales_its_loss() -> None:
    layers = [lamella.Input((4,)), lamella.layers.Dense(1, dtype="mixed_float16")]
    for auto, kind in ((True, "LossScaleOptimizer"), (False, "Adam")):
        model = lamella.Sequential(layers)
        model.dtype_policy = "mixed_float16"
        model.compile("adam", "mse", auto_scale_loss=auto)
        assert type(model.optimizer).__name__ == kind
        losses = model.fit(X, Y, epochs=3, verbose=0).history["loss"]
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("compiled", [False, True])
def test_steps_with_infinite_gradients_are_left_out(compiled: bool) -> None:
    variables = [Variable(a, name=f"v{i}") for i, a in enumerate(START)]
    theirs = [keras.Variable(a, name=f"v{i}") for i, a in enumerate(START)]
    mine, other = (
        library.optimizers.LossScaleOptimizer(
            library.optimizers.SGD(0.1, momentum=0.9), initial_scale=8.0, dynamic_growth_steps=2
        )
        for library in (lamella, keras)
    )
    mine.build(variables)
    other.build(theirs)
    state = [*variables, *mine.variables]
    step = jax.jit(pure(lambda grads: mine.apply(grads, variables), state))
    for index, grads in enumerate(GRADS):
        given = [jnp.asarray(g) * (np.inf if index == 3 else 1) for g in grads]
        # Keras's own `apply` of this optimizer leaks tracers where it is not compiled.
        values = other.stateless_apply([v.value for v in other.variables], given, [v.value for v in theirs])
        for variable, value in zip([*theirs, *other.variables], [*values[0], *values[1]], strict=True):
            variable.assign(value)
        if compiled:
            _, values = step([v.value for v in state], given)
            for variable, value in zip(state, values, strict=True):
                variable.assign(value)
        else:
            mine.apply(given, variables)
        for a, b in zip([*variables, *mine.variables], [*theirs, *other.variables], strict=True):
            np.testing.assert_allclose(a.numpy(), np.asarray(b), rtol=1e-5, atol=1e-6)
    assert int(mine.iterations) == 7
    assert [v.name for v in mine.variables] == [v.name for v in other.variables]


def test_an_optimizer_for_each_variable() -> None:
    def build(library: Any, variables: list[Any]) -> Any:
        o = library.optimizers
        return o.MultiOptimizer(o.OptimizerMap(o.SGD(0.1), {"v1": o.Adam(0.05)}), loss_scale_factor=2.0)

    variables = [Variable(a, name=f"v{i}") for i, a in enumerate(START)]
    theirs = [keras.Variable(a, name=f"v{i}") for i, a in enumerate(START)]
    mine, other = build(lamella, variables), build(keras, theirs)
    for grads in GRADS:
        mine.apply([jnp.asarray(g) for g in grads], variables)
        other.apply([jnp.asarray(g) for g in grads], theirs)
    for a, b in zip([*variables, *mine.variables], [*theirs, *other.variables], strict=True):
        np.testing.assert_allclose(a.numpy(), np.asarray(b), rtol=1e-5, atol=1e-6)
    assert [type(inner).__name__ for inner in mine.optimizers] == ["Adam", "SGD"]
    assert [inner.loss_scale_factor for inner in mine.optimizers] == [2.0, 2.0]
    twin = lamella.optimizers.deserialize(lamella.optimizers.serialize(mine))
    assert [type(inner).__name__ for inner in twin.optimizers] == ["Adam", "SGD"]
    mine.loss_scale_factor = None
    assert [inner.loss_scale_factor for inner in mine.optimizers] == [None, None]
    chosen = lamella.optimizers.MultiOptimizer(lambda variable: lamella.optimizers.SGD(0.1))
    chosen.build(variables)
    assert len(chosen.optimizers) == 2
    with pytest.raises(AttributeError, match="has no learning rate; each"):
        _ = mine.learning_rate
    with pytest.raises(AttributeError, match="assign it to one"):
        mine.learning_rate = 0.1


def test_a_map_from_paths() -> None:
    sgd, adam, rmsprop = (lamella.optimizers.get(name) for name in ("sgd", "adam", "rmsprop"))
    table = lamella.optimizers.OptimizerMap(sgd)
    table["encoder/first/kernel"] = rmsprop
    table["encoder/.*"] = adam
    assert table["encoder/first/kernel"] is rmsprop
    assert table["encoder/other/kernel"] is adam
    assert table["decoder/kernel"] is sgd
    assert list(table) == ["encoder/first/kernel", "encoder/.*"] and len(table) == 2
    with pytest.raises(ValueError, match="has an optimizer already"):
        table["encoder/.*"] = sgd
    table[".*/kernel"] = sgd
    with pytest.raises(ValueError, match="Several patterns fit"):
        table["encoder/x/kernel"]
    del table[".*/kernel"]
    assert ".*/kernel" not in list(table)
    with pytest.raises(ValueError, match="default_optimizer is an optimizer"):
        lamella.optimizers.OptimizerMap("sgd")
    with pytest.raises(ValueError, match="one that moves variables itself"):
        table["x"] = lamella.optimizers.LossScaleOptimizer(sgd)


def own(library: Any) -> Any:
    class Slow(library.optimizers.Optimizer):
        def __init__(self, learning_rate: float = 0.1, share: float = 0.5, **kwargs: Any) -> None:
            super().__init__(learning_rate=learning_rate, **kwargs)
            self.share = share

        def build(self, variables: Any) -> None:
            if self.built:
                return
            super().build(variables)
            self.means = self.add_optimizer_variables(variables, "mean")
            self.places = {id(variable): place for place, variable in enumerate(variables)}

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            mean = self.means[self.places[id(variable)]]
            self.assign_add(mean, (gradient - mean) * self.share)
            self.assign_sub(variable, mean * learning_rate)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "share": self.share}

    return Slow


def test_an_optimizer_of_ones_own() -> None:
    mine, theirs = trained(lambda module: own(lamella if module is lamella.optimizers else keras)(share=0.3))
    for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert mine.optimizer.get_config() == {**theirs.optimizer.get_config(), "name": mine.optimizer.name}
    twin = type(mine.optimizer).from_config(mine.optimizer.get_config())
    assert twin.share == 0.3
    with pytest.raises(ValueError, match="was built for other variables"):
        mine.optimizer.apply(GRADS[0][:1], [Variable(START[0])])


def test_a_pure_step() -> None:
    variables = [Variable(a, name=f"v{i}") for i, a in enumerate(START)]
    optimizer = lamella.optimizers.Adam(0.05)
    with pytest.raises(ValueError, match="keeps nothing yet"):
        optimizer.stateless_apply([], GRADS[0], START)
    with pytest.raises(ValueError, match="keeps nothing yet"):
        optimizer.set_weights([])
    optimizer.build(variables)
    before = [v.numpy() for v in optimizer.variables]
    new, state = jax.jit(optimizer.stateless_apply)(before, GRADS[0], START)
    np.testing.assert_array_equal(variables[0].numpy(), START[0])
    optimizer.apply(GRADS[0], variables)
    np.testing.assert_allclose(new[0], variables[0].numpy(), rtol=1e-6)
    optimizer.set_weights(before)
    assert int(optimizer.iterations) == 0 and int(state[0]) == 1


def test_rates_that_are_functions() -> None:
    variables = [Variable(a) for a in START]
    for rate in (lambda: 0.25, lambda step: 0.25 + 0 * step):
        optimizer = lamella.optimizers.SGD(rate)
        assert float(optimizer.learning_rate) == 0.25
        assert [v.name for v in optimizer.variables] == ["iteration"]
        before = variables[0].numpy()
        optimizer.apply(GRADS[0], variables)
        np.testing.assert_allclose(variables[0].numpy(), before - 0.25 * GRADS[0][0], rtol=1e-6)
    optimizer.learning_rate = 0.5
    assert [v.name for v in optimizer.variables] == ["iteration", "learning_rate"]
    with pytest.raises(ValueError, match="the optimizer inside does"):
        lamella.optimizers.LossScaleOptimizer(optimizer, clipnorm=1.0)
    assert lamella.optimizers.get(None) is None
