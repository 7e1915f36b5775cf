"""Losses: what training makes small; targets, predictions, weights and a mask -> one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamella.core import config
from lamella.core.config import custom_object_scope
from lamella.core.masked import with_mask
from lamella.parts import loss_functions as functions
from lamella.parts.identify import find
from lamella.parts.loss import MEAN, DeclaredLoss, Loss, LossFunctionWrapper, apply_mask
from lamella.parts.loss_functions import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
    categorical_hinge,
    circle,
    cosine_similarity,
    ctc,
    dice,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    losses,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
    tversky,
)

__all__ = [
    "CTC",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "CosineSimilarity",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossFunctionWrapper",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "apply_mask",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "circle",
    "cosine_similarity",
    "ctc",
    "deserialize",
    "dice",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]


@losses.register()
class MeanSquaredError(DeclaredLoss):
    """The mean of squared differences.

    >>> float(MeanSquaredError()([[0.0, 1.0]], [[2.0, 1.0]]))
    2.0
    """

    reduction: str | None = MEAN
    name: str = "mean_squared_error"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return mean_squared_error(y_true, y_pred)


@losses.register()
class MeanAbsoluteError(DeclaredLoss):
    """The mean of absolute differences: outliers pull less than in `MeanSquaredError`."""

    reduction: str | None = MEAN
    name: str = "mean_absolute_error"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return mean_absolute_error(y_true, y_pred)


@losses.register()
class MeanAbsolutePercentageError(DeclaredLoss):
    """The mean of absolute differences in percent of the targets."""

    reduction: str | None = MEAN
    name: str = "mean_absolute_percentage_error"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return mean_absolute_percentage_error(y_true, y_pred)


@losses.register()
class MeanSquaredLogarithmicError(DeclaredLoss):
    """The mean of squared differences of `log(1 + y)`: ratios count, not distances."""

    reduction: str | None = MEAN
    name: str = "mean_squared_logarithmic_error"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return mean_squared_logarithmic_error(y_true, y_pred)


@losses.register()
class Huber(DeclaredLoss):
    """Squared up to a difference of `delta`, linear beyond (Huber, 1964)."""

    delta: float = 1.0
    reduction: str | None = MEAN
    name: str = "huber_loss"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return huber(y_true, y_pred, self.delta)


@losses.register()
class LogCosh(DeclaredLoss):
    """`log(cosh(difference))`: nearly squared for small ones, nearly absolute for large ones."""

    reduction: str | None = MEAN
    name: str = "log_cosh"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return log_cosh(y_true, y_pred)


@losses.register()
class Poisson(DeclaredLoss):
    """The negative log-likelihood of counts under predicted Poisson rates, but for a constant."""

    reduction: str | None = MEAN
    name: str = "poisson"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return poisson(y_true, y_pred)


@losses.register()
class CosineSimilarity(DeclaredLoss):
    """Minus the cosine of the angle between targets and predictions."""

    axis: int = -1
    reduction: str | None = MEAN
    name: str = "cosine_similarity"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return cosine_similarity(y_true, y_pred, self.axis)


@losses.register()
class Hinge(DeclaredLoss):
    """`max(1 - y_true * y_pred, 0)`, for targets of -1 and 1, or 0 and 1."""

    reduction: str | None = MEAN
    name: str = "hinge"
    dtype: Any = None

    mixes_samples = "whether targets are 0 and 1, or -1 and 1, is asked of the whole batch."

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return hinge(y_true, y_pred)


@losses.register()
class SquaredHinge(DeclaredLoss):
    """The square of `Hinge`."""

    reduction: str | None = MEAN
    name: str = "squared_hinge"
    dtype: Any = None

    mixes_samples = Hinge.mixes_samples

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return squared_hinge(y_true, y_pred)


@losses.register()
class CategoricalHinge(DeclaredLoss):
    """How far the right class's score is from beating the others by 1."""

    reduction: str | None = MEAN
    name: str = "categorical_hinge"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return categorical_hinge(y_true, y_pred)


@losses.register()
class KLDivergence(DeclaredLoss):
    """The Kullback-Leibler divergence of the predicted from the target distribution."""

    reduction: str | None = MEAN
    name: str = "kl_divergence"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return kl_divergence(y_true, y_pred)


@losses.register()
class BinaryCrossentropy(DeclaredLoss):
    """Cross-entropy of independent yes-or-no targets.

    `from_logits=True` takes scores before the sigmoid, which is the more exact way.
    """

    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: str | None = MEAN
    name: str = "binary_crossentropy"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)


@losses.register()
class CategoricalCrossentropy(DeclaredLoss):
    """Cross-entropy of one-hot targets (or probabilities) over classes.

    `from_logits=True` takes scores before the softmax, which is the more exact way.
    """

    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: str | None = MEAN
    name: str = "categorical_crossentropy"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)


