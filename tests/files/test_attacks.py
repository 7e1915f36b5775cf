"""Files made to do harm: each is refused, the error names the finding, and nothing was run, written or allocated."""

from __future__ import annotations

import copy
import io
import json
import os
import resource
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import lamella
from lamella.errors import ArgumentError, FileFormatError, LamellaError
from tests.files import campaign

RAN: list[str] = []
# What the interpreter tells of a program that reaches beyond itself.
BEYOND = (
    "os.",
    "subprocess.",
    "socket.",
    "shutil.",
    "urllib.",
    "ctypes.",
    "pickle.",
    "ftplib.",
    "tempfile.",
    "webbrowser",
)
WATCHED: list[list[str]] = []


def _seen(event: str, arguments: tuple[Any, ...]) -> None:
    if not WATCHED or event in ("os.listdir", "os.scandir"):
        return
    opened = event == "open" and any(sign in str(arguments[1] or "") for sign in "wax+")
    evil = event == "import" and str(arguments[0]).startswith("evil")
    if event.startswith(BEYOND) or opened or evil:
        WATCHED[-1].append(f"{event} {arguments}")


sys.addaudithook(_seen)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collect what is started, written, connected to or imported by an attacker's name."""
    WATCHED.append([])
    try:
        yield WATCHED[-1]
    finally:
        WATCHED.pop()


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


def inside_layers(entry: dict[str, Any]) -> Callable[[Any], None]:
    """Put an object into a layer that holds a layer, which itself is held by one."""
    held = {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"name": "held", "layer": entry}}
    return instead(module="keras.layers", class_name="Bidirectional", config={"name": "inside", "layer": held})


def inside_models(config: Any) -> None:
    """An attack ten models deep."""
    a_lambda(CODE)(config)
    for _ in range(10):
        inner = copy.deepcopy(config)
        name = inner["config"]["name"] = f"{inner['config']['name']}_in"
        del inner["compile_config"]
        node = copy.deepcopy(layer(config)["inbound_nodes"])
        entry = {**inner, "name": name, "inbound_nodes": node}
        first = layer(config, "x")
        config["config"].update(layers=[copy.deepcopy(first), entry], output_layers=[name, 1, 0])
        layer(config, "x")["name"] = "x"
        config["config"]["layers"][1]["name"] = "inside"
        config["config"]["output_layers"][0] = "inside"


def optimizer(**arguments: Any) -> Callable[[Any], None]:
    made = {"module": "keras.optimizers", "class_name": "Adam", "config": arguments}
    return lambda config: config["compile_config"].update(optimizer=made)


def metric(name: str, /, **arguments: Any) -> Callable[[Any], None]:
    made = {"module": "keras.metrics", "class_name": name, "config": arguments}
    return lambda config: config["compile_config"].update(metrics=[made])


def loss(value: Any) -> Callable[[Any], None]:
    return lambda config: config["compile_config"].update(loss=value)


def policy(name: str, /, **arguments: Any) -> Callable[[Any], None]:
    return argument("dtype", {"module": "keras", "class_name": name, "config": arguments})


def initializer(name: str, /, **arguments: Any) -> Callable[[Any], None]:
    made = {"module": "keras.initializers", "class_name": name, "config": arguments}
    return argument("kernel_initializer", made)


@lamella.saving.register_keras_serializable("attacks", "Launcher")
class Launcher:
    """A helper that a program has registered, and that does harm when it is made."""

    def __init__(self, command: str = "") -> None:
        RAN.append(command)


@lamella.saving.register_keras_serializable("attacks")
def launch(*args: Any, **kwargs: Any) -> Any:
    """Another one, which does harm when it is called."""
    RAN.append("launch")


