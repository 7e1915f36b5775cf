"""Metrics against the oracle: values over several batches, weights, masks, configs, compiled updates."""

import warnings

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from jax import export

from lamella.core.config import deserialize
from lamella.core.errors import ArgumentError, ShapeError, UnknownNameError
from lamella.core.masked import Masked
from lamella.core.variable import Frame, Variable, jit
from lamella.parts import losses, metrics

R = np.random.default_rng(0)
P, SOFT = (R.random((6, 3), "float32") for _ in range(2))
Z = R.normal(size=(6, 3)).astype("float32")
W = R.random(6, "float32")
Y = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]], "float32")
IDS = np.array([0, 1, 2, 0, 1, 2])
HOT = np.eye(3, dtype="float32")[IDS]
GUESS = P.argmax(-1)
BINARY = [(Y, P, W), (Y[:2], P[:2])]
REGRESSION = [(SOFT, P, W), (SOFT[:2], P[:2])]

BINARY_CASES = [
    *(
        (name, arguments)
        for name in (
            "TruePositives",
            "FalsePositives",
            "TrueNegatives",
            "FalseNegatives",
            "Precision",
            "Recall",
        )
        for arguments in ({}, {"thresholds": [0.8, 0.3]}, {"thresholds": 0.3})
    ),
    *(
        (name, arguments)
        for name in ("Precision", "Recall")
        for arguments in (
            {"top_k": 2},
            {"class_id": 1},
            {"top_k": 1, "class_id": 2},
            {"top_k": 2, "thresholds": 0.4},
        )
    ),
    *(
        ("AUC", {"curve": curve, "summation_method": method, "multi_label": many})
        for curve in ("ROC", "PR")
        for method in ("interpolation", "minoring", "majoring")
        for many in (False, True)
    ),
    ("AUC", {"thresholds": [0.2, 0.7]}),
    ("AUC", {"num_thresholds": 5}),
    ("AUC", {"from_logits": True}),
    ("AUC", {"label_weights": [1.0, 2.0, 3.0]}),
    ("AUC", {"multi_label": True, "num_labels": 3, "label_weights": [1.0, 2.0, 3.0]}),
    *(
        (name, {argument: value, **more})
        for name, argument in (
            ("SensitivityAtSpecificity", "specificity"),
            ("SpecificityAtSensitivity", "sensitivity"),
            ("PrecisionAtRecall", "recall"),
            ("RecallAtPrecision", "precision"),
        )
        for value in (0.1, 0.7)
        for more in ({}, {"num_thresholds": 1}, {"class_id": 2})
    ),
    *(("F1Score", {"average": average}) for average in (None, "micro", "macro", "weighted")),
    *(("FBetaScore", {"average": average, "beta": 2.0, "threshold": 0.4}) for average in (None, "micro", "weighted")),
    ("BinaryAccuracy", {"threshold": 0.3}),
    ("BinaryCrossentropy", {}),
    ("CategoricalAccuracy", {}),
    ("Hinge", {}),
    ("SquaredHinge", {}),
]
REGRESSION_CASES = [
    *((f"Mean{kind}Error", {}) for kind in ("Squared", "Absolute", "AbsolutePercentage", "SquaredLogarithmic")),
    *((name, {}) for name in ("RootMeanSquaredError", "CosineSimilarity", "LogCoshError", "KLDivergence", "Poisson")),
    *(("R2Score", {"class_aggregation": how}) for how in (None, "uniform_average", "variance_weighted_average")),
    ("R2Score", {"num_regressors": 2}),
    ("PearsonCorrelation", {}),
    ("ConcordanceCorrelation", {}),
]
CLASS_CASES = [
    ("Accuracy", {}, (IDS[:, None], GUESS[:, None], W)),
    ("CategoricalCrossentropy", {}, (HOT, P, W)),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, (HOT, Z, W)),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, (Y, Z, W)),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, (IDS, Z, W)),
    ("SparseCategoricalCrossentropy", {"ignore_class": 1}, (IDS, P)),
    ("CategoricalHinge", {}, (HOT, Z, W)),
    ("SparseCategoricalAccuracy", {}, (IDS, P, W)),
    ("SparseCategoricalAccuracy", {}, (IDS[:, None], P, W)),
    ("TopKCategoricalAccuracy", {"k": 2}, (HOT, P, W)),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, (IDS, P, W)),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, (IDS, np.argsort(-P), W)),
    ("MeanIoU", {"num_classes": 3}, (IDS, GUESS)),
    ("MeanIoU", {"num_classes": 3, "ignore_class": 1}, (IDS, GUESS)),
    ("MeanIoU", {"num_classes": 3, "sparse_y_pred": False}, (IDS, P)),
    ("IoU", {"num_classes": 3, "target_class_ids": [0, 2]}, (IDS, GUESS, np.array([1, 2, 1, 2, 1, 1]))),
    ("BinaryIoU", {"threshold": 0.3}, (Y, P)),
    ("OneHotIoU", {"num_classes": 3, "target_class_ids": [0, 1]}, (HOT, P)),
    ("OneHotMeanIoU", {"num_classes": 3}, (HOT, P)),
    ("TruePositives", {}, (SOFT, P)),
    ("AUC", {}, (SOFT * BINARY[0][0], P)),
    ("Precision", {}, (Y[:, 0], P[:, :1], W)),
    ("FalseNegatives", {}, (Y, P * 3 - 1, W)),
]
ALL_CASES = [
    *((name, arguments, BINARY) for name, arguments in BINARY_CASES),
    *((name, arguments, REGRESSION) for name, arguments in REGRESSION_CASES),
    *((name, arguments, [data]) for name, arguments, data in CLASS_CASES),
]
CASES = pytest.mark.parametrize(("name", "arguments", "batches"), ALL_CASES)


