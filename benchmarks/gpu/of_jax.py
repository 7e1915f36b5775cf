"""The three models by hand: stock operations of JAX in bfloat16, weights in float32, one donated and compiled step.

The weights come from a `Tape` in the order in which they are needed, which costs nothing once compiled.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from benchmarks.gpu.sizes import GPT, LSTM, ResNet
from benchmarks.speed.peers.of_jax import Tape
from lamella.tools.explaining.costs import count


def _half(x: Any) -> Any:
    return x.astype("bfloat16")


def _dense(tape: Tape, x: Any, units: int) -> Any:
    return x @ _half(tape.weight(x.shape[-1], units)) + _half(tape.zeros(units))


def _conv(tape: Tape, x: Any, filters: int, size: int, stride: int = 1) -> Any:
    """A convolution and its batch normalization, whose statistics are in float32."""
    kernel = _half(tape.weight(size, size, x.shape[-1], filters))
    x = lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    scale, shift = tape.ones(filters), tape.zeros(filters)
    wide = x.astype("float32")
    mean = wide.mean((0, 1, 2))
    variance = (wide * wide).mean((0, 1, 2)) - mean * mean
    old = tape.statistic(filters, 0.0), tape.statistic(filters, 1.0)
    tape.moved += [0.99 * was + 0.01 * now for was, now in zip(old, (mean, variance), strict=True)]
    factor = lax.rsqrt(variance + 1e-3) * scale
    return _half(wide * factor + (shift - mean * factor))


def resnet(sizes: ResNet, tape: Tape, x: Any) -> Any:
    x = jax.nn.relu(_conv(tape, _half(x), sizes.stem, 7, 2))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    for stage, blocks in enumerate(sizes.blocks):
        filters = sizes.stem * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = jax.nn.relu(_conv(tape, x, filters, 1))
            y = jax.nn.relu(_conv(tape, y, filters, 3, stride))
            short = x if block else _conv(tape, x, 4 * filters, 1, stride)
            x = jax.nn.relu(_conv(tape, y, 4 * filters, 1) + short)
    return _dense(tape, x.mean((1, 2)), sizes.classes)


def _lstm(tape: Tape, x: Any, units: int) -> Any:
    """All outputs, time first, for inputs with time first."""
    kernel, recurrent = _half(tape.weight(x.shape[-1], 4 * units)), _half(tape.weight(units, 4 * units))
    projected = x @ kernel + _half(tape.zeros(4 * units))

    def step(state: Any, gates: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(gates + h @ recurrent, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[1], units), x.dtype)
    return lax.scan(step, (zeros, zeros), projected)[1]


def lstm(sizes: LSTM, tape: Tape, x: Any) -> Any:
    outputs = _lstm(tape, jnp.swapaxes(_half(x), 0, 1), sizes.units)
    return _dense(tape, _lstm(tape, outputs, sizes.units)[-1], sizes.classes)


def _normed(tape: Tape, x: Any) -> Any:
    scale, shift = tape.ones(x.shape[-1]), tape.zeros(x.shape[-1])
    wide = x.astype("float32")
    centered = wide - wide.mean(-1, keepdims=True)
    return _half(centered * lax.rsqrt((centered * centered).mean(-1, keepdims=True) + 1e-5) * scale + shift)


def gpt(sizes: GPT, tape: Tape, ids: Any) -> Any:
    table, places = tape.weight(sizes.tokens, sizes.width), tape.weight(sizes.steps, sizes.width)
    x = _half(table[ids] + places)
    for _ in range(sizes.depth):
        y = _normed(tape, x)
        q, k, v = (_dense(tape, y, sizes.width).reshape(*y.shape[:2], sizes.heads, -1) for _ in range(3))
        attended = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=_fused())
        x = x + _dense(tape, attended.reshape(x.shape), sizes.width)
        y = jax.nn.gelu(_dense(tape, _normed(tape, x), 4 * sizes.width), approximate=True)
        x = x + _dense(tape, y, sizes.width)
    return _normed(tape, x) @ _half(table).T


def _fused() -> str | None:
    return "cudnn" if jax.default_backend() == "gpu" else None


BODIES: dict[str, Any] = {"resnet50": resnet, "lstm": lstm, "gpt2_small": gpt}


def forward_operations(name: str, sizes: Any) -> int:
    """Return the floating-point operations of a forward pass over one batch."""
    tape, x = Tape(), sizes.data(sizes.batch)[0]
    jax.eval_shape(partial(BODIES[name], sizes, tape), x)

    def forward(weights: Any, moving: Any, x: Any) -> Any:
        return BODIES[name](sizes, Tape(weights, moving), x)

    return count(jax.make_jaxpr(forward)(tape.weights, tape.moving, x)).flops


class Runner:
    """A model's weights and its compiled step."""

    def __init__(self, name: str, sizes: Any) -> None:
        self.batch, self.model = sizes.batch, partial(BODIES[name], sizes)
        tape = Tape()
        jax.eval_shape(partial(self.model, tape), sizes.data(1)[0])
        weights, moving = jax.tree.map(jnp.asarray, (tape.weights, tape.moving))
        self.optimizer = optax.adam(1e-4)
        self.state = weights, moving, self.optimizer.init(weights)
        self.step = jax.jit(self._step, donate_argnums=0)

    def _step(self, state: Any, x: Any, y: Any) -> Any:
        weights, moving, moments = state

        def objective(weights: Any) -> Any:
            tape = Tape(weights, moving)
            logits = self.model(tape, x).astype("float32")
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), tape.moved

        (loss, moved), gradients = jax.value_and_grad(objective, has_aux=True)(weights)
        updates, moments = self.optimizer.update(gradients, moments)
        return (optax.apply_updates(weights, updates), moved, moments), loss

    def parameters(self) -> int:
        return sum(w.size for w in self.state[0])

    def train(self, x: Any, y: Any) -> float:
        losses = []
        for start in range(0, len(x), self.batch):
            self.state, loss = self.step(self.state, x[start : start + self.batch], y[start : start + self.batch])
            losses.append(loss)
        return float(jnp.mean(jnp.stack(losses)))
