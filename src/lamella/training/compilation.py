"""What `compile` was given, and the steps made from it when data comes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.batch.report import Report
from lamella.core.config import Configurable, custom_object, deserialize, serialize
from lamella.core.errors import ArgumentError
from lamella.core.structure import flatten, leaves_of, map_leaves
from lamella.parts import losses, optimizers
from lamella.parts import metrics as metric_parts
from lamella.training import planning
from lamella.training.compiled import CompiledLoss, CompiledMetrics
from lamella.training.step import Steps

if TYPE_CHECKING:
    from lamella.training.trainer import Trainer


class SplitBatchWarning(UserWarning):
    """A batch is taken in pieces although samples mix: the result is not that of the whole batch."""


def check_micro_batch(size: int | str | None) -> int | str | None:
    """Return the size of pieces, checked."""
    if size is not None and size != "auto" and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ArgumentError(
            f"micro_batch is a number of samples, at least 1, or 'auto'; got {size!r}.", mend="micro_batch=32"
        )
    return size


def _pieces_differ(report: Report, size: int) -> str:
    return (
        f"micro_batch={size} takes each batch in pieces of {size} samples, but {'; '.join(report.obstacles())}. "
        f"There each piece stands for itself, as a batch of {size} would: statistics over the batch are those of a "
        f"piece, and state is updated once a piece. All else is as with the whole batch.\n{report}"
    )


class Compiled:
    """What `compile` was given, and the compiled steps made from it on first use."""

    def __init__(
        self,
        model: Trainer,
        optimizer: Any,
        loss: Any,
        loss_weights: Any,
        metrics: Any,
        weighted_metrics: Any,
        steps_per_execution: int | None,
        micro_batch: int | str | None = None,
        per_sample_clipnorm: float | None = None,
    ) -> None:
        self.model = model
        self.optimizer = None if optimizer is None else optimizers.get(optimizer)
        self.steps_per_execution = steps_per_execution
        self.micro_batch = check_micro_batch(micro_batch)
        self.per_sample_clipnorm = per_sample_clipnorm
        self._warned = False
        if per_sample_clipnorm is not None and not per_sample_clipnorm > 0:
            raise ArgumentError(f"per_sample_clipnorm is a norm above 0, got {per_sample_clipnorm!r}.")
        self._given = loss, loss_weights, metrics, weighted_metrics
        self._steps: Steps | None = None
        self._seen: Any = None
        self._prepared: set[Any] = set()
        check_names(loss, metrics)
        check_numbers(loss_weights)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_steps": None, "_seen": None, "_prepared": set()}

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `compile` for a twin of the model: what has a state is made anew from its config."""
        loss, loss_weights, metrics, weighted_metrics = map_leaves(_anew, self._given)
        return {
            "optimizer": _anew(self.optimizer),
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "steps_per_execution": self.steps_per_execution,
            "micro_batch": self.micro_batch,
            "per_sample_clipnorm": self.per_sample_clipnorm,
        }

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `compile` that Keras has too, as plain data."""
        loss, loss_weights, metrics, weighted_metrics = self._given
        given = {
            "optimizer": self.optimizer,
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        written = {name: serialize(value) for name, value in given.items()}
        return {**written, "run_eagerly": False, "steps_per_execution": self.steps_per_execution or 1}

    def own_arguments(self) -> dict[str, Any]:
        """Return the arguments of `compile` that Keras has not, where they were given."""
        own = {"micro_batch": self.micro_batch, "per_sample_clipnorm": self.per_sample_clipnorm}
        return {name: value for name, value in own.items() if value is not None}

    @property
    def steps(self) -> Steps:
        """The compiled steps."""
        if self._steps is None:
            raise ArgumentError("The model has seen no data yet, so its metrics have no names.")
        return self._steps

    def trackers(self) -> list[Any]:
        """The loss tracker and the metrics."""
        return [] if self._steps is None else [self._steps.loss_tracker, *(m for *_, m in self._steps.metrics.entries)]

    def _make(self, names: list[str]) -> Steps:
        loss, loss_weights, metrics, weighted = self._given
        return Steps(
            self.model,
            CompiledLoss(loss, loss_weights, names),
            CompiledMetrics(metrics, weighted, names),
            metric_parts.Mean(name="loss"),
            self.per_sample_clipnorm,
        )

    def prepare(self, batch: Any, training: bool, need_loss: bool = True) -> Steps:
        """Check a first batch against the model, build what is missing, and make the steps anew if layers changed."""
        if self._steps is None or self._seen is None or not self._seen.fresh():
            fresh = self._make(self._output_names(batch))
            if self._steps is not None:
                fresh.metrics, fresh.loss_tracker = self._steps.metrics, self._steps.loss_tracker
            self._steps = fresh
            self._prepared.clear()
        given = batch if need_loss else (batch[0], None, None)
        leaves, tree = flatten(given)
        kind = training, tree, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
        if kind not in self._prepared:
            self._steps.prepare(given, training)
            self._prepared.add(kind)
            self._seen = self.model.fingerprint()
        return self._steps

    def cut(self, batch: Any, micro_batch: int | str | None = None, memory_limit: int | str | None = None) -> None:
        """Set the size of the pieces that a training step takes; say once what that means where samples mix."""
        size = self.micro_batch if micro_batch is None else check_micro_batch(micro_batch)
        steps = self.steps
        if self.per_sample_clipnorm is not None:
            steps.report(batch, "train").need("compile(per_sample_clipnorm=...)", split=True)
        if size == "auto" or memory_limit is not None:
            fits = planning.piece_that_fits(steps, batch, planning.limit_in_bytes(memory_limit))
            size = fits if size in (None, "auto") or (fits is not None and fits < int(size)) else size
        steps.micro_batch = None if size is None else int(size)
        if size is None or self._warned or int(size) >= len(leaves_of(batch)[0]):
            return
        report = steps.report(batch, "train")
        if not report.may_split:
            self._warned = True
            warnings.warn(_pieces_differ(report, int(size)), SplitBatchWarning, stacklevel=4)

    def losses(self, outputs: int) -> list[Any]:
        """Return the loss of each output."""
        loss, weights, *_ = self._given
        return CompiledLoss(loss, weights, [f"output_{i}" for i in range(outputs)]).functions

    def _output_names(self, batch: Any) -> list[str]:
        graph = getattr(self.model, "_graph", None)
        if graph is not None:
            return _unique([tensor.node.operation.name for tensor in graph.output_tensors])
        targets = batch[1]
        if isinstance(targets, dict):
            return list(targets)
        count = max(1, len(leaves_of(targets)))
        return [f"output_{i + 1}" for i in range(count)]


def arguments_from(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `compile` that `get_config`, Keras's or ours, described."""
    names = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics")
    given = {name: deserialize(_named(config.get(name))) for name in names}
    steps = config.get("steps_per_execution")
    # One step a call is Keras's default; here it stands for as many as give a live progress bar.
    return {**given, "steps_per_execution": None if steps == 1 else steps}


