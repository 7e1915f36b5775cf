"""Plans made before the first step: what memory it takes, and how a batch must be cut to fit a limit."""

from __future__ import annotations

from typing import Any

import jax

from lamella.batch.memory import largest, program_bytes
from lamella.core.memory import as_bytes, available
from lamella.core.startup import give_back_freed_memory
from lamella.core.structure import leaves_of, map_leaves
from lamella.core.variable import Variable
from lamella.training.data import ArrayData, IterableData
from lamella.training.step import Steps

Spec = jax.ShapeDtypeStruct
# What other programs, and the host's own work, may want of the memory that is free.
MARGIN = 0.9
# A prediction takes batches together while all that it computes stays about as large as a processor's cache.
_TOGETHER_BYTES = 4 << 20
_MOST_TOGETHER = 64


def limit_in_bytes(memory_limit: int | str | None) -> int:
    """Return a limit in bytes; "auto" and None stand for what is free."""
    return int(available() * MARGIN) if memory_limit in (None, "auto") else as_bytes(memory_limit or 0)


def with_samples(batch: Any, samples: int) -> Any:
    """Return the specs of a batch of another size."""
    return map_leaves(lambda a: Spec((samples, *a.shape[1:]), jax.dtypes.canonicalize_dtype(a.dtype)), batch)


def train_bytes(steps: Steps, batch: Any, samples: int, micro_batch: int | None) -> int:
    """Return the peak memory of one training step."""
    block = map_leaves(lambda a: Spec((1, *a.shape), a.dtype), with_samples(batch, samples))
    return program_bytes(steps._train, _values(steps.variables), (*block, None), 1, micro_batch)


def predict_bytes(steps: Steps, batch: Any, samples: int) -> int:
    """Return the peak memory of one prediction."""
    return program_bytes(steps._predict, _values(steps.read), with_samples(batch, samples)[0])


def _values(variables: list[Variable]) -> list[Any]:
    return [Spec(variable._value.shape, variable._value.dtype) for variable in variables]


def piece_that_fits(steps: Steps, batch: Any, limit: int) -> int | None:
    """Return the largest size of pieces with which a training step stays within a limit; None for the whole batch.

    A limit on what programs need is one on what the process holds only if freed memory is given back.
    """
    give_back_freed_memory()
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
    """Return the largest size of batches with which a prediction stays within a limit; freed memory is given back."""
    give_back_freed_memory()
    samples = len(leaves_of(batch)[0])
    return largest(lambda size: predict_bytes(steps, batch, size), limit, samples, "A prediction")


def batches_together(steps: Steps, data: ArrayData | IterableData) -> int:
    """Return how many batches one call predicts: 1, or a power of 4 where samples are proven not to mix.

    Small batches of a small model take longer to hand over than to compute. Few different numbers need few programs.
    """
    if not isinstance(data, ArrayData):
        return 1
    room = min(_TOGETHER_BYTES // max(1, steps.sample_bytes * data.batch_size), data.steps, _MOST_TOGETHER)
    if room < 4 or not steps.report(data.first(), "predict").may_split:
        return 1
    # The largest power of 4 up to `room`, which 2 bits make.
    return 1 << (room.bit_length() - 1) // 2 * 2
