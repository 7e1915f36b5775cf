"""The memory that a model's step will take, before there is any data."""

from __future__ import annotations

from typing import Any

import jax

from lamella.batch.memory import MemoryReport, line_through
from lamella.core.axes import is_symbolic
from lamella.core.errors import ArgumentError, NotBuiltError
from lamella.core.structure import leaves_of, map_leaves
from lamella.parts import losses
from lamella.training.compilation import Compiled
from lamella.training.planning import predict_bytes, train_bytes, with_samples

Spec = jax.ShapeDtypeStruct


def report(compiled: Compiled, batch_size: int, training: bool, x: Any, y: Any) -> MemoryReport:
    """Return the memory report of a model for a batch size."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ArgumentError(f"batch_size is a number of samples, at least 1; got {batch_size!r}.", mend="memory(32)")
    model: Any = compiled.model
    batch = _shapes(compiled, x, y, training)
    steps = compiled.prepare(with_samples(batch, 2), training, need_loss=training)

    def bytes_of(samples: int) -> int:
        return train_bytes(steps, batch, samples, None) if training else predict_bytes(steps, batch, samples)

    peak, half = bytes_of(batch_size), max(1, batch_size // 2)
    line = line_through(lambda n: peak if n == batch_size else bytes_of(n), half, batch_size + (half == batch_size))
    third = bytes_of(2 * batch_size)
    optimizer = model.optimizer.variables if training and model.optimizer is not None else []
    gradients = model.trainable_variables if training else []
    data = with_samples(batch if training else batch[:1], batch_size)
    return MemoryReport(
        model=model.name,
        training=training,
        batch_size=batch_size,
        weights=sum(v.nbytes for v in model.variables),
        gradients=sum(v.nbytes for v in gradients),
        optimizer=sum(v.nbytes for v in optimizer),
        data=sum(leaf.size * leaf.dtype.itemsize for leaf in leaves_of(data)),
        peak=peak,
        line=line,
        error=abs(line.at(2 * batch_size) - third) / third,
    )


def _shapes(compiled: Compiled, x: Any, y: Any, training: bool) -> Any:
    """Return specs of x, y and no weights: of the arrays given, else as the model's graph and losses have them."""
    model: Any = compiled.model
    graph: Any = getattr(model, "_graph", None)
    if x is None and graph is None:
        raise NotBuiltError(
            f"The model {model.name!r} does not know its inputs' shapes yet.", mend="model.memory(32, x=x, y=y)"
        )
    x = map_leaves(lambda t: _spec(t.dims, t.dtype), graph.inputs) if x is None else x
    if not training:
        return x, None, None
    if y is None and graph is None:
        raise NotBuiltError(f"The targets of {model.name!r} are not known.", mend="model.memory(32, x=x, y=y)")
    if y is None:
        outputs = leaves_of(graph.outputs)
        functions = compiled.losses(len(outputs))
        y = [_target(tensor, function) for tensor, function in zip(outputs, functions, strict=True)]
        y = y[0] if len(y) == 1 else y
    return x, y, None


def _target(output: Any, function: Any) -> Spec:
    if isinstance(function, losses.SparseCategoricalCrossentropy):
        return _spec((*output.dims[:-1], 1), "int32")
    return _spec(output.dims, "float32")


def _spec(dims: tuple[Any, ...], dtype: Any) -> Spec:
    unknown = [axis for axis, dim in enumerate(dims) if axis and is_symbolic(dim)]
    if unknown:
        raise NotBuiltError(
            f"The size of axis {unknown[0]} may vary, and the memory with it.", mend="model.memory(32, x=x, y=y)"
        )
    return Spec((1, *dims[1:]), dtype)
