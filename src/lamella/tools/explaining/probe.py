"""A layer's shapes, asked for again and again: with another argument, or on an input of another size."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from lamella.core.axes import names
from lamella.core.calls import collecting
from lamella.core.config import custom_object_scope
from lamella.core.masked import value_of
from lamella.core.structure import flatten, leaves_of, unflatten
from lamella.core.variable import Frame, abstract_values
from lamella.graph.trace import Spec
from lamella.models.model import Model
from lamella.tools.explaining.formulas import Formula, Setting, fit

# Integers that say where, not how many.
_PLACES = frozenset({"axis", "axes", "attention_axes", "dims", "seed", "shared_axes"})
_UNSEEN = frozenset({"name", "trainable", "dtype"})


@dataclass(frozen=True)
class Leaf:
    """One array among the arguments of a call: where it stands, its axes' names, and whether it is a mask."""

    label: str
    names: tuple[str, ...]
    spec: Any
    hidden: bool = False


@dataclass(frozen=True)
class Knob:
    """A number that can be set: an integer in the config at `path`, or the size of these (leaf, axis) pairs."""

    name: str
    value: int
    path: tuple[Any, ...] = ()
    axes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Seen:
    """The shapes that one trial showed."""

    weights: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[Any, ...]

    @property
    def sizes(self) -> Any:
        """All shapes, to compare."""
        return [shape for _, shape in self.weights], [output.shape for output in self.outputs]