def oracle_update(metric, batch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the oracle asks JAX for int64
        metric.update_state(*batch)


def check(ours, theirs):
    a, b = np.asarray(ours.result()), np.asarray(theirs.result())
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@CASES
def test_equals_oracle(name, arguments, batches):
    ours, theirs = getattr(metrics, name)(**arguments), getattr(keras.metrics, name)(**arguments)
    for batch in batches:
        ours.update_state(*batch)
        oracle_update(theirs, batch)
        check(ours, theirs)
    ours.reset_state()
    theirs.reset_state()
    ours.update_state(*batches[0])
    oracle_update(theirs, batches[0])
    check(ours, theirs)


def test_precision_gain_is_never_negative():
    worst = metrics.AUC(curve="PRGAIN")
    assert float(worst(1 - (P > 0.5), P)) == 0.0
    assert float(metrics.AUC(curve="PRGAIN")((P > 0.5), P)) == pytest.approx(1.0)


def test_mask_and_weight_for_each_sample():
    y, p = (R.random((4, 3, 2), "float32") for _ in range(2))
    mask = R.random((4, 3)) > 0.4
    weights = R.random(4, "float32")
    metric = metrics.MeanAbsoluteError()
    metric.update_state(y, Masked(p, mask), weights)
    parts = weights[:, None] * mask
    expected = (np.abs(y - p).mean(-1) * parts).sum() / parts.sum()
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


@CASES
def test_compiled(name, arguments, batches):
    plain, compiled = (getattr(metrics, name)(**arguments) for _ in range(2))
    update = jit(compiled.update_state)
    for batch in batches:
        plain.update_state(*batch)
        update(*batch)
    np.testing.assert_allclose(compiled.result(), plain.result(), rtol=1e-5, atol=1e-7)


@CASES
def test_symbolic_batch(name, arguments, batches):
    batch = export.symbolic_shape("b")[0]
    metric = getattr(metrics, name)(**arguments)
    metric.build(*(y.shape for y in batches[0][:2]))

    def update(*data):
        with Frame():
            metric.update_state(*data)
            return metric.result()

    before = [np.asarray(variable) for variable in metric.variables]
    specs = [jax.ShapeDtypeStruct((batch, *y.shape[1:]), y.dtype) for y in map(np.asarray, batches[0])]
    out = jax.eval_shape(update, *specs)
    assert all(isinstance(dim, int) for dim in out.shape)
    for variable, value in zip(metric.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@CASES
def test_config_round_trip(name, arguments, batches):
    ours, theirs = (
        getattr(metrics, name)(name="mine", **arguments),
        getattr(keras.metrics, name)(name="mine", **arguments),
    )
    for written in (metrics.serialize(ours), keras.metrics.serialize(theirs)):
        for again in (metrics.deserialize(written), deserialize(written)):
            assert type(again) is type(ours)
            assert again.name == "mine"
            again.update_state(*batches[0])
            ours.reset_state()
            ours.update_state(*batches[0])
            np.testing.assert_allclose(again.result(), ours.result())


@pytest.mark.parametrize("shape", [None, (), (1,), (2,), (2, 1), (2, 3), (2, 3, 1), (2, 3, 4)])
@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_weights_of_every_rank(name, shape):
    values = R.random((2, 3, 4), "float32")
    weights = None if shape is None else np.asarray(R.random(shape), "float32")
    ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
    for _ in range(2):
        ours.update_state(values, weights)
        theirs.update_state(values, weights)
    check(ours, theirs)
    for a, b in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_numbers_and_lists():
    mean = metrics.Mean()
    assert float(mean(2.0)) == 2.0
    assert float(mean([4.0, 6.0])) == 4.0


def test_nothing_taken_in():
    names = [
        "Mean",
        "Sum",
        "Precision",
        "AUC",
        "F1Score",
        "R2Score",
        "MeanSquaredError",
        "RootMeanSquaredError",
    ]
    assert [float(getattr(metrics, name)().result()) for name in names] == [0.0] * len(names)


def test_masks():
    y, p = (R.random((4, 3, 2), "float32") for _ in range(2))
    mask = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]], bool)
    weights = R.random((4, 3), "float32")
    predicted = jnp.asarray(p)
    keras.src.backend.set_keras_mask(predicted, jnp.asarray(mask))
    for given in (None, weights):
        ours, theirs = metrics.MeanSquaredError(), keras.metrics.MeanSquaredError()
        ours.update_state(y, Masked(p, mask), given)
        theirs.update_state(y, predicted, given)
        check(ours, theirs)


