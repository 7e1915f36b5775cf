"""Ops that reduce, accumulate, sort or search along axes."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lamella.core.errors import ShapeError
from lamella.ops.dispatch import array, as_axis, named, op

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "argpartition",
    "argsort",
    "average",
    "bincount",
    "corrcoef",
    "correlate",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "diff",
    "digitize",
    "histogram",
    "in_top_k",
    "logsumexp",
    "max",
    "mean",
    "median",
    "min",
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmedian",
    "nanmin",
    "nanpercentile",
    "nanprod",
    "nanquantile",
    "nanstd",
    "nansum",
    "nanvar",
    "nonzero",
    "percentile",
    "prod",
    "psnr",
    "ptp",
    "quantile",
    "searchsorted",
    "segment_max",
    "segment_min",
    "segment_prod",
    "segment_sum",
    "sort",
    "std",
    "sum",
    "top_k",
    "trapezoid",
    "unique",
    "var",
]

Reduction = Callable[..., Any]


def _reduction(function: Callable[..., Any], doc: str, name: str = "") -> Reduction:
    def call(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return function(array(x), axis=as_axis(axis), keepdims=keepdims)

    return named(call, name or function.__name__, f"{doc}, over all axes or the given ones.")


def _cumulative(function: Callable[..., Any], doc: str) -> Reduction:
    def call(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
        x = array(x)
        x = x.astype("int32") if x.dtype == bool else x
        return function(x, axis=axis, dtype=dtype or x.dtype)

    return named(call, function.__name__, f"{doc} along an axis; None flattens first.")


def _quantile(function: Callable[..., Any], doc: str) -> Reduction:
    def call(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
        x, q = array(x), array(q)
        x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype("float32")
        return function(x, q.astype(x.dtype), axis=as_axis(axis), method=method, keepdims=keepdims)

    return named(call, function.__name__, doc)


all = _reduction(jnp.all, "Tell whether every element is true")
any = _reduction(jnp.any, "Tell whether some element is true")
amax = _reduction(jnp.max, "Return the largest element", "amax")
amin = _reduction(jnp.min, "Return the smallest element", "amin")
argmax = _reduction(jnp.argmax, "Return the index of the largest element, the first of equals")
argmin = _reduction(jnp.argmin, "Return the index of the smallest element, the first of equals")
mean = _reduction(jnp.mean, "Return the arithmetic mean")
median = _reduction(jnp.median, "Return the middle value")
nanargmax = _reduction(jnp.nanargmax, "Return the index of the largest number, NaN aside")
nanargmin = _reduction(jnp.nanargmin, "Return the index of the smallest number, NaN aside")
nanmax = _reduction(jnp.nanmax, "Return the largest number, NaN aside")
nanmean = _reduction(jnp.nanmean, "Return the arithmetic mean, NaN aside")
nanmedian = _reduction(jnp.nanmedian, "Return the middle value, NaN aside")
nanmin = _reduction(jnp.nanmin, "Return the smallest number, NaN aside")
nanprod = _reduction(jnp.nanprod, "Return the product, NaN counting as 1")
nanstd = _reduction(jnp.nanstd, "Return the standard deviation, NaN aside")
nansum = _reduction(jnp.nansum, "Return the sum, NaN counting as 0")
nanvar = _reduction(jnp.nanvar, "Return the variance, NaN aside")
ptp = _reduction(jnp.ptp, "Return the largest element minus the smallest")
std = _reduction(jnp.std, "Return the standard deviation (divisor: the number of elements)")
sum = _reduction(jnp.sum, "Return the sum")
var = _reduction(jnp.var, "Return the variance (divisor: the number of elements)")

cumprod = _cumulative(jnp.cumprod, "Return the running product")
cumsum = _cumulative(jnp.cumsum, "Return the running sum")
nancumprod = _cumulative(jnp.nancumprod, "Return the running product, NaN counting as 1,")
nancumsum = _cumulative(jnp.nancumsum, "Return the running sum, NaN counting as 0,")

quantile = _quantile(jnp.quantile, "Return the q-th quantiles, q in [0, 1]; axes of q come first.")
percentile = _quantile(jnp.percentile, "Return the q-th percentiles, q in [0, 100]; axes of q come first.")
nanquantile = _quantile(jnp.nanquantile, "Return the q-th quantiles, q in [0, 1], NaN aside.")
nanpercentile = _quantile(jnp.nanpercentile, "Return the q-th percentiles, q in [0, 100], NaN aside.")


@op
def max(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """Return the largest element, or `initial` if that is larger, over all axes or the given ones."""
    return jnp.max(array(x), axis=as_axis(axis), keepdims=keepdims, initial=initial)


@op
def min(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """Return the smallest element, or `initial` if that is smaller, over all axes or the given ones."""
    return jnp.min(array(x), axis=as_axis(axis), keepdims=keepdims, initial=initial)


@op
def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """Return the product, over all axes or the given ones."""
    return jnp.prod(array(x), axis=as_axis(axis), keepdims=keepdims, dtype=dtype)


@op
def average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    """Return the mean with weights, which have x's shape or, along one axis, its length."""
    x, weights = array(x), None if weights is None else array(weights)
    dtype = jnp.result_type(x, 0.0 if weights is None else weights, 0.0)
    weights = None if weights is None else weights.astype(dtype)
    return jnp.average(x.astype(dtype), axis=as_axis(axis), weights=weights)


@op
def count_nonzero(x: Any, axis: Any = None) -> Any:
    """Return the number of elements that are not 0."""
    return jnp.count_nonzero(array(x), axis=as_axis(axis))


