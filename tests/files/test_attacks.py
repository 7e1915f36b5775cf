"""Files made to do harm: each is refused, the error names the finding, and nothing was run, written or allocated."""

from __future__ import annotations

import copy
import io
import json
import os
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lamella
from lamella.errors import ArgumentError, FileFormatError, LamellaError

RAN: list[str] = []


def loaded_model() -> Any:
    layers = lamella.layers
    x = lamella.Input((4,), name="x")
    return lamella.Model(x, layers.Dense(2, name="out")(layers.Dense(3, name="inside")(x)), name="net")


@pytest.fixture(scope="module")
def parts() -> dict[str, bytes]:
    """The members of a good file."""
    file = io.BytesIO()
    model = loaded_model()
    model.compile("sgd", "mse")
    lamella.saving.save_model(model, file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts: dict[str, bytes], config: Any = None) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            new = config if name == "config.json" and config is not None else data
            archive.writestr(name, new if isinstance(new, bytes) else json.dumps(new))
    return file


def layer(config: Any, name: str = "inside") -> dict[str, Any]:
    return next(entry for entry in config["config"]["layers"] if entry["name"] == name)  # type: ignore[no-any-return]


def instead(**entry: Any) -> Callable[[Any], None]:
    """Put another object in the place of a layer."""
    return lambda config: layer(config).update({"registered_name": None, **entry})


def argument(name: str, value: Any, at: str = "inside") -> Callable[[Any], None]:
    return lambda config: layer(config, at)["config"].update({name: value})


def a_lambda(function: Any) -> Callable[[Any], None]:
    return instead(module="keras.layers", class_name="Lambda", config={"name": "inside", "function": function})


def named(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


CODE = {"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAAAAAAAAEAAAAD", "defaults": None, "closure": None}}
OPENED = {
    "module": "builtins",
    "class_name": "open",
    "config": {"file": "evil", "mode": "w"},
    "registered_name": "open",
}


def dead(config: Any) -> None:
    twin = copy.deepcopy(layer(config))
    twin["name"] = twin["config"]["name"] = "dead"
    config["config"]["layers"].append(twin)


def twice(config: Any) -> None:
    config["config"]["layers"].append(copy.deepcopy(layer(config)))


def deep(config: Any) -> None:
    value: Any = "x"
    for _ in range(300):
        value = [value]
    layer(config)["config"]["activation"] = value


def wide(config: Any) -> None:
    """Weights of 40 GB, in two layers that would each fit into the memory of many machines."""
    layer(config)["config"]["units"] = 100_000
    layer(config, "out")["config"]["units"] = 100_000


def round_and_round(config: Any) -> None:
    history = layer(config)["inbound_nodes"][0]["args"][0]["config"]
    history["keras_history"] = ["out", 0, 0]


