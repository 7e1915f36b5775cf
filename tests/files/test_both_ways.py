"""What Keras saves lamella loads, and what lamella saves Keras loads: the same predictions, and training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest

import lamella
from tests.files.kinds import KINDS, Kind, own


def outputs(model: Any, kind: Kind) -> list[Any]:
    return [np.asarray(leaf, "float32") for leaf in jax.tree.leaves(model(kind.x, training=False))]


def assert_same(ours: list[Any], theirs: list[Any], tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


WAYS = {"read": (keras, lamella), "written": (lamella, keras), "own": (lamella, lamella)}
# What is not trained is read and written above.
CASES = [(way, name) for way in WAYS for name in KINDS if way != "own" or KINDS[name].y is not None]


@pytest.mark.parametrize(("way", "name"), CASES)
def test_the_same_model_from_the_file(way: str, name: str, tmp_path: Path) -> None:
    (source, target), kind = WAYS[way], KINDS[name]
    model = kind.make(source)
    if kind.y is not None:
        model.train_on_batch(kind.x, kind.y)
    path = str(tmp_path / "model.keras")
    model.save(path)
    twin = target.models.load_model(path, custom_objects=kind.custom(target))
    assert twin.name == model.name
    assert_same(outputs(twin, kind), outputs(model, kind), kind.tolerance)
    assert twin.compiled == model.compiled
    if kind.y is None:
        return
    assert int(twin.optimizer.iterations) == int(model.optimizer.iterations) == 1
    model.reset_metrics()
    losses = [one.train_on_batch(kind.x, kind.y, return_dict=True)["loss"] for one in (twin, model)]
    if not kind.random:
        np.testing.assert_allclose(*losses, rtol=1e-4)
        assert_same(outputs(twin, kind), outputs(model, kind), 1e-4)


def test_every_argument_beyond_keras_s_is_left_out_where_it_says_nothing() -> None:
    layers = lamella.layers
    made = [layers.Lambda(own(lamella)["halved"]), layers.Cropping1D(1), layers.UpSampling1D(2), layers.GRU(2)]
    for layer in made:
        with keras.saving.custom_object_scope({"halved": own(keras)["halved"]}):
            config = lamella.saving.serialize_keras_object(layer)
            assert keras.saving.deserialize_keras_object(config).name == layer.name
    sampled = layers.Lambda(own(lamella)["halved"], per_sample=True)
    assert layers.Lambda.from_config(sampled.get_config()).per_sample
