"""Equinox as one writes it: modules for one sample, `jax.vmap` over the batch, `eqx.filter_jit` around one step."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from equinox import nn
from jax import lax

from benchmarks.speed.definition import DROPPED, HEADS, MOBILE_BLOCKS, MOBILE_STEM, RESNET_BLOCKS, RESNET_STAGES, WIDTH
from benchmarks.speed.peers.optaxed import key, loss_of, predicted, shuffled
from benchmarks.speed.workloads import WORKLOADS

VERSIONS = {"equinox": eqx.__version__, "jax": jax.__version__}
THREADS = os.cpu_count()
wait = jax.block_until_ready


class Keys:
    """A new key at every call."""

    def __init__(self) -> None:
        self.key = key()

    def __call__(self) -> Any:
        self.key, new = jax.random.split(self.key)
        return new


RELU = nn.Lambda(jax.nn.relu)
PICTURE = nn.Lambda(lambda x: jnp.moveaxis(x, -1, 0))
PLACES = nn.Lambda(lambda x: x.mean((1, 2)))


def _mlp(features: int, units: int, outputs: int, keys: Keys) -> Any:
    hidden = [nn.Linear(features, units, key=keys()), RELU, nn.Linear(units, units, key=keys()), RELU]
    return nn.Sequential([*hidden, nn.Linear(units, outputs, key=keys())])


def _convnet(keys: Keys) -> Any:
    parts = [PICTURE]
    for before, filters in ((1, 32), (32, 64)):
        parts += [nn.Conv2d(before, filters, 3, key=keys()), RELU, nn.MaxPool2d(2, 2)]
    return nn.Sequential([*parts, nn.Lambda(jnp.ravel), nn.Dropout(0.5), nn.Linear(1600, 10, key=keys())])


def _conv(before: int, filters: int, size: int, stride: int, keys: Keys, groups: int = 1) -> list[Any]:
    conv = nn.Conv2d(before, filters, size, stride, size // 2, groups=groups, use_bias=False, key=keys())
    return [conv, nn.BatchNorm(filters, "batch", mode="batch")]


class Block(nn.StatefulLayer):
    """Two convolutions beside a short cut."""

    body: nn.Sequential
    short: nn.Sequential | None

    def __init__(self, before: int, filters: int, stride: int, keys: Keys) -> None:
        self.body = nn.Sequential(
            [*_conv(before, filters, 3, stride, keys), RELU, *_conv(filters, filters, 3, 1, keys)]
        )
        self.short = nn.Sequential(_conv(before, filters, 1, stride, keys)) if stride > 1 else None

    def __call__(self, x: Any, state: Any, *, key: Any = None) -> Any:
        y, state = self.body(x, state)
        if self.short is not None:
            x, state = self.short(x, state)
        return jax.nn.relu(x + y), state


def _resnet(keys: Keys) -> Any:
    parts, before = [PICTURE, *_conv(3, 16, 3, 1, keys), RELU], 16
    for filters, stride in RESNET_STAGES:
        for block in range(RESNET_BLOCKS):
            parts.append(Block(before, filters, stride if block == 0 else 1, keys))
            before = filters
    return nn.Sequential([*parts, PLACES, nn.Linear(before, 10, key=keys())])


def _mobile(keys: Keys) -> Any:
    parts, before = [PICTURE, *_conv(3, MOBILE_STEM, 3, 1, keys), RELU], MOBILE_STEM
    for filters, stride in MOBILE_BLOCKS:
        parts += [*_conv(before, before, 3, stride, keys, before), RELU, *_conv(before, filters, 1, 1, keys), RELU]
        before = filters
    return nn.Sequential([*parts, PLACES, nn.Linear(before, 10, key=keys())])


def _scanned(cell: Any, x: Any, there: Any = None, reverse: bool = False) -> Any:
    """The outputs of a cell over time; where `there` is False the state is kept."""
    zeros = jnp.zeros(cell.hidden_size)
    first = (zeros, zeros) if isinstance(cell, nn.LSTMCell) else zeros

    def step(state: Any, now: Any) -> Any:
        new = cell(now[0], state)
        if there is not None:
            new = jax.tree.map(lambda a, b: jnp.where(now[1], a, b), new, state)
        return new, new[0] if isinstance(new, tuple) else new

    return lax.scan(step, first, (x, jnp.ones(len(x), bool) if there is None else there), reverse=reverse)[1]


class Words(eqx.Module):
    """Two bidirectional LSTMs."""

    embedding: nn.Embedding
    cells: list[nn.LSTMCell]
    head: nn.Linear
    masked: bool = eqx.field(static=True)

    def __init__(self, masked: bool, keys: Keys) -> None:
        self.masked = masked
        self.embedding = nn.Embedding(WORKLOADS["text_bilstm"].rows, 128, key=keys())
        self.cells = [nn.LSTMCell(128, 64, key=keys()) for _ in range(4)]
        self.head = nn.Linear(128, 1, key=keys())

    def __call__(self, ids: Any, *, key: Any = None) -> Any:
        there = ids != 0 if self.masked else None
        x = jax.vmap(self.embedding)(ids)
        forth, back = _scanned(self.cells[0], x, there), _scanned(self.cells[1], x, there, reverse=True)
        x = jnp.concatenate([forth, back], -1)
        last = _scanned(self.cells[2], x, there)[-1], _scanned(self.cells[3], x, there, reverse=True)[0]
        return self.head(jnp.concatenate(last))


class Weather(eqx.Module):
    cell: nn.LSTMCell
    head: nn.Linear

    def __init__(self, keys: Keys) -> None:
        self.cell, self.head = nn.LSTMCell(7, 32, key=keys()), nn.Linear(32, 1, key=keys())

    def __call__(self, x: Any, *, key: Any = None) -> Any:
        return self.head(_scanned(self.cell, x)[-1])


class Characters(eqx.Module):
    embedding: nn.Embedding
    cell: nn.GRUCell
    head: nn.Linear

    def __init__(self, keys: Keys) -> None:
        rows = WORKLOADS["gru_charlm"].rows
        self.embedding = nn.Embedding(rows, 64, key=keys())
        self.cell, self.head = nn.GRUCell(64, 256, key=keys()), nn.Linear(256, rows, key=keys())

    def __call__(self, ids: Any, *, key: Any = None) -> Any:
        return jax.vmap(self.head)(_scanned(self.cell, jax.vmap(self.embedding)(ids)))


class Transformer(eqx.Module):
    embedding: nn.Embedding
    attention: nn.MultiheadAttention
    forth: nn.Sequential
    norms: list[nn.LayerNorm]
    drop: nn.Dropout
    head: nn.Sequential

    def __init__(self, keys: Keys) -> None:
        self.embedding = nn.Embedding(WORKLOADS["text_transformer"].rows, WIDTH, key=keys())
        biases = dict.fromkeys(("use_query_bias", "use_key_bias", "use_value_bias", "use_output_bias"), True)
        self.attention = nn.MultiheadAttention(HEADS, WIDTH, **biases, key=keys())
        self.forth = nn.Sequential([nn.Linear(WIDTH, WIDTH, key=keys()), RELU, nn.Linear(WIDTH, WIDTH, key=keys())])
        self.norms, self.drop = [nn.LayerNorm(WIDTH) for _ in range(2)], nn.Dropout(DROPPED)
        self.head = nn.Sequential(
            [self.drop, nn.Linear(WIDTH, 20, key=keys()), RELU, self.drop, nn.Linear(20, 2, key=keys())]
        )

    def __call__(self, ids: Any, *, key: Any = None) -> Any:
        first, second, third = (None,) * 3 if key is None else jax.random.split(key, 3)
        x = jax.vmap(self.embedding)(ids)
        x = jax.vmap(self.norms[0])(x + self.drop(self.attention(x, x, x), key=first))
        x = jax.vmap(self.norms[1])(x + self.drop(jax.vmap(self.forth)(x), key=second))
        return self.head(x.mean(0), key=third)


MODELS: dict[str, Callable[[Keys], Any]] = {
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


def _mapped(model: Any, state: Any, x: Any, keys: Any) -> Any:
    """The batch's outputs, and the moving statistics where the model has some."""
    if isinstance(model, nn.StatefulLayer) and model.is_stateful():
        return jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)
    return jax.vmap(lambda one, key: model(one, key=key), in_axes=(0, None if keys is None else 0))(x, keys), state


