"""Checkpoints: a training that is broken off goes on with the same bits; what is kept, and what is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

import lamella
from lamella.callbacks import BackupAndRestore, OrbaxCheckpoint
from tests.files import resuming
from tests.files.resuming import Kill, Killed

# How often is saved, where the training ends, which epochs are run when it goes on. The last place is after the last
# batch of an epoch, before its end.
PLACES: list[tuple[Any, tuple[int, ...], list[int]]] = [
    ("epoch", (2,), [2, 3]),
    (4, (2, 4), [2, 3]),
    (6, (2, 0), [1, 2, 3]),
]
CASES = [("orbax", "arrays"), ("orbax", "a dataset"), *(("backup", data) for data in resuming.DATA)]


def keeper(kind: str, folder: Path, save_freq: Any) -> Any:
    if kind == "backup":
        return BackupAndRestore(folder, save_freq)
    return OrbaxCheckpoint(folder, save_freq=save_freq, max_to_keep=2, resume=True)


@cache
def unbroken(data: str, each: bool) -> list[Any]:
    """What a training ends with that nobody broke off; `each` lets it see every batch."""
    watch = [lamella.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)] if each else []
    return resuming.bits(resuming.trained(1, data, watch))


@pytest.mark.parametrize(
    ("kind", "data", "place"),
    [(*case, place) for case in CASES for place in PLACES[: 3 if case[1] == "arrays" else 2]],
)
def test_a_training_goes_on_with_the_same_bits(kind: str, data: str, place: Any, tmp_path: Path) -> None:
    save_freq, end, epochs = place
    with pytest.raises(Killed):
        resuming.trained(1, data, [keeper(kind, tmp_path, save_freq), Kill(*end)])
    # Another process would have other weights and other random states.
    rest = resuming.trained(99, data, [keeper(kind, tmp_path, save_freq)])
    assert rest.history.epoch == epochs
    resuming.same_bits(resuming.bits(rest), unbroken(data, save_freq != "epoch"))
