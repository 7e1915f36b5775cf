"""`lamella inspect`: what is in a file, without loading it, and everything in it that would be refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import lamella
from lamella.errors import ArgumentError
from lamella.tools.cli import main
from lamella.tools.inspecting import inspect
from tests.files import keras2
from tests.files.kinds import KINDS
from tests.files.test_attacks import ATTACKS, CODE, MEMBERS, layer, loaded_model, named, packed

Parts = dict[str, bytes]


@pytest.fixture(scope="module")
def parts() -> Parts:
    """The members of a good file."""
    file, model = io.BytesIO(), loaded_model()
    model.compile("sgd", "mse", metrics=["mae"])
    lamella.saving.save_model(model, file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.keras"


def test_a_good_archive(parts: Parts, path: Path) -> None:
    path.write_bytes(packed(parts).getvalue())
    report = inspect(str(path), make=True)
    assert report.findings == [] and report.keras_version == "3.15.1" and len(report.date_saved or "") == 19
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    assert {member["name"]: member["sha256"] for member in report.members} == digests
    assert [(w["path"], w["shape"], w["dtype"], w["bytes"]) for w in report.weights][:2] == [
        ("layers/dense/vars/0", [4, 3], "float32", 48),
        ("layers/dense/vars/1", [3], "float32", 12),
    ]


def test_a_packed_archive(parts: Parts, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    report = inspect(str(path))
    assert report.findings == [] and len(report.weights) == 6
    assert report.members[2]["sha256"] == hashlib.sha256(parts["model.weights.h5"]).hexdigest()


@pytest.mark.parametrize("kind", [*ATTACKS, *MEMBERS])
def test_each_attack_is_a_finding(kind: str, parts: Parts, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind in ATTACKS:
        change, finding = ATTACKS[kind]
        config = json.loads(parts["config.json"])
        change(config)
        path.write_bytes(packed(parts, config).getvalue())
    else:
        edit, finding = MEMBERS[kind]
        path.write_bytes(packed(edit(parts)).getvalue())
    monkeypatch.chdir(path.parent)
    report = inspect(str(path), make=True)
    assert report.findings
    said = "\n".join(entry["what"] for entry in report.findings)
    assert re.search(finding, said), said
    assert os.listdir(path.parent) == ["model.keras"]


def test_all_findings_with_their_places(parts: Parts, path: Path) -> None:
    config = json.loads(parts["config.json"])
    layer(config)["config"]["name"] = "../up"
    layer(config)["config"]["kernel_initializer"] = {"class_name": "open", "module": "builtins", "config": {}}
    layer(config)["config"]["bias_initializer"] = {"class_name": "open", "module": "builtins", "config": {}}
    layer(config, "out")["config"]["activation"] = CODE
    config["compile_config"]["loss"] = named("os", "system")
    weights = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        file["layers/dense/vars/2"] = h5py.ExternalLink("/etc/passwd", "x")
        file["layers/soft"] = h5py.SoftLink("/layers/dense")
        file.create_dataset("layers/packed", data=np.ones(4), compression="gzip")
    changed = {**parts, "model.weights.h5": weights.getvalue(), "../evil.py": b"x", "assets/vocabulary": b"y"}
    path.write_bytes(packed(changed, config).getvalue())
    report = inspect(str(path))
    assert {(entry["where"], entry["more"]) for entry in report.findings} == {
        ("../evil.py", 0),
        ("assets/vocabulary", 0),
        ("config.json: config.layers[1].config", 0),
        ("config.json: config.layers[1].config.kernel_initializer", 1),
        ("config.json: config.layers[2].config.activation", 0),
        ("config.json: compile_config.loss", 0),
        ("model.weights.h5: layers/dense/vars/2", 0),
        ("model.weights.h5: layers/soft", 0),
        ("model.weights.h5: layers/packed", 0),
    }
    assert {m["name"] for m in report.members if m["sha256"] is None} == {"../evil.py", "assets/vocabulary"}


def test_a_wrong_checksum_and_a_file_that_is_cut_off(parts: Parts, path: Path) -> None:
    data = bytearray(packed(parts).getvalue())
    data[data.find(parts["model.weights.h5"]) + 700] ^= 1
    path.write_bytes(data)
    (finding,) = inspect(str(path)).findings
    assert finding["where"] == "model.weights.h5" and "the checksum of" in finding["what"]
    path.write_bytes(data[:-30])
    (finding,) = inspect(str(path)).findings
    assert finding["where"] == "the archive" and "does not end as an archive does" in finding["what"]


def test_weights_in_several_files(tmp_path: Path) -> None:
    path = tmp_path / "a.weights.json"
    model = lamella.Sequential([lamella.Input((30,)), lamella.layers.Dense(10), lamella.layers.Dense(20)])
    model.save_weights(path, max_shard_size=2e-6)
    report = inspect(str(path))
    assert report.findings == [] and [30, 10] in [weight["shape"] for weight in report.weights]
    assert len(report.weights) == 4
    path.write_text(path.read_text().replace("a_", "../a_"))
    (finding,) = inspect(str(path)).findings
    assert finding["where"] == "the list" and "The list names '../a_" in finding["what"]


def test_classes_of_one_s_own_need_not_be_there(path: Path) -> None:
    class Own(lamella.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    lamella.Sequential([lamella.Input((3,)), Own()]).save(path)
    report = inspect(str(path))
    assert [entry["what"][:26] for entry in report.findings] == ["The config names 'Own', wh"]
    assert report.config is not None and report.config["config"]["layers"][1]["class_name"] == "Own"


@pytest.mark.parametrize("name", ["sequential", "masks", "BatchNormalization", "LoRA"])
def test_good_models_of_many_kinds_have_no_findings(name: str, path: Path) -> None:
    KINDS[name].make(lamella).save(path)
    assert inspect(str(path), make=True).findings == []


class TestOtherFiles:
    def test_weights(self, tmp_path: Path) -> None:
        model = loaded_model()
        for ending, form in ((".weights.h5", "weights of Keras 3 (HDF5)"), (".safetensors", "weights (safetensors)")):
            path = str(tmp_path / f"a{ending}")
            model.save_weights(path)
            report = inspect(path)
            assert report.form == form and report.findings == []
            assert sum(weight["bytes"] for weight in report.weights) == 4 * model.count_params()

    def test_whole_models_of_keras_2(self, tmp_path: Path) -> None:
        path = tmp_path / "a.h5"
        path.write_bytes(keras2.written(keras2.MODELS["nested"](), keras2.COMPILED).getvalue())
        report = inspect(str(path), make=True)
        assert report.findings == [] and report.keras_version == "2.13.1" and len(report.weights) == 4
        config = {"class_name": "Sequential", "config": [keras2.layer("Lambda", "l", function=["4wEA", None, None])]}
        path.write_bytes(keras2.written(keras2.MODELS["plain"](), config=config).getvalue())
        (finding,) = inspect(str(path)).findings
        assert finding["where"] == "model_config: config.layers[0].config.function"
        assert "code of a Python lambda" in finding["what"]

    @pytest.mark.parametrize("data", [b"", b"PK", b"\x89HDF\r\n\x1a\n", b"\x80\x04cos\nsystem\n.", b"x" * 100])
    def test_no_such_file(self, data: bytes, path: Path) -> None:
        path.write_bytes(data)
        assert len(inspect(str(path)).findings) == 1
        with pytest.raises(ArgumentError, match="There is no file"):
            inspect(str(path) + "x")


def unwritten(file: Any, path: str, size: int) -> None:
    """An array that has its place in a file, and takes none on the disk."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    group, name = path.rsplit("/", 1)
    space = h5py.h5s.create_simple((size // 4,))
    h5py.h5d.create(file.require_group(group).id, name.encode(), h5py.h5t.IEEE_F32LE, space, plan)


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    path = str(tmp_path / "a.weights.h5")
    with h5py.File(path, "w") as file:
        unwritten(file, "layers/dense/vars/0", 200_000_000)
        file["layers/dense/vars/1"] = np.zeros(1, "float32")
    tracemalloc.start()
    report = inspect(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.findings == [] and report.weights[0]["bytes"] == 200_000_000
    assert peak < 20_000_000


class TestTheCommand:
    def test_the_page(self, parts: Parts, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path.write_bytes(packed(parts).getvalue())
        assert main(["inspect", str(path)]) == 0
        printed = capsys.readouterr().out
        assert "Keras 3.15.1, saved 20" in printed and "├── Dense inside units=3 <- x" in printed
        assert "compiled: optimizer=SGD(0.01), loss=mse, metrics=[mae]" in printed
        assert "no findings" in printed and "(4, 3)" in printed

    def test_signs_for_the_terminal_are_spelled_out(
        self, parts: Parts, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = json.loads(parts["config.json"])
        layer(config)["config"]["name"] = "\x1b[2J[red]a\u202e/b"
        layer(config)["class_name"] = "\x1b]0;title\x07"
        path.write_bytes(packed({**parts, "\x1b[31m.py": b""}, config).getvalue())
        assert main(["inspect", str(path)]) == 1
        printed = capsys.readouterr().out
        assert not {"\x1b", "\x07", "\u202e"} & set(printed)
        assert "\\x1b[2J[red]a\\u202e/b" in printed and "3 findings" in printed

    def test_json(self, parts: Parts, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path.write_bytes(packed({**parts, "evil": b"x"}).getvalue())
        assert main(["inspect", str(path), "--json"]) == 1
        found = json.loads(capsys.readouterr().out)
        assert found["findings"] == [{"where": "evil", "what": found["findings"][0]["what"], "more": 0}]
        assert found["config"]["class_name"] == "Functional" and found["bytes"] == path.stat().st_size

    def test_no_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["inspect", "nothing.keras"]) == 1
        assert "There is no file 'nothing.keras'" in capsys.readouterr().err

    def test_configs_that_make_no_sense_are_printed_all_the_same(
        self, parts: Parts, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        nonsense = {"class_name": 3, "config": {"layers": [{"class_name": [], "config": 7}, 4]}}
        for config in (nonsense, {"class_name": "A"}):
            training = {"compile_config": {"optimizer": [{"class_name": {}}]}}
            path.write_bytes(packed(parts, {**config, **training}).getvalue())
            assert main(["inspect", str(path)]) == 1
        assert "names are text" in capsys.readouterr().out
