"""Attention with the heads first beside its plain form: values, gradients, masks, other modes, dtypes, the proof."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lamella import batch, kernels
from lamella.kernels import attend

DRAW = np.random.default_rng(6)


def draw(*shape: int, dtype: str = "float32") -> Any:
    return jnp.asarray(DRAW.normal(size=shape), dtype)


def qkv(dtype: str = "float32", key_heads: int = 4) -> tuple[Any, Any, Any]:
    return draw(2, 5, 4, 8, dtype=dtype), draw(2, 7, key_heads, 8, dtype=dtype), draw(2, 7, key_heads, 3, dtype=dtype)


def plain(*args: Any, **options: Any) -> Any:
    """Attention by the form of other platforms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attend, "_heads_first", attend.attention_plain)
        return kernels.attention(*args, **options)


OPTIONS: dict[str, dict[str, Any]] = {
    "bare": {},
    "causal": {"is_causal": True},
    "mask": {"mask": jnp.asarray(DRAW.integers(0, 2, (2, 1, 5, 7)), "bool")},
    "nothing kept": {"mask": jnp.zeros((2, 4, 5, 7), "bool")},
    "bias": {"bias": draw(1, 4, 5, 7)},
    "soft cap": {"soft_cap": 0.7, "bias": draw(2, 1, 1, 7)},
}


def loss(form: Any, options: Any) -> Any:
    def loss(*args: Any) -> Any:
        out = form(*args, scale=0.3, **options)
        return jnp.sum(jnp.sin(jnp.arange(out.size, dtype=out.dtype).reshape(out.shape)) * out**2)

    return loss


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("key_heads", [4, 2])
class TestBesideThePlainForm:
    def test_values(self, options: Any, key_heads: int) -> None:
        args = qkv(key_heads=key_heads)
        fast = kernels.attention(*args, scale=0.3, **options)
        np.testing.assert_allclose(fast, plain(*args, scale=0.3, **options), rtol=1e-5, atol=1e-6)

    def test_derivatives_of_both_orders(self, options: Any, key_heads: int) -> None:
        with jax.enable_x64():
            args, along = qkv("float64", key_heads), qkv("float64", key_heads)
            for mode in (lambda f: jax.grad(f, (0, 1, 2)), lambda f: jax.jvp(jax.grad(f, (0, 1, 2)), args, along)[1]):
                mine, theirs = (mode(loss(form, options)) for form in (kernels.attention, plain))
                if callable(mine):
                    mine, theirs = mine(*args), theirs(*args)
                for one, other in zip(mine, theirs, strict=True):
                    assert one.dtype == "float64"
                    np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)


def test_gradient_of_a_bias() -> None:
    args, bias = qkv(), draw(1, 4, 5, 7)
    mine, theirs = (
        jax.grad(lambda bias, form=form: loss(form, {"bias": bias})(*args))(bias) for form in (kernels.attention, plain)
    )
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_error(size: float) -> None:
    args = [np.asarray(draw(2, 40, 2, 16)) * factor for factor in (size, 1, 1)]
    with jax.enable_x64():
        truth = [np.asarray(g) for g in jax.grad(loss(plain, {}), (0, 1, 2))(*(a.astype("float64") for a in args))]
    mine, theirs = (jax.grad(loss(form, {}), (0, 1, 2))(*map(jnp.asarray, args)) for form in (kernels.attention, plain))
    for one, other, exact in zip(mine, theirs, truth, strict=True):
        assert np.abs(one - exact).max() <= 4 * np.abs(other - exact).max() + 1e-6 * np.abs(exact).max()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype: str) -> None:
    args = qkv(dtype)
    fast, slow = (form(*args, scale=0.3) for form in (kernels.attention, plain))
    assert fast.dtype == slow.dtype == dtype
    np.testing.assert_allclose(np.asarray(fast, "float32"), np.asarray(slow, "float32"), rtol=0.02, atol=0.02)
    assert [g.dtype for g in jax.grad(loss(kernels.attention, {}), (0, 1, 2))(*args)] == [dtype] * 3


def test_many_at_once() -> None:
    many = [jnp.stack(each) for each in zip(qkv(), qkv(), qkv(), strict=True)]
    mapped = jax.vmap(jax.grad(loss(kernels.attention, {})))(*many)
    for i in range(3):
        alone = jax.grad(loss(kernels.attention, {}))(*(x[i] for x in many))
        np.testing.assert_allclose(mapped[i], alone, rtol=1e-4, atol=1e-5)


def test_no_samples() -> None:
    assert kernels.attention(draw(0, 5, 4, 8), draw(0, 7, 4, 8), draw(0, 7, 4, 3), scale=1.0).shape == (0, 5, 4, 3)


def test_proven_independent() -> None:
    def gradient(x: Any) -> Any:
        return jax.grad(lambda x: jnp.sum(kernels.attention(x, x, x, scale=0.5, is_causal=True) ** 3))(x)

    assert batch.check(gradient, (None, 6, 2, 4)).independent


def test_cudnn_is_asked_only_for_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which calls go there, and with what; the kernel itself runs on an NVIDIA GPU only."""
    asked: list[dict[str, Any]] = []

    def cudnn(query: Any, key: Any, value: Any, bias: Any, mask: Any, **options: Any) -> Any:
        asked.append({"mask": mask, **options})
        return jnp.zeros((*query.shape[:-1], value.shape[-1]), query.dtype)

    monkeypatch.setattr(jax.nn, "dot_product_attention", cudnn)
    half = [draw(2, 5, 4, 16, dtype="bfloat16") for _ in range(3)]
    mask = jnp.ones((2, 1, 5, 5), bool)
    kernels.attention(*half, scale=0.25, mask=mask, flash=True)
    assert not asked, "this is a CPU"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    kernels.attention(*half, scale=0.25, mask=mask, is_causal=True, flash=True)
    (options,) = asked
    assert options.pop("mask") is mask
    assert options == {"scale": 0.25, "is_causal": True, "implementation": "cudnn"}
    kernels.attention(*half, scale=0.25)
    kernels.attention(*half, scale=0.25, soft_cap=2.0, flash=True)
    kernels.attention(*(x.astype("float32") for x in half), scale=0.25, flash=True)
    kernels.attention(*(x[..., :5] for x in half), scale=0.25, flash=True)
    kernels.attention(*(jnp.tile(x, 16) for x in half), scale=0.25, flash=True)

    def attended(x: Any) -> Any:
        x = x.astype("bfloat16")
        return kernels.attention(x, x, x, scale=0.25, flash=True)

    assert batch.check(attended, half[0].shape[1:]).independent, "a batch of any size has no size to go by"
    assert len(asked) == 1
