"""The loop: blocks of batches into the compiled step, logs out to callbacks and the progress bar."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.batch.report import Report
from lamella.core.errors import ArgumentError, DataError
from lamella.core.structure import flatten, leaves_of, map_leaves, unflatten
from lamella.parts import losses, optimizers
from lamella.parts import metrics as metric_parts
from lamella.training import planning
from lamella.training.callbacks import CallbackList, History, Logs
from lamella.training.compiled import CompiledLoss, CompiledMetrics
from lamella.training.data import ArrayData, IterableData, adapt, check_finite, class_weights
from lamella.training.planning import Shapes
from lamella.training.progress import Progress
from lamella.training.step import Steps

if TYPE_CHECKING:
    from lamella.training.trainer import Trainer

_STEPS_A_CALL = 32
Data = ArrayData | IterableData


@dataclass
class Plan:
    """How long `fit` goes on, and what it shows."""

    epochs: int
    initial_epoch: int
    verbose: Any
    steps_per_epoch: int | None
    validation_steps: int | None
    validation_freq: int
    micro_batch: int | str | None = None
    memory_limit: int | str | None = None


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
        compiled_loss = CompiledLoss(loss, loss_weights, names)
        if len(names) == 1:
            compiled_loss.trackers = [None]
        return Steps(
            self.model,
            compiled_loss,
            CompiledMetrics(metrics, weighted, names),
            metric_parts.Mean(name="loss"),
            self.per_sample_clipnorm,
        )

    def prepare(self, data: Data | Shapes, training: bool, need_loss: bool = True) -> Steps:
        """Check the first batch against the model, build what is missing, and make the steps anew if layers changed."""
        batch = data.first()
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

    def cut(self, data: Data, micro_batch: int | str | None = None, memory_limit: int | str | None = None) -> None:
        """Set the size of the pieces that a training step takes; say once what that means where samples mix."""
        size = self.micro_batch if micro_batch is None else check_micro_batch(micro_batch)
        steps, batch = self.steps, data.first()
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
    what = {place.layer or place.source or place.primitive for place in report.places}
    named = ", ".join(sorted(what)) or "a loss that a layer adds" if report.losses else ", ".join(sorted(what))
    return (
        f"micro_batch={size} takes each batch in pieces of {size} samples, and samples mix in {named or 'the model'}. "
        f"There each piece stands for itself, as a batch of {size} would: statistics over the batch are those of a "
        "piece, and state is updated once a piece. All else is as with the whole batch.\n" + str(report)
    )


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


def training_data(
    train: Data,
    class_weight: dict[int, float] | None,
    split: float,
    validation: Any,
    batch_size: int,
    steps: int | None,
) -> tuple[Data, Data | None]:
    """Return the training data and the validation data, checked; class weights are for training alone."""
    held = None
    if isinstance(train, ArrayData):
        check_finite(train.x, "x")
        check_finite(train.y, "y")
    elif split or class_weight:
        name = "validation_split" if split else "class_weight"
        raise DataError(
            f"{name} needs arrays.", mend="validation_data=..., or sample weights in the batches: (x, y, w)"
        )
    if validation is not None:
        x, y, weights = (*(validation if isinstance(validation, tuple) else (validation,)), None, None)[:3]
        held = adapt(x, y, weights, batch_size, steps)
    elif split and isinstance(train, ArrayData):
        train, held = train.split(split)
    if class_weight and isinstance(train, ArrayData):
        train.weights = class_weights(train.y, train.weights, class_weight)
    return train, held


def one_batch(x: Any, y: Any, sample_weight: Any, class_weight: Any) -> ArrayData:
    """Return data that is one batch as a whole."""
    size = max((len(leaf) for leaf in leaves_of(x)), default=1)
    data = ArrayData(x, y, sample_weight, size)
    if class_weight:
        data.weights = class_weights(data.y, data.weights, class_weight)
    return data


def fit(compiled: Compiled, train: Data, validation: Data | None, callbacks: Any, plan: Plan) -> History:
    """Train for some epochs."""
    model, history = compiled.model, History()
    if compiled.optimizer is None:
        raise ArgumentError("The model was compiled without an optimizer.", mend="model.compile('adam', loss='mse')")
    steps = compiled.prepare(train, training=True)
    compiled.cut(train, plan.micro_batch, plan.memory_limit)
    params = {"epochs": plan.epochs, "steps": train.steps, "verbose": plan.verbose}
    given = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
    events = CallbackList([history, *given], model, params)
    model.stop_training = False
    model.history = history
    events("on_train_begin", {})
    logs: Logs = {}
    for epoch in range(plan.initial_epoch, plan.epochs):
        events("on_epoch_begin", epoch, {})
        title = f"epoch {epoch + 1}/{plan.epochs}"
        with Progress(plan.verbose, title, train.steps) as progress:
            logs = _pass(compiled, steps, train, events, progress, "train")
            if validation is not None and (epoch + 1) % plan.validation_freq == 0:
                held = evaluate(compiled, validation, None, 0, events)
                logs = {**logs, **{f"val_{name}": value for name, value in held.items()}}
            progress.finish(logs)
        events("on_epoch_end", epoch, logs)
        if model.stop_training:
            break
    events("on_train_end", logs)
    return history


def evaluate(compiled: Compiled, data: Data, callbacks: Any, verbose: Any, events: CallbackList | None = None) -> Logs:
    """Return the loss and the metrics on data."""
    steps = compiled.prepare(data, training=False)
    if events is None:
        events = CallbackList(callbacks, compiled.model, {"steps": data.steps})
    events("on_test_begin", {})
    with Progress(verbose, "evaluate", data.steps) as progress:
        logs = _pass(compiled, steps, data, events, progress, "test")
        progress.finish(logs)
    events("on_test_end", logs)
    return logs


def _pass(compiled: Compiled, steps: Steps, data: Data, events: CallbackList, progress: Progress, mode: str) -> Logs:
    """Run all batches once; the results are read from the device only when somebody looks at them."""
    steps.reset()
    run = steps.train if mode == "train" else steps.test
    results: list[Any] = []
    batch = 0
    most = compiled.steps_per_execution or (_STEPS_A_CALL if steps.loops_well else 1)
    pad = data.ragged and steps.may_pad(data.first(), mode)
    for block in data.blocks(1 if events.per_batch else most, pad):
        events(f"on_{mode}_batch_begin", batch, {})
        results = run(block.arrays, block.steps)
        batch += block.steps
        progress.advance(block.steps)
        if events.per_batch:
            events(f"on_{mode}_batch_end", batch - 1, _logs(steps, results))
        if progress.wants_logs:
            progress.show(_logs(steps, results))
        if compiled.model.stop_training and events.per_batch:
            break
    if not results:
        raise DataError("The data ended before its first batch.")
    return _logs(steps, results)


def _logs(steps: Steps, results: list[Any]) -> Logs:
    return {name: _number(value) for name, value in zip(steps.names(), results, strict=True)}


def _number(value: Any) -> Any:
    array = np.asarray(value)
    return float(array) if array.ndim == 0 else array


def on_batch(compiled: Compiled, data: ArrayData, training: bool) -> Logs:
    """Run one step on one batch."""
    steps = compiled.prepare(data, training)
    compiled.cut(data)
    (block,) = data.blocks(1)
    results = (steps.train if training else steps.test)(block.arrays, 1)
    return _logs(steps, results)


def sample_gradients(compiled: Compiled, data: ArrayData, training: bool) -> list[Any]:
    """Return the gradients of each sample's loss."""
    steps = compiled.prepare(data, training)
    return steps.sample_gradients(data.first(), training)


