"""Graphs as plain data, in Keras's form, and back; graphs made anew with other layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from lamella.core.config import deserialize, serialize
from lamella.core.errors import ArgumentError
from lamella.core.structure import leaves_of
from lamella.graph.operation import Operation
from lamella.graph.run import Graph
from lamella.graph.tensor import Op, SymbolicTensor, apply, is_symbol, replace_leaves, substitute, symbols_of
from lamella.layers.calling import signature_of
from lamella.layers.input import InputLayer
from lamella.layers.layer import Layer
from lamella.models.operations import ReadOperation, is_operation, operation_config

_TENSOR = "__keras_tensor__"


def graph_config(graph: Graph) -> dict[str, Any]:
    """Return a graph's layers and operations with the calls of each, and which tensors are its inputs and outputs."""
    calls = {id(op): [node for node in op.nodes if node in graph.nodes] for op in graph.operations}
    places = {id(node): place for nodes in calls.values() for place, node in enumerate(nodes)}
    names = _names(graph.operations)

    def reference(tensor: SymbolicTensor) -> list[Any]:
        node: Any = tensor.node
        position = [id(t) for t in symbols_of(node.outputs)].index(id(tensor))
        return [names[id(node.operation)], places[id(node)], position]

    def argument(leaf: Any) -> Any:
        if not is_symbol(leaf):
            return serialize(leaf)
        history = {"shape": list(leaf.shape), "dtype": leaf.dtype, "keras_history": reference(leaf)}
        return {"class_name": _TENSOR, "config": history}

    def described(op: Any) -> dict[str, Any]:
        nodes = [node for node in calls[id(op)] if node.inputs]
        if isinstance(op, Op):
            entry, split = operation_config(op, names[id(op)], nodes)
        else:
            entry, split = serialize(op), [(list(node.args), node.kwargs) for node in nodes]
        given = [{"args": _mapped(argument, args), "kwargs": _mapped(argument, kwargs)} for args, kwargs in split]
        # The very entry: it is marked later if its layer is met again.
        entry.update(name=names[id(op)], inbound_nodes=given)
        return entry

    layers = [described(op) for op in graph.operations]
    first = _first_calls(layers)

    def end(tensor: SymbolicTensor) -> list[Any]:
        name, place, position = reference(tensor)
        return [name, place + first[name], position]

    return {
        "layers": layers,
        "input_layers": _mapped(end, graph.inputs),
        "output_layers": _mapped(end, graph.outputs),
    }


def _first_calls(entries: list[dict[str, Any]]) -> dict[str, int]:
    """Return the number of each layer's first call among inputs and outputs: 1 for a graph inside, as Keras counts."""
    return {entry["name"]: int("input_layers" in entry["config"]) for entry in entries}


def _names(operations: list[Any]) -> dict[int, str]:
    """Return a name for each: a layer's own, and for operations between them one that nothing else has."""
    names = {id(op): op.name for op in operations if not isinstance(op, Op)}
    taken = set(names.values())
    for op in operations:
        if isinstance(op, Op):
            numbered = (f"{op.name}_{number}" for number in itertools.count(1))
            names[id(op)] = next(name for name in itertools.chain([op.name], numbered) if name not in taken)
            taken.add(names[id(op)])
    return names


def _mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """Apply a function to each leaf, None among them; tuples become lists."""
    if isinstance(structure, dict):
        return {key: _mapped(function, item) for key, item in structure.items()}
    if isinstance(structure, list | tuple):
        return [_mapped(function, item) for item in structure]
    return function(structure)


