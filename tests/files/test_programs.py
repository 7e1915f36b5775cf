"""Several programs in one file; and what is refused before it is run."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import lamella
from lamella import Input, InputSpec, Sequential, layers
from lamella.core.errors import ArgumentError, FileFormatError, MixesSamplesError
from lamella.export import ExportArchive, load
from lamella.saving.programs import _check
from lamella.saving.stablehlo import sealed

X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
SPEC = jax.ShapeDtypeStruct((4,), "float32")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An archive of a model, its first layer, and a function around it."""
    encoder = layers.Dense(3, activation="relu")
    model = Sequential([Input((4,)), encoder, layers.Dropout(0.5), layers.Dense(1)], name="stack")
    archive = ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", model.call)
    archive.track_and_add_endpoint("encode", encoder, [InputSpec(shape=(None, 4))])
    archive.add_endpoint("twice", lambda x, y: {"sum": model(x) + model(y)}, [InputSpec(shape=(None, 4))] * 2)
    archive.write_out(tmp_path / "all.zip", verbose=False)
    model.export(tmp_path / "one")
    for name, value in {"serve": model(X), "encode": encoder(X), "twice": 2 * model(X)}.items():
        np.save(tmp_path / f"{name}.npy", value)
    return tmp_path


def test_each_endpoint_is_a_program(path: Path) -> None:
    wanted = {name: np.load(path / f"{name}.npy") for name in ("serve", "encode", "twice")}
    with zipfile.ZipFile(path / "all.zip") as archive:
        for name in ("serve", "encode"):
            program = jax.export.deserialize(bytearray(archive.read(f"{name}.stablehlo")))
            np.testing.assert_allclose(program.call(X[:2]), wanted[name][:2], rtol=1e-5, atol=1e-6)
    both = load(path / "all.zip", "twice").call(X, X)["sum"]
    np.testing.assert_allclose(both, wanted["twice"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(load(path / "one").call(X), wanted["serve"], rtol=1e-5, atol=1e-6)


def test_write_out_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = lamella.export.ExportArchive()
    archive.add_endpoint("serve", Sequential([Input((4,)), layers.Dense(1)]))
    archive.write_out(tmp_path / "m")
    assert capsys.readouterr().out == f"serve written to {str(tmp_path / 'm')!r}.\n"
    first = (tmp_path / "m").read_bytes()
    archive.write_out(tmp_path / "m", verbose=False)
    assert (tmp_path / "m").read_bytes() == first


def test_what_an_archive_does_not_take(tmp_path: Path) -> None:
    archive = ExportArchive()
    with pytest.raises(ArgumentError, match="has no endpoint"):
        archive.write_out(tmp_path / "m")
    with pytest.raises(ArgumentError, match=r"a Python name, got '\.\./serve'"):
        archive.add_endpoint("../serve", layers.Dense(1), [SPEC])
    with pytest.raises(ArgumentError, match="'serve' does not know its inputs"):
        archive.add_endpoint("serve", layers.Dense(1))
    with pytest.raises(MixesSamplesError, match="Samples mix in 'serve'"):
        archive.add_endpoint("serve", lambda x: x - x.mean(0), [InputSpec(shape=(None, 4))])
    archive.add_endpoint("serve", lambda x: x * 2, [InputSpec(shape=(None, 4))])
    with pytest.raises(ArgumentError, match="'serve' already"):
        archive.add_endpoint("serve", lambda x: x, [InputSpec(shape=(None, 4))])
    with pytest.raises(ArgumentError, match="no options"):
        archive.write_out(tmp_path / "m", options=object())  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="not 'tf_saved_model'"):
        ExportArchive("tf_saved_model")
    assert not list(tmp_path.iterdir())


def test_load_says_which_endpoints_there_are(path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"no endpoint 'encod'.* Did you mean 'encode'"):
        load(path / "all.zip", "encod")
    with pytest.raises(ArgumentError, match=r"no endpoint None.* Known: encode, serve, twice"):
        load(path / "all.zip")
    with pytest.raises(ArgumentError, match="one program, without a name"):
        load(path / "one", "serve")


def attack(name: str) -> bytes:
    """A program that JAX reads, and that calls into the process: Python's callbacks, by a number of one's own."""
    allowed = [jax.export.DisabledSafetyCheck.custom_call(name)]

    def call(x: Any) -> Any:
        return jax.ffi.ffi_call(name, SPEC, has_side_effect=True)(x, index=np.uint64(5))

    return bytes(sealed(jax.export.export(jax.jit(call), disabled_checks=allowed)(SPEC).serialize()))


@pytest.mark.parametrize("name", ["xla_ffi_python_cpu_callback", "tpu_custom_call", "my.own call", "lapack_x_ffi2"])
def test_a_program_that_calls_into_the_process_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "evil").write_bytes(attack(name))
    with pytest.raises(FileFormatError, match=rf"calls '{name}', which reaches out.*It was not run"):
        load(tmp_path / "evil")
    jax.export.deserialize(bytearray((tmp_path / "evil").read_bytes()))  # JAX itself does not look


@pytest.mark.parametrize("operation", ["infeed", "outfeed", "send", "recv"])
def test_a_program_that_reads_or_writes_outside_is_refused(operation: str) -> None:
    with pytest.raises(FileFormatError, match=f"has the operation '{operation}'"):
        _check(f'%1 = "stablehlo.{operation}"(%0) : ...', "evil")


def test_a_call_in_another_form_is_refused() -> None:
    with pytest.raises(FileFormatError, match="calls ''"):
        _check('%0 = "stablehlo.custom_call"(%arg0) <{call_target_name = "lapack_sgetrf_ffi"}>', "evil")


def test_programs_with_linear_algebra_are_read(tmp_path: Path) -> None:
    def solve(x: Any) -> Any:
        return jax.numpy.linalg.solve(x[:, None] * x[..., None] + jax.numpy.eye(4), x[..., None])

    archive = ExportArchive()
    archive.add_endpoint("serve", solve, [InputSpec(shape=(None, 4))])
    archive.write_out(tmp_path / "m", verbose=False)
    np.testing.assert_allclose(load(tmp_path / "m", "serve").call(X), solve(X), rtol=1e-4, atol=1e-5)


def test_broken_files_are_named(path: Path) -> None:
    data, zipped = (path / "one").read_bytes(), (path / "all.zip").read_bytes()
    draw = np.random.default_rng(0)
    for place in draw.integers(0, len(data), 200):
        turned = data[:place] + bytes([data[place] ^ 1 << draw.integers(8)]) + data[place + 1 :]
        for broken in (turned, data[:place]):
            (path / "one").write_bytes(broken)
            with pytest.raises(FileFormatError, match=r"'.*one' is no whole program"):
                load(path / "one")
    (path / "one").write_bytes(sealed(b"not a program"))
    with pytest.raises(FileFormatError, match="holds no program"):
        load(path / "one")
    (path / "all.zip").write_bytes(zipped[: len(zipped) // 2])
    with pytest.raises(FileFormatError, match="no whole archive"):
        load(path / "all.zip", "serve")
    with zipfile.ZipFile(path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("serve.stablehlo", data)
    with pytest.raises(FileFormatError, match="is compressed"):
        load(path / "bomb.zip", "serve")
