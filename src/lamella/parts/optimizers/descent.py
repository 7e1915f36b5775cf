"""Descent with one rate for all, or one for each number by the gradients it had."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp

from lamella.core.errors import ArgumentError
from lamella.core.values import full
from lamella.core.variable import Variable
from lamella.parts.optimizers.optimizer import Optimizer, Slots, optimizers


@optimizers.register("sgd")
class SGD(Optimizer):
    """Gradient descent, with momentum: v = momentum * v - rate * g.

    Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.

    >>> SGD(0.1, momentum=0.9).get_config()["momentum"]
    0.9
    """

    momentum: float = 0.0
    nesterov: bool = False
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 0.01}

    def __post_init__(self) -> None:
        if not 0 <= self.momentum <= 1:
            raise ArgumentError(f"SGD: momentum lies between 0 and 1, got {self.momentum}.")
        self.slots = (("momentum",),) if self.momentum else ()  # type: ignore[misc]

    @property
    def still(self) -> bool:  # type: ignore[override]
        """Momentum moves a weight on."""
        return not self.momentum

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """The rate is inside the momentum, so that a change of it acts on new gradients only."""
        if not self.momentum:
            return value - rate * g, {}
        velocity = self.momentum * slots["momentum"] - rate * g
        added = self.momentum * velocity - rate * g if self.nesterov else velocity
        return value + added, {"momentum": velocity}


@optimizers.register("adagrad")
class Adagrad(Optimizer):
    """The rate divided by the root of all squared gradients so far. Duchi et al., JMLR 12 (2011)."""

    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7
    slots: ClassVar[tuple[tuple[str, ...], ...]] = (("accumulator",),)
    still: ClassVar[bool] = True

    def first(self, slot: str, variable: Variable) -> Any:
        """Return the first value of the sum of squares."""
        return full(variable.shape, variable.dtype, self.initial_accumulator_value)

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return the new value and the new slots."""
        total = slots["accumulator"] + jnp.square(g)
        return value - rate * g / jnp.sqrt(total + self.epsilon), {"accumulator": total}


@optimizers.register("adadelta")
class Adadelta(Optimizer):
    """Steps in the proportion of recent steps to recent gradients. Zeiler, https://arxiv.org/abs/1212.5701."""

    rho: float = 0.95
    epsilon: float = 1e-7
    slots: ClassVar[tuple[tuple[str, ...], ...]] = (("accumulated_grad", "accumulated_delta_var"),)

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return the new value and the new slots."""
        grads = self.rho * slots["accumulated_grad"] + (1 - self.rho) * jnp.square(g)
        before = slots["accumulated_delta_var"]
        delta = -jnp.sqrt(before + self.epsilon) * g / jnp.sqrt(grads + self.epsilon)
        after = self.rho * before + (1 - self.rho) * jnp.square(delta)
        return value + rate * delta, {"accumulated_grad": grads, "accumulated_delta_var": after}


@optimizers.register("rmsprop")
class RMSprop(Optimizer):
    """The rate divided by the root of the mean of recent squared gradients. Hinton, lecture 6e, 2012."""

    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False

    def __post_init__(self) -> None:
        more = (*(("momentum",) if self.momentum else ()), *(("average_gradient",) if self.centered else ()))
        self.slots = tuple((slot,) for slot in ("velocity", *more))  # type: ignore[misc]

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return the new value and the new slots."""
        v = self.rho * slots["velocity"] + (1 - self.rho) * jnp.square(g)
        new, spread = {"velocity": v}, v
        if self.centered:
            new["average_gradient"] = self.rho * slots["average_gradient"] + (1 - self.rho) * g
            spread = v - jnp.square(new["average_gradient"])
        taken = rate * g / jnp.sqrt(spread + self.epsilon)
        if self.momentum:
            taken = new["momentum"] = self.momentum * slots["momentum"] + taken
        return value - taken, new


