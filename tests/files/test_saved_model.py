"""Models as SavedModels, up to where TensorFlow begins: what it is given is right, and the folder is whole.

TensorFlow takes more than a gigabyte, so that a stand-in records what it gets here, and computes it with JAX. It is
called itself by `python -m tests.files.saved_models`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from lamella import Input, Sequential, layers
from lamella.core.errors import FileTakenError
from lamella.core.extras import MissingExtraError
from tests.files.programs import MODELS, calls

SAVED: list[Any] = []


def convert(
    fn: Any,
    polymorphic_shapes: Any,
    polymorphic_constraints: Any,
    native_serialization_platforms: Any,
    with_gradient: bool,
) -> Any:
    """As jax2tf does, trace once for shapes as they are written, and call that program with what comes."""
    assert native_serialization_platforms == ("cpu", "cuda", "tpu") and not with_gradient

    def call(*args: Any) -> Any:
        args = jax.tree.map(np.asarray, args)
        specs = jax.export.symbolic_args_specs(args, tuple(polymorphic_shapes), polymorphic_constraints)
        return jax.export.export(jax.jit(fn), platforms=native_serialization_platforms)(*specs).call(*args)

    return call


class Function:
    def __init__(self, fn: Any, autograph: bool, input_signature: Any) -> None:
        self.fn, self.signature = fn, input_signature

    def get_concrete_function(self) -> None:
        pass

    def __call__(self, *args: Any) -> Any:
        return self.fn(*args)


def save(module: Any, folder: str) -> None:
    SAVED.append(module)
    Path(folder, "saved_model.pb").write_text(f"{len(SAVED)}")


@pytest.fixture
def tensorflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    stand_in: Any = ModuleType("tensorflow")
    stand_in.Module = SimpleNamespace
    stand_in.Variable = lambda value, trainable, name: value
    stand_in.TensorSpec = lambda shape, dtype, name: jax.tree_util.Partial(dict, shape=shape, dtype=dtype, name=name)
    stand_in.function = Function
    stand_in.saved_model = SimpleNamespace(save=save)
    converter: Any = ModuleType("jax2tf")
    converter.convert = convert
    monkeypatch.setitem(sys.modules, "tensorflow", stand_in)
    monkeypatch.setitem(sys.modules, "jax.experimental.jax2tf", converter)
    return stand_in


@pytest.mark.parametrize(
    "name", ["several inputs and outputs", "masks, with steps of any number", "BatchNormalization"]
)
def test_it_serves_what_predict_gives(name: str, tmp_path: Path, tensorflow: Any) -> None:
    model, _ = MODELS[name]
    model.export(tmp_path / "model", format="tf_saved_model")
    module = SAVED.pop()
    (x,) = calls([name])[name][:1]
    expected = jax.tree.leaves(model.predict(x, verbose=0))
    served = jax.tree.leaves(module.serve(jax.tree.map(lambda a: a[:3], x)))
    for answer, wanted in zip(served, expected, strict=True):
        np.testing.assert_allclose(answer, wanted[:3], rtol=1e-5, atol=1e-6)
    specs = [spec.keywords for spec in jax.tree.leaves(module.serve.signature, is_leaf=callable)]
    leaves = jax.tree.leaves(x)
    assert [spec["name"] for spec in specs] == model.input_names
    assert [spec["shape"][0] for spec in specs] == [None] * len(leaves)
    assert [spec["dtype"] for spec in specs] == [str(leaf.dtype) for leaf in leaves]
    assert len(module.weights) == len(model.weights)


def test_a_saved_model_is_replaced_and_another_folder_stays(tmp_path: Path, tensorflow: Any) -> None:
    model = Sequential([Input((2,)), layers.Dense(1)])
    for _ in range(2):
        model.export(tmp_path / "model", format="tf_saved_model")
    assert (tmp_path / "model" / "saved_model.pb").read_text() == "2"
    assert [place.name for place in tmp_path.iterdir()] == ["model"]
    (tmp_path / "photos").mkdir()
    with pytest.raises(FileTakenError, match=r"has no 'saved_model.pb' in it"):
        model.export(tmp_path / "photos", format="tf_saved_model")
    SAVED.clear()


def test_a_failure_leaves_the_old_folder(tmp_path: Path, tensorflow: Any) -> None:
    model = Sequential([Input((2,)), layers.Dense(1)])
    model.export(tmp_path / "model", format="tf_saved_model")

    def full(module: Any, folder: str) -> None:
        raise OSError("No space left on device")

    tensorflow.saved_model.save = full
    with pytest.raises(OSError, match="No space"):
        model.export(tmp_path / "model", format="tf_saved_model")
    assert (tmp_path / "model" / "saved_model.pb").read_text() == "1"
    assert [place.name for place in tmp_path.iterdir()] == ["model"]
    SAVED.clear()


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingExtraError, match=r"(?s)needs tensorflow,.*lamella\[tensorflow\]"):
        Sequential([Input((2,)), layers.Dense(1)]).export(tmp_path / "m", format="tf_saved_model")
