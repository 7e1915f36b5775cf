"""Small helpers that bring data into the shape that layers take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lamella.core.errors import ArgumentError
from lamella.core.settings import one_of


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray[Any, Any]:
    """Return class ids as one-hot vectors: (...) of integers -> (..., num_classes) of float32.

    >>> to_categorical([0, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    ids = np.asarray(x, dtype="int64")
    if ids.ndim > 1 and ids.shape[-1] == 1:
        ids = ids[..., 0]
    count = num_classes or (int(ids.max()) + 1 if ids.size else 0)
    if ids.size and (ids.min() < 0 or ids.max() >= count):
        raise ArgumentError(f"Class ids must lie between 0 and {count - 1}; they go from {ids.min()} to {ids.max()}.")
    return np.asarray(np.eye(count, dtype="float32")[ids])


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray[Any, Any]:
    """Divide vectors along an axis by their norm; vectors of zeros stay.

    >>> normalize(np.array([[3.0, 4.0]])).tolist()
    [[0.6, 0.8]]
    """
    norms = np.atleast_1d(np.linalg.norm(np.asarray(x), order, axis))
    norms[norms == 0] = 1
    return np.asarray(np.asarray(x) / np.expand_dims(norms, axis))


def pad_sequences(
    sequences: Sequence[Sequence[Any]],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray[Any, Any]:
    """Make one array of sequences of different lengths: (samples, maxlen, ...), shorter ones padded with `value`.

    >>> pad_sequences([[1, 2, 3], [4]], padding="post").tolist()
    [[1, 2, 3], [4, 0, 0]]
    """
    one_of("padding", padding, ("pre", "post"))
    one_of("truncating", truncating, ("pre", "post"))
    arrays = [np.asarray(sequence) for sequence in sequences]
    length = max((len(array) for array in arrays), default=0) if maxlen is None else maxlen
    inner = next((array.shape[1:] for array in arrays if len(array)), ())
    out = np.full((len(arrays), length, *inner), value, dtype)
    for row, array in zip(out, arrays, strict=True):
        kept = array[-length:] if truncating == "pre" else array[:length]
        if not len(kept) or not length:
            continue
        if padding == "post":
            row[: len(kept)] = kept
        else:
            row[-len(kept) :] = kept
    return out
