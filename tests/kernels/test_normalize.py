"""Normalization beside its plain forms: values, gradients, accuracy, other modes of differentiation, dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lamella import batch, kernels
from lamella.kernels import normalize

DRAW = np.random.default_rng(5)
EPSILON = 1e-3


def draw(*shape: int, dtype: str = "float32") -> Any:
    return jnp.asarray(DRAW.normal(size=shape) + 0.5, dtype)


def over_batch(axis: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return (
        lambda *a: kernels.batch_norm_in_training(*a, axis, EPSILON),
        lambda *a: normalize.batch_norm_in_training_plain(*a, axis, EPSILON),
    )


def over_features() -> tuple[Callable[..., Any], Callable[..., Any]]:
    return (
        lambda *a: kernels.layer_norm(*a, -1, EPSILON),
        lambda *a: normalize.layer_norm_plain(*a, (a[0].ndim - 1,), EPSILON),
    )


CASES = [
    pytest.param(*over_batch(-1), (4, 5, 3, 6), 6, id="batch-last"),
    pytest.param(*over_batch(1), (4, 6, 5), 6, id="batch-first"),
    pytest.param(*over_batch(-1), (7, 1), 1, id="batch-one-channel"),
    pytest.param(*over_features(), (4, 5, 3, 6), 6, id="layer"),
    pytest.param(*over_features(), (3, 1), 1, id="layer-one-feature"),
    pytest.param(*over_features(), (2, 130), 130, id="layer-rows"),
]


def loss_of(normalize: Any) -> Any:
    """A loss of every output, in which no two places count alike."""

    def loss(*args: Any) -> Any:
        leaves = jax.tree.leaves(normalize(*args))
        return sum(jnp.sum(jnp.sin(jnp.arange(y.size, dtype=y.dtype).reshape(y.shape)) * y**2) for y in leaves)

    return loss


@pytest.mark.parametrize(("fast", "plain", "shape", "width"), CASES)
class TestBesideThePlainForm:
    def test_values(self, fast: Any, plain: Any, shape: Any, width: int) -> None:
        args = draw(*shape), draw(width), draw(width)
        for one, other in zip(jax.tree.leaves(fast(*args)), jax.tree.leaves(plain(*args)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)

    def test_gradients(self, fast: Any, plain: Any, shape: Any, width: int) -> None:
        with jax.enable_x64():
            args = draw(*shape, dtype="float64"), draw(width, dtype="float64"), draw(width, dtype="float64")
            mine, theirs = (jax.grad(loss_of(f), (0, 1, 2))(*args) for f in (fast, plain))
        for one, other in zip(mine, theirs, strict=True):
            assert one.dtype == "float64"
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)

    def test_forward_mode_and_second_derivatives(self, fast: Any, plain: Any, shape: Any, width: int) -> None:
        with jax.enable_x64():
            args = draw(*shape, dtype="float64"), draw(width, dtype="float64"), draw(width, dtype="float64")
            along = tuple(draw(*a.shape, dtype="float64") for a in args)
            for mode in (lambda f: f, lambda f: jax.grad(f, (0, 1, 2))):
                mine, theirs = (jax.jvp(mode(loss_of(f)), args, along)[1] for f in (fast, plain))
                for one, other in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
                    np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)

    def test_without_scale_and_centre(self, fast: Any, plain: Any, shape: Any, width: int) -> None:
        args = draw(*shape), None, None
        for one, other in zip(jax.tree.leaves(fast(*args)), jax.tree.leaves(plain(*args)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)

    def test_half_precision(self, fast: Any, plain: Any, shape: Any, width: int) -> None:
        args = draw(*shape, dtype="bfloat16"), draw(width), draw(width)
        mine, theirs = (jax.tree.leaves(f(*args)) for f in (fast, plain))
        assert [y.dtype for y in mine] == [y.dtype for y in theirs]
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(np.asarray(one, "float32"), np.asarray(other, "float32"), rtol=0.01, atol=0.01)
        assert jax.grad(loss_of(fast))(*args).dtype == "bfloat16"

    def test_many_at_once(self, fast: Any, plain: Any, shape: Any, width: int) -> None:
        x, gamma, beta = draw(3, *shape), draw(3, width), draw(3, width)
        mapped = jax.vmap(jax.grad(loss_of(fast), (0, 1)))(x, gamma, beta)
        for i in range(3):
            alone = jax.grad(loss_of(fast), (0, 1))(x[i], gamma[i], beta[i])
            for one, other in zip(mapped, alone, strict=True):
                np.testing.assert_allclose(one[i], other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shift", [0.0, 100.0])
@pytest.mark.parametrize(("fast", "plain"), [over_batch(-1), over_features()], ids=["batch", "layer"])
def test_error_far_from_zero(fast: Any, plain: Any, shift: float) -> None:
    with jax.enable_x64():
        exact_args = draw(64, 9, 48, dtype="float64") + shift, draw(48, dtype="float64"), draw(48, dtype="float64")
        # What single precision can hold of them, so that both start from the same numbers.
        exact_args = tuple(a.astype("float32").astype("float64") for a in exact_args)
        exact = [np.asarray(g) for g in jax.grad(loss_of(plain), (0, 1, 2))(*exact_args)]
    args = tuple(jnp.asarray(np.asarray(a), "float32") for a in exact_args)
    for mine, theirs, truth in zip(
        *(jax.grad(loss_of(f), (0, 1, 2))(*args) for f in (fast, plain)), exact, strict=True
    ):
        least = 1e-6 * np.abs(truth).max()
        assert np.abs(mine - truth).max() <= 4 * np.abs(theirs - truth).max() + least


def test_other_axes_take_the_plain_form() -> None:
    x, gamma, beta = draw(2, 3, 4), draw(3, 4), draw(3, 4)
    out = kernels.layer_norm(x, gamma, beta, (1, 2), EPSILON)
    flat = kernels.layer_norm(x.reshape(2, 12), gamma.reshape(12), beta.reshape(12), -1, EPSILON)
    np.testing.assert_allclose(out.reshape(2, 12), flat, rtol=1e-5, atol=1e-6)


def test_a_mask_leaves_steps_out() -> None:
    x, gamma, beta = draw(3, 4, 2), draw(2), draw(2)
    mask = jnp.asarray([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]], "bool")
    _, mean, variance = kernels.batch_norm_in_training(x, gamma, beta, -1, EPSILON, mask)
    kept = np.asarray(x)[np.asarray(mask)]
    np.testing.assert_allclose(mean, kept.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, kept.var(0), rtol=1e-5)


def test_layer_normalization_is_proven_independent() -> None:
    gamma, beta = draw(5), draw(5)

    def gradient(x: Any) -> Any:
        return jax.grad(lambda x: jnp.sum(kernels.layer_norm(x, gamma, beta, -1, EPSILON) ** 3))(x)

    assert batch.check(gradient, (None, 4, 5)).independent
