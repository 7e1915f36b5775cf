"""Ops on arrays whose batch size is not known yet, and on symbolic tensors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lamella import ops
from lamella.core.axes import BATCH
from lamella.core.masked import Masked
from lamella.core.variable import Variable
from lamella.ops import random
from lamella.ops.dispatch import op


def test_shape_shows_symbols_inside_a_trace() -> None:
    seen: list[Any] = []
    jax.eval_shape(lambda x: seen.append(ops.shape(x)), jax.ShapeDtypeStruct((BATCH, 3), "float32"))
    assert seen == [(BATCH, 3)]


def test_reshape_keeps_what_none_stands_for() -> None:
    def call(x: Any) -> Any:
        return ops.reshape(x, (None, 6)), ops.reshape(x, (None, 3, -1)), ops.reshape(x, (None, None, 2, 1))

    shapes = [s.shape for s in jax.eval_shape(call, jax.ShapeDtypeStruct((BATCH, 3, 2), "float32"))]
    assert shapes == [(BATCH, 6), (BATCH, 3, 2), (BATCH, 3, 2, 1)]


@pytest.mark.parametrize("draw", ["normal", "uniform", "truncated_normal"])
def test_random_with_unknown_batch(draw: str) -> None:
    shape = jax.eval_shape(
        lambda x: getattr(random, draw)(ops.shape(x), seed=1), jax.ShapeDtypeStruct((BATCH, 3), "float32")
    ).shape
    assert shape == (BATCH, 3)


def test_other_random_with_unknown_batch() -> None:
    def call(x: Any) -> Any:
        size = ops.shape(x)
        return (
            random.randint(size, 0, 5, seed=1),
            random.gamma(size, 2.0, seed=1),
            random.beta(size, 2.0, 1.0, seed=1),
            random.binomial(size, 5.0, 0.5, seed=1),
            random.dropout(x, 0.5, seed=1),
            random.dropout(x, 0.5, noise_shape=(None, 1), seed=1),
            random.shuffle(x, seed=1),
            random.shuffle(x, axis=1, seed=1),
        )

    specs = jax.eval_shape(call, jax.ShapeDtypeStruct((BATCH, 3), "float32"))
    assert {s.shape for s in specs} == {(BATCH, 3)}
    drawn = jax.eval_shape(lambda x: random.categorical(x, 4, seed=1), jax.ShapeDtypeStruct((BATCH, 3), "float32"))
    assert drawn.shape == (BATCH, 4)


class Fake:
    """A symbolic tensor that says what was asked of it."""

    shape = (None, 3)
    dtype = "float32"

    def __lamella_apply__(self, function: Any, args: Any, kwargs: Any) -> Any:
        return function, args, kwargs

    def astype(self, dtype: str) -> Any:
        return "cast", dtype


def test_a_symbol_is_asked_wherever_it_stands() -> None:
    fake = Fake()
    assert ops.sqrt(fake) == (ops.sqrt, (fake,), {})
    assert ops.add(1.0, fake) == (ops.add, (1.0, fake), {})
    assert ops.concatenate([np.ones(2), fake], axis=-1)[2] == {"axis": -1}
    assert ops.stack(x=(fake, fake))[2] == {"x": (fake, fake)}
    assert ops.scan(max, {"a": [fake]})[0] is ops.scan
    assert random.dropout(fake, 0.5)[0] is random.dropout
    assert ops.custom_gradient(lambda x: (x, None))(fake)[1] == (fake,)


def test_a_symbol_keeps_its_shape_and_stays_a_tensor() -> None:
    fake = Fake()
    assert (ops.shape(fake), ops.ndim(fake), ops.dtype(fake)) == ((None, 3), 2, "float32")
    assert ops.is_tensor(fake) and ops.convert_to_tensor(fake) is fake
    assert ops.convert_to_tensor(fake, "int32") == ("cast", "int32")
    with pytest.raises(TypeError, match="has no values to give to NumPy"):
        ops.convert_to_numpy(fake)


def test_own_op_is_an_op() -> None:
    @op
    def double(x: Any) -> Any:
        """Twice."""
        return x * 2

    assert double(3) == 6 and double(Fake())[0] is double and double.__doc__ == "Twice."


def test_variables_masked_lists_and_numpy_come_in() -> None:
    variable = Variable([1.0, 4.0])
    masked = Masked(np.array([1.0, 4.0], "float32"), np.array([True, False]))
    for x in (variable, masked, [1.0, 4.0], np.array([1.0, 4.0]), jnp.array([1.0, 4.0])):
        assert isinstance(ops.sqrt(x), jax.Array)
        np.testing.assert_array_equal(ops.sqrt(x), [1, 2])
        np.testing.assert_array_equal(ops.add(x, x), [2, 8])
        np.testing.assert_array_equal(ops.stack([x, x])[1], [1, 4])
        np.testing.assert_array_equal(ops.sum(x, axis=-1), 5)
    np.testing.assert_array_equal(ops.map(lambda row: row + 1, variable), [2, 5])
    assert ops.shape(variable) == (2,) and ops.dtype(variable) == "float32"
    assert not ops.is_tensor([1.0]) and ops.is_tensor(jnp.ones(1))
