"""What the proof costs and what it buys: proofs, per-sample gradients, micro-batches, the last batch.

Every comparison is a ratio of medians taken in turns in one run. `python benchmarks/batch.py [--json FILE]`
With torch installed, its per-sample gradients stand beside lamella's.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from timing import Figures, in_turns, report

import lamella
from lamella import layers
from lamella.batch import check

try:
    import torch
except ImportError:
    torch = None

SAMPLES = 64
DRAW = np.random.default_rng(0)
IMAGES = DRAW.normal(size=(SAMPLES, 14, 14, 1)).astype("float32")
CLASSES = DRAW.integers(0, 10, size=SAMPLES)


def small_cnn() -> Any:
    model = lamella.Sequential(
        [
            lamella.Input((14, 14, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Conv2D(16, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    model.compile("sgd", lamella.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def deep() -> Any:
    hidden = [layers.Dense(64, activation="relu") for _ in range(50)]
    return lamella.Sequential([lamella.Input((64,)), *hidden])


def transformer() -> Any:
    x = inputs = lamella.Input((32, 64))
    for _ in range(4):
        scores = layers.Softmax()(layers.Dot(axes=2)([layers.Dense(64)(x), layers.Dense(64)(x)]))
        x = layers.LayerNormalization()(layers.Add()([x, layers.Dot(axes=(2, 1))([scores, layers.Dense(64)(x)])]))
        x = layers.LayerNormalization()(layers.Add()([x, layers.Dense(64)(layers.Dense(128, activation="gelu")(x))]))
    return lamella.Model(inputs, x)


def recurrent() -> Any:
    return lamella.Sequential([lamella.Input((32, 16)), layers.Bidirectional(layers.LSTM(32)), layers.Dense(1)])


def proofs() -> Figures:
    """The proof beside the symbolic trace alone, which any shape costs."""
    figures = {}
    for make in (deep, transformer, small_cnn, recurrent):
        model = make()

        def trace(model: Any = model) -> Any:
            return model.compute_output_spec(model.input)

        def proof(model: Any = model) -> Any:
            return check(model)

        assert check(model).independent
        figures[f"proof of {make.__name__}, ms"] = in_turns({"proof": proof, "symbolic trace": trace})
    return figures


def sample_gradients() -> Figures:
    model = small_cnn()
    one = [(IMAGES[i : i + 1], CLASSES[i : i + 1]) for i in range(SAMPLES)]

    def loop() -> Any:
        return [model.per_sample_gradients(x, y) for x, y in one]

    ways = {"lamella": lambda: model.per_sample_gradients(IMAGES, CLASSES), "a loop over samples": loop}
    if torch is not None:
        ways["torch.func"] = torch_gradients(model)
    return {f"gradients of {SAMPLES} samples, small CNN, ms": in_turns(ways, rounds=9)}


def torch_gradients(model: Any) -> Any:
    """The same network with the same weights; its gradients are compared before anything is timed."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 16, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 25, 10),
    )
    weights = model.get_weights()
    # rows x cols x channels here, channels first there: the kernels and the rows of the dense layer are turned
    dense = weights[4].reshape(5, 5, 16, 10).transpose(3, 2, 0, 1).reshape(10, -1)
    turned = [
        weights[0].transpose(3, 2, 0, 1),
        weights[1],
        weights[2].transpose(3, 2, 0, 1),
        weights[3],
        dense,
        weights[5],
    ]
    for parameter, value in zip(net.parameters(), turned, strict=True):
        parameter.data = torch.tensor(np.ascontiguousarray(value))
    parameters = {name: value.detach() for name, value in net.named_parameters()}
    x, y = torch.tensor(IMAGES.transpose(0, 3, 1, 2).copy()), torch.tensor(CLASSES)

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        logits = torch.func.functional_call(net, parameters, (x[None],))
        return torch.nn.functional.cross_entropy(logits, y[None])

    mapped = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    ours = model.per_sample_gradients(IMAGES, CLASSES)
    theirs = mapped(parameters, x, y)
    np.testing.assert_allclose(np.asarray(ours[1]), theirs["0.bias"].numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(np.asarray(ours[5]), theirs["5.bias"].numpy(), rtol=1e-3, atol=1e-5)
    return lambda: list(mapped(parameters, x, y).values())


def micro_batches() -> Figures:
    x = DRAW.normal(size=(4096, 256)).astype("float32")
    y = x[:, :1]

    def made() -> Any:
        model = lamella.Sequential(
            [lamella.Input((256,)), *(layers.Dense(512, activation="relu") for _ in range(3)), layers.Dense(1)]
        )
        model.compile("adam", "mse")
        return model

    whole, pieces = made(), made()
    ways = {
        "in pieces of 256": lambda: pieces.fit(x, y, batch_size=4096, micro_batch=256, verbose=0).history["loss"],
        "whole batch": lambda: whole.fit(x, y, batch_size=4096, verbose=0).history["loss"],
    }
    return {"a step on a batch of 4096, ms": in_turns(ways, rounds=9)}


def last_batch() -> Figures:
    """The first epoch of a data set whose last batch is smaller, filled up and not."""
    x = DRAW.normal(size=(1000, 64)).astype("float32")
    y = x[:, :1]

    def first_epoch(samples: int) -> float:
        model = lamella.Sequential([lamella.Input((64,)), *(layers.Dense(64, activation="tanh") for _ in range(10))])
        model.add(layers.Dense(1))
        model.compile("adam", "mse")
        start = time.perf_counter()
        model.fit(x[:samples], y[:samples], batch_size=32, verbose=0)
        return time.perf_counter() - start

    taken: dict[str, list[float]] = {"1000 samples": [], "992 samples": []}
    for _ in range(7):
        taken["1000 samples"].append(first_epoch(1000))
        taken["992 samples"].append(first_epoch(992))
    return {"first epoch in batches of 32, s": {name: float(np.median(values)) for name, values in taken.items()}}


def measure() -> Figures:
    return {**proofs(), **sample_gradients(), **micro_batches(), **last_batch()}


if __name__ == "__main__":
    report(measure, __doc__, f", torch {torch.__version__}" if torch is not None else "")
