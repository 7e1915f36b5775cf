"""JAX by hand, as one usually writes it: stock operations, one donated and compiled step, a Python loop over batches.

Where the overhead of a step is all there is, an epoch is one scan. The models take their weights from a `Tape` in the
order in which they need them, which costs nothing once compiled.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks.speed.definition import DROPPED, HEADS, MOBILE_BLOCKS, MOBILE_STEM, RESNET_BLOCKS, RESNET_STAGES, WIDTH
from benchmarks.speed.peers.optaxed import key, loss_of, predicted, shuffled
from benchmarks.speed.workloads import WORKLOADS

VERSIONS = {"jax": jax.__version__, "optax": optax.__version__}
THREADS = os.cpu_count()
wait = jax.block_until_ready


class Tape:
    """Weights and moving statistics one after the other: made where there are none yet, read otherwise."""

    def __init__(self, weights: Any = None, moving: Any = None, noise: Any = None, training: bool = False) -> None:
        self.making = weights is None
        self.weights, self.moving = list(weights or []), list(moving or [])
        self.noise, self.training = noise, training
        self.unread, self.unmoved = list(self.weights), list(self.moving)
        self.moved: list[Any] = []

    def weight(self, *shape: int, scale: float | None = None) -> Any:
        if not self.making:
            return self.unread.pop(0)
        scale = 1 / np.sqrt(prod(shape[:-1])) if scale is None else scale
        self.weights.append((np.random.default_rng(0).normal(size=shape) * scale).astype("float32"))
        return jnp.asarray(self.weights[-1])

    def zeros(self, *shape: int) -> Any:
        return self.weight(*shape, scale=0)

    def ones(self, size: int) -> Any:
        if not self.making:
            return self.weight(size)
        self.weights.append(np.ones(size, "float32"))
        return self.weights[-1]

    def statistic(self, size: int, value: float) -> Any:
        if not self.making:
            return self.unmoved.pop(0)
        self.moving.append(np.full(size, value, "float32"))
        return self.moving[-1]


def dense(tape: Tape, x: Any, units: int) -> Any:
    return x @ tape.weight(x.shape[-1], units) + tape.zeros(units)


def conv(tape: Tape, x: Any, filters: int, size: int, stride: int = 1, groups: int = 1, padding: str = "SAME") -> Any:
    kernel = tape.weight(size, size, x.shape[-1] // groups, filters)
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=layout, feature_group_count=groups
    )


def max_pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def batch_norm(tape: Tape, x: Any) -> Any:
    scale, shift = tape.ones(x.shape[-1]), tape.zeros(x.shape[-1])
    mean, variance = tape.statistic(x.shape[-1], 0.0), tape.statistic(x.shape[-1], 1.0)
    if tape.training:
        now = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
        tape.moved += [0.99 * old + 0.01 * new for old, new in zip((mean, variance), now, strict=True)]
        mean, variance = now
    return (x - mean) * lax.rsqrt(variance + 1e-3) * scale + shift


def layer_norm(tape: Tape, x: Any) -> Any:
    scale, shift = tape.ones(x.shape[-1]), tape.zeros(x.shape[-1])
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-3) * scale + shift


def dropout(tape: Tape, x: Any, rate: float) -> Any:
    if not tape.training:
        return x
    tape.noise, mine = jax.random.split(tape.noise)
    return jnp.where(jax.random.bernoulli(mine, 1 - rate, x.shape), x / (1 - rate), 0)


def lstm(tape: Tape, x: Any, units: int, mask: Any = None, reverse: bool = False) -> Any:
    """All outputs of an LSTM, time first; where the mask is False the state is kept."""
    kernel, recurrent = tape.weight(x.shape[-1], 4 * units), tape.weight(units, 4 * units)
    projected = jnp.swapaxes(x @ kernel + tape.zeros(4 * units), 0, 1)
    kept = jnp.ones(projected.shape[:2], bool) if mask is None else mask.T

    def step(state: Any, now: Any) -> Any:
        (h, c), (gates, there) = state, now
        i, f, g, o = jnp.split(gates + h @ recurrent, 4, -1)
        new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        out = jax.nn.sigmoid(o) * jnp.tanh(new)
        if mask is not None:
            new, out = jnp.where(there[:, None], new, c), jnp.where(there[:, None], out, h)
        return (out, new), out

    zeros = jnp.zeros((x.shape[0], units))
    return lax.scan(step, (zeros, zeros), (projected, kept), reverse=reverse)[1]


def gru(tape: Tape, x: Any, units: int) -> Any:
    kernel, recurrent, bias = (
        tape.weight(x.shape[-1], 3 * units),
        tape.weight(units, 3 * units),
        tape.zeros(2, 3 * units),
    )
    projected = jnp.swapaxes(x @ kernel + bias[0], 0, 1)

    def step(h: Any, gates: Any) -> Any:
        inner = h @ recurrent + bias[1]
        z, r = jnp.split(jax.nn.sigmoid(gates[:, : 2 * units] + inner[:, : 2 * units]), 2, -1)
        h = z * h + (1 - z) * jnp.tanh(gates[:, 2 * units :] + r * inner[:, 2 * units :])
        return h, h

    return jnp.swapaxes(lax.scan(step, jnp.zeros((x.shape[0], units)), projected)[1], 0, 1)


def mlp(units: int, outputs: int, tape: Tape, x: Any) -> Any:
    for _ in range(2):
        x = jax.nn.relu(dense(tape, x, units))
    return dense(tape, x, outputs)


def convnet(tape: Tape, x: Any) -> Any:
    for filters in (32, 64):
        x = conv(tape, x, filters, 3, padding="VALID")
        x = max_pool(jax.nn.relu(x + tape.zeros(filters)))
    return dense(tape, dropout(tape, x.reshape(x.shape[0], -1), 0.5), 10)


def resnet(tape: Tape, x: Any) -> Any:
    x = jax.nn.relu(batch_norm(tape, conv(tape, x, 16, 3)))
    for filters, first_stride in RESNET_STAGES:
        for block in range(RESNET_BLOCKS):
            stride = first_stride if block == 0 else 1
            y = jax.nn.relu(batch_norm(tape, conv(tape, x, filters, 3, stride)))
            y = batch_norm(tape, conv(tape, y, filters, 3))
            x = x if stride == 1 else batch_norm(tape, conv(tape, x, filters, 1, stride))
            x = jax.nn.relu(x + y)
    return dense(tape, x.mean((1, 2)), 10)


def mobile(tape: Tape, x: Any) -> Any:
    x = jax.nn.relu(batch_norm(tape, conv(tape, x, MOBILE_STEM, 3)))
    for filters, stride in MOBILE_BLOCKS:
        x = jax.nn.relu(batch_norm(tape, conv(tape, x, x.shape[-1], 3, stride, x.shape[-1])))
        x = jax.nn.relu(batch_norm(tape, conv(tape, x, filters, 1)))
    return dense(tape, x.mean((1, 2)), 10)


def bilstm(masked: bool, tape: Tape, ids: Any) -> Any:
    mask = ids != 0 if masked else None
    x = tape.weight(WORKLOADS["text_bilstm"].rows, 128)[ids]
    both = [lstm(tape, x, 64, mask), lstm(tape, x, 64, mask, reverse=True)]
    x = jnp.swapaxes(jnp.concatenate(both, -1), 0, 1)
    last = [lstm(tape, x, 64, mask)[-1], lstm(tape, x, 64, mask, reverse=True)[0]]
    return dense(tape, jnp.concatenate(last, -1), 1)


def weather(tape: Tape, x: Any) -> Any:
    return dense(tape, lstm(tape, x, 32)[-1], 1)


def charlm(tape: Tape, ids: Any) -> Any:
    rows = WORKLOADS["gru_charlm"].rows
    return dense(tape, gru(tape, tape.weight(rows, 64)[ids], 256), rows)


def transformer(tape: Tape, ids: Any) -> Any:
    x = tape.weight(WORKLOADS["text_transformer"].rows, WIDTH)[ids]
    q, k, v = (dense(tape, x, WIDTH).reshape(*x.shape[:2], HEADS, -1) for _ in range(3))
    attended = dense(tape, jax.nn.dot_product_attention(q, k, v).reshape(x.shape), WIDTH)
    x = layer_norm(tape, x + dropout(tape, attended, DROPPED))
    y = dense(tape, jax.nn.relu(dense(tape, x, WIDTH)), WIDTH)
    x = layer_norm(tape, x + dropout(tape, y, DROPPED))
    x = jax.nn.relu(dense(tape, dropout(tape, x.mean(1), DROPPED), 20))
    return dense(tape, dropout(tape, x, DROPPED), 2)


MODELS: dict[str, Callable[[Tape, Any], Any]] = {
    "tabular_mlp": partial(mlp, 64, 1),
    "mnist_mlp": partial(mlp, 512, 10),
    "mnist_convnet": convnet,
    "cifar_resnet": resnet,
    "mobile_dw": mobile,
    "text_bilstm": partial(bilstm, False),
    "text_bilstm_masked": partial(bilstm, True),
    "weather_lstm": weather,
    "gru_charlm": charlm,
    "text_transformer": transformer,
}


class Handwritten:
    """A model's weights and its compiled step."""

    def __init__(self, name: str) -> None:
        self.workload, self.model = WORKLOADS[name], MODELS[name]
        tape = Tape()
        jax.eval_shape(partial(self.model, tape), self.workload.data(1)[0])
        weights, moving = jax.tree.map(jnp.asarray, (tape.weights, tape.moving))
        self.optimizer = optax.adam(1e-3)
        self.state = weights, moving, self.optimizer.init(weights), key()
        self.step = jax.jit(self._step, donate_argnums=0)
        self.epoch = jax.jit(lambda state, batches: lax.scan(self._step, state, batches)[0], donate_argnums=0)
        self.forward = jax.jit(lambda weights, moving, x: self.model(Tape(weights, moving), x))

    def _step(self, state: Any, batch: Any) -> Any:
        weights, moving, moments, noise = state
        noise, mine = jax.random.split(noise)

        def objective(weights: Any) -> Any:
            tape = Tape(weights, moving, mine, training=True)
            return loss_of(self.workload.loss, self.model(tape, batch[0]), batch[1]), tape.moved

        (loss, moved), gradients = jax.value_and_grad(objective, has_aux=True)(weights)
        updates, moments = self.optimizer.update(gradients, moments)
        return (optax.apply_updates(weights, updates), moved, moments, noise), loss

    def parameters(self) -> tuple[int, int]:
        return sum(w.size for w in self.state[0]), sum(w.size for w in self.state[1])

    def train(self, x: Any, y: Any) -> None:
        size = self.workload.batch
        if self.workload.overhead_rules:
            order = np.random.permutation(len(x))[: len(x) // size * size].reshape(-1, size)
            self.state = self.epoch(self.state, (x[order], y[order]))
        else:
            for batch in shuffled(x, y, size):
                self.state, _ = self.step(self.state, batch)
        jax.block_until_ready(self.state[0])

    def predict(self, x: Any, batch: int) -> Any:
        return predicted(partial(self.forward, *self.state[:2]), x, batch)


def runner(name: str) -> Handwritten:
    return Handwritten(name)


def eager() -> dict[str, Callable[[], Any]]:
    """Each layer compiled by itself: what one call from Python costs."""
    given: dict[str, tuple[Callable[[Tape, Any], Any], tuple[int, ...]]] = {
        "Dense(3) on (10, 5)": (lambda tape, x: dense(tape, x, 3), (10, 5)),
        "Conv2D(16, 3) on (4, 28, 28, 3)": (
            lambda tape, x: conv(tape, x, 16, 3, padding="VALID") + tape.zeros(16), (4, 28, 28, 3)),
        "LSTM(32) on (2, 10, 8)": (lambda tape, x: lstm(tape, x, 32)[-1], (2, 10, 8)),
        "GRU(32) on (2, 10, 8)": (lambda tape, x: gru(tape, x, 32)[:, -1], (2, 10, 8)),
        "MaxPooling2D() on (4, 28, 28, 3)": (lambda tape, x: max_pool(x), (4, 28, 28, 3)),
        "LayerNormalization() on (10, 5)": (layer_norm, (10, 5)),
    }  # fmt: skip
    calls = {}
    for name, (layer, shape) in given.items():
        tape, x = Tape(), jnp.ones(shape)
        layer(tape, x)
        compiled = jax.jit(lambda weights, x, layer=layer: layer(Tape(weights), x))
        calls[name] = partial(compiled, jax.tree.map(jnp.asarray, tape.weights), x)
    return calls
