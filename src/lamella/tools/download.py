"""get_file: a file from elsewhere, checked before it takes its place; archives taken apart inside one folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lamella.core.errors import ArgumentError, DownloadError
from lamella.core.settings import one_of
from lamella.tools.keeping import Progbar

_PIECE = 1 << 20
_TIMEOUT = 60.0
_LENGTHS = {32: "md5", 64: "sha256"}


def get_file(
    fname: str | os.PathLike[str] | None = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str | os.PathLike[str] = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: Any = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
) -> str:
    """Fetch a file, unless it is there already, and return its path: `cache_dir/cache_subdir/fname`.

    `origin` is an https: or file: address; http: too, if a hash says which file is meant. `file_hash` is a SHA-256 or
    an MD5 in hexadecimal; a file in the cache that does not fit is fetched again. The file takes its place when all of
    it has come and fits the hash, and at once. With `extract`, a tar or zip archive is taken apart into a folder, whose
    path is returned; no member leaves that folder, and no link in it points upwards.

    `cache_dir` is `$KERAS_HOME`, or `~/.keras`.

    >>> folder = tempfile.mkdtemp()
    >>> source = Path(folder, "numbers.txt")
    >>> _ = source.write_text("1 2 3")
    >>> Path(get_file("copy.txt", source.as_uri(), cache_dir=folder)).read_text()
    '1 2 3'
    """
    if origin is None:
        raise ArgumentError("get_file needs the address of the file.", mend="get_file(origin='https://...')")
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    digest = _digest(file_hash, hash_algorithm)
    _check_address(origin, digest is not None)
    name = _file_name(fname, origin)
    folder = Path(cache_dir or os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / cache_subdir
    folder.mkdir(parents=True, exist_ok=True)
    if not (extract or untar):
        target = folder / name
        if force_download or not _is_there(target, digest):
            with tempfile.TemporaryDirectory(prefix=".", dir=folder) as own:
                os.replace(_fetched(origin, Path(own) / name, digest), target)
        return str(target)
    archive, inside = _places(folder, name, bool(fname))
    known = not force_download and _is_there(archive, digest)
    if not known or not inside.is_dir():
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as own:
            source = archive if known else _fetched(origin, Path(own) / archive.name, digest)
            _extract(source, Path(own) / "members", ["tar"] if untar else archive_format)
            _move(Path(own) / "members", inside)
            if not known:  # last, so that an interruption before here is made good by the next call
                os.replace(source, archive)
    return str(inside)


def _check_address(address: str, hashed: bool) -> None:
    scheme = urllib.parse.urlsplit(address).scheme.lower()
    if scheme == "http" and not hashed:
        raise ArgumentError(
            f"Anyone on the way can replace what comes from {address!r}, and no hash says which file is meant.",
            mend="https://..., or file_hash='...' (sha256sum of the file)",
        )
    if scheme not in ("http", "https", "file"):
        raise ArgumentError(f"origin is an https:, file: or http: address, got {address!r}.")


def _file_name(fname: Any, origin: str) -> str:
    name = os.fspath(fname) if fname else PurePosixPath(urllib.parse.urlsplit(origin).path).name
    if not name or name in (".", "..") or set(name) & set("/\\:\0"):
        raise ArgumentError(
            f"fname is a name without a path; got {name!r}{'' if fname else f' from {origin!r}'}.",
            mend="get_file('data.zip', origin, cache_dir='...', cache_subdir='...')",
        )
    return str(name)


def _places(folder: Path, name: str, given: bool) -> tuple[Path, Path]:
    """Return where an archive is kept, and the folder that it is taken apart into."""
    if given and "." in name:
        return folder / name, folder / f"{name.partition('.')[0]}_extracted"
    return folder / f"{name}_archive", folder / name


def _digest(file_hash: str | None, algorithm: str) -> Callable[[Path], bool] | None:
    """Return what tells whether a file has the hash."""
    one_of("hash_algorithm", algorithm, ("auto", "sha256", "md5"))
    if file_hash is None:
        return None
    kind = _LENGTHS.get(len(file_hash))
    if kind is None or algorithm not in ("auto", kind) or set(file_hash.lower()) - set("0123456789abcdef"):
        raise ArgumentError(
            f"file_hash is 64 hexadecimal digits of SHA-256 or 32 of MD5; got {file_hash!r} for {algorithm!r}."
        )

    def fits(path: Path) -> bool:
        with path.open("rb") as file:
            return hashlib.file_digest(file, kind).hexdigest() == file_hash.lower()

    return fits


def _is_there(path: Path, digest: Callable[[Path], bool] | None) -> bool:
    return path.is_file() and (digest is None or digest(path))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A server may send on only to where the program itself might have gone."""

    def __init__(self, hashed: bool) -> None:
        self.hashed = hashed

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl, self.hashed)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetched(origin: str, path: Path, digest: Callable[[Path], bool] | None) -> Path:
    """Write what an address holds to a new file, and check it."""
    try:
        opener = urllib.request.build_opener(_Redirects(digest is not None))
        with opener.open(origin, timeout=_TIMEOUT) as source, path.open("xb") as file:
            _copy(source, file, origin)
    except OSError as error:  # that of the network among them
        raise DownloadError(f"{origin} cannot be fetched: {error}.") from error
    if digest is not None and not digest(path):
        raise DownloadError(f"What came from {origin} does not have the hash that was given; it was thrown away.")
    return path


