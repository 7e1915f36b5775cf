"""Layers and one sample: `call` from `call_sample`, and a layer inside code that has no batch axis."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.batch.per_sample import per_sample
from lamella.core.axes import describe
from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.masked import mask_of, value_of, with_mask
from lamella.core.operators import ArrayLike
from lamella.core.sample import as_batch_of_one
from lamella.core.structure import map_leaves

if TYPE_CHECKING:
    from lamella.layers.layer import Layer


def call_from_sample(cls: type) -> Callable[..., Any] | None:
    """Return the `call` that follows from a class's own `call_sample`, with the same arguments; None without one."""
    call_sample = cls.__dict__.get("call_sample")
    if call_sample is None:
        return None
    if "call" in cls.__dict__:
        raise ArgumentError(
            f"{cls.__name__} defines both `call`, for a batch, and `call_sample`, for one sample; `call` follows from "
            "`call_sample`.",
            mend="one of the two",
        )

    @wraps(call_sample)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return per_sample(partial(call_sample, self))(*args, **kwargs)

    return call


def takes_one_sample(layer: Layer) -> bool:
    """Tell whether a layer's code is written for one sample."""
    return getattr(type(layer).call, "__name__", "") == "call_sample"


def on_one_sample(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a layer inside code without a batch axis: on a batch of one, whose axis is taken off again."""
    batch_args, batch_kwargs = map_leaves(_with_axis, (args, kwargs))
    with as_batch_of_one():
        outputs = layer(*batch_args, **batch_kwargs)
    return map_leaves(partial(_without_axis, layer), outputs)


def _with_axis(leaf: Any) -> Any:
    value, mask = value_of(leaf), mask_of(leaf)
    if isinstance(value, ArrayLike):
        value = value.value
    if not isinstance(value, jax.Array | np.ndarray):
        return leaf
    return with_mask(jnp.asarray(value)[None], None if mask is None else jnp.asarray(mask)[None])


def _without_axis(layer: Layer, leaf: Any) -> Any:
    value, mask = value_of(leaf), mask_of(leaf)
    if not isinstance(value, jax.Array) or not value.shape:
        return leaf
    if value.shape[0] != 1:
        raise ShapeError(
            f"{layer.name!r} was called on one sample, a batch of 1, and returned {describe(value.shape)}: its first "
            "axis is not the batch.",
            mend="a `call` with the batch axis in place of `call_sample`",
        )
    return with_mask(jnp.squeeze(value, 0), None if mask is None else jnp.squeeze(mask, 0))
