"""Masks beside Keras's: given by hand, made by Embedding and Masking, carried through a model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import lamella
from tests.parity.cases import Case
from tests.parity.test_layers import assert_close, pair

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

DRAW = np.random.default_rng(8)
SHAPE = (4, 7, 5)
RAGGED = np.arange(7) < np.array([[7], [4], [1], [5]])
HOLES = DRAW.random((4, 7)) > 0.4
RECURRENT = [
    Case(name, {"units": 3, **extra}, SHAPE)
    for name in ("SimpleRNN", "LSTM", "GRU")
    for extra in (
        {},
        {"return_sequences": True},
        {"return_sequences": True, "go_backwards": True},
        {"return_sequences": True, "zero_output_for_mask": True},
        {"return_state": True},
    )
]


@pytest.mark.parametrize("mask", [RAGGED, HOLES], ids=["ragged", "holes"])
@pytest.mark.parametrize(
    "case",
    [
        *RECURRENT,
        Case("Bidirectional", {}, SHAPE, 0, "LSTM", {"units": 3, "return_sequences": True}),
        Case("Bidirectional", {"merge_mode": "sum"}, SHAPE, 0, "GRU", {"units": 3}),
        Case("GlobalAveragePooling1D", {}, SHAPE),
        Case("BatchNormalization", {}, SHAPE),
        Case("TimeDistributed", {}, SHAPE, 0, "Dense", {"units": 3}),
    ],
    ids=str,
)
def test_given_by_hand(case: Case, mask: np.ndarray) -> None:
    ours, theirs, x = pair(case)
    assert_close(ours(x, mask=mask), theirs(x, mask=mask))
    if case.layer == "BatchNormalization":
        assert_close(ours(x, mask=mask, training=True), theirs(x, mask=mask, training=True))
        assert_close(ours.get_weights(), theirs.get_weights())


@pytest.mark.parametrize("rank", [1, 2])
def test_images_that_a_mask_leaves_out_might_as_well_not_be_there(rank: int) -> None:
    """Not beside Keras, which lays the mask along other axes here."""
    layer = getattr(lamella.layers, f"ConvLSTM{rank}D")(3, 2, return_state=True)
    x = DRAW.normal(size=(*SHAPE, *(4,) * rank)).astype("float32")
    for whole, kept, row in zip(zip(*layer(x, mask=HOLES), strict=True), HOLES, x, strict=True):
        if kept.any():
            assert_close(whole, [out[0] for out in layer(row[None, kept])])


def test_softmax() -> None:
    x = DRAW.normal(size=(3, 5)).astype("float32")
    mask = DRAW.random((3, 5)) > 0.3
    assert_close(lamella.layers.Softmax()(x, mask=mask), keras.layers.Softmax()(x, mask=mask))


def network(library: Any) -> Any:
    layers = library.layers
    words = library.Input((None,), dtype="int32")
    numbers = library.Input((None, 4))
    read = layers.Embedding(12, 4, mask_zero=True)(words)
    seen = layers.Masking()(numbers)
    both = layers.Concatenate()([layers.Add()([read, seen]), layers.Dropout(0.2)(read)])
    steps = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(layers.Dense(6, activation="relu")(both))
    return library.Model([words, numbers], [layers.GRU(4)(steps), layers.GlobalAveragePooling1D()(steps)])


def test_through_a_model() -> None:
    ours, theirs = network(lamella), network(keras)
    ours.set_weights(theirs.get_weights())
    words = DRAW.integers(0, 4, (6, 9))
    words[:, 0] = 3
    numbers = DRAW.normal(size=(6, 9, 4)).astype("float32") * (DRAW.random((6, 9, 1)) > 0.3)
    assert_close(ours.predict([words, numbers], verbose=0), theirs.predict([words, numbers], verbose=0))
