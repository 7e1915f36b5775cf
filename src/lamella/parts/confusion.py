"""Metrics of yes-or-no predictions at thresholds: counts, precision, recall, and areas under curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.masked import value_of
from lamella.core.settings import epsilon, one_of
from lamella.parts.loss import divide
from lamella.parts.metric import DeclaredMetric, metrics
from lamella.parts.metric_functions import one_hot_best
from lamella.parts.shapes import as_array, same_rank

# Below every prediction: with top_k, what is among the best k counts as a yes whatever its score.
_NEVER = -1e10


class Counts(NamedTuple):
    """(weighted) numbers of right yes, wrong yes, right no and wrong no, for each threshold."""

    true_positives: Any
    false_positives: Any
    true_negatives: Any
    false_negatives: Any


def count(y_true: Any, y_pred: Any, thresholds: Sequence[float], weights: Any, by_label: bool = False) -> Counts:
    """Count predictions above each threshold: (thresholds,), or (thresholds, labels) with `by_label`.

    Each prediction goes into a bucket between thresholds, and buckets are summed from above: the cost hardly
    grows with the number of thresholds.
    """
    y_true = (y_true > 0).astype(y_pred.dtype)
    order = np.argsort(thresholds, kind="stable")
    edges = jnp.asarray(np.asarray(thresholds)[order], y_pred.dtype)
    buckets = jnp.searchsorted(edges, y_pred, side="left")
    labels = y_pred.shape[-1] if by_label else 1
    if by_label:
        buckets = buckets + (len(edges) + 1) * jnp.arange(labels)

    def above(values: Any) -> tuple[Any, Any]:
        sums = jax.ops.segment_sum(values.reshape(-1), buckets.reshape(-1), labels * (len(edges) + 1))
        tails = jnp.cumsum(sums.reshape(labels, -1)[:, ::-1], axis=1)[:, ::-1].T
        counted = jnp.zeros_like(tails[1:]).at[order].set(tails[1:])
        return (counted, tails[0]) if by_label else (counted[:, 0], tails[0, 0])

    yes, all_yes = above(y_true * weights)
    wrong, all_no = above((1.0 - y_true) * weights)
    return Counts(yes, wrong, all_no - wrong, all_yes - yes)


def aligned(
    y_true: Any, y_pred: Any, sample_weight: Any, top_k: int | None = None, class_id: int | None = None
) -> tuple[Any, Any, Any]:
    """Return targets, predictions and weights of one shape, narrowed to the best k and to one class."""
    y_pred = as_array(value_of(y_pred))
    y_pred = y_pred if jnp.issubdtype(y_pred.dtype, jnp.floating) else y_pred.astype(jnp.result_type(float))
    y_true, y_pred = same_rank(as_array(y_true).astype(y_pred.dtype), y_pred)
    if y_true.ndim != y_pred.ndim or any(a != b for a, b in zip(y_true.shape, y_pred.shape, strict=True)):
        raise ShapeError(f"y_true has shape {y_true.shape} and y_pred {y_pred.shape}; they must be the same.")
    if top_k is not None:
        y_pred = jnp.where(one_hot_best(y_pred, top_k), y_pred, 2 * _NEVER)
    if class_id is not None:
        y_true, y_pred = y_true[..., class_id], y_pred[..., class_id]
    weights = as_array(1.0 if sample_weight is None else sample_weight, y_pred.dtype)
    weights = same_rank(y_pred, weights)[1] if weights.ndim else weights
    weights = weights.reshape(weights.shape + (1,) * (y_pred.ndim - weights.ndim))
    return y_true, y_pred, jnp.broadcast_to(weights, y_pred.shape)


def _thresholds(given: Any, default: float = 0.5) -> list[float]:
    values = [float(t) for t in np.atleast_1d(default if given is None else given)]
    if any(not 0 <= t <= 1 for t in values) and values != [_NEVER]:
        raise ArgumentError(f"thresholds must lie between 0 and 1, got {given!r}.")
    return values


class _Count(DeclaredMetric):
    """The (weighted) number of predictions of one kind, at one threshold or several."""

    thresholds: Any
    kind: Any

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        self.thresholds = thresholds
        self._prepare(name, dtype)
        self._edges = _thresholds(thresholds)
        self.accumulator = self.add_variable((len(self._edges),), name="accumulator")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch in."""
        y_true, y_pred, weights = aligned(y_true, y_pred, sample_weight)
        counts = count(y_true, y_pred, self._edges, weights)
        self.accumulator.assign_add(getattr(counts, self.kind))

    def result(self) -> Any:
        """Return the number: one, or one for each threshold."""
        return self.accumulator.value[0] if len(self._edges) == 1 else self.accumulator.value


@metrics.register("true_positives")
class TruePositives(_Count):
    """The number of yeses that are right."""

    kind = "true_positives"


@metrics.register("false_positives")
class FalsePositives(_Count):
    """The number of yeses that are wrong."""

    kind = "false_positives"


