"""The HDF5 files of Keras 2, which Keras 3 writes too, read only: whole models, and weights by order or by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from lamella.core.errors import FileFormatError
from lamella.core.memory import in_words
from lamella.core.variable import Variable
from lamella.saving.archive import CONFIG, LIMITS
from lamella.saving.fitting import BEFORE_THE_FIRST_STEP, difference, report
from lamella.saving.hdf5 import Source, reading
from lamella.saving.plain import read_json
from lamella.saving.translation import model_today, plain_name, training_today

_TOP = "top_level_model_weights"


def root(source: Source) -> str | None:
    """Return where the layers stand in a file of Keras 2, "model_weights" in a whole model's; None in other files."""
    for place in ("", "model_weights"):
        if source.strings(place, "layer_names") is not None or source.strings(place, "layer_names0") is not None:
            return place
    return None


class Description(NamedTuple):
    """What a file says of a whole model, in the form that .keras files have."""

    config: Any
    training: dict[str, Any] | None
    old: bool


def description(source: Source) -> Description:
    """Return the config of the whole model in a file."""
    config = _json(source, "model_config")
    if config is None:
        raise FileFormatError("The file has weights alone, no model.", mend="model.load_weights(path)")
    version = source.strings("", "keras_version") or source.strings("model_weights", "keras_version") or ["1"]
    major = version[0].partition(".")[0]
    if major not in ("2", "3"):
        raise FileFormatError(
            f"The file is of Keras {version[0][:20]!r}; HDF5 files of Keras 2 and 3 are read.",
            mend="the file loaded and saved again with Keras 2",
        )
    training = _json(source, "training_config")
    old = major == "2"
    known = training if isinstance(training, dict) and training.get("optimizer_config") else None
    return Description(model_today(config, old), training_today(known, old) if known else None, old)


def _json(source: Source, name: str) -> Any:
    found = source.strings("", name)
    if not found:
        return None
    data = found[0].encode()
    if len(data) > LIMITS[CONFIG]:
        raise FileFormatError(f"{name!r} has {in_words(len(data))}; at most {in_words(LIMITS[CONFIG])} are read.")
    return read_json(data, name)


def read_whole(model: Any, source: Source, *, optimizer: bool, old: bool) -> None:
    """Read the weights of the model that a file describes, and the optimizer's state if asked."""
    place = "model_weights"
    layers = {layer.name for layer in model.layers if layer.weights}
    chosen = _chosen(model, source, place, by_name=layers == {plain_name(name) for name in _kept(source, place)})
    state = _state(model, source, old) if optimizer else []
    for variable, array in [*chosen, *state]:
        variable.assign(source.read(array))


def _state(model: Any, source: Source, old: bool) -> list[tuple[Variable, str]]:
    """Return the optimizer's variables with their places; one that does not fit starts anew, with a warning."""
    variables, arrays = model.optimizer.variables, _arrays(source, "optimizer_weights")
    if not arrays:
        return []
    if len(arrays) <= BEFORE_THE_FIRST_STEP:
        variables = variables[: len(arrays)]
    fault = "its state is in Keras 2's form" if old else _fault(variables, arrays, source)
    if fault:
        warnings.warn(f"The optimizer {model.optimizer.name!r} starts anew: {fault}.", stacklevel=6)
        return []
    return list(zip(variables, arrays, strict=True))


def read_legacy_weights(model: Any, file: BinaryIO, *, by_name: bool = False, skip_mismatch: bool = False) -> None:
    """Read the weights of a file of Keras 2 into a built model.

    `by_name` gives the layers in the file to those of the same name, and leaves the others as they are. Everything is
    compared with the file before the first weight is changed.
    """
    with reading(file) as source:
        place = root(source)
        if place is None:
            raise FileFormatError(
                "The file does not have the layout of Keras 2.", mend='a name that ends in ".weights.h5"'
            )
        for variable, array in _chosen(model, source, place, by_name, skip_mismatch):
            variable.assign(source.read(array))


def _chosen(
    model: Any, source: Source, place: str, by_name: bool, skip_mismatch: bool = False
) -> list[tuple[Variable, str]]:
    """Return variables with the places of their arrays, all of them compared."""
    faults: dict[str, str] = {}
    chosen: list[tuple[Variable, str]] = []
    for path, variables in _pairs(model, source, place, by_name):
        arrays = _arrays(source, path)
        fault = _fault(variables, arrays, source)
        if fault:
            faults[path] = fault
        else:
            chosen += zip(variables, arrays, strict=True)
    if faults:
        report(faults, skip_mismatch)
    return chosen


def _pairs(model: Any, source: Source, place: str, by_name: bool) -> Iterator[tuple[str, list[Variable]]]:
    """Yield the places of layers in the file with the weights that they are for."""
    names = _kept(source, place)
    layers = [layer for layer in model.layers if layer.weights]
    if by_name:
        known = {layer.name: layer for layer in layers}
        given = ((name, known.get(name) or known.get(plain_name(name))) for name in names)
        yield from ((_joined(place, name), _ordered(layer)) for name, layer in given if layer is not None)
    elif len(names) != len(layers):
        raise FileFormatError(
            f"The model has {len(layers)} layers with weights ({_some(layer.name for layer in layers)}); the file has "
            f"{len(names)} ({_some(names)}).",
            mend="by_name=True for the layers that have the same names",
        )
    else:
        yield from ((_joined(place, name), _ordered(layer)) for name, layer in zip(names, layers, strict=True))
    top = _joined(place, _TOP)
    if _arrays(source, top):
        yield top, [v for v in model._own_variables() if v in model.weights]


def _kept(source: Source, place: str) -> list[str]:
    """Return the names of the layers that have weights in a file."""
    return [name for name in _names(source, place, "layer_names") if _arrays(source, _joined(place, name))]


def _ordered(layer: Any) -> list[Variable]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _fault(variables: list[Variable], arrays: list[str], source: Source) -> str | None:
    if len(variables) != len(arrays):
        return f"{len(variables)} weights ({_some(v.path for v in variables)}), the file has {len(arrays)}"
    faults = (difference(v, source.declared(array)) for v, array in zip(variables, arrays, strict=True))
    return next((fault for fault in faults if fault), None)


def _arrays(source: Source, path: str) -> list[str]:
    """Return the places of a layer's arrays, in order."""
    return [_joined(path, name) for name in _names(source, path, "weight_names")]


def _names(source: Source, path: str, name: str) -> list[str]:
    """Return a list of names; long ones stand in the file in pieces."""
    found = source.strings(path, name)
    if found is None:
        found, piece = [], 0
        while (more := source.strings(path, f"{name}{piece}")) is not None:
            found, piece = [*found, *more], piece + 1
    return found


def _joined(path: str, name: str) -> str:
    """Return the place of a name inside a place; a name leads nowhere else."""
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise FileFormatError(f"{path!r} in the file names {name!r}, which is no place inside it.")
    return f"{path}/{name}" if path else name


def _some(names: Any) -> str:
    listed = list(names)
    return ", ".join([*listed[:8], *(["..."] if len(listed) > 8 else [])]) or "none"
