"""Weights in several files, for models that are too large for one: `model.weights.json` and the files that it lists.

The layout is Keras's. A save writes its files under names that no earlier save has, then the list, in one step, and
then removes the files of the list before. Whoever opens the list meets all of the old files or all of the new ones.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lamella.core.errors import ArgumentError, FileFormatError, FileTakenError
from lamella.core.memory import in_words
from lamella.saving.durable import replacing
from lamella.saving.hdf5 import Declared, Sink, Source, as_array, reading
from lamella.saving.plain import read_json, write_json
from lamella.saving.weights import fill

LIST = ".weights.json"
_ENDING = ".weights.h5"
_LONGEST_LIST = 1 << 26
_MOST_FILES = 1_000
_GIGABYTE = 1 << 30


def write_shards(model: Any, path: Path, most: float, overwrite: bool = True) -> None:
    """Write a built model's weights, and its optimizer's state, to files of at most so many GB, and their list."""
    path = Path(os.path.realpath(path))
    if not overwrite and path.exists():
        raise FileTakenError(f"{os.fspath(path)!r} exists already.", mend="overwrite=True, or another name")
    base = path.name.removesuffix(LIST)
    old, first = _names_before(path, base), path.with_name(f"{base}_00000{_ENDING}")
    shards = _Shards(path.parent, base, most * _GIGABYTE)
    try:
        with shards:
            fill(model, shards.sink, optimizer=True)
        # Keras opens a file of this name, whatever the list says.
        if not first.exists():
            _write_empty(first)
        listed = {place: names if len(names) > 1 else names[0] for place, names in shards.places.items()}
        with replacing(path) as file:
            file.write(write_json({"metadata": {"total_size": shards.written}, "weight_map": listed}))
    except BaseException:
        _remove(path.parent, shards.names)
        raise
    _remove(path.parent, old - {first.name})
    if first.name in old:
        _write_empty(first)


@contextmanager
def reading_shards(path: str) -> Iterator[Source]:
    """Open the files that a list names, as one; FileFormatError if it names any that is not beside it, and its own."""
    folder, base = Path(path).parent, Path(path).name.removesuffix(LIST)
    with ExitStack() as stack:
        yield _Several([stack.enter_context(_shard(folder / name)) for name in sorted(_listed(Path(path), base))])


@contextmanager
def _shard(path: Path) -> Iterator[Source]:
    if not path.is_file():
        raise FileFormatError(f"The list names {path.name!r}, which is not beside it.")
    with path.open("rb") as file, reading(file) as source:
        yield source


def _listed(path: Path, base: str) -> set[str]:
    """Return the names in a list; each begins as the list's own and has no place to lead to."""
    if path.stat().st_size > _LONGEST_LIST:
        raise FileFormatError(
            f"The list has {in_words(path.stat().st_size)}; at most {in_words(_LONGEST_LIST)} are read."
        )
    places = read_json(path.read_bytes(), path.name)
    places = places.get("weight_map") if isinstance(places, dict) else None
    if not isinstance(places, dict):
        raise FileFormatError("The list has no 'weight_map' that says which file has which weights.")
    names = [name for entry in places.values() for name in (entry if isinstance(entry, list) else [entry])]
    own = re.compile(rf"{re.escape(base)}_(?:[0-9a-f]{{8}}_)?[0-9]{{5}}{re.escape(_ENDING)}")
    for name in names:
        if not isinstance(name, str) or not own.fullmatch(name):
            raise FileFormatError(f"The list names {str(name)[:80]!r}; its files are called '{base}_00000{_ENDING}'.")
    if len(set(names)) > _MOST_FILES:
        raise FileFormatError(f"The list names {len(set(names)):,} files; at most {_MOST_FILES:,} are read.")
    return set(names)


def _names_before(path: Path, base: str) -> set[str]:
    with suppress(FileFormatError, FileNotFoundError):
        return _listed(path, base)
    return set()


def _remove(folder: Path, names: Any) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _write_empty(path: Path) -> None:
    with replacing(path) as file, h5py.File(file, "w"):
        pass


class _Shards(ExitStack):
    """The files of one save, each begun when the one before is full."""

    def __init__(self, folder: Path, base: str, most: float) -> None:
        super().__init__()
        self.places: dict[str, list[str]] = {}
        self.names: list[str] = []
        self.written = 0
        self._folder, self._most = folder, most
        self._prefix = f"{base}_{secrets.token_hex(4)}"
        self._opened: Any = None
        self._held = 0.0

    def sink(self, path: str, name: str) -> _Sink:
        """Return the place for the arrays of one layer."""
        return _Sink(self, path, name)

    def room(self, path: str, size: int) -> Any:
        """Return the group at a path in the file that has room for so many bytes more."""
        if size > self._most:
            raise ArgumentError(
                f"A weight of {path!r} has {in_words(size)}, a file {in_words(int(self._most))} at most.",
                mend=f"max_shard_size={size / _GIGABYTE:.2g}, which is in GB",
            )
        if self._opened is None or self._held + size > self._most:
            self._begin()
        self._held += size
        self.written += size
        listed = self.places.setdefault(f"/{path}", [])
        if self.names[-1] not in listed:
            listed.append(self.names[-1])
        return self._opened.require_group(path)

    def _begin(self) -> None:
        self.close()
        self.names.append(f"{self._prefix}_{len(self.names):05}{_ENDING}")
        file = self.enter_context(replacing(self._folder / self.names[-1]))
        self._opened, self._held = self.enter_context(h5py.File(file, "w")), 0.0


class _Sink(Sink):
    def __init__(self, shards: _Shards, path: str, name: str) -> None:
        self._shards, self._path, self._name = shards, path, name

    def __setitem__(self, key: str, value: Any) -> None:
        array = as_array(value)
        group = self._shards.room(self._path, array.nbytes)
        group.attrs["name"] = self._name
        Sink(group)[key] = array


class _Several(Source):
    """Several open files as one: a group has the members that it has in each, an array stands in one of them."""

    def __init__(self, sources: list[Source]) -> None:
        self._sources = sources

    def has(self, path: str) -> bool:
        return any(source.has(path) for source in self._sources)

    def members(self, path: str) -> list[str]:
        return self.in_order({name for source in self._sources for name in source.members(path)})

    def arrays(self) -> Iterator[tuple[str, Declared | FileFormatError]]:
        for source in self._sources:
            yield from source.arrays()

    def strings(self, path: str, name: str) -> list[str] | None:
        return None

    def declared(self, path: str) -> Declared | None:
        source = self._source_of(path)
        return None if source is None else source.declared(path)

    def read(self, path: str) -> np.ndarray[Any, Any]:
        source = self._source_of(path)
        if source is None:
            raise FileFormatError(f"None of the files has anything at {path!r}.")
        return source.read(path)

    def _source_of(self, path: str) -> Source | None:
        found = [source for source in self._sources if source.has(path)]
        if len(found) > 1:
            raise FileFormatError(f"{path!r} stands in {len(found)} of the files.")
        return found[0] if found else None
