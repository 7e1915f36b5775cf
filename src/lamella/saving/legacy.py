"""The HDF5 files of Keras 2, read only: weights by the layers' order or by their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from lamella.core.errors import FileFormatError
from lamella.core.variable import Variable
from lamella.saving.fitting import difference, report
from lamella.saving.hdf5 import Source, reading

_TOP = "top_level_model_weights"


def root(source: Source) -> str | None:
    """Return where the layers stand in a file of Keras 2, "model_weights" in a whole model's; None in other files."""
    for place in ("", "model_weights"):
        if source.strings(place, "layer_names") is not None or source.strings(place, "layer_names0") is not None:
            return place
    return None


def read_config(file: BinaryIO) -> str:
    """Return the config, as JSON, of the whole model in a file."""
    with reading(file) as source:
        found = source.strings("", "model_config")
    if not found:
        raise FileFormatError("The file has weights alone, no model.", mend="model.load_weights(path)")
    return found[0]


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
        for variable, array in chosen:
            variable.assign(source.read(array))


def _pairs(model: Any, source: Source, place: str, by_name: bool) -> Iterator[tuple[str, list[Variable]]]:
    """Yield the places of layers in the file with the weights that they are for."""
    names = [name for name in _names(source, place, "layer_names") if _arrays(source, _joined(place, name))]
    layers = [layer for layer in model.layers if layer.weights]
    if by_name:
        known = {layer.name: layer for layer in layers}
        yield from ((_joined(place, name), _ordered(known[name])) for name in names if name in known)
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
