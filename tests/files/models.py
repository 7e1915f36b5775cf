"""Models of every kind that files have to carry, each written once, for Keras and for lamella."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

MODELS: dict[str, Callable[[Any], Any]] = {}


def model(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    MODELS[build.__name__] = build
    return build


def one(*layers: Any, shape: tuple[int, ...] = (4, 3)) -> Callable[[Any], Any]:
    """A stack of the layers that the functions make."""
    return lambda k: k.Sequential([k.Input(shape), *(layer(k.layers) for layer in layers)])


MODELS |= {
    "dense": one(lambda L: L.Dense(3), lambda L: L.Dense(3, use_bias=False), lambda L: L.Dense(3)),
    "no_weights": one(lambda L: L.Flatten(), lambda L: L.ReLU()),
    "random_states": one(lambda L: L.Dropout(0.5), lambda L: L.Dense(3), lambda L: L.GaussianNoise(0.1)),
    "convolutions": one(
        lambda L: L.Conv2D(4, 2), lambda L: L.DepthwiseConv2D(2), lambda L: L.SeparableConv2D(3, 2),
        lambda L: L.Conv2DTranspose(2, 2), shape=(8, 8, 3),
    ),
    "normalizations": one(
        lambda L: L.BatchNormalization(), lambda L: L.LayerNormalization(), lambda L: L.GroupNormalization(1),
        lambda L: L.BatchNormalization(scale=False), lambda L: L.Normalization(), lambda L: L.PReLU(),
    ),
    "lstm": one(lambda L: L.LSTM(3, return_sequences=True, dropout=0.2), lambda L: L.LSTM(3)),
    "gru": one(lambda L: L.GRU(3)),
    "simple_rnn": one(lambda L: L.SimpleRNN(3)),
    "cells": one(lambda L: L.RNN([L.LSTMCell(3), L.GRUCell(3), L.GRUCell(3)])),
    "cell": one(lambda L: L.RNN(L.SimpleRNNCell(3))),
    "bidirectional": one(lambda L: L.Bidirectional(L.GRU(3))),
    "two_directions": one(lambda L: L.Bidirectional(L.LSTM(3), backward_layer=L.GRU(3, go_backwards=True))),
    "conv_lstm": one(lambda L: L.ConvLSTM1D(2, 2), shape=(3, 5, 3)),
    "time_distributed": one(lambda L: L.TimeDistributed(L.Dense(3))),
    "spectral": one(lambda L: L.SpectralNormalization(L.Dense(3))),
    "einsum": one(lambda L: L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")),
    "embedding": one(lambda L: L.Embedding(5, 3), lambda L: L.Embedding(5, 2), shape=(4,)),
    "half": one(lambda L: L.Dense(3, dtype="bfloat16"), lambda L: L.Dense(3, dtype="float16")),
    "pipeline": one(lambda L: L.Pipeline([L.Dense(3), L.Dense(3), L.Dropout(0.5)])),
}  # fmt: skip


@model
def attention(k: Any) -> Any:
    x = k.Input((4, 6))
    return k.Model(x, k.layers.MultiHeadAttention(2, 3)(x, x))


@model
def grouped_attention(k: Any) -> Any:
    x = k.Input((4, 6))
    return k.Model(x, k.layers.GroupQueryAttention(3, 4, 2)(x, x, x))


@model
def gated_attention(k: Any) -> Any:
    x = k.Input((4, 6))
    return k.Model(x, k.layers.MultiHeadAttention(2, 3, dropout=0.1, use_gate=True)(x, x))


@model
def branches(k: Any) -> Any:
    dense = k.layers.Dense
    a, b, c = k.Input((3,), name="a"), k.Input((3,), name="b"), k.Input((3,), name="c")
    left, right = dense(3)(a), dense(3)(dense(3)(b))
    late = dense(3)(c)
    joined = k.layers.Add()([left, right, late])
    deep = dense(3)(k.layers.Concatenate()([joined, left]))
    return k.Model([b, a, c], [deep, dense(3)(right), joined])


@model
def shared(k: Any) -> Any:
    a, b, twice = k.Input((3,)), k.Input((3,)), k.layers.Dense(3)
    return k.Model([a, b], k.layers.Dense(3)(twice(a) + twice(twice(b)) * 2.0))


@model
def nested(k: Any) -> Any:
    x, z = k.Input((3,)), k.Input((3,))
    inner = k.Sequential([k.Input((3,)), k.layers.Dense(3), k.layers.Dense(3)])
    graph = k.Model(z, k.layers.Dense(3)(inner(z)))
    other = k.Sequential([k.layers.Dense(3)])
    return k.Model(x, other(graph(inner(x))))


def made(base: Any, build: Callable[[Any], None], call: Callable[..., Any], name: str = "Mine") -> Any:
    """An object of a class whose `__init__` makes layers and whose `call` uses them."""

    def init(self: Any) -> None:
        base.__init__(self)
        build(self)

    return type(name, (base,), {"__init__": init, "call": call})()


@model
def subclassed(k: Any) -> Any:
    dense = k.layers.Dense

    def build(self: Any) -> None:
        self.zeta, self._private, self.alpha = dense(3), dense(3), dense(3)
        self.blocks = [dense(3), k.layers.LayerNormalization(), dense(3), [dense(3), (dense(3),)]]
        self.named = {"b": dense(3), "a": {"deep": dense(3)}}
        self.again = self.zeta
        self.scale = self.add_weight(shape=(3,), initializer="ones", name="scale")
        self.offset = self.add_weight(shape=(3,), initializer="zeros", trainable=False, name="offset")
        self.shift = self.add_weight(shape=(3,), initializer="zeros", name="shift")

    def call(self: Any, x: Any) -> Any:
        first, norm, second, (third, (fourth,)) = self.blocks
        for layer in (self.zeta, self._private, self.alpha, first, norm, second, third, fourth):
            x = layer(x)
        x = self.named["a"]["deep"](self.named["b"](x))
        return x * self.scale + self.shift - self.offset

    mine = made(k.Model, build, call)
    mine(np.ones((2, 3), "float32"))
    return mine


@model
def layers_in_layers(k: Any) -> Any:
    def build(self: Any) -> None:
        self.layers = [k.layers.Dense(3), k.layers.Dense(3)]
        self._inner = k.layers.Dense(3)

    def call(self: Any, x: Any) -> Any:
        return self._inner(self.layers[1](self.layers[0](x)))

    block = made(k.layers.Layer, build, call, "MyB2Block")
    mine = made(k.Model, lambda self: setattr(self, "stem", block), lambda self, x: self.stem(x))
    mine(np.ones((2, 3), "float32"))
    return mine


@model
def own_names(k: Any) -> Any:
    """Layers that keep their weights under names of their own."""

    class Scale(k.layers.Layer):  # type: ignore[misc]
        def build(self, input_shape: Any) -> None:
            self.factor = self.add_weight(shape=(3,), initializer="ones", name="factor")

        def call(self, x: Any) -> Any:
            return x * self.factor

        def save_own_variables(self, store: Any) -> None:
            store["factor"] = self.factor
            store["twice"] = np.asarray(self.factor) * 2

        def load_own_variables(self, store: Any) -> None:
            np.testing.assert_array_equal(store["twice"], store["factor"] * 2)
            self.factor.assign(store["factor"])

    return k.Sequential([k.Input((3,)), Scale(), Scale()])


@model
def adapted(k: Any) -> Any:
    layers = [k.layers.Dense(3), k.layers.EinsumDense("abc,cd->abd", (None, 3)), k.layers.Dense(3)]
    stack = k.Sequential([k.Input((4, 3)), *layers])
    for layer in layers[:2]:
        layer.enable_lora(2, b_initializer="ones")
    return stack


@model
def whole_numbers(k: Any) -> Any:
    layers = [k.layers.Embedding(5, 3), k.layers.EinsumDense("abc,cd->abd", (None, 3)), k.layers.Dense(3)]
    stack = k.Sequential([k.Input((4,)), *layers])
    for layer in layers:
        layer.quantize("int8")
    return stack


@model
def way_back(k: Any) -> Any:
    table = k.layers.ReversibleEmbedding(5, 3, tie_weights=False)
    x = k.Input((4,))
    both = k.Model(x, table(table(x), reverse=True))
    table.quantize("int8")
    return both


def inputs(model: Any, rows: int = 2) -> list[np.ndarray[Any, Any]]:
    """Small whole numbers for each input of a model."""
    shapes = [tuple(t.shape[1:]) for t in model.inputs] if getattr(model, "_graph", None) or _graph(model) else [(3,)]
    rng = np.random.default_rng(0)
    return [rng.integers(0, 5, (rows, *shape)).astype("float32") for shape in shapes]


def _graph(model: Any) -> bool:
    return type(model).__name__ in ("Functional", "Sequential")


def stirred(model: Any) -> Any:
    """The model with weights that no initializer gives."""
    rng = np.random.default_rng(1)
    new = []
    for weight in model.get_weights():
        weight = np.asarray(weight)
        drawn = rng.integers(-9, 9, weight.shape) if weight.dtype.kind in "iu" else rng.uniform(0.2, 1.2, weight.shape)
        new.append(drawn.astype(weight.dtype))
    model.set_weights(new)
    for layer in model.layers:
        if hasattr(layer, "finalize_state"):
            # Keras's Normalization reads its weights here.
            layer.finalize_state()
    return model
