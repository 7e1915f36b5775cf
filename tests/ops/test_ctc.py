"""Connectionist temporal classification beside Keras: loss, slopes, greedy and beam-search decoding."""

from __future__ import annotations

from itertools import groupby, product
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import lamella

DRAW = np.random.default_rng(6)
LOGITS = (2 * DRAW.normal(size=(4, 7, 5))).astype("float32")
TARGET = np.array([[1, 2, 2, 0], [3, 3, 3, 0], [4, 1, 0, 0], [1, 2, 3, 4]])
LABELS, STEPS = np.array([3, 3, 2, 4]), np.array([7, 7, 5, 6])


@pytest.mark.parametrize("mask_index", [0, 4])
def test_the_loss_and_its_slopes(mask_index: int) -> None:
    target = TARGET if mask_index == 0 else np.maximum(TARGET - 1, 0)

    def total(library: Any, logits: Any) -> Any:
        return library.ops.ctc_loss(target, logits, LABELS, STEPS, mask_index)

    wanted = np.asarray(total(keras, jnp.asarray(LOGITS)))
    np.testing.assert_allclose(total(lamella, LOGITS), wanted, rtol=1e-5)
    slopes = [jax.grad(lambda x, lib=lib: total(lib, x).sum())(jnp.asarray(LOGITS)) for lib in (lamella, keras)]
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("merge_repeated", [True, False])
@pytest.mark.parametrize("mask_index", [0, 2, None])
def test_greedy(merge_repeated: bool, mask_index: int | None) -> None:
    arguments = {"merge_repeated": merge_repeated, "mask_index": mask_index}
    found, wanted = (library.ops.ctc_decode(LOGITS, STEPS, **arguments) for library in (lamella, keras))
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5)


@pytest.mark.parametrize(("beam_width", "top_paths", "mask_index"), [(4, 1, 0), (10, 3, 4), (100, 5, 0)])
def test_beam_search(beam_width: int, top_paths: int, mask_index: int) -> None:
    arguments = {"strategy": "beam_search", "beam_width": beam_width, "top_paths": top_paths, "mask_index": mask_index}
    found, wanted = (library.ops.ctc_decode(LOGITS, STEPS, **arguments) for library in (lamella, keras))
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5)


def test_a_wide_beam_is_the_sum_over_all_ways() -> None:
    logits = LOGITS[:1, :5, :3]
    logs = np.asarray(jax.nn.log_softmax(logits))[0]
    ways: dict[tuple[int, ...], float] = {}
    for path in product(range(3), repeat=5):
        labels = tuple(label for label, _ in groupby(path) if label != 0)
        ways[labels] = ways.get(labels, 0.0) + float(np.exp(sum(logs[step, label] for step, label in enumerate(path))))
    best = sorted(ways.items(), key=lambda item: -item[1])[:4]
    paths, scores = lamella.ops.ctc_decode(logits, [5], "beam_search", beam_width=60, top_paths=4)
    assert [tuple(label for label in path[0].tolist() if label >= 0) for path in paths] == [key for key, _ in best]
    np.testing.assert_allclose(np.exp(scores[0]), [value for _, value in best], rtol=1e-5)


def test_symbols_and_mistakes() -> None:
    logits, lengths = lamella.Input((7, 5)), lamella.Input((), dtype="int32")
    labels, scores = lamella.ops.ctc_decode(logits, lengths, "beam_search", beam_width=6, top_paths=2)
    assert (labels.shape, scores.shape) == ((2, None, 7), (None, 2))
    loss = lamella.ops.ctc_loss(lamella.Input((4,), dtype="int32"), logits, lengths, lengths)
    assert loss.shape == (None,)
    with pytest.raises(ValueError, match="strategy"):
        lamella.ops.ctc_decode(LOGITS, STEPS, "best")
