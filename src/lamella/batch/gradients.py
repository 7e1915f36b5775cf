"""Gradients of each sample by itself: how far each one pulls, and limits to that."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp

from lamella.batch.check import check_call
from lamella.batch.per_sample import per_sample
from lamella.core.axes import BATCH
from lamella.core.errors import ArgumentError, ShapeError


def per_sample_gradients(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Turn `loss(params, *batch) -> (batch,)` into a function that returns each sample's gradient to `params`.

    The gradients have the structure of `params`, with the samples as axis 0 in front of each array. They exist where
    samples do not mix, which is proven first: `MixesSamplesError` names the line otherwise.

    >>> squares = per_sample_gradients(lambda w, x, y: (x @ w - y) ** 2)
    >>> squares(jnp.array([1.0, 1.0]), jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([0.0, 7.0])).tolist()
    [[6.0, 12.0], [0.0, 0.0]]
    """

    @wraps(loss)
    def gradients(params: Any, *batch: Any) -> Any:
        arrays = [jax.tree.map(jnp.asarray, part) for part in batch]
        _prove(loss, params, arrays)

        def of_one(*sample: Any) -> Any:
            alone = jax.tree.map(lambda a: a[None], sample)
            return jax.grad(lambda values: loss(values, *alone)[0])(params)

        return per_sample(of_one)(*arrays)

    return gradients


def _prove(loss: Callable[..., Any], params: Any, arrays: list[Any]) -> None:
    if any(not leaf.shape for leaf in jax.tree.leaves(arrays)):
        raise ShapeError("The arrays of a batch have the samples as axis 0; one of them has no axis.", mend="x[None]")
    if not arrays:
        raise ArgumentError("per_sample_gradients needs a batch beside the parameters.", mend="gradients(params, x, y)")
    shape = jax.eval_shape(loss, params, *arrays).shape
    if shape != (leaves := jax.tree.leaves(arrays))[0].shape[:1]:
        raise ShapeError(
            f"The loss returns shape {shape} for {leaves[0].shape[0]} samples; it must be one number for each.",
            mend="mean over all axes but 0: jnp.mean(errors, axis=tuple(range(1, errors.ndim)))",
        )
    specs = jax.tree.map(lambda a: jax.ShapeDtypeStruct((BATCH, *a.shape[1:]), a.dtype), arrays)
    name = getattr(loss, "__name__", "loss")
    report = check_call(lambda *batch: loss(params, *batch), specs, name, training=False)
    report.need("per_sample_gradients", split=True)


def norm_per_sample(gradients: Any) -> Any:
    """Return the norm of each sample's gradients, over all arrays together: (samples, ...) -> (samples,).

    >>> norm_per_sample([jnp.array([[3.0], [0.0]]), jnp.array([4.0, 1.0])]).tolist()
    [5.0, 1.0]
    """
    squares = [jnp.sum(jnp.square(g.reshape(g.shape[0], -1)), axis=1) for g in jax.tree.leaves(gradients)]
    return jnp.sqrt(sum(squares[1:], squares[0]))


def clip_per_sample(gradients: Any, norm: float) -> Any:
    """Shorten each sample's gradients to a norm, over all arrays together: (samples, ...) -> (samples, ...).

    What differentially private training adds its noise to: Abadi et al., "Deep Learning with Differential Privacy",
    CCS 2016, https://arxiv.org/abs/1607.00133.

    >>> clip_per_sample(jnp.array([[3.0, 4.0], [0.25, 0.0]]), 2.5).tolist()
    [[1.5, 2.0], [0.25, 0.0]]
    """
    norms = norm_per_sample(gradients)
    factors = jnp.minimum(1.0, norm / jnp.where(norms == 0, 1.0, norms))
    return jax.tree.map(lambda g: g * factors.reshape((-1,) + (1,) * (g.ndim - 1)).astype(g.dtype), gradients)
