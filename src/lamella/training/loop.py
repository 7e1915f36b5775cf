"""The loop: blocks of batches into the compiled step, logs out to callbacks and the progress bar."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamella.core.errors import ArgumentError, DataError
from lamella.core.settings import max_epochs, max_steps_per_epoch
from lamella.core.structure import flatten, leaves_of, map_leaves, unflatten
from lamella.training import planning
from lamella.training.callbacks import CallbackList, History, Logs
from lamella.training.compilation import Compiled
from lamella.training.data import ArrayData, IterableData, adapt, check_finite, class_weights
from lamella.training.ongoing import Training
from lamella.training.progress import Progress
from lamella.training.step import Steps

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

    def __post_init__(self) -> None:
        most = max_epochs()
        if most is not None and most < self.epochs:
            warnings.warn(f"fit stops after {most} epochs: lamella.config.set_max_epochs said so.", stacklevel=4)
            self.epochs = most


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
    steps = compiled.prepare(train.first(), training=True)
    compiled.cut(train.first(), plan.micro_batch, plan.memory_limit)
    params = {"epochs": plan.epochs, "steps": train.steps, "verbose": plan.verbose}
    given = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
    events = CallbackList([*given, history], model, params)
    model.stop_training = False
    model.history = history
    training = model._trainer.training = Training(plan.initial_epoch, 0, train, events, steps)
    try:
        events("on_train_begin", {})
        logs: Logs = {}
        while training.epoch < plan.epochs and not model.stop_training:
            logs = _epoch(compiled, training, validation, plan)
        if plan.epochs > 0:
            compiled.optimizer.finalize_variable_values(model.trainable_variables)
        events("on_train_end", logs)
    finally:
        model._trainer.training = None
        events.let_go()
    return history


def _epoch(compiled: Compiled, training: Training, validation: Data | None, plan: Plan) -> Logs:
    """Run an epoch, or the rest of one that was begun in an earlier training."""
    epoch, events, data = training.epoch, training.callbacks, training.data
    events("on_epoch_begin", epoch, {})
    with Progress(plan.verbose, f"epoch {epoch + 1}/{plan.epochs}", data.steps) as progress:
        logs = _pass(compiled, training.steps, data, events, progress, "train", training)
        if validation is not None and (epoch + 1) % plan.validation_freq == 0:
            held = evaluate(compiled, validation, None, 0, events)
            logs = {**logs, **{f"val_{name}": value for name, value in held.items()}}
        progress.finish(logs)
    training.epoch, training.batch = epoch + 1, 0
    events("on_epoch_end", epoch, logs)
    return logs


def evaluate(compiled: Compiled, data: Data, callbacks: Any, verbose: Any, events: CallbackList | None = None) -> Logs:
    """Return the loss and the metrics on data."""
    steps = compiled.prepare(data.first(), training=False)
    if events is None:
        events = CallbackList(callbacks, compiled.model, {"steps": data.steps})
    events("on_test_begin", {})
    with Progress(verbose, "evaluate", data.steps) as progress:
        logs = _pass(compiled, steps, data, events, progress, "test")
        progress.finish(logs)
    events("on_test_end", logs)
    return logs


def _pass(
    compiled: Compiled,
    steps: Steps,
    data: Data,
    events: CallbackList,
    progress: Progress,
    mode: str,
    training: Training | None = None,
) -> Logs:
    """Run all batches once; the results are read from the device only when somebody looks at them."""
    batch = begun = training.batch if training else 0
    if not begun:
        steps.reset()
    run = steps.train if training else steps.test
    results: list[Any] = []
    most = compiled.steps_per_execution or (_STEPS_A_CALL if steps.loops_well else 1)
    pad = data.ragged and steps.may_pad(data.first(), mode)
    each = events.per_batch(mode)
    limit = max_steps_per_epoch()
    progress.advance(begun)
    for block in itertools.islice(data.blocks(1 if each or limit else most, pad), limit and max(limit - begun, 0)):
        events(f"on_{mode}_batch_begin", batch, {})
        results = run(block.arrays, block.steps)
        batch += block.steps
        progress.advance(block.steps)
        if training:
            training.batch = batch
        if each:
            events(f"on_{mode}_batch_end", batch - 1, _logs(steps, results))
        if progress.wants_logs:
            progress.show(_logs(steps, results))
        if compiled.model.stop_training and each:
            break
    if not batch:
        raise DataError("The data ended before its first batch.")
    return _logs(steps, results or steps.results())


def _logs(steps: Steps, results: list[Any]) -> Logs:
    return {name: _number(value) for name, value in zip(steps.names(), results, strict=True)}


def _number(value: Any) -> Any:
    array = np.asarray(value)
    return float(array) if array.ndim == 0 else array


def on_batch(compiled: Compiled, data: ArrayData, training: bool) -> Logs:
    """Run one step on one batch."""
    steps = compiled.prepare(data.first(), training)
    compiled.cut(data.first())
    (block,) = data.blocks(1)
    results = (steps.train if training else steps.test)(block.arrays, 1)
    return _logs(steps, results)


def sample_gradients(compiled: Compiled, data: ArrayData, training: bool) -> list[Any]:
    """Return the gradients of each sample's loss."""
    steps = compiled.prepare(data.first(), training)
    return steps.sample_gradients(data.first(), training)


def predict(compiled: Compiled, data: Data, callbacks: Any, verbose: Any, memory_limit: int | str | None = None) -> Any:
    """Return the outputs for all batches, put together."""
    steps = compiled.prepare(data.first(), training=False, need_loss=False)
    if memory_limit is not None:
        data = _within(steps, data, planning.limit_in_bytes(memory_limit))
    events = CallbackList(callbacks, compiled.model, {"steps": data.steps})
    events("on_predict_begin", {})
    outputs: list[Any] = []
    structure: Any = None
    limit = max_steps_per_epoch()
    with Progress(verbose, "predict", data.steps) as progress:
        pad = data.ragged and steps.may_pad(data.first(), "predict")
        one_by_one = events.per_batch("predict") or memory_limit is not None or limit
        together = 1 if one_by_one else planning.batches_together(steps, data)
        for index, block in enumerate(itertools.islice(data.blocks(together, pad), limit)):
            events("on_predict_batch_begin", index, {})
            leaves, structure = flatten(steps.predict(map_leaves(_joined, block.arrays[0])))
            outputs.append((leaves, block.samples))
            events("on_predict_batch_end", index, {})
            progress.advance(block.steps)
            if progress.wants_logs:
                progress.show({})
        progress.finish({})
    events("on_predict_end", {})
    if not outputs:
        raise DataError("The data ended before its first batch.")
    filled = pad or together > 1
    fetched = [[np.asarray(leaf)[: size if filled else None] for leaf in leaves] for leaves, size in outputs]
    return unflatten(structure, [np.concatenate(parts) for parts in zip(*fetched, strict=True)])


def _joined(blocks: Any) -> Any:
    """(batches, samples, ...) -> (batches * samples, ...)."""
    return blocks.reshape(-1, *blocks.shape[2:])


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
