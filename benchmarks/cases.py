"""The operations that `kernels.py` measures: each as a layer of lamella, in plain JAX, and in torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import lamella
from lamella import layers, ops

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One operation on one shape.

    `lamella` makes a layer, or a function of (weights, x) where `weight_shapes` are given. `stock` is a function of
    (weights, x), the weights in Keras's order. `torch`, given the module, makes a function of x and the list of its
    weights. `flops` counts the textbook's products forward.
    """

    shape: Shape
    lamella: Callable[[], Any]
    stock: Callable[[Any, Any], Any]
    torch: Callable[[Any], tuple[Callable[[Any], Any], Any]]
    flops: float = 0
    weight_shapes: tuple[Shape, ...] = ()
    rows: int = 0
    comparable: bool = True
    channels_first: bool = False

    def x(self) -> Any:
        """The input: normal numbers, or indices of rows."""
        draw = np.random.default_rng(0)
        if self.rows:
            return draw.integers(0, self.rows, self.shape, dtype="int32")
        return draw.normal(size=self.shape).astype("float32")

    def weights(self) -> list[Any]:
        """Weights of a function."""
        draw = np.random.default_rng(1)
        return [draw.normal(size=shape).astype("float32") / np.sqrt(prod(shape[:-1])) for shape in self.weight_shapes]


def _module(make: Callable[[Any], Any]) -> Callable[[Any], tuple[Callable[[Any], Any], Any]]:
    """A torch module, its pictures' layout channels last, as a function and its weights."""

    def made(torch: Any) -> tuple[Callable[[Any], Any], Any]:
        module = make(torch.nn)
        if any(weight.ndim == 4 for weight in module.parameters()):
            module = module.to(memory_format=torch.channels_last)
        recurrent = isinstance(module, torch.nn.RNNBase)
        return (lambda x: module(x)[0]) if recurrent else module, list(module.parameters())

    return made


def _lax_conv(x: Any, kernel: Any, strides: Shape, groups: int = 1) -> Any:
    letters = "HW"[2 - len(strides) :]
    layout = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    return lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=layout, feature_group_count=groups)


