"""Symbolic tensors: a shape and a dtype that stand for values to come; and the nodes that make them."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax.numpy as jnp

from lamella import ops
from lamella.core.axes import Dim, Shape, describe, exact, shown
from lamella.core.dtypes import standardize_dtype
from lamella.core.errors import SymbolicValueError, WeightTooLargeError
from lamella.core.masked import mask_of, value_of
from lamella.core.operators import ArrayLike, give_operators
from lamella.core.structure import flatten, leaves_of, map_leaves, unflatten
from lamella.graph.trace import Spec, trace

_numbers = itertools.count()


class SymbolicTensor(ArrayLike):
    """A tensor of a model under construction: it has a shape and a dtype, and no values yet.

    `dims` is the exact shape, with a symbol for each axis whose size is not known; `shape` shows those as None.
    `mask` is the spec of the mask that will travel beside the value, or None.
    """

    __slots__ = ("dims", "dtype", "mask", "name", "node")

    def __init__(
        self,
        shape: Iterable[Dim | None],
        dtype: Any = "float32",
        mask: Spec | None = None,
        name: str | None = None,
    ) -> None:
        self.dims = exact(shape)
        self.dtype = standardize_dtype(dtype)
        self.mask = mask
        self.name = name or f"tensor_{next(_numbers)}"
        self.node: Node | None = None

    def __reduce__(self) -> Any:
        """Apart from its graph, which copies and pickles trace again, a tensor is a shape with a name."""
        return SymbolicTensor, (self.shape, self.dtype, None, self.name)

    @property
    def shape(self) -> Shape:
        """The shape as a person reads it: None where the size is not known."""
        return shown(self.dims)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.dims)

    @property
    def T(self) -> Any:
        """The tensor with its axes in reverse order."""
        return apply(Op(ops.transpose), (self,), {})

    def reshape(self, *shape: Any) -> Any:
        """Return the tensor in another shape."""
        return apply(Op(ops.reshape), (self, shape[0] if len(shape) == 1 else shape), {})

    def astype(self, dtype: Any) -> Any:
        """Return the tensor in another dtype."""
        return apply(Op(ops.cast), (self, standardize_dtype(dtype)), {})

    def __getitem__(self, index: Any) -> Any:
        return apply(Op(ops.get_item), (self, index), {})

    def __len__(self) -> int:
        if self.shape and self.shape[0] is not None:
            return self.shape[0]
        raise SymbolicValueError(f"The length of {self} is not known yet.")

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __lamella_apply__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return apply(Op(function), args, kwargs)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        function = getattr(ops, ufunc.__name__, None) or getattr(jnp, ufunc.__name__, None)
        if method != "__call__" or function is None:
            return self._no_values()
        return apply(Op(function), inputs, kwargs)

    def _no_values(self, *_: Any, **__: Any) -> Any:
        raise SymbolicValueError(
            f"{self} has a shape but no values: it stands for data to come.",
            mend="a function of lamella.ops, or Lambda(lambda x: ...)(tensor)",
        )

    __jax_array__ = __array__ = __float__ = __int__ = __bool__ = _no_values

    def __repr__(self) -> str:
        return f"<SymbolicTensor {self.name!r} shape={self.shape} dtype={self.dtype}>"


class Op:
    """A function on arrays as an operation of a graph."""

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", "op").strip("_")
        self.nodes: list[Node] = []

    def __reduce__(self) -> Any:
        return Op, (self.function, self.name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*map_values(args), **map_values(kwargs))


class Node:
    """One call of an operation: what went in (with symbolic tensors as leaves) and what came out."""

    def __init__(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
        self.operation = operation
        self.args = args
        self.kwargs = kwargs
        self.outputs = outputs
        for tensor in symbols_of(outputs):
            tensor.node = self

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic tensors that went in."""
        return symbols_of((self.args, self.kwargs))

    @property
    def parents(self) -> list[Node]:
        """The nodes that made the inputs, each once."""
        return list(dict.fromkeys(tensor.node for tensor in self.inputs if tensor.node is not None))


def map_values(structure: Any) -> Any:
    """Replace masked pairs by their arrays."""
    return map_leaves(value_of, structure)


def replace_leaves(structure: Any, leaves: list[Any]) -> Any:
    """Return the structure with other leaves, in `leaves_of`'s order."""
    return unflatten(flatten(structure)[1], leaves)


