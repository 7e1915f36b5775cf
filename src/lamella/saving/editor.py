"""The weights in a file, to be looked at, changed and written anew, under the names of Keras's editor."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, TypeAlias, cast

import h5py
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from lamella.core.errors import ArgumentError, FileFormatError, add_context
from lamella.core.naming import spelled_out
from lamella.core.seeds import SeedGenerator
from lamella.saving import legacy
from lamella.saving.archive import CONFIG, METADATA, Archive, write
from lamella.saving.durable import replacing
from lamella.saving.hdf5 import Sink, Source, reading
from lamella.saving.plain import read_json, write_json
from lamella.saving.walk import things_in, walk

# An object: its weights are arrays, the objects inside it are dicts.
Held: TypeAlias = dict[str, Any]
_ARCHIVE, _WEIGHTS = ".keras", ".weights.h5"


class KerasFileEditor:
    """The weights of a .keras or .weights.h5 file by the paths of their objects: "layers/dense" holds "0", "1".

    For a file that was saved before the model's layers changed. An object goes by its path or, where only one has it,
    by its name. Nothing is written before `save`.

    >>> import tempfile
    >>> from lamella import Input, Sequential, layers
    >>> folder = tempfile.mkdtemp()
    >>> Sequential([Input((2,)), layers.Dense(3), layers.Dense(1)]).save_weights(folder + "/old.weights.h5")
    >>> editor = KerasFileEditor(folder + "/old.weights.h5")  # doctest: +ELLIPSIS
    Keras model file '...'
    >>> editor.delete_object("layers/dense_1")
    >>> editor.save(folder + "/new.weights.h5")
    >>> Sequential([Input((2,)), layers.Dense(3)]).load_weights(folder + "/new.weights.h5")
    """

    def __init__(self, filepath: Any) -> None:
        self.filepath = os.fspath(filepath)
        self.console = Console(highlight=False, soft_wrap=True)
        self.config: Any = None
        self.metadata: Any = None
        self.weights_dict: Held = {}
        self.object_metadata: dict[str, dict[str, str]] = {}
        if not self.filepath.endswith((_ARCHIVE, _WEIGHTS)):
            raise ArgumentError(f"The editor reads {_ARCHIVE!r} and {_WEIGHTS!r} files, got {self.filepath!r}.")
        with open(self.filepath, "rb") as file:
            try:
                self._open(cast(BinaryIO, file))
            except FileFormatError as error:
                add_context(error, f"In the file {self.filepath!r}.")
                raise
        self._say(f"Keras model file {self.filepath!r}")
        if isinstance(self.metadata, dict):
            saved = self.metadata
            self._say(f"Saved with Keras {saved.get('keras_version')} - date: {saved.get('date_saved')}")

    def _open(self, file: BinaryIO) -> None:
        if self.filepath.endswith(_WEIGHTS):
            self._read(file)
            return
        archive = Archive(file, self.filepath)
        self.config, self.metadata = read_json(archive.config, CONFIG), read_json(archive.metadata, METADATA)
        with archive.weights() as weights:
            self._read(weights)

    def _read(self, file: BinaryIO) -> None:
        with reading(file) as source:
            if legacy.root(source) is not None:
                raise FileFormatError("The file has the layout of Keras 2.", mend="load_model, or load_weights")
            for path, declared in source.arrays():
                if isinstance(declared, FileFormatError):
                    raise declared
                *parents, name = path.split("/")
                if parents and parents[-1] == "vars":
                    parents.pop()
                held = self.weights_dict
                for parent in parents:
                    held = held.setdefault(parent, {})
                held[name] = source.read(path)
                self._note("/".join(parents), source)

    def _note(self, path: str, source: Source) -> None:
        if path not in self.object_metadata:
            name = source.strings(f"{path}/vars" if path else "vars", "name")
            self.object_metadata[path] = {"name": name[0]} if name else {}

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(escape(spelled_out(text)), style=style)

    # -- looking ------------------------------------------------------------------------------------------------

    def summary(self) -> None:
        """Print the objects in the file with their weights."""
        tree = Tree("Weights structure")
        self._grow(tree, self.weights_dict, "")
        self.console.print(tree)

    def _grow(self, tree: Tree, held: Held, path: str) -> None:
        for name, value in held.items():
            inside = f"{path}/{name}" if path else name
            label = f"[bold]{escape(spelled_out(name))}[/]"
            if isinstance(value, dict):
                known = self.object_metadata.get(inside, {}).get("name")
                self._grow(tree.add(label + (f" ({escape(spelled_out(known))})" if known else "")), value, inside)
            else:
                tree.add(f"{label}: shape={value.shape}, dtype={value.dtype}")

    def compare(self, reference_model: Any) -> dict[str, Any]:
        """Print in what the file differs from a built model; return "status", "error_count" and "match_count".

        Random states are left out, and the optimizer's unless both have it: loading does without them.
        """
        wanted, found = _shapes_of(reference_model), dict(_shapes_in(self.weights_dict))
        shared = all(any(path.startswith("optimizer/") for path in shapes) for shapes in (wanted, found))
        wanted, found = (_comparable(shapes, optimizer=shared) for shapes in (wanted, found))
        errors = [path for path in sorted(wanted.keys() | found.keys()) if wanted.get(path) != found.get(path)]
        for path in errors:
            model, file = (f"has {shapes[path]}" if path in shapes else "has none" for shapes in (wanted, found))
            self._say(f"...Weight {path}: the model {model}, the file {file}", "red")
        matches = sum(wanted[path] == found.get(path) for path in wanted)
        self._say(f"{len(errors)} errors, {matches} weights that fit")
        return {"status": "error" if errors else "success", "error_count": len(errors), "match_count": matches}

    # -- changing -----------------------------------------------------------------------------------------------

    def rename_object(self, object_name: str, new_name: str) -> None:
        """Give an object, as a layer, another name at the same place."""
        path = self._path_of(object_name)
        held, name = self._holder(path)
        _check_name(new_name)
        if new_name in held:
            raise ArgumentError(f"The file has {new_name!r} already beside {name!r}.", mend="delete_object, first")
        # At the same place among its neighbours.
        items = [(new_name if key == name else key, value) for key, value in held.items()]
        held.clear()
        held.update(items)
        new = "/".join([*path.split("/")[:-1], new_name])
        self._move(path, new)

    def delete_object(self, object_name: str) -> None:
        """Take an object out, with all that is inside it."""
        path = self._path_of(object_name)
        held, name = self._holder(path)
        del held[name]
        self._move(path, None)

    def add_object(self, object_path: str, weights: Mapping[str, Any]) -> None:
        """Add an object with its weights, as {"0": kernel, "1": bias}, to an object that is there."""
        held, name = self._holder(object_path)
        _check_name(name)
        if name in held:
            raise ArgumentError(f"The file has {object_path!r} already.", mend="add_weights, or delete_object first")
        held[name] = _arrays(weights)

    def delete_weight(self, object_name: str, weight_name: str) -> None:
        """Take one weight out of an object."""
        held = self._object(object_name)
        if isinstance(held.get(weight_name, {}), dict):
            known = [name for name, value in held.items() if not isinstance(value, dict)]
            raise ArgumentError(f"{object_name!r} has no weight {weight_name!r}; it has {known}.")
        del held[weight_name]

    def add_weights(self, object_name: str, weights: Mapping[str, Any]) -> None:
        """Add weights to an object, as {"2": scale}, or put them in the place of those that it has."""
        self._object(object_name).update(_arrays(weights))

    def _object(self, object_name: str) -> Held:
        held, name = self._holder(self._path_of(object_name))
        return cast(Held, held[name])

    def _path_of(self, object_name: str) -> str:
        """Return the path of an object that goes by its path or its name."""
        paths = list(_objects_in(self.weights_dict))
        found = [object_name] if object_name in paths else []
        if not found and "/" not in object_name:
            found = [path for path in paths if path.rpartition("/")[2] == object_name]
        if len(found) != 1:
            fault = "has several objects of the name" if found else "has no object"
            mend = f"one of {', '.join(map(repr, (found or paths)[:8]))}" if found or paths else None
            raise ArgumentError(f"The file {fault} {object_name!r}.", mend=mend)
        return found[0]

    def _holder(self, path: str) -> tuple[Held, str]:
        """Return the object that the last part of a path is in, and that part."""
        *parents, name = path.split("/")
        held = self.weights_dict
        for parent in parents:
            if not isinstance(held.get(parent), dict):
                raise ArgumentError(f"The file has no object {'/'.join(parents)!r}.")
            held = held[parent]
        return held, name

    def _move(self, path: str, new: str | None) -> None:
        inside = [known for known in self.object_metadata if f"{known}/".startswith(f"{path}/")]
        kept = {known: self.object_metadata.pop(known) for known in inside}
        if new is not None:
            self.object_metadata |= {new + known.removeprefix(path): names for known, names in kept.items()}

    # -- writing ------------------------------------------------------------------------------------------------

    def save(self, filepath: Any) -> None:
        """Write the weights to a .weights.h5 file in one step; what came from a .keras file may become one again."""
        path = os.fspath(filepath)
        whole = path.endswith(_ARCHIVE) and self.config is not None
        if not whole and not path.endswith(_WEIGHTS):
            raise ArgumentError(f"The editor writes files that end in {_WEIGHTS!r}, got {path!r}.")
        with replacing(path) as file:
            if whole:
                write(file, write_json(self.config), write_json(self.metadata), self._write)
            else:
                self._write(file)

    def resave_weights(self, filepath: Any) -> None:
        """The same as `save`."""
        self.save(filepath)

    def _write(self, file: BinaryIO) -> None:
        with h5py.File(file, "w") as opened:
            for path in ("", *_objects_in(self.weights_dict)):
                held = self.weights_dict
                for part in path.split("/") if path else ():
                    held = held[part]
                weights = {name: value for name, value in held.items() if not isinstance(value, dict)}
                if weights:
                    group = opened.create_group(f"{path}/vars" if path else "vars")
                    group.attrs.update(self.object_metadata.get(path, {}))
                    for name, array in weights.items():
                        Sink(group)[name] = array


def _check_name(name: str) -> None:
    if not name or "/" in name or name in (".", "..", "vars") or "\0" in name:
        raise ArgumentError(f"{name!r} is no name of an object in a file.", mend="a word without '/'")


def _arrays(weights: Any) -> Held:
    if not isinstance(weights, Mapping):
        raise ArgumentError(f"weights are a dict, got {type(weights).__name__}.", mend='{"0": kernel, "1": bias}')
    return {name: np.asarray(value) for name, value in weights.items()}


def _objects_in(held: Held, path: str = "") -> Iterator[str]:
    for name, value in held.items():
        if isinstance(value, dict):
            inside = f"{path}/{name}" if path else name
            yield inside
            yield from _objects_in(value, inside)


def _shapes_in(held: Held, path: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, value in held.items():
        inside = f"{path}/{name}" if path else name
        if isinstance(value, dict):
            yield from _shapes_in(value, inside)
        else:
            yield inside, tuple(value.shape)


def _comparable(shapes: dict[str, tuple[int, ...]], optimizer: bool) -> dict[str, tuple[int, ...]]:
    def counts(path: str) -> bool:
        return "seed_generator" not in path.split("/") and (optimizer or not path.startswith("optimizer/"))

    return {path: shape for path, shape in shapes.items() if counts(path)}


def _shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's weights by the places that they have in files."""
    things = things_in(model, states=False)
    if model.optimizer is not None:
        things += walk(model.optimizer, "optimizer")
    held: Held = {}
    for path, thing in things:
        if not isinstance(thing, SeedGenerator):
            store: Held = {}
            thing.save_own_variables(store)
            held |= {f"{path}/{name}" if path else name: value for name, value in store.items()}
    return dict(_shapes_in(held))
