"""Callbacks: what is called while a model trains."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from lamella.core.errors import ArgumentError, NotFiniteError
from lamella.core.settings import one_of

Logs = dict[str, float]
_PER_BATCH = {
    "train": ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
}


class Callback:
    """The base: methods that `fit`, `evaluate` and `predict` call; each does nothing here.

    `self.model` is the model; `logs` holds the loss and the metrics so far. A callback that defines one of the
    per-batch methods makes `fit` run one step a call, so that it sees every batch.

    `remembers` names attributes that hold None, a number or a truth value; they are kept with the state of a training
    that is saved. A callback with `called_last` is called after the others, and so sees what they did.
    """

    remembers: tuple[str, ...] = ()
    called_last: ClassVar[bool] = False

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self._model: Any = None

    @property
    def model(self) -> Any:
        """The model that is training."""
        return self._model

    def set_model(self, model: Any) -> None:
        """Take the model, before anything else is called."""
        self._model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Take the number of epochs and steps."""
        self.params = params

    def let_go(self) -> None:
        """Called once `fit` is over, however it ended; close what is open."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called once, before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called once, after the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before each epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after each epoch, validation included."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each batch of training."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each batch of training."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each batch of training."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each batch of training."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before an evaluation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each batch of an evaluation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called after a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each batch of a prediction."""


class CallbackList:
    """Several callbacks called as one."""

    def __init__(self, callbacks: Any, model: Any, params: dict[str, Any]) -> None:
        given = callbacks if isinstance(callbacks, Iterable) else [] if callbacks is None else [callbacks]
        self.callbacks = sorted(given, key=lambda callback: getattr(callback, "called_last", False))
        for callback in self.callbacks:
            if not hasattr(callback, "set_model"):
                raise ArgumentError(
                    f"A callback is an instance of Callback, got {callback!r}.",
                    mend="callbacks=[EarlyStopping()]",
                )
            callback.set_model(model)
            callback.set_params(params)

    def per_batch(self, mode: str) -> bool:
        """Tell whether any callback wants to see every batch of "train", "test" or "predict"."""
        return any(_wants(callback, _PER_BATCH[mode]) for callback in self.callbacks)

    def let_go(self) -> None:
        """Tell those that listen that `fit` is over."""
        for callback in self.callbacks:
            if isinstance(callback, Callback):
                callback.let_go()

    def __call__(self, event: str, *args: Any) -> None:
        """Call a method of each callback, by name: `callbacks("on_epoch_end", 0, logs)`."""
        for callback in self.callbacks:
            getattr(callback, event)(*args)


def _wants(callback: Any, events: tuple[str, ...]) -> bool:
    """Tell whether a callback defines one of the events, in its class or on itself."""
    given = [(getattr(callback, event, None), getattr(Callback, event)) for event in events]
    return any(method is not None and getattr(method, "__func__", None) is not base for method, base in given)


class History(Callback):
    """What `fit` returns: `history` maps each name in the logs to its values, one an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget earlier trainings."""
        self.epoch, self.history = [], {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Keep the logs."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """A callback made of functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch))`."""

    def __init__(self, **functions: Callable[..., Any] | None) -> None:
        super().__init__()
        for event, function in functions.items():
            if not event.startswith("on_") or not hasattr(self, event):
                raise ArgumentError(f"LambdaCallback has no event {event!r}.")
            if function is not None:
                setattr(self, event, function)


class Monitor(Callback):
    """The base of callbacks that watch one quantity in the logs.

    `mode` "auto" takes accuracies and the like as better when larger; a change below `min_delta` is none.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        super().__init__()
        self.monitor, self.min_delta = monitor, abs(min_delta)
        self.mode = one_of("mode", mode, ("auto", "min", "max"))

    def better(self, value: float, than: float) -> bool:
        """Tell whether a value is an improvement."""
        growing = self.mode == "max" or (self.mode == "auto" and _grows(self.monitor))
        return value - self.min_delta > than if growing else value + self.min_delta < than

    def improved(self, logs: Logs, best: float | None, owner: str) -> float | None:
        """Return the quantity if it is better than the best so far; with a warning for its owner if there is none."""
        value: float | None = logs.get(self.monitor)
        if value is None:
            known = ", ".join(logs)
            text = f"{owner} monitors {self.monitor!r}, which is not in the logs: {known}. Nothing is saved."
            warnings.warn(text, stacklevel=3)
            return None
        return value if best is None or self.better(value, best) else None


class Saver(Callback):
    """The base of callbacks that save every epoch, or every `save_freq` batches; a subclass writes `keep`."""

    remembers: tuple[str, ...] = ("_since",)

    def __init__(self, save_freq: int | str) -> None:
        super().__init__()
        if save_freq != "epoch" and (isinstance(save_freq, bool) or not isinstance(save_freq, int) or save_freq < 1):
            raise ArgumentError(f"save_freq is 'epoch' or a number of batches, got {save_freq!r}.")
        self.save_freq = save_freq
        self._epoch = self._since = 0
        if save_freq != "epoch":
            self.on_train_batch_end = self._count_batch  # type: ignore[method-assign]

    def keep(self, epoch: int, batch: int | None, logs: Logs) -> None:
        """Save, at the end of an epoch or after a batch of it."""
        raise NotImplementedError

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Keep the epoch's number."""
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save, if that is due at the end of an epoch."""
        if self.save_freq == "epoch":
            self.keep(epoch, None, logs or {})

    def _count_batch(self, batch: int, logs: Logs | None = None) -> None:
        self._since += 1
        if self._since >= int(self.save_freq):
            self._since = 0
            self.keep(self._epoch, batch, logs or {})


class EarlyStopping(Monitor):
    """Stop when a quantity has not improved for `patience` epochs.

    `monitor` is a name in the logs; `mode` "auto" takes accuracies and the like as better when larger.
    """

    remembers: tuple[str, ...] = ("wait", "stopped_epoch", "best_epoch", "best")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        if restore_best_weights:
            # A best value without its weights would be worse than none.
            self.remembers = ()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start anew."""
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best: float | None = None
        self.best_weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare with the best so far."""
        if self.monitor not in (logs or {}):
            raise ArgumentError(
                f"EarlyStopping monitors {self.monitor!r}, which is not in the logs: {', '.join(logs or {})}.",
                mend="validation_data=(x, y) in fit" if self.monitor.startswith("val_") else None,
            )
        if epoch < self.start_from_epoch:
            return
        value = (logs or {})[self.monitor]
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self.best is None or self.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Put the best weights back if that was asked for."""
        if self.verbose and self.stopped_epoch:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            self.model.set_weights(self.best_weights)


def _grows(monitor: str) -> bool:
    return monitor.endswith(("accuracy", "acc", "auc", "precision", "recall", "f1_score", "r2_score", "iou"))


class TerminateOnNaN(Callback):
    """Stop at the first batch after which the loss is NaN or infinite; with `raise_error`, by an error.

    It sees every batch, so each call of the compiled program runs one step.
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            if self.raise_error:
                raise NotFiniteError(f"The loss is {loss} after batch {batch}.", mend="a smaller learning rate")
            self.model.stop_training = True
