"""get_file: what Keras does, and what must not happen."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

from lamella.errors import ArgumentError, DownloadError
from lamella.tools import download
from lamella.utils import get_file

TEXT = b"1 2 3\n" * 1000
SHA, MD5 = hashlib.sha256(TEXT).hexdigest(), hashlib.md5(TEXT).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "from" / "data.txt"
    path.parent.mkdir()
    path.write_bytes(TEXT)
    return path


def pack(path: Path, members: dict[str, Any]) -> str:
    """Write an archive, tar or zip by its name; a member (link,) is a link. Return its address."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                entry = zipfile.ZipInfo(name)
                if isinstance(content, tuple):
                    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(entry, content[0] if isinstance(content, tuple) else content)
        return path.as_uri()
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                member.type, member.linkname = (tarfile.SYMTYPE, *content) if len(content) == 1 else content
            else:
                member.size = len(content)
            archive.addfile(member, None if isinstance(content, tuple) else io.BytesIO(content))
    return path.as_uri()


def files(folder: Any) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.mark.parametrize("arguments", [{}, {"fname": "other.txt"}, {"cache_subdir": "a/b", "file_hash": SHA}])
def test_a_file_as_in_keras(source: Path, tmp_path: Path, arguments: dict[str, Any], capsys: Any) -> None:
    places = []
    for library, home in ((get_file, tmp_path / "ours"), (keras.utils.get_file, tmp_path / "theirs")):
        home.mkdir()
        place = Path(library(origin=source.as_uri(), cache_dir=str(home), **arguments))
        assert place.read_bytes() == TEXT
        places.append(place.relative_to(home))
    assert places[0] == places[1]
    assert files(tmp_path / "ours") == files(tmp_path / "theirs")


@pytest.mark.parametrize("archive", ["set.zip", "set.tar", "set.tar.gz"])
@pytest.mark.parametrize("fname", [None, "named", "named.x.y"])
def test_an_archive_as_in_keras(tmp_path: Path, archive: str, fname: str | None, capsys: Any) -> None:
    origin = pack(tmp_path / archive, {"set/a.txt": b"a", "set/deep/b.txt": b"b"})
    found = []
    for library, home in ((get_file, tmp_path / "ours"), (keras.utils.get_file, tmp_path / "theirs")):
        home.mkdir()
        place = Path(library(fname, origin, extract=True, cache_dir=str(home)))
        found.append((place.relative_to(home), files(place), files(home)))
    assert found[0] == found[1]


def test_what_is_there_is_not_fetched_again(source: Path, tmp_path: Path) -> None:
    origin, cache = source.as_uri(), {"cache_dir": tmp_path}
    place = Path(get_file(origin=origin, **cache))
    source.write_bytes(b"new")
    assert Path(get_file(origin=origin, **cache)).read_bytes() == TEXT
    assert Path(get_file(origin=origin, md5_hash=MD5, **cache)).read_bytes() == TEXT
    new = hashlib.sha256(b"new").hexdigest()
    assert Path(get_file(origin=origin, file_hash=new.upper(), **cache)).read_bytes() == b"new"
    source.write_bytes(TEXT)
    assert Path(get_file(origin=origin, force_download=True, **cache)).read_bytes() == TEXT
    source.unlink()
    assert Path(get_file(origin=origin, **cache)) == place
    assert list(place.parent.iterdir()) == [place]


def test_the_home_folder(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    assert get_file(origin=source.as_uri()) == str(tmp_path / "home" / "datasets" / "data.txt")


def test_a_wrong_hash_takes_no_place(source: Path, tmp_path: Path) -> None:
    place = Path(get_file(origin=source.as_uri(), cache_dir=tmp_path))
    place.write_bytes(b"old")
    with pytest.raises(DownloadError, match="does not have the hash"):
        get_file(origin=source.as_uri(), cache_dir=tmp_path, file_hash="0" * 64)
    assert files(place.parent) == {"data.txt": b"old"}


def test_a_link_in_the_place_is_replaced_and_not_followed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "datasets" / "data.txt").symlink_to(tmp_path / "precious")
    get_file(origin=source.as_uri(), cache_dir=tmp_path, force_download=True)
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert (tmp_path / "datasets" / "data.txt").read_bytes() == TEXT


ESCAPES = {
    "set.zip": {"../out.txt": b"x"},
    "set.tar": {"ok.txt": b"x", "a/../../out.txt": b"x"},
    "absolute.tar": {"/tmp/lamella_out.txt": b"x"},
    "absolute.zip": {"/tmp/lamella_out.txt": b"x"},
    "windows.zip": {"..\\out.txt": b"x"},
    "drive.zip": {"C:/out.txt": b"x"},
    "link.tar": {"inside/link": ("../../out.txt",)},
    "absolute_link.tar.gz": {"link": ("/etc/passwd",)},
    "hard.tar": {"link": (tarfile.LNKTYPE, "../out.txt")},
    "link.zip": {"link": ("../out.txt",)},
    "through.tar": {"up": ("..",), "up/out.txt": b"x"},
}


@pytest.mark.parametrize("name", ESCAPES)
def test_no_member_leaves_the_folder(name: str, tmp_path: Path) -> None:
    origin = pack(tmp_path / name, ESCAPES[name])
    (tmp_path / "home").mkdir()
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DownloadError, match="leaves its folder"):
        get_file(origin=origin, extract=True, cache_dir=tmp_path / "home")
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "home" / "datasets"}


