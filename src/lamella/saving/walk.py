"""Where each layer's weights stand in a file: the walk over attributes that Keras's files are laid out by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from lamella.core.errors import ArgumentError, NotBuiltError
from lamella.core.naming import snake_case
from lamella.core.seeds import SeedGenerator
from lamella.core.variable import Variable
from lamella.layers.heads import MultiHeadAttention
from lamella.layers.layer import Layer
from lamella.parts.optimizers import Optimizer

# What our own machinery keeps on a layer or model: no attributes of the person who wrote it.
_MACHINERY = {"_captured", "_graph", "_input", "_stack", "_state", "_trainer"}
# What Keras gives a second, public name; the public one comes first.
_PUBLIC = ("key_dense", "output_dense", "query_dense", "value_dense")
_COMPUTED = (property, cached_property)


def things_in(model: Any, states: bool = True) -> list[tuple[str, Any]]:
    """Return the layers of a built model with their places, and random states if asked."""
    if not model.built:
        raise NotBuiltError(
            f"The model {model.name!r} has no weights yet: it does not know its input's shape.",
            mend="an Input as its first layer, or model.build((None, 5)), or call it on data",
        )
    return [(path, thing) for path, thing in walk(model) if states or not isinstance(thing, SeedGenerator)]


def named_weights(model: Any) -> dict[str, Variable]:
    """Return a built model's weights by names that are the same in every process.

    >>> from lamella import Input, Sequential, layers
    >>> list(named_weights(Sequential([Input((2,)), layers.Dense(3), layers.Dense(1, use_bias=False)])))
    ['layers/dense/kernel', 'layers/dense/bias', 'layers/dense_1/kernel']
    """
    named: dict[str, Variable] = {}
    taken: set[int] = set()
    for path, thing in things_in(model, states=False):
        for variable in (v for v in thing._own_variables() if id(v) not in taken):
            taken.add(id(variable))
            name = base = f"{path}/{variable.name}" if path else variable.name
            count = 0
            while name in named:
                count += 1
                name = f"{base}_{count}"
            named[name] = variable
    return named


def walk(thing: Any, path: str = "", visited: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield (path, layer) for a layer and everything in it with weights or random states, each once.

    The layers of a graph or stack come first, as "layers/<class>"; then attributes by name, the private ones last; in a
    list or a dict a thing goes by its class in snake case, counted. It goes by the first path that leads to it.

    >>> from lamella.layers import Dense, Pipeline
    >>> [path for path, _ in walk(Pipeline([Dense(2), Dense(2)], name="pipeline"))]
    ['', 'layers/dense', 'layers/dense_1']
    """
    visited = set() if visited is None else visited
    if id(thing) in visited:
        return
    visited.add(id(thing))
    yield path, thing
    if not isinstance(thing, SeedGenerator):
        for name, value in _attributes(thing):
            yield from _under(value, f"{path}/{name}" if path else name, visited)


def _under(value: Any, path: str, visited: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Layer | Optimizer | SeedGenerator):
        yield from walk(value, path, visited)
    elif isinstance(value, list | tuple | dict) and id(value) not in visited:
        yield from _items(value, path, visited)
    elif isinstance(value, set | frozenset) and any(isinstance(item, Layer) for item in value):
        raise ArgumentError(
            f"The layers in the set {path!r} have no order, and no place in a file.",
            mend="self.blocks = [Dense(3), Dense(3)]",
        )


def _items(container: Any, path: str, visited: set[int]) -> Iterator[tuple[str, Any]]:
    counts: Counter[str] = Counter()
    if not isinstance(container, tuple):
        # A list may hold itself.
        visited.add(id(container))
    for item in container.values() if isinstance(container, dict) else container:
        if isinstance(item, Layer | Optimizer | SeedGenerator | list | tuple | dict):
            contains = isinstance(item, list | tuple | dict)
            name = "container" if contains else snake_case(type(item).__name__)
            counts[name] += 1
            yield from _under(item, f"{path}/{name}" + (f"_{counts[name] - 1}" if counts[name] > 1 else ""), visited)


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    graph = getattr(thing, "_graph", None)
    if graph is not None:
        yield "layers", thing.layers
    own = [base for base in type(thing).__mro__ if not base.__module__.startswith("lamella.")]
    names = {name for base in own for name, value in vars(base).items() if isinstance(value, _COMPUTED)}
    names |= vars(thing).keys() - _MACHINERY
    if isinstance(thing, MultiHeadAttention):
        names.update(_PUBLIC)
    if graph is None and hasattr(thing, "layers") and not _filled_late(thing):
        names.add("layers")
    for name in sorted(names, key=lambda name: f"~{name}" if name.startswith("_") else name):
        try:
            value = getattr(thing, name)
        except Exception:
            # A property of a person's own that has no answer now.
            continue
        yield name, value


def _filled_late(thing: Any) -> bool:
    """Tell whether a list holds a layer that was made after one of the same class in a later attribute.

    Keras counts layers in the order in which attributes and lists got them, and nothing here knows when a list did. So
    the layers then go by their attributes: Keras finds them there too, and its own files are an error, not a swap.
    """
    listed: list[tuple[type, int]] = []
    met: set[int] = set()
    for name, value in vars(thing).items():
        layers = [] if name in _MACHINERY else list(_layers_in(value, met))
        if any(type(layer) is kind and layer._state.number < number for layer in layers for kind, number in listed):
            return True
        if isinstance(value, list | dict):
            listed += [(type(layer), layer._state.number) for layer in layers]
    return False


def _layers_in(value: Any, met: set[int]) -> Iterator[Layer]:
    """Yield the layers in an attribute that were not met before."""
    if isinstance(value, Layer | list | tuple | dict) and id(value) not in met:
        met.add(id(value))
        if isinstance(value, Layer):
            yield value
            return
        for item in value.values() if isinstance(value, dict) else value:
            yield from _layers_in(item, met)
