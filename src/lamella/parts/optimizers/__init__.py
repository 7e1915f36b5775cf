"""Optimizers with Keras's names, arguments and numbers; their state lives in variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optax

from lamella.core import config as configs
from lamella.core.errors import ArgumentError
from lamella.parts.optimizers.adam import Adam, Adamax, AdamW, Lamb, Lion, Nadam, ScheduleFreeAdamW
from lamella.parts.optimizers.descent import SGD, Adadelta, Adafactor, Adagrad, Ftrl, RMSprop
from lamella.parts.optimizers.muon import Muon
from lamella.parts.optimizers.optimizer import Optimizer, optimizers
from lamella.parts.optimizers.wrapping import LossScaleOptimizer, MultiOptimizer, OptaxOptimizer, OptimizerMap


def serialize(optimizer: Optimizer) -> Any:
    """Return an optimizer as plain data.

    >>> serialize(SGD(0.5))["class_name"]
    'SGD'
    """
    return configs.serialize(optimizer)


def deserialize(config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the optimizer that plain data describes; a name may be written in any case.

    >>> deserialize({"class_name": "adam", "config": {"beta_1": 0.8}}).beta_1
    0.8
    """
    name = config["class_name"]
    if name.lower() in optimizers and not configs.custom_object(name):
        config = {**config, "class_name": optimizers[name.lower()].__name__}
    return configs.deserialize(config, custom_objects)


def get(identifier: Any) -> Any:
    """Return the optimizer meant by a name, a class, a config, an optimizer or an optax transformation.

    >>> get("adam").name.startswith("adam")
    True
    """
    if identifier is None:
        return None
    if isinstance(identifier, optax.GradientTransformation):
        return OptaxOptimizer(identifier)
    if isinstance(identifier, str):
        identifier = optimizers[identifier.lower() if identifier.lower() in optimizers else identifier]
    if isinstance(identifier, dict):
        identifier = deserialize(identifier)
    found = identifier() if isinstance(identifier, type) else identifier
    if not isinstance(found, Optimizer):
        raise ArgumentError(f"An optimizer is a name or an Optimizer, got {identifier!r}.", mend="optimizer='adam'")
    return found


__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "MultiOptimizer",
    "Muon",
    "Nadam",
    "OptaxOptimizer",
    "Optimizer",
    "OptimizerMap",
    "RMSprop",
    "ScheduleFreeAdamW",
    "deserialize",
    "get",
    "serialize",
]
