"""The editor of files of weights, beside Keras's."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import lamella
from lamella.errors import ArgumentError, FileFormatError
from lamella.saving import KerasFileEditor
from lamella.saving.hdf5 import reading
from tests.files.models import MODELS, stirred


def stack(k: Any, *sizes: int) -> Any:
    return stirred(k.Sequential([k.Input((3,)), *(k.layers.Dense(size) for size in sizes)]))


def flat(held: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(held, dict):
        return {path: np.asarray(held)}
    return {place: array for key, value in held.items() for place, array in flat(value, f"{path}/{key}").items()}


def equal(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], other[path])


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "a.weights.h5")


@pytest.mark.parametrize("name", ["dense", "branches", "normalizations", "embedding"])
def test_what_is_in_a_file(name: str, path: str) -> None:
    stirred(MODELS[name](keras)).save_weights(path)
    equal(flat(KerasFileEditor(path).weights_dict), flat(keras.saving.KerasFileEditor(path).weights_dict))


@pytest.mark.parametrize("name", ["nested", "lstm", "subclassed", "layers_in_layers", "random_states", "half"])
def test_nothing_is_lost_on_the_way(name: str, path: str) -> None:
    model, other = stirred(MODELS[name](lamella)), MODELS[name](lamella)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save_weights(path)
    KerasFileEditor(path).save(path)
    other.compile("adam", "mse")
    other.load_weights(path)
    for a, b in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(np.asarray(a, "float32"), np.asarray(b, "float32"))
    assert KerasFileEditor(path).compare(other)["error_count"] == 0


def test_edits_are_those_of_keras_s(path: str, tmp_path: Path) -> None:
    stack(keras, 4, 2, 5).save_weights(path)
    saved = []
    for kind in (KerasFileEditor, keras.saving.KerasFileEditor):
        editor = kind(path)
        editor.rename_object("dense_2", "last")
        editor.delete_object("layers/dense_1")
        editor.add_object("layers/scale", weights={"0": np.ones(4, "float32")})
        editor.add_weights("scale", {"1": np.zeros(4, "float32")})
        editor.delete_weight("layers/dense", "1")
        editor.resave_weights(str(tmp_path / "b.weights.h5"))
        with reading(io.BytesIO((tmp_path / "b.weights.h5").read_bytes())) as source:
            saved.append({place: source.read(place) for place, _ in source.arrays()})
    equal(*saved)
    left = ("dense/vars/0", "last/vars/0", "last/vars/1", "scale/vars/0", "scale/vars/1")
    assert list(saved[0]) == [f"layers/{place}" for place in left]


def test_a_file_is_made_to_fit_another_model(path: str) -> None:
    old, new = stack(lamella, 4, 4, 2), stack(lamella, 4, 2)
    old.save_weights(path)
    editor = KerasFileEditor(path)
    assert editor.compare(new) == {"status": "error", "error_count": 4, "match_count": 2}
    editor.delete_object("dense_1")
    editor.rename_object("dense_2", "dense_1")
    assert editor.compare(new) == {"status": "success", "error_count": 0, "match_count": 4}
    assert editor.object_metadata["layers/dense_1"]["name"] == old.layers[2].name
    editor.save(path)
    new.load_weights(path)
    np.testing.assert_array_equal(new.get_weights()[2], old.get_weights()[4])


def test_comparing_says_what_keras_says(path: str) -> None:
    stack(keras, 4, 2).save_weights(path)
    ours, theirs = KerasFileEditor(path), keras.saving.KerasFileEditor(path)
    for sizes in ((4, 2), (4, 3)):
        assert ours.compare(stack(lamella, *sizes))["status"] == theirs.compare(stack(keras, *sizes))["status"]
    # Keras counts some of the weights twice.
    assert ours.compare(stack(lamella, 4, 2)) == {"status": "success", "error_count": 0, "match_count": 4}


def test_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, model = str(tmp_path / "a.keras"), stack(lamella, 2)
    model.save(path)
    editor = KerasFileEditor(path)
    printed = capsys.readouterr().out
    assert f"Keras model file '{path}'" in printed and "Saved with Keras 3.15.1 - date: 20" in printed
    assert editor.config["class_name"] == "Sequential" and editor.metadata["keras_version"] == "3.15.1"
    editor.weights_dict["layers"]["dense"]["0"] *= 2
    editor.save(path)
    twin = lamella.saving.load_model(path)
    np.testing.assert_array_equal(twin.get_weights()[0], 2 * model.get_weights()[0])
    editor.save(tmp_path / "a.weights.h5")
    model.load_weights(tmp_path / "a.weights.h5")
    assert sorted(os.listdir(tmp_path)) == ["a.keras", "a.weights.h5"]


def test_the_summary(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(path, "w") as file:
        file["layers/\x1b[2J[red]x/vars/0"] = np.ones((3, 2), "float32")
        file["layers/\x1b[2J[red]x/vars"].attrs["name"] = "\x1b]0;evil\x07"
    KerasFileEditor(path).summary()
    printed = capsys.readouterr().out
    assert "\\x1b[2J[red]x (\\x1b]0;evil\\x07)" in printed and "\x1b" not in printed
    assert "└── 0: shape=(3, 2), dtype=float32" in printed


def test_refusals(path: str, tmp_path: Path) -> None:
    stack(lamella, 4, 2).save_weights(path)
    editor = KerasFileEditor(path)
    before = Path(path).read_bytes()
    refused: list[tuple[Any, str]] = [
        (lambda: KerasFileEditor(str(tmp_path / "a.h5")), r"reads '.keras' and '.weights.h5' files"),
        (lambda: editor.save(tmp_path / "a.keras"), r"writes files that end in '.weights.h5'"),
        (lambda: editor.rename_object("dense", "a/b"), r"'a/b' is no name of an object"),
        (lambda: editor.rename_object("dense", "dense_1"), r"has 'dense_1' already beside 'dense'"),
        (lambda: editor.delete_object("conv"), r"(?s)has no object 'conv'.*'layers/dense_1'"),
        (lambda: editor.delete_object("layers/conv"), r"has no object 'layers/conv'"),
        (lambda: editor.add_object("layers/dense", {}), r"has 'layers/dense' already"),
        (lambda: editor.add_object("heads/dense", {}), r"has no object 'heads'"),
        (lambda: editor.add_object("layers/..", {}), r"'..' is no name"),
        (lambda: editor.add_object("layers/new", [1]), r"weights are a dict, got list"),
        (lambda: editor.delete_weight("dense", "7"), r"'dense' has no weight '7'; it has \['0', '1'\]"),
    ]
    for act, message in refused:
        with pytest.raises(ArgumentError, match=message):
            act()
    editor.add_object("inner", {})
    editor.add_object("inner/dense", {"0": np.array(["text"])})
    with pytest.raises(ArgumentError, match=r"several objects of the name 'dense'"):
        editor.delete_object("dense")
    with pytest.raises(FileFormatError, match=r"files of weights hold no <U4"):
        editor.save(path)
    assert Path(path).read_bytes() == before and os.listdir(tmp_path) == ["a.weights.h5"]


def test_files_are_read_with_care(path: str) -> None:
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "x")
    with pytest.raises(FileFormatError, match=r"(?s)is a link to another place.*a.weights.h5"):
        KerasFileEditor(path)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense"]
    with pytest.raises(FileFormatError, match=r"the layout of Keras 2"):
        KerasFileEditor(path)
