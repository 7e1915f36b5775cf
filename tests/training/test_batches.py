"""A batch cut in pieces, and a last batch filled up: the results of the whole batch, in one compiled program."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import lamella
from lamella import Input, Model, Sequential, errors, layers, losses, metrics, ops
from lamella.training.compilation import SplitBatchWarning

DRAW = np.random.default_rng(8)
X = DRAW.normal(size=(50, 4)).astype("float32")
Y = DRAW.normal(size=(50, 3)).astype("float32")
IDS = DRAW.integers(0, 9, size=(50, 6))
IDS[:, 3:] *= DRAW.integers(0, 2, size=(50, 3))
WEIGHTS = DRAW.random(50).astype("float32")


def plain() -> Any:
    return Sequential([Input((4,)), layers.Dense(8, activation="tanh"), layers.Dense(3)])


def penalized() -> Any:
    return Sequential([Input((4,)), layers.Dense(8, kernel_regularizer="l2"), layers.Dense(3)])


def masked() -> Any:
    return Sequential([Input((6,), dtype="int32"), layers.Embedding(9, 5, mask_zero=True), layers.Dense(1)])


def two_outputs() -> Any:
    x = Input((4,))
    hidden = layers.Dense(6, activation="relu")(x)
    return Model(x, [layers.Dense(3, name="a")(hidden), layers.Dense(1, name="b")(hidden)])


STEP_WEIGHTS = DRAW.random((50, 6)).astype("float32")
STEPS = DRAW.normal(size=(50, 6, 1)).astype("float32")
# name: model, arguments of compile, x, y, sample weights
TASKS: dict[str, tuple[Any, dict[str, Any], Any, Any, Any]] = {
    "plain": (plain, {"loss": "mse"}, X, Y, None),
    "sample_weights": (plain, {"loss": "mae", "metrics": ["mse"], "weighted_metrics": ["mse"]}, X, Y, WEIGHTS),
    "weighted_mean": (plain, {"loss": losses.MeanSquaredError(reduction="mean_with_sample_weight")}, X, Y, WEIGHTS),
    "summed": (plain, {"loss": losses.MeanSquaredError(reduction="sum")}, X, Y, None),
    "penalty": (penalized, {"loss": "mse"}, X, Y, None),
    "masks": (masked, {"loss": "mse", "metrics": ["mae"]}, IDS, STEPS, None),
    "masks_and_weights": (masked, {"loss": "mse", "weighted_metrics": ["mae"]}, IDS, STEPS, STEP_WEIGHTS),
    "two_losses": (two_outputs, {"loss": ["mse", "mae"], "loss_weights": [0.3, 2.0]}, X, [Y, Y[:, :1]], None),
    "function": (plain, {"loss": lambda y, p: ops.mean(ops.square(y - p), axis=-1)}, X, Y, WEIGHTS),
}


def trained(task: str, **fit: Any) -> tuple[Any, dict[str, list[float]], list[Any]]:
    make, arguments, x, y, weights = TASKS[task]
    lamella.utils.set_random_seed(4)
    model = make()
    model.compile(lamella.optimizers.SGD(0.1), **arguments)
    history = model.fit(x, y, sample_weight=weights, shuffle=False, verbose=0, **fit)
    return model, history.history, model.get_weights()


def programs(model: Any) -> int:
    """How many programs training has compiled."""
    return int(model._trainer.compiled.steps._train._cache_size())


def assert_same(a: Any, b: Any, rtol: float = 1e-6) -> None:
    scale = max(float(np.abs(b).max()), 1e-3)
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=rtol * scale)


class TestPieces:
    @pytest.mark.parametrize("size", [10, 7, 1])
    @pytest.mark.parametrize("task", TASKS)
    def test_equal_to_the_whole_batch(self, task: str, size: int) -> None:
        _, logs, weights = trained(task, batch_size=50, epochs=1)
        _, logs_of_pieces, weights_of_pieces = trained(task, batch_size=50, epochs=1, micro_batch=size)
        for whole, pieces in zip(weights, weights_of_pieces, strict=True):
            assert_same(pieces, whole)
        for name, values in logs.items():
            assert_same(logs_of_pieces[name], values)

    def test_several_steps_and_a_ragged_batch(self) -> None:
        _, logs, weights = trained("masks", batch_size=16, epochs=3)
        _, logs_of_pieces, weights_of_pieces = trained("masks", batch_size=16, epochs=3, micro_batch=5)
        for whole, pieces in zip(weights, weights_of_pieces, strict=True):
            assert_same(pieces, whole, 1e-5)
        assert_same(logs_of_pieces["loss"], logs["loss"], 1e-5)

    def test_metrics_see_every_piece(self) -> None:
        results = []
        for size in (None, 8):
            lamella.utils.set_random_seed(1)
            model = plain()
            model.compile("sgd", "mse", metrics=["mae", metrics.RootMeanSquaredError()], micro_batch=size)
            results.append(model.fit(X, Y, batch_size=25, verbose=0, shuffle=False).history)
        for name, values in results[0].items():
            assert_same(results[1][name], values, 1e-5)

    def test_state_goes_from_piece_to_piece(self) -> None:
        model = Sequential([Input((4,)), layers.Dropout(0.5, seed=3), layers.Dense(3)])
        model.compile("sgd", "mse", micro_batch=10)
        before = model.layers[0].seed_generator.state.numpy()
        model.fit(X, Y, batch_size=50, verbose=0)
        assert (model.layers[0].seed_generator.state.numpy() - before).tolist() == [0, 5]

    def test_where_samples_mix_it_says_so_once_and_names_the_layer(self) -> None:
        model = Sequential([Input((4,)), layers.BatchNormalization(name="norm"), layers.Dense(3)], name="net")
        model.compile("sgd", "mse", micro_batch=10)
        with pytest.warns(
            SplitBatchWarning, match=r"(?s)pieces of 10 samples.*net/norm.*statistics over the batch are"
        ) as seen:
            model.fit(X, Y, batch_size=50, verbose=0)
            model.fit(X, Y, batch_size=50, verbose=0)
        assert len(seen) == 1

    def test_the_micro_batch_of_fit_goes_first(self) -> None:
        model = plain()
        model.compile("sgd", "mse", micro_batch=7)
        model.fit(X, Y, batch_size=50, verbose=0)
        assert model._trainer.compiled.steps.micro_batch == 7
        model.fit(X, Y, batch_size=50, verbose=0, micro_batch=9)
        assert model._trainer.compiled.steps.micro_batch == 9

    @pytest.mark.parametrize("size", [0, -1, 2.5, True, "many"])
    def test_bad_sizes(self, size: Any) -> None:
        with pytest.raises(errors.ArgumentError, match="micro_batch is a number of samples"):
            plain().compile("sgd", "mse", micro_batch=size)


@pytest.fixture
def room_for_programs() -> None:
    """JAX's record of compiled calls, once it is full, leaves out the new ones: count in an empty one."""
    jax.clear_caches()


