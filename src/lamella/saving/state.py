"""The state of a training: every variable by a name, and as plain data where it stands.

Whatever keeps a training, in whatever kind of file, keeps this. A training that takes it up again ends with the bits of
one that was never broken off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lamella.core.errors import FileFormatError
from lamella.core.seeds import SeedGenerator, random_states, set_random_states
from lamella.core.variable import Variable
from lamella.saving.fitting import TOLD, difference
from lamella.saving.hdf5 import Declared
from lamella.saving.walk import named_weights, things_in
from lamella.training.ongoing import Training

Named = dict[str, Variable]
_NOT_FINITE = ("nan", "inf", "-inf")


def parts_of(model: Any) -> dict[str, Named]:
    """Return the variables of a built model, of its optimizer, and inside an epoch of its metrics, by stable names.

    >>> from lamella import Input, Sequential, layers
    >>> model = Sequential([Input((2,)), layers.Dense(3), layers.Dropout(0.5)])
    >>> {part: list(named) for part, named in parts_of(model).items()}
    {'model': ['layers/dense/kernel', 'layers/dense/bias', 'layers/dropout/seed_generator']}
    """
    parts = {"model": _of_model(model)}
    if model.optimizer is not None:
        model.optimizer.ensure_built(model.trainable_variables)
        parts["optimizer"] = _numbered(model.optimizer.variables)
    training: Training | None = model._trainer.training
    if training is not None and training.batch:
        parts["trackers"] = _numbered([v for tracker in training.steps.trackers() for v in tracker.variables])
    return parts


def _of_model(model: Any) -> Named:
    named = named_weights(model)
    named |= {path: thing.state for path, thing in things_in(model) if isinstance(thing, SeedGenerator)}
    known = {id(variable) for variable in named.values()}
    others = [variable for variable in model.variables if id(variable) not in known]
    return named | {f"others/{place}": variable for place, variable in enumerate(others)}


def _numbered(variables: list[Variable]) -> Named:
    return {str(place): variable for place, variable in enumerate(variables)}


def compare(part: str, named: Named, found: Mapping[str, Declared | None]) -> None:
    """Refuse a part of a state whose names, shapes or kinds of numbers are not those of the variables."""
    faults = [
        f"  {part}/{name} ({variable.path}): {fault}"
        for name, variable in named.items()
        if (fault := difference(variable, found.get(name)))
    ]
    faults += [f"  {part}/{name}: there is no such variable" for name in found if name not in named]
    if faults:
        told = "\n".join([*faults[:TOLD], *([f"  and {len(faults) - TOLD} more"] if len(faults) > TOLD else [])])
        raise FileFormatError(
            f"The state is that of another {'model' if part == 'model' else f'{part}, not of this one'}:\n{told}",
            mend=None if part == "model" else "compile the model as it was when its state was saved",
        )


def about(model: Any) -> dict[str, Any]:
    """Return as plain data where a training stands, with the randomness and what its callbacks remember.

    Outside of `fit` there is nothing to tell.
    """
    training: Training | None = model._trainer.training
    if training is None:
        return {}
    return {
        **training.place(),
        "random": random_states(),
        "stopped": bool(model.stop_training),
        "callbacks": [[type(c).__name__, _memory(c)] for c in _remembering(training)],
    }


def take_place(model: Any, told: Any) -> bool:
    """Set a training to the epoch and batch that `about` told; tell whether that is inside of an epoch."""
    training: Training = model._trainer.training
    place = [told.get(key) for key in ("epoch", "batch", "read")] if isinstance(told, dict) else [None]
    if not all(type(number) is int and number >= 0 for number in place):
        raise FileFormatError("The state is not that of a training: it does not say at which epoch it stands.")
    training.epoch, training.batch = told["epoch"], told["batch"]
    model.stop_training = told.get("stopped") is True
    return training.batch > 0


def take_course(model: Any, told: dict[str, Any]) -> None:
    """Give data, randomness and callbacks the state that `about` told; the variables have theirs already."""
    training: Training = model._trainer.training
    try:
        training.data.go_on(told["order"], told["read"], told["batch"])
        set_random_states(told["random"])
        memories = [(name, memory) for name, memory in told["callbacks"] if isinstance(memory, dict)]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"The state does not describe a training: {str(error)[:100]}.") from error
    for callback in _remembering(training):
        own = next((pair for pair in memories if pair[0] == type(callback).__name__), None)
        if own is not None:
            memories.remove(own)
            _remember(callback, own[1])


def _remembering(training: Training) -> list[Any]:
    return [callback for callback in training.callbacks.callbacks if getattr(callback, "remembers", ())]


def _memory(callback: Any) -> dict[str, Any]:
    return {name: _plain(getattr(callback, name)) for name in callback.remembers}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    return float(value) if math.isfinite(value) else str(float(value))


def _remember(callback: Any, memory: dict[str, Any]) -> None:
    for name in callback.remembers:
        value = memory.get(name)
        if value is None or isinstance(value, bool | int | float):
            setattr(callback, name, value)
        elif value in _NOT_FINITE:
            setattr(callback, name, float(value))
