"""Adam and its kin: means of gradients, divided by means of their size."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from lamella.core.variable import Variable
from lamella.parts.optimizers.optimizer import Optimizer, Slots, optimizers


@optimizers.register("adam")
class Adam(Optimizer):
    """Means of gradients and of their squares, corrected for their start at zero.

    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015; `amsgrad`: Reddi et al., ICLR 2018.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False

    def __post_init__(self) -> None:
        more = (("velocity_hat",),) if self.amsgrad else ()
        self.slots = (("momentum", "velocity"), *more)  # type: ignore[misc]

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Epsilon is added after the correction of both means at once, as Keras does, not before."""
        scale = rate * jnp.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        new = _means(g, slots, self.beta_1, self.beta_2)
        v = new["velocity"]
        if self.amsgrad:
            v = new["velocity_hat"] = jnp.maximum(slots["velocity_hat"], v)
        return value - new["momentum"] * scale / (jnp.sqrt(v) + self.epsilon), new


@optimizers.register("adamw")
class AdamW(Adam):
    """Adam with weight decay apart from the gradients. Loshchilov and Hutter, ICLR 2019."""

    defaults: ClassVar[dict[str, Any]] = {"weight_decay": 0.004}
    leading: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay")


@optimizers.register("nadam")
class Nadam(Optimizer):
    """Adam with Nesterov's momentum. Dozat, "Incorporating Nesterov Momentum into Adam", 2016."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    slots: ClassVar[tuple[tuple[str, ...], ...]] = (("momentum", "velocity"),)
    _product: Variable | None = None

    def build(self, variables: Any) -> None:
        """The product of all momenta so far is one number for all variables."""
        super().build(variables)
        if self._product is None:
            self._product = self.add_variable((), "ones", variables[0].dtype if variables else None, "product")

    def begin(self, step: Any) -> None:
        """The momentum itself follows a schedule of the step."""
        assert self._product is not None
        self._product.assign(self._product.value * self._momentum(step))

    def _momentum(self, step: Any) -> Any:
        return self.beta_1 * (1 - 0.5 * 0.96**step)

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Nesterov's look ahead: the mean is taken with the momentum of the step to come."""
        assert self._product is not None
        now, following, product = self._momentum(step), self._momentum(step + 1), self._product.value
        # In float32 from the start: 1 - 0.999 has other digits there.
        new = _means(g, slots, jnp.float32(self.beta_1), jnp.float32(self.beta_2))
        m_hat = following * new["momentum"] / (1 - product * following) + (1 - now) * g / (1 - product)
        v_hat = new["velocity"] / (1 - self.beta_2**step)
        return value - rate * m_hat / (jnp.sqrt(v_hat) + self.epsilon), new


@optimizers.register("adamax")
class Adamax(Optimizer):
    """Adam with the largest gradient in place of the mean of squares. Kingma and Ba, ICLR 2015, section 7."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    slots: ClassVar[tuple[tuple[str, ...], ...]] = (("momentum", "norm"),)

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return the new value and the new slots."""
        m = slots["momentum"] + (g - slots["momentum"]) * (1 - self.beta_1)
        u = jnp.maximum(self.beta_2 * slots["norm"], jnp.abs(g))
        return value - rate * m / ((1 - self.beta_1**step) * (u + self.epsilon)), {"momentum": m, "norm": u}


@optimizers.register("lion")
class Lion(Optimizer):
    """The sign of a mean of gradients. Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023."""

    beta_1: float = 0.9
    beta_2: float = 0.99
    slots: ClassVar[tuple[tuple[str, ...], ...]] = (("momentum",),)

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return the new value and the new slots."""
        m = slots["momentum"]
        direction = jnp.sign(self.beta_1 * m + (1 - self.beta_1) * g)
        return value - rate * direction, {"momentum": self.beta_2 * m + (1 - self.beta_2) * g}


@optimizers.register("lamb")
class Lamb(Optimizer):
    """Adam's direction, as long in each variable as the variable itself is, for large batches.

    You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", ICLR 2020.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    slots: ClassVar[tuple[tuple[str, ...], ...]] = (("momentum", "velocity"),)

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """A variable or a direction of zeros leaves the length to the rate."""
        new = _means(g, slots, self.beta_1, self.beta_2)
        spread = jnp.sqrt(new["velocity"] / (1 - self.beta_2**step)) + self.epsilon
        direction = new["momentum"] / (1 - self.beta_1**step) / spread
        ours, theirs = jnp.sqrt(jnp.sum(jnp.square(value))), jnp.sqrt(jnp.sum(jnp.square(direction)))
        either = (ours > 0) & (theirs > 0)
        return value - jnp.where(either, ours / jnp.where(either, theirs, 1.0), 1.0) * rate * direction, new


@optimizers.register("schedulefreeadamw")
class ScheduleFreeAdamW(Optimizer):
    """Adam with an average of its path in place of a schedule of the rate.

    Defazio et al., "The Road Less Scheduled", NeurIPS 2024. The variables stand between the path (the slot "momentum")
    and its average while they are trained, nearer to the average the larger `beta_1` is.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    warmup_steps: int = 0
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 0.0025}
    slots: ClassVar[tuple[tuple[str, ...], ...]] = (("momentum", "velocity"),)

    def first(self, slot: str, variable: Variable) -> Any:
        """The path starts where the variable stands, in memory of its own."""
        return np.array(variable._value) if slot == "momentum" else super().first(slot, variable)

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """The average is not kept: it follows from the variable and the path."""
        if self.warmup_steps > 0:
            rate = rate * jnp.minimum(step / self.warmup_steps, 1.0)
        # In float32 from the start: 1 - 0.999 has other digits there.
        beta_1, beta_2 = jnp.float32(self.beta_1), jnp.float32(self.beta_2)
        path = slots["momentum"]
        velocity = slots["velocity"] + (jnp.square(g) - slots["velocity"]) * (1 - beta_2)
        average = (value - (1 - beta_1) * path) / beta_1
        path = path - rate * g / (jnp.sqrt(velocity / (1 - beta_2**step)) + self.epsilon)
        average = (1 - 1 / step) * average + 1 / step * path
        return (1 - beta_1) * path + beta_1 * average, {"momentum": path, "velocity": velocity}


def _means(g: Any, slots: Slots, beta_1: Any, beta_2: Any) -> Slots:
    """Return the mean of gradients and that of their squares, one gradient later."""
    m, v = slots["momentum"], slots["velocity"]
    return {"momentum": m + (g - m) * (1 - beta_1), "velocity": v + (jnp.square(g) - v) * (1 - beta_2)}
