"""Decoding of connectionist temporal classification: the labels behind steps that repeat them and leave gaps.

Graves et al., "Connectionist Temporal Classification", ICML 2006; the search over prefixes: Hannun et al.,
"First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs", 2014.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_NONE = -1
# Prefixes (beam, time), their lengths, and the log-probabilities that a blank, or their last label, came last.
Beam = tuple[Any, Any, Any, Any]


def ctc_greedy(scores: Any, lengths: Any, merge_repeated: bool, blank: int) -> tuple[Any, Any]:
    """(batch, time, classes), (batch,) -> labels (1, batch, time), -1 after the last, and scores (batch, 1)."""
    time = scores.shape[1]
    past = jnp.arange(time) >= lengths[:, None]
    best = jnp.where(past, blank, jnp.argmax(scores, -1))
    total = -jnp.sum(jnp.where(past, 0.0, jnp.max(scores, -1)), 1, keepdims=True)
    left_out = best == blank
    if merge_repeated:
        left_out = left_out | jnp.pad(best[:, 1:] == best[:, :-1], ((0, 0), (1, 0)))
    labels = jnp.where(left_out, _NONE, best).astype("int32")
    order = jnp.argsort(left_out, axis=-1, stable=True)
    return jnp.take_along_axis(labels, order, -1)[None], total


def ctc_beam_search(scores: Any, lengths: Any, beam_width: int, top_paths: int, blank: int) -> tuple[Any, Any]:
    """(batch, time, classes), (batch,) -> labels (paths, batch, time), -1 after the last, and scores (batch, paths)."""
    time = scores.shape[1]
    logs = jax.nn.log_softmax(scores)
    # The first step always counts.
    shown = jnp.arange(time) < jnp.maximum(lengths, 1)[:, None]

    def search(logs: Any, shown: Any) -> tuple[Any, Any]:
        nothing = jnp.full((beam_width,), -jnp.inf, logs.dtype)
        start = jnp.full((beam_width, time), _NONE), jnp.zeros(beam_width, "int32"), nothing.at[0].set(0.0), nothing

        def step(beam: Beam, now: Any) -> tuple[Beam, None]:
            x, counts = now
            longer = _extended(beam, x, blank)
            return jax.tree.map(lambda new, old: jnp.where(counts, new, old), longer, beam), None

        (paths, _, after_blank, after_label), _ = lax.scan(step, start, (logs, shown))
        best, places = lax.top_k(jnp.logaddexp(after_blank, after_label), top_paths)
        return paths[places], best

    paths, best = jax.vmap(search)(logs, shown)
    return jnp.moveaxis(paths, 1, 0).astype("int32"), best


def _extended(beam: Beam, x: Any, blank: int) -> Beam:
    """Let each prefix stay or grow by a label, add up the ways to one prefix, and keep the best of all."""
    paths, sizes, after_blank, after_label = beam
    width, classes = paths.shape[0], x.shape[0]
    total = jnp.logaddexp(after_blank, after_label)
    tail = jnp.take_along_axis(paths, jnp.maximum(sizes - 1, 0)[:, None], 1)[:, 0]
    stay = jnp.where(sizes > 0, after_label + x[tail], -jnp.inf)
    # A label that repeats the last one needs a blank between them.
    ways = jnp.where(jnp.arange(classes) == tail[:, None], after_blank[:, None], total[:, None])
    grown = jnp.where(jnp.arange(classes) == blank, -jnp.inf, ways + x)

    # same[i, j]: prefix i with the last label of prefix j is prefix j, which is in the beam already.
    within = jnp.arange(paths.shape[1]) < sizes[:, None, None]
    equal = jnp.all((paths[:, None] == paths[None]) | ~within, -1)
    same = equal & (sizes[None] == sizes[:, None] + 1) & jnp.isfinite(total)[None]
    meeting = jnp.where(same, grown[:, tail], -jnp.inf)
    stay = jnp.logaddexp(stay, jnp.max(meeting, 0))
    grown = grown.at[jnp.arange(width)[:, None], tail[None]].min(jnp.where(same, -jnp.inf, jnp.inf))

    every_blank = jnp.concatenate([total + x[blank], jnp.full(width * classes, -jnp.inf, x.dtype)])
    every_label = jnp.concatenate([stay, grown.ravel()])
    _, chosen = lax.top_k(jnp.logaddexp(every_blank, every_label), width)
    grows = chosen >= width
    parent = jnp.where(grows, (chosen - width) // classes, chosen)
    label = jnp.where(grows, (chosen - width) % classes, _NONE)
    place = jnp.where(grows[:, None] & (jnp.arange(paths.shape[1]) == sizes[parent][:, None]), label[:, None], _NONE)
    new = jnp.where(place == _NONE, paths[parent], place)
    return new, sizes[parent] + grows, every_blank[chosen], every_label[chosen]
