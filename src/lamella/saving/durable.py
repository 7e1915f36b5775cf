"""Files written whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lamella.core.errors import FileTakenError


@contextmanager
def replacing(path: str | os.PathLike[str], overwrite: bool = True) -> Iterator[BinaryIO]:
    """Yield a binary file that takes the place of `path` when the block ends, in one step.

    Until then it is a hidden file beside it. Whoever opens `path` meets the old file or the new one, also after a loss
    of power. An error in the block leaves the old file as it was and nothing else behind. Without `overwrite` a file
    that is there already stays: FileTakenError.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "weights.bin"
    >>> with replacing(place) as file:
    ...     _ = file.write(b"whole")
    >>> place.read_bytes(), len(list(place.parent.iterdir()))
    (b'whole', 1)
    """
    with replacing_by_name(path, overwrite) as name, name.open("x+b") as file:
        yield file


@contextmanager
def replacing_by_name(path: str | os.PathLike[str], overwrite: bool = True) -> Iterator[Path]:
    """Yield the name of a file that the block makes, and that takes the place of `path` as `replacing` says."""
    # The file that a link leads to is replaced, not the link.
    target = Path(os.path.realpath(path))
    if not overwrite and target.exists():
        raise FileTakenError(f"{os.fspath(path)!r} exists already.", mend="overwrite=True, or another name")
    temporary = target.parent / f".{target.name[:100]}.{secrets.token_hex(8)}.part"
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        os.replace(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    _sync_folder(target.parent)


@contextmanager
def replacing_folder(path: str | os.PathLike[str], mark: str) -> Iterator[str]:
    """Yield an empty folder that takes the place of `path` when the block ends.

    A folder that is there is replaced if it holds the file `mark`, and stays if it may be something else:
    FileTakenError. Folders cannot be swapped in one step: between two renames there is none.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "model"
    >>> for text in ("old", "new"):
    ...     with replacing_folder(place, "mark") as folder:
    ...         _ = Path(folder, "mark").write_text(text)
    >>> (place / "mark").read_text(), len(list(place.parent.iterdir()))
    ('new', 1)
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not (target / mark).is_file():
        raise FileTakenError(f"{os.fspath(path)!r} exists already, and has no {mark!r} in it.", mend="another name")
    key = f".{target.name[:100]}.{secrets.token_hex(8)}"
    temporary, before = target.with_name(f"{key}.part"), target.with_name(f"{key}.old")
    temporary.mkdir()
    try:
        yield str(temporary)
        if target.exists():
            os.replace(target, before)
        try:
            os.replace(temporary, target)
        except OSError:
            if before.exists():
                os.replace(before, target)
            raise
    finally:
        for rest in (temporary, before):
            shutil.rmtree(rest, ignore_errors=True)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Write the folder's own entries to the disk, where the system can open folders."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
