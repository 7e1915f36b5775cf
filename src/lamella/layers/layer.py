"""Layer, the base of all layers and models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ClassVar, Self

import jax

from lamella.core import config
from lamella.core.axes import describe, exact, shown
from lamella.core.calls import entering
from lamella.core.dtypes import DTypePolicy, DTypePolicyMap, get_policy, is_float
from lamella.core.errors import ArgumentError, NotBuiltError, ReservedNameError, add_context
from lamella.core.masked import value_of, with_mask
from lamella.core.naming import automatic_name
from lamella.core.sample import unbatched
from lamella.core.structure import flatten, leaves_of, map_leaves, unflatten
from lamella.core.variable import abstract_values, autocasting, eager_call
from lamella.graph.operation import Operation
from lamella.graph.tensor import SymbolicTensor, apply, symbols_of
from lamella.graph.trace import Spec, trace
from lamella.layers import calling, eager, tree
from lamella.layers.single import call_from_sample, on_one_sample
from lamella.layers.spec import check
from lamella.layers.state import State, building, first_shape, reserved
from lamella.layers.weights import HasWeights
from lamella.parts import regularizers
from lamella.parts.quantizers import resolve


class Layer(HasWeights, Operation):
    """The base of all layers: arrays with a batch axis in, arrays with the same batch axis out.

    Write `call(self, inputs)`, and `build(self, input_shape)` if there are weights. Shapes, configs, names and the
    list of weights follow by themselves. `call_sample(self, x)` in place of `call` is written for one sample, without
    a batch axis; the layers that it calls take one sample too. `build` and `compute_mask` keep the batch axis.
    Arguments are declared as fields or taken by an `__init__`.

    >>> import numpy as np
    >>> class Scale(Layer):
    ...     initializer: str = "ones"
    ...     def build(self, input_shape):
    ...         self.factor = self.add_weight((input_shape[-1],), self.initializer, name="factor")
    ...     def call(self, inputs):
    ...         return inputs * self.factor
    >>> Scale()(np.ones((2, 3), "float32")).shape
    (2, 3)
    """

    keras_module: ClassVar[str] = "keras.layers"
    supports_masking: bool = False
    axis_names: tuple[str, ...] = ()
    mixes_samples: ClassVar[str] = ""
    input_spec: Any = None
    _state: State

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls, *args, **kwargs)
        self._state = State()
        self._trainable = True
        self._dtype_policy = get_policy(None)
        self.autocast = True
        self.activity_regularizer = None
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = building(cls.build)  # type: ignore[method-assign]
        call = call_from_sample(cls)
        if call is not None:
            cls.call = call  # type: ignore[method-assign]

    @config.generic_init
    def __init__(
        self,
        *args: Any,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        **kwargs: Any,
    ) -> None:
        self._state.name = name or automatic_name(type(self).__name__)
        self._trainable = trainable
        self._dtype_policy = get_policy(dtype)
        self.autocast = autocast
        if all(field.name != "activity_regularizer" for field in config.fields_of(type(self))):
            self.activity_regularizer = regularizers.get(kwargs.pop("activity_regularizer", None))
        self._state.input_shapes = first_shape(type(self), kwargs)
        self._set_fields(args, kwargs)

    # -- what subclasses write --------------------------------------------------------------------------------

    @building
    def build(self, input_shape: Any) -> None:
        """Make the weights, now that the input's shape is known (None where a size is not)."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs from the inputs."""
        raise NotBuiltError(f"{type(self).__name__} does not define `call`.", mend="def call(self, inputs): return ...")

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return the mask of the outputs: the inputs' where the class says `supports_masking = True`."""
        if self.supports_masking:
            return previous_mask
        if any(mask is not None for mask in leaves_of(previous_mask)) and not self._uses_mask():
            calling.warn_dropped(self, describe(leaves_of(inputs)[0].shape, self.axis_names))
        return None

    # -- calling ----------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer on arrays (answers with arrays) or on symbolic tensors (answers with symbolic tensors)."""
        if unbatched():
            return on_one_sample(self, args, kwargs)
        if eager.applies(self, args, kwargs):
            return eager.call(self, args, kwargs)
        if symbols_of((args, kwargs)):
            return apply(self, args, kwargs)
        if eager.outermost():
            eager.forget_losses(self)
        return self.run(args, kwargs)

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the layer on arrays or tracers, one step a line; outputs come with their masks."""
        signature = calling.signature_of(type(self).call)
        given = signature.bind(type(self).__name__, args, kwargs)
        training = calling.resolve_training(signature, given.pop("training", None))
        masks = calling.split_masks(given)
        arguments = given
        try:
            arguments = calling.to_arrays(self, given)
            self._check_input(arguments, signature)
            self._ensure_built(arguments, signature)
            arguments = calling.pass_masks(signature, arguments, masks)
            if "training" in signature.names:
                arguments["training"] = training
            with eager_call(), entering(self, training) as context, autocasting(self._autocast_dtype()):
                context.begins(self, arguments)
                outputs = self.call(*arguments.pop("*", ()), **self._accepted(arguments, signature))
                self._regularize_activity(outputs)
            return self._with_masks(arguments, masks, outputs, signature)
        except Exception as error:
            explained = calling.explain(self, error, arguments)
            add_context(explained, calling.context_of(self, arguments))
            if explained is error:
                raise
            raise explained from error

    def _accepted(self, arguments: dict[str, Any], signature: calling.Signature) -> dict[str, Any]:
        if signature.catches_all:
            return arguments
        return {name: value for name, value in arguments.items() if name in signature.names}

    def _check_input(self, arguments: dict[str, Any], signature: calling.Signature) -> None:
        if self.input_spec is not None and signature.names:
            inputs = leaves_of(arguments.get(signature.names[0]))
            check(type(self).__name__, self.input_spec, inputs, self.axis_names)

    def _ensure_built(self, arguments: dict[str, Any], signature: calling.Signature) -> None:
        if not self._state.built:
            tensors = {
                name: calling.shapes_of(value)
                for name, value in arguments.items()
                if name != "training" and not name.endswith("mask") and _holds_arrays(value)
            }
            self._build_by_name(tensors)
            self._state.build_shapes = {f"{name}_shape": shape for name, shape in tensors.items()}
            self._check_input(arguments, signature)

    def _build_by_name(self, shapes: dict[str, Any]) -> None:
        """Call `build` with the shapes it asks for: the first input's, or `<argument>_shape` for each of several."""
        wanted = calling.signature_of(type(self).build)
        by_name = {f"{name}_shape": shape for name, shape in shapes.items() if f"{name}_shape" in wanted.names}
        if len(wanted.names) > 1 and by_name:
            self.build(**by_name)
        else:
            self.build(next(iter(shapes.values()), None))

    def _with_masks(
        self, arguments: dict[str, Any], masks: dict[str, Any], outputs: Any, signature: calling.Signature
    ) -> Any:
        """Pair the outputs with their masks."""
        first = signature.names[0] if signature.names else ""
        given = masks.get(first, arguments.get("mask"))
        if not masks and given is None and type(self).compute_mask is Layer.compute_mask:
            return outputs
        previous = given if len(masks) <= 1 and not set(masks) - {first} else list(masks.values())
        mask = self.compute_mask(arguments.get(first), previous)
        if mask is None or any(not isinstance(value_of(leaf), jax.Array) for leaf in leaves_of(outputs)):
            return outputs
        leaves, structure = flatten(outputs)
        all_masks = list(mask) if isinstance(mask, list | tuple) else [mask] * len(leaves)
        pairs = [with_mask(value_of(leaf), m) for leaf, m in zip(leaves, all_masks, strict=True)]
        return unflatten(structure, pairs)

    def _uses_mask(self) -> bool:
        names = calling.signature_of(type(self).call).names
        return any(name == "mask" or name.endswith("_mask") for name in names)

    def _autocast_dtype(self) -> str | None:
        return self.compute_dtype if self.autocast and is_float(self.compute_dtype) else None

    def _regularize_activity(self, outputs: Any) -> None:
        if self.activity_regularizer is not None:
            for output in leaves_of(outputs):
                array = value_of(output)
                # Keras's convention: the penalty of a batch is divided by the number of samples.
                self.add_loss(self.activity_regularizer(array) / (array.shape[0] if array.ndim else 1))

    # -- what is asked of a layer -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The layer's name, unique in a model."""
        if not self._state.name:
            self._state.name = automatic_name(type(self).__name__)
        return self._state.name

    @name.setter
    def name(self, value: Any) -> None:
        if not isinstance(value, str):
            raise ReservedNameError(
                f"{type(self).__name__} assigns {type(value).__name__} to self.name, the layer's name, a string.",
                mend="self.label = ...",
            )
        self._state.name = value

    @property
    def made_at(self) -> str:
        """The file and line where the layer was made."""
        return self._state.made_at

    @property
    def built(self) -> bool:
        """Whether the weights exist."""
        return self._state.built

    @built.setter
    def built(self, value: bool) -> None:
        self._state.built = value

    @property
    def trainable(self) -> bool:
        """Whether training changes the layer's weights."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self._layers_inside():
            layer.trainable = value

    @property
    def dtype_policy(self) -> DTypePolicy:
        """The types in which weights are kept and in which the layer computes."""
        return self._dtype_policy

    @dtype_policy.setter
    def dtype_policy(self, value: Any) -> None:
        policy = get_policy(value)
        if self.built:
            self._change_mode(policy.quantization_mode)
        self._set_policy(policy)

    def _set_policy(self, policy: DTypePolicy) -> None:
        """Set the policy; where it comes from a map, the map has it from now on."""
        policies = self._dtype_policy
        if isinstance(policies, DTypePolicyMap) and self.path and not isinstance(policy, DTypePolicyMap):
            if self.path in policies:
                del policies[self.path]
            policies[self.path] = policy
        else:
            self._dtype_policy = policy

    def _change_mode(self, mode: str | None) -> None:
        """Make the weights go with a mode of quantization; most layers have none."""
        if mode is not None:
            raise ArgumentError(
                f"{type(self).__name__} has no quantized form; Dense, EinsumDense and Embedding have one.",
                mend='model.quantize("int8"), which quantizes those inside',
            )

    @reserved
    def path(self) -> str | None:
        """The names of the layers around this one and its own, "encoder/dense"; None before it is built."""
        return self._state.path

    def _own_policy(self) -> DTypePolicy:
        policy = self._dtype_policy
        return policy[self.path] if isinstance(policy, DTypePolicyMap) and self.path else policy

    @reserved
    def dtype(self) -> str:
        """The type in which weights are kept."""
        return self._own_policy().variable_dtype

    @reserved
    def variable_dtype(self) -> str:
        """The type in which weights are kept."""
        return self._own_policy().variable_dtype

    @reserved
    def compute_dtype(self) -> str:
        """The type in which the layer computes."""
        return self._own_policy().compute_dtype

    @reserved
    def quantization_mode(self) -> str | None:
        """In what way the large weights are quantized: "int8", or None where they are not."""
        return self._own_policy().quantization_mode

    @reserved
    def nodes(self) -> list[Any]:
        """The symbolic calls of the layer."""
        return self._state.nodes

    @reserved
    def input(self) -> Any:
        """The symbolic input of the layer's only or first call in a functional model."""
        args = self._first_node().args
        return args[0] if len(args) == 1 else list(args)

    @reserved
    def output(self) -> Any:
        """The symbolic output of the layer's only or first call in a functional model."""
        return self._first_node().outputs

    def _first_node(self) -> Any:
        if not self._state.nodes:
            raise NotBuiltError(
                f"The layer {self.name!r} was not called on symbolic tensors yet.", mend="layer(Input((5,)))"
            )
        return self._state.nodes[0]

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output's shape for an input's, None where a size is not known; nothing is allocated."""
        specs = self.compute_output_spec(*(map_shapes(_as_symbol, a) for a in args), **kwargs)
        return map_leaves(lambda tensor: tensor.shape, specs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Return symbolic tensors for the outputs, without a node and without weights being made."""
        twin = self if self.built else copy.deepcopy(self)
        symbols = symbols_of((args, kwargs))

        def call(pairs: list[Any]) -> Any:
            values = dict(zip(map(id, symbols), pairs, strict=True))
            swapped = map_leaves(lambda x: values[id(x)] if isinstance(x, SymbolicTensor) else x, (args, kwargs))
            with nullcontext() if self.built else abstract_values():
                return twin.run(*swapped)

        out = trace(call, [(Spec(t.dims, t.dtype), t.mask) for t in symbols], f"{self.name!r}")
        return map_leaves(lambda leaf: SymbolicTensor(value_of(leaf).shape, value_of(leaf).dtype), out)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer, as plain data."""
        base = {
            "name": self.name,
            "trainable": self._trainable,
            "dtype": config.serialize(self._dtype_policy),
        }
        base = {key: value for key, value in base.items() if key not in self.arguments_beyond}
        # What a constructor sets by itself needs no place in the config.
        if self._captured[1].get("activity_regularizer") is not None:
            base["activity_regularizer"] = config.serialize(self.activity_regularizer)
        return {**base, **super().get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a layer from `get_config`'s answer."""
        arguments, base = tree.arguments_for(cls, config)
        positional = arguments.pop("*args", ())
        layer = cls(*positional, **arguments)
        for name, value in base.items():
            setattr(layer, "dtype_policy" if name == "dtype" else name, value)
        return layer

    def get_build_config(self) -> dict[str, Any] | None:
        """Return the shapes that the layer was built for, None where a size may vary: {"input_shape": ...}."""
        shapes = {name: map_shapes(shown, shape) for name, shape in self._state.build_shapes.items() if shape}
        if len(shapes) == 1:
            return {"input_shape": next(iter(shapes.values()))}
        return {"shapes_dict": shapes} if shapes else None

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Make the weights for the shapes of `get_build_config`'s answer."""
        if "shapes_dict" in config:
            self.build(**config["shapes_dict"])
        else:
            self.build(config["input_shape"])

    def quantize(self, mode: Any = None, config: Any = None, *, type_check: bool = True) -> None:
        """Keep the layer's large weights in whole numbers; for layers that can."""
        self._change_mode(resolve(mode, config).mode)

    def stateless_call(
        self, trainable: Any, non_trainable: Any, *args: Any, return_losses: bool = False, **kwargs: Any
    ) -> Any:
        """Call with the values of the variables given; return (outputs, new non-trainable values), and the losses."""
        from_values = [*self.trainable_variables, *self.non_trainable_variables]
        (out, losses), new = eager.pure_call(self, from_values)([*trainable, *non_trainable], *args, **kwargs)
        return (out, new[len(trainable) :], losses) if return_losses else (out, new[len(trainable) :])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}{'' if self.built else ', not built'}>"


def map_shapes(function: Callable[[tuple[Any, ...]], Any], shapes: Any) -> Any:
    """Apply a function to each shape in a structure of shapes (tuples, or lists of numbers)."""
    if isinstance(shapes, dict):
        return {key: map_shapes(function, item) for key, item in shapes.items()}
    if isinstance(shapes, list | tuple) and shapes and all(isinstance(s, list | tuple | dict) for s in shapes):
        return [map_shapes(function, item) for item in shapes]
    return function(tuple(shapes))


def _as_symbol(shape: tuple[Any, ...]) -> SymbolicTensor:
    return SymbolicTensor(exact(shape), None)


def _holds_arrays(value: Any) -> bool:
    leaves = leaves_of(value)
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)
