"""Optimizers with Keras's names, arguments and numbers, over optax; their state lives in variables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from lamella.core.config import Configurable, deserialize, serialize
from lamella.core.errors import ArgumentError
from lamella.core.naming import automatic_name
from lamella.core.registry import Registry
from lamella.core.values import full
from lamella.core.variable import Variable

optimizers = Registry("optimizer")
Slots = dict[str, Any]


class Optimizer(Configurable):
    """The base: gradients in, new values of variables out.

    A subclass names its `slots` (arrays kept for each variable) and writes `rule`, or brings a whole optax
    transformation. `learning_rate` is a number, which may be assigned at any time, or a schedule of the step.
    Gradients are clipped first, in one way: each by its norm (`clipnorm`), all by their norm (`global_clipnorm`), or
    by value (`clipvalue`). `weight_decay` shrinks the variables apart from the gradients (Loshchilov and Hutter,
    "Decoupled Weight Decay Regularization", ICLR 2019).
    """

    keras_module: ClassVar[str] = "keras.optimizers"
    slots: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
        given = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        self._clipping = {key: value for key, value in given.items() if value is not None}
        if len(self._clipping) > 1:
            raise ArgumentError(f"Gradients are clipped in one way; got {' and '.join(self._clipping)}.")
        self.weight_decay = weight_decay
        self.name = name or automatic_name(type(self).__name__)
        self.iterations = Variable(0, dtype="int32", trainable=False, name="iterations")
        self._schedule = learning_rate if callable(learning_rate) else None
        start = 0.0 if self._schedule else float(learning_rate)
        self._rate = Variable(start, dtype="float32", trainable=False, name="learning_rate")
        self._trained: list[Variable] = []
        self._state: list[Variable] = []
        self._structure: Any = None
        self._undecayed: set[int] = set()

    # -- the numbers ------------------------------------------------------------------------------------------

    def first(self, slot: str, value: jax.Array) -> jax.Array:
        """Return a slot's first value for a variable."""
        return full(value.shape, value.dtype.name, 0)

    def rule(self, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return what is added to a variable, and the new slots, for its gradient; steps count from 1."""
        raise NotImplementedError(f"{type(self).__name__} does not define `rule`.")

    def transform(self) -> optax.GradientTransformationExtraArgs:
        """Return the optimizer as an optax transformation, told the learning rate and the step at each update."""

        def init(params: Any) -> list[Slots]:
            return [{slot: self.first(slot, value) for slot in self.slots} for value in params]

        def update(grads: Any, state: Any, params: Any = None, *, rate: Any, step: Any) -> tuple[Any, Any]:
            pairs = [self.rule(g, slots, rate, step) for g, slots in zip(grads, state, strict=True)]
            return [added for added, _ in pairs], [slots for _, slots in pairs]

        return optax.GradientTransformationExtraArgs(init, update)

    def clip(self) -> optax.GradientTransformation:
        """Return the clipping of gradients as an optax transformation."""
        if "clipvalue" in self._clipping:
            return optax.clip(self._clipping["clipvalue"])
        if "global_clipnorm" in self._clipping:
            return optax.clip_by_global_norm(self._clipping["global_clipnorm"])
        if "clipnorm" in self._clipping:
            most = self._clipping["clipnorm"]
            return optax.stateless(lambda grads, _: [_clipped(g, most) for g in grads])
        return optax.identity()

    # -- state ------------------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the present step."""
        return self._rate if self._schedule is None else self._schedule(self.iterations.value)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if callable(value):
            self._schedule = value
        else:
            self._schedule = None
            self._rate.assign(value)

    @property
    def variables(self) -> list[Variable]:
        """The step count, the learning rate and the slots of each trained variable."""
        return [self.iterations, self._rate, *self._state]

    def exclude_from_weight_decay(self, var_list: Sequence[Any] | None = None, var_names: Any = None) -> None:
        """Leave variables, or those whose paths contain one of some names, out of the weight decay."""
        self._undecayed |= {id(variable) for variable in var_list or ()}
        self._undecayed_names = tuple(var_names or ())

    _undecayed_names: tuple[str, ...] = ()

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the slots for the variables to train; those that are known keep theirs."""
        known = list(map(id, self._trained))
        if known == list(map(id, variables)):
            return
        state = self.transform().init([variable.value for variable in variables])
        named, self._structure = jax.tree.flatten_with_path(state)
        kept = {(variable.path, variable.name): variable for variable in self._state}
        made = []
        for path, value in named:
            name = _slot_name(path, variables)
            fresh = Variable(value, trainable=False, autocast=False, name=name)
            old = kept.get((name, name))
            made.append(old if old is not None and old.shape == fresh.shape else fresh)
        self._state = made
        self._trained = list(variables)

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Variable] | None = None) -> None:
        """Take one step: new values for the variables (those of `build` if none are given)."""
        variables = list(self._trained if trainable_variables is None else trainable_variables)
        if len(grads) != len(variables):
            raise ArgumentError(f"There are {len(grads)} gradients for {len(variables)} variables.")
        self.build(variables)
        rate = jnp.asarray(self.learning_rate, "float32")
        step = (self.iterations.value + 1).astype("float32")
        values = [self._decayed(variable, rate) for variable in variables]
        clipped, _ = self.clip().update(list(grads), optax.EmptyState())
        state = jax.tree.unflatten(self._structure, [slot.value for slot in self._state])
        updates, state = self.transform().update(clipped, state, values, rate=rate, step=step)
        for variable, value, added in zip(variables, values, updates, strict=True):
            new = (value + added).astype(variable.dtype)
            variable.assign(new if variable.constraint is None else variable.constraint(new))
        for slot, value in zip(self._state, jax.tree.leaves(state), strict=True):
            slot.assign(value)
        self.iterations.assign_add(1)

    def _decayed(self, variable: Variable, rate: Any) -> Any:
        named = any(name in variable.path for name in self._undecayed_names)
        if not self.weight_decay or named or id(variable) in self._undecayed:
            return variable.value
        return variable.value - variable.value * (self.weight_decay * rate)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> None:
        """Take one step for pairs (gradient, variable)."""
        grads, variables = zip(*grads_and_vars, strict=True)
        self.apply(grads, variables)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, with the learning rate as it is now."""
        rate = float(self._rate) if self._schedule is None else serialize(self._schedule)
        return {**super().get_config(), "name": self.name, "learning_rate": rate}


def _slot_name(path: Any, variables: Sequence[Variable]) -> str:
    if path and isinstance(path[0], jax.tree_util.SequenceKey) and len(path) == 2 and path[0].idx < len(variables):
        return f"{variables[path[0].idx].path.replace('/', '_')}_{getattr(path[1], 'key', path[1])}"
    return jax.tree_util.keystr(path).strip(".[]") or "state"


def _clipped(g: Any, most: float) -> Any:
    norm = jnp.sqrt(jnp.sum(jnp.square(g)))
    return jnp.where(norm > most, g * (most / jnp.maximum(norm, 1e-30)), g)


@optimizers.register("sgd")
class SGD(Optimizer):
    """Gradient descent, with momentum: v = momentum * v - rate * g.

    Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
    """

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        if not 0 <= momentum <= 1:
            raise ArgumentError(f"SGD: momentum lies between 0 and 1, got {momentum}.")
        self.momentum, self.nesterov = momentum, nesterov
        self.slots = ("momentum",) if momentum else ()  # type: ignore[misc]

    def rule(self, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """The rate is inside the momentum, so that a change of it acts on new gradients only."""
        if not self.momentum:
            return -rate * g, {}
        velocity = self.momentum * slots["momentum"] - rate * g
        added = self.momentum * velocity - rate * g if self.nesterov else velocity
        return added, {"momentum": velocity}


@optimizers.register("adam")
class Adam(Optimizer):
    """Means of gradients and of their squares, corrected for their start at zero.

    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015; `amsgrad`: Reddi et al., ICLR 2018.
    """

    slots: ClassVar[tuple[str, ...]] = ("momentum", "velocity")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad
        if amsgrad:
            self.slots = ("momentum", "velocity", "velocity_hat")  # type: ignore[misc]

    def rule(self, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Epsilon is added after the correction of both means at once, as Keras does, not before."""
        scale = rate * jnp.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        m = slots["momentum"] + (g - slots["momentum"]) * (1 - self.beta_1)
        v = slots["velocity"] + (jnp.square(g) - slots["velocity"]) * (1 - self.beta_2)
        new = {"momentum": m, "velocity": v}
        if self.amsgrad:
            v = new["velocity_hat"] = jnp.maximum(slots["velocity_hat"], v)
        return -m * scale / (jnp.sqrt(v) + self.epsilon), new


@optimizers.register("adamw")
class AdamW(Adam):
    """Adam with weight decay apart from the gradients. Loshchilov and Hutter, ICLR 2019."""

    def __init__(self, learning_rate: Any = 0.001, weight_decay: float = 0.004, **kwargs: Any) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)


@optimizers.register("nadam")
class Nadam(Optimizer):
    """Adam with Nesterov's momentum. Dozat, "Incorporating Nesterov Momentum into Adam", 2016."""

    slots = ("momentum", "velocity", "product")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def first(self, slot: str, value: jax.Array) -> jax.Array:
        """The product of all momenta so far starts at one."""
        return full((), value.dtype.name, 1) if slot == "product" else super().first(slot, value)

    def rule(self, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """The momentum itself follows a schedule of the step."""
        now = self.beta_1 * (1 - 0.5 * 0.96**step)
        following = self.beta_1 * (1 - 0.5 * 0.96 ** (step + 1))
        product = slots["product"] * now
        m = slots["momentum"] + (g - slots["momentum"]) * (1 - self.beta_1)
        v = slots["velocity"] + (jnp.square(g) - slots["velocity"]) * (1 - self.beta_2)
        m_hat = following * m / (1 - product * following) + (1 - now) * g / (1 - product)
        v_hat = v / (1 - self.beta_2**step)
        added = -rate * m_hat / (jnp.sqrt(v_hat) + self.epsilon)
        return added, {"momentum": m, "velocity": v, "product": product.astype(slots["product"].dtype)}


@optimizers.register("adamax")
class Adamax(Optimizer):
    """Adam with the largest gradient in place of the mean of squares. Kingma and Ba, ICLR 2015, section 7."""

    slots = ("momentum", "norm")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def rule(self, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return the update and the new slots."""
        m = slots["momentum"] + (g - slots["momentum"]) * (1 - self.beta_1)
        u = jnp.maximum(self.beta_2 * slots["norm"], jnp.abs(g))
        return -rate * m / ((1 - self.beta_1**step) * (u + self.epsilon)), {"momentum": m, "norm": u}


@optimizers.register("adagrad")
class Adagrad(Optimizer):
    """The rate divided by the root of all squared gradients so far. Duchi et al., JMLR 12 (2011)."""

    slots = ("accumulator",)

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    def first(self, slot: str, value: jax.Array) -> jax.Array:
        """Return the first value of the sum of squares."""
        return full(value.shape, value.dtype.name, self.initial_accumulator_value)

    def rule(self, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return the update and the new slots."""
        total = slots["accumulator"] + jnp.square(g)
        return -rate * g / jnp.sqrt(total + self.epsilon), {"accumulator": total}


@optimizers.register("adadelta")
class Adadelta(Optimizer):
    """Steps in the proportion of recent steps to recent gradients. Zeiler, https://arxiv.org/abs/1212.5701."""

    slots = ("accumulated_grad", "accumulated_delta")

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.rho, self.epsilon = rho, epsilon

    def rule(self, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return the update and the new slots."""
        grads = self.rho * slots["accumulated_grad"] + (1 - self.rho) * jnp.square(g)
        before = slots["accumulated_delta"]
        delta = -jnp.sqrt(before + self.epsilon) * g / jnp.sqrt(grads + self.epsilon)
        after = self.rho * before + (1 - self.rho) * jnp.square(delta)
        return rate * delta, {"accumulated_grad": grads, "accumulated_delta": after}


@optimizers.register("rmsprop")
class RMSprop(Optimizer):
    """The rate divided by the root of the mean of recent squared gradients. Hinton, lecture 6e, 2012."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered
        extra = (*(("momentum",) if momentum else ()), *(("average_gradient",) if centered else ()))
        self.slots = ("velocity", *extra)  # type: ignore[misc]

    def rule(self, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return the update and the new slots."""
        v = self.rho * slots["velocity"] + (1 - self.rho) * jnp.square(g)
        new, spread = {"velocity": v}, v
        if self.centered:
            new["average_gradient"] = self.rho * slots["average_gradient"] + (1 - self.rho) * g
            spread = v - jnp.square(new["average_gradient"])
        added = -rate * g / jnp.sqrt(spread + self.epsilon)
        if self.momentum:
            new["momentum"] = self.momentum * slots["momentum"] - added
            added = -new["momentum"]
        return added, new


@optimizers.register("lion")
class Lion(Optimizer):
    """The sign of a mean of gradients. Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023."""

    slots = ("momentum",)

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2 = beta_1, beta_2

    def rule(self, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return the update and the new slots."""
        m = slots["momentum"]
        direction = jnp.sign(self.beta_1 * m + (1 - self.beta_1) * g)
        return -rate * direction, {"momentum": self.beta_2 * m + (1 - self.beta_2) * g}


class OptaxOptimizer(Optimizer):
    """Any optax transformation as an optimizer: what `compile(optax.adam(1e-3))` makes of it."""

    def __init__(self, transformation: optax.GradientTransformation, name: str | None = None) -> None:
        super().__init__(0.0, name=name)
        self.transformation = transformation

    def transform(self) -> optax.GradientTransformationExtraArgs:
        """Return the transformation, which takes neither rate nor step: they are inside it."""
        inner = optax.with_extra_args_support(self.transformation)

        def update(grads: Any, state: Any, params: Any = None, *, rate: Any, step: Any) -> tuple[Any, Any]:
            updates, new = inner.update(grads, state, params)
            return updates, new

        return optax.GradientTransformationExtraArgs(inner.init, update)


def get(identifier: Any) -> Any:
    """Return the optimizer meant by a name, a class, a config, an optimizer or an optax transformation.

    >>> get("adam").name.startswith("adam")
    True
    """
    if isinstance(identifier, optax.GradientTransformation):
        return OptaxOptimizer(identifier)
    if isinstance(identifier, str):
        identifier = optimizers[identifier.lower() if identifier.lower() in optimizers else identifier]
    if isinstance(identifier, dict):
        identifier = deserialize(identifier)
    found = identifier() if isinstance(identifier, type) else identifier
    if not isinstance(found, Optimizer):
        raise ArgumentError(f"An optimizer is a name or an Optimizer, got {identifier!r}.", mend="optimizer='adam'")
    return found


__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Nadam",
    "OptaxOptimizer",
    "Optimizer",
    "RMSprop",
    "get",
]
