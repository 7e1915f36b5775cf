"""`save_weights` and `load_weights`: weights to a file by its name, and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from lamella.core.errors import ArgumentError, LamellaError, add_context
from lamella.saving.durable import replacing
from lamella.saving.legacy import read_legacy_weights
from lamella.saving.safetensors import read_safetensors, write_safetensors
from lamella.saving.weights import read_weights, write_weights

_KERAS, _TENSORS, _LEGACY = ".weights.h5", ".safetensors", (".h5", ".hdf5")


def save_weights(
    model: Any, filepath: str | os.PathLike[str], overwrite: bool = True, max_shard_size: float | None = None
) -> None:
    """Write a built model's weights to a file, in one step: ".weights.h5" as Keras does, or ".safetensors".

    The former has the optimizer's state, too, if the model is compiled.

    >>> import tempfile
    >>> from lamella import Input, Sequential, layers
    >>> model, path = Sequential([Input((2,)), layers.Dense(3)]), tempfile.mkdtemp() + "/a.weights.h5"
    >>> save_weights(model, path)
    >>> load_weights(model, path)
    """
    name = os.fspath(filepath)
    if max_shard_size is not None:
        raise ArgumentError("save_weights writes one file, of any size.", mend="max_shard_size=None")
    if not name.endswith((_KERAS, _TENSORS)):
        raise ArgumentError(
            f"Files of weights end in {_KERAS!r} or {_TENSORS!r}, got {name!r}.", mend=f'save_weights("model{_KERAS}")'
        )
    with _naming(name), replacing(name, overwrite) as file:
        if name.endswith(_KERAS):
            write_weights(model, file, optimizer=True)
        else:
            write_safetensors(model, file)


def load_weights(
    model: Any, filepath: str | os.PathLike[str], skip_mismatch: bool = False, by_name: bool = False
) -> None:
    """Read weights from a file that `save_weights` or Keras wrote, into a built model of the same layers.

    All is compared with the file before the first weight is changed; a file that is broken, or another model's, changes
    none. `skip_mismatch` leaves the layers that do not fit as they are, with a warning. Files of Keras 2 (".h5") go by
    the layers' order, or `by_name`.
    """
    name = os.fspath(filepath)
    legacy = name.endswith(_LEGACY) and not name.endswith(_KERAS)
    if by_name and not legacy:
        raise ArgumentError("by_name is for files of Keras 2, which end in '.h5'; in others layers have places.")
    if not legacy and not name.endswith((_KERAS, _TENSORS)):
        raise ArgumentError(
            f"Files of weights end in {_KERAS!r}, {_TENSORS!r} or {_LEGACY[0]!r}, got {name!r}.",
            mend="load_model, for a .keras file",
        )
    with _naming(name), open(name, "rb") as file:
        _read(model, file, name, skip_mismatch, by_name)


def _read(model: Any, file: BinaryIO, name: str, skip: bool, by_name: bool) -> None:
    if name.endswith(_KERAS):
        read_weights(model, file, skip_mismatch=skip, optimizer=True)
    elif name.endswith(_TENSORS):
        read_safetensors(model, file, skip_mismatch=skip)
    else:
        read_legacy_weights(model, file, by_name=by_name, skip_mismatch=skip)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say which file an error is about."""
    try:
        yield
    except LamellaError as error:
        add_context(error, f"In the file {name!r}.")
        raise
