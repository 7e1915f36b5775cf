"""Several programs in one file, and files of programs read with care."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from lamella.core.errors import ArgumentError, FileFormatError, did_you_mean
from lamella.core.settings import say
from lamella.saving.durable import replacing
from lamella.saving.endpoint import Endpoint, arguments_of, endpoint_of, endpoint_of_model
from lamella.saving.stablehlo import is_whole, stablehlo
from lamella.training.trainer import Trainer

_ENDING = ".stablehlo"
# What a program may call outside of itself: linear algebra, random bits, and what XLA replaces by code of its own.
_KNOWN = re.compile(
    r"lapack_\w+_ffi|(cusolver|hipsolver|cusparse)_\w+_ffi|(cu|hip)_(lu_pivots_to_permutation|threefry2x32_ffi)"
    r"|Eigh|Qr|ProductOfElementaryHouseholderReflectors|LuDecomposition|ApproxTopK|AllocateBuffer|shape_assertion"
    r"|stablehlo\.dynamic_(approx_top_k|reduce_window|rng_bit_generator|top_k)"
)
_CALLS = re.compile(r'custom_call(?: @("[^"]*"|[\w.$-]+)\()?')
_HOST = re.compile(r"\b(?:stablehlo|mhlo|vhlo)\.(infeed|outfeed|send|recv)\b")


class ExportArchive:
    """Several programs for any batch in one file, a zip archive with an entry for each.

    >>> import tempfile
    >>> import numpy as np
    >>> from lamella import Input, InputSpec, Sequential, layers
    >>> encoder, head = layers.Dense(3), layers.Dense(1)
    >>> archive = ExportArchive()
    >>> archive.track_and_add_endpoint("serve", Sequential([Input((4,)), encoder, head]))
    >>> archive.add_endpoint("encode", encoder, [InputSpec(shape=(None, 4))])
    >>> path = tempfile.mkdtemp() + "/model.zip"
    >>> archive.write_out(path, verbose=False)
    >>> load_program(path, "encode").call(np.ones((2, 4), "float32")).shape
    (2, 3)
    """

    def __init__(self, format: str = "stablehlo") -> None:
        if format != "stablehlo":
            raise ArgumentError(f"An archive holds programs in 'stablehlo', not {format!r}.", mend="model.export(...)")
        self._endpoints: dict[str, Endpoint] = {}

    def track(self, resource: Any) -> None:
        """Accept a model or layer, as Keras does; what an endpoint reads is found without it."""

    def add_endpoint(self, name: str, fn: Callable[..., Any], input_signature: Any = None) -> None:
        """Add a function of arrays, such as `model.call` or a layer; a model needs no `input_signature`."""
        if not isinstance(name, str) or not name.isidentifier():
            raise ArgumentError(f"An endpoint's name is a Python name, got {name!r}.", mend='"serve"')
        if name in self._endpoints:
            raise ArgumentError(f"The archive has an endpoint {name!r} already.")
        model = fn if isinstance(fn, Trainer) else getattr(fn, "__self__", None)
        if isinstance(model, Trainer) and fn in (model, getattr(model, "call", None)):
            endpoint = endpoint_of_model(model, input_signature)
        elif input_signature is None:
            raise ArgumentError(
                f"The endpoint {name!r} does not know its inputs.", mend="input_signature=[InputSpec(shape=(None, 8))]"
            )
        else:
            endpoint = endpoint_of(name, fn, arguments_of(input_signature))
        self._endpoints[name] = endpoint.checked()

    def track_and_add_endpoint(self, name: str, resource: Any, input_signature: Any = None) -> None:
        """Add the call of a model or a layer."""
        self.add_endpoint(name, resource, input_signature)

    def write_out(self, filepath: Any, options: None = None, verbose: bool = True) -> None:
        """Write the archive in one step: each entry is what `jax.export.deserialize` takes."""
        if options is not None:
            raise ArgumentError("write_out has no options: those of Keras belong to TensorFlow.", mend="options=None")
        if not self._endpoints:
            raise ArgumentError("The archive has no endpoint.", mend='archive.add_endpoint("serve", model)')
        programs = {name: stablehlo(endpoint) for name, endpoint in self._endpoints.items()}
        with replacing(filepath) as file, zipfile.ZipFile(file, "w") as archive:
            for name, data in programs.items():
                # A date of its own would make two archives of one model differ.
                archive.writestr(zipfile.ZipInfo(name + _ENDING), data)
        if verbose:
            say(f"{', '.join(programs)} written to {os.fspath(filepath)!r}.")


def load_program(filepath: Any, endpoint: str | None = None) -> Any:
    """Return the `jax.export.Exported` that a file of `export` holds, or the one under this name in an archive.

    `jax.export.deserialize` takes whatever a file says. Here a program that was cut off or changed, and one that would
    call into the process or read and write outside of itself, is refused with FileFormatError; the rest is arithmetic,
    which may still take long.
    """
    path = Path(filepath)
    data = path.read_bytes()
    if data[:2] == b"PK":
        data = _entry(path, endpoint)
    elif endpoint is not None:
        raise ArgumentError(f"{str(path)!r} holds one program, without a name.", mend="load(path)")
    if not is_whole(data):
        # XLA's reader is native code, which a broken file can bring down.
        raise FileFormatError(f"{str(path)!r} is no whole program of lamella's: it was cut off, or changed.")
    try:
        program = jax.export.deserialize(bytearray(data))
        text = program.mlir_module()
    except Exception as error:
        raise FileFormatError(f"{str(path)!r} holds no program: {type(error).__name__}.") from error
    _check(text, str(path))
    return program


def _entry(path: Path, endpoint: str | None) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename.removesuffix(_ENDING): info for info in archive.infolist()}
            info = entries.get(endpoint or "")
            if info is None:
                raise ArgumentError(f"{str(path)!r} has no endpoint {endpoint!r}.{did_you_mean(endpoint, entries)}")
            if info.compress_type != zipfile.ZIP_STORED:
                raise FileFormatError(f"The entry {info.filename!r} in {str(path)!r} is compressed; programs are not.")
            return archive.read(info)
    except zipfile.BadZipFile as error:
        raise FileFormatError(f"{str(path)!r} is no whole archive: {error}") from error


def _check(text: str, path: str) -> None:
    """Refuse what reaches out of a program."""
    called = [name.strip('"') for name in _CALLS.findall(text)]
    found = next((name for name in called if not _KNOWN.fullmatch(name)), None)
    host = _HOST.search(text)
    if found is not None or host is not None:
        what = f"calls {found!r}" if found is not None else f"has the operation {host[1]!r}" if host else ""
        raise FileFormatError(
            f"The program in {path!r} {what}, which reaches out of it into this process. It was not run."
        )
