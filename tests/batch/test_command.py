"""`lamella check` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamella.tools.cli import main

LAYERS = """
import lamella
from lamella import layers, ops

class Centred(layers.Layer):
    def call(self, inputs):
        return inputs - ops.mean(inputs)

class Scaled(layers.Layer):
    factor: float
    def call(self, inputs):
        return inputs * self.factor

model = lamella.Sequential([layers.Input((4,)), layers.Dense(2), layers.BatchNormalization()])
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"module_of_{request.node.originalname}"
    (tmp_path / f"{name}.py").write_text(LAYERS)
    monkeypatch.chdir(tmp_path)
    return name


def test_verdicts_are_exit_codes(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{module}:Centred", "--input", "10,5"]) == 1
    printed = capsys.readouterr().out
    assert "mixes" in printed and "return inputs - ops.mean(inputs)" in printed
    assert main(["check", f"{module}:model"]) == 0
    assert main(["check", f"{module}:model", "--training"]) == 1
    assert main(["check", "lamella.layers:LSTM", "--input", "None,5", "--arguments", '{"units": 3}', "--mask"]) == 0
    assert main(["check", f"{module}:Scaled", "--input", "(10,)", "--arguments", '{"factor": 2}']) == 0
    assert main(["check", "lamella.losses:MeanSquaredError", "--input", "4", "--input", "4"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lamella.layers"], "The target is package.module:Name"),
        (["nowhere.at.all:Layer"], "There is no module"),
        (["lamella.layers:Dens", "--input", "4"], "has no 'Dens'. Did you mean 'Dense'?"),
        (["lamella.layers:Flatten", "--input", "a,b"], "--input is numbers and None"),
        (["lamella.layers:Dense", "--input", "4", "--arguments", "{"], "--arguments is not JSON"),
        (["lamella.layers:Dense", "--input", "4", "--arguments", "[1]"], "--arguments is a JSON object"),
        (["lamella.layers:Dense", "--input", "4"], "units"),
        (["lamella.ops:mean", "--input", "4", "--arguments", '{"axis": 1}'], "--arguments is for classes"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *arguments]) == 1
    assert words in capsys.readouterr().err
