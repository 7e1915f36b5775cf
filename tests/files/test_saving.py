"""Saving and loading: what is refused, what is kept, and what a death in the middle leaves behind."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lamella
from lamella.errors import ArgumentError, FileFormatError, FileTakenError, NotBuiltError
from tests.files import deaths

X = np.random.default_rng(0).normal(size=(6, 8)).astype("float32")


def small() -> Any:
    return lamella.Sequential([lamella.Input((8,)), lamella.layers.Dense(2)], name="small")


def test_a_killed_process_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    found = deaths.at_lines(tmp_path, deaths=20)
    assert found.broken == 0 and found.old + found.new == 20
    assert found.old > 10 and found.new, f"the kills came all too early or all too late: {found}"


def test_layers_shared_by_models_in_models_stay_one(tmp_path: Path) -> None:
    layers = lamella.layers
    inside = lamella.Sequential([lamella.Input((8,)), layers.Dense(8)], name="inside")
    z = lamella.Input((8,))
    encoder = lamella.Model(z, inside(z), name="encoder")
    x = lamella.Input((8,))
    model = lamella.Model(x, layers.Add()([encoder(x), inside(x)]))
    model.save(tmp_path / "a.keras")
    twin = lamella.models.load_model(tmp_path / "a.keras")
    assert twin.get_layer("inside") is twin.get_layer("encoder").get_layer("inside")
    assert twin.count_params() == model.count_params() == 72
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))


def test_arguments_of_compile_that_keras_has_not(tmp_path: Path) -> None:
    model = small()
    model.compile("sgd", "mse", micro_batch=2, per_sample_clipnorm=0.5, steps_per_execution=3)
    model.save(tmp_path / "a.keras")
    arguments = lamella.models.load_model(tmp_path / "a.keras")._trainer.compiled.arguments()
    assert [arguments[n] for n in ("micro_batch", "per_sample_clipnorm", "steps_per_execution")] == [2, 0.5, 3]
    assert not lamella.models.load_model(tmp_path / "a.keras", compile=False).compiled


def test_an_optimizer_that_took_no_step_begins_without_a_word(tmp_path: Path) -> None:
    for library in (lamella, keras):
        model = library.Sequential([library.Input((8,)), library.layers.Dense(2)])
        model.compile(library.optimizers.Adam(0.25), "mse")
        model.save(tmp_path / "a.keras")
        twin = lamella.models.load_model(tmp_path / "a.keras")
        assert float(twin.optimizer.learning_rate) == 0.25 and int(twin.optimizer.iterations) == 0


def test_files_that_are_open() -> None:
    file = io.BytesIO()
    model = small()
    model.save(file)
    np.testing.assert_array_equal(lamella.saving.load_model(file).predict(X), model.predict(X))


def test_weights_take_no_memory_before_they_are_read() -> None:
    config = small().get_config()
    with lamella.core.variable.unfilled():
        twin = lamella.Sequential.from_config(config)
    assert not any(variable.filled for variable in twin.weights)
    assert twin.weights[0].numpy().tolist() == np.zeros((8, 2)).tolist()
    twin.set_weights([np.ones((8, 2)), np.ones(2)])
    assert all(variable.filled for variable in twin.weights)


class Own(lamella.Model):
    def __init__(self, units: int = 2) -> None:
        super().__init__()
        self.dense = lamella.layers.Dense(units)

    def call(self, a: Any, b: Any) -> Any:
        return self.dense(a) + self.dense(b)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        super().compile(*args, **kwargs)


def test_models_of_ones_own_with_several_arguments(tmp_path: Path) -> None:
    model = Own(3)
    out = model(X, b=X + 1)
    model.save(tmp_path / "a.keras")
    twin = lamella.models.load_model(tmp_path / "a.keras", {"Own": Own})
    np.testing.assert_array_equal(twin(X, b=X + 1), out)
    model.compile("sgd", "mse")
    model.save(tmp_path / "a.keras")
    with pytest.warns(UserWarning, match="Own has a `compile` of its own, which was not called"):
        lamella.models.load_model(tmp_path / "a.keras", {"Own": Own})


def test_what_cannot_be_read_again_is_not_saved(tmp_path: Path) -> None:
    model = lamella.Sequential([lamella.Input((8,)), lamella.layers.Lambda(lambda x: x * 2)])
    with pytest.raises(ArgumentError, match=r"A function without a name cannot be found again.*\n  Try: @lamella"):
        model.save(tmp_path / "a.keras")
    assert os.listdir(tmp_path) == []


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda path: small().save(path / "a.h5"), ArgumentError, r"A model's file ends in .keras, got"),
    (lambda path: small().save(path / "a.weights.h5"), ArgumentError, r"Try: model.save_weights\(path\)"),
    (lambda path: small().save(path / "a.keras", zipped=False), ArgumentError, r"writes one file, not a folder"),
    (lambda path: small().save(path / "a.keras", include=1), ArgumentError, r"has no argument 'include'"),
    (lambda path: lamella.Sequential().save(path / "a.keras"), NotBuiltError, r"no weights to save yet"),
    (lambda path: lamella.models.save_model(3, path / "a.keras"), ArgumentError, r"takes a model, got int"),
    (lambda path: lamella.models.load_model(path / "a.keras"), FileNotFoundError, r"There is no file"),
    (lambda path: lamella.models.load_model(path / "a.npz"), ArgumentError, r"ends in .keras, got"),
    (lambda path: lamella.models.load_model(io.BytesIO(b"12")), FileFormatError, r"it has 2 bytes, which is too short"),
]


@pytest.mark.parametrize(("act", "kind", "message"), REFUSED)
def test_refusals(act: Any, kind: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=message):
        act(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_there_stays_without_overwrite(tmp_path: Path) -> None:
    small().save(tmp_path / "a.keras")
    with pytest.raises(FileTakenError, match="exists already"):
        small().save(tmp_path / "a.keras", overwrite=False)