def predict(compiled: Compiled, data: Data, callbacks: Any, verbose: Any, memory_limit: int | str | None = None) -> Any:
    """Return the outputs for all batches, put together."""
    steps = compiled.prepare(data, training=False, need_loss=False)
    if memory_limit is not None:
        data = _within(steps, data, planning.limit_in_bytes(memory_limit))
    events = CallbackList(callbacks, compiled.model, {"steps": data.steps})
    events("on_predict_begin", {})
    outputs: list[Any] = []
    structure: Any = None
    with Progress(verbose, "predict", data.steps) as progress:
        pad = data.ragged and steps.may_pad(data.first(), "predict")
        for index, block in enumerate(data.blocks(1, pad)):
            events("on_predict_batch_begin", index, {})
            leaves, structure = flatten(steps.predict(map_leaves(lambda a: a[0], block.arrays[0])))
            outputs.append([leaf[: block.samples] for leaf in leaves] if pad else leaves)
            events("on_predict_batch_end", index, {})
            progress.advance(1)
            if progress.wants_logs:
                progress.show({})
        progress.finish({})
    events("on_predict_end", {})
    if not outputs:
        raise DataError("The data ended before its first batch.")
    joined = [np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*outputs, strict=True)]
    return unflatten(structure, joined)


def _within(steps: Steps, data: Data, limit: int) -> Data:
    """Return the data in batches whose predictions stay within a limit."""
    if not isinstance(data, ArrayData):
        raise ArgumentError(
            "memory_limit needs arrays, which can be cut into other batches.", mend="predict(np.asarray(x))"
        )
    size = planning.batch_that_fits(steps, data.first(), limit)
    if size == data.batch_size:
        return data
    steps.report(data.first(), "predict").need("predict(memory_limit=...)", split=True)
    return ArrayData(data.x, None, None, size)


def as_list(logs: Logs) -> Any:
    """Return the loss alone, or the list of all values."""
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
