"""Models as .keras files, both ways with Keras: what a file says is data, and what it names is looked up, not run."""

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
from lamella.saving.plain import read_json, write_json
from lamella.saving.weights import read_weights, write_weights
from lamella.training.trainer import Trainer

# The version of Keras whose form the files have.
_KERAS = "3.15.1"
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
    """Return the model that a .keras file holds, lamella's or Keras's; with `compile`, ready to train on.

    A file is data. Classes and functions of one's own are found where they were registered, or in `custom_objects`;
    nothing else that a file names is looked for. There is no switch that changes this, so `safe_mode` is True.
    """
    if safe_mode is not True:
        raise ArgumentError(
            f"load_model has no switch for safety, got safe_mode={safe_mode!r}: no code in a file is ever run.",
            mend='load_model(path, custom_objects={"Name": Name}) for classes and functions of your own',
        )
    with _opened(filepath) as (file, name):
        archive = Archive(file, name)
        with _about_file(name), custom_object_scope(custom_objects):
            return _loaded(archive, compile)


@contextmanager
def _opened(filepath: Any) -> Iterator[tuple[BinaryIO, str]]:
    if hasattr(filepath, "read"):
        yield filepath, str(getattr(filepath, "name", "the file"))
        return
    path = _checked_path(filepath)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path!r}.")
    with open(path, "rb") as file:
        yield cast(BinaryIO, file), path


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


def _loaded(archive: Archive, compile: bool) -> Any:
    metadata = read_json(archive.metadata, METADATA)
    config = read_json(archive.config, CONFIG)
    _check_version(metadata)
    _check_names(config)
    if not isinstance(config, dict) or "class_name" not in config:
        raise FileFormatError(f"{CONFIG!r} describes no model.")
    training = config.get("compile_config")
    with archive.weights() as weights:
        held = weights.seek(0, os.SEEK_END)
        weights.seek(0)
        with unfilled(), _declared(held, _TIMES * held + _SLACK):
            model = _made(config)
        _check_size(model, held)
        if compile and training:
            with _declared(held, _COUNTS):
                model.compile_from_config(training, **_own_arguments(metadata))
        read_weights(model, weights, optimizer=bool(compile and training and model.optimizer is not None))
    _check_filled(model)
    return model


def _made(config: dict[str, Any]) -> Any:
    """Return the model that a config describes, its weights without values."""
    with sharing():
        model = deserialize(config)
    if not isinstance(model, Trainer):
        raise FileFormatError(f"{CONFIG!r} describes {type(model).__name__}, which is no model.")
    if not cast(Any, model).built and config.get("build_config"):
        cast(Any, model).build_from_config(config["build_config"])
    return model


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


def _check_version(metadata: Any) -> None:
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


def _check_names(config: Any) -> None:
    """Refuse names that would be paths: a layer's name is part of the place of its weights."""
    stack = [config]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            name = value.get("name")
            if isinstance(name, str) and (any(sign in name for sign in "/\\\0") or name in (".", "..")):
                raise FileFormatError(f"{CONFIG!r} has the name {name[:80]!r}, which would be a path.")
            if isinstance(name, str) and any("\ud800" <= sign <= "\udfff" for sign in name):
                raise FileFormatError(f"{CONFIG!r} has the name {name[:80]!r}, which holds half a character.")
            stack += value.values()
        elif isinstance(value, list):
            stack += value


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
