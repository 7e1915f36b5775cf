"""Regularizers against the oracle."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from lamella.core.errors import ArgumentError, ShapeError, UnknownNameError
from lamella.parts import regularizers

W = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
CASES = [
    ("L1", {}),
    ("L1", {"l1": 0.3}),
    ("L2", {}),
    ("L1L2", {}),
    ("L1L2", {"l1": 0.1, "l2": 0.2}),
    ("OrthogonalRegularizer", {}),
    ("OrthogonalRegularizer", {"factor": 0.5, "mode": "columns"}),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_equals_oracle(name, arguments):
    ours = getattr(regularizers, name)(**arguments)
    theirs = getattr(keras.regularizers, name)(**arguments)
    np.testing.assert_allclose(ours(W), theirs(jnp.asarray(W)), rtol=1e-5)
    gradients = jax.grad(ours)(jnp.asarray(W)), jax.grad(theirs)(jnp.asarray(W))
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_config_round_trip(name, arguments):
    ours = getattr(regularizers, name)(**arguments)
    assert ours.get_config() == pytest.approx(getattr(keras.regularizers, name)(**arguments).get_config())
    again = regularizers.deserialize(regularizers.serialize(ours))
    assert type(again) is type(ours)
    assert again.get_config() == ours.get_config()
    again = regularizers.get(keras.regularizers.serialize(getattr(keras.regularizers, name)(**arguments)))
    assert type(again) is type(ours)


def test_get():
    assert regularizers.get(None) is None
    assert isinstance(regularizers.get("l1"), regularizers.L1)
    assert isinstance(regularizers.get("l2"), regularizers.L2)
    assert isinstance(regularizers.get("l1_l2"), regularizers.L1L2)
    assert isinstance(regularizers.get(regularizers.L2), regularizers.L2)
    assert regularizers.get(jnp.sum) is jnp.sum
    assert regularizers.l2(0.5).l2 == 0.5


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: regularizers.get("l1_l3"),
            UnknownNameError,
            "Unknown regularizer 'l1_l3'. Did you mean 'l1_l2'",
        ),
        (
            lambda: regularizers.OrthogonalRegularizer(mode="diagonal"),
            ArgumentError,
            "mode must be one of 'rows'",
        ),
        (lambda: regularizers.OrthogonalRegularizer()(W[0]), ShapeError, r"takes a matrix, got .* \(6,\)"),
        (lambda: regularizers.Regularizer()(W), NotImplementedError, "does not define `__call__`"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
