"""The base of metrics: variables that take in batch after batch, and the means that most metrics are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self

import jax.numpy as jnp

from lamella.core.config import Configurable, generic_init
from lamella.core.dtypes import get_policy
from lamella.core.errors import ShapeError
from lamella.core.masked import mask_of, value_of
from lamella.core.naming import automatic_name, snake_case
from lamella.core.registry import Registry
from lamella.core.settings import floatx
from lamella.core.values import full
from lamella.core.variable import Variable, pure
from lamella.parts import initializers
from lamella.parts.identify import find
from lamella.parts.loss import apply_mask, divide
from lamella.parts.loss_functions import losses
from lamella.parts.metric_functions import functions
from lamella.parts.shapes import as_array, same_rank

metrics = Registry("metric")


@metrics.register("metric")
class Metric(Configurable):
    """A number that follows a run: `update_state` takes a batch, `result` answers, `reset_state` forgets.

    A subclass makes its variables with `add_variable`, reads and assigns them, in compiled steps too.

    >>> class Largest(Metric):
    ...     def __init__(self, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.value = self.add_variable((), "zeros")
    ...     def update_state(self, values):
    ...         self.value.assign(jnp.maximum(self.value, jnp.max(values)))
    ...     def result(self):
    ...         return self.value.value
    >>> float(Largest()(jnp.array([1.0, 3.0])))
    3.0
    """

    keras_module: ClassVar[str] = "keras.metrics"
    default_dtype: ClassVar[str | None] = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls, *args, **kwargs)
        self.name = snake_case(cls.__name__)
        self.dtype = floatx()
        return self

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self._prepare(name, dtype)

    def _prepare(self, name: str | None, dtype: Any) -> None:
        self.name = name or automatic_name(type(self).__name__)
        self.dtype = get_policy(dtype or self.default_dtype or floatx()).compute_dtype

    def add_variable(
        self,
        shape: Sequence[int] = (),
        initializer: Any = "zeros",
        dtype: Any = None,
        aggregation: Any = None,
        name: str | None = None,
    ) -> Variable:
        """Make a variable of the metric's state; assign it to an attribute."""
        made = initializers.get("zeros" if initializer is None else initializer)
        return Variable(made, shape, dtype or self.dtype, trainable=False, name=name or "variable")

    def add_weight(
        self, shape: Sequence[int] = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> Variable:
        """Make a variable of the metric's state, as `add_variable` does."""
        return self.add_variable(shape, initializer, dtype, name=name)

    @property
    def variables(self) -> list[Variable]:
        """The state: the variables among the attributes, and those of metrics among them."""
        return list(dict.fromkeys(_variables_in(list(vars(self).values()))))

    def build(self, y_true_shape: Any, y_pred_shape: Any) -> None:
        """Make variables whose shapes follow from the data's; most metrics have none."""

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take a batch in."""
        raise NotImplementedError(f"{type(self).__name__} does not define `update_state`.")

    def result(self) -> Any:
        """Return the value for everything taken in since the last reset."""
        raise NotImplementedError(f"{type(self).__name__} does not define `result`.")

    def reset_state(self) -> None:
        """Forget everything taken in."""
        for variable in self.variables:
            variable.assign(full(variable.shape, variable.dtype, 0))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Take a batch in and return the value so far."""
        self.update_state(*args, **kwargs)
        return self.result()

    def stateless_update_state(self, metric_variables: Sequence[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Return the values of the variables after a batch; the metric itself stays as it is."""
        return list(pure(self.update_state, self.variables)(metric_variables, *args, **kwargs)[1])

    def stateless_result(self, metric_variables: Sequence[Any]) -> Any:
        """Return the result that these values of the variables give."""
        return pure(self.result, self.variables)(metric_variables)[0]

    def stateless_reset_state(self) -> list[Any]:
        """Return the values of the variables before the first batch."""
        return list(pure(self.reset_state, self.variables)([v.value for v in self.variables])[1])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def _variables_in(values: Any) -> Iterator[Variable]:
    for value in values:
        if isinstance(value, Variable):
            yield value
        elif isinstance(value, Metric):
            yield from value.variables
        elif isinstance(value, list | tuple):
            yield from _variables_in(value)
        elif isinstance(value, dict):
            yield from _variables_in(value.values())


class DeclaredMetric(Metric):
    """A metric whose arguments are fields."""

    name: Any
    dtype: Any

    @generic_init
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._set_fields(args, kwargs)

    def __post_init__(self) -> None:
        self._prepare(self.name, self.dtype)


def per_sample(values: Any, weights: Any, reduce: Callable[..., Any], dtype: Any) -> tuple[Any, Any]:
    """Reduce values to one (weighted) number a sample, and the weights likewise; no weights are ones.

    Weights of fewer axes go with the values' first ones: (batch,) beside (batch, time). What a mask that comes with the
    values hides weighs nothing.
    """
    weights = apply_mask(weights, mask_of(values), dtype)
    values = as_array(value_of(values), dtype)
    if weights is None:
        weights = jnp.ones_like(values)
    else:
        values, weights = same_rank(values, as_array(weights, dtype))
        if weights.ndim > values.ndim:
            raise ShapeError(f"Weights of shape {weights.shape} do not fit values of shape {values.shape}.")
        values = reduce(values, axis=tuple(range(weights.ndim, values.ndim)))
        weights = jnp.broadcast_to(weights, values.shape)
    rest = tuple(range(1, values.ndim))
    return reduce(values * weights, axis=rest), reduce(weights, axis=rest)


@metrics.register("sum")
class Sum(DeclaredMetric):
    """The (weighted) sum of all values.

    >>> float(Sum()([1.0, 2.0, 3.0], sample_weight=[1, 1, 0]))
    3.0
    """

    name: str = "sum"
    dtype: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.total = self.add_variable(name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values of any shape."""
        self.total.assign_add(jnp.sum(per_sample(values, sample_weight, jnp.sum, self.dtype)[0]))

    def result(self) -> Any:
        """Return the sum."""
        return self.total.value


class Averaged(DeclaredMetric):
    """The (weighted) mean over samples of what `values` gives for targets and predictions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_state()

    def _make_state(self) -> None:
        self.total = self.add_variable(name="total")
        self.count = self.add_variable(name="count")

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value of each sample (and step)."""
        raise NotImplementedError

    def add(self, values: Any, sample_weight: Any = None) -> None:
        """Take values in."""
        values, weights = per_sample(values, sample_weight, jnp.mean, self.dtype)
        self.total.assign_add(jnp.sum(values))
        self.count.assign_add(jnp.sum(weights))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take a batch in; what a mask that comes with the predictions hides is not counted."""
        sample_weight = apply_mask(sample_weight, mask_of(y_pred), self.dtype)
        self.add(self.values(as_array(y_true), as_array(value_of(y_pred))), sample_weight)

    def result(self) -> Any:
        """Return the mean; 0 before the first batch."""
        return divide(self.total.value, self.count.value)


@metrics.register("mean")
class Mean(Averaged):
    """The (weighted) mean of all values.

    >>> float(Mean()([1.0, 3.0, 8.0], sample_weight=[1, 1, 0]))
    2.0
    """

    name: str = "mean"
    dtype: Any = None

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Take values of any shape in."""
        self.add(values, sample_weight)


@metrics.register("mean_metric_wrapper")
class MeanMetricWrapper(Averaged):
    """The mean of a function of targets and predictions; other keywords go to the function."""

    def __init__(self, fn: Any, name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        self.fn = _function(fn)
        self._keywords = kwargs
        self._prepare(name, dtype)
        self._make_state()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a metric from `get_config`'s answer."""
        return cls(**{**config, "fn": _function(config["fn"])})

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the function's values."""
        return self.fn(y_true, y_pred, **self._keywords)


def _function(given: Any) -> Any:
    """Return the function that a name, a config or a callable stands for: a metric's or a loss's."""
    name = given.get("config") if isinstance(given, dict) else given
    return find(given, functions if isinstance(name, str) and name in functions else losses, "keras.metrics")
