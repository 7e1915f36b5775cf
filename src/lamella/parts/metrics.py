"""Metrics: what is watched while training and evaluating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from lamella.core import config
from lamella.core.config import custom_object_scope
from lamella.parts import metric_functions as functions
from lamella.parts.confusion import (
    AUC,
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from lamella.parts.identify import find
from lamella.parts.loss_functions import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from lamella.parts.metric import Averaged, Mean, MeanMetricWrapper, Metric, Sum, metrics
from lamella.parts.metric_functions import (
    binary_accuracy,
    categorical_accuracy,
    concordance_correlation,
    pearson_correlation,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from lamella.parts.scores import (
    BinaryIoU,
    F1Score,
    FBetaScore,
    IoU,
    MeanIoU,
    OneHotIoU,
    OneHotMeanIoU,
    R2Score,
)
from lamella.parts.shapes import same_rank

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "concordance_correlation",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "pearson_correlation",
    "poisson",
    "resolve_accuracy",
    "resolve_crossentropy",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
]


@metrics.register("accuracy")
class Accuracy(Averaged):
    """How often predictions equal targets."""

    name: str = "accuracy"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return functions.accuracy(y_true, y_pred)


@metrics.register("binary_accuracy")
class BinaryAccuracy(Averaged):
    """How often probabilities are on the right side of the threshold.

    >>> float(BinaryAccuracy()([[1], [0]], [[0.9], [0.7]]))
    0.5
    """

    name: str = "binary_accuracy"
    dtype: Any = None
    threshold: float = 0.5

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return binary_accuracy(y_true, y_pred, self.threshold)


@metrics.register("categorical_accuracy")
class CategoricalAccuracy(Averaged):
    """How often the best score is the one-hot target's."""

    name: str = "categorical_accuracy"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return categorical_accuracy(y_true, y_pred)


@metrics.register("sparse_categorical_accuracy")
class SparseCategoricalAccuracy(Averaged):
    """How often the best score is the target's, which is a class number.

    >>> float(SparseCategoricalAccuracy()([1, 0], [[0.2, 0.8], [0.4, 0.6]]))
    0.5
    """

    name: str = "sparse_categorical_accuracy"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return sparse_categorical_accuracy(y_true, y_pred)


@metrics.register("top_k_categorical_accuracy")
class TopKCategoricalAccuracy(Averaged):
    """How often the one-hot target is among the `k` best scores."""

    k: int = 5
    name: str = "top_k_categorical_accuracy"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return top_k_categorical_accuracy(y_true, y_pred, self.k)


@metrics.register("sparse_top_k_categorical_accuracy")
class SparseTopKCategoricalAccuracy(Averaged):
    """How often the target, a class number, is among the `k` best scores."""

    k: int = 5
    name: str = "sparse_top_k_categorical_accuracy"
    dtype: Any = None
    from_sorted_ids: bool = False

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return sparse_top_k_categorical_accuracy(y_true, y_pred, self.k, self.from_sorted_ids)


@metrics.register("mean_squared_error", "mse", "MSE")
class MeanSquaredError(Averaged):
    """The mean of squared differences."""

    name: str = "mean_squared_error"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return mean_squared_error(y_true, y_pred)


@metrics.register("mean_absolute_error", "mae", "MAE")
class MeanAbsoluteError(Averaged):
    """The mean of absolute differences."""

    name: str = "mean_absolute_error"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return mean_absolute_error(y_true, y_pred)


@metrics.register("mean_absolute_percentage_error", "mape", "MAPE")
class MeanAbsolutePercentageError(Averaged):
    """The mean of absolute differences in percent of the targets."""

    name: str = "mean_absolute_percentage_error"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return mean_absolute_percentage_error(y_true, y_pred)


@metrics.register("mean_squared_logarithmic_error", "msle", "MSLE")
class MeanSquaredLogarithmicError(Averaged):
    """The mean of squared differences of `log(1 + y)`."""

    name: str = "mean_squared_logarithmic_error"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return mean_squared_logarithmic_error(y_true, y_pred)


@metrics.register("kl_divergence", "kld", "KLD")
class KLDivergence(Averaged):
    """The mean Kullback-Leibler divergence of the predicted from the target distribution."""

    name: str = "kl_divergence"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return kl_divergence(y_true, y_pred)


@metrics.register("poisson")
class Poisson(Averaged):
    """The mean of `y_pred - y_true * log(y_pred)`."""

    name: str = "poisson"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return poisson(y_true, y_pred)


@metrics.register("hinge")
class Hinge(Averaged):
    """The mean of `max(1 - y_true * y_pred, 0)`."""

    name: str = "hinge"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return hinge(y_true, y_pred)


