"""Layers that make one tensor of several, and their function forms."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import jax.numpy as jnp

from lamella.core.axes import describe, is_symbolic
from lamella.core.errors import ArgumentError, ShapeError
from lamella.layers.layer import Layer


class Merge(Layer):
    """The base: a list of tensors of one batch size, combined element by element with broadcasting."""

    supports_masking = True

    def combine(self, inputs: list[Any]) -> Any:
        """Combine arrays of the same rank."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        return self.combine(aligned(several(self, inputs)))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """A step counts if it counts in any input; without a mask on every input there is none."""
        if not isinstance(previous_mask, list | tuple) or any(mask is None for mask in previous_mask):
            return None
        return reduce(jnp.logical_or, previous_mask)


def several(layer: Layer, inputs: Any, one_batch: bool = True) -> list[Any]:
    """Return the inputs as a list of at least one, of one batch size unless said otherwise."""
    if not isinstance(inputs, list | tuple) or not inputs:
        raise ArgumentError(
            f"{type(layer).__name__} takes a list of tensors.", mend=f"{type(layer).__name__}()([a, b])"
        )
    batches = {str(x.shape[0]) for x in inputs if x.ndim and not is_symbolic(x.shape[0])}
    if one_batch and len(batches) > 1:
        shapes = ", ".join(describe(x.shape) for x in inputs)
        raise ShapeError(f"{type(layer).__name__}: the inputs have different batch sizes: {shapes}.")
    return list(inputs)


def aligned(inputs: list[Any]) -> list[Any]:
    """Give all inputs the same rank, by new axes after the batch, and shapes that broadcast."""
    rank = max(x.ndim for x in inputs)
    same = [x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:]) if x.ndim < rank else x for x in inputs]
    for axis in range(1, rank):
        sizes = {x.shape[axis] for x in same if not is_symbolic(x.shape[axis]) and x.shape[axis] != 1}
        if len(sizes) > 1:
            shapes = ", ".join(describe(x.shape) for x in inputs)
            raise ShapeError(f"The tensors to merge do not fit together on axis {axis}: {shapes}.")
    return same


class Add(Merge):
    """The sum of the inputs: [(batch, ...), ...] -> (batch, ...).

    >>> import numpy as np
    >>> Add()([np.ones((2, 3)), np.ones((2, 3))]).tolist()[0]
    [2.0, 2.0, 2.0]
    """

    def combine(self, inputs: list[Any]) -> Any:
        return reduce(jnp.add, inputs)


class Subtract(Merge):
    """The first of two inputs less the second: [(batch, ...), (batch, ...)] -> (batch, ...)."""

    def combine(self, inputs: list[Any]) -> Any:
        if len(inputs) != 2:
            raise ArgumentError(f"Subtract takes two tensors, got {len(inputs)}.")
        return inputs[0] - inputs[1]


class Multiply(Merge):
    """The product of the inputs, element by element: [(batch, ...), ...] -> (batch, ...)."""

    def combine(self, inputs: list[Any]) -> Any:
        return reduce(jnp.multiply, inputs)


class Average(Merge):
    """The mean of the inputs, element by element: [(batch, ...), ...] -> (batch, ...)."""

    def combine(self, inputs: list[Any]) -> Any:
        return reduce(jnp.add, inputs) / len(inputs)


class Maximum(Merge):
    """The largest of the inputs, element by element: [(batch, ...), ...] -> (batch, ...)."""

    def combine(self, inputs: list[Any]) -> Any:
        return reduce(jnp.maximum, inputs)


class Minimum(Merge):
    """The smallest of the inputs, element by element: [(batch, ...), ...] -> (batch, ...)."""

    def combine(self, inputs: list[Any]) -> Any:
        return reduce(jnp.minimum, inputs)


class Concatenate(Merge):
    """The inputs one after the other along `axis`: [(batch, a), (batch, b)] -> (batch, a + b).

    >>> import numpy as np
    >>> Concatenate()([np.ones((2, 3)), np.ones((2, 4))]).shape
    (2, 7)
    """

    axis: int = -1

    def call(self, inputs: Any) -> Any:
        arrays = several(self, inputs, one_batch=self.axis != 0)
        rank = arrays[0].ndim
        for axis in range(rank):
            sizes = {str(x.shape[axis]) for x in arrays if x.ndim == rank and not is_symbolic(x.shape[axis])}
            if any(x.ndim != rank for x in arrays) or (axis != self.axis % rank and len(sizes) > 1):
                shapes = ", ".join(describe(x.shape) for x in arrays)
                raise ShapeError(
                    f"Concatenate along axis {self.axis}: all other axes must have the same sizes; got {shapes}."
                )
        return jnp.concatenate(arrays, axis=self.axis)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Masks one after the other along the time axis; along the features a step counts if it counts in any."""
        if not isinstance(previous_mask, list | tuple) or all(mask is None for mask in previous_mask):
            return None
        full = [
            jnp.ones(x.shape, bool)
            if mask is None
            else jnp.broadcast_to(mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim)), x.shape)
            for x, mask in zip(inputs, previous_mask, strict=True)
        ]
        return jnp.any(jnp.concatenate(full, axis=self.axis), axis=-1)


