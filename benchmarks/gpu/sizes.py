"""What is trained on a GPU: a network of convolutions, a recurrent one and a transformer, large or small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ResNet:
    """Bottlenecks of four convolutional stages on square pictures of three channels."""

    batch: int = 128
    pixels: int = 224
    stem: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    classes: int = 1000

    def data(self, samples: int) -> tuple[Any, Any]:
        draw = np.random.default_rng(0)
        x = draw.random((samples, self.pixels, self.pixels, 3), "float32")
        return x, draw.integers(0, self.classes, samples, dtype="int32")


@dataclass(frozen=True)
class LSTM:
    """Two layers of LSTM over sequences of numbers, one class for each sequence."""

    batch: int = 128
    steps: int = 256
    features: int = 256
    units: int = 1024
    classes: int = 100

    def data(self, samples: int) -> tuple[Any, Any]:
        draw = np.random.default_rng(0)
        x = draw.random((samples, self.steps, self.features), "float32")
        return x, draw.integers(0, self.classes, samples, dtype="int32")


@dataclass(frozen=True)
class GPT:
    """A decoder: normalized before each of its parts, the table of tokens read backward at the end, no dropout."""

    batch: int = 16
    steps: int = 1024
    width: int = 768
    heads: int = 12
    depth: int = 12
    tokens: int = 50257

    def data(self, samples: int) -> tuple[Any, Any]:
        ids = np.random.default_rng(0).integers(0, self.tokens, (samples, self.steps + 1), dtype="int32")
        return ids[:, :-1], ids[:, 1:]


LARGE = {"resnet50": ResNet(), "lstm": LSTM(), "gpt2_small": GPT()}
SMALL = {
    "resnet50": ResNet(batch=2, pixels=16, stem=4, blocks=(1, 1), classes=10),
    "lstm": LSTM(batch=2, steps=5, features=4, units=8, classes=3),
    "gpt2_small": GPT(batch=2, steps=8, width=16, heads=2, depth=1, tokens=50),
}
