"""Models that are exported, with data for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

import lamella
from lamella import Input, Sequential, layers
from tests.files.kinds import KINDS, WORDS


def pictures() -> Any:
    model = Sequential(
        [
            Input((10, 10, 2)),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.DepthwiseConv2D(3),
            layers.AveragePooling2D(2, strides=1, padding="same"),
            layers.Conv2DTranspose(3, 2, strides=2),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2),
        ]
    )
    moments = np.random.default_rng(1).uniform(0.5, 1.5, (4, 4))
    model.layers[1].set_weights(moments)
    return model, np.random.default_rng(0).normal(size=(6, 10, 10, 2)).astype("float32")


MASKED = "masks, with steps of any number"
NAMES = ["shared layers", "several inputs and outputs", "subclassed", "attention", "BatchNormalization", "dropout"]
MODELS: dict[str, tuple[Any, Any]] = {name: (KINDS[name].make(lamella), KINDS[name].x) for name in NAMES}
MODELS |= {name: (KINDS[name].make(lamella), KINDS[name].x) for name in ("bfloat16", "int8")}
MODELS |= {MASKED: (KINDS["masks"].make(lamella), WORDS.astype("int32")), "pictures": pictures()}


def calls(names: Iterable[str]) -> dict[str, list[Any]]:
    """Data of seven samples for each model; with fewer steps too where their number may vary."""

    def rows(a: Any) -> Any:
        return np.resize(a, (7, *a.shape[1:])).astype("int32" if a.dtype.kind == "i" else a.dtype)

    given = {name: [jax.tree.map(rows, MODELS[name][1])] for name in names}
    if MASKED in given:
        given[MASKED].append(given[MASKED][0][:, :3])
    return given