@pytest.mark.parametrize("weights", [None, np.array([0.5, 2, 1, 3], "float32")])
def test_masks_of_plain_values(weights):
    values, mask = R.random((4, 3), "float32"), R.random((4, 3)) > 0.4
    parts = mask if weights is None else weights[:, None] * mask
    total = (values * parts).sum()
    given = Masked(jnp.asarray(values), jnp.asarray(mask))
    assert float(metrics.Sum()(given, weights)) == pytest.approx(total, rel=1e-5)
    assert float(metrics.Mean()(given, weights)) == pytest.approx(total / parts.sum(), rel=1e-5)


def test_stateless_calls_leave_the_metric_alone():
    mean = metrics.Mean()
    state = mean.stateless_update_state(mean.stateless_reset_state(), jnp.array([2.0, 4.0]))
    assert float(mean.stateless_result(state)) == 3.0
    assert float(mean.result()) == 0.0


def test_user_metric():
    class Span(metrics.Metric):
        def __init__(self, name="span", **kwargs):
            super().__init__(name=name, **kwargs)
            self.low = self.add_weight(name="low", shape=(), initializer="zeros")
            self.others = [self.add_variable((2,), "ones"), metrics.Mean()]

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.low.assign(jnp.minimum(self.low, jnp.min(y_pred)))
            self.others[1].update_state(y_pred)

        def result(self):
            return {"low": self.low.value, "mean": self.others[1].result()}

    span = Span()
    assert [v.shape for v in span.variables] == [(), (2,), (), ()]
    assert all(isinstance(v, Variable) and not v.trainable for v in span.variables)
    out = jit(span)(jnp.zeros(2), jnp.array([-1.0, 3.0]))
    assert (float(out["low"]), float(out["mean"])) == (-1.0, 1.0)
    span.reset_state()
    assert float(span.low) == 0.0
    assert metrics.deserialize(metrics.serialize(span), {"Span": Span}).name == "span"


def test_wrapper():
    ours = metrics.MeanMetricWrapper(losses.huber, name="h", delta=0.5)
    theirs = keras.metrics.MeanMetricWrapper(keras.losses.huber, name="h", delta=0.5)
    for metric in (ours, theirs):
        metric.update_state(SOFT, P, W)
    check(ours, theirs)
    for written in (metrics.serialize(ours), keras.metrics.serialize(theirs)):
        again = metrics.deserialize(written)
        again.update_state(SOFT, P, W)
        check(again, theirs)


def test_names():
    for name in (
        "MeanSquaredError",
        "LogCoshError",
        "SparseTopKCategoricalAccuracy",
        "FBetaScore",
        "RootMeanSquaredError",
    ):
        assert getattr(metrics, name)().name == getattr(keras.metrics, name)().name
    names = [metrics.Precision().name for _ in range(2)]
    assert names[0].startswith("precision") and names[0] != names[1]


