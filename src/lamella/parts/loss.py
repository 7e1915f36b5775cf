"""The base of losses: how weights, masks and the reduction make one number of the losses of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import jax.numpy as jnp

from lamella.core.calls import entering
from lamella.core.config import Configurable, generic_init
from lamella.core.dtypes import get_policy
from lamella.core.errors import ArgumentError, did_you_mean
from lamella.core.masked import mask_of, value_of
from lamella.core.naming import automatic_name
from lamella.core.settings import floatx
from lamella.core.structure import leaves_of, map_leaves
from lamella.parts.identify import find
from lamella.parts.loss_functions import losses
from lamella.parts.shapes import as_array, as_arrays, same_rank, weighted

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)
MEAN = "sum_over_batch_size"


class Loss(Configurable):
    """Targets and predictions -> a number, averaged as `reduction` says; a subclass writes `call`.

    "sum_over_batch_size" and "mean" divide the sum by the number of losses, "mean_with_sample_weight" by
    the sum of the weights; "sum" does not divide; "none" and None keep a loss for each sample. What a mask
    hides counts nowhere, in the number of losses neither.

    >>> class Mine(Loss):
    ...     def call(self, y_true, y_pred):
    ...         return jnp.mean(jnp.abs(y_true - y_pred), axis=-1)
    >>> float(Mine()([[1.0], [2.0]], [[1.0], [4.0]]))
    1.0
    """

    keras_module: ClassVar[str] = "keras.losses"
    mixes_samples: ClassVar[str] = ""

    def __init__(self, name: str | None = None, reduction: str | None = MEAN, dtype: Any = None) -> None:
        self._prepare(name, reduction, dtype)

    def _prepare(self, name: str | None, reduction: str | None, dtype: Any) -> None:
        if reduction not in REDUCTIONS:
            raise ArgumentError(
                f"reduction must be one of {', '.join(map(repr, REDUCTIONS))}; got {reduction!r}."
                + did_you_mean(reduction, filter(None, REDUCTIONS))
            )
        self.name = name or automatic_name(type(self).__name__)
        self.reduction = reduction
        self.dtype = get_policy(dtype or floatx()).compute_dtype

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample (and step)."""
        raise NotImplementedError(f"{type(self).__name__} does not define `call`.")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> Any:
        """Return the reduced loss; the mask may also come with `y_pred`, or out of `call`."""
        values, mask = self._values(y_true, y_pred, mask)
        return reduce_weighted(values, sample_weight, mask, self.reduction)

    def each(self, y_true: Any, y_pred: Any) -> Any:
        """Return the losses before they are averaged, under the loss's name in what is traced."""
        with entering(self, None):
            return self.call(y_true, y_pred)

    def sums(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any, valid: Any) -> tuple[Any, Any]:
        """Return the sum of the losses and the number to divide it by; batches taken together add up both.

        `valid`, (batch,), is False for samples that are padding. A loss that answers with one number for the batch
        counts as its mean over the samples.
        """
        values, mask = self._values(y_true, y_pred, mask)
        if values.ndim == 0 or type(self).__call__ is not Loss.__call__:
            samples = leaves_of(y_pred)[0].shape[0]
            return self(y_true, y_pred, sample_weight, mask) * samples, samples
        if valid is not None:
            shown = valid if mask is None else as_array(mask).astype("bool")
            mask = shown & valid.reshape(valid.shape + (1,) * (shown.ndim - 1))
        return weighted_sums(values, sample_weight, mask, self.reduction)

    def _values(self, y_true: Any, y_pred: Any, mask: Any) -> tuple[Any, Any]:
        """Return the losses that `call` answers with, and the mask that hides some of them."""
        if mask is None:
            mask = next((mask_of(leaf) for leaf in leaves_of(y_pred)), None)
        out = self.call(
            as_arrays(map_leaves(value_of, y_true), self.dtype),
            as_arrays(map_leaves(value_of, y_pred), self.dtype),
        )
        kept = mask_of(out)
        if kept is not None:
            mask = kept if mask is None else kept & mask
        return as_array(value_of(out), self.dtype), mask


def reduce_weighted(values: Any, sample_weight: Any, mask: Any, reduction: str | None) -> Any:
    """Return losses weighted, without what the mask hides, and reduced."""
    if reduction in (None, "none") or values.ndim == 0:
        weights = _weights(sample_weight, mask, values.dtype)
        return values if weights is None else weighted(values, weights)[0]
    total, count = weighted_sums(values, sample_weight, mask, reduction)
    return divide(total, count)


def weighted_sums(values: Any, sample_weight: Any, mask: Any, reduction: str | None) -> tuple[Any, Any]:
    """Return the sum of what the mask shows, weighted, and what the reduction divides it by."""
    weights = _weights(sample_weight, mask, values.dtype)
    if weights is not None:
        values, weights = weighted(values, weights)
    total = jnp.sum(values)
    if reduction == "sum":
        return total, jnp.ones_like(total)
    if reduction == "mean_with_sample_weight" and weights is not None:
        return total, jnp.sum(weights)
    shown = 1.0 if mask is None else jnp.mean(as_array(mask).astype("bool").astype(values.dtype))
    return total, jnp.asarray(values.size * shown, values.dtype)


def _weights(sample_weight: Any, mask: Any, dtype: Any) -> Any:
    return apply_mask(None if sample_weight is None else as_array(sample_weight, dtype), mask, dtype)


def apply_mask(sample_weight: Any, mask: Any, dtype: Any) -> Any:
    """Return weights that are 0 where the mask hides; None where there is neither weight nor mask."""
    if mask is None:
        return sample_weight
    visible = as_array(mask).astype("bool").astype(dtype)
    if sample_weight is None:
        return visible
    visible, sample_weight = same_rank(visible, as_array(sample_weight, dtype))
    if 0 < sample_weight.ndim < visible.ndim:
        sample_weight = sample_weight.reshape(sample_weight.shape + (1,) * (visible.ndim - sample_weight.ndim))
    return visible * sample_weight


def divide(x: Any, y: Any) -> Any:
    """Return x / y, and 0 where y is 0."""
    return jnp.where(y == 0, 0.0, x / jnp.where(y == 0, 1.0, y))


@losses.register()
class LossFunctionWrapper(Loss):
    """A loss from a function of targets and predictions; other keywords go to the function."""

    def __init__(
        self,
        fn: Callable[..., Any] | str,
        reduction: str | None = MEAN,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        self.fn = losses[fn] if isinstance(fn, str) else fn
        self._keywords = kwargs
        self._prepare(name or getattr(self.fn, "__name__", None), reduction, dtype)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a loss from `get_config`'s answer."""
        return cls(**{**config, "fn": find(config["fn"], losses, "keras.losses")})

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the function's values."""
        return self.fn(y_true, y_pred, **self._keywords)


class DeclaredLoss(Loss):
    """A loss whose arguments are fields."""

    reduction: Any
    name: Any
    dtype: Any

    @generic_init
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._set_fields(args, kwargs)

    def __post_init__(self) -> None:
        self._prepare(self.name, self.reduction, self.dtype)