@pytest.mark.usefixtures("room_for_programs")
class TestLastBatch:
    @pytest.mark.parametrize("task", TASKS)
    def test_one_program_and_the_same_results(self, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
        model, logs, weights = trained(task, batch_size=16, epochs=2)
        assert programs(model) == 1
        monkeypatch.setattr("lamella.training.step.Steps.may_pad", lambda *_: False)
        model, logs_unpadded, weights_unpadded = trained(task, batch_size=16, epochs=2)
        assert programs(model) == 2
        for padded, plain_ in zip(weights, weights_unpadded, strict=True):
            assert_same(padded, plain_, 1e-5)
        for name, values in logs_unpadded.items():
            assert_same(logs[name], values, 1e-5)

    def test_noise_is_that_of_the_unpadded_batch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def run() -> list[Any]:
            lamella.utils.set_random_seed(2)
            model = Sequential([Input((6, 4)), layers.LSTM(5, dropout=0.3), layers.Dropout(0.4), layers.Dense(1)])
            model.compile("sgd", "mse")
            x = np.random.default_rng(0).normal(size=(20, 6, 4)).astype("float32")
            model.fit(x, x[:, 0, :1], batch_size=16, verbose=0, epochs=2)
            return model.get_weights()

        padded = run()
        monkeypatch.setattr("lamella.training.step.Steps.may_pad", lambda *_: False)
        for a, b in zip(padded, run(), strict=True):
            assert_same(a, b, 1e-5)

    def test_where_samples_mix_it_is_compiled_for_its_own_size(self) -> None:
        model = Sequential([Input((4,)), layers.BatchNormalization(), layers.Dense(3)])
        model.compile("sgd", "mse")
        model.fit(X, Y, batch_size=16, verbose=0)
        assert programs(model) == 2

    def test_a_metric_of_ones_own_class_is_not_trusted(self) -> None:
        class Count(metrics.Metric):
            def __init__(self) -> None:
                super().__init__(name="count")
                self.seen = self.add_variable(())

            def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
                self.seen.assign_add(ops.cast(ops.shape(y_pred)[0], "float32"))

            def result(self) -> Any:
                return self.seen.value

        model = plain()
        model.compile("sgd", "mse", metrics=[Count()])
        logs = model.fit(X, Y, batch_size=16, verbose=0).history
        assert logs["count"] == [50.0] and programs(model) == 2

    def test_code_for_one_size_alone_still_trains(self) -> None:
        model = Sequential([Input((4,), batch_size=10), layers.Dense(3), layers.Lambda(lambda x: x.reshape(10, 3))])
        model.compile("sgd", "mse")
        assert np.isfinite(model.fit(X, Y, batch_size=10, verbose=0).history["loss"][0])
        batches = ((X[i : i + 10], Y[i : i + 10]) for i in range(0, 50, 10))
        assert np.isfinite(model.fit(batches, verbose=0).history["loss"][0])

    def test_evaluate_and_predict(self) -> None:
        model = plain()
        model.compile("sgd", "mse", metrics=["mae"])
        whole = model.evaluate(X, Y, batch_size=50, return_dict=True)
        parts = model.evaluate(X, Y, batch_size=16, return_dict=True)
        steps = model._trainer.compiled.steps
        for name, value in whole.items():
            assert_same(parts[name], value, 1e-5)
        before = steps._predict._cache_size()
        assert_same(model.predict(X, batch_size=16), model.predict_on_batch(X))
        assert steps._predict._cache_size() == before + 2
        assert model.predict(X, batch_size=16).shape == (50, 3)

    def test_batches_from_a_generator(self) -> None:
        def batches() -> Any:
            for start in range(0, 50, 16):
                yield X[start : start + 16], Y[start : start + 16]

        lamella.utils.set_random_seed(4)
        model = plain()
        model.compile(lamella.optimizers.SGD(0.1), "mse")
        logs = model.fit(batches(), verbose=0).history
        _, of_arrays, _ = trained("plain", batch_size=16, epochs=1)
        assert programs(model) == 1
        assert_same(logs["loss"], of_arrays["loss"], 1e-5)


CLASSES = DRAW.integers(0, 3, size=(50, 1))
SURE = np.exp(Y) / np.exp(Y).sum(-1, keepdims=True)
ONE_HOT = np.eye(3, dtype="float32")[CLASSES[:, 0]]
# metric: targets and predictions that it takes
METRICS: dict[str, tuple[Any, Any]] = {
    **dict.fromkeys(["SparseCategoricalAccuracy", "SparseCategoricalCrossentropy"], (CLASSES, SURE)),
    **{"SparseTopKCategoricalAccuracy": (CLASSES, SURE)},
    **dict.fromkeys(
        ["CategoricalAccuracy", "CategoricalCrossentropy", "TopKCategoricalAccuracy", "F1Score"], (ONE_HOT, SURE)
    ),
    **dict.fromkeys(["FBetaScore", "OneHotIoU", "OneHotMeanIoU", "CategoricalHinge", "KLDivergence"], (ONE_HOT, SURE)),
    **dict.fromkeys(["BinaryAccuracy", "BinaryCrossentropy", "AUC", "Precision", "Recall"], (ONE_HOT, SURE)),
    **dict.fromkeys(["TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives"], (ONE_HOT, SURE)),
    **dict.fromkeys(["PrecisionAtRecall", "RecallAtPrecision", "SensitivityAtSpecificity"], (ONE_HOT, SURE)),
    **dict.fromkeys(["SpecificityAtSensitivity", "BinaryIoU", "Poisson", "Accuracy"], (ONE_HOT, SURE)),
    **dict.fromkeys(["MeanSquaredError", "MeanAbsoluteError", "RootMeanSquaredError", "R2Score"], (Y, SURE)),
    **dict.fromkeys(["MeanAbsolutePercentageError", "MeanSquaredLogarithmicError", "LogCoshError"], (Y, SURE)),
    **dict.fromkeys(["CosineSimilarity", "Hinge", "SquaredHinge", "ConcordanceCorrelation"], (Y, SURE)),
    "PearsonCorrelation": (Y, SURE),
    **dict.fromkeys(["IoU", "MeanIoU"], (CLASSES, CLASSES[::-1].copy())),
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "OneHotMeanIoU": {"num_classes": 3},
    "IoU": {"num_classes": 3, "target_class_ids": [1]},
    "MeanIoU": {"num_classes": 3},
    "BinaryIoU": {"target_class_ids": [0, 1]},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.4},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
}


def built_in_metrics() -> set[str]:
    given = {name: getattr(metrics, name) for name in dir(metrics)}
    kinds = {n for n, kind in given.items() if isinstance(kind, type) and issubclass(kind, metrics.Metric)}
    return kinds - {"Metric", "Mean", "Sum", "MeanMetricWrapper"}


def test_every_metric_is_tried() -> None:
    classes = {getattr(metrics, name) for name in METRICS}
    assert {name for name in built_in_metrics() if getattr(metrics, name) not in classes} == set()


@pytest.mark.parametrize("name", METRICS)
def test_samples_of_no_weight_do_not_count_in_a_metric(name: str) -> None:
    y, p = METRICS[name]
    kind = getattr(metrics, name)
    results = []
    for padded in (False, True):
        metric = kind(**ARGUMENTS.get(name, {}))
        if hasattr(metric, "build") and not metric.variables:
            metric.build(y.shape, p.shape)
        if padded:
            weights = np.r_[np.ones(30, "float32"), np.zeros(20, "float32")]
            metric.update_state(np.r_[y[:30], y[:20]], np.r_[p[:30], p[:20]], weights)
        else:
            metric.update_state(y[:30], p[:30])
        results.append(np.asarray(metric.result()))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5, atol=1e-6)
