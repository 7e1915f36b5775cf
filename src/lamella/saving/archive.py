"""The archive of a model, a zip of config.json, metadata.json and model.weights.h5: written, and read with care.

No name in a file is ever a path here. What is read is asked for by its one name; any other member is a finding.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from lamella.core.errors import FileFormatError
from lamella.core.memory import in_words

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# The most bytes of each member that is read into memory.
LIMITS = {CONFIG: 1 << 26, METADATA: 1 << 20}
# What a member may grow to when it is unpacked: many times what it takes in the file, once it is large.
_EXPANSION, _LARGE = 100, 1 << 24
_BLOCK = 1 << 20
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_LOCAL = struct.Struct("<4s5H3L2H")


class Window(io.RawIOBase):
    """A part of a file as a file of its own, which other windows do not disturb.

    >>> Window(io.BytesIO(b"0123456789"), 2, 5).read()
    b'23456'
    """

    def __init__(self, file: BinaryIO, start: int, size: int | None = None) -> None:
        super().__init__()
        self._file, self._start, self.size, self._place = file, start, size, 0

    def readable(self) -> bool:
        """Windows are read."""
        return True

    def seekable(self) -> bool:
        """Windows are read at any place."""
        return True

    def writable(self) -> bool:
        """A window without an end is written."""
        return self.size is None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._length()}[whence]
        self._place = max(0, base + offset)
        return self._place

    def _length(self) -> int:
        if self.size is not None:
            return self.size
        return max(0, self._file.seek(0, os.SEEK_END) - self._start)

    def tell(self) -> int:
        """Return the present place."""
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into a buffer; return how many bytes came."""
        wanted = min(len(buffer), max(0, self._length() - self._place))
        self._file.seek(self._start + self._place)
        came = int(self._file.readinto(memoryview(buffer)[:wanted]))  # type: ignore[attr-defined]
        self._place += came
        return came

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write at the present place."""
        self._file.seek(self._start + self._place)
        written = self._file.write(data)
        self._place += written
        return written

    def truncate(self, size: int | None = None) -> int:
        """Cut the file, or make it longer."""
        size = self._place if size is None else size
        self._file.truncate(self._start + size)
        return size


# -- writing ----------------------------------------------------------------------------------------------------


def write(file: BinaryIO, config: bytes, metadata: bytes, write_weights: Callable[[BinaryIO], None]) -> None:
    """Write an archive into an empty file, uncompressed; `write_weights` gets the place of the weights as a file.

    The weights go straight to their place, and are not held in memory a second time.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in ((METADATA, metadata), (CONFIG, config)):
            archive.writestr(name, data)
        member = zipfile.ZipInfo(WEIGHTS, date_time=archive.infolist()[0].date_time)
        member.external_attr = 0o600 << 16
        member.header_offset, member.CRC = archive.start_dir, 0
        header = len(member.FileHeader(zip64=True))
        place = Window(file, member.header_offset + header)
        write_weights(cast(BinaryIO, place))
        member.file_size = member.compress_size = place.seek(0, os.SEEK_END)
        member.CRC = _checksum(file, member.header_offset + header)
        file.seek(member.header_offset)
        file.write(member.FileHeader(zip64=True))
        archive.start_dir = file.seek(0, os.SEEK_END)
        archive.filelist.append(member)
        archive.NameToInfo[WEIGHTS] = member


def _checksum(file: BinaryIO, start: int) -> int:
    file.seek(start)
    total = 0
    while block := file.read(_BLOCK):
        total = zlib.crc32(block, total)
    return total


# -- reading ----------------------------------------------------------------------------------------------------


