"""Memory before the run: the report, limits kept by cutting the batch, and refusals."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import lamella
from lamella import Input, Sequential, errors, layers
from lamella.core.memory import as_bytes, available, in_words
from lamella.training import planning
from lamella.training.compilation import SplitBatchWarning

DRAW = np.random.default_rng(2)


def wide() -> Any:
    lamella.utils.set_random_seed(3)
    model = Sequential([Input((64,)), layers.Dense(512, activation="relu"), layers.Dense(512), layers.Dense(3)])
    model.compile("adam", lamella.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


X = DRAW.normal(size=(2048, 64)).astype("float32")
Y = DRAW.integers(0, 3, size=2048)


class TestReport:
    def test_parts_are_counted_from_shapes(self) -> None:
        report = wide().memory(1024)
        parameters = 64 * 512 + 512 + 512 * 512 + 512 + 512 * 3 + 3
        assert report.weights == report.gradients == 4 * parameters
        assert report.optimizer >= 2 * report.weights
        assert report.data == 1024 * (64 + 1) * 4
        # The forward pass keeps two hidden layers of 512 numbers a sample, the backward pass has at least one more.
        assert report.activations >= 1024 * 512 * 4 * 2
        assert report.peak == sum(
            getattr(report, n) for n in ("weights", "gradients", "optimizer", "data", "activations")
        )

    def test_it_grows_evenly_and_says_the_largest_batch(self) -> None:
        model = wide()
        report = model.memory(512)
        assert report.grows_evenly and report.error < 0.02
        assert abs(report.at(2048) / model.memory(2048).peak - 1) < 0.02
        size = report.largest_batch(report.peak * 3)
        assert report.at(size) <= report.peak * 3 < report.at(size + 2)
        assert report.largest_batch(1000) == 0

    def test_prediction_takes_less(self) -> None:
        model = wide()
        training, predicting = model.memory(512), model.memory(512, training=False)
        assert predicting.peak < training.peak / 2
        assert predicting.gradients == predicting.optimizer == 0
        assert Sequential([Input((4,)), layers.Dense(2)]).memory(8, training=False).weights == 40

    def test_text_and_html(self) -> None:
        report = wide().memory(256)
        assert "memory of one training step, batch of 256" in str(report)
        assert "peak, batch of 1,024" in str(report) and "each sample takes" in str(report)
        assert report._repr_html_().count("<tr>") == 10

    def test_models_without_a_graph_are_asked_with_data(self) -> None:
        class Plain(lamella.Model):
            def __init__(self) -> None:
                super().__init__()
                self.dense = layers.Dense(3)

            def call(self, inputs: Any) -> Any:
                return self.dense(inputs)

        model = Plain()
        model.compile("sgd", "mse")
        with pytest.raises(errors.NotBuiltError, match="does not know its inputs' shapes yet"):
            model.memory(32)
        assert model.memory(32, x=X[:4], y=np.ones((4, 3), "float32")).weights == 4 * (64 * 3 + 3)

    def test_bad_input(self) -> None:
        with pytest.raises(errors.ArgumentError, match="batch_size is a number of samples"):
            wide().memory(0)
        with pytest.raises(errors.NotBuiltError, match="was not compiled"):
            Sequential([Input((4,)), layers.Dense(2)]).memory(8)
        model = Sequential([Input((None,), dtype="int32"), layers.Embedding(5, 2)])
        model.compile("sgd", "mse")
        with pytest.raises(errors.NotBuiltError, match="The size of axis 1 may vary"):
            model.memory(8)


def step_bytes(model: Any, x: Any, y: Any) -> int:
    """The peak of the step as it was run."""
    steps = model._trainer.compiled.steps
    return planning.train_bytes(steps, (x, y, None), len(x), steps.micro_batch)


class TestLimits:
    def test_the_batch_is_cut_until_it_fits_with_the_same_result(self) -> None:
        free, limited = wide(), wide()
        whole = free.fit(X, Y, batch_size=2048, verbose=0, shuffle=False)
        limit = step_bytes(free, X, Y) // 2
        pieces = limited.fit(X, Y, batch_size=2048, verbose=0, shuffle=False, memory_limit=limit)
        size = limited._trainer.compiled.steps.micro_batch
        assert size is not None and 1 < size < 2048 and 2048 % size == 0
        assert step_bytes(limited, X, Y) <= limit
        np.testing.assert_allclose(pieces.history["loss"], whole.history["loss"], rtol=1e-6)
        for a, b in zip(limited.get_weights(), free.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)

    def test_what_fits_is_not_cut(self) -> None:
        model = wide()
        model.fit(X, Y, batch_size=256, verbose=0, memory_limit="4GB")
        assert model._trainer.compiled.steps.micro_batch is None
        model.fit(X, Y, batch_size=256, verbose=0, micro_batch="auto")
        assert model._trainer.compiled.steps.micro_batch is None

    def test_a_micro_batch_of_ones_own_stays_if_it_fits(self) -> None:
        model = wide()
        model.fit(X, Y, batch_size=256, verbose=0, memory_limit="4GB", micro_batch=64)
        assert model._trainer.compiled.steps.micro_batch == 64

    def test_convolutions(self) -> None:
        lamella.utils.set_random_seed(1)
        model = Sequential([Input((12, 12, 2)), layers.Conv2D(8, 3), layers.GlobalAveragePooling2D(), layers.Dense(1)])
        model.compile("sgd", "mse")
        x = DRAW.normal(size=(256, 12, 12, 2)).astype("float32")
        y = x.mean((1, 2, 3))[:, None]
        limit = model.memory(256).peak // 3
        model.fit(x, y, batch_size=256, verbose=0, memory_limit=limit)
        assert step_bytes(model, x, y) <= limit

    def test_where_samples_mix_it_warns(self) -> None:
        model = Sequential([Input((64,)), layers.Dense(256), layers.BatchNormalization(name="norm"), layers.Dense(1)])
        model.compile("sgd", "mse")
        with pytest.warns(SplitBatchWarning, match="norm"):
            model.fit(X, X[:, :1], batch_size=2048, verbose=0, memory_limit=model.memory(2048).peak // 2)

    def test_predict(self) -> None:
        model = wide()
        whole = model.predict(X, batch_size=2048)
        limit = model.memory(2048, training=False).peak // 2
        np.testing.assert_allclose(model.predict(X, batch_size=2048, memory_limit=limit), whole, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.predict(X, memory_limit="auto"), whole, rtol=1e-5, atol=1e-6)
        with pytest.raises(errors.ArgumentError, match="memory_limit needs arrays"):
            model.predict(iter([X]), memory_limit=limit)

    def test_nothing_fits(self) -> None:
        with pytest.raises(
            errors.MemoryLimitError, match=r"needs .* even with one sample at a time; the limit is 1.0 MB"
        ):
            wide().fit(X, Y, batch_size=64, verbose=0, memory_limit="1MB")

    @pytest.mark.parametrize("limit", ["many", 0, -5, "8XB", True, 1.5, "0GB"])
    def test_bad_limits(self, limit: Any) -> None:
        with pytest.raises(errors.ArgumentError, match="memory_limit is a number of bytes, 'auto' or a string"):
            wide().fit(X, Y, verbose=0, memory_limit=limit)


def test_a_thousand_samples_of_a_thousand_steps_and_a_hundred_features() -> None:
    """Flattened, into Dense(128): 410 MB of data, 205 MB of weights, gradients and the optimizer's state."""
    model = Sequential([Input((1000, 100)), layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.zeros((1024, 1000, 100), "float32")
    x[:, 0, 0] = np.linspace(-1, 1, 1024)
    history = model.fit(x, x[:, 0, :1], batch_size=1024, epochs=1, verbose=0, memory_limit="800MB")
    assert np.isfinite(history.history["loss"][0])
    assert step_bytes(model, x, x[:, 0, :1]) <= 800_000_000


def test_sizes_in_words() -> None:
    assert as_bytes("8GB") == 8 * 10**9 and as_bytes("2 GiB") == 2 * 2**30 and as_bytes(5) == 5
    assert in_words(205_000_000) == "205.0 MB" and in_words(12) == "12 B"
    assert 0 < available() < 1 << 50 and jax.devices()