def graph_from_config(config: dict[str, Any]) -> tuple[Any, Any]:
    """Return the inputs and outputs of the graph that `graph_config` described, with new layers."""
    entries = config["layers"]
    calls = {entry["name"]: entry["inbound_nodes"] for entry in entries}
    if len(calls) != len(entries):
        raise ArgumentError("The config has two layers of one name; names are unique in a model.")
    first = _first_calls(entries)
    _check_calls([(name, place - first.get(name, 0)) for name, place, _ in _ends(config["output_layers"])], calls)
    layers = {entry["name"]: _layer(entry) for entry in entries}
    made = {(name, 0): layer.nodes[0] for name, layer in layers.items() if isinstance(layer, InputLayer)}
    waiting = [(name, place) for name, nodes in calls.items() for place in range(len(nodes))]

    def tensor(reference: Any) -> Any:
        name, place, position = reference
        return symbols_of(made[name, place].outputs)[position]

    def end(reference: Any) -> Any:
        name, place, position = reference
        return tensor([name, place - first[name], position])

    def ready(name: str, place: int) -> bool:
        earlier = place == 0 or (name, place - 1) in made
        return earlier and all((ref[0], ref[1]) in made for ref in _references(calls[name][place]))

    while waiting:
        now = [call for call in waiting if ready(*call)]
        if not now:
            raise ArgumentError(f"The config's calls of {waiting[0][0]!r} depend on tensors that nothing makes.")
        for name, place in now:
            args, kwargs = (_read(calls[name][place][key], tensor) for key in ("args", "kwargs"))
            layers[name](*args, **_without_default_mode(layers[name], kwargs))
            made[name, place] = layers[name].nodes[-1]
        waiting = [call for call in waiting if call not in now]
    return _read_tensors(config["input_layers"], end), _read_tensors(config["output_layers"], end)


def _layer(entry: dict[str, Any]) -> Any:
    """Return the layer or operation that an entry describes."""
    if is_operation(entry):
        return ReadOperation(entry)
    layer = deserialize({key: value for key, value in entry.items() if key != "inbound_nodes"})
    if not isinstance(layer, Operation):
        raise ArgumentError(f"The config has {entry['name']!r} among its layers, a {type(layer).__name__}.")
    return layer


def _without_default_mode(layer: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Leave out a `training` that nobody gave: Keras writes the default, and does not keep to it in `fit`."""
    if not isinstance(layer, Layer):
        return kwargs
    default = signature_of(type(layer).call).defaults.get("training")
    return {key: value for key, value in kwargs.items() if key != "training" or value not in (None, default)}


def _check_calls(outputs: list[tuple[str, int]], calls: dict[str, Any]) -> None:
    """Refuse calls that lead to no output: they would run, and nobody would see them."""
    needed: set[tuple[str, int]] = set()
    stack = list(outputs)
    while stack:
        name, place = stack.pop()
        if (name, place) in needed:
            continue
        needed.add((name, place))
        nodes = calls.get(name)
        if nodes is None or not isinstance(place, int) or not 0 <= place < max(1, len(nodes)):
            raise ArgumentError(f"The config refers to the call {place} of {str(name)!r}, which it does not have.")
        stack += [(ref[0], ref[1]) for ref in _references(nodes[place])] if nodes else []
    dead = next((name for name, nodes in calls.items() for at in range(len(nodes)) if (name, at) not in needed), None)
    if dead is not None:
        raise ArgumentError(f"The config calls {dead!r} for nothing: no output depends on it.")


def _ends(value: Any) -> list[Any]:
    """Return the references in a structure of inputs or outputs."""
    found: list[Any] = []
    _read_tensors(value, found.append)
    return found


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
        if isinstance(operation, Op):
            outputs = apply(Op(operation.function, operation.name), args, kwargs)
        else:
            if id(operation) not in layers:
                layers[id(operation)] = make(operation)
            layer = layers[id(operation)]
            outputs = call(layer, *args, **kwargs) if call else layer(*args, **kwargs)
        known.update(zip(map(id, symbols_of(node.outputs)), symbols_of(outputs), strict=True))

    def anew(structure: Any) -> Any:
        return replace_leaves(structure, [known[id(tensor)] for tensor in leaves_of(structure)])

    return anew(graph.inputs), anew(graph.outputs)
