"""Activations against the oracle, and how they are named."""

import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from jax import export

from lamella.core.config import register_keras_serializable
from lamella.core.errors import ArgumentError, UnknownNameError
from lamella.parts import activations

NAMES = [n for n in activations.__all__ if n not in ("Activation", "get", "serialize", "deserialize", "threshold")]
X = np.random.default_rng(0).normal(size=(4, 3, 6)).astype("float32") * 3
WITH_ARGUMENTS = [
    ("relu", {"negative_slope": 0.1}),
    ("relu", {"max_value": 2.0}),
    ("relu", {"threshold": 1.0}),
    ("relu", {"negative_slope": 0.2, "max_value": 2.5, "threshold": 0.5}),
    ("leaky_relu", {"negative_slope": 0.4}),
    ("elu", {"alpha": 0.3}),
    ("celu", {"alpha": 2.0}),
    ("gelu", {"approximate": True}),
    ("glu", {"axis": 0}),
    ("softmax", {"axis": 1}),
    ("softmax", {"axis": (0, 2)}),
    ("log_softmax", {"axis": 0}),
    ("soft_shrink", {"threshold": 1.5}),
    ("hard_shrink", {"threshold": 1.5}),
    ("squareplus", {"b": 1.0}),
    ("threshold", {"threshold": 0.5, "default_value": -7.0}),
]


# The oracle's sparsemax does not sum to 1 on JAX; ours is tested by what defines it.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "sparsemax"])
def test_equals_oracle(name):
    ours, theirs = getattr(activations, name)(X), getattr(keras.activations, name)(X)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert ours.dtype == "float32"


@pytest.mark.parametrize(("name", "arguments"), WITH_ARGUMENTS)
def test_arguments_equal_oracle(name, arguments):
    ours = getattr(activations, name)(X, **arguments)
    np.testing.assert_allclose(ours, getattr(keras.activations, name)(X, **arguments), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [-1, 1])
def test_sparsemax_is_the_nearest_distribution(axis):
    """There all positive entries lie the same distance below their scores, the others further."""
    p = np.moveaxis(np.asarray(activations.sparsemax(X, axis)), axis, -1)
    distance = np.moveaxis(X, axis, -1) - p
    np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)
    assert (p >= 0).all()
    level = np.where(p > 0, distance, -np.inf).max(-1, keepdims=True)
    np.testing.assert_allclose(np.where(p > 0, distance, level), np.broadcast_to(level, p.shape), atol=1e-5)
    assert (np.where(p > 0, -np.inf, distance) <= level + 1e-5).all()


@pytest.mark.parametrize("name", NAMES)
def test_symbolic_batch(name):
    batch = export.symbolic_shape("b")[0]
    out = jax.eval_shape(getattr(activations, name), jax.ShapeDtypeStruct((batch, 6), "float32"))
    assert out.shape == (batch, 3 if name == "glu" else 6)


@pytest.mark.parametrize("name", ["relu", "relu6", "selu", "elu", "silu"])
def test_slopes_equal_oracle(name):
    points = jnp.array([-1.0, 0.0, 1.0])
    ours = jax.grad(lambda x: getattr(activations, name)(x).sum())(points)
    theirs = jax.grad(lambda x: getattr(keras.activations, name)(x).sum())(points)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_get():
    assert activations.get(None) is activations.linear
    assert activations.get("relu") is activations.relu
    assert activations.get("hard_swish") is activations.hard_silu
    assert activations.get(jnp.tanh) is jnp.tanh
    given = keras.activations.serialize(keras.activations.swish)
    assert activations.get(given) is activations.silu
    function = {
        "module": "builtins",
        "class_name": "function",
        "config": "gelu",
        "registered_name": "function",
    }
    assert activations.get(function) is activations.gelu


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name):
    function = getattr(activations, name)
    config = activations.serialize(function)
    assert config == keras.activations.serialize(getattr(keras.activations, name))
    assert activations.deserialize(config) is function


def test_registered_function_round_trip():
    @register_keras_serializable("parts_test")
    def twice(x):
        return 2 * x

    assert activations.deserialize(activations.serialize(twice)) is twice
    assert activations.get("parts_test>twice") is twice


def test_custom_objects():
    half = functools.partial(jnp.multiply, 0.5)
    assert activations.deserialize("half", {"half": half}) is half


def test_unknown_name():
    with pytest.raises(UnknownNameError, match=r"Unknown activation 'rleu'\. Did you mean 'relu'\?"):
        activations.get("rleu")


def test_not_an_activation():
    with pytest.raises(ArgumentError, match=r"An activation is a name, a config or a callable, got 3\."):
        activations.get(3)


def test_config_without_class():
    with pytest.raises(ArgumentError, match="needs a class_name"):
        activations.get({"config": {}})