ATTACKS: dict[str, tuple[Callable[[Any], None], str]] = {
    "a lambda's code": (a_lambda(CODE), r"holds the code of a Python lambda.*never run"),
    "a lambda's code as an activation": (argument("activation", CODE), r"holds the code of a Python lambda"),
    "a lambda's code in Keras 2's form": (
        a_lambda(["4wEAAAAAAAAAAAAAAAEAAAAD", None, None]),
        r"Lambda|list|describe",
    ),
    "module, function and arguments": (
        instead(module="builtins", class_name="exec", config={"source": "open('evil', 'w')"}),
        r"'exec', which is not known here \(module 'builtins'\): nothing is imported",
    ),
    "a module that would be imported": (instead(module="evil.sub", class_name="Layer2"), r"'Layer2'.*'evil.sub'"),
    "a class of lamella's name in another module": (instead(module="evil", class_name="Dense"), r"'Dense'.*'evil'"),
    "an argument that is made by opening a file": (argument("kernel_initializer", OPENED), r"'open'"),
    "get_file by name": (a_lambda(named("keras.utils", "get_file")), r"'get_file', which is not known here"),
    "a builtin by name": (a_lambda(named("builtins", "eval")), r"'eval', which is not known here"),
    "the switch of safety by name": (
        a_lambda(named("keras.config", "enable_unsafe_deserialization")),
        r"'enable_unsafe_deserialization', which is not known here",
    ),
    "a class in place of a function": (a_lambda(named("keras.layers", "Dense")), r"'Dense', which is not known here"),
    "load_model by name": (a_lambda(named("keras.models", "load_model")), r"'load_model', which is not known here"),
    "an activation by module": (argument("activation", named("os", "system")), r"'system'"),
    "an activation by name": (argument("activation", "system"), r"'system'"),
    "a vocabulary's path": (
        instead(
            module="keras.layers", class_name="StringLookup", config={"vocabulary": "/etc/passwd", "name": "inside"}
        ),
        r"'StringLookup', which is not known here",
    ),
    "a vocabulary's address": (
        instead(module="keras.layers", class_name="TextVectorization", config={"vocabulary": "https://evil/x"}),
        r"'TextVectorization', which is not known here",
    ),
    "a SavedModel": (
        instead(module="keras.layers", class_name="TFSMLayer", config={"filepath": "/evil"}),
        r"'TFSMLayer', which is not known here",
    ),
    "a module of torch": (
        instead(module="keras.layers", class_name="TorchModuleWrapper", config={"module": "gASVevil"}),
        r"'TorchModuleWrapper', which is not known here",
    ),
    "an operation that calls a function": (
        instead(module="keras.src.ops.core", class_name="Map", config={"name": "inside"}),
        r"the operation 'Map' between its layers, which is not known here",
    ),
    "a function of a module of operations": (
        instead(module="keras.src.ops.core", class_name="vectorized_map", config={"name": "inside"}),
        r"the operation 'vectorized_map' between its layers, which is not known here",
    ),
    "an array of objects": (
        argument("units", {"class_name": "__numpy__", "config": {"value": [1], "dtype": "O"}}),
        r"an array that is not of numbers",
    ),
    "an array with a long item": (
        argument("units", {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "S9999999999"}}),
        r"an array that is not of numbers",
    ),
    "a call that leads nowhere": (dead, r"calls 'dead' for nothing"),
    "calls in a circle": (round_and_round, r"depend on tensors that nothing makes|for nothing"),
    "two layers of one name": (twice, r"two layers of one name"),
    "a name upwards": (argument("name", "../../evil"), r"the name '../../evil', which would be a path"),
    "a name with a null": (argument("name", "a\0b"), r"which would be a path"),
    "deep nesting": (deep, r"nested more than 200 levels deep"),
    "NaN": (argument("trainable", float("nan")), r"it holds NaN"),
    "weights beyond the file": (wide, r"declares weights of 40.0 GB.*'out/kernel'.*Nothing was allocated"),
    "weights beyond all memory": (argument("units", 10**13), r"Nothing was allocated"),
    "another kind of object": (lambda config: config.update(layer(config)), r"Dense, which is no model|describes"),
    "a dtype that is none": (argument("dtype", "object"), r"object"),
    "an optimizer's module": (
        lambda config: config["compile_config"].update(
            optimizer={"module": "os", "class_name": "system", "config": {}}
        ),
        r"'system'",
    ),
    "a loss's code": (lambda config: config["compile_config"].update(loss=CODE), r"holds the code of a Python lambda"),
    "a number for a class": (instead(class_name=3), r"names are text"),
    "one number for two objects": (
        lambda config: [entry.update(shared_object_id=7) for entry in config["config"]["layers"]],
        r"one number, 7",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_is_refused_by_name(
    name: str, parts: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, finding = ATTACKS[name]
    config = json.loads(parts["config.json"])
    change(config)
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LamellaError, match=finding):
        lamella.saving.load_model(packed(parts, config))
    assert os.listdir(tmp_path) == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "it took 100 MB of memory"


def test_the_good_file_is_loaded(parts: dict[str, bytes]) -> None:
    assert lamella.saving.load_model(packed(parts)).name == "net"


@pytest.mark.parametrize("mode", [False, None, 0, "no"])
def test_there_is_no_switch(mode: Any, parts: dict[str, bytes]) -> None:
    with pytest.raises(ArgumentError, match=r"no switch for safety, got safe_mode="):
        lamella.saving.load_model(packed(parts), safe_mode=mode)


MEMBERS: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "a key twice": (
        lambda parts: parts | {"config.json": parts["config.json"].replace(b'"name"', b'"name": "a", "name"', 1)},
        r"the key 'name' twice",
    ),
    "a path in the archive": (lambda parts: parts | {"../../evil.py": b"x"}, r"it holds '../../evil.py'"),
    "npz in place of HDF5": (
        lambda parts: {k.replace(".h5", ".npz"): v for k, v in parts.items()},
        r"weights as npz are not read",
    ),
    "a pickle for weights": (lambda parts: parts | {"model.weights.h5": b"\x80\x04cos\nsystem\n."}, r"weights|HDF5"),
    "a later version": (
        lambda parts: parts | {"metadata.json": b'{"keras_version": "4.0.0"}'},
        r"the file is of Keras '4.0.0'",
    ),
    "no version": (lambda parts: parts | {"metadata.json": b"[]"}, r"the file is of Keras None"),
    "a config that is a list": (lambda parts: parts | {"config.json": b"[]"}, r"describes no model"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_changed_member_is_refused_by_name(name: str, parts: dict[str, bytes], tmp_path: Path) -> None:
    change, finding = MEMBERS[name]
    path = tmp_path / "model.keras"
    path.write_bytes(packed(change(parts)).getvalue())
    with pytest.raises(LamellaError, match=finding):
        lamella.saving.load_model(path)
    assert os.listdir(tmp_path) == ["model.keras"]


def test_a_changed_checksum_is_found(parts: dict[str, bytes]) -> None:
    data = bytearray(packed(parts).getvalue())
    data[data.find(parts["model.weights.h5"]) + len(parts["model.weights.h5"]) - 9] ^= 1
    with pytest.raises(FileFormatError, match="the checksum of .* is another one"):
        lamella.saving.load_model(io.BytesIO(bytes(data)))


def test_only_what_the_caller_passed_is_called(parts: dict[str, bytes]) -> None:
    def passed(x: Any) -> Any:
        RAN.append("passed")
        return x

    config = json.loads(parts["config.json"])
    argument("activation", named("evil", "passed"))(config)
    model = lamella.saving.load_model(packed(parts, config), custom_objects={"passed": passed})
    assert RAN and model.get_layer("inside").activation is passed
