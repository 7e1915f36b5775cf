"""Archives: what is written is a plain zip, and what is no model's archive is refused by name."""

from __future__ import annotations

import io
import os
import random
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lamella.errors import FileFormatError
from lamella.saving import archive

WEIGHTS = bytes(range(256)) * 8


def whole(weights: bytes = WEIGHTS, config: bytes = b'{"a": 1}') -> bytes:
    file = io.BytesIO()
    archive.write(file, config, b"{}", lambda place: place.write(weights) and None)
    return file.getvalue()


def zipped(members: list[tuple[Any, bytes]], **kwargs: Any) -> bytes:
    """An archive of members of one's own, with Keras's three where no other of the name is given."""
    file = io.BytesIO()
    given = {getattr(name, "filename", name) for name, _ in members}
    plain = [("metadata.json", b"{}"), ("config.json", b"{}"), ("model.weights.h5", WEIGHTS)]
    with zipfile.ZipFile(file, "w", **kwargs) as target:
        for name, data in [*(pair for pair in plain if pair[0] not in given), *members]:
            target.writestr(name, data)
    return file.getvalue()


def read(data: bytes) -> tuple[bytes, bytes, bytes]:
    found = archive.Archive(io.BytesIO(data), "a.keras")
    with found.weights() as weights:
        return found.config, found.metadata, weights.read()


def test_what_is_written_is_read_and_is_a_plain_zip() -> None:
    data = whole()
    assert read(data) == (b'{"a": 1}', b"{}", WEIGHTS)
    with zipfile.ZipFile(io.BytesIO(data)) as plain:
        assert plain.testzip() is None
        assert plain.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert plain.read("model.weights.h5") == WEIGHTS


def test_the_weights_place_is_a_file_to_write_at_any_place() -> None:
    def write(place: Any) -> None:
        place.write(b"0123456789")
        place.seek(2)
        place.write(b"ab")
        assert place.tell() == 4 and place.read(2) == b"45"
        place.truncate(8)

    file = io.BytesIO()
    archive.write(file, b"{}", b"{}", write)
    assert read(file.getvalue())[2] == b"01ab4567"


def test_packed_archives_are_read() -> None:
    assert read(zipped([], compression=zipfile.ZIP_DEFLATED)) == (b"{}", b"{}", WEIGHTS)


def test_a_window_has_a_place_of_its_own() -> None:
    file = io.BytesIO(b"0123456789")
    first, second = archive.Window(file, 0, 5), archive.Window(file, 5, 5)
    assert (first.read(2), second.read(2), first.read()) == (b"01", b"56", b"234")
    assert second.seek(-1, os.SEEK_END) == 4 and second.read() == b"9" and second.seek(-9) == 0
    assert (first.readable(), first.seekable(), first.writable()) == (True, True, False)


def test_an_archive_cut_off_anywhere_is_refused() -> None:
    data = whole()
    for size in [*range(0, len(data), 7), len(data) - 1]:
        with pytest.raises(FileFormatError, match=r"'a.keras' is not read: "):
            read(data[:size])


def test_an_archive_with_a_bit_turned_is_refused_or_says_the_same() -> None:
    data, draw = whole(), random.Random(0)
    good = read(data)
    for _ in range(600):
        changed = bytearray(data)
        changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            assert read(bytes(changed)) == good
        except FileFormatError:
            continue


def without(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole())) as source, zipfile.ZipFile(file, "w") as target:
        for kept in source.namelist():
            if kept != name:
                target.writestr(kept, source.read(kept))
    return file.getvalue()


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("config.json")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def claiming(size: int) -> bytes:
    """An archive whose packed weights claim a size, in both places where it stands."""
    data = zipped([("model.weights.h5", bytes(1 << 16))], compression=zipfile.ZIP_DEFLATED)
    return data.replace(struct.pack("<L", 1 << 16), struct.pack("<L", size))


def twice() -> bytes:
    data = zipped([("config.jsoN", b"[]")])
    return data.replace(b"config.jsoN", b"config.json")


def over() -> bytes:
    """An archive whose list gives two members one place."""
    data = bytearray(zipped([("config.json", b"{}"), ("metadata.json", b"{}")]))
    last = data.rfind(b"PK\x01\x02")
    data[last + 42 : last + 46] = data[data.find(b"PK\x01\x02") + 42 :][:4]
    return bytes(data)


def flagged() -> bytes:
    data = bytearray(whole())
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.find(mark) + place] |= 1
    return bytes(data)


ATTACKS: dict[str, tuple[bytes, str]] = {
    "a path upwards": (zipped([("../evil.py", b"x")]), r"it holds '../evil.py', which is no member"),
    "an absolute path": (zipped([("/etc/cron.d/evil", b"x")]), r"it holds '/etc/cron.d/evil'"),
    "a member upwards with a known end": (zipped([("../config.json", b"x")]), r"it holds '../config.json'"),
    "a name with a null": (zipped([]).replace(b"config.json", b"config\0json"), r"it holds 'config\\x00json'"),
    "assets": (zipped([("assets/words.txt", b"x")]), r"'assets/words.txt'.* no layer here keeps files"),
    "a folder": (zipped([("assets/", b"")]), r"it holds 'assets/'"),
    "npz beside": (zipped([("model.weights.npz", b"x")]), r"weights as npz are not read"),
    "a link": (zipped([(link(), b"/etc/passwd")]), r"'config.json' is a link or a special file"),
    "encrypted": (flagged(), r"'metadata.json' is encrypted"),
    "packed otherwise": (zipped([], compression=zipfile.ZIP_LZMA), r"\(method 14\) that is not read"),
    "the same name twice": (twice(), r"it holds 'config.json' twice"),
    "members on one place": (over(), r"lies over the member before it|is broken"),
    "a bomb": (
        zipped([("model.weights.h5", bytes(1 << 25))], compression=zipfile.ZIP_DEFLATED),
        r"'model.weights.h5' claims to grow from 32.. kB to 33.6 MB",
    ),
    "a claimed size": (claiming(0xF0000000), r"'model.weights.h5' claims to grow from \d+ B to 4.0 GB"),
    "a size that is too small": (claiming(100), r"is broken|ends after"),
    "a long config": (zipped([("config.json", bytes((1 << 26) + 1))]), r"'config.json' has 67.1 MB; at most 67.1 MB"),
    "many members": (zipped([(f"{i}", b"") for i in range(20)]), r"it lists 23 members"),
    "no config": (without("config.json"), r"it has no 'config.json'"),
    "bytes before": (b"#!/bin/sh\n" + whole(), r"bytes were added or taken away"),
    "bytes after": (whole() + b"x", r"does not end as an archive does"),
    "a claim to be large": (whole()[:-12] + b"\xff" * 10 + b"\0\0", r"the end of a large archive is not where"),
    "empty": (b"", r"too short for an archive"),
    "another file": (b"\x89HDF\r\n\x1a\n" + bytes(200), r"is another file"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_finding_is_named_and_nothing_is_left(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, finding = ATTACKS[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileFormatError, match=finding):
        read(data)
    assert os.listdir(tmp_path) == []
