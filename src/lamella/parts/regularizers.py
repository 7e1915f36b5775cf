"""Regularizers: penalties on weights or outputs that are added to the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp

from lamella.core import config
from lamella.core.config import Configurable, Convert, custom_object_scope
from lamella.core.errors import ShapeError
from lamella.core.registry import Registry
from lamella.core.settings import one_of
from lamella.parts.identify import find

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "RegularizerLike",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]

regularizers = Registry("regularizer")


class Regularizer(Configurable):
    """A penalty: an array of any shape -> a number."""

    keras_module: ClassVar[str] = "keras.regularizers"

    def __call__(self, x: Any) -> Any:
        """Return the penalty; a subclass writes it."""
        raise NotImplementedError(f"{type(self).__name__} does not define `__call__`.")


@regularizers.register("l1")
class L1(Regularizer):
    """`l1 * sum(abs(x))`, which drives weights to exactly 0.

    >>> float(L1(0.5)(jnp.array([1.0, -3.0])))
    2.0
    """

    l1: float = 0.01

    def __call__(self, x: Any) -> Any:
        return self.l1 * jnp.sum(jnp.abs(jnp.asarray(x)))


@regularizers.register("l2")
class L2(Regularizer):
    """`l2 * sum(x**2)`, which keeps weights small.

    >>> float(L2(0.5)(jnp.array([1.0, -3.0])))
    5.0
    """

    l2: float = 0.01

    def __call__(self, x: Any) -> Any:
        return self.l2 * jnp.sum(jnp.square(jnp.asarray(x)))


@regularizers.register("l1_l2", "l1l2")
class L1L2(Regularizer):
    """The sum of `L1` and `L2`; by its name, "l1_l2", each has the factor 0.01.

    >>> float(L1L2(1.0, 0.5)(jnp.array([1.0, -3.0])))
    9.0
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        self.l1, self.l2 = self.l1 or 0.0, self.l2 or 0.0

    def __call__(self, x: Any) -> Any:
        x = jnp.asarray(x)
        return self.l1 * jnp.sum(jnp.abs(x)) + self.l2 * jnp.sum(jnp.square(x))


@regularizers.register("orthogonal_regularizer")
class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean absolute cosine between a matrix's rows (or columns): 0 when orthogonal.

    >>> float(OrthogonalRegularizer()(jnp.eye(3)))
    0.0
    """

    factor: float = 0.01
    mode: str = "rows"

    def __post_init__(self) -> None:
        self.mode = one_of("mode", self.mode, ("rows", "columns"))

    def __call__(self, x: Any) -> Any:
        x = jnp.asarray(x)
        if x.ndim != 2:
            raise ShapeError(f"OrthogonalRegularizer takes a matrix, got an array of shape {x.shape}.")
        rows = x if self.mode == "rows" else x.T
        rows = rows / jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(rows), axis=1, keepdims=True), 1e-12))
        count = rows.shape[0]
        overlap = jnp.sum(jnp.abs((rows @ rows.T) * (1.0 - jnp.eye(count, dtype=x.dtype))))
        return self.factor * 0.5 * overlap / max(count * (count - 1) / 2.0, 1.0)


l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer


def get(identifier: Any) -> Any:
    """Return the regularizer that a name, a class, a config or a callable stands for; None stays None.

    >>> get("l2").get_config()
    {'l2': 0.01}
    """
    return find(identifier, regularizers, "keras.regularizers")


def serialize(regularizer: Any) -> Any:
    """Return a regularizer as plain data: a name, or a config."""
    return config.serialize(regularizer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the regularizer that `serialize` described."""
    with custom_object_scope(custom_objects or {}):
        return get(config)


RegularizerLike = Annotated[Any, Convert(get)]
