"""HDF5 files of weights, read as data: plain arrays at paths that the model knows, nothing that leads elsewhere.

The library that takes HDF5 files apart is large, and a file can ask it for much: other files (external storage,
external and virtual links), code (filters that are loaded by number), memory (shapes without data). So a dataset is
read only where every one of these holds, and they are checked before anything is allocated: hard links all the way, one
piece of data that lies in the file, no filter, a type of the short table below, and a size that is the data's.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import h5py
import jax.numpy as jnp
import numpy as np

from lamella.core.errors import FileFormatError, LamellaError
from lamella.core.memory import in_words
from lamella.saving.hdf5_text import Texts

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_MEMBERS = 100_000
DEEPEST = 64
_NAMES = (
    *("float32", "float16", "float64", "bool", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)
_BFLOAT16: np.dtype[Any] = jnp.dtype("bfloat16")
_TYPES = [(h5py.h5t.py_create(np.dtype(name), logical=True), np.dtype(name)) for name in _NAMES]
# What h5py raises for a file that is broken, in any of its parts.
_BROKEN = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
    OverflowError,
    SystemError,
    AttributeError,
    struct.error,
)


class Declared(NamedTuple):
    """What the file says of an array, checked against the file but not read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@contextmanager
def saying(place: str) -> Iterator[None]:
    """Turn what h5py raises for a broken file into an error that says where."""
    try:
        yield
    except LamellaError:
        raise
    except _BROKEN as error:
        # The library's text may hold bytes of the file.
        said = str(error).encode("ascii", "backslashreplace").decode()[:200]
        raise FileFormatError(f"The file is broken at {place!r}: {said}") from error


@contextmanager
def reading(file: BinaryIO) -> Iterator[Source]:
    """Open a seekable binary file of weights; FileFormatError if it is none.

    >>> with reading(io.BytesIO(b"PK and more")) as source: ...
    Traceback (most recent call last):
    ...
    lamella.core.errors.FileFormatError: Not an HDF5 file: a zip archive.
      Try: load_model, which reads .keras files
    """
    file.seek(0)
    start = file.read(len(SIGNATURE))
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if start != SIGNATURE:
        raise _not_hdf5(start)
    with saying("/"):
        opened = h5py.File(file, "r")
    try:
        yield Source(opened, file, size)
    finally:
        with saying("/"):
            opened.close()


def _not_hdf5(start: bytes) -> FileFormatError:
    if not start:
        return FileFormatError("Not an HDF5 file: it is empty.")
    if start.startswith(b"PK"):
        return FileFormatError("Not an HDF5 file: a zip archive.", mend="load_model, which reads .keras files")
    return FileFormatError(f"Not an HDF5 file: it begins with {start!r}.")


