"""The ten workloads: shapes, sizes and synthetic data. `definition.py` has the models, in Keras's language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

CHARACTERS = 96
WORDS = 20_000


@dataclass(frozen=True)
class Workload:
    """What is trained on: `samples` of `shape` in batches of `batch`, towards `loss`.

    `loss` is "mse", "binary" or "classes" (integers; all models give logits). Inputs are integers below `rows`, if it
    is given; `ragged` sequences of them end with zeros. `classes` is also the number of the model's outputs.
    """

    about: str
    shape: tuple[int, ...]
    samples: int
    batch: int
    loss: str
    classes: int = 1
    rows: int = 0
    ragged: bool = False
    target_shape: tuple[int, ...] = ()
    overhead_rules: bool = False

    def data(self, samples: int) -> tuple[Any, Any]:
        """The first samples, the same in every process: inputs and targets in NumPy on the host."""
        draw = np.random.default_rng(0)
        if self.rows:
            x = draw.integers(1, self.rows, (samples, *self.shape), dtype="int32")
        else:
            x = draw.random((samples, *self.shape), "float32")
        if self.ragged:
            lengths = draw.integers(20, self.shape[0] + 1, (samples, 1))
            x = np.where(np.arange(self.shape[0]) < lengths, x, 0)
        if self.loss == "classes":
            return x, draw.integers(0, self.classes, (samples, *self.target_shape), dtype="int32")
        if self.loss == "binary":
            return x, draw.integers(0, 2, (samples, 1)).astype("float32")
        return x, draw.random((samples, 1), "float32")


WORKLOADS = {
    "tabular_mlp": Workload("32 numbers; Dense 64, 64, 1", (32,), 20_000, 32, "mse", overhead_rules=True),
    "mnist_mlp": Workload("784 pixels; Dense 512, 512, 10", (784,), 60_000, 128, "classes", 10),
    "mnist_convnet": Workload(
        "28x28x1; two convolutions and poolings, Dropout, Dense 10", (28, 28, 1), 60_000, 128, "classes", 10
    ),
    "cifar_resnet": Workload("32x32x3; ResNet-20", (32, 32, 3), 50_000, 64, "classes", 10),
    "mobile_dw": Workload("32x32x3; five depthwise-separable blocks", (32, 32, 3), 50_000, 64, "classes", 10),
    "text_bilstm": Workload("200 words; two bidirectional LSTM 64", (200,), 25_000, 32, "binary", rows=WORDS),
    "text_bilstm_masked": Workload(
        "the same with padding and masks", (200,), 25_000, 32, "binary", rows=WORDS, ragged=True
    ),
    "weather_lstm": Workload("120 steps of 7 numbers; LSTM 32", (120, 7), 50_000, 256, "mse"),
    "gru_charlm": Workload(
        "100 characters; GRU 256, Dense 96 at each", (100,), 20_000, 64, "classes", CHARACTERS, CHARACTERS,
        target_shape=(100,),
    ),
    "text_transformer": Workload(
        "200 words; one block of attention, width 32", (200,), 25_000, 32, "classes", 2, WORDS
    ),
}  # fmt: skip
