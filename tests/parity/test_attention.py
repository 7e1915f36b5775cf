"""Attention beside Keras's: masks of every kind, scores, causality, dropout, first values, errors."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import jax
import keras
import numpy as np
import pytest

import lamella
from lamella.core.masked import Masked
from lamella.errors import ArgumentError, ShapeError
from tests.parity.cases import Case
from tests.parity.test_layers import assert_close, pair

DRAW = np.random.default_rng(4)
QUERY_MASK = np.arange(4) < np.array([[4], [2], [1]])
VALUE_MASK = np.arange(6) < np.array([[6], [3], [5]])
MASK = DRAW.random((3, 4, 6)) > 0.4
NOWHERE = MASK & (np.arange(4) != 2)[:, None]
SHAPES = [(3, 4, 5), (3, 6, 5)]
MANY = {"num_heads": 2, "key_dim": 3}
GROUPS = {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}
HEADS = [
    Case("MultiHeadAttention", MANY, SHAPES, apart=True),
    Case("MultiHeadAttention", MANY | {"dropout": 0.3, "seed": 5, "sliding_window": 2}, SHAPES, apart=True),
    Case("GroupQueryAttention", GROUPS, SHAPES, apart=True),
    Case("GroupQueryAttention", GROUPS | {"dropout": 0.3, "seed": 5}, SHAPES, apart=True),
]
PROJECTION = Case("EinsumDense", {"equation": "abc,cde->abde", "output_shape": (None, 2, 7)}, SHAPES[0])
PLAIN = [
    Case("Attention", {"use_scale": True}, SHAPES),
    Case("Attention", {"score_mode": "concat", "dropout": 0.4, "seed": 5}, SHAPES),
    Case("AdditiveAttention", {}, SHAPES),
]


@pytest.mark.usefixtures("drawn_by_numpy")
@pytest.mark.parametrize("case", HEADS, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"attention_mask": MASK},
        {"attention_mask": NOWHERE.astype("int32")},
        {"attention_mask": MASK, "use_causal_mask": True},
        {"use_causal_mask": True},
        {"value_mask": VALUE_MASK},
        {"value_mask": VALUE_MASK, "attention_mask": NOWHERE, "use_causal_mask": True},
    ],
    ids=lambda options: "+".join(options),
)
def test_where_a_query_may_look(case: Case, options: dict[str, Any]) -> None:
    ours, theirs, x = pair(case)
    assert_close(ours(*x, **options), theirs(*x, **options))
    assert_close(ours(*x, return_attention_scores=True, **options), theirs(*x, return_attention_scores=True, **options))
    assert_close(ours(*x, training=True, **options), theirs(*x, training=True, **options))


@pytest.mark.usefixtures("drawn_by_numpy")
@pytest.mark.parametrize("case", PLAIN, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, [None, VALUE_MASK], [QUERY_MASK, None], [QUERY_MASK, VALUE_MASK]])
def test_plain_attention_with_masks(case: Case, causal: bool, mask: Any) -> None:
    ours, theirs, x = pair(case)
    theirs_mask = mask and [None if m is None else jax.numpy.asarray(m) for m in mask]
    for options in ({}, {"return_attention_scores": True}, {"return_attention_scores": True, "training": True}):
        given = {"use_causal_mask": causal, **options}
        assert_close(ours(x, mask=mask, **given), theirs(x, mask=theirs_mask, **given))


def _reader(library: Any, layer: str, arguments: dict[str, Any]) -> Any:
    layers = library.layers
    words, others = library.Input((None,), dtype="int32"), library.Input((None,), dtype="int32")
    query, value = (layers.Embedding(9, 5, mask_zero=True)(ids) for ids in (words, others))
    attend = getattr(layers, layer)(**arguments)
    out = attend(query, value) if layer in ("MultiHeadAttention", "GroupQueryAttention") else attend([query, value])
    return library.Model([words, others], [layers.GlobalAveragePooling1D()(out), out])


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [("MultiHeadAttention", MANY), ("GroupQueryAttention", GROUPS), ("Attention", {}), ("AdditiveAttention", {})],
)
def test_masks_of_embeddings_go_through(layer: str, arguments: dict[str, Any]) -> None:
    ours, theirs = _reader(lamella, layer, arguments), _reader(keras, layer, arguments)
    ours.set_weights(theirs.get_weights())
    ids = [DRAW.integers(0, 3, shape) for shape in ((4, 7), (4, 5))]
    ids[0][:, 0] = ids[1][:, 0] = 3
    # Keras's GroupQueryAttention says that its projections lose a mask which it has taken before: a false alarm.
    alarm = pytest.warns(UserWarning, match="destroy the mask") if "Group" in layer else nullcontext()
    with alarm:
        wanted = theirs.predict(ids, verbose=0)
    assert_close(ours.predict(ids, verbose=0), wanted)


def test_only_the_query_mask_goes_on() -> None:
    layer = lamella.layers.MultiHeadAttention(**MANY)
    query, value = (DRAW.normal(size=shape).astype("float32") for shape in SHAPES)
    assert not isinstance(layer(query, Masked(value, VALUE_MASK)), Masked)
    out, scores = layer(Masked(query, QUERY_MASK), Masked(value, VALUE_MASK), return_attention_scores=True)
    np.testing.assert_array_equal(out.mask, QUERY_MASK)
    assert not isinstance(scores, Masked) and scores.shape == (3, 2, 4, 6)


def test_a_query_mask_given_by_hand_counts() -> None:
    layer = lamella.layers.MultiHeadAttention(**MANY)
    query, value = (DRAW.normal(size=shape).astype("float32") for shape in SHAPES)
    assert_close(layer(query, value, query_mask=QUERY_MASK), layer(Masked(query, QUERY_MASK), value))


@pytest.mark.parametrize("case", [*HEADS[::2], PROJECTION], ids=str)
def test_first_values_are_keras_s(case: Case) -> None:
    drawn = []
    for library in (lamella, keras):
        library.utils.set_random_seed(3)
        layer = case.make(library)
        x = [np.ones(shape, "float32") for shape in case.shape] if case.several else np.ones(case.shape, "float32")
        case.call(layer, x)
        drawn.append(layer.get_weights())
    for a, b in zip(*drawn, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", HEADS[::2], ids=str)
def test_names_and_paths_of_weights(case: Case) -> None:
    paths = []
    for library in (lamella, keras):
        library.utils.clear_session()
        layer = case.make(library)
        layer(*(np.ones(shape, "float32") for shape in SHAPES))
        paths.append([layer.name, *(weight.path for weight in layer.weights)])
    assert paths[0] == paths[1]
    ours, theirs = case.make(lamella), case.make(keras)
    twins = (
        lamella.layers.deserialize(keras.layers.serialize(theirs)),
        keras.layers.deserialize(lamella.layers.serialize(ours)),
    )
    assert [type(twin) for twin in twins] == [type(ours), type(theirs)]


def test_reversible_embedding_backward() -> None:
    for arguments in ({}, {"tie_weights": False, "logit_soft_cap": 2.0}, {"reverse_dtype": "float32"}):
        case = Case("ReversibleEmbedding", {"input_dim": 11, "output_dim": 4, **arguments}, (3, 6), ids=11)
        ours, theirs, _ = pair(case)
        vectors = DRAW.normal(size=(3, 6, 4)).astype("float32")
        assert_close(ours(vectors, reverse=True), theirs(vectors, reverse=True))
    masked = lamella.layers.ReversibleEmbedding(11, 4, True, mask_zero=True)
    assert masked(np.array([[3, 0]])).mask.tolist() == [[True, False]]
    assert not isinstance(masked(np.ones((1, 2, 4), "float32"), reverse=True), Masked)


def test_one_step_trains_the_scale_of_attention() -> None:
    results = []
    for library in (lamella, keras):
        inputs = [library.Input(shape[1:]) for shape in SHAPES]
        layer = library.layers.AdditiveAttention()
        model = library.Model(inputs, layer(inputs))
        layer.set_weights([np.arange(1, 6, dtype="float32") / 5])
        model.compile(library.optimizers.SGD(0.1), loss="mse")
        x = [np.random.default_rng(i).normal(size=shape).astype("float32") for i, shape in enumerate(SHAPES)]
        model.train_on_batch(x, np.zeros(SHAPES[0], "float32"))
        results.append(layer.get_weights())
    assert_close(*results)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda layers: layers.MultiHeadAttention(0, 4), "num_heads must be a positive integer, got 0"),
        (lambda layers: layers.MultiHeadAttention(2, 4, sliding_window=0), "sliding_window must be a positive"),
        (lambda layers: layers.MultiHeadAttention(2, 4, dropout=0.1, flash_attention=True), "exclude each other"),
        (lambda layers: layers.GroupQueryAttention(2, 3, 2), "3 heads of queries cannot share 2 heads"),
        (lambda layers: layers.Attention()(np.ones((2, 3, 4))), r"Attention takes a list: \[query, value\]"),
        (lambda layers: layers.EinsumDense("ab-bc", 3)(np.ones((2, 3))), "is no equation"),
        (lambda layers: layers.EinsumDense("ab,bc->acd", (3, 4))(np.ones((2, 3))), "'d' of the output in"),
        (lambda layers: layers.EinsumDense("ab,bcz->ac", 3)(np.ones((2, 3))), "'z' of the kernel in"),
        (lambda layers: layers.EinsumDense("ab,bc->ac", 3, bias_axes="b")(np.ones((2, 3))), "'b' of the bias in"),
    ],
)
def test_wrong_arguments(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make(lamella.layers)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda layers: layers.EinsumDense("ab,bc->ac", (3, 4))(np.ones((2, 3))), "output_shape=.3, 4. has 2"),
        (
            lambda layers: layers.EinsumDense("abc,bd->abd", (7, 3))(np.ones((2, 3, 4))),
            "'b' is 3 in the input and 7",
        ),
        (lambda layers: layers.EinsumDense("ab,bc->ac", 3)(np.ones((2, 3, 4))), "has 2 axes, received 3"),
        (
            lambda layers: layers.MultiHeadAttention(2, 3)(*(np.ones((2, n, 4)) for n in (3, 4, 5))),
            "key and value differ in the features only",
        ),
    ],
)
def test_wrong_shapes(make: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make(lamella.layers)


def test_flash_attention_makes_no_scores() -> None:
    x = np.ones((2, 3, 4), "float32")
    with pytest.raises(ArgumentError, match="makes no scores"):
        lamella.layers.MultiHeadAttention(2, 3, flash_attention=True)(x, x, return_attention_scores=True)
