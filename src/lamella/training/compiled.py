"""What `compile` was given, made concrete: losses and metrics for each output, and their names in the logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from lamella.core.errors import ArgumentError, did_you_mean
from lamella.core.masked import value_of
from lamella.core.structure import leaves_of
from lamella.parts import losses as loss_parts
from lamella.parts import metrics as metric_parts
from lamella.parts.loss import divide


def per_output(given: Any, names: Sequence[str], what: str) -> list[Any]:
    """Spread what was given (one thing, a list by place, a dict by output name) over the outputs."""
    if isinstance(given, dict):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise ArgumentError(f"{what} names {unknown[0]!r}, which is no output.{did_you_mean(unknown[0], names)}")
        return [given.get(name) for name in names]
    if isinstance(given, list | tuple):
        if len(given) != len(names):
            raise ArgumentError(f"{what} has {len(given)} entries; the model has {len(names)} outputs: {list(names)}.")
        return list(given)
    return [given] * len(names)


# The sum of an output's losses, and what it is divided by.
Sums = tuple[Any, Any]


class CompiledLoss:
    """The total of the outputs' losses, each with its weight; and the parts, for the logs."""

    def __init__(self, loss: Any, loss_weights: Any, names: Sequence[str]) -> None:
        self.names = list(names)
        self.functions = [_loss(entry) for entry in per_output(loss, names, "loss")]
        self.weights = [1.0 if w is None else w for w in per_output(loss_weights, names, "loss_weights")]
        several = sum(function is not None for function in self.functions) > 1
        self.trackers = [
            metric_parts.Mean(name=f"{name}_loss") if function is not None and several else None
            for name, function in zip(names, self.functions, strict=True)
        ]

    def sums(self, y: Any, outputs: Any, sample_weight: Any, valid: Any = None) -> list[Sums | None]:
        """Return each output's sum of losses and the number that divides it; None where it has no loss."""
        predictions = leaves_of(outputs)
        targets = _aligned(y, predictions, self.names, "y")
        weights = _aligned(sample_weight, predictions, self.names, "sample_weight", spread=True)
        return [
            None if function is None or target is None else function.sums(target, prediction, w, None, valid)
            for function, target, prediction, w in zip(self.functions, targets, predictions, weights, strict=True)
        ]

    def each(self, y: Any, outputs: Any) -> list[Any]:
        """Return the losses of each output before they are averaged."""
        predictions = leaves_of(outputs)
        targets = _aligned(y, predictions, self.names, "y")
        return [
            function.each(target, value_of(prediction))
            for function, target, prediction in zip(self.functions, targets, predictions, strict=True)
            if function is not None and target is not None
        ]

    def total(self, sums: list[Sums | None], of: list[Any] | None = None) -> tuple[Any, list[Any]]:
        """Return the weighted total and the unweighted loss of each output, divided by the counts in `of` if given."""
        counts = [None if pair is None else pair[1] for pair in sums] if of is None else of
        parts = [None if pair is None else divide(pair[0], count) for pair, count in zip(sums, counts, strict=True)]
        weighted = (w * part for w, part in zip(self.weights, parts, strict=True) if part is not None)
        return sum(weighted, jnp.zeros(())), parts

    def divisors(self, counts: list[Any]) -> list[Any]:
        """Return what sums over several pieces are divided by: a summed loss is not divided."""
        summed = [getattr(function, "reduction", None) == "sum" for function in self.functions]
        return [
            jnp.ones_like(count) if count is not None and whole else count
            for count, whole in zip(counts, summed, strict=True)
        ]


def _loss(entry: Any) -> loss_parts.Loss | None:
    if entry is None:
        return None
    if isinstance(entry, loss_parts.Loss):
        return entry
    found = loss_parts.get(entry)
    if isinstance(found, loss_parts.Loss):
        return found
    return loss_parts.LossFunctionWrapper(found, name=getattr(found, "__name__", "loss"))


def _aligned(structure: Any, outputs: list[Any], names: Sequence[str], what: str, spread: bool = False) -> list[Any]:
    """Line targets or weights up with the outputs: by name, by place, or one for all."""
    if isinstance(structure, dict):
        return [structure.get(name) for name in names]
    leaves = [structure] if structure is None else leaves_of(structure)
    if len(leaves) == len(outputs):
        return leaves
    if len(leaves) == 1 and (spread or structure is None):
        return leaves * len(outputs)
    raise ArgumentError(f"{what} has {len(leaves)} arrays; the model has {len(outputs)} outputs: {list(names)}.")


