"""Constraints: where a weight is put back to after each step of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp

from lamella.core import config
from lamella.core.config import Configurable, Convert, custom_object_scope
from lamella.core.registry import Registry
from lamella.core.settings import epsilon
from lamella.parts.identify import find

__all__ = [
    "Constraint",
    "ConstraintLike",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]

constraints = Registry("constraint")


class Constraint(Configurable):
    """A projection: a weight -> the weight moved to where it is allowed, of the same shape."""

    keras_module: ClassVar[str] = "keras.constraints"

    def __call__(self, w: Any) -> Any:
        """Return the weight as it is; a subclass says what is allowed."""
        return w


def _norms(w: Any, axis: Any) -> Any:
    axis = tuple(axis) if isinstance(axis, list) else axis
    return jnp.sqrt(jnp.sum(jnp.square(w), axis=axis, keepdims=True))


@constraints.register("max_norm")
class MaxNorm(Constraint):
    """Vectors along `axis` (the incoming weights of each unit) get at most this length.

    >>> round(float(MaxNorm(2)(jnp.array([[3.0], [4.0]]))[0, 0]), 5)
    1.2
    """

    max_value: float = 2
    axis: Any = 0

    def __call__(self, w: Any) -> Any:
        w = jnp.asarray(w)
        norms = _norms(w, self.axis)
        return w * (jnp.minimum(norms, self.max_value) / (epsilon() + norms))


@constraints.register("min_max_norm")
class MinMaxNorm(Constraint):
    """Vectors along `axis` are moved, by the part `rate` of the way, to a length between two values."""

    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: Any = 0

    def __call__(self, w: Any) -> Any:
        w = jnp.asarray(w)
        norms = _norms(w, self.axis)
        wanted = self.rate * jnp.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (wanted / (epsilon() + norms))


@constraints.register("non_neg")
class NonNeg(Constraint):
    """Weights below 0 become 0.

    >>> NonNeg()(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __call__(self, w: Any) -> Any:
        return jnp.maximum(jnp.asarray(w), 0)


@constraints.register("unit_norm")
class UnitNorm(Constraint):
    """Vectors along `axis` get length 1."""

    axis: Any = 0

    def __call__(self, w: Any) -> Any:
        w = jnp.asarray(w)
        return w / (epsilon() + _norms(w, self.axis))


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm


def get(identifier: Any) -> Any:
    """Return the constraint that a name, a class, a config or a callable stands for; None stays None."""
    return find(identifier, constraints, "keras.constraints")


def serialize(constraint: Any) -> Any:
    """Return a constraint as plain data: a name, or a config."""
    return config.serialize(constraint)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the constraint that `serialize` described."""
    with custom_object_scope(custom_objects or {}):
        return get(config)


ConstraintLike = Annotated[Any, Convert(get)]
