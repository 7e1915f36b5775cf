"""Signals: other ranges, and their spectra along time, on scales of frequency and of pitch."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from lamella import kernels, ops
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
        kernels_of = [vars(self).get(f"{side}_kernel") for side in ("real", "imag")]
        parts = self._transformed(signals, [kernel.value for kernel in kernels_of if kernel is not None])
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

    def _transformed(self, signals: Any, parts: list[Any]) -> list[Any]:
        """Convolve with all kernels at once; (batch, channels, frames, bins) for each."""
        batch, channels, steps = signals.shape
        out = kernels.convolve(
            signals.reshape(batch * channels, steps, 1),
            jnp.concatenate(parts, -1),
            strides=(self.frame_step or self.frame_length // 2,),
            padding=self.padding,
            data_format="channels_last",
            dilation_rate=(1,),
        )
        return jnp.split(out.reshape(batch, channels, *out.shape[1:]), len(parts), -1)


class MelSpectrogram(Layer):
    """The spectrum of sounds along time, on the scale of pitches: (batch, samples) -> (batch, num_mel_bins, frames).

    The magnitudes of the short-time Fourier transform, to the power of `mag_exp`, are summed up in triangles that are
    equally wide on the mel scale. With `power_to_db` they are decibels relative to `ref_power`; what lies more than
    `top_db` below the loudest place of its own sound is raised to that. A single sound, (samples,), is taken too.
    Stevens, Volkmann and Newman, "A Scale for the Measurement of the Psychological Magnitude Pitch", 1937.

    >>> import numpy as np
    >>> MelSpectrogram(fft_length=256, sequence_stride=128, num_mel_bins=20)(np.ones((2, 1000), "float32")).shape
    (2, 20, 8)
    """

    fft_length: int = 2048
    sequence_stride: int = 512
    sequence_length: Any = None
    window: Any = "hann"
    sampling_rate: float = 16000
    num_mel_bins: int = 128
    min_freq: float = 20.0
    max_freq: float | None = None
    power_to_db: bool = True
    top_db: float = 80.0
    mag_exp: float = 2.0
    min_power: float = 1e-10
    ref_power: float = 1.0

    axis_names = ("batch", "samples")

    def __post_init__(self) -> None:
        self.sequence_length = self.sequence_length or self.fft_length
        self.max_freq = self.max_freq or int(self.sampling_rate / 2)
        if self.fft_length < self.sequence_length:
            raise ArgumentError(
                f"MelSpectrogram: fft_length must be at least sequence_length={self.sequence_length}, "
                f"got {self.fft_length}."
            )

    def call(self, inputs: Any) -> Any:
        # Half precision is too coarse for powers and pitches.
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        real, imaginary = ops.stft(
            inputs.astype(dtype), self.sequence_length, self.sequence_stride, self.fft_length, self.window
        )
        power = (real**2 + imaginary**2) ** (self.mag_exp / 2)
        pitches = power @ self._triangles().astype(dtype)
        shown = self._decibels(pitches) if self.power_to_db else pitches
        return jnp.swapaxes(shown, -1, -2).astype(self.compute_dtype)

    def _triangles(self) -> Any:
        """Return how much of each frequency belongs to each pitch: (fft_length // 2 + 1, num_mel_bins)."""
        half = jnp.float32(self.sampling_rate) / 2
        places = _mel(jnp.linspace(0, half, self.fft_length // 2 + 1))[:, None]
        low, high = _mel(jnp.asarray([self.min_freq, self.max_freq], "float32"))
        edges = jnp.linspace(low, high, self.num_mel_bins + 2)
        lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
        inside = jnp.minimum((places - lower) / (centre - lower), (upper - places) / (upper - centre))
        # A constant is no sound.
        return jnp.maximum(inside, 0).at[0].set(0)

    def _decibels(self, power: Any) -> Any:
        reference = max(abs(self.ref_power), self.min_power)
        loud = 10 * (jnp.log10(jnp.maximum(power, self.min_power)) - math.log10(reference))
        return jnp.maximum(loud, jnp.max(loud, axis=(-2, -1), keepdims=True) - self.top_db)


def _mel(hertz: Any) -> Any:
    return 1127 * jnp.log(1 + hertz / 700)
