"""Every op gives Keras's values, shapes and dtypes."""

from __future__ import annotations

import inspect
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from lamella import ops
from lamella.core import settings
from tests.ops.calls import CREATE

TOLERANCE = {"bfloat16": 2e-2, "float16": 2e-3}


def assert_same(ours: Any, theirs: Any) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        if isinstance(b, str):
            assert a == b
            continue
        a, b = jnp.asarray(a), jnp.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        wide = "complex128" if jnp.iscomplexobj(a) else "float64"
        bound = TOLERANCE.get(a.dtype.name, 1e-5)
        np.testing.assert_allclose(np.asarray(a).astype(wide), np.asarray(b).astype(wide), rtol=bound, atol=bound / 10)


@pytest.mark.parametrize("name", CREATE)
def test_call(name: str) -> None:
    assert_same(CREATE[name](ops), CREATE[name](keras.ops))


@pytest.mark.parametrize("axis", [0, -1])
def test_sparsemax_gives_the_nearest_probabilities(axis: int) -> None:
    x = np.array([[1e-4, 0.3, -1.6], [2.0, 2.0, 2.0], [88.9, -104.0, 1.0]], "float32")
    p = ops.sparsemax(x.T if axis == 0 else x, axis=axis)
    p = np.asarray(p.T if axis == 0 else p)
    np.testing.assert_allclose(p, [[0.35005, 0.64995, 0], [1 / 3] * 3, [1, 0, 0]], atol=1e-5)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("extra", [None, 0, 1])
@pytest.mark.parametrize(("width", "stride"), [(1, 2), (2, 3), (3, 2), (5, 3)])
def test_transposed_convolution_sizes(width: int, stride: int, extra: int | None, padding: str) -> None:
    x, kernel = np.ones((1, 5, 2), "float32"), np.arange(width * 6, dtype="float32").reshape(width, 3, 2)
    ours, theirs = (lib.conv_transpose(x, kernel, stride, padding, extra) for lib in (ops, keras.ops))
    assert_same(ours, theirs)


def test_signatures_are_keras_s() -> None:
    for name in ops.__all__:
        ours, theirs = (inspect.signature(getattr(library, name)) for library in (ops, keras.ops))
        kinds = [[(p.name, p.default, p.kind) for p in s.parameters.values()] for s in (ours, theirs)]
        assert kinds[0] == kinds[1], name
        assert getattr(ops, name).__doc__, name


def test_nothing_of_keras_ops_is_missing() -> None:
    public = {n for n in dir(keras.ops) if n[0] != "_" and callable(getattr(keras.ops, n))}
    assert public - set(ops.__all__) == set()


def test_settings_decide_default_dtypes() -> None:
    settings.set_floatx("float16")
    try:
        made = ops.zeros((2,)), ops.linspace(0, 1, 3), ops.convert_to_tensor(1.5), ops.one_hot([1], 2)
    finally:
        settings.set_floatx("float32")
    assert [x.dtype.name for x in made] == ["float16"] * 4


def test_a_window_longer_than_the_signal_is_mirrored_again_and_again() -> None:
    x = np.arange(5, dtype="float32")
    for length, signal in ((32, x), (8, x), (4, x), (16, x[:2])):
        mirrored = np.pad(signal, length // 2, mode="reflect")
        expected = ops.stft(mirrored, length, 2, length, center=False)
        assert_same(ops.stft(signal, length, 2, length), expected)
