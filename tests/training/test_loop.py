"""The loop: callbacks, iterables of batches, single batches, progress, and what it leaves behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamella
from lamella import Input, Sequential, callbacks, layers

DRAW = np.random.default_rng(6)
X = DRAW.normal(size=(40, 4)).astype("float32")
Y = (X[:, :1] * 2 + 1).astype("float32")


def linear(**arguments: Any) -> Any:
    model = Sequential([Input((4,)), layers.Dense(1, kernel_initializer="zeros")])
    model.compile(lamella.optimizers.SGD(0.1), loss="mse", **arguments)
    return model


class Recorder(callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.events.append("begin")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        assert logs and np.isfinite(logs["loss"])
        self.events.append(f"epoch {epoch}")

    def on_train_end(self, logs: Any = None) -> None:
        self.events.append("end")


class EveryBatch(Recorder):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.events.append(f"batch {batch}")


class TestCallbacks:
    def test_events_in_order(self) -> None:
        recorder = Recorder()
        linear().fit(X, Y, epochs=2, batch_size=16, callbacks=[recorder], verbose=0)
        assert recorder.events == ["begin", "epoch 0", "epoch 1", "end"]

    def test_every_batch_if_asked(self) -> None:
        recorder = EveryBatch()
        linear().fit(X, Y, batch_size=16, callbacks=recorder, verbose=0)
        assert recorder.events == ["begin", "batch 0", "batch 1", "batch 2", "epoch 0", "end"]

    def test_many_steps_a_call_are_the_same_steps(self) -> None:
        results = []
        for steps in (1, 3, None):
            model = linear(steps_per_execution=steps)
            history = model.fit(X, Y, epochs=2, batch_size=7, shuffle=False, verbose=0)
            results.append((model.get_weights()[0], history.history["loss"]))
        for weights, losses in results[1:]:
            np.testing.assert_allclose(weights, results[0][0], rtol=1e-6)
            np.testing.assert_allclose(losses, results[0][1], rtol=1e-6)

    def test_early_stopping_restores_the_best(self) -> None:
        model = linear()
        values = iter([3.0, 1.0, 2.0, 2.5, 0.1])
        weights = []

        def log(epoch: int, logs: dict[str, float]) -> None:
            logs["watched"] = next(values)
            weights.append(model.get_weights()[0])

        told = callbacks.LambdaCallback(on_epoch_end=log)
        stop = callbacks.EarlyStopping(monitor="watched", patience=2, restore_best_weights=True, mode="min")
        history = model.fit(X, Y, epochs=10, callbacks=[told, stop], verbose=0)
        assert len(history.epoch) == 4 and stop.stopped_epoch == 3 and stop.best_epoch == 1
        np.testing.assert_array_equal(model.get_weights()[0], weights[1])

    def test_early_stopping_on_what_is_not_there(self) -> None:
        with pytest.raises(ValueError, match=r"'val_loss', which is not in the logs: loss[\s\S]*validation_data"):
            linear().fit(X, Y, callbacks=[callbacks.EarlyStopping()], verbose=0)

    def test_larger_is_better_for_accuracies(self) -> None:
        stop = callbacks.EarlyStopping(monitor="val_accuracy")
        assert stop.better(0.9, 0.8) and not stop.better(0.7, 0.8)

    def test_nan_ends_the_training(self) -> None:
        model = linear()
        model.compile(lamella.optimizers.SGD(1e30), loss="mse")
        history = model.fit(X, Y, epochs=10, callbacks=[callbacks.TerminateOnNaN()], verbose=0)
        assert len(history.epoch) < 10

    def test_mistakes(self) -> None:
        with pytest.raises(ValueError, match="no event 'on_epoch'"):
            callbacks.LambdaCallback(on_epoch=print)
        with pytest.raises(ValueError, match="instance of Callback"):
            linear().fit(X, Y, callbacks=[3], verbose=0)


class TestIterables:
    def batches(self) -> Any:
        for start in range(0, 40, 8):
            yield X[start : start + 8], Y[start : start + 8]

    def test_a_list_of_batches_is_the_same_as_arrays(self) -> None:
        class Dataset:
            def __len__(self) -> int:
                return 5

            def __getitem__(self, index: int) -> Any:
                return X[index * 8 : index * 8 + 8], Y[index * 8 : index * 8 + 8]

        models = [linear() for _ in range(2)]
        one = models[0].fit(X, Y, batch_size=8, shuffle=False, epochs=3, verbose=0).history
        two = models[1].fit(Dataset(), epochs=3, verbose=0).history
        np.testing.assert_allclose(one["loss"], two["loss"], rtol=1e-5)
        np.testing.assert_allclose(models[0].predict(X), models[1].predict(X), rtol=1e-5)

    def test_a_generator_goes_on(self) -> None:
        def forever() -> Any:
            while True:
                yield from self.batches()

        model = linear()
        history = model.fit(forever(), steps_per_epoch=5, epochs=3, verbose=0)
        same = linear().fit(X, Y, batch_size=8, shuffle=False, epochs=3, verbose=0)
        np.testing.assert_allclose(history.history["loss"], same.history["loss"], rtol=1e-5)
        assert model.predict(self.batches()).shape == (40, 1)

    def test_what_needs_arrays(self) -> None:
        with pytest.raises(ValueError, match="validation_split needs arrays"):
            linear().fit(self.batches(), validation_split=0.2)
        with pytest.raises(ValueError, match="ended before its first batch"):
            linear().predict(iter(()))
        with pytest.raises(ValueError, match="got 4 parts"):
            linear().fit(iter([(X, Y, Y, Y)]))


class TestSingleBatches:
    def test_train_test_and_predict(self) -> None:
        model = linear(metrics=["mae"])
        first = model.train_on_batch(X, Y, return_dict=True)
        assert set(first) == {"loss", "mae"}
        model.reset_metrics()
        second = model.test_on_batch(X, Y)
        assert second[0] < first["loss"]
        np.testing.assert_allclose(model.predict_on_batch(X), model(X), rtol=1e-6)
        assert model.metrics_names == ["loss", "mae"]


class TestProgress:
    def test_a_line_an_epoch_without_a_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        linear().fit(X, Y, epochs=2, validation_split=0.25)
        lines = capsys.readouterr().out.strip().splitlines()
        assert len(lines) == 2
        assert lines[0].startswith("epoch 1/2") and "loss" in lines[0] and "val_loss" in lines[0]

    def test_silence(self, capsys: pytest.CaptureFixture[str]) -> None:
        model = linear()
        model.fit(X, Y, verbose=0)
        model.predict(X)
        model.evaluate(X, Y, verbose=0)
        assert capsys.readouterr().out == ""


class TestState:
    def test_training_can_go_on(self) -> None:
        model = linear()
        first = model.fit(X, Y, epochs=5, verbose=0).history["loss"]
        second = model.fit(X, Y, epochs=5, verbose=0).history["loss"]
        assert second[0] < first[0]
        assert int(model.optimizer.iterations) == 20

    def test_the_rate_changes_without_compiling(self) -> None:
        model = linear()
        model.fit(X, Y, verbose=0)
        before = model.get_weights()
        model.optimizer.learning_rate = 0.0
        model.fit(X, Y, verbose=0)
        for a, b in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_an_error_in_a_callback_loses_nothing(self) -> None:
        model = linear()

        def fail(epoch: int, logs: Any) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            model.fit(X, Y, callbacks=[callbacks.LambdaCallback(on_epoch_end=fail)], verbose=0)
        assert np.isfinite(model.predict(X)).all()
        assert model.fit(X, Y, verbose=0).history["loss"]

    def test_get_weights_is_a_copy(self) -> None:
        model = linear()
        model.fit(X, Y, verbose=0)
        kept = model.get_weights()[0]
        copy = kept.copy()
        model.fit(X, Y, epochs=3, verbose=0)
        np.testing.assert_array_equal(kept, copy)

    def test_run_eagerly_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"jax\.debug\.print"):
            linear(run_eagerly=True)
