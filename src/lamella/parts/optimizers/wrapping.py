"""Optimizers made of others: a loss scale that finds itself, one optimizer for each variable, any of optax's."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from lamella.core.config import Configurable
from lamella.core.errors import ArgumentError
from lamella.core.variable import Variable
from lamella.parts.optimizers.optimizer import COMMON, Optimizer, either, optimizers


@optimizers.register("lossscaleoptimizer")
class LossScaleOptimizer(Optimizer):
    """An optimizer around another, which multiplies the loss by as much as float16 can hold.

    A step whose gradients are not finite is left out and halves the scale; `dynamic_growth_steps` good steps in a row
    double it. `compile` puts it around the optimizer of a model whose policy is "mixed_float16".
    Micikevicius et al., "Mixed Precision Training", ICLR 2018.
    """

    def __init__(
        self,
        inner_optimizer: Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        wrong = next((key for key in kwargs if kwargs[key] != {**COMMON, "dynamic": True}.get(key, kwargs)), None)
        if wrong is not None:
            raise ArgumentError(f"LossScaleOptimizer does not take {wrong!r}; the optimizer inside does.")
        super().__init__(0.0, name=name)
        self.inner_optimizer = inner_optimizer
        self.initial_scale, self.dynamic_growth_steps = initial_scale, dynamic_growth_steps
        inner_optimizer.loss_scale_factor = None

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the scale, and what the inner optimizer keeps."""
        if not self.built:
            self.step_counter = self.add_variable((), dtype="int32", name="step_counter")
            self.dynamic_scale = self._track(self.initial_scale, "dynamic_scale", dtype="float32")
        self.inner_optimizer.ensure_built(variables)
        super().build(variables)

    @property
    def variables(self) -> list[Variable]:
        """The scale and its counter, and the inner optimizer's variables."""
        return [*self._variables, *self.inner_optimizer.variables]

    @property
    def iterations(self) -> Any:
        """How many updates there were."""
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the inner optimizer."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Variable] | None = None) -> None:
        """Take one step with the gradients of the scaled loss, if all of them are finite."""
        variables = list(self._trained if trainable_variables is None else trainable_variables)
        self.ensure_built(variables)
        given = [None if g is None else jnp.asarray(g) for g in grads]
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(g)) for g in given if g is not None]))

        def advance() -> None:
            scale = self.dynamic_scale.value
            self.inner_optimizer.apply([None if g is None else g / scale for g in given], variables)
            grows = self.step_counter.value == self.dynamic_growth_steps - 1
            self.dynamic_scale.assign(jnp.where(grows, scale * 2, scale))
            self.step_counter.assign(jnp.where(grows, 0, self.step_counter.value + 1))

        def shrink() -> None:
            self.dynamic_scale.assign(self.dynamic_scale.value * 0.5)
            self.step_counter.assign(0)

        either(finite, advance, shrink)

    def scale_loss(self, loss: Any) -> Any:
        """Return the loss that gradients are taken of."""
        return loss * (self.dynamic_scale.value if self.built else self.initial_scale)

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        """Let the inner optimizer put its moving averages in place."""
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, with the inner optimizer's config."""
        return {**Configurable.get_config(self), "name": self.name}


class OptimizerMap(Configurable, MutableMapping[str, Optimizer]):
    """Optimizers by the paths of variables: a path itself, or a pattern that fits all of it; else the default."""

    keras_module: ClassVar[str] = "keras.optimizers"

    def __init__(self, default_optimizer: Optimizer, optimizer_map: dict[str, Optimizer] | None = None) -> None:
        if not isinstance(default_optimizer, Optimizer):
            raise ArgumentError(f"default_optimizer is an optimizer, got {default_optimizer!r}.")
        self.default_optimizer = default_optimizer
        self._entries: dict[str, Optimizer] = {}
        self.update(optimizer_map or {})

    def __getitem__(self, key: str) -> Optimizer:
        if key in self._entries:
            return self._entries[key]
        fitting = [pattern for pattern in self._entries if re.fullmatch(pattern, key)]
        if len(fitting) > 1:
            raise ArgumentError(f"Several patterns fit the variable {key!r}: {', '.join(fitting)}.")
        return self._entries[fitting[0]] if fitting else self.default_optimizer

    def __setitem__(self, key: str, optimizer: Optimizer) -> None:
        if key in self._entries:
            raise ArgumentError(f"{key!r} has an optimizer already.")
        _check_inner(optimizer)
        self._entries[key] = optimizer

    def __delitem__(self, key: str) -> None:
        del self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __call__(self, variable: Variable) -> Optimizer:
        return self[variable.path]


def _check_inner(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer) or isinstance(optimizer, LossScaleOptimizer | MultiOptimizer):
        raise ArgumentError(f"The optimizer of a variable is one that moves variables itself, got {optimizer!r}.")


