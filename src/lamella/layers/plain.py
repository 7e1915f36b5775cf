"""Identity, Masking and Lambda."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp

from lamella.batch.per_sample import per_sample
from lamella.core.errors import ShapeError
from lamella.core.masked import value_of
from lamella.layers.layer import Layer


class Identity(Layer):
    """What comes in goes out: shape unchanged."""

    supports_masking = True

    def call(self, inputs: Any) -> Any:
        return inputs


class Masking(Layer):
    """Mark steps in which every feature equals `mask_value` as padding: (batch, time, features), such steps zeroed.

    >>> import numpy as np
    >>> out = Masking()(np.array([[[1.0, 2.0], [0.0, 0.0]]], "float32"))
    >>> out.mask.tolist()
    [[True, False]]
    """

    mask_value: float = 0.0
    supports_masking = True

    def call(self, inputs: Any) -> Any:
        return inputs * self.compute_mask(inputs)[..., None].astype(inputs.dtype)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return where any feature differs from the mask value."""
        return jnp.any(jnp.not_equal(inputs, self.mask_value), axis=-1)


class Lambda(Layer):
    """A function as a layer, for what has no weights: `Lambda(lambda x: x ** 2)`.

    With `per_sample=True` the function is written for one sample, without a batch axis; `arguments` are the same for
    all samples. `output_shape`, without the batch axis, is checked against what the function returns. `mask` is a
    mask, or a function of inputs and mask, for the batch.
    """

    arguments_beyond: ClassVar[Mapping[str, Any]] = {"per_sample": False}
    function: Callable[..., Any]
    output_shape: Any = None
    mask: Any = None
    arguments: dict[str, Any] | None = None
    per_sample: bool = False

    def __post_init__(self) -> None:
        self.supports_masking = self.mask is not None
        self.arguments = dict(self.arguments or {})

    def call(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:
        code = getattr(self.function, "__code__", None)
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code else ()
        extra = {name: value for name, value in (("mask", mask), ("training", training)) if name in names}
        function = partial(self.function, **(self.arguments or {}))
        out = (per_sample(function) if self.per_sample else function)(inputs, **extra)
        self._check_shape(inputs, out)
        return out

    def _check_shape(self, inputs: Any, out: Any) -> None:
        if self.output_shape is None or callable(self.output_shape) or not hasattr(out, "shape"):
            return
        said = tuple(self.output_shape) if isinstance(self.output_shape, list | tuple) else (self.output_shape,)
        got = tuple(value_of(out).shape[1:])
        if len(said) != len(got) or any(
            isinstance(g, int) and s not in (None, g) for s, g in zip(said, got, strict=True)
        ):
            raise ShapeError(f"Lambda: output_shape={said} was declared; the function returns {got} per sample.")

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return the declared mask, or what the declared function makes of the inputs and their mask."""
        return self.mask(inputs, previous_mask) if callable(self.mask) else self.mask
