"""Weights: made by `add_weight`, found by walking attributes, counted, copied and penalized."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from lamella.core.axes import as_shape
from lamella.core.calls import present_call
from lamella.core.errors import ArgumentError, NotBuiltError, ShapeError
from lamella.core.seeds import SeedGenerator
from lamella.core.structure import leaves_of
from lamella.core.variable import Variable, in_frame, under_jit
from lamella.layers import tree
from lamella.layers.state import State, reserved
from lamella.parts import constraints, initializers, regularizers


class HasWeights:
    """What has weights of its own and things inside that have weights: layers and models."""

    _state: State
    _trainable: bool
    name: str
    built: bool
    if TYPE_CHECKING:

        @property
        def variable_dtype(self) -> str: ...

    def add_weight(
        self,
        shape: Any = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: str | None = None,
        overwrite_with_gradient: bool = False,
        name: str | None = None,
    ) -> Variable:
        """Make a variable that belongs to the layer: trained, saved and counted with it."""
        if isinstance(shape, str):
            raise ArgumentError(f"add_weight takes the shape first, got {shape!r}.", mend="add_weight(shape=(3,))")
        dims = as_shape(() if shape is None else shape)
        if None in dims:
            raise ShapeError(
                f"The weight {name!r} of {self.name!r} would have the shape {dims}: an axis that it depends on is not "
                "known yet.",
                mend="a fixed size for that axis in Input(shape=...)",
            )
        variable = Variable(
            initializers.get(initializer or "glorot_uniform"),
            dims,  # type: ignore[arg-type]
            dtype or self.variable_dtype,
            trainable=trainable,
            autocast=autocast,
            name=name or f"variable{len(self._state.own) or ''}",
            regularizer=regularizers.get(regularizer),
            constraint=constraints.get(constraint),
        )
        variable.path = f"{self.name}/{variable.name}"
        self._state.own.append(variable)
        return variable

    def _add_declared(self, name: str, shape: tuple[Any, ...], group: str = "", **options: Any) -> Variable:
        """Make the weight whose arguments are `<name>_initializer` and so on, or `<group>_initializer`."""
        group = group or name
        parts = {part: getattr(self, f"{group}_{part}", None) for part in ("initializer", "regularizer", "constraint")}
        return self.add_weight(shape, name=name, **{**parts, **options})

    def _name_weights(self, path: tuple[str, ...]) -> None:
        for variable in self._state.own:
            variable.path = "/".join((*path, variable.name))

    def _own_variables(self) -> list[Variable]:
        """The layer's own variables, those made trainable first, as files have them; freezing one moves none."""
        found = {id(v): v for v in (*self._state.own, *tree.children(self, Variable))}
        return sorted(found.values(), key=lambda variable: not variable.made_trainable)

    def _layers_inside(self) -> list[Any]:
        return tree.children(self, HasWeights)

    def _flatten_layers(self, include_self: bool = True, recursive: bool = True) -> Iterator[Any]:
        """Yield this layer and the layers in it."""
        if include_self:
            yield self
        for layer in self._layers_inside():
            if recursive:
                yield from layer._flatten_layers()
            else:
                yield layer

    @reserved
    def weights(self) -> list[Variable]:
        """All weights: the layer's own (trainable ones first), then those of the layers in it."""
        found = [*self._own_variables(), *(w for layer in self._layers_inside() for w in layer.weights)]
        return list(dict.fromkeys(found))

    @reserved
    def trainable_weights(self) -> list[Variable]:
        """The weights that training changes."""
        if not self._trainable:
            return []
        own = [variable for variable in self._own_variables() if variable.trainable]
        inside = [w for layer in self._layers_inside() for w in layer.trainable_weights]
        return list(dict.fromkeys([*own, *inside]))

    @reserved
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that training leaves alone: statistics, and everything frozen."""
        trained = set(self.trainable_weights)
        return [weight for weight in self.weights if weight not in trained]

    @reserved
    def variables(self) -> list[Variable]:
        """All weights and the states of random generators."""
        states = [g.state for layer in self._flatten_layers() for g in tree.children(layer, SeedGenerator)]
        return list(dict.fromkeys([*self.weights, *states]))

    @reserved
    def trainable_variables(self) -> list[Variable]:
        """The variables that training changes."""
        return self.trainable_weights

    @reserved
    def non_trainable_variables(self) -> list[Variable]:
        """The variables that the optimizer leaves alone, random states included."""
        trained = set(self.trainable_weights)
        return [variable for variable in self.variables if variable not in trained]

    def get_weights(self) -> list[Any]:
        """Return the weights as NumPy arrays."""
        return [weight.numpy() for weight in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Give the weights new values, all of which are checked before the first is changed."""
        own = self.weights
        if len(own) != len(weights):
            raise ShapeError(f"{self.name!r} has {len(own)} weights, got {len(weights)} arrays.")
        arrays = [jnp.asarray(array) for array in weights]
        for variable, array in zip(own, arrays, strict=True):
            if variable.shape != array.shape:
                raise ShapeError(f"The weight {variable.path!r} has shape {variable.shape}, got {array.shape}.")
        for variable, array in zip(own, arrays, strict=True):
            variable.assign(array)

    def _kept_variables(self) -> list[Variable]:
        """The layer's own variables as files number them."""
        return self._own_variables()

    def save_own_variables(self, store: Any) -> None:
        """Put the layer's own variables into `store`, which takes arrays by name: `store["0"] = self.kernel`."""
        for place, variable in enumerate(self._kept_variables()):
            store[str(place)] = variable

    def load_own_variables(self, store: Any) -> None:
        """Take the layer's own variables from `store`, which has arrays by name."""
        for place, variable in enumerate(self._kept_variables()):
            variable.assign(store[str(place)])

    def count_params(self) -> int:
        """Return the number of elements in all weights."""
        if not self.built and not self.weights:
            raise NotBuiltError(
                f"The layer {self.name!r} has no weights yet: it does not know its input's shape.",
                mend="layer.build((None, 5)), or call it on data, or input_shape=(5,)",
            )
        return sum(weight.size for weight in self.weights)

    def add_loss(self, loss: Any) -> None:
        """Add a scalar, or each of several, to the training loss, from inside `call`."""
        call = present_call()
        for scalar in leaves_of(loss):
            if not in_frame() and not under_jit():
                self._state.losses.append(scalar)
            if call is not None:
                call.leave(scalar, self)

    @reserved
    def losses(self) -> list[Any]:
        """What layers added in the last eager call, or so far in the present one; then the penalties of weights."""
        layers = list(self._flatten_layers())
        call = present_call()
        if not in_frame():
            added = [loss for layer in layers for loss in layer._state.losses]
        else:
            pairs = [] if call is None else list(zip(call.givers, call.losses, strict=True))
            added = [loss for layer in layers for giver, loss in pairs if giver is layer]
        return [*added, *self._penalties()]

    def _penalties(self) -> list[Any]:
        return [v.regularizer(v.value) for v in self.trainable_weights if v.regularizer is not None]
