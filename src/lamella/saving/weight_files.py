"""`save_weights` and `load_weights`: weights to a file by its name, and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lamella.core.errors import ArgumentError, LamellaError, add_context
from lamella.saving.archive import Archive
from lamella.saving.durable import replacing, replacing_by_name
from lamella.saving.legacy import read_legacy_weights
from lamella.saving.safetensors import read_safetensors, write_safetensors
from lamella.saving.shards import LIST, reading_shards, write_shards
from lamella.saving.weights import read_source, read_weights, write_weights

_KERAS, _TENSORS, _MODEL, _LEGACY = ".weights.h5", ".safetensors", ".keras", (".h5", ".hdf5")


def save_weights(
    model: Any, filepath: str | os.PathLike[str], overwrite: bool = True, max_shard_size: float | None = None
) -> None:
    """Write a built model's weights to a file, in one step: ".weights.h5" as Keras does, or ".safetensors".

    The former has the optimizer's state, too, if the model is compiled. With `max_shard_size`, in GB, such files are as
    many as it takes, and `filepath` ends in ".weights.json", the list of them.

    >>> import tempfile
    >>> from lamella import Input, Sequential, layers
    >>> model, path = Sequential([Input((2,)), layers.Dense(3)]), tempfile.mkdtemp() + "/a.weights.h5"
    >>> save_weights(model, path)
    >>> load_weights(model, path)
    """
    name = os.fspath(filepath)
    _check_ending(name, max_shard_size)
    with _naming(name):
        if max_shard_size is not None:
            write_shards(model, Path(name), max_shard_size, overwrite)
        elif name.endswith(_KERAS):
            with replacing(name, overwrite) as file:
                write_weights(model, file, optimizer=True)
        else:
            with replacing_by_name(name, overwrite) as path:
                write_safetensors(model, path)


def _check_ending(name: str, most: float | None) -> None:
    endings = (_KERAS, _TENSORS) if most is None else (LIST,)
    if most is not None and not most > 0:
        raise ArgumentError(f"max_shard_size is a number of GB, got {most!r}.", mend="max_shard_size=5")
    if not name.endswith(endings):
        said = " or ".join(map(repr, endings))
        which = "Files of weights end" if most is None else "The list of weights in several files ends"
        mend = "; max_shard_size=5 for that" if most is None and name.endswith(LIST) else ""
        raise ArgumentError(f"{which} in {said}, got {name!r}.", mend=f'save_weights("model{endings[0]}"){mend}')


def load_weights(
    model: Any, filepath: str | os.PathLike[str], skip_mismatch: bool = False, by_name: bool = False
) -> None:
    """Read weights from a file that `save_weights`, `save` or Keras wrote, into a built model of the same layers.

    All is compared with the file before the first weight is changed; a file that is broken, or another model's, changes
    none. `skip_mismatch` leaves the layers that do not fit as they are, with a warning. Files of Keras 2 (".h5") go by
    the layers' order, or `by_name`.
    """
    name = os.fspath(filepath)
    legacy = name.endswith(_LEGACY) and not name.endswith(_KERAS)
    if by_name and not legacy:
        raise ArgumentError("by_name is for files of Keras 2, which end in '.h5'; in others layers have places.")
    if not legacy and not name.endswith((_KERAS, _TENSORS, _MODEL, LIST)):
        raise ArgumentError(
            f"Files of weights end in {_KERAS!r}, {LIST!r}, {_TENSORS!r}, {_MODEL!r} or {_LEGACY[0]!r}, got {name!r}."
        )
    with _naming(name), open(name, "rb") as file:
        if legacy:
            read_legacy_weights(model, file, by_name=by_name, skip_mismatch=skip_mismatch)
        elif name.endswith(_TENSORS):
            read_safetensors(model, name, skip_mismatch=skip_mismatch)
        elif name.endswith(LIST):
            with reading_shards(name) as source:
                read_source(model, source, skip_mismatch=skip_mismatch, optimizer=True)
        elif name.endswith(_MODEL):
            with Archive(file, name).weights() as weights:
                read_weights(model, weights, skip_mismatch=skip_mismatch, optimizer=True)
        else:
            read_weights(model, file, skip_mismatch=skip_mismatch, optimizer=True)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say which file an error is about."""
    try:
        yield
    except LamellaError as error:
        add_context(error, f"In the file {name!r}.")
        raise
