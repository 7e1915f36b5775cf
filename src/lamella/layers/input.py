"""Input: where a functional model begins."""

from __future__ import annotations

from typing import Any

from lamella.core.axes import Shape, as_shape, exact
from lamella.core.dtypes import standardize_dtype
from lamella.core.errors import ArgumentError
from lamella.graph.tensor import Node, SymbolicTensor
from lamella.layers.layer import Layer


class InputLayer(Layer):
    """The layer behind an `Input`: it says the shape and dtype of what comes in, and passes it on."""

    supports_masking = True

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Any = None,
        input_tensor: SymbolicTensor | None = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if sparse or ragged:
            raise ArgumentError("Input takes dense arrays: JAX has no sparse or ragged ones.", mend="sparse=False")
        super().__init__(name=name, **kwargs)
        self.batch_shape = _batch_shape(shape, batch_size, batch_shape, self._state.input_shapes)
        self.input_dtype = standardize_dtype(dtype)
        self.optional = optional
        self.built = True
        tensor = input_tensor or SymbolicTensor(exact(self.batch_shape), self.input_dtype, name=self.name)
        self._state.nodes.append(Node(self, (), {}, tensor))

    def call(self, inputs: Any) -> Any:
        """Pass the inputs on."""
        return inputs


def _batch_shape(shape: Any, batch_size: int | None, batch_shape: Any, first: Shape | None) -> Shape:
    if batch_shape is not None:
        if shape is not None or batch_size is not None:
            raise ArgumentError("batch_shape holds the batch size already; pass it or shape and batch_size, not both.")
        return as_shape(batch_shape, "batch_shape")
    if first is not None:
        return first
    if shape is None:
        raise ArgumentError("Input needs the shape of one sample.", mend="Input(shape=(28, 28, 1))")
    return (batch_size, *as_shape(shape, "shape"))


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: SymbolicTensor | None = None,
    optional: bool = False,
) -> SymbolicTensor:
    """Return a symbolic tensor for data to come: shape of one sample -> (batch, *shape).

    Sizes that may vary are None. The batch axis is not part of `shape`; to fix it, give `batch_size` or the whole
    `batch_shape`.

    >>> Input((28, 28, 1)).shape
    (None, 28, 28, 1)
    """
    layer = InputLayer(
        shape,
        batch_size,
        dtype,
        sparse,
        ragged,
        batch_shape=batch_shape,
        input_tensor=tensor,
        optional=optional,
        name=name,
    )
    tensor_out: SymbolicTensor = layer.nodes[0].outputs
    return tensor_out