@metrics.register("true_negatives")
class TrueNegatives(_Count):
    """The number of noes that are right."""

    kind = "true_negatives"


@metrics.register("false_negatives")
class FalseNegatives(_Count):
    """The number of noes that are wrong."""

    kind = "false_negatives"


class _Share(DeclaredMetric):
    """True positives relative to them and one kind of mistake."""

    mistakes: Any

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        self._prepare(name, dtype)
        self._edges = _thresholds(thresholds, 0.5 if top_k is None else _NEVER)
        self.true_positives = self.add_variable((len(self._edges),), name="true_positives")
        self._mistakes = self.add_variable((len(self._edges),), name=self.mistakes)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch in."""
        y_true, y_pred, weights = aligned(y_true, y_pred, sample_weight, self.top_k, self.class_id)
        counts = count(y_true, y_pred, self._edges, weights)
        self.true_positives.assign_add(counts.true_positives)
        self._mistakes.assign_add(getattr(counts, self.mistakes))

    def result(self) -> Any:
        """Return the share: one, or one for each threshold."""
        share = divide(self.true_positives.value, self.true_positives.value + self._mistakes.value)
        return share[0] if len(self._edges) == 1 else share


@metrics.register("precision")
class Precision(_Share):
    """How many of the yeses are right: of the predictions above the threshold, or among the `top_k` best.

    >>> round(float(Precision()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0])), 4)
    0.6667
    """

    mistakes = "false_positives"

    @property
    def false_positives(self) -> Any:
        """The number of yeses that are wrong."""
        return self._mistakes


@metrics.register("recall")
class Recall(_Share):
    """How many of those that are truly yes were found.

    >>> round(float(Recall()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0])), 4)
    0.6667
    """

    mistakes = "false_negatives"

    @property
    def false_negatives(self) -> Any:
        """The number of noes that are wrong."""
        return self._mistakes


# A curve is not seen more exactly.
_MOST_THRESHOLDS = 1_000_000


def _spread(number: int) -> list[float]:
    if number > _MOST_THRESHOLDS:
        raise ArgumentError(f"num_thresholds is at most {_MOST_THRESHOLDS:,}, got {number!r}.")
    return [i / (number - 1) for i in range(1, number - 1)]


class _Curve(DeclaredMetric):
    """Counts at many thresholds."""

    def _make_counts(self, shape: tuple[int, ...]) -> None:
        for name in Counts._fields:
            setattr(self, name, self.add_variable(shape, name=name))

    @property
    def counts(self) -> Counts:
        """The counts so far."""
        return Counts(*(getattr(self, name).value for name in Counts._fields))

    def _add(self, counts: Counts) -> None:
        for name, value in counts._asdict().items():
            getattr(self, name).assign_add(value)


class _AtBest(_Curve):
    """One rate at the threshold that is best for it among those that keep another rate."""

    asked: Any

    def __init__(
        self,
        value: float,
        num_thresholds: int,
        class_id: int | None,
        name: str | None,
        dtype: Any,
    ) -> None:
        if not 0 <= value <= 1:
            raise ArgumentError(f"{self.asked} must lie between 0 and 1, got {value!r}.")
        if num_thresholds < 1:
            raise ArgumentError(f"num_thresholds must be at least 1, got {num_thresholds!r}.")
        setattr(self, self.asked, value)
        self.num_thresholds, self.class_id = num_thresholds, class_id
        self._prepare(name, dtype)
        self.thresholds = [0.5] if num_thresholds == 1 else [0.0, *_spread(num_thresholds), 1.0]
        self._make_counts((len(self.thresholds),))

    def rates(self) -> tuple[Any, Any]:
        """Return the rate that is kept and the one that is answered, for each threshold."""
        raise NotImplementedError

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch in."""
        y_true, y_pred, weights = aligned(y_true, y_pred, sample_weight, None, self.class_id)
        self._add(count(y_true, y_pred, self.thresholds, weights))

    def result(self) -> Any:
        """Return the best rate; 0 where no threshold keeps the other."""
        kept, answered = self.rates()
        return jnp.max(jnp.where(kept >= getattr(self, self.asked), answered, 0.0))

    def _precision(self) -> Any:
        return divide(self.counts.true_positives, self.counts.true_positives + self.counts.false_positives)

    def _recall(self) -> Any:
        return divide(self.counts.true_positives, self.counts.true_positives + self.counts.false_negatives)

    def _specificity(self) -> Any:
        return divide(self.counts.true_negatives, self.counts.true_negatives + self.counts.false_positives)


@metrics.register("sensitivity_at_specificity")
class SensitivityAtSpecificity(_AtBest):
    """The best share of yeses found, where at least `specificity` of the noes are right."""

    asked = "specificity"

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name, dtype)

    def rates(self) -> tuple[Any, Any]:
        """Return specificity, and recall."""
        return self._specificity(), self._recall()