def test_a_device_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "device.tar", "w") as archive:
        member = tarfile.TarInfo("pipe")
        member.type = tarfile.FIFOTYPE
        archive.addfile(member)
    with pytest.raises(DownloadError, match="cannot be taken apart"):
        get_file(origin=(tmp_path / "device.tar").as_uri(), extract=True, cache_dir=tmp_path)


def test_links_inside_and_modes(tmp_path: Path) -> None:
    origin = pack(tmp_path / "set.tar", {"a.txt": b"a", "b.txt": ("a.txt",)})
    place = Path(get_file(origin=origin, untar=True, cache_dir=tmp_path))
    assert (place / "b.txt").read_bytes() == b"a" and os.readlink(place / "b.txt") == "a.txt"


def test_an_extracted_folder_keeps_other_files(tmp_path: Path) -> None:
    first = Path(
        get_file("set", pack(tmp_path / "1.zip", {"d/a": b"1", "d/b": b"1"}), extract=True, cache_dir=tmp_path)
    )
    (first / "d" / "mine").write_bytes(b"mine")
    again = pack(tmp_path / "2.zip", {"d/a": b"2", "c": b"2"})
    assert files(get_file("set", again, extract=True, cache_dir=tmp_path)) == {
        "d/a": b"1",
        "d/b": b"1",
        "d/mine": b"mine",
    }
    get_file("set", again, extract=True, cache_dir=tmp_path, force_download=True)
    assert files(first) == {"c": b"2", "d/a": b"2", "d/b": b"1", "d/mine": b"mine"}


def test_more_than_the_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = pack(tmp_path / "set.zip", {"a": b"x" * 100})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 99}))
    with pytest.raises(DownloadError, match="take 100 bytes; the disk has 99 left"):
        get_file(origin=origin, extract=True, cache_dir=tmp_path)


@pytest.mark.parametrize("fname", ["../x", "a/b", "..", ".", "a\\b", "/etc/passwd", "C:x", "a\0b"])
def test_names_with_paths(fname: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="a name without a path"):
        get_file(fname, source.as_uri(), cache_dir=tmp_path)


ARGUMENTS: dict[str, dict[str, Any]] = {
    "needs the address": {},
    "https:, file: or http: address": {"origin": "ftp://example.org/x"},
    "a name without a path": {"origin": "https://example.org/"},
    "no hash says which file": {"origin": "http://example.org/x"},
    "hash_algorithm must be one of": {"origin": "https://example.org/x", "hash_algorithm": "sha1"},
    "64 hexadecimal digits": {"origin": "https://example.org/x", "file_hash": "abc"},
    "got '0{32}' for 'sha256'": {
        "origin": "https://example.org/x",
        "file_hash": "0" * 32,
        "hash_algorithm": "sha256",
    },
}


@pytest.mark.parametrize("message", ARGUMENTS)
def test_arguments(message: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=message):
        get_file(cache_dir=tmp_path, **ARGUMENTS[message])


def test_what_is_no_archive(source: Path, tmp_path: Path) -> None:
    for formats in ("auto", "zip", ["tar"], None):
        with pytest.raises(DownloadError, match="is no archive of the kind"):
            get_file(origin=source.as_uri(), extract=True, archive_format=formats, cache_dir=tmp_path)
    with pytest.raises(ArgumentError, match="archive_format must be one of"):
        get_file(origin=source.as_uri(), extract=True, archive_format="rar", cache_dir=tmp_path)
    with pytest.raises(DownloadError, match="cannot be fetched"):
        get_file(origin=source.with_name("none").as_uri(), cache_dir=tmp_path)
    broken = tmp_path / "set.tar.gz"
    pack(broken, {"a": os.urandom(5000)})
    broken.write_bytes(broken.read_bytes()[:3000])
    with pytest.raises(DownloadError, match="cannot be taken apart"):
        get_file(origin=broken.as_uri(), extract=True, cache_dir=tmp_path)


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        moved = {"/away": "ftp://example.org/x", "/local": "file:///etc/passwd", "/on": "/whole"}.get(self.path)
        self.send_response(404 if self.path == "/none" else 302 if moved else 200)
        if moved:
            self.send_header("Location", moved)
        self.send_header("Content-Length", str(len(TEXT) + 5 * (self.path == "/short")))
        self.end_headers()
        self.wfile.write(TEXT)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["/whole", "/on"])
def test_over_http(address: str, path: str, tmp_path: Path, capsys: Any) -> None:
    assert Path(get_file("x", address + path, file_hash=SHA, cache_dir=tmp_path)).read_bytes() == TEXT


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/none", "cannot be fetched: HTTP Error 404"),
        ("/short", "was to have 6005 bytes; 6000 came"),
        ("/away", "address, got 'ftp:"),
        ("/local", "cannot be fetched: .* is not allowed"),
    ],
)
def test_over_http_it_fails(address: str, path: str, message: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        get_file("x", address + path, file_hash=SHA, cache_dir=tmp_path)
    assert files(tmp_path) == {}


def test_https_is_not_sent_on_to_http() -> None:
    with pytest.raises(ArgumentError, match="no hash says which file"):
        download._Redirects(False).redirect_request(None, None, 302, "", {}, "http://example.org/x")
