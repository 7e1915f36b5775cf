"""Normalization: over the batch, or over the features of each sample."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lamella import kernels, ops
from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.variable import Variable
from lamella.layers.layer import Layer
from lamella.layers.spec import InputSpec
from lamella.parts.constraints import ConstraintLike
from lamella.parts.initializers import InitializerLike
from lamella.parts.regularizers import RegularizerLike


class BatchNormalization(Layer):
    """Each channel with mean 0 and variance 1, then scaled and shifted: shape unchanged.

    In training the statistics are those of the batch: here samples mix on purpose. Otherwise they are the moving
    averages, which training updates. A frozen layer uses the moving averages too. Ioffe and Szegedy, "Batch
    Normalization", ICML 2015. With `renorm` the batch's statistics are corrected toward moving ones: Ioffe, "Batch
    Renormalization", 2017, https://arxiv.org/abs/1702.03275.

    >>> import numpy as np
    >>> layer = BatchNormalization()
    >>> layer(np.ones((4, 3), "float32")).shape, len(layer.weights)
    ((4, 3), 4)
    """

    axis: int = -1
    momentum: float = 0.99
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: InitializerLike = "zeros"
    gamma_initializer: InitializerLike = "ones"
    moving_mean_initializer: InitializerLike = "zeros"
    moving_variance_initializer: InitializerLike = "ones"
    beta_regularizer: RegularizerLike = None
    gamma_regularizer: RegularizerLike = None
    beta_constraint: ConstraintLike = None
    gamma_constraint: ConstraintLike = None
    renorm: bool = False
    renorm_clipping: Any = None
    renorm_momentum: float = 0.99
    synchronized: bool = False

    supports_masking = True
    mixes_samples = "in training, mean and variance are taken over the batch."

    def __post_init__(self) -> None:
        if self.synchronized:
            raise ArgumentError(
                "BatchNormalization: synchronized=True is not offered, as in Keras on JAX.", mend="synchronized=False"
            )
        self.renorm_clipping = dict(self.renorm_clipping or {}) if self.renorm else self.renorm_clipping
        limits = self.renorm_clipping or {}
        if set(limits) - {"rmin", "rmax", "dmax"}:
            raise ArgumentError(f"BatchNormalization: renorm_clipping has rmin, rmax and dmax; got {sorted(limits)}.")
        if limits.get("rmin", 0) > limits.get("rmax", float("inf")) or limits.get("dmax", 0) < 0:
            raise ArgumentError(f"BatchNormalization: renorm_clipping={limits} leaves nothing.", mend="rmin <= rmax")

    def build(self, input_shape: Any) -> None:
        channels = _channels_of(self, input_shape)
        self.gamma = self._add_declared("gamma", (channels,)) if self.scale else None
        self.beta = self._add_declared("beta", (channels,)) if self.center else None
        self.moving_mean = self._statistic("moving_mean", channels)
        self.moving_variance = self._statistic("moving_variance", channels)
        if self.renorm:
            self.moving_stddev = self._statistic("moving_stddev", channels)
            self.renorm_mean = self._statistic("renorm_mean", channels)
            self.renorm_stddev = self._statistic("renorm_stddev", channels)

    @property
    def renorm_mean_initializer(self) -> Any:
        """The moving mean's."""
        return self.moving_mean_initializer

    @property
    def moving_stddev_initializer(self) -> Any:
        """The root of what the moving variance's gives."""
        return lambda shape, dtype=None: jnp.sqrt(self.moving_variance_initializer(shape, dtype))

    renorm_stddev_initializer = moving_stddev_initializer

    def _statistic(self, name: str, channels: int) -> Variable:
        # Moving averages keep their precision whatever the layer computes in.
        return self._add_declared(name, (channels,), trainable=False, autocast=False)

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        gamma = None if self.gamma is None else self.gamma.value
        beta = None if self.beta is None else self.beta.value
        if not (training and self.trainable):
            mean, variance = self.moving_mean.value, self.moving_variance.value
            return kernels.batch_norm(inputs, mean, variance, gamma, beta, self.axis, self.epsilon)
        if self.renorm:
            return self._renormalized(inputs, gamma, beta, mask)
        out, mean, variance = kernels.batch_norm_in_training(inputs, gamma, beta, self.axis, self.epsilon, mask)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return out

    def _renormalized(self, inputs: Any, gamma: Any, beta: Any, mask: Any) -> Any:
        out, mean, variance = kernels.batch_norm_in_training(inputs, None, None, self.axis, self.epsilon, mask)
        spread = jnp.sqrt(variance + self.epsilon)
        known = jnp.maximum(self.renorm_stddev.value, self.epsilon**0.5)
        limits = self.renorm_clipping
        scale = jnp.clip(spread / known, limits.get("rmin"), limits.get("rmax"))
        reach = limits.get("dmax")
        shift = jnp.clip((mean - self.renorm_mean.value) / known, None if reach is None else -reach, reach)
        scale, shift = jax.lax.stop_gradient((scale, shift))
        self._move(self.renorm_mean, mean, self.renorm_momentum)
        self._move(self.renorm_stddev, spread, self.renorm_momentum)
        self._move(self.moving_mean, mean)
        self._move(self.moving_stddev, spread)
        self.moving_variance.assign(jax.nn.relu(self.moving_stddev.value**2 - self.epsilon))
        if gamma is not None:
            scale, shift = scale * gamma, shift * gamma
        shift = shift if beta is None else shift + beta
        along = [-1 if axis == self.axis % inputs.ndim else 1 for axis in range(inputs.ndim)]
        return (out * scale.reshape(along) + shift.reshape(along)).astype(inputs.dtype)

    def _move(self, average: Variable, value: Any, momentum: float | None = None) -> None:
        kept = self.momentum if momentum is None else momentum
        average.assign(average.value * kept + value * (1 - kept))


