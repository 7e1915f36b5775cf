"""Functions written for one sample, on batches."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import WRAPPER_ASSIGNMENTS, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.axes import describe
from lamella.core.calls import apart
from lamella.core.errors import ArgumentError, BatchSizeError, SampleStateError, ShapeError
from lamella.core.masked import mask_of, value_of, with_mask
from lamella.core.operators import ArrayLike
from lamella.core.sample import inside_sample
from lamella.core.structure import flatten, unflatten
from lamella.core.variable import Frame, Variable
from lamella.graph.trace import branch_error, branched_in_python
from lamella.ops.dispatch import op
from lamella.ops.lift import refuse_bare_jit

Pair = tuple[Any, Any]


def per_sample(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a function of one sample, with no batch axis anywhere, into one of batches: samples cannot mix.

    Every array goes in and comes out along its axis 0, masks with their values; anything else (None, strings, Python
    numbers) is the same for all samples. An output that depends on no sample is repeated for each. Random numbers are
    each sample's own. Losses that are added inside count as their mean over the batch. State that is written inside
    must come out the same for all samples.

    >>> import numpy as np
    >>> distances = per_sample(lambda x, y: jnp.sqrt(jnp.sum((x - y) ** 2)))
    >>> distances(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[3.0, 4.0], [1.0, 1.0]])).tolist()
    [5.0, 0.0]
    """

    @wraps(fn, [name for name in WRAPPER_ASSIGNMENTS if hasattr(fn, name)], ())
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = flatten((args, kwargs))
        pairs = [_mapped(leaf) for leaf in leaves]
        mapping = _Mapping(fn, leaves, tree)
        state, losses, outputs = mapping.run(_samples(pairs), pairs)
        refuse_bare_jit(mapping.seen)
        for variable, value in zip(mapping.written, state, strict=True):
            variable.assign(value)
        _leave(mapping.givers, losses)
        return unflatten(mapping.structure, [with_mask(value, mask) for value, mask in outputs])

    return op(call)


class _Mapping:
    """One call of a function on all samples of a batch, and what it leaves behind."""

    def __init__(self, fn: Callable[..., Any], leaves: list[Any], tree: Any) -> None:
        self.fn = fn
        self.leaves = leaves
        self.tree = tree
        self.structure: Any = None
        self.seen: dict[int, Variable] = {}
        self.written: list[Variable] = []
        self.givers: list[Any] = []
        self.finished = False

    def run(self, samples: Any, pairs: list[Pair | None]) -> tuple[list[Any], list[Any], list[Pair]]:
        numbers = jnp.arange(samples, dtype="uint32")
        try:
            # JAX refuses to return once what differs between samples: this decides which state may be written.
            return jax.vmap(self.one, out_axes=(None, 0, 0))(numbers, pairs)
        except (ValueError, TypeError) as error:
            if self.finished and "out_axes" in str(error):
                raise self._differs(str(error)) from error
            if branched_in_python(error):
                raise branch_error(error, f"{_name(self.fn)!r} on one sample") from error
            raise

    def one(self, number: Any, pairs: list[Pair | None]) -> tuple[list[Any], list[Any], list[Pair]]:
        given = [leaf if pair is None else with_mask(*pair) for leaf, pair in zip(self.leaves, pairs, strict=True)]
        args, kwargs = unflatten(self.tree, given)
        with inside_sample(number), Frame() as frame, apart() as call:
            leaves, self.structure = flatten(self.fn(*args, **kwargs))
            outputs = [(_output(value_of(leaf)), mask_of(leaf)) for leaf in leaves]
        self.seen, self.written = frame.seen, list(frame.written.values())
        self.givers = call.givers
        self.finished = True
        return [frame.values[id(variable)] for variable in self.written], call.losses, outputs

    def _differs(self, complaint: str) -> SampleStateError:
        place = re.search(r"out_axes\[0\]\[(\d+)\]", complaint)
        variables = [self.written[int(place.group(1))]] if place else self.written
        paths = ", ".join(repr(variable.path) for variable in variables)
        return SampleStateError(
            f"Code written for one sample assigns {paths} a value that depends on the sample. There is one variable "
            "for the whole batch, and each sample would write its own value.",
            mend="return the value as an output; a `call` with the batch axis, which reduces over it; or a Metric on "
            "the outputs",
        )


def _name(fn: Any) -> str:
    return str(getattr(fn, "__name__", None) or getattr(getattr(fn, "func", fn), "__name__", type(fn).__name__))


def _mapped(leaf: Any) -> Pair | None:
    """Return what of an argument is mapped: an array and its mask; None for what all samples share."""
    value, mask = value_of(leaf), mask_of(leaf)
    if isinstance(value, ArrayLike):
        value = value.value
    if not isinstance(value, jax.Array | np.ndarray):
        return None
    for array in (value, mask):
        if array is not None and not array.shape:
            raise ShapeError(
                "An array without any axis has no batch axis, along which samples could be taken one by one.",
                mend="a Python number, or a variable around the function, for what all samples share; x[None] for a "
                "batch of one sample",
            )
    return jnp.asarray(value), None if mask is None else jnp.asarray(mask)


def _samples(pairs: list[Pair | None]) -> Any:
    arrays = [array for pair in pairs if pair is not None for array in pair if array is not None]
    if not arrays:
        raise ArgumentError("Without an array among the arguments, the number of samples is not known.")
    if any(array.shape[0] != arrays[0].shape[0] for array in arrays):
        shapes = " and ".join(describe(array.shape) for array in arrays)
        raise BatchSizeError(
            f"The arguments hold different numbers of samples along their first axis: {shapes}.",
            mend="a variable around the function for an array that all samples share",
        )
    return arrays[0].shape[0]


def _output(value: Any) -> Any:
    if isinstance(value, ArrayLike):
        value = value.value
    if isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
        return jnp.asarray(value)
    raise ArgumentError(f"A function of one sample returns arrays and numbers, got {type(value).__name__}: {value!r}.")


def _leave(givers: list[Any], losses: list[Any]) -> None:
    """Add what the samples added, as means: the training loss is a mean over the batch too."""
    for giver, loss in zip(givers, losses, strict=True):
        giver.add_loss(jnp.mean(loss, axis=0))