@metrics.register("specificity_at_sensitivity")
class SpecificityAtSensitivity(_AtBest):
    """The best share of noes that are right, where at least `sensitivity` of the yeses are found."""

    asked = "sensitivity"

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)

    def rates(self) -> tuple[Any, Any]:
        """Return recall, and specificity."""
        return self._recall(), self._specificity()


@metrics.register("precision_at_recall")
class PrecisionAtRecall(_AtBest):
    """The best precision, where recall is at least `recall`."""

    asked = "recall"

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name, dtype)

    def rates(self) -> tuple[Any, Any]:
        """Return recall, and precision."""
        return self._recall(), self._precision()


@metrics.register("recall_at_precision")
class RecallAtPrecision(_AtBest):
    """The best recall, where precision is at least `precision`."""

    asked = "precision"

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name, dtype)

    def rates(self) -> tuple[Any, Any]:
        """Return precision, and recall."""
        return self._precision(), self._recall()


@metrics.register("auc")
class AUC(_Curve):
    """The area under a curve: of right over wrong yeses ("ROC"), of precision over recall ("PR", "PRGAIN").

    The curve is known at `num_thresholds` points between 0 and 1 and is joined by lines ("interpolation";
    for "PR" as Davis and Goadrich, 2006), or taken from below ("minoring") or above ("majoring"). "PRGAIN"
    takes the gains of Flach and Kull (2015), cut at 0. With `multi_label` each label (last axis) has a curve
    of its own and the areas are averaged.

    >>> round(float(AUC()([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9])), 3)
    0.75
    """

    num_thresholds: int = 200
    curve: str = "ROC"
    summation_method: str = "interpolation"
    name: Any = None
    dtype: Any = None
    thresholds: Any = None
    multi_label: bool = False
    num_labels: int | None = None
    label_weights: Any = None
    from_logits: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.curve = one_of("curve", self.curve, ("roc", "pr", "prgain")).upper()
        methods = ("interpolation", "minoring", "majoring")
        self.summation_method = one_of("summation_method", self.summation_method, methods)
        if self.thresholds is None and self.num_thresholds < 2:
            raise ArgumentError(f"num_thresholds must be at least 2, got {self.num_thresholds!r}.")
        inner = _spread(self.num_thresholds) if self.thresholds is None else sorted(_thresholds(self.thresholds))
        self._edges = [-epsilon(), *inner, 1.0 + epsilon()]
        if not self.multi_label:
            self._make_counts((len(self._edges),))
        elif self.num_labels:
            self._make_counts((len(self._edges), self.num_labels))

    def build(self, y_true_shape: Any, y_pred_shape: Any) -> None:
        """Make the counts of each label, once their number is known."""
        if not hasattr(self, "true_positives"):
            self._make_counts((len(self._edges), y_pred_shape[-1]))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch in."""
        y_true, y_pred, weights = aligned(y_true, y_pred, sample_weight)
        self.build(y_true.shape, y_pred.shape)
        if self.from_logits:
            y_pred = jax.nn.sigmoid(y_pred)
        if self.label_weights is not None and not self.multi_label:
            weights = weights * as_array(self.label_weights, weights.dtype)
        self._add(count(y_true, y_pred, self._edges, weights, self.multi_label))

    def result(self) -> Any:
        """Return the area."""
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = self._interpolated_pr()
        else:
            x, y = self._axes()
            low, high = jnp.minimum(y[:-1], y[1:]), jnp.maximum(y[:-1], y[1:])
            heights = {"minoring": low, "majoring": high, "interpolation": (low + high) / 2.0}
            areas = jnp.sum((x[:-1] - x[1:]) * heights[self.summation_method], axis=0)
        if not self.multi_label or self.label_weights is None:
            return jnp.mean(areas)
        weights = as_array(self.label_weights, areas.dtype)
        return divide(jnp.sum(areas * weights), jnp.sum(weights))

    def _axes(self) -> tuple[Any, Any]:
        tp, fp, tn, fn = self.counts
        recall = divide(tp, tp + fn)
        if self.curve == "ROC":
            return divide(fp, fp + tn), recall
        if self.curve == "PR":
            return recall, divide(tp, tp + fp)
        odds = divide(tp + fn, tn + fp)
        gains = (1.0 - odds * divide(mistakes, tp) for mistakes in (fn, fp))
        x, y = (jnp.where(tp > 0, jnp.maximum(gain, 0.0), 0.0) for gain in gains)
        return x, y

    def _interpolated_pr(self) -> Any:
        tp, fp, _, fn = self.counts
        yes = tp + fp
        slope = divide(tp[:-1] - tp[1:], jnp.maximum(yes[:-1] - yes[1:], 0.0))
        intercept = tp[1:] - slope * yes[1:]
        some = (yes[:-1] > 0) & (yes[1:] > 0)
        ratio = jnp.where(some, divide(yes[:-1], jnp.maximum(yes[1:], 0.0)), 1.0)
        gained = slope * (tp[:-1] - tp[1:] + intercept * jnp.log(ratio))
        return jnp.sum(divide(gained, jnp.maximum(tp[1:] + fn[1:], 0.0)), axis=0)
