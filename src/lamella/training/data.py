"""Data in batches: arrays cut into blocks of steps, and iterables of batches as they come."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamella.core.axes import describe
from lamella.core.errors import BatchSizeError, DataError
from lamella.core.seeds import random_states, set_random_states
from lamella.core.structure import leaves_of, map_leaves
from lamella.training.dataset import PyDataset, batches_of

_BLOCK_BYTES = 1 << 25
Batch = tuple[Any, Any, Any]


@dataclass
class Block:
    """Some batches of one size, stacked along a first axis; the first `steps` of them count.

    The arrays are x, y, sample weights and how many samples of each batch count, None where all do.
    """

    arrays: tuple[Any, Any, Any, Any]
    steps: int
    samples: int


def as_arrays(structure: Any, what: str) -> Any:
    """Return the structure with NumPy arrays as leaves, refusing what cannot be computed with."""
    if isinstance(structure, list) and structure and all(np.isscalar(item) for item in structure):
        structure = np.asarray(structure)

    def convert(leaf: Any) -> np.ndarray[Any, Any]:
        array = np.asarray(leaf)
        if array.dtype.kind not in "biuf" and array.dtype.name not in ("bfloat16", "complex64"):
            raise DataError(
                f"{what} holds {array.dtype} values; numbers and booleans can be computed with.",
                mend="np.asarray(x, 'float32'); for text, ids of words or characters",
            )
        if array.ndim == 0:
            raise DataError(f"{what} is a single number; it needs a batch axis.", mend="np.array([x])")
        return array.astype("float32") if array.dtype == np.float64 else array

    return map_leaves(convert, structure)


def check_finite(structure: Any, what: str) -> None:
    """Refuse NaN, naming the first place where it stands."""
    for leaf in leaves_of(structure):
        # A sum is NaN if any part of it is: one pass, no copy.
        if leaf.dtype.kind == "f" and leaf.size and np.isnan(np.sum(leaf)) and np.isnan(leaf).any():
            place = tuple(int(i) for i in np.argwhere(np.isnan(leaf))[0])
            count = int(np.isnan(leaf).sum())
            raise DataError(
                f"{what} {describe(leaf.shape)} holds {count} NaN, the first at index {place}; training on it "
                "would make every weight NaN.",
                mend="np.nan_to_num(x), or leave those samples out",
            )


def check_sizes(**parts: Any) -> int:
    """Return the number of samples, the same in every array."""
    sizes = {}
    for what, structure in parts.items():
        for index, leaf in enumerate(leaves_of(structure)):
            sizes[what if len(leaves_of(structure)) == 1 else f"{what}[{index}]"] = len(leaf)
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{what}: {size}" for what, size in sizes.items())
        raise BatchSizeError(f"The arrays hold different numbers of samples: {listed}.")
    if not sizes:
        raise DataError("There is no data: x is empty.")
    return next(iter(sizes.values()))


class ArrayData:
    """Arrays (x, y, sample weights), cut into batches; shuffled anew in every epoch if asked."""

    def __init__(self, x: Any, y: Any, weights: Any, batch_size: int | None, shuffle: bool = False) -> None:
        self.x, self.y = as_arrays(x, "x"), as_arrays(y, "y")
        self.weights = as_arrays(weights, "sample_weight")
        self.samples = check_sizes(x=self.x, y=self.y, sample_weight=self.weights)
        self.batch_size = min(batch_size or 32, max(self.samples, 1))
        self.shuffle = shuffle
        self.steps = math.ceil(self.samples / self.batch_size)
        self.order: Any = None
        self._begun: tuple[Any, int] | None = None

    def split(self, fraction: float) -> tuple[ArrayData, ArrayData]:
        """Cut off the last `fraction` of the samples, unshuffled."""
        at = math.floor(self.samples * (1 - fraction))
        if not 0 < at < self.samples:
            raise DataError(f"validation_split={fraction} of {self.samples} samples leaves one side empty.")
        halves = []
        for part in (slice(0, at), slice(at, None)):
            x, y, w = map_leaves(lambda a, part=part: a[part], (self.x, self.y, self.weights))
            halves.append(ArrayData(x, y, w, self.batch_size, self.shuffle))
        return halves[0], halves[1]

    def first(self) -> Batch:
        """Return a batch to trace with."""
        return map_leaves(lambda a: a[: self.batch_size], (self.x, self.y, self.weights))  # type: ignore[no-any-return]

    @property
    def ragged(self) -> bool:
        """Whether the last batch is smaller than the others."""
        return self.samples % self.batch_size != 0

    @property
    def read(self) -> int:
        """How many batches were read that a later training must pass over: none, arrays are there as a whole."""
        return 0

    def states(self) -> Any:
        """Return, as plain data, from where the next order is drawn."""
        return {"random": random_states()} if self.shuffle else None

    def go_on(self, order: Any, read: int, batch: int) -> None:
        """Go on at a batch of an epoch, whose order is drawn anew from where it was drawn, an answer of `states`."""
        if batch:
            if self.shuffle:
                set_random_states(order["random"])
            self._begun = self._draw(), batch

    def _draw(self) -> Any:
        self.order = self.states()
        return np.random.permutation(self.samples) if self.shuffle else None

    def blocks(self, most: int, pad: bool = False) -> Iterator[Block]:
        """Yield the batches of one epoch, up to `most` in a block; the last, smaller one by itself or filled up."""
        order, first = self._begun or (self._draw(), 0)
        self._begun = None
        arrays = (self.x, self.y, self.weights)
        full, rest = divmod(self.samples, self.batch_size)
        steps = full + bool(pad and rest)
        per_block = max(1, min(most, steps, _BLOCK_BYTES // max(1, self._batch_bytes())))
        for start in range(first, steps, per_block):
            count = min(per_block, steps - start)
            size = min(count * self.batch_size, self.samples - start * self.batch_size)
            cut = map_leaves(_taker(order, start * self.batch_size, size), arrays)
            x, y, weights = map_leaves(self._stacker(count, per_block), cut)
            counts = np.full(per_block, self.batch_size, "int32") if pad and rest else None
            if counts is not None and start + count > full:
                counts[count - 1] = rest
            yield Block((x, y, weights, counts), count, size)
        if rest and not pad and first <= full:
            x, y, weights = map_leaves(_taker(order, full * self.batch_size, rest), arrays)
            yield Block(map_leaves(lambda a: a[None], (x, y, weights, None)), 1, rest)

    def _stacker(self, steps: int, per_block: int) -> Callable[[Any], Any]:
        def stack(array: Any) -> Any:
            array = filled(array, steps * self.batch_size)
            stacked = array.reshape(steps, self.batch_size, *array.shape[1:])
            if steps == per_block:
                return stacked
            # A shorter last block keeps the shape of the others, so that one program serves all.
            return np.concatenate([stacked, np.zeros((per_block - steps, *stacked.shape[1:]), array.dtype)])

        return stack

    def _batch_bytes(self) -> int:
        arrays = leaves_of((self.x, self.y, self.weights))
        return int(sum(a.nbytes for a in arrays) // max(self.samples, 1) * self.batch_size)


def filled(array: Any, size: int) -> Any:
    """Repeat the last sample up to a number of samples: real values, which give no NaN that zeros might."""
    missing = size - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing > 0 else array


def _taker(order: Any, start: int, size: int) -> Callable[[Any], Any]:
    if order is None:
        return lambda array: array[start : start + size]
    chosen = order[start : start + size]
    return lambda array: np.take(array, chosen, axis=0)


class IterableData:
    """An iterable of batches: x, (x, y) or (x, y, sample_weight); an iterator is read on from epoch to epoch."""

    def __init__(self, source: Iterable[Any], steps: int | None) -> None:
        self.source = source
        self.steps = steps if steps is not None else (len(source) if isinstance(source, Sized) else None)
        self.samples: int | None = None
        self.order: Any = None
        self.read = 0
        self._iterator: Iterator[Any] | None = None
        self._peeked: list[Batch] = []
        self._sample: Batch | None = None
        self._size = self._from = 0
        self._read_on = isinstance(source, Iterator)

    def first(self) -> Batch:
        """Return the first batch, which `blocks` yields again."""
        if self._sample is None:
            batch = next(self._begin(), None)
            if batch is None:
                raise DataError("The data ended before its first batch.")
            self._sample = _as_batch(batch)
            self._peeked = [self._sample]
        return self._sample

    @property
    def ragged(self) -> bool:
        """Whether a batch may be smaller than the others: nobody knows."""
        return True

    def states(self) -> Any:
        """Return, as plain data, from where the next order is drawn; a dataset may add its own by `get_state`."""
        own = getattr(self._dataset, "get_state", None)
        return {"random": random_states(), "size": self._size, "dataset": None if own is None else own()}

    def go_on(self, order: Any, read: int, batch: int) -> None:
        """Go on at a batch of an epoch that was begun from `order`, an answer of `states`.

        What is read on from epoch to epoch begins anew with the program: `read` batches of it are passed over.
        """
        self._from, self._size = batch, int(order["size"])
        if self._read_on:
            if read:
                self._pass_over(read - len(self._peeked))
                self._peeked, self.read = [], read
            return
        set_random_states(order["random"])
        if order["dataset"] is not None and hasattr(self._dataset, "set_state"):
            self._dataset.set_state(order["dataset"])
        self._peeked, self._iterator = [], None
        if batch:
            self._begin(batch)

    @property
    def _dataset(self) -> Any:
        return self.source.dataset if isinstance(self.source, _Indexed) else self.source

    def _begin(self, start: int = 0) -> Iterator[Any]:
        self.order = self.states()
        if isinstance(self.source, _Indexed):
            self._iterator = self.source.batches(start)
        else:
            self._iterator = iter(self.source)
            self._pass_over(start)
        self.read = start
        return self._iterator

    def _pass_over(self, count: int) -> None:
        for _ in range(count):
            next(self._iterator or iter(()), None)

    def blocks(self, most: int, pad: bool = False) -> Iterator[Block]:
        """Yield one batch a block; `steps` of them if that was given, else until the source ends."""
        done, self._from = self._from, 0
        if self._iterator is None or not (self._read_on or self._peeked or done):
            self._begin()
        while self.steps is None or done < self.steps:
            batch = self._peeked.pop() if self._peeked else next(self._iterator or iter(()), None)
            if batch is None:
                break
            self.read += 1
            arrays = _as_batch(batch)
            size = check_sizes(x=arrays[0], y=arrays[1], sample_weight=arrays[2])
            self._size = max(self._size, size)
            counts = np.full(1, size, "int32") if pad else None
            wanted = self._size if pad else size
            x, y, weights = map_leaves(lambda a, wanted=wanted: filled(a, wanted)[None], arrays)
            yield Block((x, y, weights, counts), 1, size)
            done += 1
        if isinstance(self.source, _Indexed):
            self.source.end()


def _as_batch(item: Any) -> Batch:
    if not isinstance(item, tuple):
        item = (item,)
    if len(item) > 3:
        raise DataError(f"A batch is x, (x, y) or (x, y, sample_weight); got {len(item)} parts.")
    parts = (*item, None, None)[:3]
    names = ("x", "y", "sample_weight")
    converted = [as_arrays(part, what) for part, what in zip(parts, names, strict=True)]
    return converted[0], converted[1], converted[2]


def adapt(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    steps: int | None = None,
    shuffle: bool = False,
) -> ArrayData | IterableData:
    """Return data in batches for what people pass as x: arrays, structures of arrays, or an iterable of batches."""
    if hasattr(x, "__array__") or (isinstance(x, list | tuple | dict) and leaves_of(x)):
        return ArrayData(x, y, sample_weight, batch_size, shuffle)
    if hasattr(x, "__getitem__") and hasattr(x, "__len__") and not isinstance(x, str | list | tuple | dict):
        return IterableData(_Indexed(x, shuffle and isinstance(x, PyDataset)), steps)
    if isinstance(x, Iterable) and not isinstance(x, str | list | tuple | dict):
        return IterableData(x, steps)
    raise DataError(
        f"x is {type(x).__name__}; it may be an array, a list or dict of arrays, or an iterable of batches.",
        mend="np.asarray(x)",
    )


class _Indexed:
    """A dataset of batches reached by index, as Keras's PyDataset is."""

    def __init__(self, dataset: Any, shuffle: bool) -> None:
        self.dataset, self.shuffle = dataset, shuffle

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Any]:
        return self.batches()

    def batches(self, start: int = 0) -> Iterator[Any]:
        """Begin an epoch, at a batch of it."""
        begin = getattr(self.dataset, "on_epoch_begin", None)
        if begin is not None:
            begin()
        return batches_of(self.dataset, self.shuffle, start)

    def end(self) -> None:
        """Tell the dataset, where it listens, that all its batches were taken."""
        end = getattr(self.dataset, "on_epoch_end", None)
        if end is not None:
            end()


def class_weights(y: Any, weights: Any, class_weight: dict[int, float]) -> Any:
    """Multiply sample weights by the weight of each sample's class (an id, or the place of the one)."""
    targets = leaves_of(y)
    if len(targets) != 1:
        raise DataError(f"class_weight is for models with one output; y has {len(targets)} arrays.")
    target = np.asarray(targets[0])
    ids = target.argmax(-1) if target.ndim > 1 and target.shape[-1] > 1 else target.reshape(len(target), -1)[:, 0]
    table = np.ones(int(max([*class_weight, *ids.astype(int).ravel()])) + 1, "float32")
    for index, weight in class_weight.items():
        table[int(index)] = weight
    per_sample = table[ids.astype(int)]
    return per_sample if weights is None else per_sample * np.asarray(weights)