HELPER = {"module": "attacks", "registered_name": "attacks>Launcher", "config": {"command": "x"}}
WRAPPED = {"module": "keras.losses", "class_name": "LossFunctionWrapper", "config": {"fn": named("os", "system")}}

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
    "weights beyond the file": (
        wide,
        r"more than the file holds, .*'kernel' \(4, 100000\) would take 1.6 MB",
    ),
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
    "code in a layer in a layer": (inside_layers(CODE), r"holds the code of a Python lambda"),
    "a module in a layer in a layer": (
        inside_layers({"module": "os", "class_name": "system", "config": {}}),
        r"'system', which is not known here \(module 'os'\)",
    ),
    "code in a model in a model": (inside_models, r"holds the code of a Python lambda"),
    "a helper as a layer": (instead(**HELPER, class_name="Launcher"), r"names 'Launcher' with dict for its arguments"),
    "a helper under a layer's name": (
        instead(**HELPER, class_name="Dense"),
        r"names 'Dense' and, for the same thing, 'attacks>Launcher'",
    ),
    "a helper under an activation's name": (
        argument("activation", {**named("builtins", "relu"), "registered_name": "attacks>launch"}),
        r"names 'relu' and, for the same thing, 'attacks>launch'",
    ),
    "a function as a class": (
        instead(module="attacks", class_name="launch", registered_name="attacks>launch", config={"a": 1}),
        r"names 'launch' with dict for its arguments",
    ),
    "an optimizer's rate by module": (optimizer(learning_rate=named("os", "system")), r"'system'.*not known here"),
    "an optimizer's rate as code": (optimizer(learning_rate=CODE), r"holds the code of a Python lambda"),
    "an optimizer by path": (
        lambda config: config["compile_config"].update(optimizer="../../evil"),
        r"Unknown optimizer '../../evil'",
    ),
    "a loss by module": (loss("os.system"), r"Unknown loss 'os.system'"),
    "a loss that wraps a function": (loss(WRAPPED), r"'system'"),
    "a metric that wraps a function": (metric("MeanMetricWrapper", fn=named("os", "system")), r"'system'"),
    "a metric's thresholds": (metric("AUC", num_thresholds=10**12), r"num_thresholds is at most 1,000,000"),
    "a metric's counts": (
        metric("MeanIoU", num_classes=30_000),
        r"'total_confusion_matrix' \(30000, 30000\) would take 3.6 GB. Nothing was allocated",
    ),
    "a compilation that is text": (lambda config: config.update(compile_config="evil"), r"does not describe a model"),
    "a policy with code": (policy("DTypePolicyMap", default_policy=CODE, policy_map={}), r"lambda"),
    "a policy by path": (policy("DTypePolicy", name="../x"), r"the name '../x', which would be a path"),
    "a policy of nothing": (policy("QuantizedDTypePolicy", mode="evil", source_name="float32"), r"evil"),
    "an initializer's code": (initializer("Constant", value=CODE), r"holds the code of a Python lambda"),
    "an initializer's file": (initializer("Loaded", path="/etc/passwd"), r"'Loaded', which is not known here"),
    "an initializer's array": (
        initializer("Constant", value={"class_name": "__numpy__", "config": {"value": [1], "dtype": "S999999999"}}),
        r"an array that is not of numbers",
    ),
    "an initializer for a regularizer": (
        argument("activity_regularizer", {"module": "keras.initializers", "class_name": "RandomUniform", "config": {}}),
        r"does not describe a model: \w+(Error|Operation)",
    ),
    "half a character": (argument("name", "a\ud800"), r"which holds half a character"),
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
    data = packed(parts, config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with watched() as events, pytest.raises(LamellaError, match=finding):
        lamella.saving.load_model(data, custom_objects={"given": launch})
    assert events == [] and RAN == [] and os.listdir(tmp_path) == []
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
    with pytest.raises(FileFormatError, match=r"the checksum of .* is another one"):
        lamella.saving.load_model(io.BytesIO(bytes(data)))


BUILDS: dict[str, tuple[Any, str]] = {
    "a size without end": ({"input_shape": [None, 10**12]}, r"'kernel' \(1000000000000, 3\) would take 12,000.0 GB"),
    "text": ({"input_shape": "../../evil"}, r"does not describe a model|is no shape|shape"),
    "nested": ({"input_shape": [[[None, 4]], {"a": CODE}]}, r"does not describe a model|lambda|shape"),
    "a class": ({"input_shape": {"module": "os", "class_name": "system", "config": {}}}, r"model|shape|system"),
    "below zero": ({"input_shape": [None, -4]}, r"-4|does not describe|shape"),
    "of a sequence": ({"shapes_dict": {"evil": [None, 10**12]}}, r"evil|would take|does not describe"),
}


@pytest.mark.parametrize("name", BUILDS)
def test_shapes_to_build_for_are_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model without an Input is built for the shape that the file names."""
    file = io.BytesIO()
    model = lamella.Sequential([lamella.layers.Dense(3)])
    model.build((None, 4))
    model.save(file)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config, (build, finding) = json.loads(members["config.json"]), BUILDS[name]
    config["build_config"] = build
    config["config"]["build_input_shape"] = None
    config["config"]["layers"] = [entry for entry in config["config"]["layers"] if entry["class_name"] == "Dense"]
    config["config"]["layers"][0].pop("build_config", None)
    monkeypatch.chdir(tmp_path)
    data = packed(members, config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with watched() as events, pytest.raises(LamellaError, match=finding):
        lamella.saving.load_model(data)
    assert events == [] and os.listdir(tmp_path) == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "it took 100 MB of memory"


def test_links_inside_an_archive_are_not_followed(parts: dict[str, bytes], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["kernel"] = np.ones((4, 3), "float32")
    links = [h5py.ExternalLink(str(tmp_path / "other.h5"), "kernel"), h5py.SoftLink("/layers/dense/vars/1")]
    for link in links:
        file = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(file, "r+") as opened:
            del opened["layers/dense/vars/0"]
            opened["layers/dense/vars/0"] = link
        data = packed(parts | {"model.weights.h5": file.getvalue()})
        with watched() as events, pytest.raises(FileFormatError, match=r"link"):
            lamella.saving.load_model(data)
        assert events == []


def test_only_what_the_caller_passed_is_called(parts: dict[str, bytes]) -> None:
    def passed(x: Any) -> Any:
        RAN.append("passed")
        return x

    config = json.loads(parts["config.json"])
    argument("activation", named("evil", "passed"))(config)
    model = lamella.saving.load_model(packed(parts, config), custom_objects={"passed": passed})
    assert RAN.pop() == "passed" and model.get_layer("inside").activation is passed


def test_broken_archives_are_refused_or_loaded_right() -> None:
    """Some of each: in bytes, in what the config says, in the weights; the campaign makes 100,000."""
    counts = campaign.run(150, 7, "archives")
    assert set(counts) <= {"refused", "loaded"} and counts["refused"] > 50 and counts["loaded"] > 10
