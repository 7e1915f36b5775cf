"""The examples run, and what they say of themselves holds."""

from __future__ import annotations

from pathlib import Path

from _pytest.capture import CaptureFixture

from examples import docstrings_classifier, sunspots_lstm, two_inputs
from lamella.tools import cli
from lamella.utils import set_random_seed

README = Path(__file__).parents[1] / "examples" / "README.md"


def test_sunspots() -> None:
    errors = sunspots_lstm.main(epochs=60)
    assert errors["LSTM"] < 0.8 * errors["this year again"] < errors["the mean"]
    # what the program says of itself: neither of the two is far ahead
    assert 0.8 < errors["LSTM"] / errors["linear regression"] < 1.25


def test_two_inputs() -> None:
    results = two_inputs.main(epochs=6)
    assert results["two inputs"] > 0.9 > results["most frequent digit"]


def test_docstrings() -> None:
    results = docstrings_classifier.main(epochs=3)
    assert results["embedding"] > max(results["by length alone"], results["the more frequent"]) + 0.2


def test_held_out_sentences_are_new() -> None:
    set_random_seed(1)
    train, test = docstrings_classifier.split()
    assert not train.keys() & test.keys()
    assert set(train.values()) == set(test.values()) == {0, 1}
    assert not docstrings_classifier.OWN_NAMES & {word for text in train for word in text.split()}


def test_every_program_is_told() -> None:
    text = README.read_text()
    for program in README.parent.glob("*.py"):
        assert program.name in text


def test_the_demo(tmp_path: Path, capsys: CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--epochs", "2", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Held-out accuracy:" in said and "(None, 8, 8, 32)" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["errors.png", "learning_curve.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())