def _channels_of(layer: Any, input_shape: Any) -> int:
    """Return the size of a layer's axis, from now on the only one allowed."""
    channels = input_shape[layer.axis]
    if channels is None:
        owner = type(layer).__name__
        raise ShapeError(f"{owner} needs to know the size of axis {layer.axis} of {tuple(input_shape)}.")
    layer.input_spec = InputSpec(ndim=len(input_shape), axes={layer.axis: channels})
    return int(channels)


class WithAffine(Layer):
    """A layer that may scale and shift what it normalized: `gamma` and `beta`, kept in full precision."""

    axis: Any = -1
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: InitializerLike = "zeros"
    gamma_initializer: InitializerLike = "ones"
    beta_regularizer: RegularizerLike = None
    gamma_regularizer: RegularizerLike = None
    beta_constraint: ConstraintLike = None
    gamma_constraint: ConstraintLike = None

    def _add_affine(self, shape: tuple[int, ...]) -> None:
        self.gamma = self._add_declared("gamma", shape, autocast=False) if self.scale else None
        self.beta = self._add_declared("beta", shape, autocast=False) if self.center else None

    def _affine(self) -> tuple[Any, Any]:
        gamma, beta = self.gamma, self.beta
        return None if gamma is None else gamma.value, None if beta is None else beta.value


class LayerNormalization(WithAffine):
    """Each sample's features with mean 0 and variance 1 along `axis`, then scaled and shifted: shape unchanged.

    Ba, Kiros and Hinton, "Layer Normalization", 2016, https://arxiv.org/abs/1607.06450.

    >>> import numpy as np
    >>> float(abs(LayerNormalization()(np.array([[1.0, 2.0, 3.0]], "float32")).mean()) < 1e-6)
    1.0
    """

    rms_scaling: bool = False

    supports_masking = True

    def __post_init__(self) -> None:
        if self.rms_scaling:
            raise ArgumentError("LayerNormalization: rms_scaling is not offered.", mend="rms_scaling=False")

    def build(self, input_shape: Any) -> None:
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        self._add_affine(tuple(input_shape[axis] for axis in axes))
        self.input_spec = InputSpec(min_ndim=2, axes={axis: input_shape[axis] for axis in axes})

    def call(self, inputs: Any) -> Any:
        axis = self.axis if isinstance(self.axis, int) else tuple(self.axis)
        return kernels.layer_norm(inputs, *self._affine(), axis, self.epsilon)


class GroupNormalization(WithAffine):
    """Each sample's channels in groups, each of mean 0 and variance 1, then scaled and shifted: shape unchanged.

    `groups=-1` makes each channel a group of its own, as instance normalization does. Wu and He, "Group Normalization",
    ECCV 2018, https://arxiv.org/abs/1803.08494.

    >>> import numpy as np
    >>> GroupNormalization(groups=2)(np.ones((4, 8, 8, 6), "float32")).shape
    (4, 8, 8, 6)
    """

    groups: int = 32

    arguments_first = ("groups",)
    supports_masking = True

    def __post_init__(self) -> None:
        if not isinstance(self.groups, int) or (self.groups < 1 and self.groups != -1):
            raise ArgumentError(f"GroupNormalization: groups must be a positive integer or -1, got {self.groups!r}.")
        # Statistics are taken of the inputs as they come, in full precision.
        self.autocast = False

    def build(self, input_shape: Any) -> None:
        channels = _channels_of(self, input_shape)
        self.groups = channels if self.groups == -1 else self.groups
        if channels % self.groups:
            raise ShapeError(
                f"GroupNormalization: {channels} channels cannot be put into {self.groups} groups of one size.",
                mend="a number of groups that divides the channels",
            )
        self._add_affine((channels,))

    def call(self, inputs: Any) -> Any:
        out = kernels.group_norm(inputs, *self._affine(), self.groups, self.axis, self.epsilon)
        return out.astype(self.compute_dtype)


class RMSNormalization(Layer):
    """Each sample's features divided by their root mean square along `axis`, then scaled: shape unchanged.

    Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, https://arxiv.org/abs/1910.07467.

    >>> import numpy as np
    >>> RMSNormalization()(np.array([[3.0, -3.0]], "float32")).round(3).tolist()
    [[1.0, -1.0]]
    """

    axis: Any = -1
    epsilon: float = 1e-6

    def build(self, input_shape: Any) -> None:
        self._axes = (self.axis,) if isinstance(self.axis, int) else tuple(sorted(self.axis))
        self.scale = self.add_weight(tuple(input_shape[axis] for axis in self._axes), "ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return ops.rms_normalization(inputs, self.scale.value, self._axes, self.epsilon)


class UnitNormalization(Layer):
    """Each sample divided by its length along `axis`: shape unchanged.

    >>> import numpy as np
    >>> print(UnitNormalization()(np.array([[3.0, 4.0]], "float32")))
    [[0.6 0.8]]
    """

    axis: Any = -1
    supports_masking = True

    def call(self, inputs: Any) -> Any:
        return ops.normalize(inputs, self.axis, 2, 1e-12)