@pytest.mark.parametrize(
    "name",
    [
        *("mse", "mae", "mape", "msle", "MSE", "bce", "accuracy", "auc", "precision", "cosine_similarity"),
        *("root_mean_squared_error", "f1_score", "r2_score", "sparse_categorical_accuracy"),
    ],
)
def test_get_by_name(name):
    assert type(metrics.get(name)).__name__ == type(keras.metrics.get(name)).__name__


def test_get():
    assert metrics.get(None) is None
    assert isinstance(metrics.get(metrics.Recall), metrics.Recall)
    given = metrics.Mean()
    assert metrics.get(given) is given
    assert metrics.get(losses.huber) is losses.huber


def test_losses_and_metrics_of_one_name_are_told_apart():
    for module, kind in ((losses, losses.Loss), (metrics, metrics.Metric)):
        made = module.MeanSquaredError(name="m")
        assert isinstance(deserialize(module.serialize(made)), kind)
        assert isinstance(module.get({"class_name": "MeanSquaredError", "config": {}}), kind)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "kind"),
    [
        ((None, 1), (None, 1), "binary"),
        ((None,), (None, 1), "binary"),
        ((None,), (None,), "binary"),
        ((None,), (None, 10), "sparse_categorical"),
        ((None, 1), (None, 10), "sparse_categorical"),
        ((None, 10), (None, 10), "categorical"),
        ((None, 7), (None, 7, 10), "sparse_categorical"),
        ((None, 7, 10), (None, 7, 10), "categorical"),
    ],
)
def test_resolve(y_true, y_pred, kind):
    assert metrics.resolve_accuracy(y_true, y_pred) == f"{kind}_accuracy"
    assert metrics.resolve_crossentropy(y_true, y_pred) == f"{kind}_crossentropy"


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: metrics.get("acuracy"),
            UnknownNameError,
            "Unknown metric 'acuracy'. Did you mean 'accuracy'",
        ),
        (lambda: metrics.get(3), ArgumentError, "A metric is a name, a config or a callable, got 3"),
        (lambda: metrics.AUC(curve="ROK"), ArgumentError, "curve must be one of 'roc'"),
        (lambda: metrics.AUC(num_thresholds=1), ArgumentError, "num_thresholds must be at least 2, got 1"),
        (lambda: metrics.AUC(num_thresholds=10**12), ArgumentError, "num_thresholds is at most 1,000,000, got 10000"),
        (lambda: metrics.AUC(summation_method="sum"), ArgumentError, "summation_method must be one of"),
        (lambda: metrics.Precision(thresholds=[-0.1]), ArgumentError, "thresholds must lie between 0 and 1"),
        (lambda: metrics.PrecisionAtRecall(1.5), ArgumentError, "recall must lie between 0 and 1, got 1.5"),
        (
            lambda: metrics.RecallAtPrecision(0.5, num_thresholds=0),
            ArgumentError,
            "num_thresholds must be at least 1",
        ),
        (lambda: metrics.F1Score(average="mean"), ArgumentError, "average must be one of 'micro'"),
        (lambda: metrics.FBetaScore(beta=0.0), ArgumentError, "beta must be positive, got 0.0"),
        (lambda: metrics.F1Score()(Y[:, 0], P[:, 0]), ShapeError, r"takes \(batch, classes\)"),
        (lambda: metrics.R2Score()(Y[:, 0], P[:, 0]), ShapeError, r"takes \(batch, outputs\)"),
        (lambda: metrics.R2Score(num_regressors=-1), ArgumentError, "num_regressors must be at least 0"),
        (
            lambda: metrics.R2Score(class_aggregation="mean"),
            ArgumentError,
            "class_aggregation must be one of",
        ),
        (lambda: metrics.IoU(2, [2]), ArgumentError, r"There are 2 classes; target_class_ids are \[2\]"),
        (
            lambda: metrics.Precision()(Y, P[:, :2]),
            ShapeError,
            r"y_true has shape \(6, 3\) and y_pred \(6, 2\)",
        ),
        (
            lambda: metrics.Mean()(W, P),
            ShapeError,
            r"Weights of shape \(6, 3\) do not fit values of shape \(6,\)",
        ),
        (lambda: metrics.Metric().update_state(1), NotImplementedError, "does not define `update_state`"),
        (lambda: metrics.Metric().result(), NotImplementedError, "does not define `result`"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
