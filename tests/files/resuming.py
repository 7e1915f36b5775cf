"""Trainings that are broken off and go on: with dropout, statistics, shuffling and callbacks that remember.

`python -m tests.files.resuming FOLDER SEED [EPOCH BATCH]` trains with checkpoints in a folder, is killed at a place if
one is given, and prints what `fingerprint` says.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import lamella
from lamella import layers
from lamella.tools.datasets import Batches

DRAW = np.random.default_rng(3)
X = DRAW.normal(size=(22, 4)).astype("float32")
Y = X[:, :1] - 0.1 * DRAW.normal(size=(22, 1)).astype("float32")
EPOCHS, BATCHES, SIZE = 4, 6, 4


class Killed(Exception):
    """A training ends here."""


class Kill(lamella.callbacks.Callback):
    """End a training before an epoch, or before a batch of it; with `outright`, the process."""

    def __init__(self, epoch: int, batch: int | None = None, outright: bool = False) -> None:
        super().__init__()
        self.outright = outright
        self.place = epoch, batch
        self.epoch = 0
        if batch is not None:
            self.on_train_batch_begin = self._at_batch  # type: ignore[method-assign]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        self._end_at(epoch, None)

    def _at_batch(self, batch: int, logs: Any = None) -> None:
        self._end_at(self.epoch, batch)

    def _end_at(self, *place: int | None) -> None:
        if self.place == place:
            if self.outright:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Killed


class Noisy(lamella.utils.PyDataset):
    """Batches by index, with noise drawn as they are read."""

    def __len__(self) -> int:
        return BATCHES

    def __getitem__(self, index: int) -> Any:
        part = slice(SIZE * index, SIZE * (index + 1))
        return X[part] + np.random.normal(size=(1, 4)).astype("float32"), Y[part]


class Own:
    """An iterable that shuffles by itself."""

    def __iter__(self) -> Iterator[Any]:
        for index in np.random.permutation(5):
            yield X[SIZE * index : SIZE * (index + 1)], Y[SIZE * index : SIZE * (index + 1)]


def endless() -> Iterator[Any]:
    """Batches that are read on from epoch to epoch."""
    place = 0
    while True:
        place = (place * 5 + 3) % 17
        yield X[place : place + SIZE], Y[place : place + SIZE]


def dataset() -> Batches:
    """A dataset of ours, which shuffles with a seed of its own."""
    return Batches(lambda places: (X[places], Y[places]), len(X), SIZE, shuffle=True, seed=5)


DATA: dict[str, tuple[Callable[[], tuple[Any, ...]], dict[str, Any]]] = {
    "arrays": (lambda: (X, Y), {"batch_size": SIZE, "validation_data": (X[:8], Y[:8])}),
    "by index": (lambda: (Noisy(),), {}),
    "own order": (lambda: (Own(),), {}),
    "a dataset": (lambda: (dataset(),), {}),
    "endless": (lambda: (endless(),), {"steps_per_epoch": 5}),
}


def made() -> Any:
    inside = [layers.Dense(8, "relu"), layers.Dropout(0.4), layers.BatchNormalization()]
    model = lamella.Sequential([lamella.Input((4,)), *inside, layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def trained(seed: int, data: str, callbacks: list[Any]) -> Any:
    """Train a new model; `seed` decides everything random at the start."""
    lamella.utils.set_random_seed(seed)
    model = made()
    make, arguments = DATA[data]
    halved = lamella.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7)
    plateau = lamella.callbacks.ReduceLROnPlateau("loss", patience=1, factor=0.5)
    model.fit(*make(), epochs=EPOCHS, verbose=0, callbacks=[*callbacks, halved, plateau], **arguments)
    return model


def bits(model: Any) -> list[Any]:
    """Everything that training changed."""
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


def same_bits(a: list[Any], b: list[Any]) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def fingerprint(values: list[Any]) -> str:
    return hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest()


def main(folder: str, seed: str, *place: str) -> None:
    saver = lamella.callbacks.OrbaxCheckpoint(folder, save_freq=4, max_to_keep=2, resume=True)
    kill = [Kill(*map(int, place), outright=True)] if place else []
    print(fingerprint(bits(trained(int(seed), "arrays", [saver, *kill]))))


if __name__ == "__main__":
    main(*sys.argv[1:])
