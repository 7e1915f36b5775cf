"""Faults for files, made at random: in bytes, in JSON, in HDF5 and in the order of an archive."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

STRINGS = (
    *(
        "os",
        "builtins",
        "keras.utils",
        "subprocess",
        "lamella.saving",
        "keras.src.ops.numpy",
        "../../evil",
        "/etc/passwd",
    ),
    *("https://evil/x", "file:///etc/passwd", "a/b", "a\0b", "\ud800", "", "x" * 10_000, "nan", "-1", "float128"),
    *("eval", "system", "get_file", "load_model", "Lambda", "__lambda__", "function", "__tensor__", "Functional"),
    *("Dense", "Sequential", "Input", "float16", "int8", "channels_first", "GetItem", "Map", "mixed_float16"),
)
NUMBERS = (0, -1, 1, 2, 0.5, -0.0, 1e-300, 1e300, 3, 7, 2**31, 2**63, 2**64, 10**12, 10**18, 10**40, 10**400, -(10**12))
VALUES = (
    *(None, True, False, [], {}, [[]], {"class_name": "Dense"}, [None], {"config": {}}, [0, 0, 0], ["x", 0, 0]),
    {"class_name": "__numpy__", "config": {"value": [1, 2], "dtype": "int64"}},
    {"class_name": "__numpy__", "config": {"value": [[1], [2, 3]], "dtype": "float32"}},
    {"class_name": "__slice__", "config": {"start": 0, "stop": 10**12, "step": None}},
    {"class_name": "function", "config": "system", "module": "os", "registered_name": None},
    {"class_name": "__lambda__", "config": {"value": ["4wEAAAAA", None, None]}},
)


def broken(data: bytes, rng: random.Random, donors: list[bytes]) -> bytes:
    """A file with one to a few faults in its bytes."""
    new = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place, length = rng.randrange(len(new)), rng.choice((1, 2, 4, 8, 64))
        way = rng.randrange(7)
        if way == 0:
            new = new[: max(1, place)]
        elif way in (1, 2):
            new[place] ^= 1 << rng.randrange(8)
        elif way == 3:
            new[place : place + length] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
        elif way == 4:
            new[place : place + length] = rng.randbytes(length)
        elif way == 5:
            other = rng.randrange(len(new))
            new[place : place + length] = new[other : other + length]
        else:
            donor = rng.choice(donors)
            start = rng.randrange(len(donor))
            new[place : place + 512] = donor[start : start + 512]
    return bytes(new)


# -- JSON -------------------------------------------------------------------------------------------------------


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a structure: the holder, and the key or number in it."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found


def _other(value: Any, rng: random.Random) -> Any:
    """Something else in the place of a value, most often of its own kind."""
    if rng.random() < 0.2:
        return rng.choice((*VALUES, *STRINGS, *NUMBERS))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice((*NUMBERS, value + 1, value * 2, -value, value * 10**6, float(value), str(value), [value]))
    if isinstance(value, str):
        return rng.choice((*STRINGS, value + "_1", value.upper(), value[:-1], value * 2, [value]))
    if isinstance(value, list):
        ways = (value[::-1], value[1:], value + value, value * 500, [value], tuple(value[:1]), [])
        return rng.choice(ways)
    return rng.choice(VALUES)


def in_json(data: bytes, rng: random.Random, donors: list[bytes]) -> bytes:
    """JSON with one to a few faults in what it says; its text is well formed but for a key that may stand twice."""
    value, donor = json.loads(data), json.loads(rng.choice(donors))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        known = places(value)
        if not known:
            break
        holder, key = rng.choice(known)
        way = rng.randrange(8)
        if way < 4:
            holder[key] = copy.deepcopy(_other(holder[key], rng))
        elif way == 4:
            del holder[key]
        elif way == 5:
            other, at = rng.choice(places(donor))
            holder[key] = copy.deepcopy(other[at])
        elif way == 6:
            other, at = rng.choice(known)
            holder[key] = copy.deepcopy(other[at])
        elif isinstance(holder, dict):
            holder[rng.choice((str(key) + "_", "name", "config", "extra", "class_name", "registered_name"))] = holder[
                key
            ]
    text = json.dumps(value)
    if rng.random() < 0.02:
        text = text.replace("{", '{"name": "x", ', 1)
    return text.encode()


# -- HDF5 -------------------------------------------------------------------------------------------------------


def in_hdf5(data: bytes, rng: random.Random) -> bytes:
    """A well formed file of arrays in which something is missing, moved, of another shape, or a link."""
    file = io.BytesIO(data)
    with h5py.File(file, "r+") as opened:
        names: list[str] = []
        opened.visititems(lambda path, x: names.append(path) if isinstance(x, h5py.Dataset) else None)
        one, other = rng.choice(names), rng.choice(names)
        array, donor = opened[one][()], opened[other][()]
        ways: list[Callable[[], Any]] = [
            lambda: None,
            lambda: opened.__setitem__(one, donor),
            lambda: opened.__setitem__(one, np.zeros((*array.shape, 2), array.dtype)),
            lambda: opened.__setitem__(one, array.astype(rng.choice(("float64", "int32", "complex64", "S4", "bool")))),
            lambda: opened.__setitem__(one, h5py.SoftLink(f"/{other}")),
            lambda: opened.__setitem__(one, h5py.ExternalLink("/etc/passwd", other)),
            lambda: opened.create_dataset(one, (1 << 40,), "float32", chunks=(1024,)),
            lambda: opened.create_dataset(one, data=np.resize(array, (64, 64)), compression="gzip"),
            lambda: opened.__setitem__(f"{one}_more/vars/0", array),
            lambda: opened.create_group(one),
            lambda: opened.__setitem__(one, np.full(array.shape, np.nan, "float32")),
        ]
        del opened[one]
        rng.choice(ways)()
    return file.getvalue()


# -- archives ---------------------------------------------------------------------------------------------------


def members(data: bytes) -> dict[str, bytes]:
    """The members of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: list[tuple[str, bytes]], packed: bool = False) -> bytes:
    """An archive with right checksums; names may stand twice."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, data in parts:
            with archive.open(zipfile.ZipInfo(name), "w") as member:
                member.write(data)
    return file.getvalue()


def in_archive(parts: dict[str, bytes], rng: random.Random, donor: dict[str, bytes]) -> bytes:
    """An archive in which a member is missing, twice, exchanged, has another name, or is that of another model."""
    new = list(parts.items())
    place = rng.randrange(len(new))
    name, data = new[place]
    way = rng.randrange(7)
    if way == 0:
        del new[place]
    elif way == 1:
        new[place] = (rng.choice((f"../{name}", f"/{name}", name.upper(), f"{name}\0", "assets/x", "x" * 300)), data)
    elif way == 2:
        new[place] = (name, donor[name])
    elif way == 3:
        new[place] = (name, rng.choice(new)[1])
    elif way == 4:
        new.append((rng.choice(STRINGS[:12]).replace("\0", "_") or "x", data))
    elif way == 5:
        new[place] = (name, data + rng.randbytes(8))
    else:
        rng.shuffle(new)
    return zipped(new, rng.random() < 0.3)
