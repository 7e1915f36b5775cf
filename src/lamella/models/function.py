"""Function: the computation between symbolic tensors, and nothing else."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp

from lamella.graph.operation import Operation
from lamella.graph.run import Graph
from lamella.graph.tensor import SymbolicTensor, map_values
from lamella.models.inputs import matched, standardized


class Function(Operation):
    """What leads from symbolic inputs to symbolic outputs, as a function on arrays: no model, nothing to train or save.

    >>> import numpy as np
    >>> from lamella import KerasTensor, ops
    >>> a, b = KerasTensor((None, 2)), KerasTensor((None, 2))
    >>> total = Function([a, b], ops.sum(a + b, axis=-1))
    >>> total([np.ones((3, 2)), np.ones((3, 2))]).tolist()
    [4.0, 4.0, 4.0]
    """

    keras_module: ClassVar[str] = "keras"

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None) -> None:
        super().__init__(name)
        self._graph = Graph(inputs, outputs)

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic inputs."""
        return self._graph.input_tensors

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs."""
        return self._graph.output_tensors

    @property
    def operations(self) -> list[Any]:
        """The layers and other operations that are called on the way."""
        return self._graph.operations

    def call(self, inputs: Any) -> Any:
        """Compute the outputs from arrays, one for each symbolic input."""
        values = [jnp.asarray(value) for value in matched(self._graph.inputs, self.inputs, inputs)]
        pairs = zip(self.inputs, values, strict=True)
        return map_values(self._graph([standardized(tensor, value, self.name) for tensor, value in pairs]))