@optimizers.register("multioptimizer")
class MultiOptimizer(Optimizer):
    """An optimizer for each variable: `optimizer_map` is an `OptimizerMap`, or a function of the variable.

    `optimizers` are those in use, each with its own learning rate.
    """

    def __init__(self, optimizer_map: Any, loss_scale_factor: float | None = None, name: str | None = None) -> None:
        self.optimizers: list[Optimizer] = []
        self._owners: dict[Variable, Optimizer] = {}
        super().__init__(0.0, loss_scale_factor=loss_scale_factor, name=name)
        self._map = optimizer_map
        if isinstance(optimizer_map, OptimizerMap):
            for inner in (*optimizer_map.values(), optimizer_map.default_optimizer):
                self._take(inner)

    def _take(self, inner: Optimizer) -> None:
        _check_inner(inner)
        if all(inner is not known for known in self.optimizers):
            inner.loss_scale_factor = self.loss_scale_factor
            self.optimizers.append(inner)

    def build(self, variables: Sequence[Variable]) -> None:
        """Find the optimizer of each variable, and let it make what it keeps."""
        for variable in variables:
            if variable not in self._owners:
                self._owners[variable] = inner = self._map(variable)
                self._take(inner)
        for inner, places in self._shares(variables):
            inner.ensure_built([variables[place] for place in places])
        super().build(variables)

    def _shares(self, variables: Sequence[Variable]) -> list[tuple[Optimizer, list[int]]]:
        """Return the optimizers with the places of their variables."""
        owners = [self._owners[variable] for variable in variables]
        shares = [(inner, [i for i, owner in enumerate(owners) if owner is inner]) for inner in self.optimizers]
        return [(inner, places) for inner, places in shares if places]

    @property
    def variables(self) -> list[Variable]:
        """The step count, and the variables of each optimizer."""
        return [*self._variables, *(variable for inner in self.optimizers for variable in inner.variables)]

    @property
    def learning_rate(self) -> Any:
        """There is none: each optimizer has its own."""
        raise AttributeError("A MultiOptimizer has no learning rate; each of its `optimizers` has one.")

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise AttributeError("A MultiOptimizer has no learning rate; assign it to one of its `optimizers`.")

    @property
    def loss_scale_factor(self) -> float | None:
        """What the loss is multiplied by, for all optimizers."""
        return self._loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value: float | None) -> None:
        self._loss_scale_factor = value
        for inner in self.optimizers:
            inner.loss_scale_factor = value

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Variable] | None = None) -> None:
        """Take one step with each optimizer."""
        variables = list(self._trained if trainable_variables is None else trainable_variables)
        if len(grads) != len(variables):
            raise ArgumentError(f"There are {len(grads)} gradients for {len(variables)} variables.")
        self.ensure_built(variables)
        for inner, places in self._shares(variables):
            inner.apply([grads[place] for place in places], [variables[place] for place in places])
        self._iterations.assign_add(1)

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        """Let each optimizer put its moving averages in place."""
        for inner, places in self._shares(var_list):
            inner.finalize_variable_values([var_list[place] for place in places])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, with the optimizers' configs."""
        return {**Configurable.get_config(self), "name": self.name}


class OptaxOptimizer(Optimizer):
    """Any optax transformation as an optimizer: what `compile(optax.adam(1e-3))` makes of it."""

    def __init__(self, transformation: optax.GradientTransformation, name: str | None = None) -> None:
        super().__init__(0.0, name=name)
        self.transformation = transformation
        self._state: list[Variable] = []
        self._structure: Any = None

    def build(self, variables: Sequence[Variable]) -> None:
        """Keep the transformation's state; for other variables it starts anew."""
        super().build(variables)
        state = self.transformation.init([variable._value for variable in self._trained])
        named, self._structure = jax.tree.flatten_with_path(state)
        known = {id(variable) for variable in self._state}
        self._variables = [variable for variable in self._variables if id(variable) not in known]
        self._state = [self._track(value, jax.tree_util.keystr(path).strip(".[]") or "state") for path, value in named]

    def _advance(self, grads: list[Any], variables: list[Variable]) -> None:
        """The transformation has all variables it was built for; those without a gradient have one of zeros."""
        by_variable = {id(variable): g for g, variable in zip(grads, variables, strict=True)}
        values = [variable.value for variable in self._trained]
        given = [
            by_variable.get(id(variable), jnp.zeros_like(value))
            for variable, value in zip(self._trained, values, strict=True)
        ]
        state = jax.tree.unflatten(self._structure, [slot.value for slot in self._state])
        updates, state = self.transformation.update(given, state, values)
        for variable, value, added in zip(self._trained, values, updates, strict=True):
            if id(variable) in by_variable:
                variable.assign((value + added).astype(variable.dtype))
        for slot, value in zip(self._state, jax.tree.leaves(state), strict=True):
            slot.assign(value)
