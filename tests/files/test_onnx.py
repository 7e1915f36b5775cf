"""Models as ONNX graphs: onnxruntime gives what `predict` gives, for batches of any size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import jax2onnx
import numpy as np
import onnx
import onnxruntime
import pytest

from lamella import Input, InputSpec, Model, Sequential, layers
from lamella.core.errors import ArgumentError, MixesSamplesError
from lamella.core.extras import MissingExtraError
from lamella.saving import onnx as room
from tests.files.programs import MODELS, calls

NAMES = [name for name in MODELS if name not in ("bfloat16", "int8", "shared layers", "dropout")]
CALLS = calls(NAMES)


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options)


@pytest.mark.parametrize("name", NAMES)
def test_onnxruntime_predicts_the_same(name: str, tmp_path: Path) -> None:
    model, _ = MODELS[name]
    model.export(tmp_path / "m.onnx", format="onnx")
    onnx.checker.check_model(tmp_path / "m.onnx")
    runtime = session(tmp_path / "m.onnx")
    for given in CALLS[name]:
        expected = jax.tree.leaves(model.predict(given, verbose=0))
        for size in (1, 3, 7):
            leaves = [leaf[:size] for leaf in jax.tree.leaves(given)]
            fed = {i.name: leaf for i, leaf in zip(runtime.get_inputs(), leaves, strict=True)}
            for answer, wanted in zip(runtime.run(None, fed), expected, strict=True):
                assert answer.shape == wanted[:size].shape
                assert np.max(np.abs(answer - wanted[:size])) <= 1e-5 * np.max(np.abs(wanted))


def test_inputs_and_outputs_have_the_layers_names(tmp_path: Path) -> None:
    model, _ = MODELS["several inputs and outputs"]
    model.export(tmp_path / "m.onnx", format="onnx", opset_version=21)
    runtime = session(tmp_path / "m.onnx")
    assert [(i.name, i.shape) for i in runtime.get_inputs()] == [("left", ["batch", 8]), ("right", ["batch", 8])]
    assert [i.name for i in runtime.get_outputs()] == ["code", "mark"]
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == 21
    assert b".py" not in (tmp_path / "m.onnx").read_bytes(), "nothing of this machine is in it"


def test_an_input_may_be_an_output(tmp_path: Path) -> None:
    a, b = Input((2,), name="a"), Input((2,), name="b")
    Model([a, b], [layers.Add(name="sum")([a, b]), a]).export(tmp_path / "m.onnx", format="onnx")
    ones = np.ones((3, 2), "float32")
    total, same = session(tmp_path / "m.onnx").run(None, {"a": ones, "b": 2 * ones})
    assert total.sum() == 18 and same.sum() == 6


def test_jax_is_afterwards_what_it_was(tmp_path: Path) -> None:
    """In a process of its own: the converter changes JAX once, when its parts are first loaded."""
    script = """
import jax.numpy as jnp
from lamella import Input, Sequential, layers, ops
before = dict(vars(jnp))
model = Sequential([Input((3,)), layers.Lambda(lambda x: ops.cumsum(x, axis=1))])
for path in "ab":
    model.export(path, format="onnx")
assert [name for name in before if before[name] is not getattr(jnp, name)] == []
print(jnp.cumsum(jnp.ones((1, 3)), 1).tolist())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "[[1.0, 2.0, 3.0]]\n", done.stderr


def test_a_fixed_batch_stays_fixed(tmp_path: Path) -> None:
    model = Sequential([Input((8, 2)), layers.Conv1D(3, 2), layers.LSTM(2, go_backwards=True)])
    model.export(tmp_path / "m.onnx", format="onnx", input_signature=[InputSpec(shape=(2, 8, 2))])
    assert session(tmp_path / "m.onnx").get_inputs()[0].shape == [2, 8, 2]


def test_what_the_converter_does_not_know_is_named(tmp_path: Path) -> None:
    model = Sequential([Input((4, 4, 4, 1)), layers.Conv3D(1, 2, name="deep")], name="stack")
    with pytest.raises(ArgumentError, match="does not convert 'conv_general_dilated' in the layer 'stack/deep'"):
        model.export(tmp_path / "m.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["bfloat16", "int8"])
def test_what_the_runtime_has_no_kernel_for_is_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"(?s)does not run in onnxruntime: .*NOT_IMPLEMENTED.*stablehlo"):
        MODELS[name][0].export(tmp_path / "m.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_with_other_numbers_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A converter that leaves the bias out."""

    def careless(fn: Any, **options: Any) -> Any:
        return jax2onnx.to_onnx(lambda x: [x @ jnp.ones((2, 1))], **options)

    model = Sequential([Input((2,)), layers.Dense(1, kernel_initializer="ones", bias_initializer="ones")], name="stack")
    whole = room.need
    fake = {"jax2onnx": SimpleNamespace(to_onnx=careless)}
    monkeypatch.setattr(room, "need", lambda module, extra: fake.get(module) or whole(module, extra))
    with pytest.raises(ArgumentError, match="'stack' gives other numbers in onnxruntime than in JAX"):
        model.export(tmp_path / "m.onnx", format="onnx")


def test_mixed_samples_are_refused_here_too(tmp_path: Path) -> None:
    with pytest.raises(MixesSamplesError):
        Sequential([Input((2,)), layers.Lambda(lambda x: x - jnp.mean(x, 0))]).export(tmp_path / "m", format="onnx")


@pytest.mark.parametrize("module", ["jax2onnx", "onnxruntime"])
def test_without_the_extra_the_error_names_it(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"(?s)needs {module},.*lamella\[onnx\]"):
        Sequential([Input((2,)), layers.Dense(1)]).export(tmp_path / "m", format="onnx")