@op
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return `log(sum(exp(x)))` without overflow on the way."""
    return jax.scipy.special.logsumexp(array(x), axis=as_axis(axis), keepdims=keepdims)


@op
def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    """Return the differences of neighbours along an axis, taken n times."""
    return jnp.diff(array(a), n=n, axis=axis)


@op
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """Return the integral of samples y by the trapezoidal rule."""
    return jnp.trapezoid(array(y), None if x is None else array(x), dx, axis)


@op
def sort(x: Any, axis: int = -1) -> Any:
    """Return the elements in ascending order along an axis."""
    return jnp.sort(array(x), axis=axis)


@op
def argsort(x: Any, axis: int = -1) -> Any:
    """Return the indices that would sort an axis, equals in their order; None sorts the flat array."""
    x = array(x)
    return jnp.argsort(x.reshape(-1)) if axis is None or x.ndim == 0 else jnp.argsort(x, axis)


@op
def argpartition(x: Any, kth: int, axis: int = -1) -> Any:
    """Return indices that put the kth smallest at its place, smaller ones before it and larger ones after."""
    return jnp.argpartition(array(x), kth, axis)


@op
def top_k(x: Any, k: int, sorted: bool = True) -> Any:
    """(..., n) -> values and indices, both (..., k), of the largest elements, largest first."""
    return list(jax.lax.top_k(array(x), k))


@op
def in_top_k(targets: Any, predictions: Any, k: int) -> Any:
    """(batch,) class numbers, (batch, classes) scores -> (batch,) truth: is the target among the k best?

    A class that scores as high as the k-th best is among them; a score that is not finite is not.
    """
    targets, predictions = array(targets), array(predictions)
    score = jnp.take_along_axis(predictions, targets[..., None], axis=-1)
    better = jnp.sum(predictions > score, axis=-1)
    return (better < k) & jnp.isfinite(score[..., 0])


@op
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> Any:
    """Return where values would be inserted into a sorted sequence to keep it so."""
    return jnp.searchsorted(array(sorted_sequence), array(values), side=side)


@op
def digitize(x: Any, bins: Any) -> Any:
    """Return the number of the bin of each element, given the bins' edges; 0 is below the first."""
    return jnp.digitize(array(x), array(bins))


@op
def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    """Return how often, or with which total weight, each number from 0 occurs; rows are counted apart.

    Inside a compiled function the length is `minlength`, for the largest number is not known there.
    """
    x, weights = array(x), None if weights is None else array(weights)
    known = isinstance(x, jax.core.Tracer) or not x.size
    length = minlength if known else builtins.max(minlength, int(x.max()) + 1)
    if x.ndim > 1:
        rows = (x,) if weights is None else (x, weights)
        return jax.vmap(lambda *row: jnp.bincount(*row, length=length))(*rows)
    return jnp.bincount(x, weights, length=length)


@op
def histogram(x: Any, bins: int = 10, range: Any = None) -> Any:
    """Return the counts in bins of equal width, and the bins' edges."""
    return jnp.histogram(array(x), bins=bins, range=range)


@op
def nonzero(x: Any) -> Any:
    """Return, for each axis, the indices of the elements that are not 0."""
    return jnp.nonzero(array(x))


@op
def unique(
    x: Any,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """Return the different elements in order; `size` fixes how many, which a compiled function needs."""
    return jnp.unique(
        array(x), return_index, return_inverse, return_counts, axis=axis, size=size, fill_value=fill_value
    )


@op
def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Return the sums of the rows with the same segment number, (segments, ...)."""
    return _segments(jax.ops.segment_sum, data, segment_ids, num_segments, sorted)


@op
def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Return the maxima of the rows with the same segment number, (segments, ...)."""
    return _segments(jax.ops.segment_max, data, segment_ids, num_segments, sorted)


@op
def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Return the minima of the rows with the same segment number, (segments, ...)."""
    return _segments(jax.ops.segment_min, data, segment_ids, num_segments, sorted)


@op
def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Return the products of the rows with the same segment number, (segments, ...)."""
    return _segments(jax.ops.segment_prod, data, segment_ids, num_segments, sorted)


def _segments(reduce: Any, data: Any, ids: Any, count: int | None, ordered: bool) -> Any:
    data, ids = array(data), array(ids)
    if data.shape[:1] != ids.shape[:1]:
        raise ShapeError(f"There must be one segment number for each row; got {ids.shape} beside data {data.shape}.")
    return reduce(data, ids, num_segments=count, indices_are_sorted=ordered)


@op
def corrcoef(x: Any) -> Any:
    """(variables, observations) -> (variables, variables) Pearson correlations; one variable's with itself is 1."""
    x = array(x)
    if x.ndim < 2:
        return corrcoef(x.reshape(1, -1))[0, 0]
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype("float32")
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    products = jnp.matmul(centred, centred.T)
    length = jnp.sqrt(jnp.diagonal(products))
    return jnp.clip(products / length[:, None] / length[None, :], -1, 1)


@op
def correlate(x1: Any, x2: Any, mode: str = "valid") -> Any:
    """Return the cross-correlation of two sequences."""
    x1, x2 = array(x1), array(x2)
    dtype = jnp.result_type(x1, x2, "float32" if not _floats(x1, x2) else x1)
    return jnp.correlate(x1.astype(dtype), x2.astype(dtype), mode)


def _floats(*xs: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(*xs), jnp.inexact)


@op
def psnr(x1: Any, x2: Any, max_val: float) -> Any:
    """Return the peak signal-to-noise ratio of two images, in decibels."""
    x1, x2 = array(x1), array(x2)
    if x1.shape != x2.shape:
        raise ShapeError(f"Both images must have one shape, got {x1.shape} and {x2.shape}.")
    error = jnp.mean(jnp.square(x1 - x2))
    return 20 * jnp.log10(array(max_val).astype(x2.dtype)) - 10 * jnp.log10(error)
