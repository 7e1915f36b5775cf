"""Ops of connectionist temporal classification: its loss and its decoding."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax

from lamella import kernels
from lamella.core.settings import one_of
from lamella.ops.dispatch import array, op

__all__ = ["ctc_decode", "ctc_loss"]


@op
def ctc_loss(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> Any:
    """(batch, labels), (batch, time, classes) logits, and both lengths (batch,) -> (batch,) losses.

    The loss is minus the log-probability of all ways to write the labels over the steps, with repeats and with
    `mask_index` between them (Graves et al., ICML 2006).

    >>> loss = ctc_loss([[1]], [[[0.0, 0.0], [0.0, 0.0]]], [1], [2])
    >>> round(float(jnp.exp(-loss[0])), 4)
    0.75
    """
    target, output = array(target).astype("int32"), array(output)
    output = output.astype(jnp.result_type(output.dtype, "float32"))
    hidden = [
        (jnp.arange(sequence.shape[1]) >= array(length).astype("int32")[:, None]).astype(output.dtype)
        for sequence, length in ((output, output_length), (target, target_length))
    ]
    return optax.ctc_loss(output, hidden[0], target, hidden[1], blank_id=mask_index)


@op
def ctc_decode(
    inputs: Any,
    sequence_lengths: Any,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int = 0,
) -> Any:
    """(batch, time, classes) logits, (batch,) lengths -> labels (paths, batch, time), and scores (batch, paths).

    "greedy" takes the best class of each step; its score is minus the sum of what they got. "beam_search" keeps the
    `beam_width` most probable sequences of labels, and answers with the best `top_paths` and their log-probabilities.
    After the last label stands -1.

    >>> labels, _ = ctc_decode([[[0.0, 5.0], [0.0, 5.0], [9.0, 1.0], [0.0, 5.0]]], [4])
    >>> labels.tolist()
    [[[1, 1, -1, -1]]]
    """
    one_of("strategy", strategy, ("greedy", "beam_search"))
    scores, lengths = array(inputs), array(sequence_lengths).astype("int32")
    scores = scores.astype(jnp.result_type(scores.dtype, "float32"))
    blank = scores.shape[-1] - 1 if mask_index is None else mask_index
    if strategy == "greedy":
        return kernels.ctc_greedy(scores, lengths, merge_repeated, blank)
    return kernels.ctc_beam_search(scores, lengths, beam_width, top_paths, blank)