class Dot(Layer):
    """Products of two inputs summed over one axis of each, sample by sample.

    (batch, a, n) and (batch, b, n) with axes=2 -> (batch, a, b). With `normalize`, the cosine of the vectors.

    >>> import numpy as np
    >>> Dot(axes=1)([np.ones((2, 3)), np.ones((2, 3))]).tolist()
    [[3.0], [3.0]]
    """

    axes: Any
    normalize: bool = False
    supports_masking = True

    def __post_init__(self) -> None:
        pair = [self.axes] if isinstance(self.axes, int) else list(self.axes)
        if len(pair) not in (1, 2) or not all(isinstance(axis, int) for axis in pair):
            raise ArgumentError(f"Dot: axes must be an integer or two of them, got {self.axes!r}.")
        if 0 in pair:
            raise ArgumentError(f"Dot: axis 0 is the batch, which samples do not share; got axes={self.axes!r}.")

    def call(self, inputs: Any) -> Any:
        first, second = several(self, inputs)
        one, other = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        one, other = one % first.ndim, other % second.ndim
        if str(first.shape[one]) != str(second.shape[other]):
            raise ShapeError(
                f"Dot: axis {one} of {describe(first.shape)} and axis {other} of {describe(second.shape)} differ."
            )
        if self.normalize:
            first, second = _unit(first, one), _unit(second, other)
        letters = "bcdefghijklm"
        left = ["a", *letters[: first.ndim - 1]]
        right = ["a", *letters[first.ndim - 1 : first.ndim + second.ndim - 2]]
        left[one] = right[other] = "z"
        kept = "".join(["a", *(x for x in left[1:] if x != "z"), *(x for x in right[1:] if x != "z")])
        out = jnp.einsum(f"{''.join(left)},{''.join(right)}->{kept}", first, second)
        return out[:, None] if out.ndim == 1 else out

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The steps are summed over or paired: no mask is left."""
        return None


def _unit(x: Any, axis: int) -> Any:
    # Keras's epsilon stands inside the root.
    return x / jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=axis, keepdims=True), 1e-12))


def _function(layer: type[Layer]) -> Callable[..., Any]:
    def merge(inputs: Any, **kwargs: Any) -> Any:
        return layer(**kwargs)(inputs)

    merge.__name__ = layer.__name__.lower()
    merge.__doc__ = f"Call `{layer.__name__}(**kwargs)` on a list of tensors."
    return merge


add, subtract, multiply = _function(Add), _function(Subtract), _function(Multiply)
average, maximum, minimum = _function(Average), _function(Maximum), _function(Minimum)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """Call `Concatenate(axis)` on a list of tensors."""
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """Call `Dot(axes)` on two tensors."""
    return Dot(axes=axes, **kwargs)(inputs)
