"""Signals: other ranges, and their spectra along time."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from lamella import kernels
from lamella.core.axes import spatial_names
from lamella.core.errors import ArgumentError
from lamella.core.settings import epsilon, image_data_format, one_of, standardize_data_format
from lamella.layers.layer import Layer
from lamella.layers.spec import InputSpec
from lamella.layers.windows import check_windows_fit
from lamella.parts.initializers import STFT

MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


class Rescaling(Layer):
    """Values in another range, `inputs * scale + offset`: shape unchanged.

    >>> import numpy as np
    >>> Rescaling(1 / 255)(np.array([[0, 255]])).tolist()
    [[0.0, 1.0]]
    """

    scale: Any
    offset: Any = 0.0
    supports_masking = True

    def call(self, inputs: Any) -> Any:
        scale, offset = (jnp.asarray(value, self.compute_dtype) for value in (self.scale, self.offset))
        if scale.ndim and image_data_format() == "channels_first":
            scale = scale.reshape(*scale.shape, *(1,) * (3 - scale.ndim))
        return inputs.astype(self.compute_dtype) * scale + offset


class STFTSpectrogram(Layer):
    """The short-time Fourier transform of each channel: (batch, steps, channels) -> (batch, frames, bins of all).

    It is a convolution whose kernels begin as windowed waves and may be trained. `mode` says what is shown of it: the
    "magnitude" or its "log", the power "psd", the "angle", the "real" or the "imag" part, or both ("stft"). With
    `expand_dims` bins and channels have axes of their own: (batch, frames, bins, channels).

    >>> import numpy as np
    >>> STFTSpectrogram(frame_length=64)(np.ones((2, 1000, 3), "float32")).shape
    (2, 30, 99)
    """

    mode: str = "log"
    frame_length: int = 256
    frame_step: int | None = None
    fft_length: int | None = None
    window: Any = "hann"
    periodic: bool = False
    scaling: str | None = "density"
    padding: str = "valid"
    expand_dims: bool = False
    data_format: Any = None

    def __post_init__(self) -> None:
        self.mode = one_of("mode", self.mode, MODES)
        self.padding = one_of("padding", self.padding, ("valid", "same"))
        self.data_format = standardize_data_format(self.data_format)
        self.axis_names = spatial_names(1, self.data_format)
        if self.frame_step is not None and not 1 <= self.frame_step <= self.frame_length:
            raise ArgumentError(
                f"STFTSpectrogram: frame_step must be between 1 and frame_length={self.frame_length}, "
                f"got {self.frame_step}."
            )
        if self.fft_length is not None and self.fft_length < self.frame_length:
            raise ArgumentError(
                f"STFTSpectrogram: fft_length must be at least frame_length={self.frame_length}, got {self.fft_length}."
            )
        self.input_spec = InputSpec(ndim=3)

    def build(self, input_shape: Any) -> None:
        points = self.fft_length or 2 ** math.ceil(math.log2(self.frame_length))
        shape = (self.frame_length, 1, points // 2 + 1)
        for side, other in (("real", "imag"), ("imag", "real")):
            if self.mode != other:
                initializer = STFT(side, self.window, self.scaling, self.periodic)
                setattr(self, f"{side}_kernel", self.add_weight(shape, initializer, name=f"{side}_kernel"))

    def call(self, inputs: Any) -> Any:
        last = self.data_format == "channels_last"
        check_windows_fit("STFTSpectrogram", inputs.shape, (self.frame_length,), self.data_format, self.padding)
        shown = self._shown(jnp.swapaxes(inputs, 1, 2) if last else inputs)
        if self.expand_dims:
            return jnp.transpose(shown, (0, 2, 3, 1)) if last else shown
        batch, channels, frames, bins = shown.shape
        if last:
            return jnp.swapaxes(shown, 1, 2).reshape(batch, frames, channels * bins)
        return jnp.swapaxes(shown, 2, 3).reshape(batch, channels * bins, frames)

    def _shown(self, signals: Any) -> Any:
        """(batch, channels, steps) -> (batch, channels, frames, bins), as the mode wants it."""
        parts = [self._transformed(signals, side) for side in ("real", "imag") if hasattr(self, f"{side}_kernel")]
        if self.mode == "angle":
            return jnp.arctan2(parts[1], parts[0])
        if self.mode in ("real", "imag", "stft"):
            return jnp.concatenate(parts, -1)
        power = jnp.square(parts[0]) + jnp.square(parts[1])
        if self.mode == "psd":
            # A bin stands for its mirror image too, but the first and the last have none.
            return power + jnp.pad(power[..., 1:-1], [*[(0, 0)] * 3, (1, 1)])
        size = jnp.sqrt(jnp.maximum(power, epsilon()))
        return size if self.mode == "magnitude" else jnp.log(jnp.maximum(size, epsilon()))

    def _transformed(self, signals: Any, side: str) -> Any:
        batch, channels, steps = signals.shape
        out = kernels.convolve(
            signals.reshape(batch * channels, steps, 1),
            getattr(self, f"{side}_kernel").value,
            strides=(self.frame_step or self.frame_length // 2,),
            padding=self.padding,
            data_format="channels_last",
            dilation_rate=(1,),
        )
        return out.reshape(batch, channels, *out.shape[1:])
