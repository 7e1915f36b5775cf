"""PyTorch as one writes it: modules, batches sliced from shuffled tensors, Adam; compiled if the environment says so.

Pictures lie in memory with their channels last, which is its fast layout on CPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks.speed.definition import DROPPED, HEADS, MOBILE_BLOCKS, MOBILE_STEM, RESNET_BLOCKS, RESNET_STAGES, WIDTH
from benchmarks.speed.workloads import WORKLOADS

COMPILES = os.environ.get("BENCHMARK_COMPILES") == "1"
VERSIONS = {"torch": torch.__version__}
THREADS = torch.get_num_threads()


def wait(result: Any) -> Any:
    return result


class Pictures(nn.Module):
    """(batch, height, width, channels) as torch names the axes; the memory stays as it is."""

    def forward(self, x: Any) -> Any:
        return x.permute(0, 3, 1, 2)


class Places(nn.Module):
    """The mean over places."""

    def forward(self, x: Any) -> Any:
        return x.mean((2, 3))


class Block(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, before: int, filters: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(before, filters, 3, stride), nn.ReLU(), *_conv(filters, filters, 3, 1))
        self.short = nn.Sequential(*_conv(before, filters, 1, stride)) if stride > 1 else nn.Identity()

    def forward(self, x: Any) -> Any:
        return torch.relu(self.body(x) + self.short(x))


def _conv(before: int, filters: int, size: int, stride: int, groups: int = 1) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(before, filters, size, stride, size // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(filters)


def _resnet() -> nn.Module:
    parts, before = [*_conv(3, 16, 3, 1), nn.ReLU()], 16
    for filters, stride in RESNET_STAGES:
        for block in range(RESNET_BLOCKS):
            parts.append(Block(before, filters, stride if block == 0 else 1))
            before = filters
    return nn.Sequential(Pictures(), *parts, Places(), nn.Linear(before, 10))


def _mobile() -> nn.Module:
    parts, before = [*_conv(3, MOBILE_STEM, 3, 1), nn.ReLU()], MOBILE_STEM
    for filters, stride in MOBILE_BLOCKS:
        parts += [*_conv(before, before, 3, stride, before), nn.ReLU(), *_conv(before, filters, 1, 1), nn.ReLU()]
        before = filters
    return nn.Sequential(Pictures(), *parts, Places(), nn.Linear(before, 10))


class Words(nn.Module):
    """Two bidirectional LSTMs; padded sequences go packed, as torch wants them."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.masked = masked
        self.embedding = nn.Embedding(WORKLOADS["text_bilstm"].rows, 128)
        self.first = nn.LSTM(128, 64, batch_first=True, bidirectional=True)
        self.second = nn.LSTM(128, 64, batch_first=True, bidirectional=True)
        self.head = nn.Linear(128, 1)

    def forward(self, ids: Any) -> Any:
        x = self.embedding(ids)
        if self.masked:
            x = pack_padded_sequence(x, (ids != 0).sum(1), batch_first=True, enforce_sorted=False)
        _, (last, _) = self.second(self.first(x)[0])
        return self.head(torch.cat([last[0], last[1]], -1))


class Weather(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(7, 32, batch_first=True), nn.Linear(32, 1)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0][:, -1])


class Characters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rows = WORKLOADS["gru_charlm"].rows
        self.embedding, self.gru = nn.Embedding(rows, 64), nn.GRU(64, 256, batch_first=True)
        self.head = nn.Linear(256, rows)

    def forward(self, ids: Any) -> Any:
        return self.head(self.gru(self.embedding(ids))[0])


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORKLOADS["text_transformer"].rows, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.forth = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2)])
        self.drop = nn.Dropout(DROPPED)
        self.head = nn.Sequential(self.drop, nn.Linear(WIDTH, 20), nn.ReLU(), self.drop, nn.Linear(20, 2))

    def forward(self, ids: Any) -> Any:
        x = self.embedding(ids)
        x = self.norms[0](x + self.drop(self.attention(x, x, x, need_weights=False)[0]))
        x = self.norms[1](x + self.drop(self.forth(x)))
        return self.head(x.mean(1))


def _mlp(features: int, units: int, outputs: int) -> nn.Module:
    hidden = [nn.Linear(features, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(units, outputs))


def _convnet() -> nn.Module:
    convs = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(Pictures(), *convs, nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 10))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "tabular_mlp": lambda: _mlp(32, 64, 1),
    "mnist_mlp": lambda: _mlp(784, 512, 10),
    "mnist_convnet": _convnet,
    "cifar_resnet": _resnet,
    "mobile_dw": _mobile,
    "text_bilstm": lambda: Words(masked=False),
    "text_bilstm_masked": lambda: Words(masked=True),
    "weather_lstm": Weather,
    "gru_charlm": Characters,
    "text_transformer": Transformer,
}


class Looped:
    """A module with an ordinary loop around it."""

    def __init__(self, name: str) -> None:
        self.workload = WORKLOADS[name]
        self.module = MODELS[name]().to(memory_format=torch.channels_last)
        self.model = torch.compile(self.module) if COMPILES else self.module
        self.optimizer = torch.optim.Adam(self.module.parameters(), 1e-3)
        self.loss = {"mse": nn.MSELoss, "binary": nn.BCEWithLogitsLoss, "classes": nn.CrossEntropyLoss}[
            self.workload.loss
        ]()

    def parameters(self) -> tuple[int, int]:
        """As Keras counts: torch's LSTMs have a second bias, which adds nothing to the first, and batch counters."""
        lstms = [module for module in self.module.modules() if isinstance(module, nn.LSTM)]
        second = sum(w.numel() for lstm in lstms for name, w in lstm.named_parameters() if name.startswith("bias_hh"))
        kept = sum(value.numel() for value in self.module.buffers() if value.is_floating_point())
        return sum(w.numel() for w in self.module.parameters()) - second, kept

    def train(self, x: Any, y: Any) -> None:
        inputs, targets, size = torch.from_numpy(x), torch.from_numpy(y), self.workload.batch
        if self.workload.loss == "classes":
            targets = targets.long()
        self.model.train()
        order = torch.randperm(len(inputs))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            outputs = self.model(inputs[chosen])
            if self.workload.loss == "classes":
                outputs = outputs.flatten(0, -2)
            loss = self.loss(outputs, targets[chosen].flatten() if outputs.shape[-1] > 1 else targets[chosen])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def predict(self, x: Any, batch: int) -> Any:
        inputs = torch.from_numpy(x)
        self.model.eval()
        with torch.inference_mode():
            outputs = [self.model(inputs[start : start + batch]) for start in range(0, len(inputs), batch)]
        return torch.cat(outputs).numpy()


def runner(name: str) -> Looped:
    return Looped(name)


def eager() -> dict[str, Callable[[], Any]]:
    given = {
        "Dense(3) on (10, 5)": (nn.Linear(5, 3), (10, 5)),
        "Conv2D(16, 3) on (4, 28, 28, 3)": (nn.Conv2d(3, 16, 3), (4, 3, 28, 28)),
        "LSTM(32) on (2, 10, 8)": (nn.LSTM(8, 32, batch_first=True), (2, 10, 8)),
        "GRU(32) on (2, 10, 8)": (nn.GRU(8, 32, batch_first=True), (2, 10, 8)),
        "MaxPooling2D() on (4, 28, 28, 3)": (nn.MaxPool2d(2), (4, 3, 28, 28)),
        "LayerNormalization() on (10, 5)": (nn.LayerNorm(5), (10, 5)),
    }
    return {name: lambda module=module, x=torch.rand(shape): module(x) for name, (module, shape) in given.items()}  # noqa: B008
