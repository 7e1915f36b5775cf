"""Checksums that are put together from those of parts."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lamella.saving import checksum
from lamella.saving.checksum import joined

DATA = np.random.default_rng(0).bytes(3 * (1 << 22) + 1000)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_of_two_pieces(first: bytes, second: bytes) -> None:
    assert joined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_of_parts_of_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    with (tmp_path / "a").open("rb") as file:
        for opened in (file, io.BytesIO(DATA)):
            for start, size in ((0, len(DATA)), (17, len(DATA) - 17), (5, 1 << 22), (9, 100), (3, 0)):
                assert checksum.checksum(opened, start, size) == zlib.crc32(DATA[start : start + size])