def conv(shape: Shape, filters: int, size: int, stride: int = 1, groups: int = 1) -> Case:
    """A convolution with "same" padding and a bias, in one or two dimensions."""
    rank = len(shape) - 2
    steps = (stride,) * rank
    layer = layers.Conv2D if rank == 2 else layers.Conv1D
    cells = shape[0] * prod(-(-side // stride) for side in shape[1:-1])
    return Case(
        shape,
        lambda: layer(filters, size, strides=stride, padding="same", groups=groups),
        lambda weights, x: _lax_conv(x, weights[0], steps, groups) + weights[1],
        _module(
            lambda nn: (nn.Conv2d if rank == 2 else nn.Conv1d)(
                shape[-1], filters, size, stride, padding=size // 2, groups=groups
            )
        ),
        flops=2 * cells * size**rank * shape[-1] // groups * filters,
        channels_first=True,
    )


def transposed_conv(shape: Shape, filters: int) -> Case:
    """A transposed convolution of 3 by 3 with stride 2."""
    return Case(
        shape,
        lambda: lambda weights, x: ops.conv_transpose(x, weights[0], 2, "same"),
        lambda weights, x: lax.conv_transpose(x, weights[0], (2, 2), "SAME", transpose_kernel=True),
        _module(lambda nn: nn.ConvTranspose2d(shape[-1], filters, 3, 2, padding=1, output_padding=1, bias=False)),
        flops=2 * prod(shape) * 9 * filters,
        weight_shapes=((3, 3, filters, shape[-1]),),
        comparable=False,  # where the odd cell of "same" padding goes differs
        channels_first=True,
    )


def pool(shape: Shape, kind: str, size: int, stride: int) -> Case:
    """A maximum or a mean over windows."""
    window, steps = (1, size, size, 1), (1, stride, stride, 1)

    def stock(_: Any, x: Any) -> Any:
        if kind == "max":
            return lax.reduce_window(x, -jnp.inf, lax.max, window, steps, "VALID")
        return lax.reduce_window(x, 0.0, lax.add, window, steps, "VALID") / size**2

    layer = layers.MaxPooling2D if kind == "max" else layers.AveragePooling2D
    return Case(
        shape,
        lambda: layer(size, stride),
        stock,
        _module(lambda nn: (nn.MaxPool2d if kind == "max" else nn.AvgPool2d)(size, stride)),
        channels_first=True,
    )


def _scanned(weights: Any, x: Any, gates: int, step: Callable[[Any, Any], Any], states: int) -> Any:
    """A loop over time, the products with the inputs before it."""
    units = weights[1].shape[0]
    bias = weights[2] if weights[2].ndim == 1 else weights[2][0]
    projected = jnp.swapaxes(x @ weights[0] + bias, 0, 1)
    zeros = (jnp.zeros((x.shape[0], units), x.dtype),) * states
    return jnp.swapaxes(lax.scan(step, zeros, projected)[1], 0, 1)


def _lstm(weights: Any, x: Any) -> Any:
    def step(state: Any, projected: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(projected + h @ weights[1], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return _scanned(weights, x, 4, step, 2)


def _gru(weights: Any, x: Any) -> Any:
    def step(state: Any, projected: Any) -> Any:
        (h,) = state
        inner = h @ weights[1] + weights[2][1]
        z, r = (jax.nn.sigmoid(part) for part in jnp.split((projected + inner)[:, : 2 * h.shape[-1]], 2, -1))
        candidate = jnp.tanh(jnp.split(projected, 3, -1)[2] + r * jnp.split(inner, 3, -1)[2])
        h = z * h + (1 - z) * candidate
        return (h,), h

    return _scanned(weights, x, 3, step, 1)


def recurrent(shape: Shape, kind: str, units: int) -> Case:
    """An LSTM or a GRU that returns its sequences."""
    gates = {"LSTM": 4, "GRU": 3}[kind]
    return Case(
        shape,
        lambda: getattr(layers, kind)(units, return_sequences=True),
        _lstm if kind == "LSTM" else _gru,
        _module(lambda nn: getattr(nn, kind)(shape[-1], units, batch_first=True)),
        flops=2 * prod(shape[:2]) * (shape[-1] + units) * gates * units,
    )


def _normalized(weights: Any, x: Any, axes: tuple[int, ...]) -> Any:
    mean, variance = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-3) * weights[0] + weights[1]


def layer_norm(shape: Shape) -> Case:
    """Normalization of the last axis."""
    return Case(
        shape,
        layers.LayerNormalization,
        lambda weights, x: _normalized(weights, x, (-1,)),
        _module(lambda nn: nn.LayerNorm(shape[-1])),
    )


def batch_norm(shape: Shape) -> Case:
    """Normalization of each channel over batch and place, as in training."""
    return Case(
        shape,
        layers.BatchNormalization,
        lambda weights, x: _normalized(weights, x, (0, 1, 2)),
        _module(lambda nn: nn.BatchNorm2d(shape[-1])),
        channels_first=True,
    )


def dropout(shape: Shape) -> Case:
    """Noise of a new key in each call; what is drawn differs."""

    def stock(_: Any, x: Any) -> Any:
        return jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), x / 0.5, 0)

    return Case(shape, lambda: layers.Dropout(0.5), stock, _module(lambda nn: nn.Dropout(0.5)), comparable=False)


def attention(batch: int, heads: int, time: int, width: int) -> Case:
    """Scaled dot-product attention; the input holds queries, keys and values side by side."""

    def fused(_: Any, x: Any) -> Any:
        return ops.dot_product_attention(x[0], x[1], x[2])

    def stock(_: Any, x: Any) -> Any:
        scores = jnp.einsum("bqhd,bkhd->bhqk", x[0], x[1]) / np.float32(np.sqrt(width))
        return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), x[2])

    def of_torch(torch: Any) -> Any:
        attend = torch.nn.functional.scaled_dot_product_attention
        return lambda x: attend(*(part.transpose(1, 2) for part in x)).transpose(1, 2), []

    flops = 4 * batch * heads * time**2 * width
    return Case((3, batch, time, heads, width), lambda: fused, stock, of_torch, flops)


def dense(shape: Shape, units: int) -> Case:
    """An affine map with relu."""
    return Case(
        shape,
        lambda: layers.Dense(units, activation="relu"),
        lambda weights, x: jax.nn.relu(x @ weights[0] + weights[1]),
        _module(lambda nn: nn.Sequential(nn.Linear(shape[-1], units), nn.ReLU())),
        flops=2 * prod(shape) * units,
    )


