"""The three models in PyTorch: modules under autocast to bfloat16, the whole step's forward pass compiled."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.gpu.sizes import GPT, LSTM, ResNet

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _conv(before: int, filters: int, size: int, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(before, filters, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(filters))


class Bottleneck(nn.Module):
    def __init__(self, before: int, filters: int, stride: int, project: bool) -> None:
        super().__init__()
        parts = [_conv(before, filters, 1), nn.ReLU(), _conv(filters, filters, 3, stride), nn.ReLU()]
        self.body = nn.Sequential(*parts, _conv(filters, 4 * filters, 1))
        self.short = _conv(before, 4 * filters, 1, stride) if project else nn.Identity()

    def forward(self, x: Any) -> Any:
        return torch.relu(self.body(x) + self.short(x))


class Residual(nn.Module):
    def __init__(self, sizes: ResNet) -> None:
        super().__init__()
        parts, before = [_conv(3, sizes.stem, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], sizes.stem
        for stage, blocks in enumerate(sizes.blocks):
            filters = sizes.stem * 2**stage
            for block in range(blocks):
                parts.append(Bottleneck(before, filters, 2 if stage and not block else 1, not block))
                before = 4 * filters
        self.body, self.head = nn.Sequential(*parts), nn.Linear(before, sizes.classes)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x.permute(0, 3, 1, 2)).mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self, sizes: LSTM) -> None:
        super().__init__()
        self.lstm = nn.LSTM(sizes.features, sizes.units, 2, batch_first=True)
        self.head = nn.Linear(sizes.units, sizes.classes)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0][:, -1])


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norms = heads, nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
        self.taken, self.given = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Any) -> Any:
        batch, steps, width = x.shape
        parts = self.taken(self.norms[0](x)).view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.given(attended.transpose(1, 2).reshape(batch, steps, width))
        return x + self.mlp(self.norms[1](x))


class Decoder(nn.Module):
    def __init__(self, sizes: GPT) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(sizes.tokens, sizes.width), nn.Embedding(sizes.steps, sizes.width)
        self.blocks = nn.Sequential(*(Block(sizes.width, sizes.heads) for _ in range(sizes.depth)))
        self.norm = nn.LayerNorm(sizes.width)

    def forward(self, ids: Any) -> Any:
        x = self.blocks(self.table(ids) + self.places.weight)
        return functional.linear(self.norm(x), self.table.weight)


MODELS = {"resnet50": Residual, "lstm": Recurrent, "gpt2_small": Decoder}


class Runner:
    """A module, compiled, with an ordinary loop around it."""

    def __init__(self, name: str, sizes: Any) -> None:
        self.batch = sizes.batch
        self.module = MODELS[name](sizes).to(DEVICE, memory_format=torch.channels_last)
        # recurrent layers are cuDNN's own programs; the compiler leaves them alone
        self.model = torch.compile(self.module)
        self.optimizer = torch.optim.Adam(self.module.parameters(), 1e-4, fused=DEVICE == "cuda")

    def parameters(self) -> int:
        """As the others count: torch's LSTMs have a second bias, which adds nothing to the first."""
        named = self.module.named_parameters()
        return sum(w.numel() for name, w in named if ".bias_hh" not in name and not name.startswith("lstm.bias_hh"))

    def train(self, x: Any, y: Any) -> float:
        losses = []
        for start in range(0, len(x), self.batch):
            inputs = torch.from_numpy(x[start : start + self.batch]).to(DEVICE, non_blocking=True)
            targets = torch.from_numpy(y[start : start + self.batch]).to(DEVICE, non_blocking=True).long()
            with torch.autocast(DEVICE, torch.bfloat16):
                logits = self.model(inputs)
                loss = functional.cross_entropy(logits.flatten(0, -2).float(), targets.flatten())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())
