"""Kinds of models, each written once and made in either library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

DRAW = np.random.default_rng(3)
X = DRAW.normal(size=(6, 8)).astype("float32")
STEPS = DRAW.normal(size=(6, 5, 4)).astype("float32")
WORDS = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0], [6, 7, 8, 9, 1], [1, 1, 0, 0, 0], [2, 3, 4, 0, 0], [9, 8, 7, 6, 0]])
Y = (X[:, :1] > 0).astype("float32")


@dataclass
class Kind:
    """A model with its data; `trained` are taken through a step on each side, before and after the file."""

    make: Callable[[Any], Any]
    x: Any = field(default_factory=lambda: X)
    y: Any = None
    custom: Callable[[Any], dict[str, Any]] = lambda library: {}
    tolerance: float = 1e-5
    # A draw at random differs between the libraries: what comes after a step is not compared.
    random: bool = False


def sequential(library: Any) -> Any:
    layers = library.layers
    model = library.Sequential([library.Input((8,)), layers.Dense(5, activation="gelu"), layers.Dense(1)], name="stack")
    model.compile(library.optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


def late(library: Any) -> Any:
    model = library.Sequential([library.layers.Dense(5, activation="relu"), library.layers.Dense(2)])
    model(X)
    return model


def branches(library: Any) -> Any:
    layers = library.layers
    x = library.Input((8,), name="x")
    left, right = layers.Dense(4, activation="tanh")(x), layers.Dense(4, name="right")(x)
    out = layers.Dense(1, name="out")(layers.Add()([left, layers.Multiply()([left, right])]))
    model = library.Model(x, out, name="branches")
    model.compile(library.optimizers.SGD(0.1, momentum=0.9), library.losses.BinaryCrossentropy(from_logits=True))
    return model


def shared(library: Any) -> Any:
    layers = library.layers
    a, b = library.Input((8,), name="a"), library.Input((8,), name="b")
    same = layers.Dense(4, activation="relu", name="same")
    return library.Model([a, b], layers.Concatenate()([same(a), same(b), same(layers.Rescaling(2.0)(a))]))


def nested(library: Any) -> Any:
    layers = library.layers
    inside = library.Sequential([library.Input((4,)), layers.Dense(4), layers.LayerNormalization()], name="inside")
    z = library.Input((8,), name="z")
    encoder = library.Model(z, inside(layers.Dense(4)(z)), name="encoder")
    x = library.Input((8,), name="x")
    other = library.Sequential([library.Input((8,)), layers.Dense(4)], name="other")
    return library.Model(x, layers.Dense(1)(layers.Add()([encoder(x), encoder(layers.Rescaling(0.5)(x)), other(x)])))


def several(library: Any) -> Any:
    layers = library.layers
    inputs = {"left": library.Input((8,), name="left"), "right": library.Input((8,), name="right")}
    both = layers.Concatenate(name="both")([inputs["left"], inputs["right"]])
    model = library.Model(
        inputs, {"mark": layers.Dense(1, name="mark")(both), "code": layers.Dense(3, name="code")(both)}
    )
    model.compile("sgd", {"mark": "mse", "code": "mae"}, {"mark": 2.0, "code": 0.5}, {"mark": ["mae"], "code": []})
    return model


@cache
def own(library: Any) -> dict[str, Any]:
    """Classes and functions of one's own, the first of them registered."""

    @library.saving.register_keras_serializable("kinds")
    class Block(library.layers.Layer):
        def __init__(self, units: int = 4, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units = units
            self.inner = library.layers.Dense(units, activation="relu")

        def build(self, input_shape: Any) -> None:
            self.inner.build(input_shape)
            self.factor = self.add_weight(shape=(self.units,), initializer="ones", name="factor")

        def call(self, inputs: Any) -> Any:
            return self.inner(inputs) * self.factor

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    @library.saving.register_keras_serializable("kinds")
    class Net(library.Model):
        def __init__(self, units: int = 4, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units = units
            self.block, self.heads = Block(units), [library.layers.Dense(2), library.layers.Dense(1)]

        def call(self, inputs: Any) -> Any:
            return self.heads[1](self.heads[0](self.block(inputs)))

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    class Plain(library.layers.Layer):
        def __init__(self, scale: float, shift: float = 1.0, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.scale, self.shift = scale, shift

        def build(self, input_shape: Any) -> None:
            self.kernel = self.add_weight(shape=(input_shape[-1], 3), name="kernel")

        def call(self, inputs: Any) -> Any:
            return (inputs @ self.kernel) * self.scale + self.shift

    @library.saving.register_keras_serializable("kinds")
    def halved(x: Any) -> Any:
        return x * 0.5

    @library.saving.register_keras_serializable("kinds")
    def shifted(x: Any, by: float = 0.0) -> Any:
        return x + by

    return {"Block": Block, "Net": Net, "Plain": Plain, "halved": halved, "shifted": shifted}


def subclassed(library: Any) -> Any:
    model = own(library)["Net"](5)
    model.compile("adam", "mse")
    model(X)
    return model


def passed(library: Any) -> Any:
    return library.Sequential([library.Input((8,)), own(library)["Plain"](3.0, shift=2.0), own(library)["Block"](2)])


def function(library: Any) -> Any:
    halved, shifted = own(library)["halved"], own(library)["shifted"]
    layers = library.layers
    moved = layers.Lambda(shifted, output_shape=(8,), arguments={"by": 2.0})
    return library.Sequential(
        [library.Input((8,)), layers.Lambda(halved, output_shape=(8,)), moved, layers.Dense(3, activation=halved)]
    )


def masked(library: Any) -> Any:
    layers = library.layers
    words = library.Input((None,), dtype="int32", name="words")
    steps = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(layers.Embedding(10, 4, mask_zero=True)(words))
    model = library.Model(words, layers.Dense(1, activation="sigmoid")(layers.GRU(3)(steps)))
    model.compile("adam", "binary_crossentropy")
    return model


def attended(library: Any) -> Any:
    layers = library.layers
    x = library.Input((5, 4))
    both = layers.MultiHeadAttention(2, 3, name="attend")(x, x, use_causal_mask=True)
    both = layers.TimeDistributed(layers.Dense(3))(layers.GroupNormalization(2)(layers.Add()([x, both])))
    return library.Model(x, layers.Conv1D(2, 3, padding="same")(both))


def statistics(library: Any) -> Any:
    layers = library.layers
    model = library.Sequential(
        [library.Input((5, 4)), layers.Conv1D(3, 2), layers.BatchNormalization(), layers.Flatten(), layers.Dense(1)]
    )
    rate = library.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model.compile(library.optimizers.RMSprop(rate), library.losses.LogCosh(), metrics=[library.metrics.AUC()])
    return model


def noisy(library: Any) -> Any:
    layers = library.layers
    x = library.Input((8,))
    out = layers.Dense(1)(layers.GaussianNoise(0.1, seed=3)(layers.Dropout(0.5, seed=7)(layers.Dense(4)(x))))
    model = library.Model(x, out)
    model.compile("adamw", "mse")
    return model


def half(library: Any) -> Any:
    layers = library.layers
    return library.Sequential(
        [library.Input((8,)), layers.Dense(16, dtype="mixed_bfloat16"), layers.Dense(3, dtype="bfloat16")]
    )


def adapted(library: Any) -> Any:
    layers = library.layers
    model = library.Sequential([library.Input((8,)), layers.Dense(6, name="first"), layers.Dense(2)])
    model.get_layer("first").enable_lora(2, lora_alpha=3)
    model.compile("sgd", "mse")
    return model


def quantized(library: Any) -> Any:
    layers = library.layers
    words = library.Input((5,), dtype="int32")
    model = library.Model(words, layers.Dense(3)(layers.Flatten()(layers.Embedding(10, 4)(words))))
    for layer in model.layers:
        if hasattr(layer, "kernel") or hasattr(layer, "embeddings"):
            layer.quantize("int8")
    return model


def adapted_and_quantized(library: Any) -> Any:
    layers = library.layers
    model = library.Sequential([library.Input((8,)), layers.Dense(6, name="first"), layers.Dense(2)])
    first = model.get_layer("first")
    first.quantize("int8")
    first.enable_lora(2)
    first.lora_kernel_b.assign(np.full(first.lora_kernel_b.shape, 0.01))
    return model


def policies(library: Any) -> Any:
    """A policy for the layers inside one, by their paths; a global one; and one for a model inside."""
    layers, kinds = library.layers, library.dtype_policies
    x = library.Input((5, 4))
    chosen = kinds.DTypePolicyMap(default_policy=kinds.DTypePolicy("mixed_bfloat16"))
    chosen["attend/query"] = kinds.DTypePolicy("float32")
    both = layers.MultiHeadAttention(2, 3, name="attend", dtype=chosen)(x, x)
    last = layers.Dense(2, dtype=kinds.FloatDTypePolicy("mixed_float16"))(both)
    return library.Model(x, layers.LayerNormalization(dtype="float32")(last))


KINDS = {
    "sequential": Kind(sequential, y=Y),
    "sequential without Input": Kind(late),
    "branches": Kind(branches, y=Y),
    "shared layers": Kind(shared, x=[X, X + 1]),
    "nested models": Kind(nested),
    "several inputs and outputs": Kind(several, x={"left": X, "right": X[:, ::-1]}, y={"mark": Y, "code": X[:, :3]}),
    "subclassed": Kind(subclassed, y=Y, custom=own),
    "custom_objects": Kind(passed, custom=lambda library: {"Plain": own(library)["Plain"]}),
    "a registered function": Kind(function, custom=own),
    "masks": Kind(masked, x=WORDS, y=Y),
    "attention": Kind(attended, x=STEPS),
    "BatchNormalization": Kind(statistics, x=STEPS, y=Y),
    "dropout": Kind(noisy, y=Y, random=True),
    "bfloat16": Kind(half, tolerance=2e-2),
    # Files hold the sum: Keras starts the factors anew, and so does what reads its form.
    "LoRA": Kind(adapted, y=X[:, :2], random=True),
    "int8": Kind(quantized, x=WORDS),
    "int8 with LoRA": Kind(adapted_and_quantized, tolerance=5e-2),
    "dtype policies": Kind(policies, x=STEPS, tolerance=2e-2),
}