class Archive:
    """The members of an archive that was looked over: `config`, `metadata`, and `weights()`, a file."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file
        with self._findings():
            _check_end(file)
            self._zip = zipfile.ZipFile(file)
            self._members = _checked(self._zip)
            self.config, self.metadata = self._bytes(CONFIG), self._bytes(METADATA)

    @contextmanager
    def _findings(self) -> Iterator[None]:
        """Say of which file a finding is, whoever found it."""
        try:
            yield
        except FileFormatError as error:
            raise FileFormatError(f"{self.name!r} is not read: {error.message}", mend=error.mend) from None
        # What the zip module raises on bytes that were changed; a wrong password is RuntimeError.
        except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, OSError) as error:
            raise FileFormatError(f"{self.name!r} is not read: it is broken, {str(error).rstrip('.')}.") from error

    def _bytes(self, name: str) -> bytes:
        member, limit = self._members[name], LIMITS[name]
        if member.file_size > limit:
            raise FileFormatError(f"{name!r} has {in_words(member.file_size)}; at most {in_words(limit)} are read.")
        data = io.BytesIO()
        self._copy(member, data)
        return data.getvalue()

    def _copy(self, member: zipfile.ZipInfo, target: BinaryIO | None) -> None:
        """Read a member to its end, which checks its bytes against their checksum."""
        came = 0
        with self._zip.open(member) as source:
            while block := source.read(_BLOCK):
                came += len(block)
                if target is not None:
                    target.write(block)
        if came != member.file_size:
            raise FileFormatError(f"{member.filename!r} ends after {came} of {member.file_size} bytes.")

    @contextmanager
    def weights(self) -> Iterator[BinaryIO]:
        """Yield the weights as a file: a window on the archive or, if they are packed, a file without a name."""
        member = self._members[WEIGHTS]
        with tempfile.TemporaryFile() if member.compress_type else io.BytesIO() as unpacked:
            with self._findings():
                self._copy(member, cast(BinaryIO, unpacked) if member.compress_type else None)
                start = self._data_start(member)
            if member.compress_type:
                unpacked.seek(0)
                yield cast(BinaryIO, unpacked)
            else:
                yield cast(BinaryIO, Window(self._file, start, member.file_size))

    def _data_start(self, member: zipfile.ZipInfo) -> int:
        self._file.seek(member.header_offset)
        *_, name, extra = _LOCAL.unpack(self._file.read(_LOCAL.size))
        return int(member.header_offset + _LOCAL.size + name + extra)


def _check_end(file: BinaryIO) -> None:
    """Look at what the end of the file says, before a list of members is read: how many, and where."""
    size = file.seek(0, os.SEEK_END)
    if size < _END.size:
        raise FileFormatError(f"it has {size} bytes, which is too short for an archive.")
    file.seek(size - _END.size)
    mark, _, _, _, count, length, start, comment = _END.unpack(file.read(_END.size))
    if mark != b"PK\x05\x06" or comment:
        raise FileFormatError("it does not end as an archive does: it is cut off, has bytes added, or is another file.")
    end = size - _END.size
    if 0xFFFF in (count, length) or 0xFFFFFFFF in (length, start):
        count, length, start, end = _large_end(file, end)
    if count > 16 or length > 1 << 16:
        raise FileFormatError(f"it lists {count} members in {in_words(length)}; a model's archive has 3.")
    if start + length != end:
        raise FileFormatError("its list of members is not where its end says: bytes were added or taken away.")


def _large_end(file: BinaryIO, end: int) -> tuple[int, int, int, int]:
    """Return number, length and start of the list of members, and where it ends, in an archive of over 4 GB."""
    start = end - _LOCATOR.size - _END64.size
    if start < 0:
        raise FileFormatError("it claims to be a large archive and is a small one.")
    file.seek(start)
    mark, *_, count, length, first = _END64.unpack(file.read(_END64.size))
    locator, _, place, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if mark != b"PK\x06\x06" or locator != b"PK\x06\x07" or place != start:
        raise FileFormatError("the end of a large archive is not where it should be.")
    return count, length, first, start


def _checked(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, after each was looked at."""
    found: dict[str, zipfile.ZipInfo] = {}
    after = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        _check(member)
        if member.filename in found:
            raise FileFormatError(f"it holds {member.filename!r} twice.")
        if member.header_offset < after:
            raise FileFormatError(f"{member.filename!r} lies over the member before it.")
        after = member.header_offset + _LOCAL.size + member.compress_size
        found[member.filename] = member
    missing = [name for name in (CONFIG, METADATA, WEIGHTS) if name not in found]
    if missing:
        raise FileFormatError(f"it has no {missing[0]!r}.{_npz(archive)}")
    return found


def _npz(archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    return " Weights as npz are not read." if any(name.endswith((".npz", ".npy")) for name in names) else ""


def _check(member: zipfile.ZipInfo) -> None:
    """Refuse a member that no model's archive has."""
    name = member.orig_filename
    finding = ""
    if name not in (CONFIG, METADATA, WEIGHTS):
        kept = "; no layer here keeps files of its own" if name.startswith("assets/") else ""
        npz = "; weights as npz are not read" if name.endswith((".npz", ".npy")) else ""
        finding = f"it holds {name[:80]!r}, which is no member of a model's archive{kept}{npz}."
    elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        finding = f"{name!r} is a link or a special file."
    elif member.flag_bits & 0x1:
        finding = f"{name!r} is encrypted."
    elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        finding = f"{name!r} is packed in a way (method {member.compress_type}) that is not read."
    elif member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        finding = f"{name!r} claims {member.file_size} bytes and stores {member.compress_size}."
    elif member.file_size > max(_LARGE, _EXPANSION * member.compress_size):
        finding = f"{name!r} claims to grow from {in_words(member.compress_size)} to {in_words(member.file_size)}."
    if finding:
        raise FileFormatError(finding)
