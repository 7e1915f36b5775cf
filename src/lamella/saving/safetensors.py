"""Weights as safetensors: a JSON header, then the arrays, under names as "layers/dense/kernel".

The format is that of https://github.com/huggingface/safetensors: eight bytes with the header's length, the header, the
bytes. A name is the layer's place in the model, as in `.weights.h5`, and the weight's name; it depends on no counter.
"""

from __future__ import annotations

import io
import json
import math
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from lamella.core.errors import FileFormatError
from lamella.core.variable import Variable
from lamella.saving.fitting import difference, report
from lamella.saving.hdf5 import Declared
from lamella.saving.walk import things_in

_TYPES: dict[str, np.dtype[Any]] = {
    **{f"F{bits}": np.dtype(f"float{bits}") for bits in (64, 32, 16)},
    "BF16": jnp.dtype("bfloat16"),
    **{f"I{bits}": np.dtype(f"int{bits}") for bits in (64, 32, 16, 8)},
    **{f"U{bits}": np.dtype(f"uint{bits}") for bits in (64, 32, 16, 8)},
    "BOOL": np.dtype("bool"),
}
_CODES = {dtype: code for code, dtype in _TYPES.items()}
# The format's own limit.
_LONGEST_HEADER = 100_000_000
_LENGTH = 8


def named_weights(model: Any) -> dict[str, Variable]:
    """Return a built model's weights by names that are the same in every process.

    >>> from lamella import Input, Sequential, layers
    >>> list(named_weights(Sequential([Input((2,)), layers.Dense(3), layers.Dense(1, use_bias=False)])))
    ['layers/dense/kernel', 'layers/dense/bias', 'layers/dense_1/kernel']
    """
    named: dict[str, Variable] = {}
    taken: set[int] = set()
    for path, thing in things_in(model, states=False):
        for variable in (v for v in thing._own_variables() if id(v) not in taken):
            taken.add(id(variable))
            name = base = f"{path}/{variable.name}" if path else variable.name
            count = 0
            while name in named:
                count += 1
                name = f"{base}_{count}"
            named[name] = variable
    return named


def write_safetensors(model: Any, file: BinaryIO) -> None:
    """Write a built model's weights to a binary file that is open for writing."""
    named = named_weights(model)
    # Wide types first: every array begins at a multiple of its width.
    order = sorted(named, key=lambda name: (-jnp.dtype(named[name].dtype).itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "lamella"}}
    end = 0
    for name in order:
        variable = named[name]
        start, end = end, end + variable.nbytes
        code = _CODES[jnp.dtype(variable.dtype)]
        header[name] = {"dtype": code, "shape": list(variable.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    file.write(len(text).to_bytes(_LENGTH, "little") + text)
    for name in order:
        file.write(_bytes_of(np.ascontiguousarray(named[name].value)))


def read_safetensors(model: Any, file: Any, *, skip_mismatch: bool = False) -> None:
    """Read what `write_safetensors` wrote into a built model; everything is compared before a weight is changed."""
    found, start = read_header(file)
    named = named_weights(model)
    faults = {name: "it is not in the file" for name in named if name not in found}
    both = {name: variable for name, variable in named.items() if name in found}
    compared = {name: difference(variable, found[name][0]) for name, variable in both.items()}
    faults |= {name: fault for name, fault in compared.items() if fault}
    if not skip_mismatch:
        faults |= {name: "there is no such weight" for name in found if name not in named}
    if faults:
        report(faults, skip_mismatch)
    for name, variable in both.items():
        if name not in faults:
            declared, offset = found[name]
            array = np.empty(declared.shape, declared.dtype)
            file.seek(start + offset)
            if file.readinto(_bytes_of(array)) != array.nbytes:
                raise FileFormatError(f"The file ends inside {name!r}.")
            variable.assign(array)


def read_header(file: Any) -> tuple[dict[str, tuple[Declared, int]], int]:
    """Return what arrays a file has and where they begin, checked against its size; and where the first begins."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH), "little")
    if not 2 <= length <= min(_LONGEST_HEADER, size - _LENGTH):
        raise FileFormatError(f"Not a safetensors file: of {size} bytes, {length} would be the header.")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_once)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        found = {name: _declared(name, entry) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"The header of the safetensors file is broken: {str(error)[:200]!r}.") from error
    end = 0
    for name, (declared, offset) in sorted(found.items(), key=lambda item: item[1][1]):
        if offset != end:
            raise FileFormatError(f"{name!r} in the file begins at {offset}; the array before it ends at {end}.")
        end += math.prod(declared.shape) * declared.dtype.itemsize
    if end != size - _LENGTH - length:
        raise FileFormatError(f"The arrays in the file take {end} bytes; there are {size - _LENGTH - length}.")
    return found, _LENGTH + length


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    return array.reshape(-1).view("uint8").data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _declared(name: str, entry: Any) -> tuple[Declared, int]:
    dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    numbers = [*shape, start, end]
    if dtype not in _TYPES or not all(type(number) is int and number >= 0 for number in numbers):
        raise FileFormatError(f"{name!r} in the file is {dtype!r} of the shape {shape!r}: no array of numbers.")
    declared = Declared(tuple(shape), _TYPES[dtype])
    if end - start != math.prod(shape) * declared.dtype.itemsize:
        raise FileFormatError(f"{name!r} in the file claims the shape {declared.shape} and {end - start} bytes.")
    return declared, start
