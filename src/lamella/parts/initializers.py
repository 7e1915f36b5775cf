"""Initializers: the first values of weights, drawn as Keras on JAX draws them for the same seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core import config, values
from lamella.core.config import Configurable, Convert, custom_object_scope, generic_init
from lamella.core.dtypes import standardize_dtype
from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.registry import Registry
from lamella.core.seeds import SeedGenerator, draw_key, make_default_seed
from lamella.core.settings import one_of
from lamella.core.variable import Variable
from lamella.parts.identify import find

__all__ = [
    "STFT",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "InitializerLike",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomInitializer",
    "RandomNormal",
    "RandomUniform",
    "STFTInitializer",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "deserialize",
    "fans",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "stft",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]

initializers = Registry("initializer")

# The standard deviation of a standard normal that was cut at two of its own.
_CUT_NORMAL = 0.87962566103423978


class Initializer(Configurable):
    """The first values of a weight: called with a shape and a dtype, answers with an array of them."""

    keras_module: ClassVar[str] = "keras.initializers"

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return the values; a subclass writes it."""
        raise NotImplementedError(f"{type(self).__name__} does not define `__call__`.")

    def clone(self) -> Self:
        """Return a new initializer from the same config; one without a seed draws other numbers."""
        return self.from_config(self.get_config())

    def between(self, input_axes: Any, output_axes: Any) -> Initializer:
        """Return the initializer for a weight whose axes these are; most do not ask."""
        return self


@initializers.register("zeros", "zero")
class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return values.full(shape, standardize_dtype(dtype), 0)


@initializers.register("ones", "one")
class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return values.full(shape, standardize_dtype(dtype), 1)


@initializers.register("constant")
class Constant(Initializer):
    """All the same value, or an array that broadcasts to the shape."""

    value: Any = 0.0

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return values.full(shape, standardize_dtype(dtype), self.value)


@initializers.register("identity", "IdentityInitializer")
class Identity(Initializer):
    """`gain` on a matrix's diagonal, 0 elsewhere.

    >>> Identity(2.0)((2, 3)).tolist()
    [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    """

    gain: float = 1.0

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        if len(shape) != 2:
            raise ShapeError(f"Identity makes matrices; the shape is {tuple(shape)}.")
        return self.gain * jnp.eye(shape[0], shape[1], dtype=standardize_dtype(dtype))


class RandomInitializer(Initializer):
    """Values drawn from a distribution; the same seed gives the same values at every call.

    Without a seed one is drawn once, from the generator that `set_random_seed` fixes. A `SeedGenerator` gives
    new values at every call.
    """

    seed: Any

    @generic_init
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._set_fields(args, kwargs)

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int | SeedGenerator | None):
            raise ArgumentError(f"seed must be an integer, a SeedGenerator or None, got {self.seed!r}.")
        self._source = make_default_seed() if self.seed is None else self.seed

    def _normal(self, shape: Any, dtype: Any, mean: float, stddev: float) -> Any:
        return values.normal(draw_key(self._source), shape, standardize_dtype(dtype), mean, stddev)

    def _cut_normal(self, shape: Any, dtype: Any, mean: float, stddev: float) -> Any:
        return values.truncated_normal(draw_key(self._source), shape, standardize_dtype(dtype), mean, stddev)

    def _uniform(self, shape: Any, dtype: Any, low: float, high: float) -> Any:
        return values.uniform(draw_key(self._source), shape, standardize_dtype(dtype), low, high)


@initializers.register("random_normal", "normal")
class RandomNormal(RandomInitializer):
    """Normal with this mean and standard deviation."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: Any = None

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return self._normal(shape, dtype, self.mean, self.stddev)


@initializers.register("truncated_normal")
class TruncatedNormal(RandomInitializer):
    """Normal, but never further from the mean than two standard deviations."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: Any = None

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return self._cut_normal(shape, dtype, self.mean, self.stddev)


@initializers.register("random_uniform", "uniform")
class RandomUniform(RandomInitializer):
    """Uniform between two values."""

    minval: float = -0.05
    maxval: float = 0.05
    seed: Any = None

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return self._uniform(shape, dtype, self.minval, self.maxval)


def fans(shape: Sequence[int], input_axes: Any = None, output_axes: Any = None) -> tuple[int, int]:
    """Return how many inputs each unit of a weight sees, and how many outputs each input feeds.

    A kernel's last axis is its outputs and the one before its inputs; the axes before those are its window.

    >>> fans((3, 3, 16, 32))
    (144, 288)
    """
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


