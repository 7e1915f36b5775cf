"""Learning rates that follow the step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp

from lamella.core import config as configs
from lamella.core.config import Configurable
from lamella.core.errors import ArgumentError


class LearningRateSchedule(Configurable):
    """The base: `schedule(step)` returns the learning rate of a step."""

    keras_module: ClassVar[str] = "keras.optimizers.schedules"

    def __call__(self, step: Any) -> Any:
        """Return the learning rate at a step."""
        raise NotImplementedError(f"{type(self).__name__} does not define `__call__`.")


class ExponentialDecay(LearningRateSchedule):
    """The rate times `decay_rate` every `decay_steps`; in whole stairs with `staircase`.

    >>> float(ExponentialDecay(1.0, 10, 0.5)(20))
    0.25
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "ExponentialDecay"

    def __call__(self, step: Any) -> Any:
        power = jnp.asarray(step, "float32") / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** (jnp.floor(power) if self.staircase else power)


class InverseTimeDecay(LearningRateSchedule):
    """The rate divided by 1 + decay_rate * step / decay_steps."""

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "InverseTimeDecay"

    def __call__(self, step: Any) -> Any:
        share = jnp.asarray(step, "float32") / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * (jnp.floor(share) if self.staircase else share))


class PiecewiseConstantDecay(LearningRateSchedule):
    """One rate up to each boundary, the last one after all: one value more than boundaries."""

    boundaries: Any
    values: Any
    name: str = "PiecewiseConstant"

    def __post_init__(self) -> None:
        if len(self.boundaries) != len(self.values) - 1:
            raise ArgumentError(
                f"There must be one value more than boundaries; got {len(self.boundaries)} boundaries and "
                f"{len(self.values)} values."
            )

    def __call__(self, step: Any) -> Any:
        place = jnp.searchsorted(jnp.asarray(self.boundaries, "float32"), jnp.asarray(step, "float32"), side="left")
        return jnp.asarray(self.values, "float32")[place]


class PolynomialDecay(LearningRateSchedule):
    """From one rate to another along a power of the share of steps done; again from the start with `cycle`."""

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str = "PolynomialDecay"

    def __call__(self, step: Any) -> Any:
        now, length = jnp.asarray(step, "float32"), jnp.asarray(self.decay_steps, "float32")
        if self.cycle:
            length = length * jnp.where(now == 0, 1.0, jnp.ceil(now / length))
        share = jnp.minimum(now, length) / length
        span = self.initial_learning_rate - self.end_learning_rate
        return span * (1 - share) ** self.power + self.end_learning_rate


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the rate to `alpha` times it, after a straight warm-up if there is one.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
    """

    initial_learning_rate: float
    decay_steps: int
    alpha: float = 0.0
    name: str = "CosineDecay"
    warmup_target: float | None = None
    warmup_steps: int = 0

    def __call__(self, step: Any) -> Any:
        now = jnp.asarray(step, "float32")
        top = self.initial_learning_rate if self.warmup_target is None else self.warmup_target
        after = now if self.warmup_target is None else now - self.warmup_steps
        share = jnp.clip(after / self.decay_steps, 0, 1)
        cosine = 0.5 * (1 + jnp.cos(math.pi * share))
        rate = top * ((1 - self.alpha) * cosine + self.alpha)
        if self.warmup_target is None:
            return rate
        rising = self.initial_learning_rate + (top - self.initial_learning_rate) * now / max(self.warmup_steps, 1)
        return jnp.where(now < self.warmup_steps, rising, rate)


class CosineDecayRestarts(LearningRateSchedule):
    """Half a cosine again and again: each `t_mul` times as long as the one before it, and `m_mul` times as high.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.

    >>> schedule = CosineDecayRestarts(1.0, 10)
    >>> [round(float(schedule(step)), 2) for step in (0, 5, 10, 20, 30)]
    [1.0, 0.5, 1.0, 0.5, 1.0]
    """

    initial_learning_rate: float
    first_decay_steps: int
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0
    name: str = "SGDRDecay"

    def __post_init__(self) -> None:
        if self.first_decay_steps <= 0:
            raise ArgumentError(f"first_decay_steps is above 0, got {self.first_decay_steps}.")

    def __call__(self, step: Any) -> Any:
        share = jnp.asarray(step, "float32") / self.first_decay_steps
        if self.t_mul == 1:
            restarts = jnp.floor(share)
            share = share - restarts
        else:
            t_mul = jnp.float32(self.t_mul)
            restarts = jnp.floor(jnp.log(1 - share * (1 - t_mul)) / jnp.log(t_mul))
            share = (share - (1 - t_mul**restarts) / (1 - t_mul)) / t_mul**restarts
        cosine = 0.5 * self.m_mul**restarts * (1 + jnp.cos(math.pi * share))
        return self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha)


def serialize(learning_rate_schedule: LearningRateSchedule) -> Any:
    """Return a schedule as plain data."""
    return configs.serialize(learning_rate_schedule)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the schedule that plain data describes.

    >>> deserialize(serialize(ExponentialDecay(0.1, 10, 0.5))).decay_steps
    10
    """
    return configs.deserialize(config, custom_objects)


__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]
