"""Files of weights by their names: what is written and read, and what is said where something does not fit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from safetensors.numpy import load_file

import lamella
from lamella import Input, Sequential, layers
from lamella.errors import ArgumentError, FileFormatError, FileTakenError, NotBuiltError
from lamella.saving.walk import named_weights
from tests.files.models import MODELS, stirred

X, Y = np.ones((4, 3), "float32"), np.zeros((4, 2), "float32")


def stack(k: Any = lamella, *sizes: int) -> Any:
    return k.Sequential([k.Input((3,)), *(k.layers.Dense(size) for size in sizes or (3, 2))])


def equal(one: Any, other: Any) -> None:
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(np.asarray(a, "float32"), np.asarray(b, "float32"))


def text_of(call: Any, kind: type[Exception] = FileFormatError) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.weights.h5"


class TestTheVerbs:
    @pytest.mark.parametrize("ending", [".weights.h5", ".safetensors"])
    @pytest.mark.parametrize("name", ["branches", "half", "normalizations", "subclassed", "whole_numbers"])
    def test_there_and_back(self, name: str, ending: str, tmp_path: Path) -> None:
        one, other = stirred(MODELS[name](lamella)), MODELS[name](lamella)
        one.save_weights(tmp_path / f"a{ending}")
        other.load_weights(str(tmp_path / f"a{ending}"))
        equal(one, other)
        assert os.listdir(tmp_path) == [f"a{ending}"]

    def test_random_states_go_along(self, path: Path) -> None:
        one, other = MODELS["random_states"](lamella), MODELS["random_states"](lamella)
        one(np.ones((2, 4, 3), "float32"), training=True)
        one.save_weights(path)
        other.load_weights(path)
        assert [v.numpy().tolist() for v in one.variables] == [v.numpy().tolist() for v in other.variables]

    def test_a_file_that_is_there(self, path: Path) -> None:
        stack().save_weights(path)
        with pytest.raises(FileTakenError, match="exists already"):
            stack().save_weights(path, overwrite=False)

    def test_an_error_while_writing_leaves_nothing(self, path: Path) -> None:
        class Broken(layers.Dense):
            def save_own_variables(self, store: Any) -> None:
                store["../up"] = self.kernel

        stack().save_weights(path)
        before = path.read_bytes()
        text = text_of(lambda: Sequential([Input((3,)), Broken(2)]).save_weights(path))
        assert "'../up' is no name for an array in a file" in text
        assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]

    def test_names_of_files(self, tmp_path: Path) -> None:
        model = stack()
        for name in ("a.h5", "a.keras", "a"):
            assert "end in '.weights.h5' or '.safetensors'" in text_of(
                lambda n=name: model.save_weights(n), ArgumentError
            )
        assert "Files of weights end in" in text_of(lambda: model.load_weights("a.onnx"), ArgumentError)
        assert "by_name is for" in text_of(lambda: model.load_weights("a.weights.h5", by_name=True), ArgumentError)
        with pytest.raises(FileNotFoundError):
            model.load_weights(tmp_path / "nothing.weights.h5")

    def test_weights_of_a_whole_model(self, tmp_path: Path) -> None:
        model, other = stirred(stack()), stack()
        model.save(tmp_path / "a.keras")
        other.load_weights(tmp_path / "a.keras")
        equal(model, other)
        (tmp_path / "a.keras").write_bytes(b"PK")
        assert "it has 2 bytes" in text_of(lambda: other.load_weights(tmp_path / "a.keras"))

    def test_a_model_without_weights_yet(self, path: Path) -> None:
        model = Sequential([layers.Dense(3)])
        assert "has no weights yet" in text_of(lambda: model.save_weights(path), NotBuiltError)
        stack().save_weights(path)
        assert "has no weights yet" in text_of(lambda: model.load_weights(path), NotBuiltError)

    def test_layers_in_a_set_have_no_place(self, path: Path) -> None:
        class Unordered(lamella.Model):
            def __init__(self) -> None:
                super().__init__()
                self.blocks = {layers.Dense(3), layers.Dense(3)}

            def call(self, x: Any) -> Any:
                for block in self.blocks:
                    x = block(x)
                return x

        model = Unordered()
        model(X)
        text = text_of(lambda: model.save_weights(path), ArgumentError)
        assert "The layers in the set 'blocks' have no order" in text


class TestWhatDoesNotFit:
    def test_another_shape(self, path: Path) -> None:
        stack(lamella, 4, 2).save_weights(path)
        model = stack()
        before = model.get_weights()
        text = text_of(lambda: model.load_weights(path))
        assert "layers/dense: Dense" in text
        assert "kernel has the shape (3, 3), the file has (3, 4)" in text
        assert "layers/dense_1: Dense" in text
        assert "Try: skip_mismatch=True" in text and str(path) in text
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_more_and_fewer_layers(self, path: Path) -> None:
        stack(lamella, 3, 2).save_weights(path)
        assert "layers/dense_1: there is no such layer" in text_of(lambda: stack(lamella, 3).load_weights(path))
        text = text_of(lambda: stack(lamella, 3, 2, 2).load_weights(path))
        assert "layers/dense_2: Dense" in text and "2 weights (kernel, bias), the file has none" in text

    def test_a_weight_more(self, path: Path) -> None:
        Sequential([Input((3,)), layers.Dense(3, use_bias=False)]).save_weights(path)
        assert "2 weights (kernel, bias), the file has 1" in text_of(lambda: stack(lamella, 3).load_weights(path))

    def test_whole_numbers_for_fractions(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["layers/dense/vars/0"] = np.ones((3, 3), "int8")
            file["layers/dense/vars/1"] = np.ones(3, "float32")
        assert "kernel is float32, the file has int8" in text_of(lambda: stack(lamella, 3).load_weights(path))

    def test_what_does_not_fit_is_skipped(self, path: Path) -> None:
        one, model = stirred(stack(lamella, 3, 4)), stack(lamella, 3, 2, 2)
        one.save_weights(path)
        before = model.get_weights()
        with pytest.warns(UserWarning, match=r"(?s)stay as they are.*layers/dense_1.*layers/dense_2"):
            model.load_weights(path, skip_mismatch=True)
        np.testing.assert_array_equal(model.get_weights()[0], one.get_weights()[0])
        np.testing.assert_array_equal(model.get_weights()[2], before[2])


class TestOptimizers:
    @pytest.mark.parametrize("choice", ["adam", "momentum", "decay", "ema", "schedule", "scaled"])
    def test_both_ways(self, choice: str, path: Path) -> None:
        def compiled(k: Any) -> Any:
            o, model = k.optimizers, stack(k)
            made = {
                "adam": lambda: o.Adam(0.01),
                "momentum": lambda: o.SGD(0.01, momentum=0.9),
                "decay": lambda: o.AdamW(0.01),
                "ema": lambda: o.RMSprop(0.01, use_ema=True, gradient_accumulation_steps=2),
                "schedule": lambda: o.Adam(o.schedules.ExponentialDecay(0.1, 2, 0.5)),
                "scaled": lambda: o.LossScaleOptimizer(o.SGD(0.01, momentum=0.9), initial_scale=64.0),
            }
            model.compile(made[choice](), "mse")
            model.optimizer.build(model.trainable_variables)
            return model

        theirs, ours, again = compiled(keras), compiled(lamella), compiled(keras)
        theirs.load_own = [
            variable.assign(np.full(variable.shape, 3 + i)) for i, variable in enumerate(theirs.optimizer.variables)
        ]
        theirs.save_weights(path)
        ours.load_weights(path)
        for i, variable in enumerate(ours.optimizer.variables):
            assert (variable.numpy() == 3 + i).all(), variable.path
        ours.save_weights(path)
        again.load_weights(path)
        for i, variable in enumerate(again.optimizer.variables):
            assert (np.asarray(variable) == 3 + i).all(), variable.path

    def test_a_model_that_was_not_trained_yet_gets_the_state(self, path: Path) -> None:
        one, other = stack(), stack()
        for model in (one, other):
            model.compile("adam", "mse")
        one.fit(X, Y, epochs=3, verbose=0)
        one.save_weights(path)
        other.load_weights(path)
        assert int(other.optimizer.iterations) == 3
        one.fit(X, Y, epochs=2, verbose=0)
        other.fit(X, Y, epochs=2, verbose=0)
        equal(one, other)

    def test_another_optimizer_starts_anew(self, path: Path) -> None:
        one, other = stack(), stack()
        one.compile("adam", "mse")
        one.optimizer.build(one.trainable_variables)
        one.save_weights(path)
        other.compile("sgd", "mse")
        with pytest.warns(UserWarning, match="starts anew. It has 2 weights .*, the file has 10"):
            other.load_weights(path)
        equal(one, other)

    def test_files_without_one(self, path: Path) -> None:
        one, other = stack(), stack()
        one.save_weights(path)
        other.compile("adam", "mse")
        other.load_weights(path)
        equal(one, other)


class TestKeras2:
    def models(self) -> list[Any]:
        def build(k: Any) -> Any:
            inner = k.Sequential([k.Input((3,)), k.layers.BatchNormalization(), k.layers.Dense(2)], name="inner")
            return k.Sequential([k.Input((4, 3)), k.layers.LSTM(3, name="memory"), inner], name="outer")

        return [stirred(build(keras)), build(lamella)]

    @pytest.mark.parametrize("by_name", [False, True])
    @pytest.mark.parametrize("whole", [False, True])
    def test_is_read(self, whole: bool, by_name: bool, tmp_path: Path) -> None:
        theirs, ours = self.models()
        with h5py.File(tmp_path / "a.h5", "w") as file:
            group = file.create_group("model_weights") if whole else file
            legacy_h5_format.save_weights_to_hdf5_group(group, theirs)
        ours.load_weights(tmp_path / "a.h5", by_name=by_name)
        equal(ours, theirs)

    def test_names_choose(self, tmp_path: Path) -> None:
        theirs, _ = self.models()
        with h5py.File(tmp_path / "a.h5", "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, theirs)
        other = Sequential([Input((4, 3)), layers.LSTM(3, name="memory"), layers.Dense(9, name="fresh")])
        before = other.layers[1].get_weights()
        other.load_weights(tmp_path / "a.h5", by_name=True)
        equal(other.layers[0], theirs.layers[0])
        np.testing.assert_array_equal(other.layers[1].get_weights()[0], before[0])
        wrong = Sequential([Input((4, 3)), layers.LSTM(4, name="memory")])
        assert "memory: kernel has the shape (3, 16), the file has (3, 12)" in text_of(
            lambda: wrong.load_weights(tmp_path / "a.h5", by_name=True)
        )
        text = text_of(lambda: wrong.load_weights(tmp_path / "a.h5"))
        assert "1 layers with weights (memory); the file has 2 (memory, inner)" in text

    def test_the_two_layouts_are_told_apart(self, path: Path) -> None:
        theirs, ours = self.models()
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, theirs)
        assert "layout of Keras 2" in text_of(lambda: ours.load_weights(path))
        ours.save_weights(path)
        os.rename(path, path.parent / "a.h5")
        assert "does not have the layout of Keras 2" in text_of(lambda: ours.load_weights(path.parent / "a.h5"))

    @pytest.mark.parametrize("name", ["../other", "/dense/kernel", "a//b", "."])
    def test_names_lead_nowhere_else(self, name: str, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.attrs["layer_names"] = [b"dense"]
            file["dense/kernel"] = np.ones((3, 3))
            file["dense"].attrs["weight_names"] = [name.encode()]
        text = text_of(lambda: stack(lamella, 3).load_weights(tmp_path / "a.h5"))
        assert f"names {name!r}, which is no place inside it" in text


class TestSafetensors:
    def test_names_depend_on_no_counter(self) -> None:
        assert list(named_weights(stack())) == list(named_weights(stack()))
        assert list(named_weights(MODELS["subclassed"](lamella)))[:4] == [
            "scale", "shift", "offset", "again/kernel",
        ]  # fmt: skip

    def test_the_bytes_are_those_of_the_format(self, tmp_path: Path) -> None:
        path, model = tmp_path / "a.safetensors", stirred(stack(lamella, 2))
        model.save_weights(path)
        np.testing.assert_array_equal(load_file(path)["layers/dense/kernel"], model.get_weights()[0])
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        assert length % 8 == 0
        assert header["layers/dense/kernel"]["shape"] == [3, 2] and header["layers/dense/kernel"]["dtype"] == "F32"
        start, end = header["layers/dense/kernel"]["data_offsets"]
        read = np.frombuffer(data[8 + length + start : 8 + length + end], "<f4").reshape(3, 2)
        np.testing.assert_array_equal(read, model.get_weights()[0])

    def test_what_does_not_fit(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        stack(lamella, 3, 2).save_weights(path)
        text = text_of(lambda: stack(lamella, 4).load_weights(path))
        assert "layers/dense/kernel: kernel has the shape (3, 4), the file has (3, 3)" in text
        assert "layers/dense_1/bias: there is no such weight" in text
        assert "layers/dense_1/kernel: it is not in the file" in text_of(
            lambda: (stack(lamella, 3).save_weights(path), stack(lamella, 3, 2).load_weights(path))
        )

    @pytest.mark.parametrize(
        ("header", "said"),
        [
            ('{"a": {"dtype": "F32", "shape": [1099511627776], "data_offsets": [0, 8]}}', "invalid shape"),
            ('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}', "invalid offset for tensor `a`"),
            ('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', "file not fully covered"),
            ('{"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}', "unknown variant `O`"),
            ('{"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}', "'a' in the file has the type C64"),
            ('{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}', "integer `-2`"),
            ('{"a": {"dtype": "F32", "shape": "12", "data_offsets": [0, 8]}}', "expected a sequence"),
            ('{"a": 3}', "expected struct TensorInfo"),
            ("[1, 2]", "expected struct HashMetadata"),
            (
                '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},'
                ' "a": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}',
                "it has the key 'a' twice",
            ),
        ],
    )
    def test_headers_that_lie(self, header: str, said: str, tmp_path: Path) -> None:
        text = header.encode()
        (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
        assert said in text_of(lambda: stack().load_weights(tmp_path / "a.safetensors"))

    @pytest.mark.parametrize(
        "data", [b"", b"\xff" * 8, b"\xff" * 20, b'\x0a\0\0\0\0\0\0\0{"a":1,"a":2}', b"\2" + bytes(7) + b"[" * 9]
    )
    def test_what_is_no_such_file(self, data: bytes, tmp_path: Path) -> None:
        (tmp_path / "a.safetensors").write_bytes(data)
        assert "safetensors file" in text_of(lambda: stack().load_weights(tmp_path / "a.safetensors"))
