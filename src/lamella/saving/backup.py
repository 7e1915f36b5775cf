"""Callbacks that keep the state of a training, so that it goes on after an interruption as if there had been none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np

from lamella.core.errors import ArgumentError, FileFormatError, LamellaError, NotBuiltError, add_context
from lamella.saving import state
from lamella.saving.durable import replacing
from lamella.saving.hdf5 import Sink, Source, reading
from lamella.saving.plain import read_json, write_json
from lamella.training.callbacks import Logs, Saver

_ABOUT = "training"


class StateKeeper(Saver):
    """The base of callbacks that save the state of a training, every epoch or every `save_freq` batches.

    A subclass writes `keep`, which saves; `find`, which returns what was told of the latest state, or None; and `fill`,
    which gives the variables its values.
    """

    called_last = True

    def __init__(self, save_freq: int | str) -> None:
        super().__init__(save_freq)
        self._inside: Any = None

    def find(self) -> Any:
        """Return what the latest state says of the training, or None where there is none."""
        raise NotImplementedError

    def fill(self) -> None:
        """Give the variables the values of the latest state."""
        raise NotImplementedError

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Take up what an earlier training left behind."""
        self._since, self._inside = 0, None
        told = self.find()
        if told is None:
            return
        if state.take_place(self.model, told):
            # What other callbacks do before an epoch, they did before this one began.
            self._inside = told
        else:
            self._take(told)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Go on inside of the epoch."""
        super().on_epoch_begin(epoch, logs)
        if self._inside is not None:
            told, self._inside = self._inside, None
            self._take(told)

    def _take(self, told: Any) -> None:
        self.fill()
        state.take_course(self.model, told)


class BackupAndRestore(StateKeeper):
    """Write the state of a training to a folder, every epoch or every `save_freq` batches, and go on from it.

    A `fit` that was interrupted goes on where it stood, inside of an epoch too: with the same order of the data and the
    same dropout, it ends with the same bits. The folder is for that alone: it is removed at the end of the training,
    unless `delete_checkpoint=False`. `double_checkpoint` keeps the state before the last one too, for the case that a
    disk loses it.

    >>> backup = BackupAndRestore("backup", save_freq=100)
    """

    def __init__(
        self,
        backup_dir: Any,
        save_freq: int | str = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        if not backup_dir:
            raise ArgumentError("BackupAndRestore needs a folder.", mend="BackupAndRestore('backup')")
        super().__init__(save_freq)
        self.folder = Path(backup_dir)
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint
        self._file, self._before = self.folder / "latest.h5", self.folder / "before.h5"
        self._found: Path | None = None

    def find(self) -> Any:
        """Return what the latest whole file says."""
        if not self.model.built:
            raise NotBuiltError("BackupAndRestore needs a model that is built.", mend="Input(shape) as first layer")
        broken: FileFormatError | None = None
        for path in (self._file, self._before):
            if path.exists():
                try:
                    with _opened(path) as source:
                        self._found = path
                        return _told(source)
                except FileFormatError as error:
                    broken = broken or error
        if broken is not None:
            raise broken
        return None

    def fill(self) -> None:
        """Read the variables, all of which are compared before the first is changed."""
        assert self._found is not None
        parts = state.parts_of(self.model)
        with _opened(self._found) as source:
            names = _told(source).get("names", {})
            places = {part: {name: f"{part}/{i}" for i, name in enumerate(names.get(part, []))} for part in parts}
            for part, named in parts.items():
                found = {name: source.declared(place) for name, place in places[part].items()}
                state.compare(part, named, found)
            arrays = [
                (v, source.read(places[part][name])) for part, named in parts.items() for name, v in named.items()
            ]
        for variable, array in arrays:
            variable.assign(jax.device_put(array.astype(variable.dtype), variable.value.sharding))

    def keep(self, epoch: int, batch: int | None, logs: Logs) -> None:
        """Write the state; the file takes its place in one step."""
        parts = state.parts_of(self.model)
        told = {**state.about(self.model), "names": {part: list(named) for part, named in parts.items()}}
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.double_checkpoint and self._file.exists():
            self._file.replace(self._before)
        with replacing(self._file) as file, h5py.File(file, "w") as opened:
            Sink(opened)[_ABOUT] = np.frombuffer(write_json(told), "uint8")
            for part, named in parts.items():
                sink = Sink(opened.create_group(part))
                for place, variable in enumerate(named.values()):
                    sink[str(place)] = variable

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remove the folder."""
        if self.delete_checkpoint and self.folder.exists():
            shutil.rmtree(self.folder)


@contextmanager
def _opened(path: Path) -> Iterator[Source]:
    try:
        with open(path, "rb") as file, reading(file) as source:
            yield source
    except LamellaError as error:
        add_context(error, f"In the file {str(path)!r}.")
        raise


def _told(source: Source) -> Any:
    return read_json(source.read(_ABOUT).tobytes(), _ABOUT)
