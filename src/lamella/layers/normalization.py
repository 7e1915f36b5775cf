"""Normalization: over the batch, or over the features of each sample."""

from __future__ import annotations

from typing import Any

from lamella import kernels
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
    Normalization", ICML 2015.

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
        if self.renorm or self.synchronized:
            raise ArgumentError("BatchNormalization: renorm and synchronized are not offered.", mend="renorm=False")

    def build(self, input_shape: Any) -> None:
        channels = input_shape[self.axis]
        if channels is None:
            raise ShapeError(f"BatchNormalization needs to know the size of axis {self.axis} of {tuple(input_shape)}.")
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self._weight("gamma", channels, trainable=True)
        if self.center:
            self.beta = self._weight("beta", channels, trainable=True)
        self.moving_mean = self._weight("moving_mean", channels, trainable=False)
        self.moving_variance = self._weight("moving_variance", channels, trainable=False)
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: channels})

    def _weight(self, name: str, channels: int, trainable: bool) -> Variable:
        return self.add_weight(
            (channels,),
            getattr(self, f"{name}_initializer"),
            trainable=trainable,
            # Moving averages keep their precision whatever the layer computes in.
            autocast=trainable,
            regularizer=getattr(self, f"{name}_regularizer", None),
            constraint=getattr(self, f"{name}_constraint", None),
            name=name,
        )

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        gamma = None if self.gamma is None else self.gamma.value
        beta = None if self.beta is None else self.beta.value
        if not (training and self.trainable):
            mean, variance = self.moving_mean.value, self.moving_variance.value
            return kernels.batch_norm(inputs, mean, variance, gamma, beta, self.axis, self.epsilon)
        out, mean, variance = kernels.batch_norm_in_training(inputs, gamma, beta, self.axis, self.epsilon, mask)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return out

    def _move(self, average: Variable, value: Any) -> None:
        average.assign(average.value * self.momentum + value * (1 - self.momentum))


class LayerNormalization(Layer):
    """Each sample's features with mean 0 and variance 1 along `axis`, then scaled and shifted: shape unchanged.

    Ba, Kiros and Hinton, "Layer Normalization", 2016, https://arxiv.org/abs/1607.06450.

    >>> import numpy as np
    >>> float(abs(LayerNormalization()(np.array([[1.0, 2.0, 3.0]], "float32")).mean()) < 1e-6)
    1.0
    """

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
    rms_scaling: bool = False

    supports_masking = True

    def __post_init__(self) -> None:
        if self.rms_scaling:
            raise ArgumentError("LayerNormalization: rms_scaling is not offered.", mend="rms_scaling=False")

    def build(self, input_shape: Any) -> None:
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        shape = tuple(input_shape[axis] for axis in axes)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                shape,
                self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                autocast=False,
                name="gamma",
            )
        if self.center:
            self.beta = self.add_weight(
                shape,
                self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                autocast=False,
                name="beta",
            )
        self.input_spec = InputSpec(min_ndim=2, axes={axis: input_shape[axis] for axis in axes})

    def call(self, inputs: Any) -> Any:
        gamma = None if self.gamma is None else self.gamma.value
        beta = None if self.beta is None else self.beta.value
        axis = self.axis if isinstance(self.axis, int) else tuple(self.axis)
        return kernels.layer_norm(inputs, gamma, beta, axis, self.epsilon)
