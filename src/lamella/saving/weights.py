"""The weights of a model to a file and back, in Keras's layout: `layers/dense/vars/0`, `optimizer/vars/0`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import h5py

from lamella.core.errors import FileFormatError
from lamella.core.seeds import SeedGenerator
from lamella.core.startup import give_back_freed_memory
from lamella.core.variable import Variable
from lamella.parts.optimizers import Optimizer
from lamella.saving import legacy
from lamella.saving.fitting import BEFORE_THE_FIRST_STEP, difference, report
from lamella.saving.hdf5 import DEEPEST, MOST_MEMBERS, Sink, Source, Store, reading
from lamella.saving.walk import things_in, walk

# What the first files of this layout call `layers`.
_OLD_ROOT = "_layer_checkpoint_dependencies"

# The bytes of old weights and read arrays that stay with the process while it loads more.
_KEPT = 1 << 26


def write_weights(model: Any, file: BinaryIO, optimizer: bool = False) -> None:
    """Write a built model's weights, and its optimizer's state if asked, to a binary file that is open for writing."""
    with h5py.File(file, "w") as opened:

        def place(path: str, name: str) -> Sink:
            group = opened.create_group(path)
            group.attrs["name"] = name
            return Sink(group)

        fill(model, place, optimizer=optimizer)


def fill(model: Any, place: Callable[[str, str], Sink], *, optimizer: bool) -> None:
    """Put the arrays of each layer where `place` says, for its path and its name."""
    things = things_in(model)
    if optimizer and model.optimizer is not None:
        things += walk(model.optimizer, "optimizer")
    for path, thing in things:
        sink = place(_vars(path), thing.name)
        if isinstance(thing, SeedGenerator):
            sink["0"] = thing.state
        else:
            thing.save_own_variables(sink)


def read_weights(model: Any, file: BinaryIO, *, skip_mismatch: bool = False, optimizer: bool = False) -> None:
    """Read what `write_weights` or Keras wrote, from a seekable binary file, into a built model.

    Everything is compared with the file before the first weight is changed. With `skip_mismatch` the layers that do not
    fit stay as they are, with a warning. `optimizer` reads the optimizer's state too; one that does not fit stays new.
    """
    with reading(file) as source:
        if legacy.root(source) is not None:
            raise FileFormatError("The file has the layout of Keras 2, which is read by another name.", mend="model.h5")
        read_source(model, source, skip_mismatch=skip_mismatch, optimizer=optimizer)


def read_source(model: Any, source: Source, *, skip_mismatch: bool = False, optimizer: bool = False) -> None:
    """Read weights, as `read_weights` does, from what is open already."""
    places = [_Place(path, thing, _store(source, path)) for path, thing in things_in(model)]
    faults = {place.path: fault for place in places if (fault := _fault(place))}
    if not skip_mismatch:
        faults |= {path: "there is no such layer" for path in _unasked(source, {place.path for place in places})}
    if faults:
        report(faults, skip_mismatch)
    state = _state_that_fits(model, source) if optimizer and model.optimizer is not None else None
    taken = 0
    for place in places:
        if place.path not in faults:
            taken += _load(place)
        if taken > _KEPT:
            give_back_freed_memory(from_here_on=False)
            taken = 0
    if state is not None:
        model.optimizer.load_own_variables(state)


class _Place(NamedTuple):
    path: str
    thing: Any
    store: Store


def _vars(path: str) -> str:
    return f"{path}/vars" if path else "vars"


def _store(source: Source, path: str) -> Store:
    if path.startswith("layers/") and source.has(_OLD_ROOT):
        return Store(source, _vars(_OLD_ROOT + path.removeprefix("layers")))
    return Store(source, _vars(path))


def _fault(place: _Place) -> str | None:
    """Return in what a layer differs from its place in the file, as far as it can be known without reading."""
    thing, store = place.thing, place.store
    if isinstance(thing, SeedGenerator):
        # Keras's files leave random states out.
        return _differences([thing.state], store) if len(store) else None
    if not type(thing).load_own_variables.__module__.startswith("lamella."):
        return None
    fault = _differences(thing._kept_variables(), store)
    return f"{type(thing).__name__} {thing.name!r}: {fault}" if fault else None


def _differences(wanted: Sequence[Variable], store: Store) -> str | None:
    if len(store) != len(wanted):
        names = f" ({', '.join(variable.name for variable in wanted)})" if wanted else ""
        return f"{len(wanted)} weights{names}, the file has {len(store) or 'none'}"
    for place, variable in enumerate(wanted):
        fault = difference(variable, store.declared(str(place)))
        if fault:
            return fault
    return None


def _unasked(source: Source, asked: set[str]) -> Iterator[str]:
    """Yield the places of layers in the file that the model does not have."""
    waiting, seen = [""], 0
    while waiting:
        path = waiting.pop()
        names = source.members(path)
        seen += len(names)
        if seen > MOST_MEMBERS or path.count("/") > DEEPEST:
            raise FileFormatError(f"The file has more than {MOST_MEMBERS:,} parts, or nests them over {DEEPEST} deep.")
        known = path.replace(_OLD_ROOT, "layers", 1)
        if "vars" in names and known not in asked and source.members(_vars(path)):
            yield path
        inside = [name for name in names if name not in ("vars", "optimizer", "seed_generator")]
        waiting += [f"{path}/{name}" if path else name for name in inside]


def _load(place: _Place) -> int:
    """Read a layer's arrays, and return the bytes that its old ones gave up."""
    if not isinstance(place.thing, SeedGenerator):
        place.thing.load_own_variables(place.store)
        return sum(variable.nbytes for variable in place.thing._own_variables())
    if len(place.store):
        place.thing.state.assign(place.store["0"])
    return 0


def _state_that_fits(model: Any, source: Source) -> Store | None:
    """Return the optimizer's state in the file; an optimizer that has taken no step yet is built for it."""
    optimizer: Optimizer = model.optimizer
    store = Store(source, _vars("optimizer"))
    if not len(store):
        return None
    begun = len(store) > BEFORE_THE_FIRST_STEP
    if begun and len(store) != len(optimizer.variables):
        optimizer.ensure_built(model.trainable_variables)
    fault = _differences(optimizer.variables if begun else optimizer.variables[: len(store)], store)
    if fault:
        warnings.warn(f"The optimizer {optimizer.name!r} starts anew. It has {fault}.", stacklevel=5)
    return None if fault else store
