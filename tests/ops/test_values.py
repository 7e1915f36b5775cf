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
from tests.ops import calls, cases

TOLERANCE = {"bfloat16": 2e-2, "float16": 2e-3}
BASE = np.array([[0.3, -1.6, 2.2], [1.0, 0.0, -0.4]])


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


def pairs() -> list[Any]:
    dtypes = ("float32", "int32", "bool", "bfloat16")
    named = [(name, dtype) for name in cases.MATRIX for dtype in dtypes]
    return [pair for pair in named if pair[0] not in cases.NOT_FOR.get(pair[1], ())]


@pytest.mark.parametrize(("name", "dtype"), pairs())
def test_matrix_of_each_dtype(name: str, dtype: str) -> None:
    x = jnp.asarray(BASE * (2 if dtype == "int32" else 1)).astype(dtype)
    assert_same(cases.MATRIX[name](ops, x), cases.MATRIX[name](keras.ops, x))


@pytest.mark.parametrize("name", cases.INTEGERS)
def test_integers(name: str) -> None:
    x = jnp.array([[3, 1, 0], [2, 2, 5]], "int32")
    assert_same(cases.INTEGERS[name](ops, x), cases.INTEGERS[name](keras.ops, x))


@pytest.mark.parametrize("name", [*calls.CREATE, *calls.SPECIAL])
def test_call(name: str) -> None:
    call = {**calls.CREATE, **calls.SPECIAL}[name]
    assert_same(call(ops), call(keras.ops))


@pytest.mark.parametrize("name", [name for name in cases.UNARY if name != "sort"])
def test_scalar(name: str) -> None:
    assert_same(getattr(ops, name)(jnp.float32(0.3)), getattr(keras.ops, name)(jnp.float32(0.3)))


@pytest.mark.parametrize("name", [name for name in cases.UNARY if name not in cases.NOT_FOR["empty"]])
def test_no_elements(name: str) -> None:
    x = jnp.zeros((0, 3))
    assert_same(getattr(ops, name)(x), getattr(keras.ops, name)(x))


@pytest.mark.parametrize("number", [2, 2.5])
@pytest.mark.parametrize("dtype", ["int32", "bfloat16"])
@pytest.mark.parametrize("name", cases.BINARY)
def test_python_numbers_are_weakly_typed(name: str, dtype: str, number: float) -> None:
    x = jnp.asarray(BASE).astype(dtype)
    assert_same(getattr(ops, name)(x, number), getattr(keras.ops, name)(x, number))
    assert_same(getattr(ops, name)(number, x), getattr(keras.ops, name)(number, x))


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
