"""Three primitives that are each other's derivatives: a convolution, its gradient by the input, and by the kernel.

All three are the one sum over y * convolve(x, kernel), with one of x, kernel, y left out. So they are closed under
differentiation of every kind and order, under `vmap`, and each platform lowers them in its own way: CPU as the
products and shifted sums of `convolution_forms`, all others as XLA's convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from lamella.kernels import convolution_forms as forms
from lamella.kernels.convolution_plain import plain, plain_input_gradient, plain_kernel_gradient
from lamella.kernels.windows import Windows

Form = Callable[[Any, Any, Windows], Any]
Shape = Callable[[Any, Any, Windows], tuple[Any, ...]]


def _output(x: Any, kernel: Any, windows: Windows) -> tuple[Any, ...]:
    return (x.shape[0], *windows.outputs, kernel.shape[-1])


def _input(dy: Any, kernel: Any, windows: Windows) -> tuple[Any, ...]:
    return (dy.shape[0], *windows.sizes, kernel.shape[-2] * windows.groups)


def _kernel(x: Any, dy: Any, windows: Windows) -> tuple[Any, ...]:
    return (*windows.taps, x.shape[-1] // windows.groups, dy.shape[-1])


def _on_cpu(form: Form, plain_form: Form) -> Form:
    """Choose the formulation; half-precision values are taken through it in single precision."""

    def lowered(a: Any, b: Any, windows: Windows) -> Any:
        if not windows.known or (max(windows.strides) > 1 and max(windows.dilation) > 1):
            return plain_form(a, b, windows)
        if a.dtype in (jnp.float16, jnp.bfloat16):
            return form(a.astype("float32"), b.astype("float32"), windows).astype(a.dtype)
        return form(a, b, windows)

    return lowered


def _mapped(form: Form, windows: Windows, mapped: bool, a: Any, b: Any) -> Any:
    """Apply a form; with `mapped`, for each entry of a leading axis that both operands have."""
    return jax.vmap(lambda a, b: form(a, b, windows))(a, b) if mapped else form(a, b, windows)


def _primitive(name: str, shape: Shape, form: Form, plain_form: Form) -> Primitive:
    primitive = Primitive(name)

    def abstract(a: Any, b: Any, *, windows: Windows, mapped: bool) -> ShapedArray:
        lead = a.shape[:1] if mapped else ()
        first, second = (jax.ShapeDtypeStruct(v.shape[len(lead) :], v.dtype) for v in (a, b))
        return ShapedArray((*lead, *shape(first, second, windows)), a.dtype)

    def lowering(form: Form) -> Any:
        def run(a: Any, b: Any, *, windows: Windows, mapped: bool) -> Any:
            return _mapped(form, windows, mapped, a, b)

        return mlir.lower_fun(run, multiple_results=False)

    primitive.def_impl(jax.jit(primitive.bind, static_argnames=("windows", "mapped")))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, lowering(plain_form))
    mlir.register_lowering(primitive, lowering(_on_cpu(form, plain_form)), platform="cpu")
    batching.primitive_batchers[primitive] = partial(_batched, primitive)
    return primitive


def _batched(primitive: Primitive, operands: Any, axes: Any, *, windows: Windows, mapped: bool) -> tuple[Any, int]:
    """Map over a new axis: join it to the batch where only the images have it, else to the axis of maps."""
    (a, b), (axis_a, axis_b) = operands, axes
    size = (a if axis_a is not None else b).shape[axis_a if axis_a is not None else axis_b]
    a, b = _in_front(a, axis_a), _in_front(b, axis_b)
    if axis_b is None and not mapped and primitive is not conv_kernel_gradient_p:
        out = primitive.bind(a.reshape(-1, *a.shape[2:]), b, windows=windows, mapped=False)
        return out.reshape(size, -1, *out.shape[1:]), 0
    a, b = (jnp.broadcast_to(v, (size, *v.shape)) if axis is None else v for v, axis in ((a, axis_a), (b, axis_b)))
    if not mapped:
        return primitive.bind(a, b, windows=windows, mapped=True), 0
    out = primitive.bind(*(v.reshape(-1, *v.shape[2:]) for v in (a, b)), windows=windows, mapped=True)
    return out.reshape(size, -1, *out.shape[1:]), 0


def _in_front(x: Any, axis: int | None) -> Any:
    return x if axis is None else jnp.moveaxis(x, axis, 0)


conv_p = _primitive("conv", _output, forms.forward, plain)
conv_input_gradient_p = _primitive("conv_input_gradient", _input, forms.input_gradient, plain_input_gradient)
conv_kernel_gradient_p = _primitive("conv_kernel_gradient", _kernel, forms.kernel_gradient, plain_kernel_gradient)

# Each operand's rule takes the gradient of the result in the place of that operand.
ad.defbilinear(
    conv_p,
    lambda dy, x, kernel, **params: conv_input_gradient_p.bind(dy, kernel, **params),
    lambda dy, x, kernel, **params: conv_kernel_gradient_p.bind(x, dy, **params),
)
ad.defbilinear(
    conv_input_gradient_p,
    lambda dx, dy, kernel, **params: conv_p.bind(dx, kernel, **params),
    lambda dx, dy, kernel, **params: conv_kernel_gradient_p.bind(dx, dy, **params),
)
ad.defbilinear(
    conv_kernel_gradient_p,
    lambda dk, x, dy, **params: conv_input_gradient_p.bind(dy, dk, **params),
    lambda dk, x, dy, **params: conv_p.bind(x, dk, **params),
)