def _copy(source: Any, file: Any, origin: str) -> None:
    length = source.headers.get("Content-Length")
    bar = None if origin.lower().startswith("file:") else Progbar(length and int(length), unit_name="byte")
    done = 0
    while piece := source.read(_PIECE):
        file.write(piece)
        done += len(piece)
        if bar is not None:
            bar.update(done, finalize=False)
    if bar is not None:
        bar.update(done, finalize=True)
    if length is not None and done != int(length):
        raise DownloadError(f"{origin} was to have {length} bytes; {done} came.")


def _extract(source: Path, folder: Path, formats: Any) -> None:
    """Take an archive apart into a new folder, all of it or nothing."""
    wanted = ["tar", "zip"] if formats == "auto" else [formats] if isinstance(formats, str) else list(formats or ())
    for kind in wanted:
        one_of("archive_format", kind, ("tar", "zip"))
    try:
        if "tar" in wanted and tarfile.is_tarfile(source):
            with tarfile.open(source) as tar:
                _check_members(_of_tar(tar), folder.parent)
                tar.extractall(folder, filter="data")
        elif "zip" in wanted and zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                _check_members(_of_zip(archive), folder.parent)
                archive.extractall(folder)
        else:
            raise DownloadError(f"{source.name} is no archive of the kind {' or '.join(wanted) or None}.")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DownloadError(f"The archive {source.name} cannot be taken apart: {error}.") from error


# The name of a member, what it links to, and its size.
Member = tuple[str, str | None, int]


def _of_tar(tar: tarfile.TarFile) -> Iterator[Member]:
    for member in tar:
        yield member.name, member.linkname if member.issym() or member.islnk() else None, member.size


def _of_zip(archive: zipfile.ZipFile) -> Iterator[Member]:
    for member in archive.infolist():
        link = stat.S_ISLNK(member.external_attr >> 16)
        yield member.filename, archive.read(member).decode(errors="replace") if link else None, member.file_size


def _check_members(members: Iterator[Member], folder: Path) -> None:
    """Refuse members that would leave the folder, and more than the disk has room for."""
    total = 0
    for name, link, size in members:
        for path in (name, link or ""):
            place = PureWindowsPath(path)  # both kinds of slashes, and drives
            if place.drive or place.root or ".." in place.parts:
                raise DownloadError(
                    f"The archive's member {name!r}{f', a link to {link!r},' if link else ''} leaves its folder."
                )
        total += size
    free = shutil.disk_usage(folder).free
    if total > free:
        raise DownloadError(f"The archive's members take {total:,} bytes; the disk has {free:,} left.")


def _move(source: Path, target: Path) -> None:
    """Put a folder in its place; in one that is there already, other files stay."""
    source.mkdir(exist_ok=True)
    if not target.exists():
        os.replace(source, target)
        return
    for path in source.iterdir():
        if path.is_dir() and not path.is_symlink() and (target / path.name).is_dir():
            _move(path, target / path.name)
        else:
            os.replace(path, target / path.name)
