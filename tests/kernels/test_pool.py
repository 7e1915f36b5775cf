"""Pooling by slices beside its plain form: values, gradients, ties, other modes of differentiation, dtypes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lamella import kernels
from lamella.kernels import pool

DRAW = np.random.default_rng(4)
CASES = [
    ((2,), (2,), "valid", (3, 9, 4)),
    ((3,), (2,), "same", (3, 9, 4)),
    ((2, 2), (2, 2), "valid", (2, 7, 8, 3)),
    ((3, 2), (2, 1), "same", (2, 7, 8, 3)),
    ((2, 2), (3, 3), "same", (2, 7, 8, 3)),
    ((1, 1), (2, 2), "same", (2, 7, 8, 3)),
    ((2, 3, 2), (1, 2, 2), "same", (1, 5, 6, 4, 2)),
]
FORMS = ["channels_last", "channels_first"]


def inputs(shape: tuple[int, ...], data_format: str, ties: bool = False) -> Any:
    x = DRAW.integers(0, 3, shape) if ties else DRAW.normal(size=shape)
    return jnp.asarray(np.moveaxis(x, -1, 1) if data_format == "channels_first" else x, "float32")


def both(monkeypatch: pytest.MonkeyPatch, compute: Any) -> tuple[Any, Any]:
    """The result by slices, and by the plain form."""
    fast = compute()
    monkeypatch.setattr(pool, "_by_slices", lambda *_: False)
    return fast, compute()


@pytest.mark.parametrize("data_format", FORMS)
@pytest.mark.parametrize(("size", "strides", "padding", "shape"), CASES)
@pytest.mark.parametrize("kind", ["max_pool", "average_pool"])
class TestBesideThePlainForm:
    def test_values(
        self, monkeypatch: Any, kind: str, size: Any, strides: Any, padding: str, shape: Any, data_format: str
    ) -> None:
        x = inputs(shape, data_format)
        fast, plain = both(monkeypatch, lambda: getattr(kernels, kind)(x, size, strides, padding, data_format))
        np.testing.assert_allclose(fast, plain, rtol=1e-6, atol=1e-7)

    def test_gradients_with_ties(
        self, monkeypatch: Any, kind: str, size: Any, strides: Any, padding: str, shape: Any, data_format: str
    ) -> None:
        x = inputs(shape, data_format, ties=True)

        def loss(x: Any) -> Any:
            out = getattr(kernels, kind)(x, size, strides, padding, data_format)
            return jnp.sum(jnp.sin(jnp.arange(out.size, dtype="float32").reshape(out.shape)) * out)

        fast, plain = both(monkeypatch, lambda: jax.grad(loss)(x))
        np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("data_format", FORMS)
@pytest.mark.parametrize("output_size", [(3, 4), (1, 8), (5, 11), (7, 2)])
@pytest.mark.parametrize("kind", ["average", "max"])
def test_adaptive_pooling(kind: str, output_size: tuple[int, int], data_format: str) -> None:
    x = inputs((2, 7, 8, 3), data_format)
    pooled = getattr(kernels, f"adaptive_{kind}_pool")(x, output_size, data_format)
    last = np.moveaxis(np.asarray(x), 1, -1) if data_format == "channels_first" else np.asarray(x)
    by_hand = last
    for axis, parts in enumerate(output_size, 1):
        size = last.shape[axis]
        edges = [(part * size // parts, -(-(part + 1) * size // parts)) for part in range(parts)]
        reduce = np.mean if kind == "average" else np.max
        by_hand = np.stack([reduce(by_hand.take(range(a, b), axis), axis) for a, b in edges], axis)
    wanted = np.moveaxis(by_hand, -1, 1) if data_format == "channels_first" else by_hand
    np.testing.assert_allclose(pooled, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("reduce", [jnp.mean, pool._largest_of])
@pytest.mark.parametrize("parts", [2, 4, 7, 11])
def test_parts_beside_the_plain_form(reduce: Any, parts: int) -> None:
    x = inputs((2, 8, 3), "channels_last", ties=True)

    def both_of(form: Any) -> Any:
        out, turn = jax.vjp(lambda x: form(reduce, x, 1, parts), x)
        return out, turn(jnp.sin(jnp.arange(out.size, dtype="float32").reshape(out.shape)))[0]

    for fast, plain in zip(both_of(pool._reduced_parts), both_of(pool.adaptive_pool_plain), strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-6)


def test_forward_mode_and_second_derivatives() -> None:
    # No two values are close, so that small steps do not change which is the largest.
    x = jnp.asarray(DRAW.permutation(144).reshape(2, 6, 6, 2) / 50, "float32")
    t = inputs((2, 6, 6, 2), "channels_last")

    def loss(x: Any) -> Any:
        return jnp.sum(kernels.max_pool(x, (2, 2), (2, 2), "valid", "channels_last") ** 3)

    gradient = jax.grad(loss)
    np.testing.assert_allclose(jax.jvp(loss, (x,), (t,))[1], jnp.sum(gradient(x) * t), rtol=1e-4)
    step = 1e-3
    differences = (gradient(x + step * t) - gradient(x - step * t)) / (2 * step)
    np.testing.assert_allclose(jax.jvp(gradient, (x,), (t,))[1], differences, rtol=0.01, atol=0.05)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int32"])
def test_other_dtypes(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    x = (inputs((2, 6, 5, 3), "channels_last") * 10).astype(dtype)
    fast, plain = both(monkeypatch, lambda: kernels.max_pool(x, (3, 2), (2, 2), "same", "channels_last"))
    assert fast.dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(fast, "float32"), np.asarray(plain, "float32"))


def test_many_at_once_and_large_windows() -> None:
    x = inputs((2, 40, 40, 1), "channels_last")
    mapped = jax.vmap(lambda row: kernels.max_pool(row[None], (2, 2), (2, 2), "valid", "channels_last")[0])(x)
    np.testing.assert_array_equal(mapped, kernels.max_pool(x, (2, 2), (2, 2), "valid", "channels_last"))
    whole = kernels.max_pool(x, (20, 20), (20, 20), "valid", "channels_last")
    np.testing.assert_array_equal(whole, np.asarray(x).reshape(2, 2, 20, 2, 20, 1).max((2, 4)))


def test_nan_comes_through() -> None:
    x = inputs((1, 4, 4, 1), "channels_last").at[0, 0, 0, 0].set(jnp.nan)
    out = np.asarray(kernels.max_pool(x, (2, 2), (2, 2), "valid", "channels_last"))
    assert np.isnan(out[0, 0, 0, 0]) and np.isfinite(out).sum() == 3
