"""Graphs as plain data, in Keras's form, and back; graphs made anew with other layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamella.core.config import deserialize, serialize
from lamella.core.errors import ArgumentError
from lamella.core.structure import leaves_of
from lamella.graph.run import Graph
from lamella.graph.tensor import Node, Op, SymbolicTensor, apply, is_symbol, replace_leaves, substitute, symbols_of
from lamella.layers.input import InputLayer
from lamella.layers.layer import Layer

_TENSOR = "__keras_tensor__"


def graph_config(graph: Graph) -> dict[str, Any]:
    """Return a graph's layers with the calls of each, and which tensors are its inputs and outputs."""
    calls = {id(op): [node for node in op.nodes if node in graph.nodes] for op in graph.operations}
    places = {id(node): place for nodes in calls.values() for place, node in enumerate(nodes)}

    def reference(tensor: SymbolicTensor) -> list[Any]:
        node: Any = tensor.node
        return [node.operation.name, places[id(node)], [id(t) for t in symbols_of(node.outputs)].index(id(tensor))]

    def argument(leaf: Any) -> Any:
        if not is_symbol(leaf):
            return serialize(leaf)
        history = {"shape": list(leaf.shape), "dtype": leaf.dtype, "keras_history": reference(leaf)}
        return {"class_name": _TENSOR, "config": history}

    def described(node: Node) -> dict[str, Any]:
        return {"args": _mapped(argument, list(node.args)), "kwargs": _mapped(argument, node.kwargs)}

    layers = []
    for op in graph.operations:
        if not isinstance(op, Layer):
            raise ArgumentError(
                f"The operation {op.name!r} between layers has no config.", mend="Lambda(fn), or a layer of its own"
            )
        nodes = [described(node) for node in calls[id(op)] if node.inputs]
        layers.append({**serialize(op), "name": op.name, "inbound_nodes": nodes})
    return {
        "layers": layers,
        "input_layers": _mapped(reference, graph.inputs),
        "output_layers": _mapped(reference, graph.outputs),
    }


def _mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """Apply a function to each leaf, None among them; tuples become lists."""
    if isinstance(structure, dict):
        return {key: _mapped(function, item) for key, item in structure.items()}
    if isinstance(structure, list | tuple):
        return [_mapped(function, item) for item in structure]
    return function(structure)


def graph_from_config(config: dict[str, Any]) -> tuple[Any, Any]:
    """Return the inputs and outputs of the graph that `graph_config` described, with new layers."""
    layers = {entry["name"]: deserialize({**entry, "inbound_nodes": None}) for entry in config["layers"]}
    made = {(name, 0): layer.nodes[0] for name, layer in layers.items() if isinstance(layer, InputLayer)}
    waiting = [(entry["name"], place) for entry in config["layers"] for place in range(len(entry["inbound_nodes"]))]
    calls = {entry["name"]: entry["inbound_nodes"] for entry in config["layers"]}

    def tensor(reference: Any) -> Any:
        name, place, position = reference
        return symbols_of(made[name, place].outputs)[position]

    def ready(name: str, place: int) -> bool:
        earlier = place == 0 or (name, place - 1) in made
        return earlier and all((ref[0], ref[1]) in made for ref in _references(calls[name][place]))

    while waiting:
        now = [call for call in waiting if ready(*call)]
        if not now:
            raise ArgumentError(f"The config's calls of {waiting[0][0]!r} depend on tensors that nothing makes.")
        for name, place in now:
            call = calls[name][place]
            layers[name](*_read(call["args"], tensor), **_read(call["kwargs"], tensor))
            made[name, place] = layers[name].nodes[-1]
        waiting = [call for call in waiting if call not in now]
    return _read_tensors(config["input_layers"], tensor), _read_tensors(config["output_layers"], tensor)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") == _TENSOR


def _references(value: Any) -> list[Any]:
    if _is_tensor(value):
        return [value["config"]["keras_history"]]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [reference for item in items for reference in _references(item)]


def _read(value: Any, tensor: Callable[[Any], Any]) -> Any:
    if _is_tensor(value):
        return tensor(value["config"]["keras_history"])
    if isinstance(value, list):
        return [_read(item, tensor) for item in value]
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _read(item, tensor) for key, item in value.items()}
    return deserialize(value)


def _read_tensors(value: Any, tensor: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _read_tensors(item, tensor) for key, item in value.items()}
    if len(value) == 3 and isinstance(value[0], str):
        return tensor(value)
    return [_read_tensors(item, tensor) for item in value]


def graph_anew(
    graph: Graph,
    make: Callable[[Layer], Layer],
    inputs: list[SymbolicTensor] | None = None,
    call: Callable[..., Any] | None = None,
) -> tuple[Any, Any]:
    """Return the inputs and outputs of a graph of the same form, with the layers that `make` gives for each."""
    layers: dict[int, Any] = {}
    known: dict[int, Any] = {}
    for place, tensor in enumerate(graph.input_tensors):
        given = inputs[place] if inputs else make(tensor.node.operation).nodes[0].outputs  # type: ignore[union-attr]
        known[id(tensor)] = given
    for node in graph.nodes:
        if all(id(tensor) in known for tensor in symbols_of(node.outputs)):
            continue
        args, kwargs = substitute((node.args, node.kwargs), known)
        operation = node.operation
        if not isinstance(operation, Layer):
            outputs = apply(Op(operation.function), args, kwargs)
        else:
            if id(operation) not in layers:
                layers[id(operation)] = make(operation)
            layer = layers[id(operation)]
            outputs = call(layer, *args, **kwargs) if call else layer(*args, **kwargs)
        known.update(zip(map(id, symbols_of(node.outputs)), symbols_of(outputs), strict=True))

    def anew(structure: Any) -> Any:
        return replace_leaves(structure, [known[id(tensor)] for tensor in leaves_of(structure)])

    return anew(graph.inputs), anew(graph.outputs)
