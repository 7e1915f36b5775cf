"""Callbacks that act on the training by what they see: learning rates, averages, a backup to go on from."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lamella.core.errors import ArgumentError, NotBuiltError
from lamella.training.callbacks import Callback, Logs, Monitor


def _movers(optimizer: Any) -> list[Any]:
    """Return the optimizers that move variables: those inside of one made of several."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return list(getattr(inner, "optimizers", [inner]))


def _log_rates(optimizer: Any, logs: Logs) -> None:
    movers = _movers(optimizer)
    for inner in movers:
        logs[f"learning_rate_{inner.name}" if len(movers) > 1 else "learning_rate"] = float(inner.learning_rate)


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch to `schedule(epoch, learning_rate)`; the logs tell it.

    >>> halved = LearningRateScheduler(lambda epoch, rate: rate / 2)
    """

    def __init__(self, schedule: Callable[[int, float], float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Ask for the rate."""
        for optimizer in _movers(self.model.optimizer):
            rate = self.schedule(epoch, float(optimizer.learning_rate))
            if not isinstance(rate, float | np.floating):
                raise ArgumentError(f"The schedule of LearningRateScheduler returns a float, got {rate!r}.")
            optimizer.learning_rate = float(rate)
            if self.verbose:
                print(f"Epoch {epoch + 1}: learning rate {float(rate)}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell the rate."""
        _log_rates(self.model.optimizer, {} if logs is None else logs)


class ReduceLROnPlateau(Monitor):
    """Multiply the learning rate by `factor` when a quantity has not improved for `patience` epochs.

    After that, `cooldown` epochs pass before epochs are counted again; the rate does not fall below `min_lr`.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if factor >= 1:
            raise ArgumentError(f"ReduceLROnPlateau: factor is below 1, got {factor}.")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start anew."""
        self.wait = self.resting = 0
        self.best: float | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare with the best so far."""
        logs = {} if logs is None else logs
        _log_rates(self.model.optimizer, logs)
        if self.monitor not in logs:
            known = ", ".join(logs)
            text = f"ReduceLROnPlateau monitors {self.monitor!r}, which is not in the logs: {known}."
            warnings.warn(text, stacklevel=2)
            return
        if self.resting:
            self.resting -= 1
            self.wait = 0
        if self.best is None or self.better(logs[self.monitor], self.best):
            self.best, self.wait = logs[self.monitor], 0
        elif not self.resting:
            self.wait += 1
            if self.wait >= self.patience and self._reduce(epoch):
                self.resting, self.wait = self.cooldown, 0

    def _reduce(self, epoch: int) -> bool:
        above = [o for o in _movers(self.model.optimizer) if float(o.learning_rate) > np.float32(self.min_lr)]
        for optimizer in above:
            optimizer.learning_rate = max(float(optimizer.learning_rate) * self.factor, self.min_lr)
            if self.verbose:
                print(f"Epoch {epoch + 1}: learning rate reduced to {float(optimizer.learning_rate)}")
        return bool(above)


class SwapEMAWeights(Callback):
    """Evaluate and predict with the moving averages of the weights, which the optimizer keeps with `use_ema=True`.

    With `swap_on_epoch` the averages are also in place between epochs, where other callbacks see them.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._inside = False

    def _pairs(self) -> list[tuple[Any, Any]]:
        movers = _movers(self.model.optimizer)
        if not any(optimizer.use_ema for optimizer in movers):
            raise ArgumentError("SwapEMAWeights needs an optimizer that keeps averages.", mend="Adam(use_ema=True)")
        return [pair for optimizer in movers for pair in optimizer.averages]

    def _put(self, inside: bool) -> None:
        """Exchange the weights and their averages, unless they stand right already."""
        if inside != self._inside:
            for variable, average in self._pairs():
                value = variable.value
                variable.assign(average.value)
                average.assign(value)
            self._inside = inside

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Training goes on from the weights themselves."""
        if self.swap_on_epoch:
            self._put(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Put the averages in place; after the last epoch they stay."""
        if self.swap_on_epoch:
            self._put(True)
            if epoch == self.params["epochs"] - 1:
                for variable, average in self._pairs():
                    average.assign(jnp.array(variable.value, copy=True))

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Evaluate the averages."""
        self._put(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Put the weights back."""
        self._put(False)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Predict with the averages."""
        self._put(True)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Put the weights back."""
        self._put(False)


class BackupAndRestore(Callback):
    """Write the state of a training to a folder, every epoch or every `save_freq` batches, and go on from it.

    A `fit` that was interrupted goes on at the epoch where it stopped. The folder is for that alone: it is removed at
    the end of the training, unless `delete_checkpoint=False`. `double_checkpoint` keeps the state before the last one
    too, for the case that the machine stops while it writes.
    """

    def __init__(
        self,
        backup_dir: Any,
        save_freq: int | str = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not backup_dir:
            raise ArgumentError("BackupAndRestore needs a folder.", mend="BackupAndRestore('backup')")
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ArgumentError(f"save_freq is 'epoch' or a number of batches, got {save_freq!r}.")
        self.folder, self.save_freq = Path(backup_dir), save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint
        self._file, self._before = self.folder / "latest.npz", self.folder / "before.npz"
        self._epoch = self._since = 0
        if save_freq != "epoch":
            self.on_train_batch_end = self._count_batch  # type: ignore[method-assign]

    def _state(self) -> list[Any]:
        return [*self.model.variables, *self.model.optimizer.variables]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Take up what an earlier training left behind."""
        if not self.model.built:
            raise NotBuiltError("BackupAndRestore needs a model that is built.", mend="Input(shape) as first layer")
        self._epoch = self._since = 0
        for path in (self._file, self._before):
            if path.exists() and self._restore(path):
                return

    def _restore(self, path: Path) -> bool:
        """Read a state; False where the file is not whole."""
        state = self._state()
        try:
            with np.load(path, allow_pickle=False) as file:
                values = [file[str(place)] for place in range(len(state))]
                about = json.loads(str(file["about"]))
        except (OSError, ValueError, KeyError, EOFError):
            return False
        for variable, value in zip(state, values, strict=True):
            variable.assign(jnp.asarray(value.astype(variable.dtype)))
        self._epoch = self.model._trainer.next_epoch = int(about["epoch"])
        return True

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the state after an epoch."""
        self._epoch = epoch + 1
        if self.save_freq == "epoch":
            self._save()

    def _count_batch(self, batch: int, logs: Logs | None = None) -> None:
        self._since += 1
        if self._since >= int(self.save_freq):
            self._since = 0
            self._save()

    def _save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {str(place): _plain(variable.numpy()) for place, variable in enumerate(self._state())}
        part = self.folder / "part.npz"
        np.savez(part, about=np.array(json.dumps({"epoch": self._epoch})), **values)
        if self.double_checkpoint and self._file.exists():
            self._file.replace(self._before)
        part.replace(self._file)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remove the folder."""
        if self.delete_checkpoint and self.folder.exists():
            shutil.rmtree(self.folder)


def _plain(array: Any) -> Any:
    """Return an array in a dtype that NumPy's files know."""
    return array if array.dtype.kind in "biuf" else array.astype("float32")
