"""Broken archives of models: what becomes of one, told apart without a look at how lamella reads it."""

from __future__ import annotations

import io
import random
import time
import warnings
from functools import cache
from typing import Any

import h5py
import numpy as np

import lamella
from lamella.errors import LamellaError
from lamella.saving.walk import things_in
from tests.files import faults

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
SECONDS = 20


@lamella.saving.register_keras_serializable("campaign")
def halved(x: Any) -> Any:
    """A function of one's own, which files may name."""
    return x * 0.5


@lamella.saving.register_keras_serializable("campaign")
class Scale(lamella.layers.Layer):
    """A layer of one's own, which files may name."""

    def __init__(self, factor: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape: Any) -> None:
        self.shift = self.add_weight(shape=(input_shape[-1],), name="shift")

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor + self.shift


def _trained(model: Any, optimizer: Any = "sgd", loss: Any = "mse", **arguments: Any) -> Any:
    model.compile(optimizer, loss, **arguments)
    model.optimizer.build(model.trainable_variables)
    return model


def _stack() -> Any:
    layers = lamella.layers
    inside = [layers.Dense(3, "relu"), Scale(3.0), layers.Lambda(halved), layers.Dropout(0.5, seed=1), layers.Dense(3)]
    return _trained(lamella.Sequential([lamella.Input((4,)), *inside], name="stack"), "adam", metrics=["mae"])


def _graph() -> Any:
    layers, ops = lamella.layers, lamella.ops
    x = lamella.Input((4,), name="x")
    same = layers.Dense(4, name="same", kernel_regularizer="l2", kernel_constraint="non_neg")
    hidden = layers.BatchNormalization(name="norm")(same(x) + 2.0 * same(x * 0.5))
    both = ops.concatenate([hidden, ops.mean(x, axis=1, keepdims=True), x[:, 1:3]], axis=-1)
    rate = lamella.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model = lamella.Model(x, [layers.Dense(2, name="one")(both), layers.Dense(1, name="two")(both)], name="graph")
    return _trained(model, lamella.optimizers.SGD(rate, momentum=0.9), ["mse", "mae"], loss_weights=[1.0, 2.0])


def _words() -> Any:
    layers = lamella.layers
    words = lamella.Input((5,), dtype="int32", name="words")
    steps = layers.Embedding(10, 4, mask_zero=True, name="table")(words)
    steps = layers.Bidirectional(layers.GRU(2, return_sequences=True), name="both")(steps)
    return lamella.Model(words, layers.TimeDistributed(layers.Dense(2), name="each")(steps), name="words")


def _images() -> Any:
    layers = lamella.layers
    z = lamella.Input((6, 6, 2), name="z")
    inner = lamella.Model(z, layers.Conv2D(2, 3, padding="same", name="conv")(z), name="inner")
    x = lamella.Input((6, 6, 2), name="x")
    pooled = layers.MaxPooling2D(2)(layers.Activation("relu")(inner(x)))
    return lamella.Model(
        x, layers.Flatten()(layers.Add()([pooled, layers.AveragePooling2D(2)(inner(x))])), name="images"
    )


@cache
def originals() -> list[bytes]:
    """The archives that are broken."""
    found = []
    for make in (_stack, _graph, _words, _images):
        file = io.BytesIO()
        make().save(file)
        found.append(file.getvalue())
    return found


@cache
def parts() -> list[dict[str, bytes]]:
    """The members of each original."""
    return [faults.members(data) for data in originals()]


@cache
def arrays(weights: bytes) -> dict[str, Any]:
    """The arrays in a file of weights by their paths, as h5py has them."""
    found: dict[str, Any] = {}
    with h5py.File(io.BytesIO(weights)) as opened:
        opened.visititems(lambda path, x: found.update({path: x[()]}) if isinstance(x, h5py.Dataset) else None)
    return found


def broken(rng: random.Random) -> bytes:
    """An archive with faults of one sort."""
    place = rng.randrange(len(originals()))
    good, donor = parts()[place], rng.choice(parts())
    way = rng.random()
    if way < 0.15:
        return faults.broken(originals()[place], rng, originals())
    if way < 0.25:
        return faults.in_archive(good, rng, donor)
    new = dict(good)
    if way < 0.35:
        new[WEIGHTS] = faults.broken(good[WEIGHTS], rng, [part[WEIGHTS] for part in parts()])
    elif way < 0.45:
        new[WEIGHTS] = faults.in_hdf5(good[WEIGHTS], rng)
    elif way < 0.48:
        new[METADATA] = faults.in_json(good[METADATA], rng, [part[METADATA] for part in parts()])
    else:
        new[CONFIG] = faults.in_json(good[CONFIG], rng, [part[CONFIG] for part in parts()])
    return faults.zipped(list(new.items()))


def outcome(data: bytes) -> str:
    """Read an archive: "refused" with an error of ours, "loaded", or what is wrong with how it was read."""
    begun = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = lamella.saving.load_model(io.BytesIO(data))
        found = fault(model, data) or "loaded"
    except LamellaError:
        found = "refused"
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    return found if time.perf_counter() - begun < SECONDS else f"{SECONDS} seconds and {found}"


def fault(model: Any, data: bytes) -> str | None:
    """Return what makes the success a wrong one: weights that did not come, or that are not those of the file."""
    if not all(variable.filled for variable in model.variables):
        return "weights have no values"
    try:
        weights = faults.members(data)[WEIGHTS]
    except Exception:
        # A fault of the archive where nothing is read.
        return None
    if weights not in [part[WEIGHTS] for part in parts()]:
        return None
    held = dict(arrays(weights))
    for path, layer in things_in(model, states=False):
        for place, variable in enumerate(layer._kept_variables()):
            given = held.pop(f"{path}/vars/{place}".removeprefix("/"), None)
            if given is None or not np.array_equal(given.astype(variable.dtype), variable.numpy()):
                return f"{path} has not the weights of the file"
    rest = [path for path in held if "optimizer" not in path and "seed_generator" not in path]
    return f"weights of {rest[0]} are nowhere" if rest else None
