"""Flax NNX as one writes it: modules, `nnx.jit` around one step, a Python loop over batches."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.speed.definition import DROPPED, HEADS, MOBILE_BLOCKS, MOBILE_STEM, RESNET_BLOCKS, RESNET_STAGES, WIDTH
from benchmarks.speed.peers.optaxed import loss_of, predicted, shuffled
from benchmarks.speed.workloads import WORKLOADS

VERSIONS = {"flax": flax.__version__, "jax": jax.__version__}
THREADS = os.cpu_count()
wait = jax.block_until_ready

max_pool = partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))


def places(x: Any) -> Any:
    return x.mean((1, 2))


def _mlp(features: int, units: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
    hidden = [nnx.Linear(features, units, rngs=rngs), nnx.relu, nnx.Linear(units, units, rngs=rngs), nnx.relu]
    return nnx.Sequential(*hidden, nnx.Linear(units, outputs, rngs=rngs))


def _convnet(rngs: nnx.Rngs) -> nnx.Module:
    conv = partial(nnx.Conv, kernel_size=(3, 3), padding="VALID", rngs=rngs)
    convs = [conv(1, 32), nnx.relu, max_pool, conv(32, 64), nnx.relu, max_pool]
    return nnx.Sequential(
        *convs, lambda x: x.reshape(len(x), -1), nnx.Dropout(0.5, rngs=rngs), nnx.Linear(1600, 10, rngs=rngs)
    )


def _conv(before: int, filters: int, size: int, stride: int, rngs: nnx.Rngs, groups: int = 1) -> list[Any]:
    conv = nnx.Conv(
        before, filters, (size, size), (stride, stride), use_bias=False, feature_group_count=groups, rngs=rngs
    )
    return [conv, nnx.BatchNorm(filters, rngs=rngs)]


class Block(nnx.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, before: int, filters: int, stride: int, rngs: nnx.Rngs) -> None:
        first = _conv(before, filters, 3, stride, rngs)
        self.body = nnx.Sequential(*first, nnx.relu, *_conv(filters, filters, 3, 1, rngs))
        self.short = nnx.Sequential(*_conv(before, filters, 1, stride, rngs)) if stride > 1 else None

    def __call__(self, x: Any) -> Any:
        return nnx.relu(self.body(x) + (x if self.short is None else self.short(x)))


def _resnet(rngs: nnx.Rngs) -> nnx.Module:
    parts, before = [*_conv(3, 16, 3, 1, rngs), nnx.relu], 16
    for filters, stride in RESNET_STAGES:
        for block in range(RESNET_BLOCKS):
            parts.append(Block(before, filters, stride if block == 0 else 1, rngs))
            before = filters
    return nnx.Sequential(*parts, places, nnx.Linear(before, 10, rngs=rngs))


def _mobile(rngs: nnx.Rngs) -> nnx.Module:
    parts, before = [*_conv(3, MOBILE_STEM, 3, 1, rngs), nnx.relu], MOBILE_STEM
    for filters, stride in MOBILE_BLOCKS:
        parts += [*_conv(before, before, 3, stride, rngs, before), nnx.relu]
        parts += [*_conv(before, filters, 1, 1, rngs), nnx.relu]
        before = filters
    return nnx.Sequential(*parts, places, nnx.Linear(before, 10, rngs=rngs))


def _lstm(features: int, units: int, rngs: nnx.Rngs, **options: Any) -> nnx.RNN:
    return nnx.RNN(nnx.OptimizedLSTMCell(features, units, rngs=rngs), **options)


class Words(nnx.Module):
    """Two bidirectional LSTMs; padded sequences go with their lengths."""

    def __init__(self, masked: bool, rngs: nnx.Rngs) -> None:
        self.masked = masked
        self.embedding = nnx.Embed(WORKLOADS["text_bilstm"].rows, 128, rngs=rngs)
        self.layers = nnx.List([nnx.Bidirectional(_lstm(128, 64, rngs), _lstm(128, 64, rngs)) for _ in range(2)])
        self.head = nnx.Linear(128, 1, rngs=rngs)

    def __call__(self, ids: Any) -> Any:
        lengths = (ids != 0).sum(1) if self.masked else None
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x, seq_lengths=lengths)
        last = jnp.full(len(x), x.shape[1]) if lengths is None else lengths
        forth = jnp.take_along_axis(x[..., :64], last[:, None, None] - 1, 1)[:, 0]
        return self.head(jnp.concatenate([forth, x[:, 0, 64:]], -1))


class Weather(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.lstm, self.head = _lstm(7, 32, rngs), nnx.Linear(32, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.head(self.lstm(x)[:, -1])


class Characters(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        rows = WORKLOADS["gru_charlm"].rows
        self.embedding = nnx.Embed(rows, 64, rngs=rngs)
        self.gru = nnx.RNN(nnx.GRUCell(64, 256, rngs=rngs))
        self.head = nnx.Linear(256, rows, rngs=rngs)

    def __call__(self, ids: Any) -> Any:
        return self.head(self.gru(self.embedding(ids)))


class Transformer(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        linear = partial(nnx.Linear, rngs=rngs)
        self.embedding = nnx.Embed(WORKLOADS["text_transformer"].rows, WIDTH, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.forth = nnx.Sequential(linear(WIDTH, WIDTH), nnx.relu, linear(WIDTH, WIDTH))
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.drop = nnx.Dropout(DROPPED, rngs=rngs)
        self.head = nnx.Sequential(self.drop, linear(WIDTH, 20), nnx.relu, self.drop, linear(20, 2))

    def __call__(self, ids: Any) -> Any:
        x = self.embedding(ids)
        x = self.norms[0](x + self.drop(self.attention(x)))
        x = self.norms[1](x + self.drop(self.forth(x)))
        return self.head(x.mean(1))


MODELS: dict[str, Callable[[nnx.Rngs], nnx.Module]] = {
    "tabular_mlp": partial(_mlp, 32, 64, 1),
    "mnist_mlp": partial(_mlp, 784, 512, 10),
    "mnist_convnet": _convnet,
    "cifar_resnet": _resnet,
    "mobile_dw": _mobile,
    "text_bilstm": partial(Words, False),
    "text_bilstm_masked": partial(Words, True),
    "weather_lstm": Weather,
    "gru_charlm": Characters,
    "text_transformer": Transformer,
}


class Looped:
    """A module, its optimizer, and the step around both."""

    def __init__(self, name: str) -> None:
        self.workload = WORKLOADS[name]
        self.model = MODELS[name](nnx.Rngs(0))
        self.optimizer = nnx.Optimizer(self.model, optax.adam(1e-3), wrt=nnx.Param)
        # two views of one module, in its two modes
        self.asked = nnx.view(self.model, deterministic=True, use_running_average=True, raise_if_not_found=False)
        self.forward = nnx.jit(lambda model, x: model(x))

        @nnx.jit(donate_argnums=(0, 1))
        def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
            def objective(model: Any) -> Any:
                return loss_of(self.workload.loss, model(x), y)

            loss, gradients = nnx.value_and_grad(objective)(model)
            optimizer.update(model, gradients)
            return loss

        self.step = step

    def parameters(self) -> tuple[int, int]:
        def count(kind: Any) -> int:
            return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self.model, kind)))

        return count(nnx.Param), count(nnx.BatchStat)

    def train(self, x: Any, y: Any) -> None:
        for batch in shuffled(x, y, self.workload.batch):
            self.step(self.model, self.optimizer, *batch)
        jax.block_until_ready(jax.tree.leaves(nnx.state(self.model, nnx.Param)))

    def predict(self, x: Any, batch: int) -> Any:
        return predicted(partial(self.forward, self.asked), x, batch)


def runner(name: str) -> Looped:
    return Looped(name)


def eager() -> dict[str, Callable[[], Any]]:
    rngs = nnx.Rngs(0)
    given: dict[str, tuple[Any, tuple[int, ...]]] = {
        "Dense(3) on (10, 5)": (nnx.Linear(5, 3, rngs=rngs), (10, 5)),
        "Conv2D(16, 3) on (4, 28, 28, 3)": (nnx.Conv(3, 16, (3, 3), padding="VALID", rngs=rngs), (4, 28, 28, 3)),
        "LSTM(32) on (2, 10, 8)": (_lstm(8, 32, rngs), (2, 10, 8)),
        "GRU(32) on (2, 10, 8)": (nnx.RNN(nnx.GRUCell(8, 32, rngs=rngs)), (2, 10, 8)),
        "MaxPooling2D() on (4, 28, 28, 3)": (max_pool, (4, 28, 28, 3)),
        "LayerNormalization() on (10, 5)": (nnx.LayerNorm(5, rngs=rngs), (10, 5)),
    }
    return {name: partial(layer, jnp.ones(shape)) for name, (layer, shape) in given.items()}
