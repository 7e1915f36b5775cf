"""predict takes small batches together where samples are proven not to mix, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamella import Input, Model, Sequential, callbacks, layers, ops
from lamella.training.step import Steps

X = np.random.default_rng(3).normal(size=(1003, 4)).astype("float32")


@pytest.fixture
def sizes(monkeypatch) -> list[int]:
    """The numbers of samples that the compiled prediction is called with."""
    seen: list[int] = []
    predict = Steps.predict

    def counted(self: Steps, x: Any) -> Any:
        seen.append(len(x))
        return predict(self, x)

    monkeypatch.setattr(Steps, "predict", counted)
    return seen


def small() -> Sequential:
    return Sequential([Input((4,)), layers.Dense(8, activation="tanh"), layers.Dense(3)])


@pytest.mark.parametrize("samples", [7, 32, 33, 128, 131, 1003])
def test_same_results(samples):
    model = small()
    whole = np.asarray(model(X[:samples]))
    for batch_size in (1, 5, 32, samples):
        np.testing.assert_allclose(model.predict(X[:samples], batch_size), whole, rtol=1e-5, atol=1e-6)


def test_small_batches_go_together(sizes):
    model = small()
    model.predict(X, batch_size=32)
    assert sizes == [16 * 32, 16 * 32]
    sizes.clear()
    model.predict(X[:100], batch_size=32)
    assert sizes == [4 * 32]
    sizes.clear()
    model.predict(X[:90], batch_size=32)
    assert sizes == [32, 32, 32]


def test_large_batches_stay_as_they_are(sizes):
    wide = Sequential([Input((4,)), layers.Dense(1 << 15)])
    wide.predict(X[:160], batch_size=32)
    assert sizes == [32] * 5


def test_batches_that_mix_stay_as_they_are(sizes):
    x = Input((4,))
    model = Model(x, layers.Lambda(lambda x: x - ops.mean(x, axis=0))(x))
    out = model.predict(X, batch_size=32)
    assert set(sizes[:-1]) == {32}
    np.testing.assert_allclose(out[:32], X[:32] - X[:32].mean(0), rtol=1e-5, atol=1e-6)


def test_callbacks_see_every_batch(sizes):
    class Count(callbacks.Callback):
        seen = tested = 0

        def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
            self.seen += 1

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self.tested += 1

    count, model = Count(), small()
    model.compile(loss="mse")
    model.predict(X[:128], batch_size=32, callbacks=[count])
    assert count.seen == 4
    assert sizes == [32] * 4
    model.evaluate(X[:128], X[:128, :3], batch_size=32, callbacks=[count], verbose=0)
    assert count.tested == 4


def test_a_memory_limit_keeps_its_batches(sizes):
    small().predict(X[:128], batch_size=32, memory_limit="100MB")
    assert sizes == [32] * 4
