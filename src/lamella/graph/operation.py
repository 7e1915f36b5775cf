"""Operation: a step of a graph that is no layer."""

from __future__ import annotations

from typing import Any, ClassVar

from lamella.core.config import Configurable
from lamella.core.errors import NotBuiltError
from lamella.core.naming import automatic_name
from lamella.graph.tensor import Node, Op, apply, map_values, symbols_of


class Operation(Configurable):
    """A function on arrays, written as `call`; called on symbolic tensors, it is a step of a graph.

    Layers are operations with weights. Shapes are found by tracing `call`.

    >>> from lamella.graph.tensor import SymbolicTensor
    >>> class Scale(Operation):
    ...     def __init__(self, factor, name=None):
    ...         super().__init__(name)
    ...         self.factor = factor
    ...     def call(self, x):
    ...         return x * self.factor
    >>> Scale(2)(3), Scale(2)(SymbolicTensor((None, 3))).shape
    (6, (None, 3))
    """

    keras_module: ClassVar[str] = "keras"
    name: str

    def __init__(self, name: str | None = None) -> None:
        self.name = name or automatic_name(type(self).__name__)
        self._nodes: list[Node] = []

    @property
    def nodes(self) -> list[Node]:
        """The symbolic calls of the operation."""
        return self._nodes

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call on arrays (answers with arrays) or on symbolic tensors (answers with symbolic tensors)."""
        if symbols_of((args, kwargs)):
            return apply(self, args, kwargs)
        return self.call(*map_values(args), **map_values(kwargs))

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs from the inputs."""
        raise NotBuiltError(f"{type(self).__name__} does not define `call`.", mend="def call(self, inputs): return ...")

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Return symbolic tensors for the outputs, without a step of the graph."""
        return apply(Op(self.call), args, kwargs)
