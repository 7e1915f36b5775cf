"""Optimizer, the base of all optimizers: gradients in, new values of variables out."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from lamella import kernels, ops
from lamella.core.config import Configurable, fields_of, generic_init, serialize
from lamella.core.errors import ArgumentError, NotBuiltError, did_you_mean
from lamella.core.naming import automatic_name
from lamella.core.registry import Registry
from lamella.core.values import full
from lamella.core.variable import Frame, Variable
from lamella.parts import initializers
from lamella.parts.schedules import LearningRateSchedule

optimizers = Registry("optimizer")
Slots = dict[str, Any]

# What every optimizer takes, after what it takes alone.
COMMON: dict[str, Any] = {
    "weight_decay": None,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
    "name": None,
}


class Optimizer(Configurable):
    """The base: gradients in, new values of variables out.

    A subclass declares its arguments as fields, names its `slots` (arrays kept for each variable, in groups that stand
    together in `variables`) and writes `rule`; or it writes `build` and `update_step`, as in Keras. `learning_rate` is
    a number, which may be assigned at any time, or a schedule of the step.

    Gradients are clipped first, in one way: each by its norm (`clipnorm`), all by their norm (`global_clipnorm`), or
    by value (`clipvalue`). `weight_decay` shrinks the variables apart from the gradients (Loshchilov and Hutter,
    "Decoupled Weight Decay Regularization", ICLR 2019). With `gradient_accumulation_steps` variables move once in so
    many steps, by the mean of their gradients. `use_ema` keeps a moving average of the variables, which they take on
    every `ema_overwrite_frequency` steps and at the end of `fit`. `loss_scale_factor` multiplies the loss and divides
    the gradients, so that small ones survive in float16.

    >>> weight = Variable([1.0, 2.0])
    >>> class Descent(Optimizer):
    ...     def rule(self, g, value, slots, rate, step):
    ...         return value - rate * g, {}
    >>> Descent(0.5).apply([jnp.ones(2)], [weight])
    >>> weight.numpy().tolist()
    [0.5, 1.5]
    """

    keras_module: ClassVar[str] = "keras.optimizers"
    slots: ClassVar[tuple[tuple[str, ...], ...]] = ()
    # Defaults other than those of most, and the arguments that come first.
    defaults: ClassVar[dict[str, Any]] = {}
    leading: ClassVar[tuple[str, ...]] = ("learning_rate",)
    # Whether `rule` leaves a weight and its slots alone where the gradient is 0.
    still: ClassVar[bool] = False
    weight_decay: float | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if {"rule", "update_step", "apply"} & vars(cls).keys() and "still" not in vars(cls):
            cls.still = False
        if cls.__init__ is Optimizer.__init__:
            cls.__signature__ = _signature(cls)  # type: ignore[attr-defined]

    @generic_init
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = _bound(type(self), args, kwargs)
        learning_rate, name = given.pop("learning_rate"), given.pop("name")
        self.name = name or automatic_name(type(self).__name__)
        self.built = False
        self._variables: list[Variable] = []
        self._trained: list[Variable] = []
        self._kept: dict[Variable, dict[str, Variable]] = {}
        self._averages: dict[Variable, Variable] = {}
        self._sums: dict[Variable, Variable] = {}
        self._undecayed: set[Variable] = set()
        self._undecayed_names: str | None = None
        self._iterations = self.add_variable((), dtype="int32", name="iteration")
        self._schedule = learning_rate if callable(learning_rate) else None
        start = 0.0 if self._schedule else float(learning_rate)
        self._rate = Variable(start, dtype="float32", trainable=False, name="learning_rate")
        self._rate.path = f"{self.name}/learning_rate"
        if self._schedule is None:
            self._variables.append(self._rate)
        for argument in COMMON:
            if argument != "name":
                setattr(self, argument, given.pop(argument))
        _check(self)
        self._set_fields((), given)

    # -- what subclasses write --------------------------------------------------------------------------------

    def first(self, slot: str, variable: Variable) -> Any:
        """Return a slot's first value for a variable; None where the variable has no such slot."""
        return full(variable.shape, variable.dtype, 0)

    def slot_name(self, slot: str, variable: Variable) -> str:
        """Return the name of the variable that holds a slot."""
        return f"{variable.path.replace('/', '_')}_{slot}"

    def begin(self, step: Any) -> None:
        """Update what all variables share, before each of them is updated; steps count from 1."""

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """Return the new value of a variable, and its new slots, for its gradient; steps count from 1."""
        raise NotImplementedError(f"{type(self).__name__} defines neither `rule` nor `update_step`.")

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        """Give a variable, and what is kept for it, new values."""
        slots = self._kept.get(variable, {})
        rows = gradient if isinstance(gradient, kernels.Rows) else None
        now = {name: _taken(slot, rows) for name, slot in slots.items()}
        g = gradient if rows is None else rows.sums
        value, new = self.rule(g, _taken(variable, rows), now, learning_rate, self._step())
        _put(variable, rows, jnp.asarray(value, variable.dtype))
        for name, array in new.items():
            _put(slots[name], rows, array)

    # -- state ------------------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the present step."""
        if self._schedule is None:
            return self._rate
        if isinstance(self._schedule, LearningRateSchedule) or inspect.signature(self._schedule).parameters:
            return self._schedule(self._iterations.value)
        return self._schedule()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if not callable(value):
            self._rate.assign(value)
        self._schedule = value if callable(value) else None
        others = [variable for variable in self._variables if variable is not self._rate]
        self._variables = others if self._schedule else [others[0], self._rate, *others[1:]]

    @property
    def iterations(self) -> Any:
        """How many updates there were: the steps, or the full rounds of `gradient_accumulation_steps`."""
        rounds = self.gradient_accumulation_steps
        return self._iterations.value // rounds if rounds else self._iterations

    def _step(self) -> Any:
        return (jnp.asarray(self.iterations) + 1).astype("float32")

    @property
    def variables(self) -> list[Variable]:
        """The step count, the learning rate and what is kept for each trained variable."""
        return list(self._variables)

    def build(self, variables: Sequence[Variable]) -> None:
        """Make what is kept for the variables to train; those that are known keep theirs."""
        new = [variable for variable in variables if variable not in self._kept]
        self._trained += new
        self._kept.update({variable: {} for variable in new})
        self._averages.update(self._beside(new, "average" if self.use_ema else None))
        rounds = self.gradient_accumulation_steps
        self._sums.update(self._beside(new, "gradient_accumulator" if rounds else None))
        for group in self.slots:
            for variable, slot in ((variable, slot) for variable in new for slot in group):
                value = self.first(slot, variable)
                if value is not None:
                    self._kept[variable][slot] = self._track(value, self.slot_name(slot, variable))
        self.built = True

    def ensure_built(self, variables: Sequence[Variable]) -> None:
        """Build for variables that are not known yet."""
        if any(variable not in self._kept for variable in variables):
            self.build(variables)
        unknown = [variable.path for variable in variables if variable not in self._kept]
        if unknown:
            raise ArgumentError(
                f"{type(self).__name__} was built for other variables; it does not know {', '.join(unknown)}.",
                mend="a new optimizer for a new set of variables",
            )

    def _beside(self, variables: Sequence[Variable], name: str | None) -> dict[Variable, Variable]:
        """Return a variable of zeros beside each variable."""
        if name is None:
            return {}
        made = self.add_optimizer_variables(variables, name)
        return dict(zip(variables, made, strict=True))

    def add_variable(
        self, shape: Sequence[int], initializer: Any = "zeros", dtype: Any = None, name: str = "variable"
    ) -> Variable:
        """Keep an array with the optimizer."""
        return self._track(initializers.get(initializer), name, shape, dtype)

    def add_variable_from_reference(
        self, reference_variable: Variable, name: str | None = None, initializer: Any = "zeros"
    ) -> Variable:
        """Keep an array of a variable's shape and dtype."""
        label = self.slot_name(name or "var", reference_variable)
        return self.add_variable(reference_variable.shape, initializer, reference_variable.dtype, label)

    def add_optimizer_variables(
        self, trainable_variables: Sequence[Variable], name: Any, initializer: Any = "zeros"
    ) -> Any:
        """Keep an array beside each variable; for several names, a tuple of lists."""
        names = [name] if isinstance(name, str) else list(name)
        first = initializer if isinstance(initializer, list | tuple) else [initializer] * len(names)
        if len(first) != len(names):
            raise ArgumentError(f"There are {len(first)} initializers for {len(names)} names.")
        rows = [
            [self.add_variable_from_reference(variable, *pair) for pair in zip(names, first, strict=True)]
            for variable in trainable_variables
        ]
        columns = tuple([row[place] for row in rows] for place in range(len(names)))
        return columns[0] if isinstance(name, str) else columns

    def _track(self, value: Any, name: str, shape: Any = None, dtype: Any = None) -> Variable:
        variable = Variable(value, shape, dtype, trainable=False, autocast=False, name=name)
        variable.path = f"{self.name}/{name}"
        self._variables.append(variable)
        return variable

    def assign(self, variable: Variable, value: Any) -> None:
        """Give a variable a new value."""
        variable.assign(value)

    def assign_add(self, variable: Variable, value: Any) -> None:
        """Add to a variable."""
        variable.assign_add(value)

    def assign_sub(self, variable: Variable, value: Any) -> None:
        """Subtract from a variable."""
        variable.assign_sub(value)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Give `variables` new values, in their order."""
        if not self.built:
            raise NotBuiltError("The optimizer keeps nothing yet.", mend="optimizer.build(model.trainable_variables)")
        for variable, value in zip(self.variables, weights, strict=True):
            variable.assign(value)

    def save_own_variables(self, store: Any) -> None:
        """Put `variables` into `store`, which takes arrays by name."""
        for place, variable in enumerate(self.variables):
            store[str(place)] = variable

    def load_own_variables(self, store: Any) -> None:
        """Take `variables` from `store`, which has arrays by name: the first ones alone if no step was taken."""
        for place, variable in enumerate(self.variables[: len(store)]):
            variable.assign(store[str(place)])

    @property
    def takes_rows(self) -> bool:
        """Whether the rows of a table that a step looked up are all that the step has to change."""
        every = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor")
        return self.still and not (
            self.use_ema or self.gradient_accumulation_steps or any(getattr(self, name) for name in every)
        )

    # -- a step -----------------------------------------------------------------------------------------------

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Variable] | None = None) -> None:
        """Take one step: new values for the variables (those of `build` if none are given)."""
        variables = list(self._trained if trainable_variables is None else trainable_variables)
        if len(grads) != len(variables):
            raise ArgumentError(f"There are {len(grads)} gradients for {len(variables)} variables.")
        self.ensure_built(variables)
        pairs = [(g, variable) for g, variable in zip(grads, variables, strict=True) if g is not None]
        if grads and not pairs:
            raise ArgumentError("There is no gradient for any variable.")
        variables = [variable for _, variable in pairs]
        scale = self.loss_scale_factor
        given = [g if isinstance(g, kernels.Rows) else _unscaled(jnp.asarray(g), scale) for g, _ in pairs]
        if self.gradient_accumulation_steps:
            self._gather(given, variables)
        else:
            self._advance(given, variables)
        if self.use_ema:
            self._average(variables)
        for variable in variables:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable.value))
        self._iterations.assign_add(1)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> Variable:
        """Take one step for pairs (gradient, variable); return the step count."""
        grads, variables = zip(*grads_and_vars, strict=True)
        self.apply(grads, variables)
        return self._iterations

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Return the new values of the trained and of the optimizer's variables for values of both: a pure function."""
        if not self.built:
            raise NotBuiltError("The optimizer keeps nothing yet.", mend="optimizer.build(model.trainable_variables)")
        state, trained = self.variables, self._trained
        with Frame([*trained, *state], [*trainable_variables, *optimizer_variables]) as frame:
            self.apply(grads, trained)
            return [frame.values[id(v)] for v in trained], [frame.values[id(v)] for v in state]

    def _advance(self, grads: list[Any], variables: list[Variable]) -> None:
        """Clip, decay, and update each variable."""
        clipped = self._clip(grads)
        rate = jnp.asarray(self.learning_rate, "float32")
        for variable in variables:
            decay = self.decay_of(variable)
            if decay:
                variable.assign(variable.value - variable.value * jnp.asarray(decay * rate, variable.dtype))
        self.begin(self._step())
        for g, variable in zip(clipped, variables, strict=True):
            self.update_step(g, variable, rate)

    def _gather(self, grads: list[Any], variables: list[Variable]) -> None:
        """Add up the gradients; advance by their mean at the end of a round."""
        rounds = self.gradient_accumulation_steps or 1
        sums = [self._sums[variable] for variable in variables]

        def advance() -> None:
            self._advance([(g + total.value) / rounds for g, total in zip(grads, sums, strict=True)], variables)
            for total in sums:
                total.assign(jnp.zeros(total.shape, total.dtype))

        def wait() -> None:
            for g, total in zip(grads, sums, strict=True):
                total.assign_add(g)

        either((self._iterations.value + 1) % rounds == 0, advance, wait)

    def _average(self, variables: list[Variable]) -> None:
        """Move the averages towards the variables; every so many steps, put them in their place."""
        often = self.ema_overwrite_frequency
        now = jnp.asarray(self.iterations)
        momentum = jnp.where(now != 0, self.ema_momentum, 0.0)
        for variable in variables:
            average = self._averages[variable]
            average.assign(momentum * average.value + (1 - momentum) * variable.value)
            if often:
                variable.assign(jnp.where((now + 1) % often == 0, average.value, variable.value))

    def _clip(self, grads: list[Any]) -> list[Any]:
        if self.clipvalue:
            return [jnp.clip(g, -self.clipvalue, self.clipvalue) for g in grads]
        if self.global_clipnorm:
            return list(optax.clip_by_global_norm(self.global_clipnorm).update(grads, optax.EmptyState())[0])
        return [_clipped(g, self.clipnorm) for g in grads] if self.clipnorm else grads

    def decay_of(self, variable: Variable) -> float | None:
        """Return the weight decay of a variable."""
        names = self._undecayed_names
        named = names is not None and re.search(names, variable.name)
        return None if named or variable in self._undecayed else self.weight_decay

    def exclude_from_weight_decay(self, var_list: Sequence[Any] | None = None, var_names: Any = None) -> None:
        """Leave variables, or those whose names match one of some patterns, out of the weight decay."""
        self._undecayed = set(var_list or ())
        self._undecayed_names = "|".join(var_names) if var_names else None

    def scale_loss(self, loss: Any) -> Any:
        """Return the loss that gradients are taken of: times `loss_scale_factor`, which `apply` divides out again."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        """Put the moving averages in the variables' place, if there are any; `fit` does so at its end."""
        if self.use_ema:
            for variable in var_list:
                # In memory of its own: a step donates that of every variable.
                variable.assign(jnp.array(self._averages[variable].value, copy=True))

    @property
    def averages(self) -> list[tuple[Variable, Variable]]:
        """The trained variables with their moving averages."""
        return [(variable, self._averages[variable]) for variable in self._trained if self.use_ema]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, with the learning rate as it is now."""
        rate = float(self._rate) if self._schedule is None else serialize(self._schedule)
        common = {"name": self.name, "learning_rate": rate, **{name: getattr(self, name) for name in COMMON}}
        own = super().get_config()
        if type(self).__init__ is not Optimizer.__init__:
            parameters = inspect.signature(type(self).__init__).parameters
            free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
            common = {key: value for key, value in common.items() if free or key in parameters}
        return {**own, **common}


def either(condition: Any, yes: Callable[[], None], no: Callable[[], None]) -> None:
    """Do one of two things: here and now if the condition is known, else inside the program being traced."""
    if isinstance(condition, jax.core.Tracer):
        ops.cond(condition, yes, no)
    else:
        (yes if bool(condition) else no)()


def _arguments(cls: type[Optimizer]) -> dict[str, Any]:
    """Return the arguments of an optimizer and their defaults, in Keras's order."""
    own = {field.name: field.default for field in fields_of(cls)}
    known = {"learning_rate": 0.001, **own, **COMMON, **cls.defaults}
    return {name: known[name] for name in dict.fromkeys((*cls.leading, *own, *known))}


