"""A training that is going on: where it stands, and what stands there with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lamella.training.callbacks import CallbackList
from lamella.training.data import ArrayData, IterableData
from lamella.training.step import Steps


@dataclass
class Training:
    """So many epochs are done, and so many batches of the next; with the data, the callbacks and the metrics."""

    epoch: int
    batch: int
    data: ArrayData | IterableData
    callbacks: CallbackList
    steps: Steps

    def place(self) -> dict[str, Any]:
        """Return as plain data where the training stands, and from where the order of its data is drawn."""
        order = self.data.order if self.batch else self.data.states()
        return {"epoch": self.epoch, "batch": self.batch, "read": self.data.read, "order": order}
