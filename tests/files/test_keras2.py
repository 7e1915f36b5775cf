"""Whole models in HDF5, as Keras 3 and Keras 2 write them: the same predictions, and the refusals of .keras files."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jax
import keras
import numpy as np
import pytest

import lamella
from lamella.core.variable import unfilled
from lamella.errors import ArgumentError, FileFormatError, LamellaError
from lamella.saving.translation import model_today, training_today
from tests.files import keras2
from tests.files.keras2 import COMPILED, MODELS, Model, begin, dense, end, graph, layer, part, stack, to, written
from tests.files.kinds import KINDS
from tests.files.models import stirred
from tests.files.test_attacks import CODE
from tests.files.test_both_ways import assert_same, outputs

load = lamella.saving.load_model


WRITTEN = (
    *("sequential", "sequential without Input", "branches", "shared layers", "nested models", "masks", "LoRA", "int8"),
    *("several inputs and outputs", "custom_objects", "a registered function", "BatchNormalization", "bfloat16"),
)


@pytest.mark.parametrize("name", WRITTEN)
def test_what_keras_3_writes(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    model = stirred(kind.make(keras))
    if kind.y is not None:
        model.optimizer.build(model.trainable_variables)
        for number, variable in enumerate(model.optimizer.variables):
            variable.assign(np.full(variable.shape, number + 3))
    path = tmp_path / "model.h5"
    model.save(path)
    twin = load(path, custom_objects=kind.custom(lamella))
    assert twin.name == model.name and twin.compiled == model.compiled
    assert_same(outputs(twin, kind), outputs(model, kind), kind.tolerance)
    if kind.y is not None:
        state = [(variable.numpy() == number + 3).all() for number, variable in enumerate(twin.optimizer.variables)]
        assert all(state) and len(state) == len(model.optimizer.variables)


@pytest.mark.parametrize("name", ["sequential", "BatchNormalization"])
def test_an_optimizer_before_its_first_step_says_nothing_else(name: str, tmp_path: Path) -> None:
    KINDS[name].make(keras).save(tmp_path / "model.h5")
    twin = load(tmp_path / "model.h5")
    assert twin.compiled and int(twin.optimizer.iterations) == 0


def test_a_class_of_one_s_own_says_no_shape(tmp_path: Path) -> None:
    kind = KINDS["subclassed"]
    kind.make(keras).save(tmp_path / "a.hdf5")
    with pytest.raises(FileFormatError, match=r"(?s)for what shape of input the weights of 'net\w*' are.*load_weights"):
        load(tmp_path / "a.hdf5", custom_objects=kind.custom(lamella))


@pytest.mark.parametrize("name", MODELS)
def test_what_keras_2_wrote(name: str) -> None:
    model = MODELS[name]()
    twin = load(written(model))
    assert not twin.compiled
    found = twin.predict(model.x, verbose=0)
    for ours, expected in zip(jax.tree.leaves(found), jax.tree.leaves(model.expected), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_names_of_files(tmp_path: Path) -> None:
    model = MODELS["plain"]()
    for ending in (".h5", ".hdf5"):
        (tmp_path / f"a{ending}").write_bytes(written(model).getvalue())
        assert load(tmp_path / f"a{ending}").layers[0].name == "d1"
    twin = load(tmp_path / "a.h5")
    with pytest.raises(ArgumentError, match=r"A model's file ends in .keras"):
        twin.save(tmp_path / "b.h5")
    twin.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ArgumentError, match=r"A model's file ends in .keras"):
        load(tmp_path / "a.weights.h5")
    with open(tmp_path / "a.weights.h5", "rb") as file, pytest.raises(FileFormatError, match=r"weights alone"):
        load(file)
    with pytest.raises(FileNotFoundError, match=r"There is no file"):
        load(tmp_path / "none.h5")


class TestCompiled:
    def optimizer(self, **config: Any) -> Any:
        name = config.pop("class_name", "Adam")
        given = {"class_name": name, "config": {**keras2.ADAM, **config}}
        return load(written(MODELS["plain"](), {**COMPILED, "optimizer_config": given})).optimizer

    def test_trains_on(self) -> None:
        model = MODELS["plain"]()
        twin = load(written(model, COMPILED))
        assert float(twin.optimizer.learning_rate) == pytest.approx(0.002)
        logs = twin.evaluate(model.x, model.expected, verbose=0, return_dict=True)
        assert logs["loss"] < 1e-10 and set(logs) == {"loss", "mae"}
        before = twin.get_weights()[0]
        twin.fit(model.x, model.expected + 1, verbose=0)
        # The first step of Adam is the rate, whatever the slope.
        np.testing.assert_allclose(np.abs(twin.get_weights()[0] - before).max(), 0.002, rtol=1e-3)
        assert not load(written(model, COMPILED), compile=False).compiled

    def test_the_first_name_of_the_rate(self) -> None:
        made = self.optimizer(lr=0.5, learning_rate=0.5, schedule_decay=0.004, epsilon=None, class_name="Custom>Nadam")
        assert float(made.learning_rate) == 0.5 and type(made).__name__ == "Nadam"

    def test_decay_is_a_schedule(self) -> None:
        rate = self.optimizer(decay=0.5, is_legacy_optimizer=True, jit_compile=False).get_config()["learning_rate"]
        schedule = lamella.saving.deserialize_keras_object(rate)
        assert [round(float(schedule(step)), 6) for step in (0, 1, 2)] == [0.002, 0.001333, 0.001]

    def test_parts_by_their_configs(self) -> None:
        entropy = part("BinaryCrossentropy", reduction="auto", name="b", from_logits=True)
        wrapped = part("MeanMetricWrapper", name="acc", dtype="float32", fn="binary_accuracy")
        rate = part("ExponentialDecay", initial_learning_rate=0.1, decay_steps=10, decay_rate=0.5)
        given = {"class_name": "SGD", "config": {"learning_rate": rate}}
        training = {**COMPILED, "loss": {"d2": entropy}, "metrics": [[wrapped]], "optimizer_config": given}
        today = training_today(training, old=True)
        assert today["loss"]["d2"]["module"] == "keras.losses"
        assert today["loss"]["d2"]["config"]["reduction"] == "sum_over_batch_size"
        assert today["metrics"] == [["binary_accuracy"]]
        assert today["optimizer"]["config"]["learning_rate"]["module"] == "keras.optimizers.schedules"
        model = MODELS["plain"]()
        logs = load(written(model, training)).evaluate(model.x, model.expected, verbose=0, return_dict=True)
        assert set(logs) == {"loss", "binary_accuracy"}

    def test_the_state_of_keras_2_starts_anew(self) -> None:
        file = written(MODELS["plain"](), COMPILED)
        with h5py.File(file, "a") as opened:
            group = opened.create_group("optimizer_weights")
            group.attrs["weight_names"] = [b"training/Adam/iter:0"]
            group["training/Adam/iter:0"] = np.int64(7)
        with pytest.warns(UserWarning, match=r"starts anew: its state is in Keras 2's form"):
            assert int(load(file).optimizer.iterations) == 0


CONVOLUTION = {
    "kernel_size": [2, 2], "strides": [1, 1], "padding": "same", "data_format": "channels_last",
    "dilation_rate": [1, 1], "groups": 1, "activation": "linear", "use_bias": True, "bias_initializer": part("Zeros"),
    "kernel_initializer": part("GlorotUniform", seed=None), "kernel_regularizer": None, "activity_regularizer": None,
    "bias_regularizer": part("L2", l2=0.1), "kernel_constraint": part("MaxNorm", max_value=2, axis=0),
    "bias_constraint": None,
}  # fmt: skip
STEPS = {
    "return_sequences": True, "return_state": False, "go_backwards": False, "stateful": False, "unroll": False,
    "time_major": False, "units": 2, "activation": "tanh", "use_bias": True, "dropout": 0.0, "recurrent_dropout": 0.0,
    "kernel_initializer": part("VarianceScaling", scale=1.0, mode="fan_avg", distribution="uniform", seed=None),
    "recurrent_initializer": part("Orthogonal", gain=1.0, seed=None), "bias_initializer": part("Zeros"),
}  # fmt: skip
POINTS = {"pointwise_initializer": part("GlorotUniform"), "depthwise_initializer": part("GlorotUniform")}
# Layers with all that Keras 2 wrote of them, and the shape of a sample that they take.
COMPLETE: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("Conv2D", {"filters": 2, **CONVOLUTION}, (4, 4, 3)),
    ("Conv2DTranspose", {"filters": 2, "output_padding": None, **CONVOLUTION}, (4, 4, 3)),
    ("DepthwiseConv2D", {"depth_multiplier": 2, **CONVOLUTION}, (4, 4, 3)),
    ("SeparableConv2D", {"filters": 2, "depth_multiplier": 1, **CONVOLUTION, **POINTS}, (4, 4, 3)),
    ("ConvLSTM2D", {**STEPS, **CONVOLUTION, "filters": 2, "units": None, "groups": None}, (2, 4, 4, 3)),
    ("LSTM", {**STEPS, "recurrent_activation": "sigmoid", "unit_forget_bias": True, "implementation": 0}, (4, 3)),
    ("GRU", {**STEPS, "recurrent_activation": "sigmoid", "reset_after": True, "implementation": 2}, (4, 3)),
    ("SimpleRNN", STEPS, (4, 3)),
    ("Bidirectional", {"merge_mode": "sum", "layer": part("LSTM", name="l", **STEPS, implementation=2)}, (4, 3)),
    (
        "RNN",
        {"return_sequences": False, "time_major": False, "cell": part("GRUCell", units=2, implementation=1)},
        (4, 3),
    ),
    ("TimeDistributed", {"layer": dense("inside", 2)}, (4, 3)),
    ("Embedding", {"input_dim": 9, "output_dim": 2, "mask_zero": True, "input_length": 4, "sparse": False}, (4,)),
    ("LayerNormalization", {"axis": [2], "epsilon": 0.001, "center": True, "scale": True}, (4, 3)),
    ("SpatialDropout1D", {"rate": 0.5, "noise_shape": None, "seed": None}, (4, 3)),
    ("PReLU", {"alpha_initializer": part("Zeros"), "shared_axes": [1]}, (4, 3)),
    ("ReLU", {"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}, (3,)),
    ("UpSampling2D", {"size": [2, 2], "data_format": "channels_last"}, (4, 4, 3)),
    ("ZeroPadding2D", {"padding": [[1, 1], [1, 1]], "data_format": "channels_last"}, (4, 4, 3)),
    (
        "MaxPooling2D",
        {"pool_size": [2, 2], "padding": "same", "strides": [2, 2], "data_format": "channels_last"},
        (4, 4, 3),
    ),
    ("GlobalAveragePooling2D", {"data_format": "channels_last", "keepdims": False}, (4, 4, 3)),
    ("GaussianNoise", {"stddev": 0.1}, (3,)),
    ("Rescaling", {"scale": 0.5, "offset": 0.0}, (3,)),
    ("Reshape", {"target_shape": [3, 4]}, (4, 3)),
    ("Normalization", {"axis": [-1], "mean": None, "variance": None}, (3,)),
    ("ActivityRegularization", {"l1": 0.0, "l2": 0.1}, (3,)),
]


@pytest.mark.parametrize(("kind", "config", "shape"), COMPLETE, ids=[entry[0] for entry in COMPLETE])
def test_every_argument_of_a_layer_is_known(kind: str, config: dict[str, Any], shape: tuple[int, ...]) -> None:
    given = {name: value for name, value in config.items() if not (kind == "ConvLSTM2D" and value is None)}
    today = model_today(stack("s", begin("i", *shape), layer(kind, "l", **given)), old=True)
    with unfilled():
        model = lamella.saving.deserialize_keras_object(today)
    assert type(model.layers[0]).__name__ == kind and model.layers[0].name == "l" and model.built


class TestTranslation:
    def test_outputs_of_models_count_from_1_where_they_are_graphs(self) -> None:
        made = MODELS["nested"]().config
        made["config"]["output_layers"] = [end("encoder", 2), end("inside", 1), end("less")]
        today = model_today(made, old=True)["config"]
        assert today["output_layers"] == [["encoder", 2, 0], ["inside", 0, 0], ["less", 0, 0]]
        calls = next(entry for entry in today["layers"] if entry["name"] == "inside")["inbound_nodes"]
        assert [call["args"][0]["config"]["keras_history"] for call in calls] == [["encoder", 0, 0], ["encoder", 1, 0]]

    def test_tensors_among_the_arguments_of_a_call(self) -> None:
        attend = layer("MultiHeadAttention", "m", [to("x", value=["x", 0, 0], training=None)], query_shape=[None, 2, 3])
        today = model_today(graph("g", [begin("x", 2, 3), attend], [end("x")], [end("m")]), old=True)["config"]
        entry = today["layers"][1]
        assert "query_shape" not in entry["config"]
        assert entry["inbound_nodes"][0]["kwargs"]["value"]["config"]["keras_history"] == ["x", 0, 0]
        assert entry["inbound_nodes"][0]["kwargs"]["training"] is None

    def test_inputs_by_name(self) -> None:
        calls = [{"a": to("x"), "b": to("y")}]
        inner = {**stack("s"), "name": "s", "inbound_nodes": calls}
        layers = [begin("x", 3), begin("y", 3), inner]
        today = model_today(graph("g", layers, {"x": end("x"), "y": end("y")}, [end("s", 1)]), old=True)["config"]  # type: ignore[arg-type]
        assert set(today["layers"][2]["inbound_nodes"][0]["args"][0]) == {"a", "b"}
        assert today["input_layers"]["y"] == ["y", 0, 0] and today["output_layers"] == ["s", 0, 0]

    def test_classes_of_one_s_own_keep_their_arguments(self) -> None:
        class GRU(lamella.layers.Layer):
            pass

        with lamella.saving.custom_object_scope({"GRU": GRU}):
            today = model_today(layer("GRU", "g", implementation=7), old=True)
        assert today["config"]["implementation"] == 7 and "reset_after" not in today["config"]

    def test_operations_of_keras_3_are_no_layers(self) -> None:
        entry = {**part("Add", name="add"), "name": "add", "inbound_nodes": []}
        assert model_today(entry, old=False)["module"].startswith("keras.src.ops")
        assert (
            model_today({**entry, "config": {"name": "add", "trainable": True}}, old=False)["module"] == "keras.layers"
        )


def lambda_layer(**config: Any) -> Any:
    return layer("Lambda", "l", **config)


def first(**config: Any) -> Callable[[Any], None]:
    return lambda given: given["config"][0]["config"].update(config)


def instead(entry: Any) -> Callable[[Any], None]:
    return lambda given: given["config"].append(entry)


ATTACKS: dict[str, tuple[Callable[[Any], None], str]] = {
    "a lambda's code (CVE-2025-9905)": (
        instead(lambda_layer(function=["4wEAAAAAAAAAAAAAAAEAAAAD", None, None], function_type="lambda")),
        r"holds the code of a Python lambda.*never run",
    ),
    "a lambda's code without its type": (instead(lambda_layer(function=["4wEAAA", None, None])), r"code of a Python"),
    "code for the output's shape": (
        instead(lambda_layer(output_shape=["4wEAAA", None, None], output_shape_type="lambda", function="relu")),
        r"code of a Python",
    ),
    "code in Keras 3's form": (instead(lambda_layer(function=CODE)), r"code of a Python"),
    "a function by module": (
        instead(lambda_layer(function="system", function_type="function", module="os")),
        r"'system', which is not known here",
    ),
    "a class by name": (instead(part("system", command="touch evil")), r"'system', which is not known here"),
    "a class of lamella's name in another module": (
        instead({**part("Dense", units=1), "module": "evil", "registered_name": "Dense"}),
        r"'Dense'.*'evil'",
    ),
    "an argument that is made by opening a file": (first(kernel_initializer=part("open", file="evil")), r"'open'"),
    "an operation of TensorFlow": (
        instead(part("TFOpLambda", name="tf.io.write_file", function="io.write_file")),
        r"'io.write_file' of TensorFlow among its layers",
    ),
    "a node of TensorFlow's": (instead(part("TensorFlowOpLayer", name="op", node_def="\x00")), r"'op' of TensorFlow"),
    "a name upwards": (first(name="../../evil"), r"'model_config' has the name '../../evil', which would be a path"),
    "a slash in front": (first(name="/evil"), r"which would be a path"),
    "weights beyond the file": (first(units=10**10), r"declares .*Nothing was allocated"),
    "an activation by name": (first(activation="system"), r"'system'"),
    "another function under a name of today": (first(activation="hard_sigmoid"), r"(?s)'hard_sigmoid' of Keras 2.*Try"),
    "a config that is a number": (lambda given: given.update(config=3), r"int for its arguments"),
    "no model": (lambda given: given.update(dense("d", 2)), r"describes Dense, which is no model"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_is_refused_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change, finding = ATTACKS[name]
    model = MODELS["plain"]()
    config = copy.deepcopy(model.config)
    change(config)
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LamellaError, match=finding):
        load(written(model, config=config))
    assert os.listdir(tmp_path) == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "it took 100 MB of memory"


def test_only_what_the_caller_passed_is_called() -> None:
    model = MODELS["plain"]()
    config = copy.deepcopy(model.config)
    first(activation="hard_sigmoid")(config)
    instead(lambda_layer(function="twice", function_type="function", module="evil", arguments={}))(config)

    def old(x: Any) -> Any:
        return lamella.ops.clip(0.2 * x + 0.5, 0, 1)

    def twice(x: Any) -> Any:
        return 2 * x

    own = {"hard_sigmoid": old, "twice": twice, "old": old}
    w = model.weights
    hidden = np.clip(0.2 * (model.x @ w["d1"][0] + w["d1"][1]) + 0.5, 0, 1)
    expected = 2 * (hidden @ w["d2"][0] + w["d2"][1])
    found, again = load(written(model, config=config), own), io.BytesIO()
    found.save(again)
    for twin in (found, load(again, own)):
        np.testing.assert_allclose(twin(model.x), expected, rtol=1e-5, atol=1e-6)


LINKS: dict[str, Callable[[Any], None]] = {
    "external": lambda group: group.__setitem__("d2", h5py.ExternalLink("/etc/passwd", "x")),
    "soft": lambda group: group.__setitem__("d2", h5py.SoftLink("/model_weights/d1")),
}


@pytest.mark.parametrize("name", LINKS)
def test_links_are_not_followed(name: str) -> None:
    file = written(MODELS["plain"]())
    with h5py.File(file, "a") as opened:
        del opened["model_weights/d2"]
        LINKS[name](opened["model_weights"])
    with pytest.raises(FileFormatError, match=r"'model_weights/d2' in the file is a link to another place"):
        load(file)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "another version": ({"version": "1.2.2"}, r"of Keras '1.2.2'; HDF5 files of Keras 2 and 3 are read"),
    "a later version": ({"version": "4.0"}, r"of Keras '4.0'"),
    "no JSON": ({"config": b"{"}, r"'model_config' is not read: it is no JSON"),
    "NaN": ({"config": b'{"class_name": NaN}'}, r"holds NaN"),
    "deep nesting": ({"config": b"[" * 300 + b"]" * 300}, r"nested more than 200 levels"),
    "a key twice": ({"config": b'{"a": 1, "a": 2}'}, r"the key 'a' twice"),
    "a list": ({"config": b"[]"}, r"describes no model"),
    "training that is none": ({"training": {"optimizer_config": 3}}, r"does not describe a model"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name(name: str) -> None:
    change, finding = BROKEN[name]
    with pytest.raises(FileFormatError, match=finding):
        load(written(MODELS["plain"](), **change))


def test_a_config_beyond_all_measure() -> None:
    file = written(MODELS["plain"](), config=b" " * ((1 << 26) + 1))
    with pytest.raises(FileFormatError, match=r"'model_config' has 67.1 MB; at most"):
        load(file)


def test_weights_of_another_model() -> None:
    model = MODELS["plain"]()
    wrong = Model(model.config, {"d1": model.weights["d1"], "d2": [np.ones((4, 3), "float32"), np.ones(3)]}, 0, 0)
    with pytest.raises(
        FileFormatError, match=r"model_weights/d2: kernel has the shape \(4, 2\), the file has \(4, 3\)"
    ):
        load(written(wrong))
    fewer = Model(model.config, {"d1": model.weights["d1"]}, 0, 0)
    with pytest.raises(FileFormatError, match=r"has 2 layers with weights \(d1, d2\); the file has 1 \(d1\)"):
        load(written(fewer))


def test_broken_files_by_the_hundred() -> None:
    """Each is refused, or is read as the file that it was, or with a fault in a weight's own digits."""
    model = MODELS["nested"]()
    data = written(model, COMPILED).getvalue()
    counts = {"refused": 0, "read": 0}
    for number in range(300):
        rng = random.Random(number)
        place, other = rng.randrange(len(data)), rng.randrange(len(data))
        faults = (bytes([data[place] ^ 1 << rng.randrange(8)]), rng.randbytes(8), b"\xff" * 4, data[other : other + 64])
        fault = rng.choice(faults)
        changed = data[:place] if number % 7 == 0 else data[:place] + fault + data[place + len(fault) :]
        try:
            found = load(io.BytesIO(changed))
        except LamellaError:
            counts["refused"] += 1
        else:
            counts["read"] += 1
            assert found.count_params() == 29
    assert counts["refused"] > 100, counts


def test_configs_that_make_no_sense() -> None:
    """Values of a config exchanged for others: an error of ours, or a model."""
    model = MODELS["shared"]()
    text = json.dumps(model.config)
    values = ['"x"', "-1", "null", "[]", "{}", "1e9", '{"class_name": "Dense", "config": {}}', '["same", 0, 0]']
    places = [place for place in range(len(text)) if text.startswith(": ", place)]
    refused = 0
    for number in range(300):
        rng = random.Random(number)
        start = rng.choice(places) + 2
        _, stop = json.JSONDecoder().raw_decode(text, start)
        try:
            load(written(model, config=f"{text[:start]}{rng.choice(values)}{text[stop:]}".encode()))
        except LamellaError:
            refused += 1
    assert refused > 100
