"""Plans made before the first step: what memory it takes, and how a batch must be cut to fit a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from lamella.batch.memory import Line, MemoryReport, largest, line_through, program_bytes
from lamella.core.axes import is_symbolic
from lamella.core.errors import ArgumentError, NotBuiltError
from lamella.core.memory import as_bytes, available
from lamella.core.structure import leaves_of, map_leaves
from lamella.parts import losses
from lamella.training.step import Steps

if TYPE_CHECKING:
    from lamella.training.loop import Compiled

Spec = jax.ShapeDtypeStruct
# What other programs, and the host's own work, may want of the memory that is free.
MARGIN = 0.9


def limit_in_bytes(memory_limit: int | str | None) -> int:
    """Return a limit in bytes; "auto" and None stand for what is free."""
    return int(available() * MARGIN) if memory_limit in (None, "auto") else as_bytes(memory_limit or 0)


def with_samples(batch: Any, samples: int) -> Any:
    """Return the specs of a batch of another size."""
    return map_leaves(lambda a: Spec((samples, *a.shape[1:]), jax.dtypes.canonicalize_dtype(a.dtype)), batch)


def train_bytes(steps: Steps, batch: Any, samples: int, micro_batch: int | None) -> int:
    """Return the peak memory of one training step."""
    block = map_leaves(lambda a: Spec((1, *a.shape), a.dtype), with_samples(batch, samples))
    return program_bytes(steps._train, _values(steps), (*block, None), 1, micro_batch)


def predict_bytes(steps: Steps, batch: Any, samples: int) -> int:
    """Return the peak memory of one prediction."""
    return program_bytes(steps._predict, _values(steps), with_samples(batch, samples)[0])


def _values(steps: Steps) -> list[Any]:
    return [Spec(variable._value.shape, variable._value.dtype) for variable in steps.variables]


def piece_that_fits(steps: Steps, batch: Any, limit: int) -> int | None:
    """Return the largest size of pieces with which a training step stays within a limit; None for the whole batch."""
    samples = len(leaves_of(batch)[0])

    def bytes_of(size: int) -> int:
        return train_bytes(steps, batch, samples, size if size < samples else None)

    size = largest(bytes_of, limit, samples, f"A training step on a batch of {samples:,}")
    if size == samples:
        return None
    # Pieces of one size need one program; a divisor near by is worth a smaller piece.
    divisor = next(d for d in range(size, 0, -1) if samples % d == 0)
    return divisor if divisor * 2 >= size else size


def batch_that_fits(steps: Steps, batch: Any, limit: int) -> int:
    """Return the largest size of batches with which a prediction stays within a limit."""
    samples = len(leaves_of(batch)[0])
    return largest(lambda size: predict_bytes(steps, batch, size), limit, samples, "A prediction")


class Shapes:
    """A batch that is known by its shapes alone, for what is compiled and not run."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def first(self) -> Any:
        """Return the specs."""
        return self.batch


def report(compiled: Compiled, batch_size: int, training: bool, x: Any, y: Any) -> MemoryReport:
    """Return the memory report of a model for a batch size."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ArgumentError(f"batch_size is a number of samples, at least 1; got {batch_size!r}.", mend="memory(32)")
    model: Any = compiled.model
    batch = _shapes(compiled, x, y, training)
    steps = compiled.prepare(Shapes(with_samples(batch, 2)), training, need_loss=training)

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
        line=Line(line.fixed, line.per_sample),
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
