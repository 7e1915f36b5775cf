"""EinsumDense: an affine map whose axes are named in an equation."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from lamella import kernels
from lamella.core.errors import ArgumentError, ShapeError
from lamella.layers.quantization import Quantizable
from lamella.layers.spec import InputSpec
from lamella.parts.activations import Activation
from lamella.parts.constraints import ConstraintLike
from lamella.parts.initializers import InitializerLike
from lamella.parts.quantizers import QuantizationConfigLike
from lamella.parts.regularizers import RegularizerLike

_EQUATION = re.compile(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?")


class EinsumDense(Quantizable):
    """Affine map by an equation, `activation(einsum(equation, x, kernel) + bias)`: (batch, ...) -> (batch, ...).

    `output_shape` has the sizes of the output without the batch (and without what `...` stands for), None where a size
    is the input's. `bias_axes` are the output's axes along which the bias differs.

    >>> import numpy as np
    >>> layer = EinsumDense("abc,cd->abd", output_shape=(None, 64), bias_axes="d")
    >>> layer(np.ones((2, 32, 128), "float32")).shape, layer.kernel.shape
    ((2, 32, 64), (128, 64))
    """

    equation: str
    output_shape: Any
    activation: Activation = None
    bias_axes: str | None = None
    kernel_initializer: InitializerLike = "glorot_uniform"
    bias_initializer: InitializerLike = "zeros"
    kernel_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None
    kernel_constraint: ConstraintLike = None
    bias_constraint: ConstraintLike = None
    lora_rank: int | None = None
    lora_alpha: Any = None
    quantization_config: QuantizationConfigLike = None

    adapted = "kernel"

    def build(self, input_shape: Any) -> None:
        partial = (self.output_shape,) if isinstance(self.output_shape, int) else tuple(self.output_shape)
        plan = planned(self.equation, self.bias_axes, tuple(input_shape), partial)
        self.input_spec = InputSpec(ndim=len(input_shape))
        self._kernel = self._add_adapted(
            plan.kernel, self.kernel_initializer.between(plan.input_axes, plan.output_axes)
        )
        self.bias = None if plan.bias is None else self._add_declared("bias", plan.bias)
        if self.lora_rank:
            self._adapt(self.lora_rank, self.lora_alpha)

    @property
    def kernel(self) -> Any:
        """The weight, or what it comes to with its adaptation."""
        return self._adapted_value() if self.lora_enabled else self._kernel

    def call(self, inputs: Any) -> Any:
        if self.quantization_mode is None:
            out = jnp.einsum(self.equation, inputs, self._adapted_value())
        else:
            out = self._quantized_product(self._axes(), inputs)
        return kernels.finished(out, None if self.bias is None else self.bias.value, self.activation)

    def _axes(self) -> kernels.Axes:
        return _spelled(self.equation, self.input_spec.ndim)[:3]

    def _summed(self) -> dict[str, tuple[int, ...]]:
        _, kernel, outputs = self._axes()
        return {"kernel": tuple(place for place, axis in enumerate(kernel) if axis not in outputs)}

    def _packed(self, name: str, scale: Any) -> Any:
        """The scale is kept as it meets the output."""
        return kernels.laid_out(scale, *self._axes()[1:])

    def _unpacked(self, name: str, scale: Any) -> Any:
        _, kernel, outputs = self._axes()
        return kernels.laid_out(scale, outputs, kernel)


@dataclass(frozen=True)
class Plan:
    """What an equation says of the weights: their shapes, and which of the kernel's axes are inputs and outputs."""

    kernel: tuple[Any, ...]
    bias: tuple[Any, ...] | None
    input_axes: list[int]
    output_axes: list[int]


def planned(equation: str, bias_axes: str | None, input_shape: tuple[Any, ...], partial: tuple[Any, ...]) -> Plan:
    """Return what an equation says for an input's shape and the sizes given for the output.

    >>> planned("abc,cde->abde", "de", (None, 7, 8), (None, 2, 4))
    Plan(kernel=(8, 2, 4), bias=(2, 4), input_axes=[0], output_axes=[1, 2])
    """
    inputs, kernel, outputs, given = _spelled(equation, len(input_shape))
    first = 0 if equation.startswith("...") else 1
    if len(given) != len(partial) + first:
        raise ShapeError(
            f"EinsumDense: {equation!r} has {len(given) - first} output axes beside the batch and the dots; "
            f"output_shape={partial} has {len(partial)}."
        )
    known = dict(zip(inputs, input_shape, strict=True))
    wanted = dict(zip(given[first:], partial, strict=True))
    for axis, size in wanted.items():
        if axis in known and size is not None and size != known[axis]:
            raise ShapeError(f"EinsumDense: axis {axis!r} is {known[axis]} in the input and {size} in output_shape.")
    _check_axes(equation, inputs, kernel, outputs, bias_axes)
    sizes = {axis: known.get(axis) if wanted.get(axis) is None else wanted[axis] for axis in (*inputs, *outputs)}
    bias = None
    if bias_axes is not None:
        start = min(outputs.index(axis) for axis in bias_axes)
        bias = tuple(sizes[axis] if axis in bias_axes else 1 for axis in outputs[start:])
    places = list(enumerate(kernel))
    return Plan(
        tuple(sizes[axis] for axis in kernel),
        bias,
        [place for place, axis in places if axis not in outputs],
        [place for place, axis in places if axis in outputs],
    )


def _check_axes(equation: str, inputs: str, kernel: str, outputs: str, bias_axes: str | None) -> None:
    for axes, places, which, where in (
        (kernel, inputs + outputs, "kernel", "input nor in the output"),
        (outputs, inputs + kernel, "output", "input nor in the kernel"),
        (bias_axes or "", outputs, "bias", "output"),
    ):
        lost = [axis for axis in axes if axis not in places]
        if lost:
            raise ArgumentError(f"EinsumDense: axis {lost[0]!r} of the {which} in {equation!r} is not in the {where}.")


def _spelled(equation: str, rank: int) -> tuple[str, str, str, str]:
    """Return the axes of input, kernel and output with letters for the dots, and the output's axes without those."""
    match = _EQUATION.fullmatch(equation.replace(" ", ""))
    if match is None or match[1] != match[5] or match[3] != match[7] or (match[1] and match[3]):
        raise ArgumentError(
            f"EinsumDense: {equation!r} is no equation of input, kernel and output.",
            mend='"abc,cd->abd", "...c,cd->...d" or "ab...,bc->ac..."',
        )
    count = rank - len(match[2])
    if count < 0 or (count > 0 and not (match[1] or match[3])):
        raise ShapeError(f"EinsumDense: the input of {equation!r} has {len(match[2])} axes, received {rank}.")
    dots = "".join(letter for letter in string.ascii_letters if letter not in equation)[:count]
    before, after = (dots, "") if match[1] else ("", dots)
    return before + match[2] + after, match[4], before + match[6] + after, match[6]