def _named(value: Any) -> Any:
    """Put the names of losses and metrics in place of Keras's descriptions of its functions."""
    if isinstance(value, list):
        return [_named(item) for item in value]
    if not isinstance(value, dict):
        return value
    name, registered = value.get("config"), value.get("registered_name")
    if value.get("class_name") == "function" and isinstance(name, str) and registered in (None, name):
        return value if custom_object(name) is not None else name
    return {key: item if key == "config" else _named(item) for key, item in value.items()}


def check_names(loss: Any, metrics: Any) -> None:
    """Find a misspelt loss or metric when `compile` is called, not after the first batch."""
    for name in leaves_of(loss):
        if isinstance(name, str):
            losses.get(name)
    for name in leaves_of(metrics):
        if isinstance(name, str) and name not in ("accuracy", "acc", "crossentropy", "ce"):
            metric_parts.get(name)


def check_numbers(loss_weights: Any) -> None:
    """Find what was meant for `metrics`, which comes after `loss_weights`."""
    for weight in leaves_of(loss_weights):
        if isinstance(weight, str) or not np.isscalar(weight):
            raise ArgumentError(f"loss_weights are numbers, got {weight!r}.", mend="compile(..., metrics=['accuracy'])")


def _unique(names: list[str]) -> list[str]:
    return [name if names.index(name) == i else f"{name}_{names[:i].count(name)}" for i, name in enumerate(names)]


def _anew(thing: Any) -> Any:
    return type(thing).from_config(thing.get_config()) if isinstance(thing, Configurable) else thing
