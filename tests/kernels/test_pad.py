"""Enlarging by neighbours beside the plain form: values, gradients, other modes, dtypes, symbolic sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lamella import batch, kernels
from lamella.kernels import pad

DRAW = np.random.default_rng(8)
SIZES = [(2, 2), (3, 1), (1, 4)]
METHODS = ["nearest", "bilinear"]


def draw(data_format: str, dtype: str = "float32", rows: int = 5) -> Any:
    shape = (2, rows, 4, 3) if data_format == "channels_last" else (2, 3, rows, 4)
    return jnp.asarray(DRAW.normal(size=shape), dtype)


def weighed(y: Any) -> Any:
    return jnp.sum(jnp.sin(jnp.arange(y.size, dtype=y.dtype).reshape(y.shape)) * y**2)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
class TestBesideThePlainForm:
    def test_values_and_gradients(self, method: str, size: Any, data_format: str) -> None:
        x = draw(data_format)
        fast, plain = (
            jax.value_and_grad(lambda x, form=form: weighed(form(x, size, data_format, method)))(x)
            for form in (kernels.upsample, pad.upsample_plain)
        )
        np.testing.assert_allclose(fast[0], plain[0], rtol=1e-5)
        np.testing.assert_allclose(fast[1], plain[1], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("rows", [1, 2])
    def test_few_rows(self, method: str, size: Any, data_format: str, rows: int) -> None:
        x = draw(data_format, rows=rows)
        fast, plain = (form(x, size, data_format, method) for form in (kernels.upsample, pad.upsample_plain))
        np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-6)


def enlarge(method: str) -> Callable[[Any], Any]:
    return lambda x: kernels.upsample(x, (2, 3), "channels_last", method)


@pytest.mark.parametrize("method", METHODS)
class TestOtherModes:
    def test_forward_mode_is_linear(self, method: str) -> None:
        x, t = draw("channels_last"), draw("channels_last")
        form = enlarge(method)
        np.testing.assert_allclose(jax.jvp(form, (x,), (t,))[1], form(t), rtol=1e-6)

    def test_many_at_once(self, method: str) -> None:
        x = draw("channels_last")
        form = enlarge(method)
        np.testing.assert_array_equal(jax.vmap(lambda row: form(row[None])[0])(x), form(x))

    def test_other_dtypes(self, method: str) -> None:
        half = draw("channels_last", "bfloat16")
        fast = kernels.upsample(half, (2, 2), "channels_last", method)
        plain = pad.upsample_plain(half, (2, 2), "channels_last", method)
        assert fast.dtype == plain.dtype == "bfloat16"
        np.testing.assert_allclose(np.asarray(fast, "float32"), np.asarray(plain, "float32"), rtol=0.03, atol=0.03)
        with jax.enable_x64():
            double = draw("channels_last", "float64")
            fast = kernels.upsample(double, (2, 2), "channels_last", method)
            plain = pad.upsample_plain(double, (2, 2), "channels_last", method)
            assert fast.dtype == "float64"
            np.testing.assert_allclose(fast, plain, rtol=1e-6, atol=1e-9)

    def test_proven_independent(self, method: str) -> None:
        def gradient(x: Any) -> Any:
            return jax.grad(lambda x: jnp.sum(kernels.upsample(x, (2, 2), "channels_last", method) ** 3))(x)

        assert batch.check(gradient, (None, 4, 5, 2)).independent

    def test_symbolic_rows(self, method: str) -> None:
        n, rows = jax.export.symbolic_shape("n, rows")
        form = jax.jit(enlarge(method))
        exported = jax.export.export(form)(jax.ShapeDtypeStruct((n, rows, 4, 3), "float32"))
        x = draw("channels_last")
        np.testing.assert_allclose(exported.call(x), form(x), rtol=1e-6)


def test_between_integers() -> None:
    out = kernels.upsample(jnp.asarray([[[[0], [4]]]]), (1, 2), "channels_last", "bilinear")
    assert out.dtype == "float32"
    np.testing.assert_array_equal(out[0, 0, :, 0], [0, 1, 3, 4])


def test_many_copies_make_no_large_program() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 2)), "float32")
    np.testing.assert_array_equal(kernels.upsample(x, (100,), "channels_last"), np.repeat(x, 100, axis=1))
    program = jax.make_jaxpr(lambda x: kernels.upsample(x, (10**6,), "channels_last", "bilinear"))(x)
    assert len(program.eqns) < 100
