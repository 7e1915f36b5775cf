"""Pipeline: layers one after the other, as one layer; and layers as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lamella.core import config as configs
from lamella.core.errors import ArgumentError
from lamella.core.masked import with_mask
from lamella.layers.layer import Layer


class Pipeline(Layer):
    """Layers one after the other, in training mode unless told otherwise; made for preprocessing. A layer, not a model.

    >>> import numpy as np
    >>> from lamella.layers.noise import GaussianNoise
    >>> from lamella.layers.reshaping import Flatten
    >>> Pipeline([GaussianNoise(0.1), Flatten()])(np.ones((2, 3, 4), "float32")).shape
    (2, 12)
    """

    arguments_beyond: ClassVar[Mapping[str, Any]] = {"trainable": True, "dtype": None}
    layers: Any

    def build(self, input_shape: Any) -> None:
        for layer in self.layers:
            if not layer.built:
                layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, inputs: Any, training: Any = True, mask: Any = None) -> Any:
        outputs = with_mask(inputs, mask)
        for layer in self.layers:
            outputs = layer(outputs, training=training)
        return outputs

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return None: masks come out of the layers, beside the outputs."""
        return None


def serialize(layer: Layer) -> dict[str, Any]:
    """Return a layer as plain data: its class and its config.

    >>> from lamella.layers.dense import Dense
    >>> serialize(Dense(3))["class_name"]
    'Dense'
    """
    described: dict[str, Any] = configs.serialize(layer)
    return described


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Layer:
    """Return the layer that `serialize` described."""
    layer = configs.deserialize(config, custom_objects)
    if not isinstance(layer, Layer):
        raise ArgumentError(f"The config describes {type(layer).__name__}, which is no layer.")
    return layer
