"""The texts that are written about a group in an HDF5 file, taken from the file's own bytes.

HDF5's library does not come back from some files in which the lists of texts are broken, so it does not see them. What
is read here is the older form of the format, which h5py writes unless asked for another: version 1 of object headers,
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html. Every step reads bytes that are there, and goes on.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
_MOST_BLOCKS = 1000
_MOST_TEXTS = 100_000
_FIXED, _VARIABLE = 3, 9
# How often the file's own size may be read, beside what is little: many places may name one long text.
_REPEATED, _SMALL = 16, 1 << 26


class _Attribute(NamedTuple):
    kind: int
    width: int
    number: int
    data: bytes


class Texts:
    """A file, by the addresses of its object headers; ValueError or struct.error where it is broken."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._budget = _REPEATED * size + _SMALL
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}

    def find(self, address: int, name: str) -> list[str] | None:
        """Return the text, or the list of texts, under a name in the header at an address; None without one."""
        for message in self._attributes(address):
            if _name(message) == name.encode():
                found = _attribute(message)
                return [text.rstrip(b"\0").decode() for text in self._texts(found)]
        return None

    def _bytes(self, start: int, length: int) -> bytes:
        if start < 0 or length < 0 or start + length > self._size:
            raise ValueError(f"{length} bytes at {start} lie beyond the file's end")
        self._budget -= length
        if self._budget < 0:
            raise ValueError("more text than fits into the file")
        self._file.seek(start)
        return self._file.read(length)

    def _attributes(self, address: int) -> Iterator[bytes]:
        version, _, _, _, length = struct.unpack("<BBHII", self._bytes(address, 12))
        if version != 1:
            raise ValueError(f"the header at {address} has version {version}; version 1 is read")
        blocks = [(address + 16, length)]
        # A block may name others, itself too.
        for start, size in blocks:
            data, place = self._bytes(start, size), 0
            while place + 8 <= size:
                kind, length = struct.unpack_from("<HH", data, place)
                body = data[place + 8 : place + 8 + length]
                if kind == _CONTINUATION and len(blocks) < _MOST_BLOCKS:
                    blocks.append(struct.unpack_from("<QQ", body))
                elif kind == _ATTRIBUTE:
                    yield body
                place += 8 + length

    def _texts(self, attribute: _Attribute) -> list[bytes]:
        kind, width, count, data = attribute
        if not count:
            return []
        if count > _MOST_TEXTS or count * width > len(data) or kind not in (_FIXED, _VARIABLE):
            raise ValueError("no list of texts")
        items = [data[place * width : (place + 1) * width] for place in range(count)]
        return items if kind == _FIXED else [self._variable(*struct.unpack("<IQI", item)) for item in items]

    def _variable(self, length: int, address: int, index: int) -> bytes:
        if not length:
            return b""
        start, stored = self._heap(address)[index]
        return self._bytes(start, min(length, stored))

    def _heap(self, address: int) -> dict[int, tuple[int, int]]:
        """Return where the texts in the heap at an address begin, and their lengths, by number."""
        if address not in self._heaps:
            signature, size = struct.unpack("<8sQ", self._bytes(address, 16))
            if signature != b"GCOL\1\0\0\0":
                raise ValueError(f"no texts at {address}")
            data, place, found = self._bytes(address, size), 16, {}
            while place + 16 <= size:
                index, _, length = struct.unpack_from("<HHxxxxQ", data, place)
                if not index:
                    break
                found[index] = (address + place + 16, length)
                place += 16 + -(-length // 8) * 8
            self._heaps[address] = found
        return self._heaps[address]


def _parts(message: bytes) -> tuple[int, int, int, int, int]:
    """Return where an attribute's name begins, the lengths of name, type and shape, and what they are rounded to."""
    version, _, *lengths = struct.unpack_from("<BBHHH", message)
    if version not in (1, 3):
        raise ValueError(f"an attribute of version {version}")
    return (8, *lengths, 8) if version == 1 else (9, *lengths, 1)


def _name(message: bytes) -> bytes:
    start, length, *_ = _parts(message)
    return message[start : start + length].rstrip(b"\0")


def _attribute(message: bytes) -> _Attribute:
    place, *lengths, unit = _parts(message)
    parts: list[Any] = []
    for length in lengths:
        parts.append(message[place : place + length])
        place += -(-length // unit) * unit
    _, kind, shape = parts
    packed, width = struct.unpack_from("<B3xI", kind)
    version, rank, _ = struct.unpack_from("<BBB", shape)
    dims = struct.unpack_from(f"<{rank}Q", shape, 8 if version == 1 else 4)
    return _Attribute(packed & 0x0F, width, math.prod(dims), message[place:])
