"""Callbacks that act on the training by what they see: learning rates, averages."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from lamella.core.errors import ArgumentError
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

    remembers = ("wait", "resting", "best")

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

    remembers = ("_inside",)

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
