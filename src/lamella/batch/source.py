"""Where in the user's code an equation comes from: file, line, the function called there, the layer around."""

from __future__ import annotations

import linecache
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from lamella.core.errors import is_user_file

_HERE = str(Path(__file__).resolve().parent)
_PUBLIC = (jnp, jnp.linalg, jnp.fft, jax.nn, jax.lax)


@dataclass(frozen=True)
class Origin:
    """A line of the user's, and which function of JAX's it calls."""

    file: str | None = None
    line: int | None = None
    called: str | None = None

    @property
    def source(self) -> str:
        """The text of the line."""
        return linecache.getline(self.file, self.line).strip() if self.file and self.line else ""


def _frames(eqn: Any) -> list[Any]:
    """The Python frames of an equation inside the traced call, innermost first."""
    trace = eqn.source_info.traceback
    frames: list[Any] = []
    for frame in trace.frames if trace is not None else ():
        if frame.file_name.startswith(_HERE):
            break
        frames.append(frame)
    return frames


def _users(eqn: Any) -> list[tuple[str, int]]:
    return [(f.file_name, f.line_num) for f in _frames(eqn) if is_user_file(f.file_name)]


def origin(eqns: tuple[Any, ...]) -> Origin:
    """Return the user's deepest line that leads to the last of these equations, each inside the one before."""
    best = next((eqn for eqn in reversed(eqns) if _users(eqn)), eqns[-1])
    called = _called(_frames(best)) or _public(best.params.get("name"))
    users = _users(best)
    return Origin(users[0][0], users[0][1], called) if users else Origin(called=called)


def _called(frames: list[Any]) -> str | None:
    """Return the name of the public function that the user's line calls: the outermost one below that line."""
    inside: list[str] = []
    for frame in frames:
        if is_user_file(frame.file_name):
            break
        inside.append(frame.function_name)
    return next(filter(None, map(_public, reversed(inside))), None)


def _public(name: Any) -> str | None:
    known = isinstance(name, str) and name[:1] != "_" and any(hasattr(module, name) for module in _PUBLIC)
    return name if known else None


def layer_path(eqns: tuple[Any, ...], layers: Mapping[str, Any]) -> str | None:
    """Return the path of the innermost layer around an equation, by the names that layers put on what they compute."""
    names = [
        entry.name for eqn in eqns for entry in eqn.source_info.name_stack.stack if type(entry).__name__ == "Scope"
    ]
    for count in range(len(names), 0, -1):
        path = "/".join(names[:count])
        if path in layers:
            return path
    return None
