"""What a file of a model or of weights holds, and what in it would be refused: looked at, not loaded."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from lamella.core.config import deserialize, lookup
from lamella.core.errors import ArgumentError, FileFormatError, LamellaError
from lamella.parts.activations import activations
from lamella.parts.loss_functions import losses
from lamella.parts.metric import metrics
from lamella.saving import legacy
from lamella.saving.archive import CONFIG, METADATA, WEIGHTS, Members
from lamella.saving.files import check_version, described, names_that_are_paths
from lamella.saving.hdf5 import SIGNATURE, Declared, Source, reading
from lamella.saving.plain import objects_in, read_json
from lamella.saving.safetensors import declared_in, opened
from lamella.saving.shards import LIST, reading_shards

# What a graph refers to its tensors by; operations of Keras between layers are looked at when the model is made.
_TENSOR, _OPERATIONS = "__keras_tensor__", "keras.src.ops."
_MODEL = "the model"


@dataclass
class Report:
    """What was found in a file; `findings` say where something is that would be refused, and why."""

    path: str
    bytes: int
    sha256: str = ""
    form: str = ""
    keras_version: str | None = None
    date_saved: str | None = None
    members: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] | None = None
    compile: dict[str, Any] | None = None
    weights: list[dict[str, Any]] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    _places: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, where: str, what: str) -> None:
        """Note a finding; of those that say the same the first is kept, with the number of the others."""
        if what in self._places:
            self._places[what]["more"] += 1
        else:
            self._places[what] = {"where": where, "what": what, "more": 0}
            self.findings.append(self._places[what])

    def as_data(self) -> dict[str, Any]:
        """Return all of it in strings, numbers, lists and dicts."""
        return {name: value for name, value in vars(self).items() if name != "_places"}

    @contextmanager
    def noting(self, where: str) -> Iterator[None]:
        """Make a finding of an error, and go on."""
        try:
            yield
        except LamellaError as error:
            self.add(where, error.message + (f" Try: {error.mend}" if error.mend else ""))
        except OSError:
            raise
        # As in loading: code that gets something else than it was written for may stop anywhere.
        except Exception as error:
            self.add(where, f"It does not describe a model: {type(error).__name__}, {str(error)[:300]}")


def inspect(path: str, make: bool = False) -> Report:
    """Look into a .keras, an HDF5, a .safetensors or a .weights.json file; nothing is changed, no weight is read.

    Classes of one's own need not be there. With `make` the model is made too, without its weights, which shows what is
    wrong with its arguments and calls.

    >>> import tempfile
    >>> from lamella import Input, Sequential, layers
    >>> path = tempfile.mkdtemp() + "/model.keras"
    >>> Sequential([Input((4,)), layers.Dense(3)]).save(path)
    >>> report = inspect(path)
    >>> [weight["shape"] for weight in report.weights], report.findings
    ([[4, 3], [3]], [])
    """
    if not os.path.isfile(path):
        raise ArgumentError(f"There is no file {path!r}.")
    report = Report(path, os.path.getsize(path))
    # The digest is taken beside: both read the whole file.
    with open(path, "rb") as file, ThreadPoolExecutor(1) as pool:
        digest = pool.submit(_digest, path)
        start = file.read(len(SIGNATURE))
        look = _archive if start.startswith(b"PK") else _hdf5 if start == SIGNATURE else _safetensors
        (_shards if path.endswith(LIST) else look)(cast(BinaryIO, file), report)
        if make and report.config is not None:
            with report.noting(_MODEL):
                described(cast(BinaryIO, file), path)
        report.sha256 = digest.result()
    return report


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- the forms --------------------------------------------------------------------------------------------------


def _archive(file: BinaryIO, report: Report) -> None:
    report.form = "a model of Keras 3 (.keras)"
    with report.noting("the archive"):
        members = Members(file)
        refused = dict(members.faults())
        for name, fault in refused.items():
            report.add(name, fault)
        for member in members.all:
            entry = {"name": member.orig_filename, "bytes": member.file_size, "sha256": None}
            report.members.append(entry)
            if member.orig_filename not in refused:
                with report.noting(member.filename):
                    entry["sha256"] = _member(members, member.filename, report)


def _member(members: Members, name: str, report: Report) -> str:
    """Look into a member that may be read; return its digest."""
    if name == WEIGHTS:
        with members.weights() as weights:
            digest = hashlib.file_digest(cast(io.BufferedReader, weights), "sha256").hexdigest()
            with report.noting(WEIGHTS), reading(weights) as source:
                _arrays(source, f"{WEIGHTS}: ", report)
                if legacy.root(source) is not None:
                    raise FileFormatError("The weights have the layout of Keras 2.")
        return digest
    data = members.read(name)
    with report.noting(name):
        found = read_json(data, name)
        if name == METADATA:
            _metadata(found, report)
        else:
            _config(found, CONFIG, report)
    return hashlib.sha256(data).hexdigest()


def _metadata(found: Any, report: Report) -> None:
    if isinstance(found, dict):
        report.keras_version, report.date_saved = (str(found.get(key)) for key in ("keras_version", "date_saved"))
    check_version(found)


def _hdf5(file: BinaryIO, report: Report) -> None:
    report.form = "weights of Keras 3 (HDF5)"
    with report.noting("the file"), reading(file) as source:
        _arrays(source, "", report)
        place = legacy.root(source)
        whole = source.strings("", "model_config") is not None
        if place is not None or whole:
            report.form = "a model of Keras 2 or 3 (HDF5)" if whole else "weights of Keras 2 (HDF5)"
            versions = source.strings("", "keras_version") or source.strings(place or "", "keras_version")
            report.keras_version = versions[0] if versions else None
        if whole:
            found = legacy.description(source)
            _config({**found.config, "compile_config": found.training}, "model_config", report)


def _safetensors(file: BinaryIO, report: Report) -> None:
    report.form = "weights (safetensors)"
    with report.noting("the file"), opened(file.name) as tensors:
        report.weights = [_weight(name, declared) for name, declared in declared_in(tensors).items()]


def _shards(file: BinaryIO, report: Report) -> None:
    report.form = "weights of Keras 3 in several files (.weights.json)"
    with report.noting("the list"), reading_shards(file.name) as source:
        _arrays(source, "", report)


# -- what is in them --------------------------------------------------------------------------------------------


def _arrays(source: Source, where: str, report: Report) -> None:
    for path, found in source.arrays():
        if isinstance(found, Declared):
            report.weights.append(_weight(path, found))
        else:
            report.add(f"{where}{path or '/'}", found.message)


def _weight(path: str, found: Declared) -> dict[str, Any]:
    size = found.dtype.itemsize
    for length in found.shape:
        size *= length
    return {"path": path, "shape": list(found.shape), "dtype": found.dtype.name, "bytes": size}


def _config(config: Any, where: str, report: Report) -> None:
    if not isinstance(config, dict) or "class_name" not in config:
        raise FileFormatError(f"{where!r} describes no model.")
    report.config = config
    training = config.get("compile_config")
    report.compile = training if isinstance(training, dict) else None
    for place, fault in names_that_are_paths(config, where):
        report.add(f"{where}: {place}", fault)
    for place, entry in objects_in(config):
        if "class_name" in entry and entry["class_name"] != _TENSOR:
            with report.noting(f"{where}: {place or 'the whole'}"):
                _check_class(entry)


def _check_class(entry: dict[str, Any]) -> None:
    """Refuse a description as loading would, without making what it describes."""
    name, registered, module = (entry.get(key) for key in ("class_name", "registered_name", "module"))
    named = isinstance(name, str) and isinstance(registered, str | None) and isinstance(module, str | None)
    if not named or name == "function" or str(name).startswith("__"):
        # These make no object: code is refused, a function is looked up, numbers are read.
        if name != "function" or not _is_function_here(entry.get("config")):
            deserialize(entry)
    elif not str(module).startswith(_OPERATIONS):
        lookup(str(name), registered, module)


def _is_function_here(name: Any) -> bool:
    return isinstance(name, str) and any(name in known for known in (activations, losses, metrics))
