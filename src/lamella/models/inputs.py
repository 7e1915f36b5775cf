"""What comes into a model: matched to its inputs by place or name, and checked before anything is computed."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lamella.core.axes import describe, is_symbolic, shown
from lamella.core.errors import BatchAxisError, ShapeError
from lamella.core.masked import mask_of, value_of, with_mask
from lamella.core.structure import leaves_of
from lamella.graph.tensor import SymbolicTensor


def matched(structure: Any, tensors: list[SymbolicTensor], inputs: Any) -> list[Any]:
    """Return one value for each input tensor, found by the inputs' names in a dict, else by place."""
    if isinstance(inputs, dict):
        keys = sorted(structure) if isinstance(structure, dict) else [tensor.name for tensor in tensors]
        missing = [key for key in keys if key not in inputs]
        if missing:
            raise ShapeError(f"The model's inputs are {', '.join(keys)}; {missing[0]!r} is missing in {list(inputs)}.")
        return [inputs[key] for key in keys]
    leaves = leaves_of(inputs)
    if len(leaves) != len(tensors):
        names = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in tensors)
        raise ShapeError(f"The model takes {len(tensors)} inputs ({names}), got {len(leaves)}.")
    return leaves


def standardized(tensor: SymbolicTensor, value: Any, owner: str | None) -> Any:
    """Return a value in an input's dtype, (batch,) as (batch, 1), checked against its shape if there is an owner."""
    array, mask = value_of(value), mask_of(value)
    if array.dtype != tensor.dtype:
        array = jnp.asarray(array).astype(tensor.dtype)
    if array.ndim == 1 and tensor.ndim == 2 and tensor.dims[1] == 1:
        array = array[:, None]
    if owner is not None:
        check_shape(tensor, tuple(array.shape), owner)
    return with_mask(array, mask)


def check_shape(tensor: SymbolicTensor, shape: tuple[Any, ...], owner: str) -> None:
    """Raise an error if an array does not fit an input; look for a batch axis in `input_shape` first."""
    expected = tensor.dims
    if fits(expected, shape):
        return
    sample = expected[1:]
    if len(sample) > 1 and len(shape) == len(sample) and fits(sample[1:], shape[1:]):
        raise batch_axis_error(owner, sample, shape)
    one = fits(sample, shape)
    raise ShapeError(
        f"The model {owner!r} expected {describe(shown(expected))} for its input {tensor.name!r}, "
        f"received {describe(shape)}.{' One sample is missing its batch axis.' if one else ''}",
        mend="x[None], a batch of one sample" if one else None,
    )


def fits(expected: tuple[Any, ...], shape: tuple[Any, ...]) -> bool:
    """Tell whether sizes agree wherever both are known."""
    if len(expected) != len(shape):
        return False
    return all(e == s or is_symbolic(e) or is_symbolic(s) for e, s in zip(expected, shape, strict=True))


def batch_axis_error(owner: str, sample: tuple[Any, ...], shape: tuple[Any, ...]) -> BatchAxisError:
    """Say that `input_shape` holds the batch axis, and how to write it."""
    per_sample = shown(sample[1:])
    inner = f"({per_sample[0]},)" if len(per_sample) == 1 else str(per_sample)
    whole = "this very shape as a whole" if fits(sample, shape) else "just as many axes as a whole"
    return BatchAxisError(
        f"The model {owner!r} was made with input_shape={shown(sample)}, the shape of one sample, and the data has "
        f"{whole}: {describe(shape)}. input_shape does not include the batch axis.",
        mend=f"input_shape={inner} if {shape[0]} is the number of samples (batch_shape={(shape[0], *per_sample)} fixes "
        "it); x[None] if the data is one sample",
    )
