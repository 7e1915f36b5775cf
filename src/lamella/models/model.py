"""Model: layers with a way through them, and the verbs compile, fit, evaluate and predict."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self, cast

from lamella.core.config import serialize
from lamella.core.errors import ArgumentError, NotBuiltError, did_you_mean
from lamella.core.structure import map_leaves
from lamella.graph.run import Graph
from lamella.layers import eager
from lamella.layers.input import Input
from lamella.layers.layer import Layer, map_shapes
from lamella.layers.quantization import quantize_inside
from lamella.layers.state import reserved
from lamella.models import inputs as model_inputs
from lamella.models.described import graph_config, graph_from_config
from lamella.models.summary import print_summary
from lamella.saving import weight_files
from lamella.saving.export import export_model
from lamella.saving.files import save_model
from lamella.training.trainer import Trainer, TrainerState


class Model(Trainer, Layer):
    """A layer that can be trained: a graph from inputs to outputs, or a class with a `call` of its own.

    >>> from lamella.layers import Dense, Input
    >>> x = Input((4,))
    >>> model = Model(inputs=x, outputs=Dense(1)(x))
    >>> model.count_params()
    5
    """

    keras_module: ClassVar[str] = "keras"
    _graph: Graph | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        functional = bool(args) or "inputs" in kwargs or "outputs" in kwargs
        made: Any = super().__new__(Functional if cls is Model and functional else cls, *args, **kwargs)
        made._graph = None
        made._trainer = TrainerState()
        return cast(Self, made)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(("inputs", "outputs"), args, strict=False))
        given.update({key: kwargs.pop(key) for key in ("inputs", "outputs") if key in kwargs})
        if given and set(given) != {"inputs", "outputs"}:
            raise ArgumentError("A functional model needs inputs and outputs.", mend="Model(inputs=x, outputs=y)")
        super().__init__(**kwargs)
        if given:
            self._graph = Graph(given["inputs"], given["outputs"])
            self.built = True
            self.supports_masking = True

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Run the graph; a subclass without one writes its own."""
        if self._graph is None:
            raise NotBuiltError(
                f"{type(self).__name__} has neither a graph nor a `call` of its own.",
                mend="def call(self, inputs): return self.dense(inputs)",
            )
        values = model_inputs.matched(self._graph.inputs, self._graph.input_tensors, inputs)
        pairs = zip(self._graph.input_tensors, values, strict=True)
        return self._graph([model_inputs.standardized(tensor, value, self.name) for tensor, value in pairs])

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Masks come out of the layers inside, beside the outputs."""
        return None

    def _layers_inside(self) -> list[Layer]:
        inside = super()._layers_inside()
        if self._graph is None:
            return inside
        return list(dict.fromkeys([*(op for op in self._graph.operations if isinstance(op, Layer)), *inside]))

    def fingerprint(self) -> eager.Snapshot:
        """Return the attributes of all layers as they are now, to see later whether any was assigned."""
        return eager.Snapshot(list(self._flatten_layers()), True)

    @reserved
    def layers(self) -> list[Layer]:
        """The layers directly in the model."""
        return self._layers_inside()

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return a layer by name or by its place."""
        layers = self.layers
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ArgumentError(f"The model {self.name!r} has {len(layers)} layers; there is no layer {index}.")
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        known = [layer.name for layer in layers]
        raise ArgumentError(f"The model {self.name!r} has no layer {name!r}.{did_you_mean(name, known)}")

    @property
    def inputs(self) -> list[Any]:
        """The symbolic inputs, in a flat list."""
        return self._known_graph().input_tensors

    @property
    def outputs(self) -> list[Any]:
        """The symbolic outputs, in a flat list."""
        return self._known_graph().output_tensors

    @property
    def input(self) -> Any:
        """The symbolic inputs, in the structure that the model was made with."""
        return self._known_graph().inputs

    @property
    def output(self) -> Any:
        """The symbolic outputs, in the structure that the model was made with."""
        return self._known_graph().outputs

    @property
    def input_shape(self) -> Any:
        """The shapes of the inputs, None where a size is not known."""
        return map_leaves(lambda tensor: tensor.shape, self.input)

    @property
    def output_shape(self) -> Any:
        """The shapes of the outputs, None where a size is not known."""
        return map_leaves(lambda tensor: tensor.shape, self.output)

    @property
    def input_names(self) -> list[str]:
        """The names of the input layers."""
        return [tensor.node.operation.name for tensor in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """The names of the layers that make the outputs."""
        return [tensor.node.operation.name for tensor in self.outputs]

    def _known_graph(self) -> Graph:
        if self._graph is None:
            raise NotBuiltError(
                f"The model {self.name!r} does not know its input's shape yet.",
                mend="Input((5,)) as its first layer, or model.build((None, 5)), or call it on data",
            )
        return self._graph

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Make a model from `get_config`'s answer."""
        if "input_layers" not in config:
            return super().from_config(config)
        inputs, outputs = graph_from_config(config)
        return Model(inputs, outputs, name=config.get("name"), trainable=config.get("trainable", True))

    def to_json(self, **kwargs: Any) -> str:
        """Return the model's config as JSON; `kwargs` are those of `json.dumps`."""
        return json.dumps(serialize(self), **kwargs)

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Make the weights for the shapes of `get_build_config`'s answer, by calling the model on symbolic inputs."""
        if type(self).build is not Model.build:
            super().build_from_config(config)
        shapes = config.get("shapes_dict")
        if shapes is None:
            self(map_shapes(_as_input, config["input_shape"]))
        else:
            self(**{name.removesuffix("_shape"): map_shapes(_as_input, shape) for name, shape in shapes.items()})

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Write the model into a file that ends in .keras: config, weights, optimizer; see `saving.save_model`."""
        save_model(self, filepath, overwrite, zipped, **kwargs)

    def export(
        self,
        filepath: Any,
        format: str = "stablehlo",
        verbose: Any = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Write what `predict` computes as a program for other processes: see `saving.export.export_model`."""
        export_model(self, filepath, format, verbose, input_signature, **kwargs)

    def quantize(self, mode: Any = None, config: Any = None, *, filters: Any = None, type_check: bool = True) -> None:
        """Keep the large weights of the layers inside in whole numbers: those of Dense, EinsumDense and Embedding.

        `filters` chooses layers: a regular expression, or several, to be found in their names, or a function of them.
        """
        quantize_inside(self, mode, config, filters, type_check)

    def _change_mode(self, mode: str | None) -> None:
        """A model computes in no type of its own; the layers inside are quantized by `quantize`."""
        if self.built:
            super()._change_mode(mode)

    def save_weights(self, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Write the weights to a file that ends in ".weights.h5", as Keras does, or in ".safetensors"."""
        weight_files.save_weights(self, filepath, overwrite, max_shard_size)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, by_name: bool = False) -> None:
        """Read the weights from a file of `save_weights` or Keras; what does not fit is an error, or is skipped."""
        weight_files.load_weights(self, filepath, skip_mismatch, by_name)

    def summary(self, line_length: int | None = None, expand_nested: bool = False, print_fn: Any = None) -> None:
        """Print the layers with their output shapes, axes named, and their parameters in numbers and bytes."""
        print_summary(self, line_length, expand_nested, print_fn)


def _as_input(shape: Any) -> Any:
    return Input(batch_shape=shape)


class Functional(Model):
    """A model made of symbolic tensors: `Model(inputs, outputs)` answers with one."""

    keras_module: ClassVar[str] = "keras.src.models.functional"

    def get_config(self) -> dict[str, Any]:
        """Return the layers' configs and how they are connected, as Keras does."""
        base = {"name": self.name, "trainable": self.trainable}
        return {**base, **graph_config(self._known_graph())}