@optimizers.register("ftrl")
class Ftrl(Optimizer):
    """Follow the regularized leader: weights that few gradients reach stay at zero.

    McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013. `l2_shrinkage_regularization_strength`
    is a penalty on the size of the weights, beside the two of the paper.
    """

    learning_rate_power: float = -0.5
    initial_accumulator_value: float = 0.1
    l1_regularization_strength: float = 0.0
    l2_regularization_strength: float = 0.0
    l2_shrinkage_regularization_strength: float = 0.0
    beta: float = 0.0
    slots: ClassVar[tuple[tuple[str, ...], ...]] = (("accumulator", "linear"),)

    def __post_init__(self) -> None:
        if self.learning_rate_power > 0:
            raise ArgumentError(f"Ftrl: learning_rate_power is at most 0, got {self.learning_rate_power}.")
        for name in (
            "initial_accumulator_value",
            "l1_regularization_strength",
            "l2_regularization_strength",
            "l2_shrinkage_regularization_strength",
        ):
            if getattr(self, name) < 0:
                raise ArgumentError(f"Ftrl: {name} is at least 0, got {getattr(self, name)}.")

    def first(self, slot: str, variable: Variable) -> Any:
        """Return the first value of the sum of squares, or zeros."""
        start = self.initial_accumulator_value if slot == "accumulator" else 0
        return full(variable.shape, variable.dtype, start)

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """The value follows from the slots alone: it is where the sum of all linear models so far is least."""
        before, after = slots["accumulator"], slots["accumulator"] + jnp.square(g)
        power, l1 = -self.learning_rate_power, self.l1_regularization_strength
        shrunk = g + 2 * self.l2_shrinkage_regularization_strength * value
        linear = slots["linear"] + shrunk - (after**power - before**power) / rate * value
        l2 = self.l2_regularization_strength + self.beta / (2 * rate)
        new = (jnp.clip(linear, -l1, l1) - linear) / (after**power / rate + 2 * l2)
        return new, {"accumulator": after, "linear": linear}


@optimizers.register("adafactor")
class Adafactor(Optimizer):
    """The squares of gradients, kept as their means over rows and over columns: little memory for large kernels.

    Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", ICML 2018. `relative_step`
    lowers a constant rate with the root of the step.
    """

    beta_2_decay: float = -0.8
    epsilon_1: float = 1e-30
    epsilon_2: float = 1e-3
    clip_threshold: float = 1.0
    relative_step: bool = True
    slots: ClassVar[tuple[tuple[str, ...], ...]] = (("row", "column", "velocity"),)

    def first(self, slot: str, variable: Variable) -> Any:
        """Vectors have no rows and columns; a zero stands there, so that files are laid out as Keras's."""
        shape = variable.shape
        if slot != "velocity":
            shape = () if len(shape) < 2 else shape[:-1] if slot == "row" else (*shape[:-2], shape[-1])
        return full(shape, variable.dtype, 0)

    def slot_name(self, slot: str, variable: Variable) -> str:
        """Rows and columns have the variable's own name."""
        return variable.name if slot in ("row", "column") else super().slot_name(slot, variable)

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """The step is in proportion to the root mean square of the value, and is not longer than a threshold."""
        rate = jnp.minimum(rate, 1 / jnp.sqrt(step))
        share = 1 - step**self.beta_2_decay
        square = jnp.square(g) + self.epsilon_1
        if value.ndim < 2:
            new = {"velocity": share * slots["velocity"] + (1 - share) * square}
        else:
            row = share * slots["row"] + (1 - share) * jnp.mean(square, -1)
            column = share * slots["column"] + (1 - share) * jnp.mean(square, -2)
            velocity = (row / jnp.mean(row, -1, keepdims=True))[..., None] * column[..., None, :]
            new = {"row": row, "column": column, "velocity": velocity}
        u = g / jnp.sqrt(new["velocity"])
        u = u / jnp.maximum(1.0, _root_mean_square(u) / self.clip_threshold)
        return value - jnp.maximum(self.epsilon_2, _root_mean_square(value)) * rate * u, new


def _root_mean_square(x: Any) -> Any:
    return jnp.sqrt(jnp.mean(jnp.square(x)))
