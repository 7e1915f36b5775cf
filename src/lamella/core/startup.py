"""What lamella sets for the whole process, once, when it is imported; each can be switched off.

- Memory that a program has freed stays with the process for the next program (`LAMELLA_KEEP_MEMORY=0` leaves it to the
  C library). By its defaults glibc gives every large buffer back to the system at once, and takes it page by page the
  next time, which costs up to half of the time of a program that moves much memory. The process keeps its peak, and
  may hold two or three times what a program needs: XLA asks for aligned memory, for which glibc wants a few bytes more
  than the piece that was freed. What compiling took is given back. With a memory limit everything is.
- Compiled programs are kept in the user's cache folder for the next run of the same program
  (`JAX_ENABLE_COMPILATION_CACHE=false` switches that off, `JAX_COMPILATION_CACHE_DIR` puts them elsewhere).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

# glibc's names for the numbers that its mallopt takes
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE, _RETURNED = 1 << 30, 1 << 20
_COMPILED = "/jax/core/compile/backend_compile_duration"
# Programs that compile faster than this, in seconds, are not worth a file; the folder's bytes, the oldest go first.
_WORTH_KEEPING, _MOST_KEPT = 0.2, 1 << 30


def _glibc() -> Any:
    """The memory allocator to speak to; None where there is none, or where it is to be left alone."""
    if os.environ.get("LAMELLA_KEEP_MEMORY") == "0" or not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") else None


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory, for all threads in one arena; return whether there is one to tell."""
    library = _glibc()
    if library is None:
        return False
    # XLA's threads would otherwise have arenas of their own, which cannot hold a large buffer at all.
    settings = {_ARENA_MAX: 1, _MMAP_THRESHOLD: _LARGE, _TRIM_THRESHOLD: _LARGE}
    done = [library.mallopt(name, value) for name, value in settings.items()]

    def compiled(event: str, duration_secs: float, **_: Any) -> None:
        if event == _COMPILED and duration_secs > _WORTH_KEEPING:
            library.malloc_trim(0)

    jax.monitoring.register_event_duration_secs_listener(compiled)
    return all(done)


def give_back_freed_memory(from_here_on: bool = True) -> None:
    """Let freed memory go back to the system; with `from_here_on` large pieces of it at once, whenever they are freed.

    That is slower, and the process never holds more than it uses.
    """
    library = _glibc()
    if library is not None:
        if from_here_on:
            library.mallopt(_MMAP_THRESHOLD, _RETURNED)
        library.malloc_trim(0)


def keep_compiled_programs() -> Path | None:
    """Let JAX keep compiled programs in the user's cache folder and return it; None where it was told what to do."""
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    folder = home / "lamella" / "programs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _MOST_KEPT)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING)
    return folder


@contextmanager
def device(device_name: str) -> Iterator[None]:
    """Compute on a device of this machine, named as "cpu:0" or "gpu:1", whatever is not placed already.

    >>> with device("cpu:0"):
    ...     jax.numpy.ones(3).device.platform
    'cpu'
    """
    kind, _, number = device_name.lower().partition(":")
    with jax.default_device(jax.devices(kind)[int(number or 0)]):
        yield


def prepare_process() -> None:
    """Do both."""
    keep_freed_memory()
    keep_compiled_programs()
