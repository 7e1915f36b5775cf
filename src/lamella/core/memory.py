"""How much memory there is, asked before it is taken."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp

from lamella.core.errors import ArgumentError, WeightTooLargeError

_WORTH_ASKING = 1 << 28
# The bytes that weights may still take, in a list of one.
_room: ContextVar[list[int] | None] = ContextVar("lamella_room", default=None)


@cache
def capacity() -> int:
    """Return the bytes of memory where arrays live: the accelerator's if there is one, else the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 62


def available() -> int:
    """Return the bytes that are free now where arrays live."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        if found:
            return int(found.group(1)) * 1024
    return capacity()


_UNITS = {"": 1, "b": 1, **{unit: 1000**i for i, unit in enumerate(("kb", "mb", "gb", "tb"), 1)}}
_UNITS |= {unit: 1024**i for i, unit in enumerate(("kib", "mib", "gib", "tib"), 1)}


def as_bytes(size: int | str) -> int:
    """Return a number of bytes that a person gave as one or in words.

    >>> as_bytes("8GB"), as_bytes("1.5 MiB")
    (8000000000, 1572864)
    """
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", size.lower()) if isinstance(size, str) else None
    if found is None or found.group(2) not in _UNITS or float(found.group(1)) <= 0:
        raise ArgumentError(
            f"memory_limit is a number of bytes, 'auto' or a string such as '8GB', got {size!r}.",
            mend="memory_limit='8GB'",
        )
    return int(float(found.group(1)) * _UNITS[found.group(2)])


def in_words(size: float) -> str:
    """Return a number of bytes as a person reads it.

    >>> in_words(52_428_800_000), in_words(1500)
    ('52.4 GB', '1.5 kB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{int(size)} B"


def check_fits(name: str, shape: tuple[int, ...], dtype: str) -> None:
    """Refuse, with the arithmetic, a weight that is larger than all the memory there is."""
    itemsize = jnp.dtype(dtype).itemsize
    needed = math.prod(shape) * itemsize
    if needed < _WORTH_ASKING or needed <= capacity():
        return
    product = " x ".join(f"{dim:,}" for dim in shape)
    error = WeightTooLargeError(
        f"The weight {name!r} does not fit: {product} elements x {itemsize} bytes = {needed / 1e9:,.1f} GB; "
        f"there are {capacity() / 1e9:,.1f} GB of memory. Nothing was allocated."
    )
    error.shape = shape
    raise error


@contextmanager
def within(most: int) -> Iterator[None]:
    """Refuse the weight with which those made inside take more than so many bytes, before it takes any.

    >>> with within(400):
    ...     declare("kernel", (10, 10), "float32")
    """
    token = _room.set([most])
    try:
        yield
    finally:
        _room.reset(token)


def declare(name: str, shape: tuple[int, ...], dtype: str) -> None:
    """Count a weight that is about to be made, where it is said how much all may take."""
    room = _room.get()
    if room is None:
        return
    needed = math.prod(shape) * jnp.dtype(dtype).itemsize
    room[0] -= needed
    if room[0] < 0:
        error = WeightTooLargeError(
            f"The weight {name!r} {shape} would take {in_words(needed)}. Nothing was allocated."
        )
        error.shape = shape
        raise error
