"""Models made from models, and from their description as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from lamella.core.config import deserialize
from lamella.core.errors import ArgumentError
from lamella.core.structure import leaves_of
from lamella.layers.input import InputLayer
from lamella.layers.layer import Layer
from lamella.models.described import graph_anew
from lamella.models.model import Functional, Model
from lamella.models.sequential import Sequential


def clone_model(
    model: Model,
    input_tensors: Any = None,
    clone_function: Callable[[Layer], Layer] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
    **kwargs: Any,
) -> Model:
    """Return a model of the same form with new layers and new weights, compiled as the model is.

    `clone_function` makes a layer for each layer; `call_function(layer, *args, **kwargs)` calls it. With `recursive`,
    models inside are gone through too.

    >>> from lamella.layers import Dense, Input
    >>> clone_model(Sequential([Input((4,)), Dense(3)])).count_params()
    15
    """

    twin = _twin(model, input_tensors, clone_function, call_function, recursive, kwargs)
    compiled = model._trainer.compiled
    if compiled is not None:
        twin.compile(**compiled.arguments())
    return twin


def _twin(
    model: Model,
    input_tensors: Any,
    clone_function: Callable[[Layer], Layer] | None,
    call_function: Callable[..., Any] | None,
    recursive: bool,
    kwargs: dict[str, Any],
) -> Model:
    def make(layer: Layer) -> Layer:
        if isinstance(layer, Model) and recursive:
            return clone_model(layer, None, clone_function, call_function, True)
        if clone_function is None or isinstance(layer, InputLayer):
            return type(layer).from_config(layer.get_config())
        return clone_function(layer)

    if isinstance(model, Sequential):
        if call_function is not None:
            raise ArgumentError("clone_model: a Sequential model calls its layers itself; call_function has no place.")
        first = leaves_of(input_tensors)[:1] if input_tensors is not None else _inputs(model, make)
        return Sequential([*first, *(make(layer) for layer in model.layers)], name=model.name, **kwargs)
    if not isinstance(model, Functional) or model._graph is None:
        raise ArgumentError(
            f"clone_model takes functional and Sequential models; {type(model).__name__} has a `call` of its own.",
            mend="type(model).from_config(model.get_config())",
        )
    given = None if input_tensors is None else leaves_of(input_tensors)
    inputs, outputs = graph_anew(model._graph, make, given, call_function)
    return Model(inputs, outputs, name=model.name, **kwargs)


def _inputs(model: Sequential, make: Callable[[Layer], Layer]) -> list[Layer]:
    if model._graph is None:
        return []
    return [make(tensor.node.operation) for tensor in model.inputs]


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Model:
    """Return the model that `model.to_json()` described, with new weights.

    >>> from lamella.layers import Dense, Input
    >>> model_from_json(Sequential([Input((4,)), Dense(3)]).to_json()).output_shape
    (None, 3)
    """
    model = deserialize(json.loads(json_string), custom_objects)
    if not isinstance(model, Model):
        raise ArgumentError(f"The JSON describes {type(model).__name__}, which is no model.")
    return model
