"""Losses against the oracle: values, weights, masks, reductions, configs."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from jax import export

from lamella.core.errors import ArgumentError, ShapeError, UnknownNameError
from lamella.core.masked import Masked
from lamella.parts import losses

R = np.random.default_rng(0)
X, Y = (R.random((4, 3, 5), "float32") for _ in range(2))
Z = R.normal(size=(4, 3, 5)).astype("float32")
P = np.exp(Z) / np.exp(Z).sum(-1, keepdims=True)
BITS = (X > 0.5).astype("int32")
IDS = R.integers(0, 5, (4, 3))
HOT = np.eye(5, dtype="float32")[IDS]
LOGITS = {"from_logits": True}

CASES = [
    *((name, {}, X, Y) for name in ("MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError")),
    *((name, {}, X, Z) for name in ("Huber", "LogCosh", "CosineSimilarity", "Hinge", "SquaredHinge")),
    ("MeanSquaredLogarithmicError", {}, X, Y),
    ("Huber", {"delta": 0.3}, X, Z),
    ("Poisson", {}, BITS, Y),
    ("CosineSimilarity", {"axis": 1}, X, Z),
    ("Hinge", {}, BITS, Z),
    ("Hinge", {}, 2 * BITS - 1, Z),
    ("SquaredHinge", {}, BITS, Z),
    ("CategoricalHinge", {}, HOT, Z),
    ("KLDivergence", {}, P, Y),
    ("BinaryCrossentropy", {}, BITS, Y),
    ("BinaryCrossentropy", LOGITS, BITS, Z),
    ("BinaryCrossentropy", {"label_smoothing": 0.1, "axis": 1, **LOGITS}, BITS, Z),
    ("CategoricalCrossentropy", {}, HOT, Y),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, HOT, P),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1, **LOGITS}, HOT, Z),
    ("SparseCategoricalCrossentropy", {}, IDS, P),
    ("SparseCategoricalCrossentropy", {}, IDS[..., None], P),
    ("SparseCategoricalCrossentropy", LOGITS, IDS, Z),
    ("SparseCategoricalCrossentropy", {"ignore_class": 2}, IDS, P),
    ("SparseCategoricalCrossentropy", {"ignore_class": -1, **LOGITS}, np.where(IDS == 2, -1, IDS), Z),
    ("SparseCategoricalCrossentropy", LOGITS, np.where(IDS == 2, 9, IDS), Z),
    ("BinaryFocalCrossentropy", {}, BITS, Y),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "gamma": 1.5, **LOGITS}, BITS, Z),
    ("CategoricalFocalCrossentropy", {}, HOT, P),
    ("CategoricalFocalCrossentropy", {"alpha": 0.5, "label_smoothing": 0.1, **LOGITS}, HOT, Z),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.7}, IDS, P),
    ("Dice", {"axis": (1, 2)}, BITS, Y),
    ("CTC", {}, np.array([[1, 2], [3, 0], [4, 4], [2, 0]]), Z),
    ("Circle", {}, np.array([0, 1, 0, 1]), Z[:, 0] / np.linalg.norm(Z[:, 0], axis=-1, keepdims=True)),
    (
        "Circle",
        {"gamma": 8.0, "margin": 0.2, "remove_diagonal": False},
        np.array([0, 1, 2, 1]),
        Z[:, 0] / np.linalg.norm(Z[:, 0], axis=-1, keepdims=True),
    ),
    ("Tversky", {"alpha": 0.3, "beta": 0.9, "axis": (1, 2)}, BITS, Y),
]
MASK = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]], bool)
REDUCTIONS = ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None]


def both(name, **arguments):
    return getattr(losses, name)(**arguments), getattr(keras.losses, name)(**arguments)


@pytest.mark.parametrize(("name", "arguments", "y_true", "y_pred"), CASES)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "none"])
def test_equals_oracle(name, arguments, y_true, y_pred, reduction):
    ours, theirs = both(name, reduction=reduction, **arguments)
    a, b = ours(y_true, y_pred), theirs(y_true, y_pred)
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("name", "arguments", "y_true", "y_pred"), CASES)
def test_slopes_equal_oracle(name, arguments, y_true, y_pred):
    ours, theirs = both(name, **arguments)
    a, b = (jax.grad(lambda p, loss=loss: loss(jnp.asarray(y_true), p))(jnp.asarray(y_pred)) for loss in (ours, theirs))
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4, 1), (4, 3), (4, 3, 1), (4, 1, 1)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_sample_weights(shape, reduction):
    weights = np.asarray(np.random.default_rng(1).random(shape), "float32")
    ours, theirs = both("MeanSquaredError", reduction=reduction)
    np.testing.assert_allclose(ours(X, Y, weights), theirs(X, Y, weights), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (1,)])
def test_sample_weights_of_vectors(shape):
    weights = R.random(shape, "float32")
    ours, theirs = both("MeanAbsoluteError")
    np.testing.assert_allclose(ours(X[:, 0], Y[:, 0], weights), theirs(X[:, 0], Y[:, 0], weights), rtol=1e-5)


@pytest.mark.parametrize("mask", [MASK, np.zeros_like(MASK), np.ones_like(MASK)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_masks(mask, reduction, weighted):
    weights = R.random((4, 3), "float32") if weighted else None
    ours, theirs = both("MeanSquaredError", reduction=reduction)
    predicted = jnp.asarray(Y)
    keras.src.backend.set_keras_mask(predicted, jnp.asarray(mask))
    expected = theirs(X, predicted, weights)
    np.testing.assert_allclose(ours(X, Y, weights, mask=mask), expected, rtol=1e-5)
    np.testing.assert_allclose(ours(X, Masked(jnp.asarray(Y), jnp.asarray(mask)), weights), expected, rtol=1e-5)


def test_mask_and_ignored_class():
    ours, theirs = both("SparseCategoricalCrossentropy", ignore_class=2)
    predicted = jnp.asarray(P)
    keras.src.backend.set_keras_mask(predicted, jnp.asarray(MASK))
    np.testing.assert_allclose(ours(IDS, P, mask=jnp.asarray(MASK)), theirs(IDS, predicted), rtol=1e-5)


@pytest.mark.parametrize(("a", "b"), [((4,), (4,)), ((4,), (4, 1)), ((4, 1), (4,)), ((4, 3, 1), (4, 3))])
def test_ranks_that_differ_by_a_last_axis_of_one(a, b):
    y_true, y_pred = R.random(a, "float32"), R.random(b, "float32")
    ours, theirs = both("MeanSquaredError", reduction="none")
    np.testing.assert_allclose(ours(y_true, y_pred), theirs(y_true, y_pred), rtol=1e-5)


@pytest.mark.parametrize(("name", "arguments", "y_true", "y_pred"), CASES)
def test_symbolic_batch(name, arguments, y_true, y_pred):
    batch = export.symbolic_shape("b")[0]
    specs = [jax.ShapeDtypeStruct((batch, *y.shape[1:]), np.asarray(y).dtype) for y in (y_true, y_pred)]
    weights = jax.ShapeDtypeStruct((batch, 1), "float32")
    loss = getattr(losses, name)(**arguments)
    values = jax.eval_shape(getattr(losses, name)(**arguments, reduction="none"), *specs)
    mask = jax.ShapeDtypeStruct(values.shape, bool)
    assert jax.eval_shape(loss, *specs).shape == ()
    if arguments.get("axis") is None:
        assert jax.eval_shape(loss, *specs, weights, mask).shape == ()


def test_extreme_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4]])
    assert float(losses.BinaryCrossentropy(from_logits=True)([[0.0, 1.0]], logits)) == pytest.approx(1e4)
    assert float(losses.CategoricalCrossentropy(from_logits=True)([[0.0, 1.0]], logits)) == pytest.approx(2e4)


def test_nested_lists_and_dicts():
    assert float(losses.MeanSquaredError()([[0.0, 1.0]], [[2.0, 1.0]])) == 2.0

    class Both(losses.Loss):
        def call(self, y_true, y_pred):
            return jnp.abs(y_true["a"] - y_pred["b"])

    assert float(Both()({"a": jnp.ones(3)}, {"b": jnp.zeros(3)})) == 1.0


def test_half_precision():
    loss = losses.MeanSquaredError(dtype="bfloat16")(X, Y)
    assert loss.dtype == "bfloat16"


@pytest.mark.parametrize(("name", "arguments", "y_true", "y_pred"), CASES)
def test_config_round_trip(name, arguments, y_true, y_pred):
    ours, theirs = both(name, reduction="sum", **arguments)
    config = ours.get_config()
    assert {key: config[key] for key in theirs.get_config()}.items() >= keras_plain(theirs).items()
    for written in (losses.serialize(ours), keras.losses.serialize(theirs)):
        again = losses.deserialize(written)
        assert type(again) is type(ours)
        assert again.reduction == "sum" and again.name == theirs.name
    np.testing.assert_allclose(losses.deserialize(losses.serialize(ours))(y_true, y_pred), ours(y_true, y_pred))


def keras_plain(theirs):
    return {k: list(v) if isinstance(v, tuple) else v for k, v in theirs.get_config().items()}


def test_user_losses():
    class Scaled(losses.Loss):
        def __init__(self, factor, name="scaled", **kwargs):
            super().__init__(name=name, **kwargs)
            self.factor = factor

        def call(self, y_true, y_pred):
            return self.factor * jnp.mean(jnp.abs(y_true - y_pred), axis=-1)

    loss = Scaled(2.0, reduction="sum")
    again = losses.deserialize(losses.serialize(loss), {"Scaled": Scaled})
    assert (again.factor, again.name, again.reduction) == (2.0, "scaled", "sum")
    assert float(again([[1.0], [2.0]], [[0.0], [0.0]])) == 6.0


def test_wrapper():
    loss = losses.LossFunctionWrapper(losses.huber, delta=0.5)
    assert loss.name == "huber"
    np.testing.assert_allclose(loss(X, Y), losses.Huber(0.5)(X, Y))
    again = losses.deserialize(losses.serialize(loss))
    np.testing.assert_allclose(again(X, Y), loss(X, Y))


def test_get():
    for name in ("mse", "mae", "mape", "msle", "bce", "kld", "MSE", "KLD", "huber", "cosine_similarity"):
        assert losses.get(name).__name__ == keras.losses.get(name).__name__
    assert losses.get(None) is None
    with pytest.raises(UnknownNameError, match="Unknown loss 'accuracy'"):
        losses.get("accuracy")
    assert losses.get("mse") is losses.mean_squared_error
    assert isinstance(losses.get("MeanSquaredError"), losses.MeanSquaredError)
    assert isinstance(losses.get(losses.Huber), losses.Huber)
    assert isinstance(losses.get({"class_name": "MeanSquaredError", "config": {}}), losses.MeanSquaredError)
    assert losses.get(keras.losses.serialize(keras.losses.mean_squared_error)) is losses.mean_squared_error


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: losses.get("sparse_categorical_crossentrpy"),
            UnknownNameError,
            "Unknown loss .* Did you mean 'sparse_categorical_crossentropy'",
        ),
        (lambda: losses.get(3), ArgumentError, "A loss is a name, a config or a callable, got 3"),
        (
            lambda: losses.MeanSquaredError(reduction="avg"),
            ArgumentError,
            "reduction must be one of .* got 'avg'",
        ),
        (lambda: losses.MeanSquaredError(redution="sum"), ArgumentError, "Did you mean 'reduction'"),
        (lambda: losses.Loss()(X, Y), NotImplementedError, "does not define `call`"),
        (
            lambda: losses.MeanSquaredError()(X, Y, np.ones(4)),
            ShapeError,
            r"(?s)\(4,\).*sample_weight\[:, None\]",
        ),
        (lambda: losses.MeanSquaredError()(X, Y, X), ShapeError, r"weights have shape \(4, 3, 5\)"),
        (
            lambda: losses.CategoricalCrossentropy()(IDS[:, 0], P[:, 0]),
            ShapeError,
            r"y_true has shape \(4,\)",
        ),
        (lambda: losses.BinaryCrossentropy()(BITS[..., :1], Y), ShapeError, "they must be the same"),
        (
            lambda: losses.SparseCategoricalCrossentropy()(HOT, P),
            ShapeError,
            r"(?s)class numbers of shape \(4, 3\).*loss='categorical_crossentropy'",
        ),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
