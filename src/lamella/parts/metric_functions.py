"""Metric functions: targets and predictions -> one number for each sample (and step)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lamella.core.registry import Registry
from lamella.parts.loss_functions import class_ids, cosine_similarity
from lamella.parts.shapes import as_array, same_rank

functions = Registry("metric function")


def _pair(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    return same_rank(as_array(y_true), as_array(y_pred))


def _float(matches: Any) -> Any:
    return matches.astype(jnp.result_type(float))


@functions.register()
def accuracy(y_true: Any, y_pred: Any) -> Any:
    """(..., d) twice -> (...) how often they are equal."""
    y_true, y_pred = _pair(y_true, y_pred)
    return jnp.mean(_float(y_true == y_pred), axis=-1)


@functions.register()
def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    """(..., d) 0 or 1, and probabilities -> (...) how often these are on the right side.

    >>> round(float(binary_accuracy([1, 0, 1], [0.9, 0.8, 0.7])), 3)
    0.667
    """
    y_true, y_pred = _pair(y_true, y_pred)
    return jnp.mean(_float(y_true.astype(y_pred.dtype) == (y_pred > threshold).astype(y_pred.dtype)), axis=-1)


@functions.register()
def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """(..., classes) one-hot targets and scores -> (...) 1 where the best score is the target's."""
    y_true, y_pred = _pair(y_true, y_pred)
    return _float(jnp.argmax(y_true, axis=-1) == jnp.argmax(y_pred, axis=-1))


@functions.register()
def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """(...) class numbers, (..., classes) scores -> (...) 1 where the best score is the target's."""
    y_pred = as_array(y_pred)
    return _float(class_ids(y_true, y_pred) == jnp.argmax(y_pred, axis=-1))


@functions.register()
def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """(..., classes) one-hot targets and scores -> (...) 1 where the target is among the k best scores."""
    return sparse_top_k_categorical_accuracy(jnp.argmax(as_array(y_true), axis=-1), y_pred, k)


@functions.register()
def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> Any:
    """(...) class numbers, (..., classes) scores -> (...) 1 where the target is among the k best scores.

    With `from_sorted_ids` the predictions are class numbers, the best first.
    """
    y_pred = as_array(y_pred)
    ids = class_ids(y_true, y_pred)[..., None]
    if from_sorted_ids:
        return _float(jnp.any(y_pred[..., :k].astype(ids.dtype) == ids, axis=-1))
    score = jnp.take_along_axis(y_pred, ids, axis=-1)
    return _float(jnp.sum(y_pred > score, axis=-1) < k)


def cosine(y_true: Any, y_pred: Any, axis: Any = -1) -> Any:
    """(..., d) twice -> (...) the cosine of the angle between the vectors."""
    return -cosine_similarity(y_true, y_pred, axis)


def _centred(y_true: Any, y_pred: Any, axis: Any) -> tuple[Any, Any, Any, Any]:
    y_true, y_pred = _pair(as_array(y_true, jnp.result_type(float)), y_pred)
    means = [jnp.mean(y, axis=axis, keepdims=True) for y in (y_true, y_pred)]
    return y_true - means[0], y_pred - means[1], *(jnp.squeeze(mean, axis) for mean in means)


@functions.register()
def pearson_correlation(y_true: Any, y_pred: Any, axis: Any = -1) -> Any:
    """(..., d) twice -> (...) the correlation along an axis; NaN where one of the two does not vary."""
    a, b, *_ = _centred(y_true, y_pred, axis)
    spread = jnp.sqrt(jnp.sum(a * a, axis=axis) * jnp.sum(b * b, axis=axis))
    return jnp.sum(a * b, axis=axis) / spread


@functions.register()
def concordance_correlation(y_true: Any, y_pred: Any, axis: Any = -1) -> Any:
    """(..., d) twice -> (...) the agreement with the line y = x (Lin, 1989); 1 is full agreement."""
    a, b, mean_a, mean_b = _centred(y_true, y_pred, axis)
    both = jnp.mean(a * a, axis=axis) + jnp.mean(b * b, axis=axis) + jnp.square(mean_a - mean_b)
    return 2.0 * jnp.mean(a * b, axis=axis) / both


def one_hot_best(y_pred: Any, k: int) -> Any:
    """(..., classes) scores -> (..., classes) True at the k best."""
    best = jax.lax.top_k(y_pred, k)[1]
    return jnp.sum(jax.nn.one_hot(best, y_pred.shape[-1], dtype="int32"), axis=-2) > 0
