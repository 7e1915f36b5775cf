"""Convolutions beside their plain forms: values, derivatives of every kind, maps, dtypes, exactness."""

from __future__ import annotations

from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import lamella
from lamella import kernels
from lamella.kernels import convolution, convolution_forms, winograd
from lamella.kernels.windows import Windows

DRAW = np.random.default_rng(6)
# sizes, channels, taps, filters, stride, padding, dilation, groups
CASES = {
    "1d": ((9,), 4, (3,), 5, 1, "same", 1, 1),
    "1d strided": ((9,), 9, (3,), 5, 2, "valid", 1, 1),
    "few channels": ((8, 9), 3, (3, 3), 5, 1, "same", 1, 1),
    "one channel": ((8, 9), 1, (3, 3), 5, 1, "same", 1, 1),
    "winograd": ((8, 9), 32, (3, 3), 40, 1, "same", 1, 1),
    "winograd, no padding": ((9, 7), 24, (3, 3), 24, 1, "valid", 1, 1),
    "rows added": ((8, 9), 12, (5, 3), 5, 1, "same", 1, 1),
    "pointwise": ((8, 9), 12, (1, 1), 5, 1, "same", 1, 1),
    "pointwise strided": ((8, 9), 12, (1, 1), 5, 2, "same", 1, 1),
    "strided": ((8, 9), 12, (3, 3), 5, 2, "same", 1, 1),
    "strides beyond the kernel": ((8, 9), 12, (2, 2), 5, 3, "valid", 1, 1),
    "dilated": ((8, 9), 12, (3, 3), 5, 1, "same", 2, 1),
    "strided and dilated": ((8, 9), 12, (3, 3), 5, 2, "same", 2, 1),
    "depthwise": ((8, 9), 6, (3, 3), 6, 1, "same", 1, 6),
    "depthwise, two filters a channel": ((8, 9), 6, (3, 3), 12, 2, "same", 1, 6),
    "groups": ((8, 9), 6, (3, 3), 9, 2, "valid", 1, 3),
    "many places": ((90,), 2, (40,), 3, 5, "same", 1, 1),
    "large strides": ((9, 17), 4, (3, 9), 5, 7, "same", 1, 1),
    "large strides, groups": ((20, 13), 6, (8, 3), 9, 6, "valid", 1, 3),
    "3d": ((4, 5, 6), 9, (3, 2, 3), 5, 1, "same", 1, 1),
    "3d strided": ((4, 5, 6), 9, (3, 2, 3), 5, 2, "same", 1, 1),
}
TRIANGLE = [
    (convolution.conv_p, convolution.plain),
    (convolution.conv_input_gradient_p, convolution.plain_input_gradient),
    (convolution.conv_kernel_gradient_p, convolution.plain_kernel_gradient),
]


def windows_of(sizes: Any, taps: Any, stride: int, padding: str, dilation: int, groups: int) -> Windows:
    rank = len(sizes)
    strides, steps = (stride,) * rank, (dilation,) * rank
    reach = [(tap - 1) * dilation + 1 for tap in taps]
    pads = tuple(lax.padtype_to_pads(sizes, reach, strides, padding.upper()))
    return Windows(sizes, taps, strides, pads, steps, groups)


