"""Quantization: a layer's large weights as whole numbers of 8 bits, `weight = codes / scale`."""

from __future__ import annotations

import re
import string
import warnings
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from lamella import kernels
from lamella.core.dtypes import QuantizedDTypePolicy
from lamella.core.errors import ArgumentError, NotBuiltError
from lamella.core.variable import Variable
from lamella.layers import tree
from lamella.layers.layer import Layer
from lamella.layers.lora import Adaptable
from lamella.parts.initializers import Constant
from lamella.parts.quantizers import AbsMaxQuantizer, QuantizationConfig, resolve


class Quantizable(Adaptable):
    """A layer whose large weights may be kept in 8 bits: `<weight>`, whole numbers, and `<weight>_scale`.

    What is summed over has one scale. A layer made with the dtype "int8_from_float32" is built that way. Training
    leaves such weights alone; it changes the bias, and the factors of `enable_lora`.

    >>> from lamella.layers.dense import Dense
    >>> layer = Dense(64)
    >>> layer.build((None, 100))
    >>> layer.quantize("int8")
    >>> [(weight.name, weight.dtype, weight.nbytes) for weight in layer.weights]
    [('bias', 'float32', 256), ('kernel', 'int8', 6400), ('kernel_scale', 'float32', 256)]
    """

    if TYPE_CHECKING:
        quantization_config: QuantizationConfig | None

    def quantize(self, mode: Any = None, config: Any = None, *, type_check: bool = True) -> None:
        """Round the large weights to whole numbers, once; `config`, or the layer's own, says by which quantizers."""
        config, policy = self.plan_quantization(mode, config, type_check)
        for name, summed in self._summed().items():
            weight = self._large(name)
            codes, scale = _weight_quantizer(config)(weight.value, axis=summed, to_numpy=True)
            self._state.own[:] = [other for other in self._state.own if other is not weight]
            setattr(self, self._attribute(name), self._add_quantized(name, weight.shape, codes, scale))
        self._name_weights(tuple(str(self.path).split("/")))
        self.quantization_config = config
        self._set_policy(policy)

    def plan_quantization(
        self, mode: Any, config: Any, type_check: bool
    ) -> tuple[QuantizationConfig, QuantizedDTypePolicy]:
        """Return the config by which `quantize` goes and the policy that it sets; an error, if it cannot."""
        config = resolve(mode, self.quantization_config if config is None else config)
        if not self.built:
            raise NotBuiltError(
                f"The layer {self.name!r} has no weights to quantize yet.", mend="layer.build((None, 5)) first"
            )
        if self.quantization_mode is not None:
            raise ArgumentError(f"The layer {self.name!r} is quantized already: {self._own_policy().name!r}.")
        if type_check and _own_class(self):
            raise ArgumentError(
                f"{type(self).__name__} may have a `call` of its own, which knows nothing of quantized weights.",
                mend=f"quantize({config.mode!r}, type_check=False) where it has none",
            )
        for name, summed in self._summed().items():
            axis = getattr(_weight_quantizer(config), "axis", None)
            if axis is not None and {place % self._large(name).ndim for place in axis} != set(summed):
                raise ArgumentError(
                    f"{type(self).__name__} sums over the axes {summed} of its {name}: they have one scale. The "
                    f"weights' quantizer has axis={axis}.",
                    mend=f"AbsMaxQuantizer(axis={summed})",
                )
        return config, QuantizedDTypePolicy(config.mode, self._own_policy().name)

    def _change_mode(self, mode: str | None) -> None:
        if not self.built or mode == self.quantization_mode:
            return
        if mode is None:
            raise ArgumentError(f"The layer {self.name!r} stays quantized: what was rounded off is lost.")
        self.quantize(mode)

    # -- the weights ------------------------------------------------------------------------------------------

    def _summed(self) -> dict[str, tuple[int, ...]]:
        """Return the large weights, and along which of their axes the layer's product sums."""
        return {self.adapted: (0,)}

    def _packed(self, name: str, scale: Any) -> Any:
        """Return a scale with size 1 along what is summed in the form in which it is kept."""
        return scale.squeeze(self._summed()[name])

    def _unpacked(self, name: str, scale: Any) -> Any:
        return jnp.expand_dims(scale, self._summed()[name])

    def _attribute(self, name: str) -> str:
        return f"_{name}" if name == self.adapted else name

    def _large(self, name: str) -> Any:
        return getattr(self, self._attribute(name))

    def _add_adapted(self, shape: Any, initializer: Any) -> Variable:
        """Make the weight that may be adapted."""
        given = {part: getattr(self, f"{self.adapted}_{part}") for part in ("regularizer", "constraint")}
        return self._add_large(self.adapted, shape, initializer, **given)

    def _add_large(self, name: str, shape: Any, initializer: Any, **given: Any) -> Variable:
        """Make a weight, in floats or in whole numbers as the layer's policy has it."""
        if self.quantization_mode is None:
            return self.add_weight(shape, initializer, name=name, **given)
        return self._add_quantized(name, shape, 0, None)

    def _add_quantized(self, name: str, shape: Any, codes: Any, scale: Any) -> Variable:
        whole = self.add_weight(shape, Constant(codes), "int8", trainable=False, name=name)
        if scale is None:
            scale = np.ones([1 if place in self._summed()[name] else size for place, size in enumerate(whole.shape)])
        packed = self._packed(name, scale)
        scales = self.add_weight(packed.shape, Constant(packed), trainable=False, name=f"{name}_scale")
        setattr(self, f"{name}_scale", scales)
        return whole

    # -- their use --------------------------------------------------------------------------------------------

    def _quantized(self, name: str = "") -> tuple[Any, Any]:
        """Return a weight's codes, and their scale with size 1 along what is summed."""
        name = name or self.adapted
        return self._large(name).value, self._unpacked(name, getattr(self, f"{name}_scale").value)

    def _merged(self) -> dict[Variable, Any]:
        if not self.lora_enabled or self.quantization_mode is None:
            return super()._merged()
        name, config = self.adapted, self.quantization_config
        quantizer = AbsMaxQuantizer() if config is None else _weight_quantizer(config)
        codes, scale = quantizer(self._adapted_value(), axis=self._summed()[name], to_numpy=True)
        return {self._base(): codes, getattr(self, f"{name}_scale"): self._packed(name, scale)}

    def _base_value(self) -> Any:
        return super()._base_value() if self.quantization_mode is None else kernels.dequantized(*self._quantized())

    def _quantized_product(self, axes: kernels.Axes, inputs: Any, name: str = "") -> Any:
        """Return the inputs times a quantized weight, and times its adaptation where it has one."""
        codes, scale = self._quantized(name)
        dtype = jnp.result_type(inputs, scale)
        config = self.quantization_config
        quantizer = AbsMaxQuantizer() if config is None else config.activation_quantizer
        inputs = inputs.astype(dtype)
        out = kernels.quantized_product(axes, quantizer, inputs, codes, scale.astype(dtype))
        if self.lora_enabled and name in ("", self.adapted):
            first, weight, last = axes
            rank = next(letter for letter in string.ascii_letters if letter not in "".join(axes))
            equation = f"{first},{weight[:-1]}{rank},{rank}{weight[-1]}->{last}"
            out = out + jnp.einsum(equation, inputs, *self._factors()).astype(dtype)
        return out


