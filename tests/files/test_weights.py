"""`.weights.h5`: what Keras writes, lamella reads, and the other way round, for models of every kind."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import lamella
from lamella.errors import FileFormatError
from lamella.saving.weights import read_weights, write_weights
from tests.files.models import MODELS, inputs, stirred

ADAPTED = ("adapted",)


def outputs(model: Any) -> list[np.ndarray[Any, Any]]:
    given = inputs(model)
    out = model(given if len(given) > 1 else given[0], training=False)
    return [np.asarray(leaf, "float32") for leaf in (out if isinstance(out, list | tuple) else [out])]


def arrays(opened: Any) -> dict[str, np.ndarray[Any, Any]]:
    """All arrays in a file by their paths."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    opened.visititems(lambda path, x: found.update({path: x[()]}) if isinstance(x, h5py.Dataset) else None)
    return found


def same(ours: Any, theirs: Any, name: str) -> None:
    ours_then, theirs_then = ours.get_weights(), theirs.get_weights()
    if name not in ADAPTED:
        assert len(ours_then) == len(theirs_then)
        for mine, other in zip(ours_then, theirs_then, strict=True):
            np.testing.assert_array_equal(np.asarray(mine, "float32"), np.asarray(other, "float32"))
    if name == "grouped_attention":
        # Keras compiles it for most of a minute; its weights have been compared.
        return
    tolerance = 2e-2 if name == "half" else 1e-5
    for mine, other in zip(outputs(ours), outputs(theirs), strict=True):
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_keras_writes_and_lamella_reads(name: str, tmp_path: Path) -> None:
    theirs, ours = stirred(MODELS[name](keras)), MODELS[name](lamella)
    theirs.save_weights(tmp_path / "a.weights.h5")
    with open(tmp_path / "a.weights.h5", "rb") as file:
        read_weights(ours, file)
    same(ours, theirs, name)


@pytest.mark.parametrize("name", MODELS)
def test_lamella_writes_and_keras_reads(name: str, tmp_path: Path) -> None:
    ours, theirs = stirred(MODELS[name](lamella)), MODELS[name](keras)
    with open(tmp_path / "a.weights.h5", "wb") as file:
        write_weights(ours, file)
    theirs.load_weights(tmp_path / "a.weights.h5")
    same(ours, theirs, name)


@pytest.mark.parametrize("name", MODELS)
def test_both_write_the_same_places(name: str, tmp_path: Path) -> None:
    """Random states are there beside what Keras has."""
    theirs, ours, file = MODELS[name](keras), MODELS[name](lamella), io.BytesIO()
    theirs.save_weights(tmp_path / "a.weights.h5")
    write_weights(ours, file)

    with h5py.File(tmp_path / "a.weights.h5") as their_file, h5py.File(file) as our_file:
        assert {path for path in arrays(our_file) if "seed_generator" not in path} == arrays(their_file).keys()


@cache
def listed(library: Any) -> type:
    """A model with a list and attributes after "layers" in the alphabet, all layers of one shape."""

    class Listed(library.Model):  # type: ignore[misc, name-defined]
        def __init__(self, late: bool) -> None:
            super().__init__()
            dense = library.layers.Dense
            self.stages = [] if late else [dense(3), dense(3)]
            self.top = dense(3)
            if late:
                self.stages.append(dense(3))
                self.stages.append(dense(3))
            self.zero = dense(3)

        def call(self, x: Any) -> Any:
            return self.zero(self.top(self.stages[1](self.stages[0](x))))

    return Listed


def called(library: Any, late: bool) -> Any:
    model = listed(library)(late)
    model(np.ones((2, 3), "float32"))
    return model


@pytest.mark.parametrize(("source", "target"), [(keras, lamella), (lamella, keras), (lamella, lamella)])
def test_a_list_filled_late_is_never_swapped(source: Any, target: Any, tmp_path: Path) -> None:
    """Keras counts layers when the list gets them: what it wrote then is read right, or not at all."""
    path = str(tmp_path / "a.weights.h5")
    for late in (False, True):
        model, twin = called(source, late), called(target, late)
        model.save_weights(path)
        if late and source is keras and target is lamella:
            with pytest.raises(FileFormatError, match="layers/dense: there is no such layer"):
                twin.load_weights(path)
            continue
        twin.load_weights(path)
        for name in ("stages", "top", "zero"):
            for mine, other in zip(*(_layers(getattr(one, name)) for one in (model, twin)), strict=True):
                np.testing.assert_array_equal(np.asarray(mine.kernel), np.asarray(other.kernel))


def _layers(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def test_whole_numbers_with_an_adaptation_are_rounded_anew(tmp_path: Path) -> None:
    """The factors go into the codes and scales that are written, by both in the same way."""

    def build(k: Any) -> Any:
        made = MODELS["whole_numbers"](k)
        for layer in made.layers:
            layer.enable_lora(2)
        return made

    theirs, ours, file = stirred(build(keras)), build(lamella), io.BytesIO()
    ours.set_weights(theirs.get_weights())
    theirs.save_weights(tmp_path / "a.weights.h5")
    write_weights(ours, file)
    with h5py.File(tmp_path / "a.weights.h5") as their_file, h5py.File(file) as our_file:
        found, expected = arrays(our_file), arrays(their_file)
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_allclose(found[path], array, rtol=1e-6)
    read_weights(ours, file)
    assert not any(np.asarray(weight).any() for weight in ours.weights if "lora" in weight.name)
    np.testing.assert_array_equal(ours.layers[2]._kernel, expected["layers/dense/vars/0"])
