"""Weights in several files: both ways with Keras, whole or not at all, and lists that name what they should not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import lamella
from lamella.errors import ArgumentError, FileFormatError, FileTakenError
from lamella.saving import shards

# A file takes one kernel of (64, 64) and little else.
SMALL = 20_000 / (1 << 30)


def stack(library: Any = lamella, width: int = 64) -> Any:
    layers = library.layers
    model = library.Sequential([library.Input((64,)), layers.Dense(width), layers.Dense(64), layers.Dense(3)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(width)
    model.set_weights([rng.normal(size=weight.shape).astype("float32") for weight in model.weights])
    return model


def same(one: Any, other: Any) -> None:
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def named(path: Path) -> set[str]:
    places = json.loads(path.read_text())["weight_map"].values()
    return {name for entry in places for name in (entry if isinstance(entry, list) else [entry])}


def bytes_in(path: Path) -> int:
    sizes: list[int] = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: sizes.append(getattr(item, "nbytes", 0)))
    return sum(sizes)


def test_files_are_as_many_as_it_takes(tmp_path: Path) -> None:
    path, model = tmp_path / "a.weights.json", stack()
    model.optimizer.iterations.assign(7)
    model.save_weights(path, max_shard_size=SMALL)
    assert len(named(path)) == 6
    assert all(0 < bytes_in(tmp_path / name) <= 20_000 for name in named(path))
    total = sum(v.nbytes for v in [*model.weights, *model.optimizer.variables])
    assert json.loads(path.read_text())["metadata"]["total_size"] == total
    other = stack()
    other.set_weights([0 * weight for weight in model.get_weights()])
    other.load_weights(path)
    same(model, other)
    assert int(other.optimizer.iterations) == 7


@pytest.mark.usefixtures("drawn_by_numpy")
def test_both_ways_with_keras(tmp_path: Path) -> None:
    path, theirs = tmp_path / "a.weights.json", stack(keras)
    theirs.save_weights(path, max_shard_size=SMALL)
    ours = lamella.models.clone_model(stack())
    ours.load_weights(path)
    same(theirs, ours)
    changed = stack()
    changed.set_weights([weight + 1 for weight in changed.get_weights()])
    changed.save_weights(path, max_shard_size=SMALL)
    theirs.load_weights(path)
    same(theirs, changed)
    # Keras's own first file gave up its weights.
    assert {file.name for file in tmp_path.iterdir()} == named(path) | {path.name, "a_00000.weights.h5"}
    assert os.path.getsize(tmp_path / "a_00000.weights.h5") < 2_000


def test_an_error_leaves_the_old_files_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, model = tmp_path / "a.weights.json", stack()
    model.save_weights(path, max_shard_size=SMALL)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def stop(_: Any) -> bytes:
        raise OSError("the disk is full")

    monkeypatch.setattr(shards, "write_json", stop)
    with pytest.raises(OSError, match="the disk is full"):
        model.save_weights(path, max_shard_size=SMALL)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    with pytest.raises(FileTakenError, match="exists already"):
        model.save_weights(path, max_shard_size=SMALL, overwrite=False)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    path, model = tmp_path / "a.weights.json", stack()
    with pytest.raises(ArgumentError, match=r"weight of 'layers/dense/vars' has 16\.\d kB, a file 10\.\d kB at most"):
        model.save_weights(path, max_shard_size=SMALL / 2)
    assert not os.listdir(tmp_path)
    with pytest.raises(ArgumentError, match=r"several files ends in '\.weights\.json', got"):
        model.save_weights(tmp_path / "a.weights.h5", max_shard_size=1)
    with pytest.raises(ArgumentError, match="max_shard_size=5 for that"):
        model.save_weights(path)
    with pytest.raises(ArgumentError, match="max_shard_size is a number of GB, got -1"):
        model.save_weights(path, max_shard_size=-1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"weight_map": {"/layers/dense/vars": "../a_00000.weights.h5"}}', r"names '\.\./a_00000"),
        ('{"weight_map": {"/layers/dense/vars": "/etc/passwd"}}', "names '/etc/passwd'"),
        ('{"weight_map": {"/layers/dense/vars": "b_00000.weights.h5"}}', "names 'b_00000"),
        ('{"weight_map": {"/layers/dense/vars": ["a_00000.weights.h5", 3]}}', "names '3'"),
        ('{"weight_map": {"/layers/dense/vars": "a_00009.weights.h5"}}', "which is not beside it"),
        ('{"weight_map": {"x": "a_00000.weights.h5", "x": "a_00001.weights.h5"}}', "key 'x' twice"),
        ('{"weight_map": {"/layers/dense/vars": "a_00001.weights.h5"}}', "layers/dense: "),
        ('{"weight_map": []}', "has no 'weight_map'"),
        ("[]", "has no 'weight_map'"),
        ("{", "it is no JSON"),
    ],
)
def test_lists_that_name_what_they_should_not(text: str, said: str, tmp_path: Path) -> None:
    path, model = tmp_path / "a.weights.json", stack(keras)
    model.save_weights(path, max_shard_size=SMALL)
    path.write_text(text)
    ours = stack()
    before = ours.get_weights()
    with pytest.raises(FileFormatError, match=said):
        ours.load_weights(path)
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_array_that_stands_in_two_files(tmp_path: Path) -> None:
    path, model = tmp_path / "a.weights.json", stack()
    model.save_weights(path, max_shard_size=SMALL)
    first, second = sorted(named(path))[:2]
    with h5py.File(tmp_path / first) as source, h5py.File(tmp_path / second, "a") as target:
        target.require_group("layers/dense/vars")["0"] = source["layers/dense/vars/0"][()]
    with pytest.raises(FileFormatError, match="'layers/dense/vars/0' stands in 2 of the files"):
        stack().load_weights(path)
