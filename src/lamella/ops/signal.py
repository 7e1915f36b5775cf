"""Ops on signals: Fourier transforms, whole and over sliding windows.

Complex numbers are pairs (real part, imaginary part), as in Keras.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.axes import is_symbolic
from lamella.core.errors import ArgumentError
from lamella.ops.dispatch import array, op

__all__ = ["extract_sequences", "fft", "fft2", "ifft2", "irfft", "istft", "rfft", "stft"]


def _complex(pair: Any) -> Any:
    real, imaginary = (array(part) for part in pair)
    return jax.lax.complex(real, imaginary)


def _pair(x: Any) -> tuple[Any, Any]:
    return x.real, x.imag


@op
def fft(x: Any) -> Any:
    """Return the Fourier transform of the last axis of a complex pair."""
    return _pair(jnp.fft.fft(_complex(x)))


@op
def fft2(x: Any) -> Any:
    """Return the Fourier transform of the last two axes of a complex pair."""
    return _pair(jnp.fft.fft2(_complex(x)))


@op
def ifft2(x: Any) -> Any:
    """Return the inverse of `fft2`."""
    return _pair(jnp.fft.ifft2(_complex(x)))


@op
def rfft(x: Any, fft_length: int | None = None) -> Any:
    """(..., n) real -> the half of its Fourier transform, a pair of (..., n // 2 + 1), that says it all."""
    return _pair(jnp.fft.rfft(array(x), fft_length))


@op
def irfft(x: Any, fft_length: int | None = None) -> Any:
    """Return the inverse of `rfft`, real."""
    return jnp.fft.irfft(_complex(x), fft_length)


@op
def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Any:
    """(..., time) -> (..., frames, sequence_length): windows that start every `sequence_stride` steps."""
    x = array(x)
    frames = (x.shape[-1] - sequence_length) // sequence_stride + 1
    if isinstance(frames, int) and frames < 1:
        return jnp.zeros((*x.shape[:-1], 0, sequence_length), x.dtype)
    # Whole windows are copied, not single elements.
    cut = partial(jax.lax.dynamic_slice_in_dim, x, slice_size=sequence_length, axis=-1)
    return jax.vmap(cut, out_axes=-2)(jnp.arange(frames) * sequence_stride)


def _window(window: Any, length: int, fft_length: int, dtype: Any) -> Any:
    """Return the window's values, with zeros on both sides up to the transform's length."""
    if window is None:
        values = jnp.ones(length, dtype)
    elif isinstance(window, str):
        if window not in ("hann", "hamming"):
            raise ArgumentError(f"window must be 'hann', 'hamming', an array or None, got {window!r}.")
        # A periodic window: the symmetric one of one more point, without its last. It is made on the host: in a
        # compiled program its cosines would be taken anew for every frame.
        make = np.hanning if window == "hann" else np.hamming
        values = jnp.asarray(make(length + 1)[:-1], dtype)
    else:
        values = array(window).astype(dtype)
    before = (fft_length - length) // 2
    return jnp.pad(values, (before, fft_length - length - before))


def _mirrored(x: Any, size: int) -> Any:
    """Continue the last axis on both sides, by as much as `size`, as in a mirror."""
    if is_symbolic(x.shape[-1]):  # jnp.pad wants to know that there is enough to be mirrored
        last = x.shape[-1] - 1
        places = jnp.abs(jnp.arange(x.shape[-1] + 2 * size) - size)
        return jnp.take(x, last - jnp.abs(last - places), axis=-1)
    if size >= x.shape[-1] > 1:  # jnp.pad goes once round for each time that the whole axis is mirrored
        there_and_back = 2 * (x.shape[-1] - 1)
        places = (jnp.arange(x.shape[-1] + 2 * size) - size) % there_and_back
        return jnp.take(x, jnp.minimum(places, there_and_back - places), axis=-1)
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(size, size)], mode="reflect")


@op
def stft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    window: Any = "hann",
    center: bool = True,
) -> Any:
    """(..., time) -> a pair of (..., frames, fft_length // 2 + 1): the transform of windows along it."""
    x = array(x)
    if center:
        x = _mirrored(x, fft_length // 2)
    frames = extract_sequences(x, fft_length, sequence_stride)
    return rfft(frames * _window(window, sequence_length, fft_length, x.dtype), fft_length)


@op
def istft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    window: Any = "hann",
    center: bool = True,
) -> Any:
    """Return the signal whose `stft` is x, by adding up its windows (Griffin and Lim, 1984)."""
    frames = irfft(x, fft_length)
    shape = _window(window, sequence_length, fft_length, frames.dtype)
    total = _overlapped(frames * shape, sequence_stride)
    weight = _overlapped(jnp.broadcast_to(shape**2, frames.shape[-2:]), sequence_stride)
    signal = total / jnp.where(weight > 1e-11, weight, 1)
    first = fft_length // 2 if center else 0
    last = first + length if length is not None else signal.shape[-1] - first
    signal = signal[..., first:last]
    if length is not None and signal.shape[-1] < length:
        signal = jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, length - signal.shape[-1])])
    return signal


def _overlapped(frames: Any, stride: int) -> Any:
    """(..., frames, n) -> (..., time): windows added up where they lie."""
    count, width = frames.shape[-2:]
    places = jnp.arange(count)[:, None] * stride + jnp.arange(width)
    empty = jnp.zeros((*frames.shape[:-2], (count - 1) * stride + width), frames.dtype)
    return empty.at[..., places].add(frames)
