"""Whole models as Keras 2 wrote them: configs by hand from the known form, with weights of these shapes and answers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import h5py
import numpy as np

DRAW = np.random.default_rng(11)
X = DRAW.normal(size=(4, 6)).astype("float32")
STEPS = DRAW.normal(size=(4, 5, 3)).astype("float32")
ADAM = {"name": "Adam", "learning_rate": 0.002, "decay": 0.0, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-07}
COMPILED = {
    "loss": "mse",
    "metrics": ["mae"],
    "weighted_metrics": None,
    "loss_weights": None,
    "sample_weight_mode": None,
    "optimizer_config": {"class_name": "Adam", "config": {**ADAM, "amsgrad": False}},
}


class Model(NamedTuple):
    """A config, weights by the layers' names, data, and what comes out, computed here by NumPy."""

    config: dict[str, Any]
    weights: dict[str, list[Any]]
    x: Any
    expected: Any


def drawn(*shape: int) -> Any:
    return DRAW.normal(size=shape).astype("float32")


def part(kind: str, /, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": config}


def layer(kind: str, name: str, *nodes: Any, **config: Any) -> dict[str, Any]:
    entry = {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32", **config}}
    return {**entry, "name": name, "inbound_nodes": list(nodes)} if nodes else entry


def begin(name: str, *shape: Any) -> dict[str, Any]:
    given = {"batch_input_shape": [None, *shape], "dtype": "float32", "sparse": False, "ragged": False, "name": name}
    return {"class_name": "InputLayer", "config": given, "name": name, "inbound_nodes": []}


def dense(name: str, units: int, *nodes: Any, **config: Any) -> dict[str, Any]:
    given = {
        "units": units,
        "activation": "linear",
        "use_bias": True,
        "kernel_initializer": part("GlorotUniform", seed=None, dtype="float32"),
        "bias_initializer": part("Zeros"),
        "kernel_regularizer": None,
        "kernel_constraint": None,
    }
    return layer("Dense", name, *nodes, **{**given, **config})


def graph(
    name: str, layers: list[Any], inputs: list[Any], outputs: list[Any], kind: str = "Functional"
) -> dict[str, Any]:
    return part(kind, name=name, layers=layers, input_layers=inputs, output_layers=outputs)


def stack(name: str, *layers: Any) -> dict[str, Any]:
    return part("Sequential", name=name, layers=list(layers))


def to(name: str, number: int = 0, **kwargs: Any) -> list[Any]:
    return [name, number, 0, kwargs]


def end(name: str, number: int = 0) -> list[Any]:
    return [name, number, 0]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def plain() -> Model:
    """A stack of the first versions: the layers in a list, the input's shape at the first of them."""
    first = dense("d1", 4, activation="relu", batch_input_shape=[None, 6])
    w = [drawn(6, 4), drawn(4)], [drawn(4, 2), drawn(2)]
    hidden = np.maximum(X @ w[0][0] + w[0][1], 0)
    config = {"class_name": "Sequential", "config": [first, dense("d2", 2)]}
    return Model(config, {"d1": w[0], "d2": w[1]}, X, hidden @ w[1][0] + w[1][1])


def normalized() -> Model:
    """Lists for axes, arguments that are gone, a leaky slope by its first name, a regularizer."""
    layers = [
        begin("input_1", 6),
        dense("d", 4, batch_input_shape=[None, 6], kernel_regularizer=part("L1L2", l1=0.0, l2=0.01)),
        layer(
            "BatchNormalizationV1", "b", axis=[1], momentum=0.99, epsilon=0.001, center=True, scale=True, fused=False
        ),
        layer("LeakyReLU", "leak", alpha=0.2),
        layer("Dropout", "drop", rate=0.5, noise_shape=None, seed=None),
    ]
    kernel, bias, gamma, beta, mean = drawn(6, 4), drawn(4), drawn(4), drawn(4), drawn(4)
    variance = DRAW.uniform(0.5, 2, 4).astype("float32")
    x = (X @ kernel + bias - mean) / np.sqrt(variance + 0.001) * gamma + beta
    weights = {"d": [kernel, bias], "b": [gamma, beta, mean, variance]}
    return Model(stack("sequential", *layers), weights, X, np.where(x > 0, x, 0.2 * x))


def shared() -> Model:
    """A graph with a shared layer, two inputs, two outputs, and a slash in a name."""
    layers = [
        begin("a", 6),
        begin("b", 6),
        dense("same", 3, [to("a")], [to("b")]),
        layer("Add", "block/add", [to("same"), to("same", 1)]),
        layer("Concatenate", "both", [to("block/add"), to("same", 1)], axis=-1),
        dense("head", 2, [to("both")]),
    ]
    config = graph("model", layers, [end("a"), end("b")], [end("head"), end("block/add")], "Model")
    w, h = [drawn(6, 3), drawn(3)], [drawn(6, 2), drawn(2)]
    left, right = X @ w[0] + w[1], (X + 1) @ w[0] + w[1]
    added = left + right
    return Model(config, {"same": w, "head": h}, [X, X + 1], [np.concatenate([added, right], -1) @ h[0] + h[1], added])


def nested() -> Model:
    """Models in a model, whose calls are counted from 1."""
    inside = stack("inside", begin("input_9", 3), dense("d", 2))
    encoder = graph("encoder", [begin("z", 6), dense("e", 3, [to("z")])], [end("z")], [end("e")])
    layers = [
        begin("x", 6),
        layer("Activation", "bent", [to("x")], activation="tanh"),
        {**encoder, "name": "encoder", "inbound_nodes": [[to("x", training=None)], [to("bent")]]},
        {**inside, "name": "inside", "inbound_nodes": [[to("encoder", 1)], [to("encoder", 2)]]},
        layer("Subtract", "less", [to("inside", 1), to("inside", 2)]),
    ]
    e, d = [drawn(6, 3), drawn(3)], [drawn(3, 2), drawn(2)]
    one, other = (value @ e[0] + e[1] for value in (X, np.tanh(X)))
    return Model(
        graph("model_1", layers, [end("x")], [end("less")]), {"encoder": e, "inside": d}, X, (one - other) @ d[0]
    )


def recurrent() -> Model:
    """A GRU of the first form, whose state begins with what another layer says."""
    gru = {"units": 2, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "implementation": 1}
    layers = [
        begin("x", 5, 3),
        layer("GlobalAveragePooling1D", "mean", [to("x")], data_format="channels_last"),
        dense("begin", 2, [to("mean")]),
        layer("GRU", "gru", [to("x"), to("begin")], **gru, return_sequences=False, time_major=False, unroll=False),
    ]
    b, (kernel, recurrent, bias) = [drawn(3, 2), drawn(2)], (drawn(3, 6), drawn(2, 6), drawn(6))
    state = STEPS.mean(1) @ b[0] + b[1]
    for step in range(5):
        x = STEPS[:, step] @ kernel + bias
        update, reset = (sigmoid(x[:, i : i + 2] + state @ recurrent[:, i : i + 2]) for i in (0, 2))
        new = np.tanh(x[:, 4:] + (reset * state) @ recurrent[:, 4:])
        state = update * state + (1 - update) * new
    return Model(
        graph("model_2", layers, [end("x")], [end("gru")]), {"begin": b, "gru": [kernel, recurrent, bias]}, STEPS, state
    )


def convolved() -> Model:
    """Depthwise windows with the arguments of all convolutions, and a policy for the dtype."""
    given = {"kernel_size": [1], "strides": [1], "padding": "valid", "data_format": "channels_last", "groups": 1}
    more = {"dilation_rate": [1], "depth_multiplier": 1, "activation": "linear", "use_bias": False}
    policy = {"class_name": "Policy", "config": {"name": "float32"}}
    kernel = drawn(1, 3, 1)
    layers = [
        begin("x", 5, 3),
        layer("DepthwiseConv1D", "c", **{**given, **more, "dtype": policy, "kernel_initializer": part("Ones")}),
        layer("Flatten", "flat", data_format="channels_last"),
    ]
    return Model(stack("c", *layers), {"c": [kernel]}, STEPS, (STEPS * kernel[:, :, 0]).reshape(4, -1))


def pictures() -> Model:
    """Stacks in a stack around a graph, as tools for pictures wrote them, part of it not trained."""
    window = {"kernel_size": [3, 3], "strides": [2, 2], "padding": "valid", "data_format": "channels_last", "groups": 1}
    batch = {"axis": [3], "momentum": 0.999, "epsilon": 0.001, "center": True, "scale": True}
    inside = [
        begin("image", 4, 4, 2),
        layer("ZeroPadding2D", "pad", [to("image")], padding=[[0, 1], [0, 1]], data_format="channels_last"),
        layer("DepthwiseConv2D", "dw", [to("pad")], **window, depth_multiplier=1, use_bias=False, trainable=False),
        layer("BatchNormalization", "bn", [to("dw")], **batch),
        layer("ReLU", "relu", [to("bn")], max_value=6.0, negative_slope=0.0, threshold=0.0),
    ]
    mobile = graph("mobile", inside, [end("image")], [end("relu")], "Model")
    first = stack("first", mobile, layer("GlobalAveragePooling2D", "mean", data_format="channels_last"))
    last = stack("last", dense("head", 3, activation="softmax", use_bias=False, batch_input_shape=[None, 2]))
    kernel, gamma, beta, mean, head = drawn(3, 3, 2, 1), drawn(2), drawn(2), drawn(2), drawn(2, 3)
    variance = DRAW.uniform(0.5, 2, 2).astype("float32")
    x = DRAW.normal(size=(4, 4, 4, 2)).astype("float32")
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    mixed = np.einsum("bijcxy,xyc->bijc", windows, kernel[..., 0])
    bent = np.clip((mixed - mean) / np.sqrt(variance + 0.001) * gamma + beta, 0, 6)
    scores = np.exp(bent.mean((1, 2)) @ head)
    # What is trained stands before what is not.
    weights = {"first": [gamma, beta, kernel, mean, variance], "last": [head]}
    return Model(stack("all", first, last), weights, x, scores / scores.sum(-1, keepdims=True))


MODELS: dict[str, Callable[[], Model]] = {
    made.__name__: made for made in (plain, normalized, shared, nested, recurrent, convolved, pictures)
}


def written(model: Model, training: Any = None, version: str = "2.13.1", config: Any = None) -> io.BytesIO:
    """The file, as Keras 2 wrote it."""
    place = io.BytesIO()
    with h5py.File(place, "w") as file:
        file.attrs["keras_version"] = version.encode()
        file.attrs["backend"] = b"tensorflow"
        given = model.config if config is None else config
        file.attrs["model_config"] = given if isinstance(given, bytes) else json.dumps(given).encode()
        if training is not None:
            file.attrs["training_config"] = json.dumps(training).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.asarray([name.encode() for name in model.weights])
        for name, arrays in model.weights.items():
            names = [f"{name}/weight_{i}:0".encode() for i in range(len(arrays))]
            group.create_group(name).attrs["weight_names"] = np.asarray(names)
            for key, array in zip(names, arrays, strict=True):
                group[name][key.decode()] = array
    return place
