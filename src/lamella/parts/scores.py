"""Metrics of whole classes and outputs: F-scores, R squared, intersection over union."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.masked import value_of
from lamella.core.settings import epsilon, one_of
from lamella.core.variable import Variable
from lamella.parts.confusion import aligned
from lamella.parts.loss import divide
from lamella.parts.metric import DeclaredMetric, metrics
from lamella.parts.shapes import as_array


@metrics.register("f_beta_score", "fbeta_score")
class FBetaScore(DeclaredMetric):
    """The harmonic mean of precision and recall, recall counting beta times as much: (batch, classes) twice.

    One score for each class, or their "macro" mean, their mean "weighted" by targets, or a "micro" score over
    all. Without a threshold the best score of a sample is its yes.
    """

    average: str | None = None
    beta: float = 1.0
    threshold: float | None = None
    name: str = "fbeta_score"
    dtype: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.average is not None:
            self.average = one_of("average", self.average, ("micro", "macro", "weighted"))
        if not self.beta > 0:
            raise ArgumentError(f"beta must be positive, got {self.beta!r}.")
        self._state: list[Variable] = []

    def build(self, y_true_shape: Any, y_pred_shape: Any) -> None:
        """Make the counts of each class, once their number is known."""
        if not self._state:
            shape = () if self.average == "micro" else (y_pred_shape[-1],)
            names = ("true_positives", "false_positives", "false_negatives", "intermediate_weights")
            self._state = [self.add_variable(shape, name=name) for name in names]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch in."""
        y_true, y_pred, weights = aligned(y_true, y_pred, sample_weight)
        if y_pred.ndim != 2:
            raise ShapeError(f"{self.name} takes (batch, classes), got predictions of shape {y_pred.shape}.")
        self.build(y_true.shape, y_pred.shape)
        if self.threshold is None:
            yes = (y_pred >= jnp.max(y_pred, axis=-1, keepdims=True)) & (jnp.abs(y_pred) > 1e-9)
        else:
            yes = y_pred > self.threshold
        yes = yes.astype(self.dtype)
        axis = None if self.average == "micro" else 0
        parts = (yes * y_true, yes * (1 - y_true), (1 - yes) * y_true, y_true)
        for variable, part in zip(self._state, parts, strict=True):
            variable.assign_add(jnp.sum(part * weights, axis=axis))

    def result(self) -> Any:
        """Return the score, or one for each class; 0 before the first batch."""
        if not self._state:
            return jnp.zeros(())
        tp, fp, fn, targets = (variable.value for variable in self._state)
        precision, recall = divide(tp, tp + fp), divide(tp, tp + fn)
        square = self.beta**2
        score = divide((1 + square) * precision * recall, square * precision + recall)
        if self.average == "weighted":
            return jnp.sum(score * divide(targets, jnp.sum(targets)))
        return score if self.average is None else jnp.mean(score)


@metrics.register("f1_score")
class F1Score(FBetaScore):
    """The harmonic mean of precision and recall: (batch, classes) twice.

    >>> F1Score(threshold=0.5)([[1, 0], [1, 1]], [[0.9, 0.2], [0.8, 0.8]]).tolist()
    [1.0, 1.0]
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        dtype: Any = None,
    ) -> None:
        self.average, self.beta, self.threshold, self.name, self.dtype = average, 1.0, threshold, name, dtype
        self.__post_init__()


@metrics.register("r2_score")
class R2Score(DeclaredMetric):
    """The share of the targets' variance that is predicted: (batch, outputs) twice; 1 is perfect.

    Outputs are averaged ("uniform_average"), averaged by variance ("variance_weighted_average") or not (None);
    `num_regressors` > 0 adjusts for the number of inputs.
    """

    class_aggregation: str | None = "uniform_average"
    num_regressors: int = 0
    name: str = "r2_score"
    dtype: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.class_aggregation is not None:
            known = ("uniform_average", "variance_weighted_average")
            self.class_aggregation = one_of("class_aggregation", self.class_aggregation, known)
        if self.num_regressors < 0:
            raise ArgumentError(f"num_regressors must be at least 0, got {self.num_regressors!r}.")
        self.num_samples = self.add_variable(name="num_samples")
        self._state: list[Variable] = []

    def build(self, y_true_shape: Any, y_pred_shape: Any) -> None:
        """Make the sums of each output, once their number is known."""
        if not self._state:
            names = ("squared_sum", "sum", "residual", "count")
            self._state = [self.add_variable((y_pred_shape[-1],), name=name) for name in names]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch in."""
        y_true, y_pred, weights = aligned(y_true, y_pred, sample_weight)
        if y_pred.ndim != 2:
            raise ShapeError(f"R2Score takes (batch, outputs), got predictions of shape {y_pred.shape}.")
        self.build(y_true.shape, y_pred.shape)
        parts = (y_true * y_true, y_true, jnp.square(y_true - y_pred), jnp.ones_like(y_true))
        for variable, part in zip(self._state, parts, strict=True):
            variable.assign_add(jnp.sum(part * weights, axis=0))
        self.num_samples.assign_add(jnp.sum(jnp.ones_like(y_true)))

    def result(self) -> Any:
        """Return the score, or one for each output; 0 before the first batch."""
        if not self._state:
            return jnp.zeros(())
        squares, sums, residual, count = (variable.value for variable in self._state)
        total = squares - divide(sums * sums, count)
        score = jnp.where(total == 0, 0.0, 1.0 - divide(residual, total))
        if self.class_aggregation == "uniform_average":
            score = jnp.mean(score)
        elif self.class_aggregation is not None:
            score = divide(jnp.sum(total * score), jnp.sum(total))
        if not self.num_regressors:
            return score
        n, p = self.num_samples.value, self.num_regressors
        return jnp.where(n > p + 1, 1.0 - divide((1.0 - score) * (n - 1.0), n - p - 1.0), score)