def setting(name: str, samples: int = 2, dtype: str = "float32") -> tuple[Windows, Any, Any, Any]:
    sizes, channels, taps, filters, stride, padding, dilation, groups = CASES[name]
    windows = windows_of(sizes, taps, stride, padding, dilation, groups)
    x = DRAW.normal(size=(samples, *sizes, channels))
    kernel = DRAW.normal(size=(*taps, channels // groups, filters))
    dy = DRAW.normal(size=(samples, *windows.outputs, filters))
    return windows, *(jnp.asarray(v, dtype) for v in (x, kernel, dy))


def operands(primitive: Any, x: Any, kernel: Any, dy: Any) -> tuple[Any, Any]:
    return {"conv": (x, kernel), "conv_input_gradient": (dy, kernel), "conv_kernel_gradient": (x, dy)}[primitive.name]


def run(primitive: Any, windows: Windows) -> Any:
    return jax.jit(lambda a, b: primitive.bind(a, b, windows=windows, mapped=False))


def agree(a: Any, b: Any, tolerance: float = 2e-6) -> None:
    assert a.shape == b.shape and a.dtype == b.dtype
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)


@pytest.mark.parametrize(("primitive", "plain"), TRIANGLE, ids=lambda v: getattr(v, "name", ""))
@pytest.mark.parametrize("name", CASES)
class TestBesideThePlainForm:
    def test_values(self, name: str, primitive: Any, plain: Any) -> None:
        windows, *arrays = setting(name, samples=4)
        a, b = operands(primitive, *arrays)
        agree(run(primitive, windows)(a, b), plain(a, b, windows))

    def test_derivatives_by_both(self, name: str, primitive: Any, plain: Any) -> None:
        windows, *arrays = setting(name)
        a, b = operands(primitive, *arrays)

        def along(form: Any) -> Any:
            return jax.jit(lambda a, b: jax.grad(lambda a, b: jnp.sum(jnp.square(form(a, b))), (0, 1))(a, b))(a, b)

        fast = along(lambda a, b: primitive.bind(a, b, windows=windows, mapped=False))
        for ours, theirs in zip(fast, along(lambda a, b: plain(a, b, windows)), strict=True):
            agree(ours, theirs)

    def test_mapped_over_both(self, name: str, primitive: Any, plain: Any) -> None:
        windows, *arrays = setting(name)
        a, b = (jnp.stack([v, 2 * v, v - 1]) for v in operands(primitive, *arrays))
        ours = jax.jit(jax.vmap(lambda a, b: primitive.bind(a, b, windows=windows, mapped=False)))(a, b)
        agree(ours, jnp.stack([plain(one, other, windows) for one, other in zip(a, b, strict=True)]))


@pytest.mark.parametrize("name", ["winograd", "rows added", "strided", "depthwise"])
class TestOtherModes:
    def test_forward_mode_and_second_derivatives(self, name: str) -> None:
        windows, x, kernel, _ = setting(name)

        def curvature(form: Any) -> Any:
            def loss(kernel: Any) -> Any:
                return jnp.sum(jnp.tanh(form(x, kernel)))

            return jax.jvp(jax.grad(loss), (kernel,), (jnp.ones_like(kernel),))[1]

        ours = curvature(lambda x, k: convolution.conv_p.bind(x, k, windows=windows, mapped=False))
        agree(ours, curvature(lambda x, k: convolution.plain(x, k, windows)), 1e-5)

    @pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 2)])
    def test_maps_over_one_operand_or_other_axes(self, name: str, axes: Any) -> None:
        windows, x, kernel, _ = setting(name)
        a, b = (
            v if axis is None else jnp.moveaxis(jnp.stack([v, v + 1]), 0, axis)
            for v, axis in zip((x, kernel), axes, strict=True)
        )
        ours = jax.vmap(lambda a, b: convolution.conv_p.bind(a, b, windows=windows, mapped=False), axes)(a, b)
        agree(ours, jax.vmap(lambda a, b: convolution.plain(a, b, windows), axes)(a, b))

    def test_a_map_of_maps(self, name: str) -> None:
        windows, x, kernel, _ = setting(name)
        xs, ks = x[None, None] * jnp.arange(6.0).reshape(2, 3, *[1] * x.ndim), jnp.stack([kernel, -kernel])

        def twice(form: Any) -> Any:
            return jax.vmap(jax.vmap(form, (0, None)), (0, 0))(xs, ks)

        ours = twice(lambda a, b: convolution.conv_p.bind(a, b, windows=windows, mapped=False))
        agree(ours, twice(lambda a, b: convolution.plain(a, b, windows)))

    def test_gradients_by_sample_are_those_of_a_loop(self, name: str) -> None:
        windows, x, kernel, _ = setting(name, samples=3)

        def loss(kernel: Any, x: Any) -> Any:
            return jnp.sum(jnp.square(convolution.conv_p.bind(x[None], kernel, windows=windows, mapped=False)))

        ours = jax.vmap(jax.grad(loss), (None, 0))(kernel, x)
        agree(ours, jnp.stack([jax.grad(loss)(kernel, sample) for sample in x]))

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_half_precision_is_rounded_once(self, name: str, dtype: str) -> None:
        windows, x, kernel, _ = setting(name, dtype=dtype)
        ours = run(convolution.conv_p, windows)(x, kernel)
        exact = convolution.plain(x.astype("float32"), kernel.astype("float32"), windows)
        assert ours.dtype == dtype
        agree(ours.astype("float32"), exact, 4e-3)

    def test_a_batch_of_unknown_size(self, name: str) -> None:
        windows, x, kernel, _ = setting(name, samples=3)
        (batch,) = jax.export.symbolic_shape("b")
        specs = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype), jax.ShapeDtypeStruct(kernel.shape, x.dtype)
        exported = jax.export.export(run(convolution.conv_p, windows))(*specs)
        agree(exported.call(x, kernel), convolution.plain(x, kernel, windows))


