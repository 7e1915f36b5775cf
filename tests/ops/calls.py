"""Calls of ops with inputs of their own, written once and run on two libraries: `call(ops)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# Without arrays, or with lists and numbers.
CREATE: dict[str, Callable[[Any], Any]] = {
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
    "psnr": lambda ops: ops.psnr(_draw(2, 3), _draw(2, 3, seed=1), max_val=1.0),
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
}


def _draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


_X = _draw(2, 7, 6, 4)
_SQUARE = _draw(2, 3, 3) + 3 * np.eye(3, dtype="float32")
_SYMMETRIC = np.einsum("bij,bkj->bik", _SQUARE, _SQUARE)
_CLASSES = np.abs(_draw(3, 4))
_PAIR = (_draw(2, 8), _draw(2, 8, seed=1))
_HEADS = [_draw(2, 5, 4, 8, seed=seed) for seed in range(3)]

# Calls with inputs of their own, all float32.
SPECIAL: dict[str, Callable[[Any], Any]] = {
    "conv": lambda ops: ops.conv(_X, _draw(3, 2, 4, 5)),
    "conv_same": lambda ops: ops.conv(_X, _draw(3, 3, 4, 5), strides=2, padding="same"),
    "conv_dilated": lambda ops: ops.conv(_X, _draw(2, 2, 4, 5), dilation_rate=(2, 3)),
    "conv_groups": lambda ops: ops.conv(_X, _draw(3, 3, 2, 6)),
    "conv_1d": lambda ops: ops.conv(_X[0], _draw(3, 4, 5), strides=2),
    "conv_depthwise": lambda ops: ops.depthwise_conv(_X, _draw(3, 3, 4, 2), padding="same"),
    "conv_separable": lambda ops: ops.separable_conv(_X, _draw(3, 3, 4, 2), _draw(1, 1, 8, 3), strides=2),
    "conv_transpose": lambda ops: ops.conv_transpose(_X, _draw(3, 3, 5, 4), strides=2),
    "conv_transpose_same": lambda ops: ops.conv_transpose(_X, _draw(3, 4, 5, 4), strides=2, padding="same"),
    "conv_transpose_wide": lambda ops: ops.conv_transpose(_X, _draw(2, 1, 5, 4), strides=3),
    "conv_transpose_wide_same": lambda ops: ops.conv_transpose(_X, _draw(2, 1, 5, 4), strides=3, padding="same"),
    "conv_transpose_extra": lambda ops: ops.conv_transpose(_X, _draw(3, 3, 5, 4), 2, "same", output_padding=1),
    "conv_transpose_none": lambda ops: ops.conv_transpose(_X, _draw(3, 3, 5, 4), 2, "valid", output_padding=0),
    "conv_transpose_dilated": lambda ops: ops.conv_transpose(_X, _draw(3, 3, 5, 4), 1, "same", dilation_rate=2),
    "max_pool": lambda ops: ops.max_pool(_X, (2, 2), (2, 2)),
    "max_pool_same": lambda ops: ops.max_pool(_X, (3, 2), strides=2, padding="same"),
    "max_pool_int": lambda ops: ops.max_pool((_X * 9).astype("int32"), (2, 3), (1, 2)),
    "average_pool": lambda ops: ops.average_pool(_X, (2, 2), strides=1),
    "average_pool_same": lambda ops: ops.average_pool(_X, 3, strides=2, padding="same"),
    "average_pool_1d": lambda ops: ops.average_pool(_X[0], 4, 3, padding="same"),
    "adaptive_average_pool": lambda ops: ops.adaptive_average_pool(_X, (3, 4)),
    "adaptive_max_pool": lambda ops: ops.adaptive_max_pool(_X, 3),
    "space_to_depth": lambda ops: ops.space_to_depth(_X[:, :6], 2),
    "depth_to_space": lambda ops: ops.depth_to_space(_X, 2),
    "depth_to_space_first": lambda ops: ops.depth_to_space(_X[:, :4], 2, data_format="channels_first"),
    "unfold": lambda ops: ops.unfold(_X, (3, 2), padding=1, stride=2),
    "fold": lambda ops: ops.fold(_draw(2, 8, 9), (6, 6), 2, stride=2),
    "attention": lambda ops: ops.dot_product_attention(*_HEADS),
    "attention_causal": lambda ops: ops.dot_product_attention(*_HEADS, is_causal=True, scale=0.3),
    "attention_mask": lambda ops: ops.dot_product_attention(*_HEADS, mask=np.tril(np.ones((2, 4, 5, 5), bool))),
    "attention_bias": lambda ops: ops.dot_product_attention(*_HEADS, bias=_draw(2, 4, 5, 5)),
    "attention_shared": lambda ops: ops.dot_product_attention(_HEADS[0], *(x[:, :, :2] for x in _HEADS[1:])),
    "batch_normalization": lambda ops: ops.batch_normalization(
        _X, _draw(4), np.abs(_draw(4)), axis=-1, offset=_draw(4), scale=_draw(4, seed=1)
    ),
    "batch_normalization_axis": lambda ops: ops.batch_normalization(_X, _draw(7), np.abs(_draw(7)), axis=1),
    "layer_normalization": lambda ops: ops.layer_normalization(_X, _draw(4), _draw(4, seed=1)),
    "layer_normalization_bare": lambda ops: ops.layer_normalization(_X, epsilon=1e-5),
    "rms_normalization": lambda ops: ops.rms_normalization(_X, _draw(4)),
    "binary_crossentropy": lambda ops: ops.binary_crossentropy([0.0, 1.0, 1.0], [0.1, 0.7, 0.0]),
    "binary_crossentropy_logits": lambda ops: ops.binary_crossentropy([0.0, 1.0], [-3.0, 2.0], from_logits=True),
    "categorical_crossentropy": lambda ops: ops.categorical_crossentropy(np.eye(4, dtype="float32")[:3], _CLASSES),
    "categorical_logits": lambda ops: ops.categorical_crossentropy(_CLASSES, _draw(3, 4), from_logits=True),
    "sparse_crossentropy": lambda ops: ops.sparse_categorical_crossentropy(np.array([0, 3, 1]), _CLASSES),
    "sparse_crossentropy_column": lambda ops: ops.sparse_categorical_crossentropy(np.array([[0], [3], [1]]), _CLASSES),
    "sparse_logits": lambda ops: ops.sparse_categorical_crossentropy(np.array([0, 3, 1]), _CLASSES, from_logits=True),
    "one_hot_unknown": lambda ops: ops.one_hot(np.array([-1, 1, 7]), 3),
    "multi_hot_vector": lambda ops: ops.multi_hot(np.array([1, 3]), num_classes=5, dtype="int32"),
    "cholesky": lambda ops: ops.cholesky(_SYMMETRIC),
    "cholesky_upper": lambda ops: ops.cholesky(_SYMMETRIC, upper=True),
    "cholesky_inverse": lambda ops: ops.cholesky_inverse(np.linalg.cholesky(_SYMMETRIC[0])),
    "cholesky_inverse_upper": lambda ops: ops.cholesky_inverse(np.linalg.cholesky(_SYMMETRIC[0]).T, upper=True),
    "det": lambda ops: ops.det(_SQUARE),
    "inv": lambda ops: ops.inv(_SQUARE),
    "slogdet": lambda ops: ops.slogdet(_SQUARE),
    "logdet": lambda ops: ops.logdet(_SYMMETRIC),
    "eig": lambda ops: ops.eig(_SQUARE)[0],
    "eigh": lambda ops: ops.eigh(_SYMMETRIC),
    "lu_factor": lambda ops: ops.lu_factor(_SQUARE),
    "qr": lambda ops: ops.qr(_SQUARE),
    "svd": lambda ops: ops.svd(_draw(4, 3), full_matrices=False),
    "svd_values": lambda ops: ops.svd(_SQUARE, compute_uv=False),
    "solve": lambda ops: ops.solve(_SQUARE, _draw(2, 3, 2)),
    "solve_vector": lambda ops: ops.solve(_SQUARE[0], _draw(3)),
    "solve_triangular": lambda ops: ops.solve_triangular(_SQUARE, _draw(2, 3, 2), lower=True),
    "lstsq": lambda ops: ops.lstsq(_draw(5, 3), _draw(5)),
    "pinv": lambda ops: ops.pinv(_draw(5, 3)),
    "matrix_rank": lambda ops: ops.matrix_rank(_SQUARE),
    "matrix_rank_tol": lambda ops: ops.matrix_rank(_SQUARE, tol=3.0),
    "fft": lambda ops: ops.fft(_PAIR),
    "fft2": lambda ops: ops.fft2(_PAIR),
    "ifft2": lambda ops: ops.ifft2(_PAIR),
    "rfft": lambda ops: ops.rfft(_PAIR[0], fft_length=6),
    "irfft": lambda ops: ops.irfft(_PAIR),
    "stft": lambda ops: ops.stft(_draw(2, 40), 8, 4, 16),
    "stft_plain": lambda ops: ops.stft(_draw(2, 40), 8, 4, 8, window="hamming", center=False),
    "istft": lambda ops: ops.istft(ops.stft(_draw(2, 40), 16, 4, 16), 16, 4, 16),
    "istft_length": lambda ops: ops.istft(
        ops.stft(_draw(2, 40), 8, 2, 8, center=False), 8, 2, 8, length=30, center=False
    ),
    "angle": lambda ops: ops.angle(np.array([1 + 1j, -2j], "complex64")),
    "imag": lambda ops: ops.imag(np.array([1 + 1j, -2j], "complex64")),
    "vectorize": lambda ops: ops.vectorize(lambda a, b: a + b, signature="(n),()->(n)")(_draw(2, 3), _draw(2)),
    "custom_gradient": lambda ops: ops.custom_gradient(lambda x: (x * 2, lambda *a, upstream=None: a[0]))(3.0),
}
