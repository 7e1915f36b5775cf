"""JSON in files: what two readers could take in different ways is refused, and so is what never ends."""

from __future__ import annotations

import math

import pytest

from lamella.errors import FileFormatError
from lamella.saving.plain import read_json, write_json

FINDINGS = {
    b'{"a": NaN}': "it holds NaN",
    b'{"a": -Infinity}': "it holds -Infinity",
    b'{"a": 1e999}': "the number 1e999 is infinite",
    b'{"a": {"b": 1, "c": 2, "b": 3}}': "it has the key 'b' twice in one place",
    b"[" * 100_000 + b"]" * 100_000: "it is nested too deeply",
    b"[" * 300 + b"]" * 300: "it is nested more than 200 levels deep",
    b'{"a": 1': "it is no JSON",
    b"": "it is no JSON",
    b'"\xff"': "it is no JSON",
    b"1" * 10_000: "it is no JSON",
}


@pytest.mark.parametrize("data", FINDINGS, ids=FINDINGS.values())
def test_the_finding_is_named(data: bytes) -> None:
    with pytest.raises(FileFormatError, match=f"'config.json' is not read: {FINDINGS[data]}"):
        read_json(data, "config.json")


def test_plain_data_goes_there_and_back() -> None:
    value = {"a": [1, 2.5, None, True, "é"], "b": {"c": {}}}
    assert read_json(write_json(value), "config.json") == value


def test_what_json_has_not_is_not_written() -> None:
    with pytest.raises(FileFormatError, match="JSON has neither NaN nor infinity"):
        write_json({"a": math.inf})
