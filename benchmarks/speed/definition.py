"""The models of all workloads in Keras's language: one definition, which `keras` and `lamella` both read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.speed.workloads import WORKLOADS

RESNET_STAGES = ((16, 1), (32, 2), (64, 2))
RESNET_BLOCKS = 3
MOBILE_STEM = 32
MOBILE_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1))
WIDTH, HEADS, DROPPED = 32, 2, 0.1


def build(library: Any, name: str) -> Any:
    """A compiled model of `keras` or of what speaks its language, ready for `fit`."""
    workload = WORKLOADS[name]
    inputs = library.Input(workload.shape, dtype="int32" if workload.rows else "float32")
    model = library.Model(inputs, BODIES[name](library, inputs))
    losses = {
        "mse": library.losses.MeanSquaredError,
        "binary": lambda: library.losses.BinaryCrossentropy(from_logits=True),
        "classes": lambda: library.losses.SparseCategoricalCrossentropy(from_logits=True),
    }
    model.compile(library.optimizers.Adam(1e-3), losses[workload.loss]())
    return model


def _mlp(units: int, outputs: int) -> Callable[[Any, Any], Any]:
    def body(library: Any, x: Any) -> Any:
        for _ in range(2):
            x = library.layers.Dense(units, activation="relu")(x)
        return library.layers.Dense(outputs)(x)

    return body


def _convnet(library: Any, x: Any) -> Any:
    layers = library.layers
    for filters in (32, 64):
        x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, activation="relu")(x))
    return layers.Dense(10)(layers.Dropout(0.5)(layers.Flatten()(x)))


def _normalized(layers: Any, x: Any, layer: Any) -> Any:
    return layers.BatchNormalization()(layer(x))


def _resnet(library: Any, x: Any) -> Any:
    layers = library.layers

    def conv(x: Any, filters: int, size: int, stride: int) -> Any:
        return _normalized(layers, x, layers.Conv2D(filters, size, stride, padding="same", use_bias=False))

    x = layers.ReLU()(conv(x, 16, 3, 1))
    for filters, first_stride in RESNET_STAGES:
        for block in range(RESNET_BLOCKS):
            stride = first_stride if block == 0 else 1
            y = conv(layers.ReLU()(conv(x, filters, 3, stride)), filters, 3, 1)
            short = x if stride == 1 else conv(x, filters, 1, stride)
            x = layers.ReLU()(layers.Add()([y, short]))
    return layers.Dense(10)(layers.GlobalAveragePooling2D()(x))


def _mobile(library: Any, x: Any) -> Any:
    layers = library.layers
    x = layers.ReLU()(_normalized(layers, x, layers.Conv2D(MOBILE_STEM, 3, padding="same", use_bias=False)))
    for filters, stride in MOBILE_BLOCKS:
        depthwise = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)
        x = layers.ReLU()(_normalized(layers, x, depthwise))
        x = layers.ReLU()(_normalized(layers, x, layers.Conv2D(filters, 1, use_bias=False)))
    return layers.Dense(10)(layers.GlobalAveragePooling2D()(x))


def _bilstm(masked: bool) -> Callable[[Any, Any], Any]:
    def body(library: Any, x: Any) -> Any:
        layers = library.layers
        x = layers.Embedding(WORKLOADS["text_bilstm"].rows, 128, mask_zero=masked)(x)
        x = layers.Bidirectional(layers.LSTM(64, return_sequences=True))(x)
        return layers.Dense(1)(layers.Bidirectional(layers.LSTM(64))(x))

    return body


def _weather(library: Any, x: Any) -> Any:
    return library.layers.Dense(1)(library.layers.LSTM(32)(x))


def _charlm(library: Any, x: Any) -> Any:
    layers, rows = library.layers, WORKLOADS["gru_charlm"].rows
    return layers.Dense(rows)(layers.GRU(256, return_sequences=True)(layers.Embedding(rows, 64)(x)))


def _attend(library: Any, x: Any) -> Any:
    """The layer of that name, or the maps and the operation that it is made of."""
    layers = library.layers
    if hasattr(layers, "MultiHeadAttention"):
        return layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(x, x)
    parts = [layers.Reshape((-1, HEADS, WIDTH // HEADS))(layers.Dense(WIDTH)(x)) for _ in range(3)]
    return layers.Dense(WIDTH)(layers.Reshape((-1, WIDTH))(library.ops.dot_product_attention(*parts)))


def _transformer(library: Any, x: Any) -> Any:
    layers, workload = library.layers, WORKLOADS["text_transformer"]
    x = layers.Embedding(workload.rows, WIDTH)(x)
    x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(DROPPED)(_attend(library, x))]))
    y = layers.Dense(WIDTH)(layers.Dense(WIDTH, activation="relu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(DROPPED)(y)]))
    x = layers.Dropout(DROPPED)(layers.GlobalAveragePooling1D()(x))
    return layers.Dense(2)(layers.Dropout(DROPPED)(layers.Dense(20, activation="relu")(x)))


BODIES: dict[str, Callable[[Any, Any], Any]] = {
    "tabular_mlp": _mlp(64, 1),
    "mnist_mlp": _mlp(512, 10),
    "mnist_convnet": _convnet,
    "cifar_resnet": _resnet,
    "mobile_dw": _mobile,
    "text_bilstm": _bilstm(masked=False),
    "text_bilstm_masked": _bilstm(masked=True),
    "weather_lstm": _weather,
    "gru_charlm": _charlm,
    "text_transformer": _transformer,
}