class Probe:
    """Trials of one call of a layer; the layer itself is only ever traced, and copies are thrown away."""

    def __init__(self, layer: Any, arguments: dict[str, Any], batch: int) -> None:
        self.layer = layer
        flat, self._tree = flatten(arguments)
        self._flat = flat
        self._places = [i for i, leaf in enumerate(flat) if hasattr(leaf, "shape")]
        self.leaves = list(_leaves(layer, arguments, batch))
        self.specs = [leaf.spec for leaf in self.leaves]
        self.config = self._usable_config()
        self.seen = self.trial(self.config, self.specs) or _nothing(layer)

    def _usable_config(self) -> dict[str, Any] | None:
        """Return the config if a layer made from it shows the same shapes as the layer itself."""
        if isinstance(self.layer, Model):
            return None
        try:
            config: dict[str, Any] = self.layer.get_config()
        except Exception:
            return None
        mine, twins = self.trial(None, self.specs), self.trial(config, self.specs)
        same = mine is not None and twins is not None and mine.sizes == twins.sizes
        return config if same else None

    def make(self, config: dict[str, Any] | None) -> Any:
        """Return a layer to trace: made from the config, else the layer itself if it is built, else a copy."""
        if config is None:
            return self.layer if self.layer.built else copy.deepcopy(self.layer)
        classes = {type(inner).__name__: type(inner) for inner in self.layer._flatten_layers()}
        with custom_object_scope(classes):
            return type(self.layer).from_config(copy.deepcopy(config))

    def call(self, layer: Any, leaves: Sequence[Any]) -> list[Any]:
        """Call a layer with these arrays as its arguments; return the arrays that come out."""
        flat = list(self._flat)
        for place, leaf in zip(self._places, leaves, strict=True):
            flat[place] = leaf
        arguments = dict(unflatten(self._tree, flat))
        # The values of weights are of no interest, and those of a layer that was only traced are none.
        held = layer.variables if layer is self.layer else []
        with Frame(held, [jax.numpy.zeros(variable.shape, variable.dtype) for variable in held]):
            outputs = leaves_of(layer.run(arguments.pop("*", ()), arguments))
        return [value_of(leaf) for leaf in outputs if hasattr(value_of(leaf), "dtype")]

    def trial(self, config: dict[str, Any] | None, specs: Sequence[Any]) -> Seen | None:
        """Return the shapes for a config and inputs, or None if they do not go together."""
        found: list[Any] = []

        def traced(leaves: list[Any]) -> Any:
            with Frame(), collecting(False):
                layer = self.make(config)
                outputs = self.call(layer, leaves)
            found[:] = [(path_in(layer, weight), tuple(weight.shape)) for weight in layer.weights]
            return outputs

        try:
            with quietly(), abstract_values():
                outputs = jax.eval_shape(traced, list(specs))
        except Exception:
            return None
        return Seen(tuple(found), tuple(outputs))

    # -- knobs ------------------------------------------------------------------------------------------------

    def knobs(self) -> Iterator[tuple[Knob, list[tuple[int, Seen]]]]:
        """Yield each number that can be set to something else, with what was seen at other values."""
        for knob in [] if self.config is None else integers(self.config):
            seen = self._turned(knob)
            if seen:
                yield knob, seen
        done: set[tuple[int, int]] = set()
        for knob in self._axis_knobs():
            if not done.intersection(knob.axes) and (seen := self._turned(knob)):
                done.update(knob.axes)
                yield knob, seen

    def _axis_knobs(self) -> Iterator[Knob]:
        """Yield the sizes of the inputs' axes: each alone, then with all that share its name or its size."""
        places = [(i, axis) for i, leaf in enumerate(self.leaves) for axis in range(len(leaf.names))]
        names = {place: self.leaves[place[0]].names[place[1]] for place in places}
        sizes = {place: self.specs[place[0]].shape[place[1]] for place in places}
        several = sum(not leaf.hidden for leaf in self.leaves) > 1
        for place in places:
            alike = [p for p in places if sizes[p] == sizes[place]]
            namesakes = tuple(p for p in alike if names[p] == names[place])
            label = f"{self.leaves[place[0]].label}.{names[place]}" if several else names[place]
            if names[place] == "batch":
                yield Knob("batch_size", sizes[place], axes=namesakes)
            elif len({p[0] for p in alike}) > 1:
                yield Knob(label, sizes[place], axes=(place,))
                yield Knob(names[place], sizes[place], axes=namesakes)
                yield Knob(label, sizes[place], axes=_one_each(place, alike))
            else:
                yield Knob(label, sizes[place], axes=(place,))

    def _turned(self, knob: Knob) -> list[tuple[int, Seen]]:
        """Try a knob at two other values, farther ones where near ones do not fit."""
        found: list[tuple[int, Seen]] = []
        value = knob.value
        for other in dict.fromkeys([value + 1, 2 * value, 3 * value, max(1, value // 2)]):
            if other != value and len(found) < 2 and (seen := self.at([(knob, other)])) is not None:
                found.append((other, seen))
        return found

    def at(self, values: Sequence[tuple[Knob, int]]) -> Seen | None:
        """Return the shapes with some knobs at other values."""
        config, specs = self.turned(values)
        return self.trial(config, specs)

    def turned(self, values: Sequence[tuple[Knob, int]]) -> tuple[dict[str, Any] | None, list[Any]]:
        """Return the config and the inputs with some knobs at other values."""
        config, specs = copy.deepcopy(self.config), list(self.specs)
        for knob, value in values:
            if knob.path:
                _put(config, knob.path, value)
            for leaf, axis in knob.axes:
                shape = specs[leaf].shape
                specs[leaf] = Spec((*shape[:axis], value, *shape[axis + 1 :]), specs[leaf].dtype)
        return config, specs


@dataclass
class Findings:
    """What turning every knob of a layer showed: a formula for each size in its weights and outputs."""

    config: dict[str, Any] | None
    knobs: dict[str, Knob]
    weights: list[tuple[str, tuple[Formula, ...]]]
    outputs: list[tuple[Formula, ...]]


def look(probe: Probe) -> Findings:
    """Turn every knob and find the formulas."""
    turned = list(probe.knobs())
    knobs = {knob.name: knob for knob, _ in turned}
    base: Setting = {name: knob.value for name, knob in knobs.items()}
    trials = [({**base, knob.name: value}, seen) for knob, found in turned for value, seen in found]
    moving = [
        (knob, found[0][0])
        for knob, found in turned
        if knob.value > 1 and any(seen.sizes != probe.seen.sizes for _, seen in found)
    ]
    together = probe.at(moving) if len(moving) > 1 else None
    if together is not None:
        trials.append(({**base, **{knob.name: value for knob, value in moving}}, together))
    rows = [(base, probe.seen), *trials]
    everything = _formulas_of(rows)
    # A stride or a number of groups of 1 is how things are without one: told apart from `units=1`, which is a size.
    said = {str(formula) for shapes in everything for shape in shapes for formula in shape}
    idle = {name for name, knob in knobs.items() if knob.path and knob.value == 1 and name not in said}
    if idle:
        rows = [row for row in rows if all(row[0][name] == 1 for name in idle)]
    weights, outputs = _formulas_of(rows) if idle else everything
    labels = [label for label, _ in probe.seen.weights]
    return Findings(probe.config, knobs, list(zip(labels, weights, strict=True)), outputs)


def _formulas_of(rows: Sequence[tuple[Setting, Seen]]) -> tuple[list[tuple[Formula, ...]], list[tuple[Formula, ...]]]:
    weights = _formulas(rows, lambda seen: [shape for _, shape in seen.weights])
    return weights, _formulas(rows, lambda seen: [output.shape for output in seen.outputs])


def _formulas(
    rows: Sequence[tuple[Setting, Seen]], shapes_of: Callable[[Seen], list[tuple[int, ...]]]
) -> list[tuple[Formula, ...]]:
    first = shapes_of(rows[0][1])
    ranks = [len(shape) for shape in first]
    alike = [(setting, shapes_of(seen)) for setting, seen in rows]
    alike = [(setting, shapes) for setting, shapes in alike if [len(shape) for shape in shapes] == ranks]
    return [
        tuple(fit([(setting, shapes[i][axis]) for setting, shapes in alike]) for axis in range(rank))
        for i, rank in enumerate(ranks)
    ]


def integers(config: dict[str, Any], path: tuple[Any, ...] = (), label: str = "") -> Iterator[Knob]:
    """Yield the sizes in a config: positive integers, also in lists and in the configs of layers inside.

    >>> [knob.name for knob in integers({"units": 3, "kernel_size": [2, 2], "axis": 1, "use_bias": True})]
    ['units', 'kernel_size[0]', 'kernel_size[1]']
    """
    for key, value in config.items():
        if key not in _PLACES and not (key in _UNSEEN and not label):
            yield from _integers_in(value, (*path, key), f"{label}.{key}" if label else key)


def _integers_in(value: Any, path: tuple[Any, ...], label: str) -> Iterator[Knob]:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        yield Knob(label, value, path)
    elif isinstance(value, list) and len(value) <= 8:
        for i, item in enumerate(value):
            yield from _integers_in(item, (*path, i), f"{label}[{i}]")
    elif isinstance(value, dict) and isinstance(value.get("config"), dict):
        yield from integers(value["config"], (*path, "config"), label)


def _put(config: Any, path: tuple[Any, ...], value: int) -> None:
    for key in path[:-1]:
        config = config[key]
    config[path[-1]] = value


def _one_each(place: tuple[int, int], places: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the place, and one place of each other leaf."""
    found = {place[0]: place}
    for other in places:
        found.setdefault(other[0], other)
    return tuple(found.values())


def _leaves(layer: Any, arguments: dict[str, Any], batch: int) -> Iterator[Leaf]:
    for i, (name, value) in enumerate(arguments.items()):
        found = [leaf for leaf in leaves_of(value) if hasattr(leaf, "shape")]
        for number, leaf in enumerate(found):
            label = name if len(found) == 1 else f"{name}[{number}]"
            hidden = name == "mask" or name.endswith("_mask")
            usual = layer.axis_names if i == 0 and len(layer.axis_names) == len(leaf.shape) else axis_names(leaf)
            yield Leaf(label, usual, leaf, hidden)


def axis_names(array: Any) -> tuple[str, ...]:
    """Return the usual names of an array's axes; integers in rows are ids in time.

    >>> axis_names(Spec((32, 10), "int32"))
    ('batch', 'time')
    """
    rank = len(array.shape)
    whole = jax.numpy.issubdtype(array.dtype, jax.numpy.integer) or array.dtype == bool
    return ("batch", "time") if whole and rank == 2 else names(rank)


def quietly() -> warnings.catch_warnings[None]:
    """Return a context without warnings: a trial says nothing to the person who did not make it."""
    return warnings.catch_warnings(action="ignore")


def path_in(layer: Any, weight: Any) -> str:
    """Return a weight's name within a layer."""
    return str(weight.path).rpartition(f"{layer.name}/")[2]


def _nothing(layer: Any) -> Seen:
    return Seen(tuple((path_in(layer, weight), tuple(weight.shape)) for weight in layer.weights), ())