def _own_class(layer: Layer) -> bool:
    return not type(layer).__module__.startswith("lamella.")


def _weight_quantizer(config: QuantizationConfig) -> Any:
    return AbsMaxQuantizer() if config.weight_quantizer is None else config.weight_quantizer


def matrix_axes(rank: int, transposed: bool = False) -> kernels.Axes:
    """Return the axes of a product of the last axis with a matrix.

    >>> matrix_axes(3), matrix_axes(3, transposed=True)
    (('abc', 'cZ', 'abZ'), ('abc', 'Zc', 'abZ'))
    """
    letters = string.ascii_lowercase[:rank]
    return letters, f"Z{letters[-1]}" if transposed else f"{letters[-1]}Z", f"{letters[:-1]}Z"


def quantize_inside(model: Layer, mode: Any, config: Any, filters: Any, type_check: bool) -> None:
    """Quantize the layers in a model that can be and that the filters choose; all of them are checked first."""
    layers = list(model._flatten_layers())
    able = [layer for layer in layers if isinstance(layer, Quantizable) and _chosen(layer, filters)]
    # What another layer reads as it is (a tied weight, the kernel that a wrapper normalizes) stays as it is.
    read = {id(v) for layer in layers for v in set(tree.children(layer, Variable)) - set(layer._state.own)}
    left = [layer for layer in able if (type_check and _own_class(layer)) or read & {*map(id, layer.weights)}]
    chosen = [layer for layer in able if layer not in left]
    for layer in chosen:
        layer.plan_quantization(mode, config, type_check)
    for layer in chosen:
        layer.quantize(mode, config, type_check=type_check)
    if left:
        why = "classes of one's own, and weights that another layer reads, stay as they are"
        warnings.warn(f"quantize: {why}: {[layer.path for layer in left]}.", stacklevel=3)
    elif not able:
        warnings.warn(f"quantize: {model.name!r} has no layer for it.", stacklevel=3)


def _chosen(layer: Layer, filters: Any) -> bool:
    if filters is None or callable(filters):
        return filters is None or bool(filters(layer))
    patterns = [filters] if isinstance(filters, str) else filters
    if not isinstance(patterns, list | tuple):
        raise ArgumentError(f"quantize: filters are patterns or a function, got {filters!r}.", mend='filters="dense"')
    return any(re.search(pattern, layer.name) for pattern in patterns)
