"""Error classes, how a message is built, and where in the user's code something happened."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import FrameType, TracebackType

PACKAGE = str(Path(__file__).resolve().parents[1])


class LamellaError(Exception):
    """What was expected and what came; the mend as code; and, added once at the layer, where.

    >>> print(LamellaError("units must be positive, got 0.", mend="Dense(units=1)"))
    units must be positive, got 0.
      Try: Dense(units=1)
    """

    def __init__(self, message: str, *, mend: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend
        self.context: str | None = None

    def __str__(self) -> str:
        lines = [self.message]
        if self.mend:
            lines.append(f"  Try: {self.mend}")
        if self.context:
            lines.append(f"  {self.context}")
        return "\n".join(lines)


class ArgumentError(LamellaError, ValueError):
    """An argument has a value that makes no sense: `Dense(units=-3)`."""


class UnknownNameError(ArgumentError):
    """A name is in no table: `Activation("rleu")`."""


class ShapeError(LamellaError, ValueError):
    """An array has another shape than the layer was made for: `Dense` on (10, 5), then on (10, 6)."""


class BatchAxisError(ShapeError):
    """The batch axis was written into `input_shape`: `Flatten(input_shape=(32, 10, 5))` for 32 samples."""


class BatchSizeError(ShapeError):
    """Inputs, targets or weights hold different numbers of samples: `fit(x[:10], y[:9])`."""


class MaskShapeError(ShapeError):
    """A mask of (batch, time) met values of (batch, time, features): `inputs * mask`."""


class WeightTooLargeError(LamellaError, ValueError):
    """A weight would not fit in this machine's memory: `Dense(128)` on 102,400,000 features."""

    shape: tuple[int, ...] = ()


class MemoryLimitError(LamellaError, ValueError):
    """Not even one sample at a time fits into a memory limit: `fit(..., memory_limit="1MB")`."""


class ReservedNameError(LamellaError, AttributeError):
    """A layer assigned an attribute that `Layer` itself uses: `self.weights = self.add_weight(...)`."""


class NotBuiltError(LamellaError, ValueError):
    """Something was asked of a layer that does not know its shapes yet: `Sequential([Dense(1)]).summary()`."""


class DataError(LamellaError, ValueError):
    """Data that cannot be trained on: strings, objects, NaN."""


class DownloadError(LamellaError, ValueError):
    """A file that does not come, or is not the one that was meant: `get_file(origin=..., file_hash=...)`."""


class FileFormatError(LamellaError, ValueError):
    """A file that is broken, no such file, or another model's; nothing was changed: `load_model`, `load_weights`."""


class FileTakenError(LamellaError, FileExistsError):
    """A file would be written over one that is there: `save_weights("a.weights.h5", overwrite=False)`, twice."""


class NotFiniteError(LamellaError, RuntimeError):
    """A training whose loss is NaN or infinite: `TerminateOnNaN(raise_error=True)` with too large a learning rate."""


class SymbolicBranchError(LamellaError, TypeError):
    """Python branched or looped on an axis whose size is not known yet: `if x.shape[0] > 16`."""


class SymbolicValueError(LamellaError, TypeError):
    """A symbolic tensor has a shape but no values: `float(Input((3,)))`."""


class NotTraceableError(LamellaError, TypeError):
    """Code asked for values where only shapes are known: `np.mean(x)` inside `call`."""


class MixesSamplesError(LamellaError, ValueError):
    """Something that needs samples kept apart met code that mixes them: per-sample gradients of BatchNormalization."""


class SampleStateError(LamellaError, RuntimeError):
    """Code written for one sample gave a variable a value of that sample: `self.total.assign_add(x.sum())`."""


class VariableInJitError(LamellaError, RuntimeError):
    """A variable was read inside a bare `jax.jit`, which would freeze its value: `jax.jit(layer)(x)`."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return " Did you mean 'relu'?" for a near miss, otherwise the list of what is known."""
    names = sorted(set(known))
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""


def is_user_file(filename: str) -> bool:
    """Tell whether code in this file is the user's: not lamella's, not JAX's, not a standard library's."""
    if filename.startswith("<frozen"):
        return False
    return not filename.startswith(PACKAGE) and "/site-packages/" not in filename.replace("\\", "/")


def caller() -> str:
    """Return "file.py:12", the nearest line outside lamella in the present call."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((PACKAGE, "<frozen")):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "unknown"


def user_frame(trace: TracebackType | None) -> traceback.FrameSummary | None:
    """Return the deepest line of the user's in a traceback."""
    return next((e for e in reversed(traceback.extract_tb(trace)) if is_user_file(e.filename)), None)


def user_line(trace: TracebackType | None) -> str | None:
    """Return "file.py:12: source", the deepest line of the user's in a traceback."""
    entry = user_frame(trace)
    return f"{entry.filename}:{entry.lineno}: {entry.line}" if entry else None


def add_context(error: Exception, context: str) -> None:
    """Say once, on whatever error came out of a layer, which layer that was."""
    if isinstance(error, LamellaError):
        error.context = error.context or context
    elif not getattr(error, "__notes__", None):
        error.add_note(context)
