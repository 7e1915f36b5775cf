"""Calls of ops with inputs of their own, written once and run on two libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[..., Any]

# Without arrays, or with lists and numbers: `call(ops)`.
CREATE: dict[str, Call] = {
    "zeros": lambda ops: ops.zeros((2, 3)),
    "ones": lambda ops: ops.ones([2], dtype="int32"),
    "empty": lambda ops: ops.shape(ops.empty((2, 3), "float16")),
    "full": lambda ops: ops.full((2,), 3),
    "full_int": lambda ops: ops.full((2,), 3, dtype="int32"),
    "eye": lambda ops: ops.eye(3, 4, k=1),
    "identity": lambda ops: ops.identity(3, dtype="bool"),
    "tri": lambda ops: ops.tri(3, k=-1),
    "arange": lambda ops: ops.arange(5),
    "arange_float": lambda ops: ops.arange(0.0, 1.0, 0.25),
    "arange_step": lambda ops: ops.arange(2, 10, 3),
    "arange_dtype": lambda ops: ops.arange(3, dtype="float16"),
    "arange_mixed": lambda ops: ops.arange(1, 2.5),
    "linspace": lambda ops: ops.linspace(0, 1, 5),
    "linspace_open": lambda ops: ops.linspace(0, 10, num=4, endpoint=False, retstep=True),
    "linspace_int": lambda ops: ops.linspace(0, 10, num=3, dtype="int32"),
    "logspace": lambda ops: ops.logspace(0, 2, 3),
    "geomspace": lambda ops: ops.geomspace(1, 8, 4),
    "bartlett": lambda ops: ops.bartlett(5),
    "blackman": lambda ops: ops.blackman(5),
    "hamming": lambda ops: ops.hamming(5),
    "hanning": lambda ops: ops.hanning(5),
    "kaiser": lambda ops: ops.kaiser(5, 8.6),
    "array_list": lambda ops: ops.array([1, 2, 3]),
    "array_dtype": lambda ops: ops.array([1, 2, 3], dtype="float32"),
    "tensor_float": lambda ops: ops.convert_to_tensor(2.5),
    "tensor_bool": lambda ops: ops.convert_to_tensor([True, False]),
    "tensor_mixed": lambda ops: ops.convert_to_tensor([[1, 2.5], [3, 4]]),
    "scalar_sqrt": lambda ops: ops.sqrt(2),
    "scalar_add": lambda ops: ops.add(1, 2.5),
    "list_sum": lambda ops: ops.sum([1, 2, 3]),
    "list_add": lambda ops: ops.add([1, 2], [3.0, 4.0]),
    "list_stack": lambda ops: ops.stack([[1, 2], [3, 4]], axis=-1),
    "array64": lambda ops: ops.sqrt(np.array([1.0, 2.0])),
    "int64": lambda ops: ops.add(np.array([1, 2]), np.array([1, 2])),
    "correlate": lambda ops: ops.correlate([1, 2, 3], [0, 1, 0.5], mode="same"),
    "in_top_k": lambda ops: ops.in_top_k(
        np.array([1, 2, 0]), np.array([[0.1, 0.9, 0.8], [0.3, 0.3, 0.3], [np.nan, 1, 2]]), k=2
    ),
    "divide_no_nan": lambda ops: ops.divide_no_nan([1.0, 2.0], [0.0, 4.0]),
    "nan_to_num": lambda ops: ops.nan_to_num([np.nan, np.inf, -np.inf], nan=1.0, posinf=2.0),
    "view_as_complex": lambda ops: ops.view_as_complex([[1.0, 2.0], [3.0, 4.0]]),
    "view_as_real": lambda ops: ops.view_as_real(np.array([1 + 2j, 3 - 1j], "complex64")),
    "switch": lambda ops: ops.switch(1, [lambda x: x, lambda x: x * 2], 3.0),
    "cond": lambda ops: ops.cond(True, lambda: 1.0, lambda: 2.0),
    "while_loop": lambda ops: ops.while_loop(lambda i, x: i < 9, lambda i, x: (i + 1, x * 2), (0, 1.0), 4),
    "while_single": lambda ops: ops.while_loop(lambda i: i < 9, lambda i: i + 4, 0),
    "unstack_num": lambda ops: ops.unstack(np.ones((2, 3), "float32"), num=2),
    "jvp": lambda ops: ops.jvp(ops.sin, (0.5,), (2.0,)),
    "allclose": lambda ops: ops.allclose([1.0], [1.0 + 1e-7]),
    "istft_of_stft": lambda ops: ops.istft(ops.stft(np.arange(40.0, dtype="float32"), 8, 2, 8), 8, 2, 8),
    "angle": lambda ops: ops.angle(np.array([1 + 1j, -2j], "complex64")),
    "imag": lambda ops: ops.imag(np.array([1 + 1j, -2j], "complex64")),
    "one_hot_unknown": lambda ops: ops.one_hot(np.array([-1, 1, 7]), 3),
    "multi_hot_vector": lambda ops: ops.multi_hot(np.array([1, 3]), num_classes=5, dtype="int32"),
    "matrix_rank_tol": lambda ops: ops.matrix_rank(np.diag([5.0, 2.0]), tol=3.0),
    "max_pool_int": lambda ops: ops.max_pool(np.arange(40).reshape(2, 5, 2, 2) % 7, (2, 1), (1, 2)),
}


def _draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


_X = _draw(2, 7, 6, 4)
_STEPS = _draw(2, 9, 4)
_IMAGE = _draw(2, 4, 6, 6)
_SQUARE = _draw(2, 3, 3) + 3 * np.eye(3, dtype="float32")
_SYMMETRIC = np.einsum("bij,bkj->bik", _SQUARE, _SQUARE)
_LOWER = np.linalg.cholesky(_SYMMETRIC)
_CHANCES = np.abs(_draw(2, 4))
_HOT = np.eye(4, dtype="float32")[[3, 1]]
_PAIR = (_draw(2, 8), _draw(2, 8, seed=1))
_WAVE = _draw(2, 40)
_HEADS = [_draw(2, 5, 4, 8, seed=seed) for seed in range(3)]
_FEW = (_HEADS[0], *(x[:, :, :2] for x in _HEADS[1:]))


def _stft(*args: Any, **options: Any) -> Call:
    return lambda ops, x: ops.stft(x, *args, **options)


def _back(*args: Any, **options: Any) -> Call:
    return lambda ops, real, imaginary: ops.istft((real, imaginary), *args, **options)


def _with(name: str, **options: Any) -> Call:
    return lambda ops, *xs: getattr(ops, name)(*xs, **options)


_FRAMES = tuple(_draw(2, 11, 9, seed=seed) for seed in (0, 1))
_FIRST = {"data_format": "channels_first"}

# By op: calls and the float32 arrays that each gets. An array whose first axis has size 2 holds a batch.
MANY: dict[str, list[tuple[Any, ...]]] = {
    "conv": [
        (_with("conv"), _X, _draw(3, 2, 4, 5)),
        (_with("conv", strides=2, padding="same"), _X, _draw(3, 3, 4, 5)),
        (_with("conv", dilation_rate=(2, 3)), _X, _draw(3, 2, 4, 5)),
        (_with("conv"), _X, _draw(3, 3, 2, 6)),
        (_with("conv", strides=2), _STEPS, _draw(3, 4, 5)),
        (_with("conv", padding="same", **_FIRST), _IMAGE, _draw(3, 3, 4, 5)),
    ],
    "depthwise_conv": [
        (_with("depthwise_conv", padding="same"), _X, _draw(3, 3, 4, 2)),
        (_with("depthwise_conv", strides=2), _STEPS, _draw(3, 4, 1)),
    ],
    "separable_conv": [
        (_with("separable_conv", strides=2), _X, _draw(3, 3, 4, 2), _draw(1, 1, 8, 3)),
        (_with("separable_conv"), _STEPS, _draw(3, 4, 2), _draw(1, 8, 3)),
    ],
    "conv_transpose": [
        (_with("conv_transpose", strides=2), _X, _draw(3, 3, 5, 4)),
        (_with("conv_transpose", strides=2, padding="same"), _X, _draw(3, 4, 5, 4)),
        (_with("conv_transpose", strides=3), _X, _draw(3, 1, 5, 4)),
        (_with("conv_transpose", strides=3, padding="same"), _X, _draw(1, 1, 5, 4)),
        (_with("conv_transpose", strides=2, padding="same", output_padding=1), _X, _draw(3, 3, 5, 4)),
        (_with("conv_transpose", strides=2, padding="valid", output_padding=0), _X, _draw(3, 3, 5, 4)),
        (_with("conv_transpose", padding="same", dilation_rate=2), _X, _draw(3, 3, 5, 4)),
    ],
    "max_pool": [
        (_with("max_pool", pool_size=(2, 2), strides=(2, 2)), _X),
        (_with("max_pool", pool_size=(3, 2), strides=2, padding="same"), _X),
        (_with("max_pool", pool_size=2, **_FIRST), _IMAGE),
    ],
    "average_pool": [
        (_with("average_pool", pool_size=(2, 2), strides=1), _X),
        (_with("average_pool", pool_size=3, strides=2, padding="same"), _X),
        (_with("average_pool", pool_size=4, strides=3, padding="same"), _STEPS),
    ],
    "adaptive_average_pool": [
        (_with("adaptive_average_pool", output_size=(3, 4)), _X),
        (_with("adaptive_average_pool", output_size=4, **_FIRST), _IMAGE),
    ],
    "adaptive_max_pool": [(_with("adaptive_max_pool", output_size=3), x) for x in (_X, _STEPS)],
    "space_to_depth": [(_with("space_to_depth", block_size=2), _X[:, :6])],
    "depth_to_space": [
        (_with("depth_to_space", block_size=2), _X),
        (_with("depth_to_space", block_size=2, **_FIRST), _IMAGE),
    ],
    "unfold": [(_with("unfold", kernel_size=(3, 2), padding=1, stride=2), _X)],
    "fold": [(_with("fold", output_size=(6, 6), kernel_size=2, stride=2), _draw(2, 8, 9))],
    "dot_product_attention": [
        (_with("dot_product_attention"), *_HEADS),
        (_with("dot_product_attention", is_causal=True, scale=0.3), *_HEADS),
        (_with("dot_product_attention", mask=np.tril(np.ones((1, 4, 5, 5), bool))), *_HEADS),
        (_with("dot_product_attention"), *_HEADS, _draw(2, 4, 5, 5)),
        (_with("dot_product_attention"), *_FEW),
    ],
    "batch_normalization": [
        (
            lambda ops, x, *rest: ops.batch_normalization(x, *rest[:2], -1, *rest[2:]),
            *(_X, _draw(4), _CHANCES[0], _draw(4), _draw(4, seed=1)),
        ),
        (lambda ops, x, *rest: ops.batch_normalization(x, *rest, axis=1), _X, _draw(7), np.abs(_draw(7))),
    ],
    "layer_normalization": [
        (_with("layer_normalization"), _X, _draw(4), _draw(4, seed=1)),
        (_with("layer_normalization", epsilon=1e-5), _X),
        (_with("layer_normalization", axis=(-2, -1)), _X, _draw(6, 4), _draw(6, 4, seed=1)),
    ],
    "rms_normalization": [(_with("rms_normalization"), _X, _draw(4))],
    "binary_crossentropy": [
        (_with("binary_crossentropy"), _HOT, _CHANCES / 3),
        (_with("binary_crossentropy", from_logits=True), _HOT, _draw(2, 4)),
    ],
    "categorical_crossentropy": [
        (_with("categorical_crossentropy"), _HOT, _CHANCES),
        (_with("categorical_crossentropy", from_logits=True), _CHANCES, _draw(2, 4)),
        (_with("categorical_crossentropy", axis=1), _IMAGE, np.abs(_IMAGE)),
    ],
    "sparse_categorical_crossentropy": [
        (lambda ops, x: ops.sparse_categorical_crossentropy(_labels(ops, x), x), _CHANCES),
        (lambda ops, x: ops.sparse_categorical_crossentropy(_labels(ops, x)[..., None], x), _CHANCES),
        (lambda ops, x: ops.sparse_categorical_crossentropy(_labels(ops, x), x, from_logits=True), _draw(2, 3, 4)),
    ],
    "cholesky": [(_with("cholesky"), _SYMMETRIC), (_with("cholesky", upper=True), _SYMMETRIC)],
    "cholesky_inverse": [
        (_with("cholesky_inverse"), _LOWER[0]),
        (_with("cholesky_inverse", upper=True), _LOWER[0].T),
    ],
    **{name: [(_with(name), _SQUARE)] for name in ("det", "inv", "slogdet", "lu_factor", "qr", "pinv", "matrix_rank")},
    "logdet": [(_with("logdet"), _SYMMETRIC)],
    "eig": [(lambda ops, x: ops.eig(x)[0], _SQUARE)],
    "eigh": [(_with("eigh"), _SYMMETRIC)],
    "svd": [(_with("svd", full_matrices=False), _draw(4, 3)), (_with("svd", compute_uv=False), _SQUARE)],
    "solve": [(_with("solve"), _SQUARE, _draw(2, 3, 2)), (_with("solve"), _SQUARE[0], _draw(3))],
    "solve_triangular": [
        (_with("solve_triangular", lower=True), _SQUARE, _draw(2, 3, 2)),
        (_with("solve_triangular"), _SQUARE[0], _draw(3)),
    ],
    "lstsq": [(_with("lstsq"), _draw(5, 3), _draw(5))],
    "fft": [(lambda ops, a, b: ops.fft((a, b)), *_PAIR)],
    "fft2": [(lambda ops, a, b: ops.fft2((a, b)), *_PAIR)],
    "ifft2": [(lambda ops, a, b: ops.ifft2((a, b)), *_PAIR)],
    "rfft": [(_with("rfft", fft_length=6), _PAIR[0])],
    "irfft": [(lambda ops, a, b: ops.irfft((a, b)), *_PAIR)],
    "stft": [
        (_stft(8, 4, 16), _WAVE),
        (_stft(8, 4, 8, window="hamming", center=False), _WAVE),
        (_stft(8, 4, 8, window=None), _WAVE),
    ],
    "istft": [
        (_back(16, 4, 16), *_FRAMES),
        (_back(16, 4, 16, length=30, center=False), *_FRAMES),
    ],
    "linspace": [(_with("linspace", num=3, axis=-1), _draw(2), _draw(2, seed=1))],
    "vectorize": [
        (lambda ops, x, y: ops.vectorize(lambda a, b: a + b, signature="(n),()->(n)")(x, y), _draw(2, 3), _draw(2))
    ],
}


def _labels(ops: Any, x: Any) -> Any:
    return ops.argmax(ops.abs(x), axis=-1)
