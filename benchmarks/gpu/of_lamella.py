"""The three models in lamella: layers, `compile`, `fit`, under the policy mixed_bfloat16."""

from __future__ import annotations

from math import prod
from typing import Any

import lamella
from benchmarks.gpu.sizes import GPT, LSTM, ResNet
from lamella import layers


def _conv(x: Any, filters: int, size: int, stride: int = 1) -> Any:
    x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False)(x)
    return layers.BatchNormalization()(x)


def resnet(sizes: ResNet, x: Any) -> Any:
    x = layers.ReLU()(_conv(x, sizes.stem, 7, 2))
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    for stage, blocks in enumerate(sizes.blocks):
        filters = sizes.stem * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = layers.ReLU()(_conv(x, filters, 1))
            y = layers.ReLU()(_conv(y, filters, 3, stride))
            short = x if block else _conv(x, 4 * filters, 1, stride)
            x = layers.ReLU()(layers.Add()([_conv(y, 4 * filters, 1), short]))
    return layers.Dense(sizes.classes)(layers.GlobalAveragePooling2D()(x))


def lstm(sizes: LSTM, x: Any) -> Any:
    x = layers.LSTM(sizes.units, return_sequences=True)(x)
    return layers.Dense(sizes.classes)(layers.LSTM(sizes.units)(x))


class Positions(layers.Layer):
    """A trained vector for each place: (batch, steps, width) -> the same."""

    def build(self, input_shape: Any) -> None:
        self.table = self.add_weight(input_shape[1:], "random_normal", name="table")

    def call(self, x: Any) -> Any:
        return x + self.table


def gpt(sizes: GPT, ids: Any) -> Any:
    table = layers.ReversibleEmbedding(sizes.tokens, sizes.width)
    x = Positions()(table(ids))
    for _ in range(sizes.depth):
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        attend = layers.MultiHeadAttention(sizes.heads, sizes.width // sizes.heads)
        x = layers.Add()([x, attend(y, y, use_causal_mask=True)])
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        y = layers.Dense(4 * sizes.width, activation=lambda x: lamella.activations.gelu(x, approximate=True))(y)
        x = layers.Add()([x, layers.Dense(sizes.width)(y)])
    return table(layers.LayerNormalization(epsilon=1e-5)(x), reverse=True)


BODIES: dict[str, Any] = {"resnet50": resnet, "lstm": lstm, "gpt2_small": gpt}


class Runner:
    """A compiled model; `train` takes steps over arrays in NumPy and returns when they are done."""

    def __init__(self, name: str, sizes: Any) -> None:
        self.batch = sizes.batch
        x, _ = sizes.data(1)
        before = lamella.config.dtype_policy()
        lamella.config.set_dtype_policy("mixed_bfloat16")
        try:
            inputs = lamella.Input(x.shape[1:], dtype=str(x.dtype))
            self.model = lamella.Model(inputs, BODIES[name](sizes, inputs))
        finally:
            lamella.config.set_dtype_policy(before)
        loss = lamella.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(lamella.optimizers.Adam(1e-4), loss)

    def parameters(self) -> int:
        return sum(prod(w.shape) for w in self.model.trainable_weights)

    def train(self, x: Any, y: Any) -> float:
        history = self.model.fit(x, y, batch_size=self.batch, epochs=1, shuffle=False, verbose=0)
        return float(history.history["loss"][0])
