"""ModelCheckpoint: the model, or its weights, as a file while it trains."""

from __future__ import annotations

import os
from typing import Any

from lamella.core.errors import ArgumentError
from lamella.training.callbacks import Logs, Monitor, Saver


class ModelCheckpoint(Saver):
    """Save the model after each epoch or every `save_freq` batches; with `save_best_only` when it is the best so far.

    `filepath` ends in .keras, with `save_weights_only` in .weights.h5; it may name the epoch, the batch and the logs,
    as in "{epoch:02d}-{val_loss:.2f}.keras". Each file takes its place in one step, so that a training that is broken
    off leaves whole files. A quantity must be better than `initial_value_threshold` to begin with.

    >>> ModelCheckpoint("best.keras", monitor="val_accuracy", save_best_only=True).save_freq
    'epoch'
    """

    remembers = ("best", "_since")

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: int | str = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(save_freq)
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.monitor, self.best = monitor, initial_value_threshold
        self._watch = Monitor(monitor, mode, 0.0)
        ending = ".weights.h5" if save_weights_only else ".keras"
        if not self.filepath.endswith(ending):
            raise ArgumentError(
                f"ModelCheckpoint with save_weights_only={save_weights_only} writes files that end in {ending}, got "
                f"{self.filepath!r}.",
                mend=f'ModelCheckpoint("{{epoch:02d}}{ending}")',
            )

    def keep(self, epoch: int, batch: int | None, logs: Logs) -> None:
        """Save, unless only the best is wanted and this is not."""
        if self.save_best_only:
            best = self._watch.improved(logs, self.best, "ModelCheckpoint")
            if best is None:
                return
            self.best = best
        path = self._path({"epoch": epoch + 1} | ({} if batch is None else {"batch": batch + 1}), logs)
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        (self.model.save_weights if self.save_weights_only else self.model.save)(path, overwrite=True)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")

    def _path(self, place: dict[str, int], logs: Logs) -> str:
        try:
            return str(self.filepath.format(**place, **logs))
        except KeyError as error:
            known = ", ".join([*place, *logs])
            raise ArgumentError(
                f"ModelCheckpoint cannot name {self.filepath!r}: {error} is not in the logs: {known}."
            ) from error
