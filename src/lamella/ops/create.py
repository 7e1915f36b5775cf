"""Ops that make arrays: constants, ranges, windows, and what others hold as arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.dtypes import standardize_dtype
from lamella.core.errors import ArgumentError, SymbolicValueError
from lamella.core.settings import floatx
from lamella.ops.dispatch import array as as_array
from lamella.ops.dispatch import first_symbol, named, op, operand, unwrapped

__all__ = [
    "arange",
    "array",
    "bartlett",
    "blackman",
    "convert_to_numpy",
    "convert_to_tensor",
    "dtype",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "geomspace",
    "hamming",
    "hanning",
    "identity",
    "is_tensor",
    "kaiser",
    "linspace",
    "logspace",
    "ndim",
    "ones",
    "ones_like",
    "shape",
    "size",
    "tri",
    "vander",
    "zeros",
    "zeros_like",
]


def _dims(shape: Any) -> Any:
    return tuple(shape) if isinstance(shape, list) else shape


def _dtype(dtype: Any) -> str | None:
    return None if dtype is None else standardize_dtype(dtype)


@op
def zeros(shape: Any, dtype: Any = None) -> Any:
    """Return an array of zeros."""
    return jnp.zeros(_dims(shape), standardize_dtype(dtype))


@op
def ones(shape: Any, dtype: Any = None) -> Any:
    """Return an array of ones."""
    return jnp.ones(_dims(shape), standardize_dtype(dtype))


@op
def empty(shape: Any, dtype: Any = None) -> Any:
    """Return an array whose values are not to be relied on (they are zeros)."""
    return jnp.empty(_dims(shape), standardize_dtype(dtype))


@op
def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """Return an array of one value."""
    return jnp.full(_dims(shape), operand(fill_value), standardize_dtype(dtype))


@op
def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Return zeros in the shape, and unless said otherwise the dtype, of another array."""
    return jnp.zeros_like(as_array(x), _dtype(dtype))


@op
def ones_like(x: Any, dtype: Any = None) -> Any:
    """Return ones in the shape, and unless said otherwise the dtype, of another array."""
    return jnp.ones_like(as_array(x), _dtype(dtype))


@op
def empty_like(x: Any, dtype: Any = None) -> Any:
    """Return an array like another whose values are not to be relied on (they are zeros)."""
    return jnp.empty_like(as_array(x), _dtype(dtype))


@op
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """Return one value in the shape, and unless said otherwise the dtype, of another array."""
    return jnp.full_like(as_array(x), operand(fill_value), _dtype(dtype))


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """Return a matrix with ones on its k-th diagonal, zeros elsewhere."""
    return jnp.eye(N, M, k, standardize_dtype(dtype))


def identity(n: int, dtype: Any = None) -> Any:
    """Return the identity matrix."""
    return jnp.identity(n, standardize_dtype(dtype))


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """Return a matrix with ones on and below its k-th diagonal, zeros elsewhere."""
    return jnp.tri(N, M, k, standardize_dtype(dtype))


@op
def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Any:
    """Return the numbers from start, or 0, up to but without stop; integers if the arguments are."""
    return jnp.arange(operand(start), stop, step, _dtype(dtype))


def _float_range(dtype: Any, *ends: Any) -> str:
    """Return the dtype of a range with fractions between its ends."""
    if dtype is not None:
        return standardize_dtype(dtype)
    found = jnp.result_type(*(operand(end) for end in ends))
    known = jnp.issubdtype(found, jnp.inexact) and any(hasattr(end, "dtype") for end in ends)
    return found.name if known else floatx()


@op
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Return numbers at equal distances from start to stop."""
    dtype = _float_range(dtype, start, stop)
    return jnp.linspace(operand(start), operand(stop), num, endpoint, retstep, dtype, axis=axis)


@op
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Return numbers at equal ratios from base**start to base**stop."""
    dtype = _float_range(dtype, start, stop)
    return jnp.logspace(operand(start), operand(stop), num, endpoint, base, dtype, axis)


@op
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """Return numbers at equal ratios from start to stop."""
    dtype = _float_range(dtype, start, stop)
    return jnp.geomspace(operand(start), operand(stop), num, endpoint, dtype, axis)


@op
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Return the powers of each element as the columns of a matrix, the highest first."""
    return jnp.vander(as_array(x), N, increasing)


def _window(function: Callable[..., Any], name: str) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        return function(int(x)).astype(floatx())

    return named(call, name, f"Return the {name.title()} window of x points.")


bartlett = _window(jnp.bartlett, "bartlett")
blackman = _window(jnp.blackman, "blackman")
hamming = _window(jnp.hamming, "hamming")
hanning = _window(jnp.hanning, "hanning")


def kaiser(x: Any, beta: float) -> Any:
    """Return the Kaiser window of x points."""
    return jnp.kaiser(int(x), beta).astype(floatx())


def convert_to_tensor(x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None) -> Any:
    """Return what x holds as a JAX array: a list, a number, a NumPy array, a variable.

    A symbolic tensor stays one.
    """
    if sparse or ragged:
        raise ArgumentError("There are no sparse or ragged arrays here; pass a dense one.")
    if first_symbol((x,)) is not None:
        return x if dtype is None or x.dtype == standardize_dtype(dtype) else x.astype(dtype)
    if dtype is None and type(x) is float:
        dtype = floatx()
    return as_array(x) if dtype is None else as_array(x).astype(standardize_dtype(dtype))


def array(x: Any, dtype: Any = None) -> Any:
    """Return what x holds as a JAX array."""
    return convert_to_tensor(x, dtype)


def convert_to_numpy(x: Any) -> np.ndarray[Any, Any]:
    """Return the values as a NumPy array."""
    symbol = first_symbol((x,))
    if symbol is not None:
        raise SymbolicValueError(f"{symbol!r} has no values to give to NumPy.")
    return np.asarray(unwrapped(x))


def is_tensor(x: Any) -> bool:
    """Tell whether x is a JAX array or stands for one: a symbolic tensor, not a list or a NumPy array."""
    return isinstance(x, jax.Array) or hasattr(type(x), "__lamella_apply__")


def shape(x: Any) -> tuple[Any, ...]:
    """Return the sizes of the axes: None where a symbolic tensor does not know, a symbol inside a trace."""
    return tuple(x.shape) if hasattr(x, "shape") else tuple(as_array(x).shape)


def ndim(x: Any) -> int:
    """Return the number of axes."""
    return len(shape(x))


@op
def size(x: Any) -> Any:
    """Return the number of elements."""
    return as_array(x).size


def dtype(x: Any) -> str:
    """Return the name of the dtype, such as "float32"."""
    return str((x if hasattr(x, "dtype") else as_array(x)).dtype)
