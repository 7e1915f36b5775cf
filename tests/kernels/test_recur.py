"""Whole sequences beside their plain loops: values, derivatives of both modes and orders, masks, dtypes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lamella.kernels import sequence

DRAW = np.random.default_rng(7)
CELLS = {"lstm": (4, 2), "gru": (3, 1), "simple_rnn": (1, 1)}
UNITS, FEATURES, TIME = 3, 2, 5


def arguments(name: str, batch: int = 4, dtype: str = "float32", bias: bool = True) -> tuple[Any, Any, Any]:
    gates, count = CELLS[name]

    def draw(*shape: int) -> Any:
        return jnp.asarray(DRAW.normal(size=shape) * 0.7, dtype)

    biases = (draw(gates * UNITS), draw(gates * UNITS) if name == "gru" else None) if bias else (None, None)
    weights = sequence.Weights(draw(FEATURES, gates * UNITS), draw(UNITS, gates * UNITS), *biases)
    return draw(batch, TIME, FEATURES), tuple(draw(batch, UNITS) for _ in range(count)), weights


def masks(batch: int) -> Any:
    mask = DRAW.integers(0, 2, (batch, TIME)).astype(bool)
    mask[0], mask[1] = False, True
    return jnp.asarray(mask)


def plainly(monkeypatch: pytest.MonkeyPatch, compute: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(sequence, "_by_coefficients", sequence.whole_plain)
        return compute()


def near(fast: Any, plain: Any, tolerance: float = 2e-5) -> None:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, "float64"), np.asarray(b, "float64"), rtol=tolerance, atol=tolerance
        ),
        fast,
        plain,
    )


def loss_of(name: str, mask: Any = None, backwards: bool = False, zero: bool = False) -> Any:
    def loss(*given: Any) -> Any:
        last, outputs, states = getattr(sequence, name)(*given, mask, backwards, zero)
        parts = [last, outputs * jnp.cos(jnp.arange(outputs.size)).reshape(outputs.shape).astype(last.dtype), *states]
        return sum(jnp.sum(jnp.sin(part + number)) for number, part in enumerate(parts))

    return loss


@pytest.mark.parametrize("batch", [4, 33])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("masked", "zero"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("name", CELLS)
class TestBesideThePlainLoop:
    def test_values(self, monkeypatch: Any, name: str, masked: bool, zero: bool, backwards: bool, batch: int) -> None:
        given, mask = arguments(name, batch), masks(batch) if masked else None
        fast, plain = (
            run(lambda: getattr(sequence, name)(*given, mask, backwards, zero))
            for run in (lambda compute: compute(), lambda compute: plainly(monkeypatch, compute))
        )
        near(fast, plain)

    def test_gradients(
        self, monkeypatch: Any, name: str, masked: bool, zero: bool, backwards: bool, batch: int
    ) -> None:
        given = arguments(name, batch)
        gradient = jax.grad(loss_of(name, masks(batch) if masked else None, backwards, zero), (0, 1, 2))
        near(gradient(*given), plainly(monkeypatch, lambda: gradient(*given)), 1e-4)


@pytest.mark.parametrize("name", CELLS)
def test_forward_mode_and_second_derivatives(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    given, along = arguments(name), arguments(name)
    loss = loss_of(name, masks(4))

    def derivatives() -> Any:
        first = jax.jvp(loss, given, along)[1]
        gradient = jax.grad(loss, (0, 1, 2))
        over_backward = jax.jvp(gradient, given, along)[1]
        back_and_back = jax.grad(lambda x: jnp.sum(jax.grad(loss)(x, *given[1:]) ** 2))(given[0])
        return first, over_backward, back_and_back

    near(derivatives(), plainly(monkeypatch, derivatives), 2e-4)


@pytest.mark.parametrize("name", CELLS)
def test_many_at_once(name: str) -> None:
    x, states, weights = arguments(name)
    gradient = jax.grad(loss_of(name), (0, 2))
    rows = jax.vmap(lambda x, *states: gradient(x[None], tuple(s[None] for s in states), weights))(x, *states)
    for number in range(len(x)):
        one = gradient(x[number : number + 1], tuple(s[number : number + 1] for s in states), weights)
        near(jax.tree.map(lambda row, number=number: row[number], rows), one)


@pytest.mark.parametrize("name", CELLS)
def test_other_dtypes_and_no_bias(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for dtype, tolerance in (("float64", 1e-12), ("bfloat16", 0.15)):
        with jax.enable_x64(dtype == "float64"):
            given = arguments(name, dtype=dtype, bias=False)
            gradient = jax.value_and_grad(loss_of(name), (0, 1, 2))
            fast = gradient(*given)
            assert {leaf.dtype.name for leaf in jax.tree.leaves(fast)} == {dtype}
            near(fast[1], plainly(monkeypatch, lambda: gradient(*given))[1], tolerance)  # noqa: B023


@pytest.mark.parametrize("name", CELLS)
def test_error_beside_float64(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    given = arguments(name, 33)
    gradient = jax.grad(loss_of(name), (0, 1, 2))
    fast, plain = gradient(*given), plainly(monkeypatch, lambda: gradient(*given))
    with jax.enable_x64(True):
        exact = plainly(monkeypatch, lambda: gradient(*jax.tree.map(lambda a: jnp.asarray(a, "float64"), given)))

    def error(found: Any) -> float:
        pairs = zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True)
        return float(np.sqrt(np.mean([np.mean((np.asarray(a, "float64") - np.asarray(b)) ** 2) for a, b in pairs])))

    assert error(fast) <= 4 * error(plain)