class _Overlap(DeclaredMetric):
    """Overlap of predicted and true classes, from a matrix of counts (targets by predictions)."""

    default_dtype = "int32"
    ignore_class: Any = None

    def _make_matrix(self, num_classes: int, targets: Sequence[int] | None) -> None:
        if targets is not None and max(targets) >= num_classes:
            raise ArgumentError(f"There are {num_classes} classes; target_class_ids are {list(targets)}.")
        self._classes, self._targets = num_classes, targets
        self.total_confusion_matrix = self.add_variable((num_classes, num_classes), name="total_confusion_matrix")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch in."""
        true, pred = (self._ids(as_array(value_of(y)), which) for which, y in enumerate((y_true, y_pred)))
        weights = as_array(1 if sample_weight is None else sample_weight, self.dtype)
        weights = weights.reshape(weights.shape + (1,) * max(true.ndim - weights.ndim, 0))
        known = (true >= 0) & (true < self._classes) & (pred >= 0) & (pred < self._classes)
        if self.ignore_class is not None:
            known &= true != self.ignore_class
        weights = jnp.where(known, jnp.broadcast_to(weights, true.shape), 0)
        true, pred = jnp.where(known, true, 0), jnp.where(known, pred, 0)
        matrix = self.total_confusion_matrix.value
        self.total_confusion_matrix.assign(matrix.at[true.reshape(-1), pred.reshape(-1)].add(weights.reshape(-1)))

    def _ids(self, y: Any, which: int) -> Any:
        raise NotImplementedError

    def result(self) -> Any:
        """Return the mean over the classes that occur."""
        matrix = self.total_confusion_matrix.value.astype(jnp.result_type(float))
        hits = jnp.diag(matrix)
        union = jnp.sum(matrix, axis=0) + jnp.sum(matrix, axis=1) - hits
        if self._targets is not None:
            hits, union = hits[jnp.array(self._targets)], union[jnp.array(self._targets)]
        occurring = jnp.sum((union > 0).astype(matrix.dtype))
        return divide(jnp.sum(divide(hits, union + epsilon())), occurring)


class _ClassOverlap(_Overlap):
    axis: Any
    sparse: Any

    def _ids(self, y: Any, which: int) -> Any:
        y = y if self.sparse[which] else jnp.argmax(y, axis=self.axis)
        return y.astype("int32")


@metrics.register("io_u")
class IoU(_ClassOverlap):
    """Intersection over union of chosen classes: how much of what is true or predicted is both.

    Targets and predictions are class numbers, or scores along `axis` where they are not sparse.
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        self.ignore_class, self.sparse, self.axis = ignore_class, (sparse_y_true, sparse_y_pred), axis
        self._prepare(name, dtype)
        self._make_matrix(num_classes, target_class_ids)


@metrics.register("mean_io_u")
class MeanIoU(_ClassOverlap):
    """The mean of `IoU` over all classes that occur.

    >>> round(float(MeanIoU(2)([0, 0, 1, 1], [0, 1, 0, 1])), 4)
    0.3333
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        self.ignore_class, self.sparse, self.axis = ignore_class, (sparse_y_true, sparse_y_pred), axis
        self._prepare(name, dtype)
        self._make_matrix(num_classes, None)


@metrics.register("one_hot_io_u")
class OneHotIoU(_ClassOverlap):
    """`IoU` for one-hot targets."""

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        self.ignore_class, self.sparse, self.axis = ignore_class, (False, sparse_y_pred), axis
        self._prepare(name, dtype)
        self._make_matrix(num_classes, target_class_ids)


@metrics.register("one_hot_mean_io_u")
class OneHotMeanIoU(_ClassOverlap):
    """`MeanIoU` for one-hot targets."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        self.ignore_class, self.sparse, self.axis = ignore_class, (False, sparse_y_pred), axis
        self._prepare(name, dtype)
        self._make_matrix(num_classes, None)


@metrics.register("binary_io_u")
class BinaryIoU(_Overlap):
    """`IoU` of no (0) and yes (1), where a probability of at least `threshold` is a yes."""

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.threshold = threshold
        self._prepare(name, dtype)
        self._make_matrix(2, target_class_ids)

    def _ids(self, y: Any, which: int) -> Any:
        return (y >= self.threshold).astype("int32") if which else y.astype("int32")
