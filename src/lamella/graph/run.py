"""Graphs: the nodes between inputs and outputs, in order, and how they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lamella.core.errors import ArgumentError
from lamella.core.structure import leaves_of, map_leaves
from lamella.graph.tensor import Node, SymbolicTensor, apply, substitute, symbols_of


class Graph:
    """The calls that lead from given inputs to given outputs.

    `nodes` are in the order in which they run. `operations` are in Keras's order, which is the order of weights
    in files: by the longest distance to an output, farthest first, then as a walk from the outputs meets them.
    """

    def __init__(self, inputs: Any, outputs: Any) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.input_tensors = _checked(inputs, "inputs")
        self.output_tensors = _checked(outputs, "outputs")
        self.nodes, met = self._walk()
        self.operations = self._ordered(met)

    def _walk(self) -> tuple[list[Node], dict[int, Any]]:
        """Visit the nodes from the outputs back; return them parents first, and the operations as met."""
        given = {id(tensor) for tensor in self.input_tensors}
        nodes: list[Node] = []
        seen: set[int] = set()
        met: dict[int, Any] = {}

        # An explicit stack: deep models must not meet Python's recursion limit.
        stack: list[tuple[Node, bool]] = []
        for tensor in reversed(self.output_tensors):
            if tensor.node is not None:
                stack.append((tensor.node, False))
        while stack:
            node, finished = stack.pop()
            if finished:
                nodes.append(node)
                continue
            if id(node) in seen:
                continue
            seen.add(id(node))
            met.setdefault(id(node.operation), node.operation)
            stack.append((node, True))
            if all(id(t) in given for t in symbols_of(node.outputs)):
                continue
            for missing in (t for t in node.inputs if t.node is None and id(t) not in given):
                raise ArgumentError(f"The outputs depend on {missing}, which no node made and no input gives.")
            stack.extend((parent, False) for parent in reversed(node.parents))
        self._check_connected(nodes, given)
        return nodes, met

    def _check_connected(self, nodes: list[Node], given: set[int]) -> None:
        for node in nodes:
            if not node.inputs and not all(id(t) in given for t in symbols_of(node.outputs)):
                raise ArgumentError(
                    f"The outputs depend on the input {node.operation.name!r}, which is not among the model's inputs.",
                    mend="Model(inputs=[..., that_input], outputs=...)",
                )

    def _ordered(self, met: dict[int, Any]) -> list[Any]:
        depth_of_node: dict[int, int] = {}
        depth: dict[int, int] = {}
        for node in reversed(self.nodes):
            operation = id(node.operation)
            depth[operation] = max(depth_of_node.setdefault(id(node), 0), depth.get(operation, 0))
            depth_of_node[id(node)] = depth[operation]
            for parent in node.parents:
                depth_of_node[id(parent)] = max(depth[operation] + 1, depth_of_node.get(id(parent), 0))
        for tensor in self.input_tensors:
            if tensor.node is not None and id(tensor.node.operation) not in met:
                met[id(tensor.node.operation)] = tensor.node.operation
        positions = {key: place for place, key in enumerate(met)}
        return sorted(met.values(), key=lambda op: (-depth.get(id(op), 0), positions[id(op)]))

    def __reduce__(self) -> Any:
        """Copies and pickles hold the calls, to be traced again: symbols of sizes belong to one process."""
        tensors = list(self.input_tensors)
        calls = []
        for node in self.nodes:
            if any(id(tensor) not in map(id, tensors) for tensor in symbols_of(node.outputs)):
                calls.append((node.operation, _numbered((node.args, node.kwargs), tensors)))
                tensors += symbols_of(node.outputs)
        sources = [(_source(tensor), tensor.shape, tensor.dtype, tensor.name) for tensor in self.input_tensors]
        return _traced_again, (sources, calls, _numbered((self.inputs, self.outputs), tensors))

    def __call__(self, values: list[Any]) -> Any:
        """Run the nodes on values (arrays or masked pairs), one for each input tensor."""
        known = {id(tensor): value for tensor, value in zip(self.input_tensors, values, strict=True)}
        for node in self.nodes:
            if all(id(tensor) in known for tensor in symbols_of(node.outputs)):
                continue
            args, kwargs = substitute((node.args, node.kwargs), known)
            outputs = leaves_of(node.operation(*args, **kwargs))
            known.update(zip(map(id, symbols_of(node.outputs)), outputs, strict=True))
        return substitute(self.outputs, known)


def _checked(structure: Any, argument: str) -> list[SymbolicTensor]:
    leaves = leaves_of(structure)
    for leaf in leaves:
        if not isinstance(leaf, SymbolicTensor):
            raise ArgumentError(
                f"A functional model's {argument} are symbolic tensors, got {type(leaf).__name__}.",
                mend="x = Input((5,)); Model(x, Dense(1)(x))",
            )
    if not leaves:
        raise ArgumentError(f"A functional model needs {argument}, got {structure!r}.")
    return leaves


@dataclass(frozen=True)
class _Place:
    """Stands for a symbolic tensor: its number among those of a graph."""

    number: int


def _numbered(structure: Any, tensors: list[SymbolicTensor]) -> Any:
    numbers = {id(tensor): _Place(number) for number, tensor in enumerate(tensors)}
    return map_leaves(lambda leaf: numbers[id(leaf)] if isinstance(leaf, SymbolicTensor) else leaf, structure)


def _source(tensor: SymbolicTensor) -> Any:
    return None if tensor.node is None else tensor.node.operation


def _traced_again(sources: list[Any], calls: list[Any], ends: Any) -> Graph:
    tensors = []
    for operation, shape, dtype, name in sources:
        tensors.append(SymbolicTensor(shape, dtype, name=name))
        operation.nodes.append(Node(operation, (), {}, tensors[-1]))

    def filled(structure: Any) -> Any:
        return map_leaves(lambda leaf: tensors[leaf.number] if isinstance(leaf, _Place) else leaf, structure)

    for operation, structure in calls:
        tensors += symbols_of(apply(operation, *filled(structure)))
    return Graph(*filled(ends))
