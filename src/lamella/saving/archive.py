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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, cast

from lamella.core.errors import FileFormatError
from lamella.core.memory import in_words
from lamella.saving.checksum import checksum, has_descriptor

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
        member.CRC = _to_disk_with_checksum(file, member.header_offset + header, member.file_size)
        file.seek(member.header_offset)
        file.write(member.FileHeader(zip64=True))
        archive.start_dir = file.seek(0, os.SEEK_END)
        archive.filelist.append(member)
        archive.NameToInfo[WEIGHTS] = member


def _to_disk_with_checksum(file: BinaryIO, start: int, size: int) -> int:
    """Return the checksum of a part of a file, taken while the disk writes."""
    file.flush()
    with ThreadPoolExecutor(1) as pool:
        if has_descriptor(file):
            pool.submit(os.fsync, file.fileno())
        return checksum(file, start, size)


# -- reading ----------------------------------------------------------------------------------------------------


@contextmanager
def _broken() -> Iterator[None]:
    """Turn what the zip module raises on bytes that were changed into an error of ours."""
    try:
        yield
    except FileFormatError:
        raise
    # A wrong password is a RuntimeError.
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, OSError) as error:
        raise FileFormatError(f"it is broken, {str(error).rstrip('.')}.") from error


class Members:
    """The members of an archive, looked at one by one: nothing is refused but what is asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        with _broken():
            _check_end(file)
            self._zip = zipfile.ZipFile(file)
        self.all = sorted(self._zip.infolist(), key=lambda member: member.header_offset)
        self._by_name = {member.filename: member for member in reversed(self.all)}

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield what no model's archive has, with the name of the member where it is."""
        found: set[str] = set()
        after = 0
        for member in self.all:
            name = member.filename
            fault = _fault(member)
            if not fault and name in found:
                fault = f"it holds {name!r} twice."
            if not fault and member.header_offset < after:
                fault = f"{name!r} lies over the member before it."
            if fault:
                yield member.orig_filename, fault
            after = member.header_offset + _LOCAL.size + member.compress_size
            found.add(name)
        for name in (CONFIG, METADATA, WEIGHTS):
            if name not in found:
                yield name, f"it has no {name!r}.{_npz(self._zip)}"

    def read(self, name: str) -> bytes:
        """Return a small member's bytes."""
        member, limit = self._by_name[name], LIMITS[name]
        if member.file_size > limit:
            raise FileFormatError(f"{name!r} has {in_words(member.file_size)}; at most {in_words(limit)} are read.")
        return b"".join(self.blocks(name))

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield a member's bytes to its end, which checks them against their checksum."""
        member, came = self._by_name[name], 0
        with _broken(), self._zip.open(member) as source:
            while block := source.read(_BLOCK):
                came += len(block)
                yield block
        if came != member.file_size:
            raise FileFormatError(f"{name!r} ends after {came} of {member.file_size} bytes.")

    @contextmanager
    def weights(self) -> Iterator[BinaryIO]:
        """Yield the weights as a file, once their checksum is right.

        It is a window on the archive or, if they are packed, a file without a name.
        """
        if not self._by_name[WEIGHTS].compress_type:
            yield cast(BinaryIO, self._window())
            return
        with tempfile.TemporaryFile() as place:
            for block in self.blocks(WEIGHTS):
                place.write(block)
            place.seek(0)
            yield cast(BinaryIO, place)

    def _window(self) -> Window:
        member = self._by_name[WEIGHTS]
        # Opening compares what stands before a member with the list.
        with _broken(), self._zip.open(member):
            self._file.seek(member.header_offset)
            *_, name, extra = _LOCAL.unpack(self._file.read(_LOCAL.size))
            start = member.header_offset + _LOCAL.size + name + extra
            found = checksum(self._file, start, member.file_size)
        if found != member.CRC:
            raise FileFormatError(f"it is broken, the checksum of {WEIGHTS!r} is another one.")
        return Window(self._file, start, member.file_size)


class Archive:
    """An archive that has what a model's has, and nothing else: `config`, `metadata`, and `weights()`, a file."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        with self._refusing():
            self._members = Members(file)
            for _, fault in self._members.faults():
                raise FileFormatError(fault)
            self.config, self.metadata = self._members.read(CONFIG), self._members.read(METADATA)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Say of which file an error is."""
        try:
            yield
        except FileFormatError as error:
            raise FileFormatError(f"{self.name!r} is not read: {error.message}", mend=error.mend) from error.__cause__

    @contextmanager
    def weights(self) -> Iterator[BinaryIO]:
        """Yield the weights as a file that can be read at any place."""
        with ExitStack() as open_:
            with self._refusing():
                weights = open_.enter_context(self._members.weights())
            yield weights


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


def _npz(archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    return " Weights as npz are not read." if any(name.endswith((".npz", ".npy")) for name in names) else ""


def _fault(member: zipfile.ZipInfo) -> str:
    """Return why no model's archive has such a member, "" if one may."""
    name = member.orig_filename
    if name not in (CONFIG, METADATA, WEIGHTS):
        kept = "; no layer here keeps files of its own" if name.startswith("assets/") else ""
        npz = "; weights as npz are not read" if name.endswith((".npz", ".npy")) else ""
        return f"it holds {name[:80]!r}, which is no member of a model's archive{kept}{npz}."
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        return f"{name!r} is a link or a special file."
    if member.flag_bits & 0x1:
        return f"{name!r} is encrypted."
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"{name!r} is packed in a way (method {member.compress_type}) that is not read."
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        return f"{name!r} claims {member.file_size} bytes and stores {member.compress_size}."
    if member.file_size > max(_LARGE, _EXPANSION * member.compress_size):
        return f"{name!r} claims to grow from {in_words(member.compress_size)} to {in_words(member.file_size)}."
    return ""