class Looped:
    """A module, its moving statistics, and the step around both."""

    def __init__(self, name: str) -> None:
        self.workload = WORKLOADS[name]
        self.model, self.state = eqx.nn.make_with_state(MODELS[name])(Keys())
        self.optimizer, self.keys = optax.adam(1e-3), Keys()
        self.moments = self.optimizer.init(eqx.filter(self.model, eqx.is_inexact_array))

        @eqx.filter_jit(donate="all")
        def step(model: Any, state: Any, moments: Any, key: Any, x: Any, y: Any) -> Any:
            def objective(model: Any) -> Any:
                outputs, moved = _mapped(model, state, x, jax.random.split(key, len(x)))
                return loss_of(self.workload.loss, outputs, y), moved

            (_, state), gradients = eqx.filter_value_and_grad(objective, has_aux=True)(model)
            updates, moments = self.optimizer.update(gradients, moments)
            return eqx.apply_updates(model, updates), state, moments

        self.step = step
        self.forward = eqx.filter_jit(lambda model, state, x: _mapped(model, state, x, None)[0])

    def parameters(self) -> tuple[int, int]:
        trained = jax.tree.leaves(eqx.filter(self.model, eqx.is_inexact_array))
        kept = [leaf for leaf in jax.tree.leaves(self.state) if eqx.is_inexact_array(leaf) and leaf.ndim == 1]
        return sum(leaf.size for leaf in trained), sum(leaf.size for leaf in kept)

    def train(self, x: Any, y: Any) -> None:
        for batch in shuffled(x, y, self.workload.batch):
            batch = map(jnp.asarray, batch)
            self.model, self.state, self.moments = self.step(self.model, self.state, self.moments, self.keys(), *batch)
        jax.block_until_ready(jax.tree.leaves(eqx.filter(self.model, eqx.is_array)))

    def predict(self, x: Any, batch: int) -> Any:
        return predicted(partial(self.forward, nn.inference_mode(self.model), self.state), x, batch)


def runner(name: str) -> Looped:
    return Looped(name)


def eager() -> dict[str, Callable[[], Any]]:
    keys = Keys()
    lstm, gru = nn.LSTMCell(8, 32, key=keys()), nn.GRUCell(8, 32, key=keys())
    given: dict[str, tuple[Any, tuple[int, ...]]] = {
        "Dense(3) on (10, 5)": (nn.Linear(5, 3, key=keys()), (10, 5)),
        "Conv2D(16, 3) on (4, 28, 28, 3)": (nn.Conv2d(3, 16, 3, key=keys()), (4, 3, 28, 28)),
        "LSTM(32) on (2, 10, 8)": (lambda x: _scanned(lstm, x)[-1], (2, 10, 8)),
        "GRU(32) on (2, 10, 8)": (lambda x: _scanned(gru, x)[-1], (2, 10, 8)),
        "MaxPooling2D() on (4, 28, 28, 3)": (nn.MaxPool2d(2, 2), (4, 3, 28, 28)),
        "LayerNormalization() on (10, 5)": (nn.LayerNorm(5), (10, 5)),
    }
    return {name: partial(jax.vmap(layer), jnp.ones(shape)) for name, (layer, shape) in given.items()}