def _signature(cls: type[Optimizer]) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, kind, default=value) for name, value in _arguments(cls).items()])


def _bound(cls: type[Optimizer], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the value of each argument."""
    known = _arguments(cls)
    unknown = next((name for name in kwargs if name not in known), None)
    if unknown is not None:
        raise ArgumentError(f"{cls.__name__} has no argument {unknown!r}.{did_you_mean(unknown, known)}")
    try:
        given = _signature(cls).bind(*args, **kwargs).arguments
    except TypeError as error:
        raise ArgumentError(f"{cls.__name__}: {error}.") from error
    return {**known, **given}


def _check(optimizer: Optimizer) -> None:
    clipping = [name for name in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(optimizer, name) is not None]
    if len(clipping) > 1:
        raise ArgumentError(f"Gradients are clipped in one way; got {' and '.join(clipping)}.")
    rounds, often = optimizer.gradient_accumulation_steps, optimizer.ema_overwrite_frequency
    if rounds and rounds < 2:
        raise ArgumentError(f"gradient_accumulation_steps is at least 2, or None; got {rounds}.")
    if optimizer.use_ema and not 0 <= optimizer.ema_momentum <= 1:
        raise ArgumentError(f"ema_momentum lies between 0 and 1, got {optimizer.ema_momentum}.")
    if optimizer.use_ema and often and (not isinstance(often, int) or often < 1):
        raise ArgumentError(f"ema_overwrite_frequency is a number of steps, at least 1, or None; got {often!r}.")


def _clipped(g: Any, most: float) -> Any:
    norm = jnp.sqrt(jnp.sum(jnp.square(g)))
    return jnp.where(norm > most, g * (most / jnp.maximum(norm, 1e-30)), g)


def _unscaled(g: jax.Array, scale: float | None) -> jax.Array:
    return g if scale is None else g / scale


def _taken(variable: Variable, rows: kernels.Rows | None) -> Any:
    return variable.value if rows is None else rows.take(variable.value)


def _put(variable: Variable, rows: kernels.Rows | None, value: Any) -> None:
    variable.assign(value if rows is None else rows.put(variable.value, value))