class _Scaled(RandomInitializer):
    """Random values whose spread depends on the number of inputs and outputs.

    `input_axes` and `output_axes`, given both, say which axes of the weight those are.
    """

    scale: Any = 1.0
    mode: Any = "fan_in"
    distribution: Any = "truncated_normal"
    input_axes: Any
    output_axes: Any

    @generic_init
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._set_fields(args, kwargs)

    def between(self, input_axes: Any, output_axes: Any) -> Initializer:
        """Return one of the same source whose fans are counted over these axes, unless it has axes already."""
        if self.input_axes is not None and self.output_axes is not None:
            return self
        axes = {"input_axes": input_axes, "output_axes": output_axes}
        return self.from_config({**self.get_config(), "seed": self._source, **axes})

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        fan_in, fan_out = fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "truncated_normal":
            return self._cut_normal(shape, dtype, 0.0, math.sqrt(variance) / _CUT_NORMAL)
        if self.distribution == "untruncated_normal":
            return self._normal(shape, dtype, 0.0, math.sqrt(variance))
        limit = math.sqrt(3.0 * variance)
        return self._uniform(shape, dtype, -limit, limit)


@initializers.register("variance_scaling")
class VarianceScaling(_Scaled):
    """Mean 0 and variance `scale / fan`, so that signals neither grow nor fade from layer to layer.

    The fan is the number of inputs ("fan_in"), of outputs ("fan_out") or their mean ("fan_avg").
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"
    seed: Any = None
    input_axes: Any = None
    output_axes: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scale > 0:
            raise ArgumentError(f"VarianceScaling: scale must be positive, got {self.scale!r}.")
        self.mode = one_of("mode", self.mode, ("fan_in", "fan_out", "fan_avg"))
        kind = "truncated_normal" if self.distribution == "normal" else self.distribution
        kinds = ("truncated_normal", "untruncated_normal", "uniform")
        self.distribution = one_of("distribution", kind, kinds)


@initializers.register("glorot_uniform")
class GlorotUniform(_Scaled):
    """Uniform, of variance `2 / (inputs + outputs)` (Glorot and Bengio, 2010)."""

    scale = 1.0
    mode = "fan_avg"
    distribution = "uniform"
    seed: Any = None
    input_axes: Any = None
    output_axes: Any = None


@initializers.register("glorot_normal")
class GlorotNormal(_Scaled):
    """Truncated normal, of variance `2 / (inputs + outputs)` (Glorot and Bengio, 2010)."""

    scale = 1.0
    mode = "fan_avg"
    distribution = "truncated_normal"
    seed: Any = None
    input_axes: Any = None
    output_axes: Any = None


@initializers.register("he_uniform")
class HeUniform(_Scaled):
    """Uniform, of variance `2 / inputs`: made for relu (He et al., 2015)."""

    scale = 2.0
    mode = "fan_in"
    distribution = "uniform"
    seed: Any = None
    input_axes: Any = None
    output_axes: Any = None


@initializers.register("he_normal")
class HeNormal(_Scaled):
    """Truncated normal, of variance `2 / inputs`: made for relu (He et al., 2015)."""

    scale = 2.0
    mode = "fan_in"
    distribution = "truncated_normal"
    seed: Any = None
    input_axes: Any = None
    output_axes: Any = None


@initializers.register("lecun_uniform")
class LecunUniform(_Scaled):
    """Uniform, of variance `1 / inputs` (LeCun et al., 1998)."""

    scale = 1.0
    mode = "fan_in"
    distribution = "uniform"
    seed: Any = None
    input_axes: Any = None
    output_axes: Any = None


@initializers.register("lecun_normal")
class LecunNormal(_Scaled):
    """Truncated normal, of variance `1 / inputs`: made for selu (Klambauer et al., 2017)."""

    scale = 1.0
    mode = "fan_in"
    distribution = "truncated_normal"
    seed: Any = None
    input_axes: Any = None
    output_axes: Any = None


@initializers.register("orthogonal", "OrthogonalInitializer")
class Orthogonal(RandomInitializer):
    """A random orthogonal matrix times `gain`; all axes but the last count as rows (Saxe et al., 2014)."""

    gain: float = 1.0
    seed: Any = None

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        if len(shape) < 2:
            raise ShapeError(f"Orthogonal needs at least two axes; the shape is {tuple(shape)}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        drawn = self._normal((max(rows, columns), min(rows, columns)), dtype, 0.0, 1.0)
        q, r = np.linalg.qr(np.asarray(drawn, jnp.promote_types(drawn.dtype, "float32")))
        q = q * np.sign(np.diag(r))  # without the signs the draw would not be uniform
        return jnp.asarray(self.gain * np.reshape(q if rows >= columns else q.T, shape), drawn.dtype)


# A window is a sum of cosines, the signs of which alternate: these are their amplitudes.
_WINDOWS = {
    "bartlett": None,
    "blackman": (0.42, 0.5, 0.08),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
    "boxcar": (1.0,),
    "hamming": (0.54, 0.46),
    "hann": (0.5, 0.5),
    "nuttall": (0.3635819, 0.4891775, 0.1365995, 0.0106411),
}


@initializers.register("stft")
class STFT(Initializer):
    """The short-time Fourier transform as a convolution's kernel: (length, 1, frequencies), its real or imaginary part.

    The frequencies are those of a transform of 2 (frequencies - 1) points. `window` is a name or so many values;
    `scaling` divides by its root of squares ("density") or its sum ("spectrum"). The phases are counted in integers.

    >>> print(abs(STFT("real", window=None)((4, 1, 3))[:, 0, 1].round(6)))
    [1. 0. 1. 0.]
    """

    side: str = "real"
    window: Any = "hann"
    scaling: str | None = "density"
    periodic: bool = False

    def __post_init__(self) -> None:
        one_of("side", self.side, ("real", "imag"))
        if self.scaling is not None:
            one_of("scaling", self.scaling, ("density", "spectrum"))
        if isinstance(self.window, str):
            one_of("window", self.window, tuple(_WINDOWS))

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        length, _, frequencies = shape
        points = max(2 * (frequencies - 1), 1)
        turns = np.outer(np.arange(length), np.arange(frequencies)) % points / points
        waves = np.cos(2 * np.pi * turns) if self.side == "real" else -np.sin(2 * np.pi * turns)
        if self.window is not None:
            window = self._window_of(length)
            norm = {"density": np.sqrt(np.sum(window**2)), "spectrum": np.sum(np.abs(window)), None: 1.0}
            waves = waves * window[:, None] / norm[self.scaling]
        return jnp.asarray(waves[:, None], standardize_dtype(dtype))

    def _window_of(self, length: int) -> Any:
        if isinstance(self.window, str):
            return _named_window(self.window, length, self.periodic)
        window = np.asarray(self.window)
        if window.shape != (length,):
            raise ShapeError(f"STFT: the window must have the shape {(length,)} of a frame, got {window.shape}.")
        return window


def _named_window(name: str, length: int, periodic: bool) -> Any:
    if length == 1:
        return np.ones(1)
    places = np.arange(length) / (length if periodic else length - 1)
    amplitudes = _WINDOWS[name]
    if amplitudes is None:
        return 1 - np.abs(2 * places - 1)
    return sum((-1) ** k * share * np.cos(2 * np.pi * k * places) for k, share in enumerate(amplitudes))


IdentityInitializer, OrthogonalInitializer, STFTInitializer = Identity, Orthogonal, STFT
stft = STFT
zeros, ones, constant, identity, orthogonal = Zeros, Ones, Constant, Identity, Orthogonal
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling, glorot_uniform, glorot_normal = VarianceScaling, GlorotUniform, GlorotNormal
he_uniform, he_normal, lecun_uniform, lecun_normal = HeUniform, HeNormal, LecunUniform, LecunNormal


def get(identifier: Any) -> Any:
    """Return the initializer that a name, a class, a config, a callable or an array of values stands for.

    A name makes a new initializer each time; None stays None.

    >>> get("glorot_uniform").get_config()
    {'seed': None, 'input_axes': None, 'output_axes': None}
    """
    if isinstance(identifier, np.ndarray | np.generic | jax.Array | Variable):
        return _given(identifier)
    return find(identifier, initializers, "keras.initializers")


def _given(array: Any) -> Any:
    def initialize(shape: Any, dtype: Any = None) -> Any:
        if tuple(shape) != tuple(array.shape):
            raise ShapeError(f"The weight has shape {tuple(shape)}; the values given for it {tuple(array.shape)}.")
        return jnp.asarray(array, standardize_dtype(dtype))

    return initialize


def serialize(initializer: Any) -> Any:
    """Return an initializer as plain data: a name, or a config."""
    return config.serialize(initializer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the initializer that `serialize` described."""
    with custom_object_scope(custom_objects or {}):
        return get(config)


InitializerLike = Annotated[Any, Convert(get)]
