"""PyDataset: batches reached by index, read ahead by threads if asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from lamella.core.errors import ArgumentError


class PyDataset:
    """Batches reached by index: a subclass writes `__len__` and `__getitem__(index)`, which returns x or (x, y).

    `fit` takes the batches in another order each epoch unless `shuffle=False`. With several `workers` threads read up
    to `max_queue_size` batches ahead. `on_epoch_begin` and `on_epoch_end` are called around each epoch.

    >>> class Squares(PyDataset):
    ...     def __len__(self):
    ...         return 3
    ...     def __getitem__(self, index):
    ...         return np.full((2, 1), index), np.full((2, 1), index**2)
    >>> [int(y[0, 0]) for _, y in batches_of(Squares())]
    [0, 1, 4]
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        if use_multiprocessing:
            raise ArgumentError(
                "PyDataset: use_multiprocessing is not offered: JAX does not outlive a fork.",
                mend="workers=4, in threads",
            )
        self.workers, self.use_multiprocessing, self.max_queue_size = workers, use_multiprocessing, max_queue_size

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define `__getitem__`.")

    @property
    def num_batches(self) -> int:
        """The number of batches."""
        return len(self)  # type: ignore[arg-type]

    def on_epoch_begin(self) -> None:
        """Called before the first batch of an epoch is read."""

    def on_epoch_end(self) -> None:
        """Called after the last batch of an epoch."""


def batches_of(dataset: Any, shuffle: bool = False, start: int = 0) -> Iterator[Any]:
    """Yield each batch of a dataset once; those before `start`, in the order that is drawn now, are not read."""
    order = np.random.permutation(len(dataset)) if shuffle else np.arange(len(dataset))
    return _read(dataset, order[start:])


def _read(dataset: Any, order: Any) -> Iterator[Any]:
    if getattr(dataset, "workers", 1) <= 1:
        yield from (dataset[int(index)] for index in order)
        return
    with ThreadPoolExecutor(dataset.workers) as pool:
        waiting = deque(pool.submit(dataset.__getitem__, int(index)) for index in order[: dataset.max_queue_size])
        for index in order[dataset.max_queue_size :]:
            yield waiting.popleft().result()
            waiting.append(pool.submit(dataset.__getitem__, int(index)))
        while waiting:
            yield waiting.popleft().result()