@losses.register()
class SparseCategoricalCrossentropy(DeclaredLoss):
    """Cross-entropy of class numbers over classes: (...) beside (..., classes).

    Targets equal to `ignore_class` count nowhere, not in the mean's number of losses either.

    >>> loss = SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    >>> round(float(loss([0, -1], [[0.0, 0.0], [9.0, 0.0]])), 4)
    0.6931
    """

    from_logits: bool = False
    ignore_class: int | None = None
    reduction: str | None = MEAN
    axis: int = -1
    name: str = "sparse_categorical_crossentropy"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        out = sparse_categorical_crossentropy(y_true, y_pred, self.from_logits, self.ignore_class, self.axis)
        if self.ignore_class is None:
            return out
        return with_mask(out, functions.class_ids(y_true, y_pred) != self.ignore_class)


@losses.register()
class BinaryFocalCrossentropy(DeclaredLoss):
    """Binary cross-entropy that counts what is well predicted less (Lin et al., 2018)."""

    apply_class_balancing: bool = False
    alpha: float = 0.25
    gamma: float = 2.0
    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: str | None = MEAN
    name: str = "binary_focal_crossentropy"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return binary_focal_crossentropy(
            y_true,
            y_pred,
            self.apply_class_balancing,
            self.alpha,
            self.gamma,
            self.from_logits,
            self.label_smoothing,
            self.axis,
        )


@losses.register()
class CategoricalFocalCrossentropy(DeclaredLoss):
    """Cross-entropy over classes that counts what is well predicted less (Lin et al., 2018)."""

    alpha: Any = 0.25
    gamma: float = 2.0
    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: str | None = MEAN
    name: str = "categorical_focal_crossentropy"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return categorical_focal_crossentropy(
            y_true, y_pred, self.alpha, self.gamma, self.from_logits, self.label_smoothing, self.axis
        )


@losses.register()
class CategoricalGeneralizedCrossEntropy(DeclaredLoss):
    """Between cross-entropy (q near 0) and absolute error (q = 1), for noisy classes (Zhang et al., 2018)."""

    q: float = 0.5
    reduction: str | None = MEAN
    name: str = "categorical_generalized_cross_entropy"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return categorical_generalized_cross_entropy(y_true, y_pred, self.q)


@losses.register()
class CTC(DeclaredLoss):
    """Labels over more steps than labels, wherever they stand (Graves et al., ICML 2006).

    (batch, labels), 0 after the last, beside (batch, time, classes) logits, of which class 0 stands between labels.
    """

    reduction: str | None = MEAN
    name: str = "ctc"
    dtype: Any = None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ctc(y_true, y_pred)


@losses.register()
class Circle(DeclaredLoss):
    """Embeddings of one class near each other, of others apart: (batch,) beside (batch, features) of length one.

    What each pair weighs grows with how far it is from where it should be (Sun et al., CVPR 2020). Samples whose loss
    is 0 count nowhere.
    """

    gamma: float = 80.0
    margin: float = 0.4
    remove_diagonal: bool = True
    reduction: str | None = MEAN
    name: str = "circle"
    dtype: Any = None

    mixes_samples = "each sample is compared with the others of its batch."

    def call(self, y_true: Any, y_pred: Any) -> Any:
        out = circle(y_true, y_pred, None, None, self.remove_diagonal, self.gamma, self.margin)
        return with_mask(out, out > 0)


@losses.register()
class Dice(DeclaredLoss):
    """One minus the overlap of two regions, relative to their sizes; one number if `axis` is None."""

    reduction: str | None = MEAN
    name: str = "dice"
    axis: Any = None
    dtype: Any = None

    mixes_samples = "the regions are those of the whole batch, unless `axis` says otherwise."

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return dice(y_true, y_pred, self.axis)


@losses.register()
class Tversky(DeclaredLoss):
    """`Dice` with a weight for misses (alpha) and for wrong finds (beta) (Salehi et al., 2017)."""

    alpha: float = 0.5
    beta: float = 0.5
    reduction: str | None = MEAN
    name: str = "tversky"
    axis: Any = None
    dtype: Any = None

    mixes_samples = Dice.mixes_samples

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return tversky(y_true, y_pred, self.alpha, self.beta, self.axis)


def get(identifier: Any) -> Any:
    """Return the loss that a name, a class, a config or a callable stands for; None stays None.

    A name with capitals makes a `Loss`; one without is a function, which does not average over samples.

    >>> get("mse") is mean_squared_error, get("Huber").delta
    (True, 1.0)
    """
    return find(identifier, losses, "keras.losses")


def serialize(loss: Any) -> Any:
    """Return a loss as plain data: a name, or a config."""
    return config.serialize(loss)


def deserialize(name: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the loss that `serialize` described."""
    with custom_object_scope(custom_objects or {}):
        return get(name)
