"""Datasets as iterables of NumPy batches: parts of others, windows of a series."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lamella.core.errors import ArgumentError, DataError
from lamella.core.seeds import numpy_state, plain_state
from lamella.core.structure import leaves_of, map_leaves
from lamella.training.data import check_sizes


class Batches:
    """Batches made when they are asked for: `make(places)` returns a batch for the places of its samples.

    Each pass goes through all samples once, in another order with `shuffle`.
    """

    def __init__(
        self,
        make: Callable[[Any], Any],
        samples: int,
        batch_size: int | None,
        shuffle: bool = False,
        seed: int | None = None,
    ) -> None:
        self._make, self.samples, self.batch_size = make, samples, batch_size
        self._draw = np.random.RandomState(seed) if shuffle else None

    def __len__(self) -> int:
        return self.samples if self.batch_size is None else -(-self.samples // self.batch_size)

    def get_state(self) -> Any:
        """Return from where the next order is drawn, as plain data; None without `shuffle`."""
        if self._draw is None:
            return None
        return plain_state(self._draw.get_state())

    def set_state(self, state: Any) -> None:
        """Draw the next order from `get_state`'s answer."""
        if self._draw is not None:
            self._draw.set_state(numpy_state(state))

    def __iter__(self) -> Iterator[Any]:
        places = np.arange(self.samples) if self._draw is None else self._draw.permutation(self.samples)
        if self.batch_size is None:
            yield from (self._make(place) for place in places)
        else:
            for start in range(0, self.samples, self.batch_size):
                yield self._make(places[start : start + self.batch_size])


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Return a batch as `fit` takes it: x, (x, y) or (x, y, sample_weight).

    >>> pack_x_y_sample_weight(1, 2)
    (1, 2)
    """
    if y is None:
        return (x,) if isinstance(x, tuple | list) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """Return x, y and sample weights of a batch, None for what it does not hold.

    >>> unpack_x_y_sample_weight((1, 2))
    (1, 2, None)
    """
    if not isinstance(data, tuple | list):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise DataError(f"A batch is x, (x,), (x, y) or (x, y, sample_weight); got {len(data)} parts.")
    x, y, sample_weight = (*data, None, None)[:3]
    return x, y, sample_weight


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    preferred_backend: str | None = None,
) -> tuple[Batches, Batches]:
    """Return two datasets, of samples one by one, from arrays or from an iterable of samples.

    A size is a share (a float) or a number of samples (an int); one may be left out.

    >>> left, right = split_dataset(np.arange(10), left_size=0.8)
    >>> [int(sample) for sample in right]
    [8, 9]
    """
    if preferred_backend not in (None, "jax"):
        raise ArgumentError(f"preferred_backend={preferred_backend!r} is not offered: batches are NumPy arrays.")
    if not isinstance(dataset, np.ndarray | tuple | list | dict):
        samples = list(dataset)
        dataset = _stacked(samples)
    elif isinstance(dataset, list) and dataset and np.ndim(dataset[0]) == 0:
        dataset = np.asarray(dataset)
    arrays = map_leaves(np.asarray, dataset)
    total = check_sizes(dataset=arrays)
    left, right = _sizes(left_size, right_size, total)
    order = np.random.RandomState(seed).permutation(total) if shuffle else np.arange(total)

    def part(places: Any) -> Batches:
        chosen = map_leaves(lambda array: array[places], arrays)
        return Batches(lambda place: map_leaves(lambda array: array[place], chosen), len(places), None)

    return part(order[:left]), part(order[total - right :])


def _stacked(samples: list[Any]) -> Any:
    columns = zip(*(leaves_of(sample) for sample in samples), strict=True)
    arrays = iter([np.stack(column) for column in columns])
    return map_leaves(lambda _: next(arrays), samples[0])


def _sizes(left: float | None, right: float | None, total: int) -> tuple[int, int]:
    if left is None and right is None:
        raise ArgumentError("split_dataset needs left_size or right_size.", mend="left_size=0.8")
    counts = []
    for name, size in (("left_size", left), ("right_size", right)):
        share = isinstance(size, float) and 0 <= size <= 1
        if size is not None and not share and not (isinstance(size, int) and 0 <= size <= total):
            raise ArgumentError(f"{name} is a share from 0 to 1 or a number of samples up to {total}; got {size!r}.")
        counts.append(None if size is None else round(size * total) if share else int(size))
    first, second = counts
    first = total - int(second or 0) if first is None else first
    second = total - first if second is None else second
    if first + second > total or not first or not second:
        raise ArgumentError(f"The parts hold {first} and {second} of {total} samples.", mend="left_size=0.8")
    return first, second


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> Batches:
    """Return windows of a series, (batch, sequence_length, ...), and the target at the start of each, if there are any.

    Windows start `sequence_stride` apart, and take every `sampling_rate`-th step.

    >>> batches = timeseries_dataset_from_array(np.arange(6), np.arange(6) * 10, 3, batch_size=2)
    >>> x, y = next(iter(batches))
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [1, 2, 3]], [0, 10])
    """
    series = np.asarray(data)
    start, end = start_index or 0, len(series) if end_index is None else end_index
    if not 0 <= start < end <= len(series):
        raise ArgumentError(f"The series has {len(series)} steps; start_index={start} and end_index={end} do not fit.")
    for name, value in (("sampling_rate", sampling_rate), ("sequence_stride", sequence_stride)):
        if not 0 < value < len(series):
            raise ArgumentError(f"{name} lies between 1 and {len(series) - 1}, got {value}.")
    last = end - start - (sequence_length - 1) * sampling_rate
    goals = None if targets is None else np.asarray(targets)[start:]
    starts = np.arange(0, last if goals is None else min(last, len(np.asarray(targets))), sequence_stride)
    if not len(starts):
        raise ArgumentError(f"No window of {sequence_length} steps fits into {end - start}.")
    window = np.arange(sequence_length) * sampling_rate
    part = series[start:end]

    def make(places: Any) -> Any:
        first = starts[places]
        x = part[np.expand_dims(first, -1) + window]
        return x if goals is None else (x, goals[first])

    return Batches(make, len(starts), batch_size, shuffle, seed)
