"""Models as files, .keras both ways with Keras and HDF5 read: what a file says is data, what it names is looked up."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from lamella.core.config import custom_object_scope, deserialize, serialize, sharing
from lamella.core.errors import ArgumentError, FileFormatError, LamellaError, NotBuiltError, WeightTooLargeError
from lamella.core.memory import in_words, within
from lamella.core.variable import unfilled
from lamella.layers.layer import Layer
from lamella.saving.archive import CONFIG, METADATA, Archive, write
from lamella.saving.durable import replacing
from lamella.saving.hdf5 import SIGNATURE, reading
from lamella.saving.legacy import description, read_whole
from lamella.saving.plain import objects_in, read_json, write_json
from lamella.saving.weights import read_weights, write_weights
from lamella.training.trainer import Trainer

# The version of Keras whose form the files have.
_KERAS = "3.15.1"
# How the names of whole models in HDF5 end.
HDF5 = (".h5", ".hdf5")
# What weights may take beyond what the file holds: small things that a file need not have.
_SLACK = 1 << 20
# While layers are built some are declared twice, in fractions and in whole numbers.
_TIMES = 8
# What the counts of metrics may take, which no file holds.
_COUNTS = 1 << 28


def save_model(model: Any, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
    """Write a model into a file: its config, its weights, and the optimizer with its state.

    `filepath` ends in .keras, or is a binary file open for writing. The file takes its place in one step: whatever
    happens, the old file is there or the new one.

    >>> import tempfile
    >>> from lamella import Input, Sequential, layers
    >>> path = tempfile.mkdtemp() + "/model.keras"
    >>> save_model(Sequential([Input((4,)), layers.Dense(3)]), path)
    >>> load_model(path).output_shape
    (None, 3)
    """
    if kwargs:
        raise ArgumentError(f"save_model has no argument {next(iter(kwargs))!r}: a model is saved with all it has.")
    if zipped is False:
        raise ArgumentError("save_model writes one file, not a folder.", mend="zipped=True")
    if not isinstance(model, Layer) or not isinstance(model, Trainer):
        raise ArgumentError(f"save_model takes a model, got {type(model).__name__}.", mend="save_model(model, path)")
    if not model.built:
        raise NotBuiltError(
            f"The model {model.name!r} has no weights to save yet.",
            mend="model.build((None, 5)) or a call on data; model.to_json() for the architecture alone",
        )
    config, metadata = write_json(_described(model)), write_json(_about(model))
    optimizer = model.optimizer is not None

    def weights(file: BinaryIO) -> None:
        write_weights(model, file, optimizer=optimizer)

    if hasattr(filepath, "write"):
        write(filepath, config, metadata, weights)
        return
    with replacing(_checked_path(filepath), overwrite) as file:
        write(file, config, metadata, weights)


def _described(model: Any) -> dict[str, Any]:
    with sharing():
        config: dict[str, Any] = serialize(model)
        build, training = model.get_build_config(), model.get_compile_config()
        if build:
            config["build_config"] = serialize(build)
        if training:
            config["compile_config"] = serialize(training)
    return config


def _about(model: Any) -> dict[str, Any]:
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    compiled = model._trainer.compiled
    own = {} if compiled is None else compiled.own_arguments()
    return {"keras_version": _KERAS, "date_saved": now, "lamella": {"compile": own}}


def _checked_path(filepath: Any) -> str:
    path = os.fspath(filepath)
    if not isinstance(path, str) or not path.endswith(".keras"):
        mend = "model.save_weights(path) for weights alone" if str(path).endswith(".weights.h5") else '"model.keras"'
        raise ArgumentError(f"A model's file ends in .keras, got {path!r}.", mend=mend)
    return path


def load_model(
    filepath: Any, custom_objects: Mapping[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """Return the model that a file holds, lamella's or Keras's; with `compile`, ready to train on.

    The file is a .keras file, or a whole model of Keras 2 or 3 in HDF5 (".h5", ".hdf5"). It is data: classes and
    functions of one's own are found where they were registered, or in `custom_objects`; nothing else that a file names
    is looked for. There is no switch that changes this, so `safe_mode` is True.
    """
    if safe_mode is not True:
        raise ArgumentError(
            f"load_model has no switch for safety, got safe_mode={safe_mode!r}: no code in a file is ever run.",
            mend='load_model(path, custom_objects={"Name": Name}) for classes and functions of your own',
        )
    with _opened(filepath) as (file, name):
        archive = None if _is_hdf5(file) else Archive(file, name)
        with _about_file(name), custom_object_scope(custom_objects):
            return _from_hdf5(file, compile) if archive is None else _from_archive(archive, compile)


def described(file: BinaryIO, name: str) -> Any:
    """Return the model that a file describes, compiled as it says, without its weights: no memory is taken for them."""
    if _is_hdf5(file):
        with reading(file) as source:
            config, training, _ = description(source)
            held, own = file.seek(0, os.SEEK_END), {}
            model = _described_by(config, "model_config", held)
    else:
        archive = Archive(file, name)
        metadata, config = read_json(archive.metadata, METADATA), read_json(archive.config, CONFIG)
        check_version(metadata)
        with archive.weights() as weights:
            held, own = weights.seek(0, os.SEEK_END), _own_arguments(metadata)
        model = _described_by(config, CONFIG, held)
        training = config.get("compile_config")
    _compile(model, training, held, **own)
    return model


@contextmanager
def _opened(filepath: Any) -> Iterator[tuple[BinaryIO, str]]:
    if hasattr(filepath, "read"):
        yield filepath, str(getattr(filepath, "name", "the file"))
        return
    path = os.fspath(filepath)
    if not isinstance(path, str) or not path.endswith((".keras", *HDF5)) or path.endswith(".weights.h5"):
        path = _checked_path(filepath)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path!r}.")
    with open(path, "rb") as file:
        yield cast(BinaryIO, file), path


def _is_hdf5(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(len(SIGNATURE)) == SIGNATURE


@contextmanager
def _about_file(name: str) -> Iterator[None]:
    """Say of which file an error is, and give one kind of error for what makes no sense at all."""
    try:
        yield
    except LamellaError as error:
        error.context = error.context or f"in the file {name!r}"
        raise
    except OSError:
        raise
    # Code that gets something else than it was written for may stop anywhere.
    except Exception as error:
        text = str(error)[:300].rstrip(".")
        raise FileFormatError(f"{name!r} does not describe a model: {type(error).__name__}, {text}.") from error


def _from_archive(archive: Archive, compile: bool) -> Any:
    metadata = read_json(archive.metadata, METADATA)
    config = read_json(archive.config, CONFIG)
    check_version(metadata)
    with archive.weights() as weights:
        held = weights.seek(0, os.SEEK_END)
        model = _described_by(config, CONFIG, held)
        training = config.get("compile_config") if compile else None
        _compile(model, training, held, **_own_arguments(metadata))
        read_weights(model, weights, optimizer=bool(training and model.optimizer is not None))
    _check_filled(model)
    return model


def _from_hdf5(file: BinaryIO, compile: bool) -> Any:
    with reading(file) as source:
        config, training, old = description(source)
        held = file.seek(0, os.SEEK_END)
        model = _described_by(config, "model_config", held)
        if not model.built:
            raise FileFormatError(
                f"The file does not say for what shape of input the weights of {model.name!r} are.",
                mend="the model made and built in code, and model.load_weights(path)",
            )
        training = training if compile else None
        _compile(model, training, held)
        read_whole(model, source, optimizer=bool(training and model.optimizer is not None), old=old)
    _check_filled(model)
    return model


def _described_by(config: Any, where: str, held: int) -> Any:
    """Return the model that a config describes, without its weights, for which the file holds so many bytes."""
    for _, fault in names_that_are_paths(config, where):
        raise FileFormatError(fault)
    if not isinstance(config, dict) or "class_name" not in config:
        raise FileFormatError(f"{where!r} describes no model.")
    with unfilled(), _declared(held, _TIMES * held + _SLACK):
        with sharing():
            model = deserialize(config)
        if not isinstance(model, Layer) or not isinstance(model, Trainer):
            raise FileFormatError(f"{where!r} describes {type(model).__name__}, which is no model.")
        if not model.built and config.get("build_config"):
            model.build_from_config(config["build_config"])
    _check_size(model, held)
    return model


def _compile(model: Any, training: Any, held: int, **own: Any) -> None:
    if training:
        with _declared(held, _COUNTS):
            model.compile_from_config(training, **own)


@contextmanager
def _declared(held: int, most: int) -> Iterator[None]:
    """Say of weights that go beyond what they may take what the file holds."""
    try:
        with within(most):
            yield
    except WeightTooLargeError as error:
        raise FileFormatError(
            f"The config declares more than the file holds, {in_words(held)}. {error.message}"
        ) from error


def check_version(metadata: Any) -> None:
    """Refuse files of other versions than Keras 3."""
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if not isinstance(version, str) or version.partition(".")[0] != "3":
        raise FileFormatError(
            f"{METADATA!r} says that the file is of Keras {version!r}; files of Keras 3 are read.",
            mend="a newer lamella, or the file saved again with Keras 3",
        )


def _own_arguments(metadata: dict[str, Any]) -> dict[str, Any]:
    own = metadata.get("lamella", {})
    given = own.get("compile", {}) if isinstance(own, dict) else {}
    return {
        key: given[key] for key in ("micro_batch", "per_sample_clipnorm") if isinstance(given, dict) and key in given
    }


def names_that_are_paths(config: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield the places of names that would be paths, or no text: a layer's name is part of the place of its weights."""
    for place, item in objects_in(config):
        name = item.get("name")
        if isinstance(name, str) and (any(sign in name for sign in "/\\\0") or name in (".", "..")):
            yield place, f"{where!r} has the name {name[:80]!r}, which would be a path."
        if isinstance(name, str) and any("\ud800" <= sign <= "\udfff" for sign in name):
            yield place, f"{where!r} has the name {name[:80]!r}, which holds half a character."


def _check_size(model: Any, held: int) -> None:
    """Compare what the config says with what the file holds, before memory is taken for any of it."""
    declared = sum(variable.nbytes for variable in model.variables)
    if declared > held + _SLACK:
        largest = max(model.variables, key=lambda variable: variable.nbytes)
        raise FileFormatError(
            f"The config declares weights of {in_words(declared)}, the largest {largest.path!r} {largest.shape}. The "
            f"file holds {in_words(held)}. Nothing was allocated."
        )


def _check_filled(model: Any) -> None:
    missing = [variable.path for variable in model.variables if not variable.filled]
    if missing:
        raise FileFormatError(
            f"The file has no values for {len(missing)} weights of the model: {', '.join(missing[:5])}."
        )
