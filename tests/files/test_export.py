"""Models as programs: whoever has JAX calls them, for any number of samples, and gets what `predict` gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lamella
from lamella import Input, InputSpec, Model, Sequential, kernels, layers
from lamella.core.errors import (
    ArgumentError,
    MixesSamplesError,
    NotBuiltError,
    ShapeError,
    SymbolicBranchError,
)
from lamella.kernels import sequence
from lamella.saving import stablehlo
from tests.files.programs import MODELS, calls

SIZES = (1, 3, 7)
CALLS = calls(MODELS)
# What a stranger has: JAX, NumPy and the file.
STRANGER = """
import sys
for name in ("lamella", "keras", "h5py", "optax"):
    sys.modules[name] = None
import jax, numpy
from pathlib import Path

for path in Path(sys.argv[1]).glob("*.stablehlo"):
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    given = numpy.load(path.with_suffix(".npz"))
    answers = {}
    for call in sorted({key.split("/")[0] for key in given}):
        leaves = [given[f"{call}/{place}"] for place in range(len(program.in_avals))]
        args, _ = jax.tree.unflatten(program.in_tree, leaves)
        for place, leaf in enumerate(jax.tree.leaves(program.call(*args))):
            answers[f"{call}/{place}"] = numpy.asarray(leaf, "float32")
    numpy.savez(path.with_suffix(".out.npz"), **answers)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What a process without lamella gets from the files of all models."""
    folder = tmp_path_factory.mktemp("programs")
    for name, (model, _) in MODELS.items():
        model.export(folder / f"{name}.stablehlo")
        given = {
            f"{call} {size}/{place}": leaf[:size]
            for call, x in enumerate(CALLS[name])
            for size in SIZES
            for place, leaf in enumerate(jax.tree.leaves(x))
        }
        np.savez(folder / f"{name}.npz", **given)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(folder)], env=environment, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {name: dict(np.load(folder / f"{name}.out.npz")) for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_a_process_without_lamella_predicts_the_same(name: str, answers: dict[str, dict[str, Any]]) -> None:
    for call, x in enumerate(CALLS[name]):
        for place, leaf in enumerate(jax.tree.leaves(MODELS[name][0].predict(x, verbose=0))):
            wanted = np.asarray(leaf, "float32")
            assert np.any(wanted != wanted[0]), "samples have answers of their own"
            for size in SIZES:
                got = answers[name][f"{call} {size}/{place}"]
                np.testing.assert_allclose(got, wanted[:size], rtol=1e-5, atol=1e-6)


def program(path: Path) -> Any:
    return jax.export.deserialize(bytearray(path.read_bytes()))


def stack(*inside: Any) -> Any:
    return Sequential([Input((8,), name="x"), *inside], name="stack")


class TestWhatIsWritten:
    @pytest.mark.parametrize(("form", "broken"), [("whole_plain", False), ("_by_coefficients", True)])
    def test_a_program_is_for_each_platform_in_its_own_form(
        self, form: str, broken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Break one form of a kernel: on CPU, what the program for all computes shows that of CPU alone."""
        whole = getattr(sequence, form)
        monkeypatch.setattr(sequence, form, lambda *args: jax.tree.map(lambda a: a * jnp.nan, whole(*args)))
        Sequential([Input((5, 3)), layers.LSTM(4)]).export(tmp_path / "m")
        made = program(tmp_path / "m")
        assert made.platforms == ("cpu", "cuda", "tpu")
        assert bool(jnp.isnan(made.call(np.ones((2, 5, 3), "float32"))).any()) is broken

    def test_nothing_of_this_machine_is_in_it(self, tmp_path: Path) -> None:
        model = stack(layers.LayerNormalization(), layers.Dense(2))
        for place in "ab":
            model.export(tmp_path / place, platforms=["cpu"])
        data = (tmp_path / "a").read_bytes()
        assert b".py" not in data and b"lamella" not in data
        assert data == (tmp_path / "b").read_bytes(), "one model is one file"

    def test_weights_are_those_of_the_moment(self, tmp_path: Path) -> None:
        model = stack(layers.Dense(1, kernel_initializer="ones"))
        model.export(tmp_path / "m")
        model.set_weights([np.zeros((8, 1)), np.zeros(1)])
        assert program(tmp_path / "m").call(np.ones((1, 8), "float32")).tolist() == [[8.0]]

    def test_the_old_file_stays_when_it_fails(self, tmp_path: Path) -> None:
        path = tmp_path / "m"
        path.write_bytes(b"old")
        with pytest.raises(MixesSamplesError):
            stack(layers.Lambda(lambda x: x - jnp.mean(x, 0))).export(path)
        assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1

    def test_verbose_says_what_goes_in(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = str(tmp_path / "m")
        stack(layers.Dense(1)).export(path, verbose=True)
        assert capsys.readouterr().out == f"'stack' was written to {path!r}: (batch, features=8) float32.\n"

    def test_a_fixed_batch_stays_fixed(self, tmp_path: Path) -> None:
        Sequential([Input(batch_shape=(4, 5, 3)), layers.LSTM(3, stateful=True)]).export(tmp_path / "m")
        assert program(tmp_path / "m").in_avals[0].shape == (4, 5, 3)

    def test_sizes_that_must_agree_are_taken_to_agree(self, tmp_path: Path) -> None:
        x, y = Input((None, 3)), Input((None, 3))
        Model([x, y], layers.Add()([x, y])).export(tmp_path / "m")
        ones = np.ones((2, 5, 3), "float32")
        assert program(tmp_path / "m").call([ones, ones]).shape == (2, 5, 3)

    def test_sizes_that_need_not_agree_stay_apart(self, tmp_path: Path) -> None:
        query, value, key = Input((None, 4)), Input((None, 4)), Input((None, 4))
        Model([query, value, key], layers.Attention()([query, value, key])).export(tmp_path / "m")
        few, many = np.ones((2, 3, 4), "float32"), np.ones((2, 5, 4), "float32")
        assert program(tmp_path / "m").call([few, many, many]).shape == (2, 3, 4)

    @pytest.mark.parametrize(("size", "padding", "least"), [(4, "valid", 4), (9, "valid", 16), (3, "same", 1)])
    def test_windows_over_sizes_that_vary(
        self, size: int, padding: str, least: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where a window must fit, the size is at least 4, 16 or 64; less is an error of JAX."""
        model = Sequential([Input((None, 2)), layers.Conv1D(3, size, strides=2, padding=padding)])
        model.export(tmp_path / "m", verbose=True)
        assert (f">= {least}." in capsys.readouterr().out) == (least > 1)
        made = program(tmp_path / "m")
        for steps in (least, 20):
            x = np.random.default_rng(0).normal(size=(2, steps, 2)).astype("float32")
            np.testing.assert_allclose(made.call(x), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
        with pytest.raises(ValueError, match=r"refining shapes|>= 1"):
            made.call(np.ones((2, least - 1, 2), "float32"))


class Late(Model):
    def __init__(self) -> None:
        super().__init__(name="late")
        self.inner = layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.inner(x)


class TestInputSignature:
    @pytest.mark.parametrize(
        "given",
        [
            [InputSpec(shape=(None, 8))],
            InputSpec(shape=(None, 8), dtype="float32"),
            [jax.ShapeDtypeStruct((7, 8), "float32")],
            [Input((8,))],
            [np.ones((2, 8), "float32")],
        ],
    )
    def test_a_model_never_called_is_built_by_it(self, given: Any, tmp_path: Path) -> None:
        Late().export(tmp_path / "m", input_signature=given)
        assert program(tmp_path / "m").call(np.ones((7, 8), "float32")).shape == (7, 3)

    def test_without_it_the_error_says_what_to_give(self, tmp_path: Path) -> None:
        with pytest.raises(NotBuiltError, match=r"(?s)'late' was never called.*input_signature="):
            Late().export(tmp_path / "m")

    def test_it_holds_shapes(self, tmp_path: Path) -> None:
        with pytest.raises(ArgumentError, match="specs with a shape"):
            Late().export(tmp_path / "m", input_signature=[InputSpec(ndim=2)])

    def test_it_has_as_many_as_there_are_inputs(self, tmp_path: Path) -> None:
        with pytest.raises(ShapeError, match="has 1 inputs; input_signature has 2"):
            stack().export(tmp_path / "m", input_signature=[InputSpec(shape=(None, 8))] * 2)

    def test_a_fixed_batch_may_mix(self, tmp_path: Path) -> None:
        centred = stack(layers.Lambda(lambda x: x - jnp.mean(x, 0)))
        centred.export(tmp_path / "m", input_signature=[InputSpec(shape=(4, 8))])
        x = np.arange(32, dtype="float32").reshape(4, 8)
        np.testing.assert_allclose(program(tmp_path / "m").call(x), x - x.mean(0))


class Branching(Model):
    def call(self, x: Any) -> Any:
        return x if x.shape[0] > 16 else x * 2


class Folding(Model):
    def call(self, x: Any) -> Any:
        return x.reshape(2, -1, 8)[:, 0]


class Printing(layers.Layer):
    def call(self, x: Any) -> Any:
        jax.debug.print("{x}", x=x)
        return x


class Eigenvalues(layers.Layer):
    def call(self, x: Any) -> Any:
        return jnp.real(jnp.linalg.eigvals(x[:, :, None] * jnp.ones(8)))


def called(model: Any) -> Any:
    model(np.ones((4, 8), "float32"))
    return model


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "samples mix": (
        lambda: stack(layers.Lambda(lambda x: x - jnp.mean(x, 0), name="centre")),
        MixesSamplesError,
        r"(?s)Samples mix in 'stack'.*test_export.py:\d+.*in the layer 'stack/centre'.*Try: input_signature=",
    ),
    "a branch on the batch": (
        lambda: called(Branching(name="branching")),
        SymbolicBranchError,
        r"(?s)'branching', Python code depends on the size 'batch'.*test_export.py:\d+: return x if x.shape\[0\] > 16",
    ),
    "a size that does not divide": (
        lambda: called(Folding(name="folding")),
        ShapeError,
        r"(?s)'folding' has no program for every size.*In the layer 'folding'.*test_export.py:\d+: return x.reshape",
    ),
    "a function of this process": (
        lambda: stack(Printing(name="printing")),
        ArgumentError,
        r"'debug_print' in the layer 'stack/printing' at .*test_export.py:\d+: jax.debug.print",
    ),
    "an operation of one platform": (
        lambda: stack(Eigenvalues(name="eigen")),
        ArgumentError,
        r"(?s)computes 'eig' in the layer 'stack/eigen' at .*JAX does not have on 'tpu'.*Try: platforms=\[\"cpu\"\]",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_program_is_named(name: str, tmp_path: Path) -> None:
    make, kind, text = REFUSED[name]
    model = make()
    with pytest.raises(kind, match=text):
        model.export(tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"format": "stablehl"}, "Did you mean 'stablehlo'"),
        ({"format": "litert"}, "TFLiteConverter"),
        ({"format": "openvino"}, "openvino.convert_model"),
        ({"format": "torch"}, "safetensors"),
        ({"platform": "cpu"}, "Did you mean 'platforms'"),
        ({"platforms": ["cpux"]}, "Did you mean 'cpu'"),
    ],
)
def test_arguments_that_are_not_there(arguments: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=text):
        stack(layers.Dense(1)).export(tmp_path / "m", **arguments)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="A model is exported, got Dense"):
        lamella.saving.export.export_model(layers.Dense(1), tmp_path / "m")


def test_weights_beyond_the_file_s_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stablehlo, "_LARGEST", 35)
    with pytest.raises(ArgumentError, match="take 36 B; a program with its weights holds 2 GB"):
        stack(layers.Dense(1)).export(tmp_path / "m")


def test_a_program_for_other_platforms_takes_no_kernel_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    half = [jnp.ones((2, 5, 4, 16), "bfloat16")] * 3

    def attend() -> Any:
        return kernels.attention(*half, scale=0.25, flash=True)

    with kernels.made_for("each"):
        assert "cudnn" not in str(jax.make_jaxpr(attend)())