@metrics.register("squared_hinge")
class SquaredHinge(Averaged):
    """The mean of `max(1 - y_true * y_pred, 0)**2`."""

    name: str = "squared_hinge"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return squared_hinge(y_true, y_pred)


@metrics.register("categorical_hinge")
class CategoricalHinge(Averaged):
    """How far the right class's score is from beating the others by 1, on average."""

    name: str = "categorical_hinge"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return categorical_hinge(y_true, y_pred)


@metrics.register("log_cosh_error", "logcosh", "log_cosh")
class LogCoshError(Averaged):
    """The mean of `log(cosh(y_pred - y_true))`."""

    name: str = "logcosh"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return log_cosh(y_true, y_pred)


@metrics.register("root_mean_squared_error", "rmse", "RMSE")
class RootMeanSquaredError(Averaged):
    """The root of the mean of squared differences, in the unit of the targets.

    >>> float(RootMeanSquaredError()([0.0, 0.0], [3.0, 3.0]))
    3.0
    """

    name: str = "root_mean_squared_error"
    dtype: Any = None

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the square of each difference."""
        y_true, y_pred = same_rank(y_true.astype(self.dtype), y_pred.astype(self.dtype))
        return jnp.square(y_true - y_pred)

    def result(self) -> Any:
        """Return the root of the mean; 0 before the first batch."""
        return jnp.sqrt(super().result())


@metrics.register("cosine_similarity")
class CosineSimilarity(Averaged):
    """The mean cosine of the angle between targets and predictions; 1 where they agree."""

    name: str = "cosine_similarity"
    dtype: Any = None
    axis: int = -1

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return functions.cosine(y_true, y_pred, self.axis)


@metrics.register("pearson_correlation")
class PearsonCorrelation(Averaged):
    """The mean correlation of targets and predictions along `axis`."""

    name: str = "pearson_correlation"
    dtype: Any = None
    axis: int = -1

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return pearson_correlation(y_true, y_pred, self.axis)


@metrics.register("concordance_correlation")
class ConcordanceCorrelation(Averaged):
    """The mean agreement with the line y = x along `axis` (Lin, 1989)."""

    name: str = "concordance_correlation"
    dtype: Any = None
    axis: int = -1

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return concordance_correlation(y_true, y_pred, self.axis)


@metrics.register("binary_crossentropy", "bce", "BCE")
class BinaryCrossentropy(Averaged):
    """The mean cross-entropy of yes-or-no targets."""

    name: str = "binary_crossentropy"
    dtype: Any = None
    from_logits: bool = False
    label_smoothing: float = 0

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing)


@metrics.register("categorical_crossentropy")
class CategoricalCrossentropy(Averaged):
    """The mean cross-entropy of one-hot targets."""

    name: str = "categorical_crossentropy"
    dtype: Any = None
    from_logits: bool = False
    label_smoothing: float = 0
    axis: int = -1

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)


@metrics.register("sparse_categorical_crossentropy")
class SparseCategoricalCrossentropy(Averaged):
    """The mean cross-entropy of targets that are class numbers."""

    name: str = "sparse_categorical_crossentropy"
    dtype: Any = None
    from_logits: bool = False
    ignore_class: int | None = None
    axis: int = -1

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits, self.ignore_class, self.axis)


def resolve_accuracy(y_true_shape: Sequence[Any], y_pred_shape: Sequence[Any]) -> str:
    """Return which accuracy "accuracy" means for targets and predictions of these shapes.

    >>> resolve_accuracy((None, 1), (None, 1)), resolve_accuracy((None,), (None, 10))
    ('binary_accuracy', 'sparse_categorical_accuracy')
    """
    return f"{_kind(y_true_shape, y_pred_shape)}_accuracy"


def resolve_crossentropy(y_true_shape: Sequence[Any], y_pred_shape: Sequence[Any]) -> str:
    """Return which cross-entropy "crossentropy" means for targets and predictions of these shapes.

    >>> resolve_crossentropy((None, 10), (None, 10))
    'categorical_crossentropy'
    """
    return f"{_kind(y_true_shape, y_pred_shape)}_crossentropy"


def _kind(y_true_shape: Sequence[Any], y_pred_shape: Sequence[Any]) -> str:
    if len(y_pred_shape) < 2 or y_pred_shape[-1] == 1:
        return "binary"
    fewer = len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1
    return "sparse_categorical" if fewer else "categorical"


def get(identifier: Any) -> Any:
    """Return the metric that a name, a class, a config or a callable stands for; None stays None.

    >>> get("mse").name
    'mean_squared_error'
    """
    return find(identifier, metrics, "keras.metrics")


def serialize(metric: Any) -> Any:
    """Return a metric as plain data: a name, or a config."""
    return config.serialize(metric)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the metric that `serialize` described."""
    with custom_object_scope(custom_objects or {}):
        return get(config)
