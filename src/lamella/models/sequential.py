"""Sequential: one layer after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lamella.core.axes import as_shape
from lamella.core.config import deserialize, serialize
from lamella.core.errors import ArgumentError, NotBuiltError
from lamella.core.structure import leaves_of
from lamella.graph.run import Graph
from lamella.graph.tensor import SymbolicTensor
from lamella.layers.input import InputLayer
from lamella.layers.layer import Layer
from lamella.layers.state import reserved
from lamella.models import inputs as model_inputs
from lamella.models.model import Model


class Sequential(Model):
    """A stack of layers, each with one input and one output.

    The shapes are known as soon as an `Input` comes first, or the first layer has an `input_shape`; otherwise when
    the first data comes.

    >>> from lamella.layers import Dense, Input
    >>> model = Sequential([Input((5,)), Dense(3)])
    >>> model.output_shape
    (None, 3)
    """

    def __init__(self, layers: Iterable[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(trainable=trainable, name=name)
        self._stack: list[Layer] = []
        self._input: SymbolicTensor | None = None
        self._declared = True
        self.supports_masking = True
        for layer in layers or ():
            self.add(layer)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_input": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._input = self._graph.inputs if self._graph is not None else None

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Put a layer (or an Input) on top."""
        if isinstance(layer, SymbolicTensor) and layer.node is not None:
            layer = layer.node.operation
        if not isinstance(layer, Layer):
            raise ArgumentError(
                f"Sequential.add takes a layer, got {type(layer).__name__}.",
                mend="Lambda(fn) for a plain function",
            )
        if any(layer.name == other.name for other in self._stack):
            raise ArgumentError(f"The model has a layer named {layer.name!r} already; names are unique in a model.")
        if isinstance(layer, InputLayer):
            if self._input is not None or self._stack:
                raise ArgumentError("An Input comes first in a Sequential model, and once.")
            self._start(layer)
            return
        if not self._stack and self._input is None and _known_shape(layer) is not None:
            self._start(InputLayer(batch_shape=_known_shape(layer)))
        before = self._graph.outputs if self._graph is not None else None
        if before is not None:
            self._grow(layer, before)
        self._stack.append(layer)

    def _start(self, layer: InputLayer) -> None:
        self._input = layer.nodes[0].outputs
        self._graph = Graph(self._input, self._input)
        self.built = True

    def _grow(self, layer: Layer, before: Any) -> None:
        after = layer(before)
        if len(leaves_of(after)) != 1:
            raise ArgumentError(
                f"The layer {layer.name!r} has {len(leaves_of(after))} outputs; in a Sequential model each has one.",
                mend="Model(inputs, outputs)",
            )
        self._graph = Graph(self._input, after)

    def pop(self, rebuild: bool = True) -> Layer:
        """Take the last layer off and return it."""
        if not self._stack:
            raise ArgumentError("The model has no layer to take off.")
        layer = self._stack.pop()
        if self._graph is not None:
            self._graph = Graph(self._input, self._graph.output_tensors[0].node.inputs[0])  # type: ignore[union-attr]
        return layer

    @reserved
    def layers(self) -> list[Layer]:
        """The layers, from the first to the last."""
        return list(self._stack)

    def _layers_inside(self) -> list[Layer]:
        return list(self._stack)

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for an input's shape, batch axis included (None for any size)."""
        if self._graph is None and input_shape is not None:
            self._begin(tuple(as_shape(input_shape, "input_shape")), None)

    def _begin(self, batch_shape: tuple[Any, ...], dtype: Any) -> None:
        self._start(InputLayer(batch_shape=batch_shape, dtype=dtype))
        for layer in self._stack:
            self._grow(layer, self._graph.outputs)  # type: ignore[union-attr]

    def _build_by_name(self, shapes: dict[str, Any]) -> None:
        """The first data says the shape; later data may differ where the layers allow it."""
        shape = next(iter(shapes.values()), None)
        if self._graph is None and self._stack and shape is not None:
            self._declared = False
            self._begin((None, *shape[1:]), None)
        self._state.built = True

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Run the layers one after the other."""
        if not self._stack and self._input is None:
            raise NotBuiltError(f"The model {self.name!r} has no layers.", mend="model.add(Dense(1))")
        value = leaves_of(inputs)[0] if isinstance(inputs, list | tuple | dict) else inputs
        if self._input is not None:
            value = model_inputs.standardized(self._input, value, self.name if self._declared else None)
        for layer in self._stack:
            value = layer(value)
        return value

    def get_config(self) -> dict[str, Any]:
        """Return the layers' configs in order, as Keras does."""
        layers = [*self._graph.operations[:1], *self._stack] if self._input is not None and self._graph else self._stack
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": serialize(self.dtype_policy),
            "layers": [serialize(layer) for layer in layers],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Sequential:
        """Make a model from `get_config`'s answer."""
        layers = [deserialize(layer) for layer in config["layers"]]
        return cls(layers, trainable=config.get("trainable", True), name=config.get("name"))


def _known_shape(layer: Layer) -> Any:
    if layer._state.input_shapes is not None:
        return layer._state.input_shapes
    if isinstance(layer, Model) and layer._graph is not None and len(layer._graph.input_tensors) == 1:
        return layer._graph.input_tensors[0].shape
    return None
