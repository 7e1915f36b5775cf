"""Weights as safetensors: arrays under names as "layers/dense/kernel".

A name is the layer's place in the model, as in `.weights.h5`, and the weight's name; it depends on no counter. The
format, https://github.com/huggingface/safetensors, is read and written by its own package, which checks each size
against the file before it reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lamella.core.errors import FileFormatError
from lamella.core.extras import need
from lamella.saving.fitting import difference, report
from lamella.saving.hdf5 import Declared
from lamella.saving.plain import read_json
from lamella.saving.walk import named_weights

_TYPES: dict[str, np.dtype[Any]] = {
    **{f"F{bits}": np.dtype(f"float{bits}") for bits in (64, 32, 16)},
    "BF16": jnp.dtype("bfloat16"),
    **{f"I{bits}": np.dtype(f"int{bits}") for bits in (64, 32, 16, 8)},
    **{f"U{bits}": np.dtype(f"uint{bits}") for bits in (64, 32, 16, 8)},
    "BOOL": np.dtype("bool"),
}


def write_safetensors(model: Any, path: Path) -> None:
    """Write a built model's weights to a file."""
    package = need("safetensors.numpy", "safetensors")
    arrays = {name: np.asarray(variable.value, order="C") for name, variable in named_weights(model).items()}
    package.save_file(arrays, path, metadata={"format": "lamella"})


def read_safetensors(model: Any, path: str, *, skip_mismatch: bool = False) -> None:
    """Read what `write_safetensors` wrote into a built model; everything is compared before a weight is changed."""
    with opened(path) as file:
        found = declared_in(file)
        named = named_weights(model)
        faults = {name: "it is not in the file" for name in named if name not in found}
        both = {name: variable for name, variable in named.items() if name in found}
        compared = {name: difference(variable, found[name]) for name, variable in both.items()}
        faults |= {name: fault for name, fault in compared.items() if fault}
        if not skip_mismatch:
            faults |= {name: "there is no such weight" for name in found if name not in named}
        if faults:
            report(faults, skip_mismatch)
        for name, variable in both.items():
            if name not in faults:
                variable.assign(file.get_tensor(name))


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open a file of safetensors, whose header the package has looked through; FileFormatError if it is none."""
    package = need("safetensors", "safetensors")
    try:
        with package.safe_open(path, framework="np") as file:
            _check_names(path)
            yield file
    except package.SafetensorError as error:
        raise FileFormatError(f"Not a whole safetensors file: {str(error)[:200]}.") from error


def _check_names(path: str) -> None:
    """Refuse a header with a name twice: the package takes the last."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        read_json(file.read(length), "the header")


def declared_in(file: Any) -> dict[str, Declared]:
    """Return what arrays an open file has."""
    found = {}
    for name in file.keys():  # noqa: SIM118 - no dict: it has no other way to its names
        entry = file.get_slice(name)
        kind = entry.get_dtype()
        if kind not in _TYPES:
            raise FileFormatError(f"{name!r} in the file has the type {kind}, which no weight has.")
        found[name] = Declared(tuple(entry.get_shape()), _TYPES[kind])
    return found
