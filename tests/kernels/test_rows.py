"""Gradients of tables by the rows that were looked up, beside whole gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lamella
from lamella import kernels, layers, optimizers
from lamella.parts.optimizers import Optimizer

SIZE, WIDTH = 400, 3
DRAW = np.random.default_rng(2)
TABLE = jnp.asarray(DRAW.normal(size=(SIZE, WIDTH)), "float32")
IDS = jnp.asarray([[5, 7, 5], [0, 0, 399], [-1, 400, 7]])


def of_look_up(values: list[Any]) -> Any:
    rows = kernels.embed(IDS, values[0])
    return jnp.nansum(rows * jnp.arange(9.0).reshape(3, 3, 1) * values[1]), rows.shape[0]


def test_rows_hold_the_whole_gradient() -> None:
    values = [TABLE, jnp.float32(2)]
    whole, _ = jax.grad(of_look_up, has_aux=True)(values)
    (rows, other), aux = kernels.row_gradients(of_look_up, values)
    assert isinstance(rows, kernels.Rows)
    assert aux == 3
    np.testing.assert_array_equal(rows.put(jnp.zeros_like(TABLE), rows.sums), whole[0])
    np.testing.assert_array_equal(other, whole[1])
    inside = np.asarray(rows.places)[np.asarray(rows.places) < SIZE]
    assert sorted(inside.tolist()) == [0, 5, 7, 399]


def twice(values: list[Any]) -> Any:
    return jnp.nansum(kernels.embed(IDS, values[0])) + jnp.nansum(kernels.embed(IDS + 1, values[0])), ()


def read_as_a_whole(values: list[Any]) -> Any:
    return jnp.nansum(kernels.embed(IDS, values[0])) + jnp.sum(values[0] ** 2), ()


def small_table(values: list[Any]) -> Any:
    return jnp.nansum(kernels.embed(IDS, values[0][:20])), ()


@pytest.mark.parametrize("fn", [twice, read_as_a_whole, small_table])
def test_other_gradients_stay_whole(fn: Any) -> None:
    grads, _ = kernels.row_gradients(fn, [TABLE])
    np.testing.assert_array_equal(grads[0], jax.grad(fn, has_aux=True)([TABLE])[0][0])


class Spy:
    """An optimizer's steps, and the kinds of gradients that they were given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kinds: list[bool] = []
        step = Optimizer.update_step

        def spied(optimizer: Optimizer, gradient: Any, variable: Any, rate: Any) -> None:
            if variable.shape == (SIZE, WIDTH):
                self.kinds.append(isinstance(gradient, kernels.Rows))
            step(optimizer, gradient, variable, rate)

        monkeypatch.setattr(Optimizer, "update_step", spied)


def trained(optimizer: Optimizer, whole: bool = False, **options: Any) -> list[Any]:
    lamella.utils.set_random_seed(1)
    model = lamella.Sequential([
        lamella.Input((4,), dtype="int32"),
        layers.Embedding(SIZE, WIDTH, name="table", **options),
        layers.GlobalAveragePooling1D(),
        layers.Dense(1),
    ])  # fmt: skip
    if whole:
        type(optimizer).takes_rows = property(lambda self: False)  # type: ignore[assignment, misc]
    try:
        model.compile(optimizer, "mse")
        ids = np.random.default_rng(3).integers(0, 9, (20, 4))
        model.fit(ids, ids.sum(1, keepdims=True) / 9, batch_size=8, epochs=2, verbose=0)
    finally:
        if whole:
            del type(optimizer).takes_rows
    return [*model.get_weights(), *(variable.numpy() for variable in optimizer.variables)]


@pytest.mark.parametrize("make", [lambda: optimizers.SGD(0.5), lambda: optimizers.Adagrad(0.3)])
def test_training_by_rows_is_training(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    by_rows = trained(make())
    assert all(spy.kinds)
    count = len(spy.kinds)
    assert count > 0
    whole = trained(make(), whole=True)
    assert not any(spy.kinds[count:])
    for ours, theirs in zip(by_rows, whole, strict=True):
        # the compiler joins other multiplications and additions into one
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


class Halving(optimizers.SGD):
    def rule(self, g: Any, value: Any, slots: Any, rate: Any, step: Any) -> Any:
        return value / 2, {}


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (lambda: optimizers.SGD(0.1, momentum=0.9), {}),
        (lambda: optimizers.SGD(0.1, weight_decay=0.01), {}),
        (lambda: optimizers.SGD(0.1, global_clipnorm=1.0), {}),
        (lambda: optimizers.SGD(0.1, use_ema=True), {}),
        (lambda: optimizers.Adam(0.1), {}),
        (Halving, {}),
        (lambda: optimizers.SGD(0.1), {"embeddings_regularizer": "l2"}),
    ],
)
def test_what_moves_every_row_gets_the_whole_gradient(
    optimizer: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    trained(optimizer(), **options)
    assert spy.kinds
    assert not any(spy.kinds)
