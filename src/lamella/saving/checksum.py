"""CRC-32 of a part of a file, the large ones by several threads: every member of a zip archive has one."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import BinaryIO

_BLOCK = 1 << 22
# The checksum's polynomial, and the polynomials 1 and x, bit by bit from the constant term, which is the highest bit.
_POLYNOMIAL, _ONE, _X = 0xEDB88320, 1 << 31, 1 << 30


def checksum(file: BinaryIO, start: int, size: int) -> int:
    """Return the CRC-32 of so many bytes of a file, from a place on.

    >>> import io
    >>> checksum(io.BytesIO(b"a long text"), 2, 4) == zlib.crc32(b"long")
    True
    """
    places = range(start, start + size, _BLOCK)
    sizes = [min(_BLOCK, start + size - place) for place in places]
    total = 0
    for part, length in zip(_parts(file, places, sizes), sizes, strict=True):
        total = joined(total, part, length)
    return total


def _parts(file: BinaryIO, places: range, sizes: list[int]) -> Iterator[int]:
    """Yield the checksum of each block; with a file of the system, threads read and count at the same time."""
    if not has_descriptor(file) or not hasattr(os, "pread") or len(places) < 2:
        for place, size in zip(places, sizes, strict=True):
            file.seek(place)
            yield zlib.crc32(file.read(size))
        return
    descriptor = file.fileno()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        yield from pool.map(lambda place, size: zlib.crc32(os.pread(descriptor, size, place)), places, sizes)


def has_descriptor(file: BinaryIO) -> bool:
    """Tell whether a file is one of the system's."""
    try:
        return file.fileno() >= 0
    except OSError:
        return False


def joined(first: int, second: int, length: int) -> int:
    """Return the CRC-32 of two pieces of data from those of each; the second has so many bytes.

    A checksum is a remainder of polynomials over two elements: bytes that follow multiply it by a power of x.

    >>> joined(zlib.crc32(b"two "), zlib.crc32(b"pieces"), 6) == zlib.crc32(b"two pieces")
    True
    """
    return _product(_power(8 * length), first) ^ second


@cache
def _power(exponent: int) -> int:
    """Return a power of x, reduced by the checksum's polynomial."""
    if exponent < 2:
        return _X if exponent else _ONE
    half = _power(exponent // 2)
    return _product(_product(half, half), _power(exponent % 2))


def _product(one: int, other: int) -> int:
    total = 0
    for place in reversed(range(32)):
        if one >> place & 1:
            total ^= other
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return total