def embedding(shape: Shape, rows: int, width: int) -> Case:
    """Rows of a table."""
    return Case(
        shape,
        lambda: layers.Embedding(rows, width),
        lambda weights, ids: jnp.take(weights[0], ids, axis=0),
        _module(lambda nn: nn.Embedding(rows, width)),
        rows=rows,
    )


FILTERS = (32, 32, 64, 64, 128, 128)


def small_cnn(batch: int) -> Case:
    """Six convolutions of 3 by 3 with two maximum poolings, a mean over places and a linear map."""

    def of_lamella() -> Any:
        model = lamella.Sequential([lamella.Input((32, 32, 3))])
        for place, filters in enumerate(FILTERS):
            model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
            if place in (1, 3):
                model.add(layers.MaxPooling2D())
        model.add(layers.GlobalAveragePooling2D())
        model.add(layers.Dense(10))
        return model

    def stock(weights: Any, x: Any) -> Any:
        for place in range(6):
            x = jax.nn.relu(_lax_conv(x, weights[2 * place], (1, 1)) + weights[2 * place + 1])
            if place in (1, 3):
                x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return x.mean((1, 2)) @ weights[-2] + weights[-1]

    def of_torch(nn: Any) -> Any:
        parts = []
        for place, (before, filters) in enumerate(zip((3, *FILTERS), FILTERS, strict=False)):
            parts += [nn.Conv2d(before, filters, 3, padding=1), nn.ReLU()]
            parts += [nn.MaxPool2d(2)] if place in (1, 3) else []
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))

    sides = (32, 32, 16, 16, 8, 8)
    products = zip((3, *FILTERS), FILTERS, sides, strict=False)
    flops = sum(2 * batch * side**2 * 9 * before * filters for before, filters, side in products)
    return Case((batch, 32, 32, 3), of_lamella, stock, _module(of_torch), flops, channels_first=True)


CASES = {
    "conv 3x3, 32x28x28x32 to 64": conv((32, 28, 28, 32), 64, 3),
    "conv 3x3, 16x56x56x64 to 64": conv((16, 56, 56, 64), 64, 3),
    "conv 3x3 by 2, 16x56x56x64 to 128": conv((16, 56, 56, 64), 128, 3, stride=2),
    "conv 1x1, 16x56x56x64 to 128": conv((16, 56, 56, 64), 128, 1),
    "conv 3x3, 16x28x28x3 to 32": conv((16, 28, 28, 3), 32, 3),
    "conv 5, 16x256x64 to 128": conv((16, 256, 64), 128, 5),
    "transposed by 2, 16x28x28x64 to 32": transposed_conv((16, 28, 28, 64), 32),
    "depthwise 3x3, 16x56x56x64": conv((16, 56, 56, 64), 64, 3, groups=64),
    "max pool 2, 32x56x56x64": pool((32, 56, 56, 64), "max", 2, 2),
    "average pool 2, 32x56x56x64": pool((32, 56, 56, 64), "average", 2, 2),
    "max pool 3 by 2, 32x56x56x64": pool((32, 56, 56, 64), "max", 3, 2),
    "lstm, 64x100x128 to 256": recurrent((64, 100, 128), "LSTM", 256),
    "lstm, 8x20x10 to 64": recurrent((8, 20, 10), "LSTM", 64),
    "gru, 64x100x128 to 256": recurrent((64, 100, 128), "GRU", 256),
    "gru, 8x20x10 to 64": recurrent((8, 20, 10), "GRU", 64),
    "layer norm, 32x56x56x64": layer_norm((32, 56, 56, 64)),
    "batch norm, 32x56x56x64": batch_norm((32, 56, 56, 64)),
    "attention, 8 of 8 heads, 256 by 64": attention(8, 8, 256, 64),
    "dense, 512x1024 to 1024": dense((512, 1024), 1024),
    "dense, 32x784 to 128": dense((32, 784), 128),
    "embedding, 32x200 of 20000x128": embedding((32, 200), 20000, 128),
    "dropout, 64x256x512": dropout((64, 256, 512)),
    "six-layer cnn, 64x32x32x3": small_cnn(64),
}