def is_symbol(x: Any) -> bool:
    """Tell whether a leaf is a symbolic tensor."""
    return isinstance(x, SymbolicTensor)


def symbols_of(structure: Any) -> list[SymbolicTensor]:
    """Return the symbolic tensors in a structure."""
    return [leaf for leaf in leaves_of(structure) if isinstance(leaf, SymbolicTensor)]


def apply(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an operation on symbolic tensors: trace it for shapes and enter the call as a node."""
    structure = (args, kwargs)
    symbols = symbols_of(structure)

    def call(pairs: list[Any]) -> Any:
        concrete = substitute(structure, dict(zip(map(id, symbols), pairs, strict=True)))
        return operation(*concrete[0], **concrete[1])

    try:
        outputs = trace(call, [(Spec(t.dims, t.dtype), t.mask) for t in symbols], what(operation, symbols))
    except WeightTooLargeError as error:
        suspect_batch_axis(error, symbols)
        raise
    made = replace_leaves(outputs, [_symbol(leaf) for leaf in leaves_of(outputs)])
    operation.nodes.append(Node(operation, args, kwargs, made))
    return made


def _symbol(leaf: Any) -> SymbolicTensor:
    spec = value_of(leaf)
    return SymbolicTensor(spec.shape, spec.dtype, mask_of(leaf))


def substitute(structure: Any, values: dict[int, Any]) -> Any:
    """Return the structure with each symbolic tensor replaced by its value, found by `id`."""
    leaves = [values[id(leaf)] if isinstance(leaf, SymbolicTensor) else leaf for leaf in leaves_of(structure)]
    return replace_leaves(structure, leaves)


def suspect_batch_axis(error: WeightTooLargeError, symbols: list[SymbolicTensor]) -> None:
    """Add to the error where the large size comes from, if it is all axes of one input multiplied."""
    for source in sources(symbols):
        sample = source.shape[1:]
        if len(sample) > 1 and None not in sample and math.prod(sample) in error.shape and not error.mend:  # type: ignore[arg-type]
            inner = f"({sample[1]},)" if len(sample) == 2 else str(sample[1:])
            product = " x ".join(map(str, sample))
            error.message += f"\n  {math.prod(sample):,} is {product}, all of input_shape={sample}."  # type: ignore[arg-type]
            error.mend = (
                f"input_shape={inner} if {sample[0]} is the number of samples: the batch axis is not part of it"
            )


def sources(symbols: list[SymbolicTensor]) -> list[SymbolicTensor]:
    """Return the inputs that tensors were made from."""
    found: dict[int, SymbolicTensor] = {}
    seen: set[int] = set()
    stack = list(symbols)
    while stack:
        tensor = stack.pop()
        if tensor.node is None or not tensor.node.inputs:
            found[id(tensor)] = tensor
        elif id(tensor.node) not in seen:
            seen.add(id(tensor.node))
            stack.extend(tensor.node.inputs)
    return list(found.values())


def get_source_inputs(tensor: SymbolicTensor) -> list[SymbolicTensor]:
    """Return the inputs that a tensor was made from."""
    return sources([tensor])


def what(operation: Any, symbols: list[SymbolicTensor]) -> str:
    """Say which operation was called on what, for errors."""
    return f"{operation.name!r} on {', '.join(describe(t.dims) for t in symbols)}"


# Python's operators as ops; on booleans, those of bits are those of logic.
_OPERATORS: dict[Any, Any] = {
    operator.sub: ops.subtract,
    operator.mul: ops.multiply,
    operator.truediv: ops.true_divide,
    operator.floordiv: ops.floor_divide,
    operator.pow: ops.power,
    operator.eq: ops.equal,
    operator.ne: ops.not_equal,
    operator.lt: ops.less,
    operator.le: ops.less_equal,
    operator.gt: ops.greater,
    operator.ge: ops.greater_equal,
    operator.and_: ops.bitwise_and,
    operator.or_: ops.bitwise_or,
    operator.xor: ops.bitwise_xor,
    operator.neg: ops.negative,
    operator.pos: ops.copy,
    operator.abs: ops.absolute,
    operator.invert: ops.bitwise_not,
    **{getattr(operator, name): getattr(ops, name) for name in ("add", "mod", "matmul")},
}
give_operators(SymbolicTensor, lambda function, operands: apply(Op(_OPERATORS[function]), operands, {}))