class CompiledMetrics:
    """The metrics of each output, plain and weighted, with their names in the logs."""

    def __init__(self, metrics: Any, weighted: Any, names: Sequence[str]) -> None:
        self.names = list(names)
        self._given = [_listed(metrics, names, "metrics"), _listed(weighted, names, "weighted_metrics")]
        self.entries: list[tuple[int, bool, str, Any]] = []

    def build(self, y: Any, outputs: Any) -> None:
        """Make the metrics, now that shapes tell which accuracy "accuracy" is."""
        if self.entries:
            return
        predictions = leaves_of(outputs)
        targets = _aligned(y, predictions, self.names, "y")
        for weighted, given in enumerate(self._given):
            for place, entries in enumerate(given):
                for entry in entries:
                    if targets[place] is None:
                        continue
                    shapes = tuple(targets[place].shape), tuple(value_of(predictions[place]).shape)
                    metric, name = _metric(entry, *shapes)
                    if hasattr(metric, "build") and not metric.variables:
                        metric.build(*shapes)
                    prefix = f"{self.names[place]}_" if len(self.names) > 1 else ""
                    taken = prefix + name in (known for _, _, known, _ in self.entries)
                    self.entries.append(
                        (place, bool(weighted), f"{prefix}weighted_{name}" if taken else prefix + name, metric)
                    )

    def each(self, y: Any, outputs: Any) -> list[Any]:
        """Return the values of metrics that are a person's own functions, before they are averaged."""
        predictions = leaves_of(outputs)
        targets = _aligned(y, predictions, self.names, "y")
        return [
            metric.values(targets[place], value_of(predictions[place]))
            for place, _, _, metric in self.entries
            if isinstance(metric, metric_parts.MeanMetricWrapper)
        ]

    def update(self, y: Any, outputs: Any, sample_weight: Any, valid: Any = None) -> None:
        """Take a batch into the metrics' states; samples that are not valid weigh nothing."""
        predictions = leaves_of(outputs)
        targets = _aligned(y, predictions, self.names, "y")
        weights = _aligned(sample_weight, predictions, self.names, "sample_weight", spread=True)
        for place, weighted, _, metric in self.entries:
            weight = weights[place] if weighted else None
            metric.update_state(targets[place], predictions[place], _among_valid(weight, valid))


def _among_valid(weight: Any, valid: Any) -> Any:
    if valid is None:
        return weight
    shown = valid.astype("float32")
    return shown if weight is None else jnp.asarray(weight) * shown.reshape(shown.shape + (1,) * (weight.ndim - 1))


def _listed(given: Any, names: Sequence[str], what: str) -> list[list[Any]]:
    if given is None:
        return [[] for _ in names]
    if not isinstance(given, dict | list | tuple):
        given = [given]
    if isinstance(given, dict):
        given = per_output(given, names, what)
    elif len(names) == 1 and not (len(given) == 1 and isinstance(given[0], list | tuple)):
        given = [given]
    elif not any(isinstance(entry, list | tuple) for entry in given) and len(given) != len(names):
        given = [list(given)] * len(names)
    else:
        given = per_output(list(given), names, what)
    return [list(e) if isinstance(e, list | tuple) else [] if e is None else [e] for e in given]


def _metric(entry: Any, y_shape: tuple[Any, ...], prediction_shape: tuple[Any, ...]) -> tuple[Any, str]:
    if isinstance(entry, metric_parts.Metric):
        return entry, entry.name
    if entry in ("accuracy", "acc"):
        metric = metric_parts.get(metric_parts.resolve_accuracy(y_shape, prediction_shape))
    elif entry in ("crossentropy", "ce"):
        metric = metric_parts.get(metric_parts.resolve_crossentropy(y_shape, prediction_shape))
    else:
        metric = metric_parts.get(entry)
    if not isinstance(metric, metric_parts.Metric):
        metric = metric_parts.MeanMetricWrapper(metric, name=getattr(metric, "__name__", "metric"))
    return metric, entry if isinstance(entry, str) else metric.name
