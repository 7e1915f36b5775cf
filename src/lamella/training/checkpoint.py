"""ModelCheckpoint: the model, or its weights, as a file while it trains."""

from __future__ import annotations

import os
from typing import Any

from lamella.core.errors import ArgumentError
from lamella.training.callbacks import Logs, Monitor


class ModelCheckpoint(Monitor):
    """Save the model after each epoch or every `save_freq` batches; with `save_best_only` when it is the best so far.

    `filepath` ends in .keras, with `save_weights_only` in .weights.h5; it may name the epoch, the batch and the logs,
    as in "{epoch:02d}-{val_loss:.2f}.keras". Each file takes its place in one step, so that a training that is broken
    off leaves whole files. A quantity must be better than `initial_value_threshold` to begin with.

    >>> ModelCheckpoint("best.keras", monitor="val_accuracy", save_best_only=True).mode
    'auto'
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
        super().__init__(monitor, mode, 0.0)
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.save_freq, self.best = save_freq, initial_value_threshold
        ending = ".weights.h5" if save_weights_only else ".keras"
        if not self.filepath.endswith(ending):
            raise ArgumentError(
                f"ModelCheckpoint with save_weights_only={save_weights_only} writes files that end in {ending}, got "
                f"{self.filepath!r}.",
                mend=f'ModelCheckpoint("{{epoch:02d}}{ending}")',
            )
        if save_freq != "epoch" and (isinstance(save_freq, bool) or not isinstance(save_freq, int) or save_freq < 1):
            raise ArgumentError(f"save_freq is 'epoch' or a number of batches, got {save_freq!r}.")
        self._epoch = self._since = 0
        if save_freq != "epoch":
            self.on_train_batch_end = self._count_batch  # type: ignore[method-assign]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Keep the epoch's number, for names."""
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save, if that is due at the end of an epoch."""
        if self.save_freq == "epoch":
            self._save({"epoch": epoch + 1}, logs or {})

    def _count_batch(self, batch: int, logs: Logs | None = None) -> None:
        self._since += 1
        if self._since >= int(self.save_freq):
            self._since = 0
            self._save({"epoch": self._epoch + 1, "batch": batch + 1}, logs or {})

    def _save(self, place: dict[str, int], logs: Logs) -> None:
        if self.save_best_only:
            best = self.improved(logs, self.best, "ModelCheckpoint")
            if best is None:
                return
            self.best = best
        path = self._path(place, logs)
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        (self.model.save_weights if self.save_weights_only else self.model.save)(path, overwrite=True)
        if self.verbose:
            print(f"Epoch {place['epoch']}: saved {path}")

    def _path(self, place: dict[str, int], logs: Logs) -> str:
        try:
            return str(self.filepath.format(**place, **logs))
        except KeyError as error:
            known = ", ".join([*place, *logs])
            raise ArgumentError(
                f"ModelCheckpoint cannot name {self.filepath!r}: {error} is not in the logs: {known}."
            ) from error
