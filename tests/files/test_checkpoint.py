"""ModelCheckpoint: when it saves, under which name, and what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamella
from lamella.callbacks import ModelCheckpoint
from lamella.errors import ArgumentError

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")


@pytest.fixture(scope="module")
def model() -> Any:
    model = lamella.Sequential([lamella.Input((3,)), lamella.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def test_each_epoch_has_a_file_that_goes_on(model: Any, tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "inside" / "{epoch:02d}-{loss:.1f}.keras")
    history = model.fit(X, X[:, :1], epochs=2, verbose=0, callbacks=[saver]).history["loss"]
    names = sorted(os.listdir(tmp_path / "inside"))
    assert names == [f"0{epoch}-{loss:.1f}.keras" for epoch, loss in enumerate(history, 1)]
    last = lamella.models.load_model(tmp_path / "inside" / names[-1])
    np.testing.assert_array_equal(last.predict(X), model.predict(X))
    assert int(last.optimizer.iterations) == int(model.optimizer.iterations)


def test_every_so_many_batches(model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saver = ModelCheckpoint(tmp_path / "{epoch}-{batch}.keras", save_freq=3, verbose=1)
    model.fit(X, X[:, :1], batch_size=2, epochs=2, verbose=0, callbacks=[saver])
    assert sorted(os.listdir(tmp_path)) == ["1-3.keras", "2-2.keras"]
    assert "Epoch 2: saved" in capsys.readouterr().out


def test_the_best_is_kept(model: Any, tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "{epoch}.keras", "loss", save_best_only=True, initial_value_threshold=0.9)
    saver.set_model(model)
    for epoch, loss in enumerate([1.0, 0.8, 0.85, 0.5]):
        saver.on_epoch_end(epoch, {"loss": loss})
    assert sorted(os.listdir(tmp_path)) == ["2.keras", "4.keras"]
    with pytest.warns(UserWarning, match="monitors 'loss', which is not in the logs: mae. Nothing is saved"):
        saver.on_epoch_end(4, {"mae": 0.1})
    growing = ModelCheckpoint(tmp_path / "best{epoch}.keras", "accuracy", save_best_only=True)
    growing.set_model(model)
    for epoch, accuracy in enumerate([0.5, 0.4, 0.6]):
        growing.on_epoch_end(epoch, {"accuracy": accuracy})
    assert sorted(os.listdir(tmp_path)) == ["2.keras", "4.keras", "best1.keras", "best3.keras"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filepath": "a.h5"}, r"save_weights_only=False writes files that end in .keras, got 'a.h5'"),
        ({"filepath": "a.keras", "save_weights_only": True}, r"files that end in .weights.h5, got 'a.keras'"),
        ({"filepath": "a.keras", "save_freq": 0}, r"save_freq is 'epoch' or a number of batches, got 0"),
        ({"filepath": "a.keras", "mode": "best"}, r"mode"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ModelCheckpoint(**arguments)


def test_a_name_that_is_not_in_the_logs(model: Any) -> None:
    saver = ModelCheckpoint("{val_loss}.keras")
    saver.set_model(model)
    with pytest.raises(ArgumentError, match=r"'val_loss' is not in the logs: epoch, loss"):
        saver.on_epoch_end(0, {"loss": 1.0})
