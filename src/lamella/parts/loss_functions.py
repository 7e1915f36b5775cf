"""Loss functions: targets and predictions -> one number for each sample (and step), not yet averaged."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from lamella import kernels, ops
from lamella.core.errors import ShapeError
from lamella.core.registry import Registry
from lamella.core.settings import epsilon
from lamella.parts.shapes import as_array, same_rank

losses = Registry("loss")


def _pair(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    y_pred = as_array(y_pred)
    if not jnp.issubdtype(y_pred.dtype, jnp.floating):
        y_pred = y_pred.astype(jnp.result_type(float))
    return same_rank(as_array(y_true).astype(y_pred.dtype), y_pred)


def _same_shape(y_true: Any, y_pred: Any) -> None:
    if y_true.ndim != y_pred.ndim or any(a != b for a, b in zip(y_true.shape, y_pred.shape, strict=True)):
        raise ShapeError(f"y_true has shape {y_true.shape} and y_pred has {y_pred.shape}; they must be the same.")


# -- regression ------------------------------------------------------------------------------------


@losses.register("mse", "MSE")
def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """(..., d) twice -> (...) `mean((y_true - y_pred)**2)`.

    >>> mean_squared_error([[0.0, 1.0]], [[2.0, 1.0]]).tolist()
    [2.0]
    """
    y_true, y_pred = _pair(y_true, y_pred)
    return jnp.mean(jnp.square(y_true - y_pred), axis=-1)


@losses.register("mae", "MAE")
def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """(..., d) twice -> (...) `mean(abs(y_true - y_pred))`."""
    y_true, y_pred = _pair(y_true, y_pred)
    return jnp.mean(jnp.abs(y_true - y_pred), axis=-1)


@losses.register("mape", "MAPE")
def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    """(..., d) twice -> (...) `100 * mean(abs((y_true - y_pred) / y_true))`, in percent."""
    y_true, y_pred = _pair(y_true, y_pred)
    return 100.0 * jnp.mean(jnp.abs((y_true - y_pred) / jnp.maximum(jnp.abs(y_true), epsilon())), axis=-1)


@losses.register("msle", "MSLE")
def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    """(..., d) twice -> (...) `mean((log(1 + y_true) - log(1 + y_pred))**2)`; values below 0 count as 0."""
    y_true, y_pred = (jnp.log(jnp.maximum(y, epsilon()) + 1.0) for y in _pair(y_true, y_pred))
    return jnp.mean(jnp.square(y_true - y_pred), axis=-1)


@losses.register()
def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    """(..., d) twice -> (...) a square up to `delta`, a straight line beyond (Huber, 1964)."""
    y_true, y_pred = _pair(y_true, y_pred)
    error = jnp.abs(y_pred - y_true)
    return jnp.mean(jnp.where(error <= delta, 0.5 * error * error, delta * error - 0.5 * delta * delta), axis=-1)


@losses.register("logcosh")
def log_cosh(y_true: Any, y_pred: Any) -> Any:
    """(..., d) twice -> (...) `mean(log(cosh(y_pred - y_true)))`."""
    y_true, y_pred = _pair(y_true, y_pred)
    error = y_pred - y_true
    return jnp.mean(error + jax.nn.softplus(-2.0 * error) - math.log(2.0), axis=-1)


@losses.register()
def poisson(y_true: Any, y_pred: Any) -> Any:
    """(..., d) counts and rates -> (...) `mean(y_pred - y_true * log(y_pred))`."""
    y_true, y_pred = _pair(y_true, y_pred)
    return jnp.mean(y_pred - y_true * jnp.log(y_pred + epsilon()), axis=-1)


@losses.register()
def cosine_similarity(y_true: Any, y_pred: Any, axis: Any = -1) -> Any:
    """(..., d) twice -> (...) minus the cosine of the angle between the vectors: -1 where they agree."""
    y_true, y_pred = (unit(y, axis) for y in _pair(y_true, y_pred))
    return -jnp.sum(y_true * y_pred, axis=axis)


def unit(x: Any, axis: Any) -> Any:
    """Return vectors along an axis with length 1; zeros stay zeros."""
    square = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, epsilon() ** 2))


# -- hinges ----------------------------------------------------------------------------------------


def _signs(y_true: Any) -> Any:
    """Turn targets of 0 and 1 into -1 and 1; any others stay."""
    return jnp.where(jnp.all((y_true == 0) | (y_true == 1)), 2.0 * y_true - 1.0, y_true)


@losses.register()
def hinge(y_true: Any, y_pred: Any) -> Any:
    """(..., d) signs (or 0 and 1) and scores -> (...) `mean(max(1 - y_true * y_pred, 0))`."""
    y_true, y_pred = _pair(y_true, y_pred)
    return jnp.mean(jnp.maximum(1.0 - _signs(y_true) * y_pred, 0.0), axis=-1)


@losses.register()
def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    """(..., d) signs (or 0 and 1) and scores -> (...) `mean(max(1 - y_true * y_pred, 0)**2)`."""
    y_true, y_pred = _pair(y_true, y_pred)
    return jnp.mean(jnp.square(jnp.maximum(1.0 - _signs(y_true) * y_pred, 0.0)), axis=-1)


@losses.register()
def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    """(..., classes) one-hot targets and scores -> (...) `max(1 + best wrong score - right score, 0)`."""
    y_true, y_pred = _pair(y_true, y_pred)
    right = jnp.sum(y_true * y_pred, axis=-1)
    wrong = jnp.max((1.0 - y_true) * y_pred, axis=-1)
    return jnp.maximum(wrong - right + 1.0, 0.0)


# -- probabilities ---------------------------------------------------------------------------------


def _inside(p: Any) -> Any:
    return jnp.clip(p, epsilon(), 1.0 - epsilon())


def _binary_terms(y_true: Any, y_pred: Any, from_logits: bool) -> Any:
    _same_shape(y_true, y_pred)
    if from_logits:
        return kernels.sigmoid_cross_entropy(y_pred, y_true)
    p = _inside(y_pred)
    return -(y_true * jnp.log(p) + (1.0 - y_true) * jnp.log(1.0 - p))


def _normalized(y_pred: Any, axis: Any) -> Any:
    return _inside(y_pred / jnp.sum(y_pred, axis=axis, keepdims=True))


@losses.register("bce", "BCE")
def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: Any = -1
) -> Any:
    """(..., d) 0 or 1, and probabilities (or logits) -> (...) the mean of `-log(probability of y_true)`."""
    y_true, y_pred = _pair(y_true, y_pred)
    y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return jnp.mean(_binary_terms(y_true, y_pred, from_logits), axis=axis)


@losses.register()
def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """(..., classes) target and predicted probabilities (or logits) -> (...) `-sum(y_true * log(y_pred))`."""
    y_true, y_pred = _pair(y_true, y_pred)
    _same_shape(y_true, y_pred)
    y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_pred.shape[axis]
    if from_logits:
        return kernels.softmax_cross_entropy(y_pred, y_true, axis)
    return -jnp.sum(y_true * jnp.log(_normalized(y_pred, axis)), axis=axis)


@losses.register()
def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Any:
    """(...) class numbers, (..., classes) probabilities (or logits) -> (...) `-log(y_pred[y_true])`.

    Targets equal to `ignore_class`, or outside of the classes, have loss 0.

    >>> round(float(sparse_categorical_crossentropy([1], [[0.5, 0.5]])[0]), 4)
    0.6931
    """
    y_pred = as_array(y_pred)
    ids = class_ids(y_true, y_pred)
    others = tuple(dim for index, dim in enumerate(y_pred.shape) if index != axis % y_pred.ndim)
    if ids.ndim != len(others) or any(a != b for a, b in zip(ids.shape, others, strict=True)):
        raise ShapeError(
            f"y_true must be class numbers of shape {others} beside y_pred {y_pred.shape}, got {ids.shape}.",
            mend="loss='categorical_crossentropy'" if ids.ndim == y_pred.ndim else None,
        )
    counted = (ids >= 0) & (ids < y_pred.shape[axis]) & (True if ignore_class is None else ids != ignore_class)
    ids = jnp.where(counted, ids, 0)
    if from_logits:
        out = kernels.sparse_softmax_cross_entropy(y_pred, ids, axis)
    else:
        p = jnp.take_along_axis(_normalized(y_pred, axis), jnp.expand_dims(ids, axis), axis=axis)
        out = -jnp.log(jnp.squeeze(p, axis))
    return jnp.where(counted, out, 0.0)


def class_ids(y_true: Any, y_pred: Any) -> Any:
    """Return targets as integers, without the last axis of 1 that a column of labels has."""
    ids = as_array(y_true).astype("int32")
    column = ids.ndim == y_pred.ndim and ids.ndim > 0 and isinstance(ids.shape[-1], int) and ids.shape[-1] == 1
    return jnp.squeeze(ids, -1) if column else ids


@losses.register()
def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: Any = -1,
) -> Any:
    """Binary cross-entropy that counts what is well predicted less, by `(1 - p)**gamma` (Lin, 2018)."""
    y_true, y_pred = _pair(y_true, y_pred)
    y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    p = jax.nn.sigmoid(y_pred) if from_logits else y_pred
    right = y_true * p + (1.0 - y_true) * (1.0 - p)
    out = jnp.power(1.0 - right, gamma) * _binary_terms(y_true, y_pred, from_logits)
    if apply_class_balancing:
        out = out * (y_true * alpha + (1.0 - y_true) * (1.0 - alpha))
    return jnp.mean(out, axis=axis)


@losses.register()
def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """Cross-entropy that counts what is well predicted less; `alpha` weights classes (Lin et al., 2018)."""
    y_true, y_pred = _pair(y_true, y_pred)
    _same_shape(y_true, y_pred)
    y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_pred.shape[axis]
    p = jax.nn.softmax(y_pred, axis) if from_logits else y_pred
    p = _normalized(p, axis)
    factor = jnp.power(1.0 - p, gamma) * as_array(alpha, p.dtype)
    return -jnp.sum(factor * y_true * jnp.log(p), axis=axis)


@losses.register()
def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Any:
    """(...) class numbers, (..., classes) probabilities -> (...) `(1 - p**q) / q`, for noisy labels.

    Zhang and Sabuncu (2018); it goes from cross-entropy (q near 0) to absolute error (q = 1).
    """
    y_pred = as_array(y_pred)
    hot = jax.nn.one_hot(class_ids(y_true, y_pred), y_pred.shape[-1], dtype=y_pred.dtype)
    return (1.0 - jnp.power(jnp.sum(hot * y_pred, axis=-1), q)) / q


@losses.register("kld", "KLD")
def kl_divergence(y_true: Any, y_pred: Any) -> Any:
    """(..., d) probabilities twice -> (...) `sum(y_true * log(y_true / y_pred))`."""
    y_true, y_pred = (jnp.clip(y, epsilon(), 1.0) for y in _pair(y_true, y_pred))
    return jnp.sum(y_true * jnp.log(y_true / y_pred), axis=-1)


# -- sequences and pairs ---------------------------------------------------------------------------


@losses.register()
def ctc(y_true: Any, y_pred: Any) -> Any:
    """(batch, labels), 0 after the last, and (batch, time, classes) logits, class 0 between labels -> (batch,).

    Minus the log-probability of all ways to write the labels over the steps (Graves et al., ICML 2006).
    """
    y_true, y_pred = as_array(y_true), as_array(y_pred)
    if y_true.ndim != 2 or y_pred.ndim != 3:
        raise ShapeError(
            f"ctc takes labels (batch, labels) and logits (batch, time, classes); "
            f"got {y_true.shape} and {y_pred.shape}."
        )
    steps = jnp.full(y_pred.shape[:1], y_pred.shape[1], "int32")
    return ops.ctc_loss(y_true, y_pred, jnp.sum(y_true != 0, -1), steps)


@losses.register()
def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80.0,
    margin: float = 0.4,
) -> Any:
    """(batch,) class numbers, (batch, features) embeddings of length one -> (batch,): near within a class, far without.

    Pairs are made with the references, or within the batch, where `remove_diagonal` leaves out each sample's pair with
    itself. A sample without a pair of both kinds has loss 0 (Sun et al., "Circle Loss", CVPR 2020).
    """
    y_pred, ids = as_array(y_pred), as_array(y_true).astype("int32").ravel()
    others = y_pred if ref_embeddings is None else as_array(ref_embeddings)
    other_ids = ids if ref_labels is None else as_array(ref_labels).astype("int32").ravel()
    near = ids[:, None] == other_ids
    far = ~near
    if remove_diagonal:
        near = near & (jnp.arange(ids.shape[0])[:, None] != jnp.arange(other_ids.shape[0]))
    distance = jnp.maximum(1.0 - y_pred @ others.T, 0.0)
    attracted = -gamma * (margin + distance) * (margin - distance)
    repelled = gamma * jnp.maximum(1.0 + margin - distance, 0.0) * (1.0 - margin - distance)
    within = jax.nn.logsumexp(jnp.where(near, attracted, -jnp.inf), axis=1)
    between = jax.nn.logsumexp(jnp.where(far, repelled, -jnp.inf), axis=1)
    return jax.nn.softplus(within + between)


# -- overlaps --------------------------------------------------------------------------------------


@losses.register()
def dice(y_true: Any, y_pred: Any, axis: Any = None) -> Any:
    """One minus twice the overlap over the sum of both, along `axis` (None: over everything)."""
    y_true, y_pred = _pair(y_true, y_pred)
    overlap = jnp.sum(y_true * y_pred, axis=axis)
    both = jnp.sum(y_true, axis=axis) + jnp.sum(y_pred, axis=axis)
    return 1.0 - (2.0 * overlap + epsilon()) / (both + epsilon())


@losses.register()
def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Any = None) -> Any:
    """`dice` with a weight for misses (alpha) and for wrong finds (beta) (Salehi et al., 2017)."""
    y_true, y_pred = _pair(y_true, y_pred)
    overlap = jnp.sum(y_true * y_pred, axis=axis)
    wrong = jnp.sum((1.0 - y_true) * y_pred, axis=axis)
    missed = jnp.sum(y_true * (1.0 - y_pred), axis=axis)
    return 1.0 - (overlap + epsilon()) / (overlap + missed * alpha + wrong * beta + epsilon())
