"""Callbacks that act, and those that write down, beside Keras's."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

import lamella
from lamella.core import extras
from lamella.training import records

DRAW = np.random.default_rng(8)
X = DRAW.normal(size=(24, 4)).astype("float32")
Y = (X @ DRAW.normal(size=(4, 1))).astype("float32")
START = [DRAW.normal(size=(4, 1)).astype("float32"), np.zeros(1, "float32")]


def model_of(library: Any, optimizer: Any) -> Any:
    model = library.Sequential([library.Input((4,)), library.layers.Dense(1)])
    model.compile(optimizer, loss="mse")
    model.set_weights(START)
    return model


def trained(library: Any, callbacks: list[Any], rate: float = 0.1, epochs: int = 6, **optimizer: Any) -> Any:
    model = model_of(library, library.optimizers.SGD(rate, **optimizer))
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0, "validation_data": (X[:8], -Y[:8])}
    model.fit(X, Y, epochs=epochs, callbacks=callbacks, **arguments)
    return model


def same(mine: Any, theirs: Any) -> None:
    for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert set(mine.history.history) == set(theirs.history.history)
    for name, values in theirs.history.history.items():
        np.testing.assert_allclose(mine.history.history[name], values, rtol=1e-5, err_msg=name)


CALLBACKS = {
    "LearningRateScheduler": ({"schedule": lambda epoch, rate: rate * 0.5 if epoch % 2 else rate}, {}),
    "ReduceLROnPlateau": ({"factor": 0.3, "patience": 1, "cooldown": 1, "min_lr": 0.005}, {}),
    "SwapEMAWeights": ({}, {"use_ema": True, "ema_momentum": 0.8}),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_beside_keras(name: str) -> None:
    given, optimizer = CALLBACKS[name]
    mine, theirs = (
        trained(library, [getattr(library.callbacks, name)(**given)], **optimizer) for library in (lamella, keras)
    )
    same(mine, theirs)


def test_averages_between_epochs() -> None:
    mine, theirs = (
        trained(library, [library.callbacks.SwapEMAWeights(swap_on_epoch=True)], use_ema=True)
        for library in (lamella, keras)
    )
    same(mine, theirs)


def test_rates_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = lamella.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2, verbose=1)
    plateau = lamella.callbacks.ReduceLROnPlateau(patience=0, min_delta=1e9, verbose=1)
    trained(lamella, [scheduler, plateau], epochs=2)
    text = capsys.readouterr().out
    assert "Epoch 1: learning rate 0.05" in text
    assert "Epoch 2: learning rate reduced to" in text


def test_predictions_leave_the_weights_alone() -> None:
    swap = lamella.callbacks.SwapEMAWeights()
    model = model_of(lamella, lamella.optimizers.SGD(0.1, use_ema=True))
    for _ in range(3):
        model.train_on_batch(X, Y)
    weights = model.get_weights()
    plain = model.predict(X)
    averaged = model.predict(X, callbacks=[swap])
    assert np.abs(plain - averaged).max() > 1e-3
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("separator", [",", ";"])
def test_tables(tmp_path: Path, separator: str) -> None:
    files = {}
    for library in (lamella, keras):
        path = tmp_path / f"{library.__name__}.csv"
        for append in (False, True):
            trained(library, [library.callbacks.CSVLogger(str(path), separator, append)], epochs=2)
        files[library.__name__] = [line.split(separator) for line in path.read_text().splitlines()]
    mine, theirs = files["lamella"], files["keras"]
    assert mine[0] == theirs[0] == ["epoch", "loss", "val_loss"]
    np.testing.assert_allclose(np.array(mine[1:], float), np.array(theirs[1:], float), rtol=1e-5)


def test_columns_for_validation_that_comes_later(tmp_path: Path) -> None:
    logger = lamella.callbacks.CSVLogger(tmp_path / "log.csv")
    logger.on_train_begin()
    logger.on_epoch_end(0, {"loss": 1.0, "spread": np.array([1.0, 2.0])})
    logger.on_train_end()
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,spread,val_loss,val_spread"
    assert lines[1].endswith(",NA,NA")


class Interrupt(lamella.callbacks.Callback):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("save_freq", ["epoch", 3])
def test_an_interrupted_training_goes_on(tmp_path: Path, save_freq: Any) -> None:
    def backup() -> Any:
        return lamella.callbacks.BackupAndRestore(tmp_path / "state", save_freq, double_checkpoint=True)

    whole = trained(lamella, [], momentum=0.9)
    with pytest.raises(KeyboardInterrupt):
        trained(lamella, [backup(), Interrupt(3)], momentum=0.9)
    assert (tmp_path / "state").exists()
    rest = trained(lamella, [backup()], momentum=0.9)
    assert rest.history.epoch == ([3, 4, 5] if save_freq == "epoch" else [2, 3, 4, 5])
    assert not (tmp_path / "state").exists()
    for a, b in zip(whole.get_weights(), rest.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_broken_backup_gives_way_to_the_one_before(tmp_path: Path) -> None:
    keep = lamella.callbacks.BackupAndRestore(tmp_path, double_checkpoint=True, delete_checkpoint=False)
    trained(lamella, [keep], epochs=3)
    (tmp_path / "latest.h5").write_bytes(b"PK broken")
    assert trained(lamella, [keep], epochs=4).history.epoch == [2, 3]


def test_the_monitor_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unreachable(Exception):
        pass

    sent: list[Any] = []

    def post(address: str, **arguments: Any) -> None:
        sent.append((address, arguments))
        if len(sent) > 2:
            raise Unreachable("no route")

    package = SimpleNamespace(post=post, exceptions=SimpleNamespace(RequestException=Unreachable))
    monkeypatch.setattr(records, "need", lambda module, extra: package)
    plain, as_json = (lamella.callbacks.RemoteMonitor("http://x", send_as_json=flag) for flag in (False, True))
    plain.on_epoch_end(1, {"loss": np.float32(0.5)})
    as_json.on_epoch_end(1, {"loss": np.float32(0.5)})
    assert sent[0][0] == "http://x/publish/epoch/end/"
    assert json.loads(sent[0][1]["data"]["data"]) == sent[1][1]["json"] == {"epoch": 1, "loss": 0.5}
    with pytest.warns(UserWarning, match="could not reach http://x: no route"):
        plain.on_epoch_end(2, {})


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(extras.MissingExtraError, match=r"pip install 'lamella\[remote\]'"):
        lamella.callbacks.RemoteMonitor()


def test_nan_stops_at_its_batch() -> None:
    seen: list[int] = []
    watch = lamella.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    trained(lamella, [watch, lamella.callbacks.TerminateOnNaN()], rate=1e30)
    assert len(seen) < 3
    with pytest.raises(RuntimeError, match="after batch"):
        trained(lamella, [lamella.callbacks.TerminateOnNaN(raise_error=True)], rate=1e30)


def test_mistakes(tmp_path: Path) -> None:
    callbacks = lamella.callbacks
    with pytest.raises(ValueError, match="returns a float"):
        trained(lamella, [callbacks.LearningRateScheduler(lambda epoch, rate: "0.1")])
    with pytest.raises(ValueError, match="factor is below 1"):
        callbacks.ReduceLROnPlateau(factor=1.0)
    with pytest.warns(UserWarning, match="monitors 'val_acuracy'"):
        trained(lamella, [callbacks.ReduceLROnPlateau("val_acuracy")], epochs=1)
    with pytest.raises(ValueError, match="an optimizer that keeps averages"):
        trained(lamella, [callbacks.SwapEMAWeights()])
    with pytest.raises(ValueError, match="needs a folder"):
        callbacks.BackupAndRestore("")
    with pytest.raises(ValueError, match="save_freq is 'epoch'"):
        callbacks.BackupAndRestore(tmp_path, save_freq="batch")
    model = lamella.Sequential([lamella.layers.Dense(1)])
    restore = callbacks.BackupAndRestore(tmp_path)
    restore.set_model(model)
    with pytest.raises(ValueError, match="needs a model that is built"):
        restore.on_train_begin()