class Source:
    """An open file, by paths as "layers/dense/vars/0"."""

    def __init__(self, opened: Any, file: BinaryIO, size: int) -> None:
        self._root, self._size = opened, size
        self._texts = Texts(file, size)

    def has(self, path: str) -> bool:
        """Tell whether there is something at a path."""
        return self._find(path) is not None

    def members(self, path: str) -> list[str]:
        """Return the names in a group, in the order of their numbers where they are numbers; [] without a group."""
        with saying(path):
            group = self._find(path)
            if group is None:
                return []
            self._must_be(group, h5py.Group, path)
            if len(group) > MOST_MEMBERS:
                raise FileFormatError(f"{path!r} in the file has {len(group):,} members, at most {MOST_MEMBERS:,}.")
            return self.in_order(group)

    @staticmethod
    def in_order(names: Iterable[str]) -> list[str]:
        """Return names in the order of their numbers where they are numbers."""
        return sorted(names, key=lambda name: (int(name) if name.isdecimal() else -1, name))

    def arrays(self) -> Iterator[tuple[str, Declared | FileFormatError]]:
        """Yield the place of each array with its shape and type, or why it would not be read; no array is read."""
        waiting, seen = [""], 0
        while waiting:
            path = waiting.pop()
            try:
                found = self._find(path)
                names = self.members(path) if isinstance(found, h5py.Group) else None
                declared = self._checked(found, path) if names is None else None
            except FileFormatError as error:
                yield path, error
                continue
            if declared is not None:
                yield path, declared
            seen += len(names or ())
            if seen > MOST_MEMBERS or path.count("/") > DEEPEST:
                yield (
                    path,
                    FileFormatError(f"The file has over {MOST_MEMBERS:,} parts, or nests them over {DEEPEST} deep."),
                )
                return
            waiting += [f"{path}/{name}" if path else name for name in reversed(names or ())]

    def strings(self, path: str, name: str) -> list[str] | None:
        """Return the text, or list of texts, that is written about a group under a name; None without one."""
        with saying(f"{path}@{name}"):
            group = self._find(path)
            return None if group is None else self._texts.find(h5py.h5o.get_info(group.id).addr, name)

    def declared(self, path: str) -> Declared | None:
        """Return shape and type of an array after every check; None where there is nothing."""
        with saying(path):
            dataset = self._find(path)
            return None if dataset is None else self._checked(dataset, path)

    def read(self, path: str) -> np.ndarray[Any, Any]:
        """Return an array."""
        with saying(path):
            dataset = self._find(path)
            if dataset is None:
                raise FileFormatError(f"The file has nothing at {path!r}.")
            shape, dtype = self._checked(dataset, path)
            array = np.empty(shape, dtype)
            if array.size:
                # What is opaque to HDF5 is opaque to NumPy, too.
                raw = array.view("V2") if dtype == _BFLOAT16 else array
                dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, raw)
            return array

    def _find(self, path: str) -> Any:
        """Return the group or dataset at a path, reached by hard links; None if there is none."""
        found, walked = self._root, ""
        with saying(path):
            for name in path.split("/") if path else ():
                walked = f"{walked}/{name}" if walked else name
                if not isinstance(found, h5py.Group) or name not in found:
                    return None
                kind = found.id.links.get_info(name.encode()).type
                if kind != h5py.h5l.TYPE_HARD:
                    raise FileFormatError(f"{walked!r} in the file is a link to another place, which is not followed.")
                found = found[name]
        return found

    def _must_be(self, found: Any, kind: type, path: str) -> None:
        if not isinstance(found, kind):
            raise FileFormatError(
                f"{path!r} in the file should be a {kind.__name__.lower()}; it is a {type(found).__name__.lower()}."
            )

    def _checked(self, dataset: Any, path: str) -> Declared:
        self._must_be(dataset, h5py.Dataset, path)
        plan = dataset.id.get_create_plist()
        layout = plan.get_layout()
        if plan.get_external_count():
            raise FileFormatError(f"{path!r} in the file keeps its data in another file, which is not opened.")
        if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) or plan.get_nfilters():
            raise FileFormatError(
                f"{path!r} in the file is virtual, compressed or in pieces; weights are plain arrays.",
                mend="h5repack -l CONTI -f NONE old.h5 new.h5",
            )
        dtype, space = _known_type(dataset.id.get_type(), path), dataset.id.get_space()
        if space.get_simple_extent_type() == h5py.h5s.NULL:
            raise FileFormatError(f"{path!r} in the file has no shape.")
        shape = tuple(int(size) for size in space.get_simple_extent_dims())
        needed, stored = math.prod(shape) * dtype.itemsize, dataset.id.get_storage_size()
        offset = dataset.id.get_offset() if layout == h5py.h5d.CONTIGUOUS and needed else 0
        if stored != needed or offset is None or offset + needed > self._size:
            raise FileFormatError(
                f"{path!r} in the file claims the shape {shape}, {in_words(needed)}; the file has {in_words(stored)} "
                f"there and {in_words(self._size)} in all. Nothing was allocated."
            )
        return Declared(shape, dtype)


def _known_type(stored: Any, path: str) -> np.dtype[Any]:
    for known, dtype in _TYPES:
        if stored.equal(known):
            return dtype
    if stored.get_class() == h5py.h5t.OPAQUE and stored.get_size() == 2:
        # HDF5 has no bfloat16; these are its bytes.
        return _BFLOAT16
    raise FileFormatError(f"{path!r} in the file has a type that no weight has.")


class Store(Mapping[str, Any]):
    """The arrays of one layer in a file, as `load_own_variables` takes them: `store["0"]`."""

    def __init__(self, source: Source, path: str) -> None:
        self.source, self.path = source, path
        self._names = source.members(path)

    def declared(self, key: str) -> Declared | None:
        """Return shape and type of an array without reading it; None where there is nothing."""
        return self.source.declared(f"{self.path}/{_plain(key)}")

    def __getitem__(self, key: str) -> np.ndarray[Any, Any]:
        if key not in self._names:
            raise KeyError(key)
        return self.source.read(f"{self.path}/{_plain(key)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Sink:
    """The place for the arrays of one layer in a new file, as `save_own_variables` takes it: `store["0"] = array`."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def __setitem__(self, key: str, value: Any) -> None:
        array = as_array(value)
        if array.dtype == _BFLOAT16:
            self._group.create_dataset(_plain(key), data=array.view("V2")).attrs["dtype"] = "bfloat16"
        elif array.dtype.name in _NAMES:
            self._group.create_dataset(_plain(key), data=array)
        else:
            raise FileFormatError(f"{key!r}: files of weights hold no {array.dtype}.", mend="an array of numbers")


def as_array(value: Any) -> np.ndarray[Any, Any]:
    """Return the array of a variable, or of anything that is one."""
    return np.asarray(getattr(value, "value", value))


def _plain(key: str) -> str:
    if not key or "/" in key or key in (".", "..") or "\0" in key:
        raise FileFormatError(f"{key!r} is no name for an array in a file.", mend="a word without '/'")
    return key