@pytest.mark.parametrize(("primitive", "plain"), TRIANGLE, ids=lambda v: getattr(v, "name", ""))
@pytest.mark.parametrize("name", CASES)
def test_error_beside_float64_is_at_most_four_times_the_plain_one(name: str, primitive: Any, plain: Any) -> None:
    windows, *arrays = setting(name, samples=4)
    a, b = operands(primitive, *arrays)
    with jax.enable_x64(True):
        exact = np.asarray(plain(*(jnp.asarray(np.asarray(v), "float64") for v in (a, b)), windows))

    def error(y: Any) -> Any:
        return np.linalg.norm(np.asarray(y, "float64") - exact) / np.linalg.norm(exact)

    rounding = np.finfo("float32").eps / 4
    assert error(run(primitive, windows)(a, b)) <= 4 * max(error(plain(a, b, windows)), rounding)


def test_float64_keeps_its_precision() -> None:
    with jax.enable_x64(True):
        for name in CASES:
            windows, x, kernel, _ = setting(name, dtype="float64")
            agree(run(convolution.conv_p, windows)(x, kernel), convolution.plain(x, kernel, windows), 1e-14)


def test_the_forms_are_chosen_by_shape() -> None:
    three = windows_of((16, 16), (3, 3), 1, "same", 1, 1)
    assert winograd.fits(three, 32, 32)
    assert not winograd.fits(three, 8, 32)
    assert not winograd.fits(windows_of((16, 16), (3, 3), 2, "same", 1, 1), 32, 32)
    assert not winograd.fits(windows_of((16, 16), (5, 5), 1, "same", 1, 1), 32, 32)


def test_a_batch_in_pieces_is_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    windows, *arrays = setting("rows added", samples=6)
    monkeypatch.setattr(convolution_forms, "PIECE_BYTES", 1)
    monkeypatch.setattr(convolution_forms, "WINDOWS_PIECE_BYTES", 1)
    for primitive, plain in TRIANGLE:
        a, b = operands(primitive, *arrays)
        program = run(primitive, windows)
        assert "concatenate" in program.lower(a, b).as_text() or primitive is convolution.conv_kernel_gradient_p
        agree(program(a, b), plain(a, b, windows))


def test_no_convolution_is_left_in_the_program_on_cpu() -> None:
    windows, x, kernel, _ = setting("strided")
    gradient = jax.jit(jax.grad(lambda x, k: jnp.sum(run(convolution.conv_p, windows)(x, k) ** 2), (0, 1)))
    assert "stablehlo.convolution" not in gradient.lower(x, kernel).as_text()


def test_an_empty_batch() -> None:
    x, kernel = jnp.zeros((0, 8, 8, 32)), jnp.zeros((3, 3, 32, 32))
    options: Any = {"strides": (1, 1), "padding": "same", "data_format": "channels_last", "dilation_rate": (1, 1)}
    assert kernels.convolve(x, kernel, **options).shape == (0, 8, 8, 32)


@pytest.mark.parametrize("name", ["winograd", "strided", "groups"])
def test_the_proof_knows_all_three(name: str) -> None:
    windows, x, kernel, _ = setting(name)

    def by_kernel(x: Any) -> Any:
        return jax.grad(lambda k: jnp.sum(convolution.conv_p.bind(x, k, windows=windows, mapped=False) ** 2))(kernel)

    def by_input(x: Any) -> Any:
        return jax.grad(lambda x: jnp.sum(convolution.conv_p.bind(x, kernel, windows=windows, mapped=False) ** 2))(x)

    shape = x.shape[1:]
    assert lamella.batch.check(by_input, shape).verdict == "independent"
    assert lamella.batch.check(by_kernel, shape).verdict == "mixes"
    one = lamella.batch.per_sample(lambda x: by_kernel(x[None]))
    assert lamella.batch.check(one, shape).verdict == "independent"


def test_the_plain_form_can_be_asked_for() -> None:
    layer = lamella.layers.Conv2D(32, 3)
    x = jnp.asarray(DRAW.normal(size=(2, 8, 8, 32)), "float32")
    fast, kernel = layer(x), layer.kernel.value
    options: Any = {"strides": (1, 1), "padding": "valid", "data_format": "channels_last", "dilation_rate": (1, 1)}
    try:
        lamella.config.set_conv_algorithm("plain")
        assert lamella.config.conv_algorithm() == "plain"
        program = jax.jit(lambda x: kernels.convolve(x, kernel, **options)).lower(x).as_text()
        assert "stablehlo.convolution" in program
        agree(layer(x), fast)
    finally:
        lamella.config.set_conv_algorithm("auto")
    with pytest.raises(lamella.errors.ArgumentError, match="auto"):
        lamella.config.set_conv_algorithm("winograd")
