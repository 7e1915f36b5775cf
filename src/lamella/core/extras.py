"""Packages that only some commands need."""

from __future__ import annotations

import importlib
from typing import Any


class MissingExtraError(ImportError):
    """A command needs a package that a plain installation leaves out."""


def need(module: str, extra: str) -> Any:
    """Import a module of an optional package, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"This needs {module.split('.')[0]}, which is not installed.\n  Try: pip install 'lamella[{extra}]'"
        ) from error
