"""What ops refuse, and what they say."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import pytest

from lamella import ops
from lamella.core.errors import ArgumentError, ShapeError

X = jnp.ones((2, 6, 3))

REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda: ops.pad(X, 1, mode="edge", constant_values=2), ArgumentError, "belong to mode='constant'"),
    (lambda: ops.unstack(X, num=3), ShapeError, "num must be the size of axis 0, 2, got 3"),
    (lambda: ops.rearrange(X, "a b c"), ArgumentError, "A pattern has two sides"),
    (lambda: ops.rearrange(X, "a b -> b a"), ShapeError, "has 2 axes, the array 3"),
    (lambda: ops.rearrange(X, "a b c -> a b"), ArgumentError, "must hold the same axes"),
    (lambda: ops.rearrange(X, "a (b d) c -> a b c d"), ArgumentError, "one size may be left open"),
    (lambda: ops.convert_to_tensor(1.0, sparse=True), ArgumentError, "no sparse or ragged arrays"),
    (lambda: ops.one_hot([1], 3, sparse=True), ArgumentError, "no sparse arrays"),
    (lambda: ops.multi_hot([1]), ArgumentError, "multi_hot needs the number of classes"),
    (lambda: ops.view(X), ArgumentError, "view needs a dtype"),
    (lambda: ops.scatter_update(X, [[0]], X[:1], "mean"), ArgumentError, "reduction must be one of 'add'"),
    (lambda: ops.binary_crossentropy(X, X[0]), ShapeError, "target and output must have one shape"),
    (lambda: ops.categorical_crossentropy(X, X[:1]), ShapeError, "target and output must have one shape"),
    (
        lambda: ops.sparse_categorical_crossentropy(jnp.zeros((4,), int), X[0]),
        ShapeError,
        r"must have shape \(6,\) beside outputs \(6, 3\), got \(4,\)",
    ),
    (lambda: ops.conv(X, jnp.ones((3, 2, 4))), ShapeError, "takes 2 channels a group; the input has 3"),
    (
        lambda: ops.conv(X, jnp.ones((3, 3, 4)), strides=(1, 2)),
        ArgumentError,
        "strides must be one number or 1",
    ),
    (lambda: ops.glu(X), ShapeError, "glu halves axis -1, which must be even"),
    (lambda: ops.segment_sum(X, [0, 1, 1]), ShapeError, "one segment number for each row; got"),
    (lambda: ops.psnr(X, X[0], 1.0), ShapeError, "Both images must have one shape"),
    (lambda: ops.view_as_complex(X), ShapeError, "real and imaginary part, 2 numbers"),
    (lambda: ops.max_pool(X, 2, padding="full"), ArgumentError, "padding must be one of 'valid', 'same'"),
    (lambda: ops.stft(X, 2, 1, 2, window="square"), ArgumentError, "window must be 'hann', 'hamming'"),
]


@pytest.mark.parametrize(("call", "kind", "text"), REFUSED)
def test_refused(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()
