"""OrbaxCheckpoint: checkpoints while a model trains, and a training that goes on from the latest."""

from __future__ import annotations

from typing import Any

from lamella.core.errors import ArgumentError, FileTakenError
from lamella.saving.backup import StateKeeper
from lamella.saving.checkpoints import Checkpoints
from lamella.training.callbacks import Logs, Monitor


class OrbaxCheckpoint(StateKeeper):
    """Save a checkpoint each epoch or every `save_freq` batches; with `save_best_only` when it is the best so far.

    A checkpoint's step is its epoch, from 0, or the number of batches trained on. With `resume` the training goes on
    from the latest checkpoint in the folder, if there is one, and ends with the bits of one that was never broken off.
    `directory` may be a `Checkpoints`, which then says what is kept.

    >>> saver = OrbaxCheckpoint("checkpoints", save_freq=100, max_to_keep=2, resume=True)
    """

    remembers = ("_since", "_total", "_best")

    def __init__(
        self,
        directory: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        mode: str = "auto",
        save_freq: int | str = "epoch",
        initial_value_threshold: float | None = None,
        max_to_keep: int | None = 1,
        save_on_background: bool = True,
        save_weights_only: bool = False,
        *,
        resume: bool = False,
    ) -> None:
        super().__init__(save_freq)
        if resume and save_weights_only:
            raise ArgumentError("A training does not go on from weights alone.", mend="save_weights_only=False")
        self.monitor, self.verbose, self.save_best_only = monitor, verbose, save_best_only
        self.save_weights_only, self.resume = save_weights_only, resume
        given = isinstance(directory, Checkpoints)
        self.checkpoints = directory if given else Checkpoints(directory, max_to_keep, None, save_on_background)
        self._watch = Monitor(monitor, mode, 0.0)
        self._best = initial_value_threshold
        self._total = 0
        self._latest: int | None = None

    def find(self) -> Any:
        """Return what the latest checkpoint says of the training."""
        self._total = int(self.model.optimizer.iterations)
        self._latest = latest = self.checkpoints.latest_step
        if self.resume:
            return None if latest is None else self.checkpoints.told(latest)
        epoch = self.model._trainer.training.epoch
        first = epoch if self.save_freq == "epoch" else self._total + int(self.save_freq)
        if latest is not None and latest >= first:
            raise FileTakenError(
                f"{self.checkpoints.directory!r} holds a checkpoint of step {latest}; the first of this training would "
                f"be of step {first}.",
                mend="resume=True to go on from it, or another directory",
            )
        return None

    def fill(self) -> None:
        """Give the variables the values of the latest checkpoint."""
        assert self._latest is not None
        self.checkpoints.restore_training(self.model, self._latest)

    def keep(self, epoch: int, batch: int | None, logs: Logs) -> None:
        """Save, unless only the best is wanted and this is not."""
        if self.save_best_only:
            best = self._watch.improved(logs, self._best, "OrbaxCheckpoint")
            if best is None:
                return
            self._best = best
        step = epoch if batch is None else self._total
        save = self.checkpoints.save_weights if self.save_weights_only else self.checkpoints.save
        save(self.model, step, logs)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved step {step} in {self.checkpoints.directory}")

    def _count_batch(self, batch: int, logs: Logs | None = None) -> None:
        self._total += 1
        super()._count_batch(batch, logs)

    def wait_until_finished(self) -> None:
        """Wait until everything is on the disk; raise what went wrong."""
        self.checkpoints.wait()

    def let_go(self) -> None:
        """Wait for what is being written, and close the folder."""
        self.checkpoints.close()
