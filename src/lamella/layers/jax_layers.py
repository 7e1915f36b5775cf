"""JaxLayer and FlaxLayer: models of plain JAX and of Flax as layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.dtypes import is_float
from lamella.core.errors import ArgumentError
from lamella.core.seeds import SeedGenerator, draw_key
from lamella.core.variable import Variable
from lamella.layers.layer import Layer, map_shapes
from lamella.parts import initializers


class JaxLayer(Layer):
    """A pure JAX function as a layer: `call_fn(params, state, rng, inputs, training)`, those of them that it names.

    It returns the outputs, and the new state if it takes one. `init_fn(rng, inputs, training)` returns params, and the
    state if there is one, as structures of arrays; or the values are given. `rng` is a key in training, else None.

    >>> import numpy as np
    >>> def init(rng, inputs): return {"w": jax.random.normal(rng, (inputs.shape[-1], 3))}
    >>> def call(params, inputs): return inputs @ params["w"]
    >>> layer = JaxLayer(call, init)
    >>> layer(np.ones((2, 5), "float32")).shape, [weight.shape for weight in layer.trainable_weights]
    ((2, 3), [(5, 3)])
    """

    def __init__(
        self,
        call_fn: Callable[..., Any],
        init_fn: Callable[..., Any] | None = None,
        params: Any = None,
        state: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_up(call_fn, init_fn, params, state, seed)

    def _set_up(self, call_fn: Any, init_fn: Any, params: Any, state: Any, seed: int | None) -> None:
        self.call_fn, self.init_fn = call_fn, init_fn
        self._call_takes = _named(call_fn, "call_fn", ("params", "state", "rng", "inputs", "training"))
        self._init_takes = _named(init_fn, "init_fn", ("rng", "inputs", "training")) if init_fn else ()
        if init_fn is None and params is None and state is None and {"params", "state"} & set(self._call_takes):
            raise ArgumentError(
                f"{type(self).__name__}: call_fn takes params or state, and there is nothing to get them from.",
                mend="init_fn=..., or params=... and state=...",
            )
        self.seed_generator = SeedGenerator(seed) if "rng" in self._call_takes else None
        self.params, self.state = self._variables(params, True), self._variables(state, False)

    def _variables(self, values: Any, trainable: bool) -> Any:
        def variable(value: Any) -> Any:
            if not isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float):
                return value
            array = jnp.asarray(value)
            dtype = None if is_float(array.dtype.name) else array.dtype.name
            return self.add_weight(array.shape, initializers.get(array), dtype, trainable)

        return jax.tree.map(variable, values)

    def build(self, input_shape: Any) -> None:
        if self.params is not None or self.state is not None or not {"params", "state"} & set(self._call_takes):
            return
        known = {
            "rng": self._first_rng() if "rng" in self._init_takes else None,
            "inputs": map_shapes(lambda shape: jnp.ones([1 if size is None else size for size in shape]), input_shape),
            "training": True,
        }
        made = self.init_fn(*(known[name] for name in self._init_takes))
        params, state = made if "state" in self._call_takes else (made, None)
        self.params, self.state = self._variables(params, True), self._variables(state, False)

    def _first_rng(self) -> Any:
        return draw_key(None)

    def _rng(self, training: Any) -> Any:
        return self.seed_generator.next() if training and self.seed_generator is not None else None

    def call(self, inputs: Any, training: Any = False) -> Any:
        known = {
            "params": _values(self.params),
            "state": _values(self.state),
            "rng": self._rng(training),
            "inputs": inputs,
            "training": training,
        }
        outputs = self.call_fn(*(known[name] for name in self._call_takes))
        if "state" not in self._call_takes:
            return outputs
        outputs, state = outputs
        try:
            jax.tree.map(lambda new, variable: variable.assign(new), state, self.state)
        except ValueError as error:
            raise ArgumentError(
                f"{type(self).__name__}: call_fn returns a state of another structure than it takes."
            ) from error
        return outputs


class FlaxLayer(JaxLayer):
    """A `flax.linen.Module` as a layer: its "params" are trained, its other collections are state.

    `method` is called in place of the module's `__call__`, with the inputs and, if it takes it, `training`. `variables`
    are the module's own, if it has been initialized. What counts of a module is its `init` and its `apply`; Flax itself
    is not needed here.
    """

    def __init__(self, module: Any, method: Any = None, variables: Any = None, **kwargs: Any) -> None:
        seed = kwargs.pop("seed", None)
        Layer.__init__(self, **kwargs)
        if not (hasattr(module, "init") and hasattr(module, "apply")):
            raise ArgumentError(f"FlaxLayer takes a flax.linen.Module, got {type(module).__name__}.")
        self.module, self.method = module, method
        called = getattr(module, method) if isinstance(method, str) else method or module.__call__
        trains = "training" in inspect.signature(called).parameters

        def apply(params: Any, state: Any, rng: Any, inputs: Any, training: Any) -> Any:
            mode = {"training": training} if trains else {}
            return module.apply({**params, **state}, inputs, rngs=rng, method=method, mutable=[*state], **mode)

        def first(rng: Any, inputs: Any, training: Any) -> Any:
            return _split(module.init(rng, inputs, method=method, **({"training": training} if trains else {})))

        params, state = (None, None) if variables is None else _split(variables)
        self._set_up(apply, first, params, state, seed)

    def _first_rng(self) -> Any:
        return {"params": draw_key(None), "dropout": draw_key(None)}

    def _rng(self, training: Any) -> Any:
        return {"dropout": super()._rng(training)} if training else {}


def _split(variables: Any) -> tuple[Any, Any]:
    """Return the trained collection of a module's variables, and the others."""
    params = {"params": variables["params"]} if "params" in variables else {}
    return params, {name: values for name, values in variables.items() if name != "params"}


def _values(structure: Any) -> Any:
    def value(leaf: Any) -> Any:
        return leaf.value if isinstance(leaf, Variable) else leaf

    return jax.tree.map(value, structure, is_leaf=lambda leaf: isinstance(leaf, Variable))


def _named(function: Any, argument: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(inspect.signature(function).parameters)
    unknown = [name for name in names if name not in allowed]
    if unknown or "inputs" not in names:
        raise ArgumentError(
            f"JaxLayer: {argument} takes `inputs` and any of {', '.join(allowed)}; got {', '.join(names) or 'nothing'}."
        )
    return names
