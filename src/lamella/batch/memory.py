"""Memory, known before a program runs: what XLA says of a compiled one, and the line through several batch sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from jax.core import ShapedArray
from jax.extend.core import jaxprs_in_params

from lamella import kernels
from lamella.core.errors import MemoryLimitError
from lamella.core.memory import in_words

# A line through two sizes that misses a third by more is no line.
_TOLERANCE = 0.05


def program_bytes(program: Any, *arguments: Any) -> int:
    """Return the peak memory of a jitted function on arguments or their specs: compiled, not run.

    Arguments, results and temporary arrays, less what results take over from arguments.
    """
    traced = program.trace(*arguments)
    found = traced.lower().compile().memory_analysis()
    counted = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return int(counted - found.alias_size_in_bytes + kernels.uncounted_bytes(traced.jaxpr))


def made_bytes(jaxpr: Any) -> int:
    """Return the bytes of all arrays that a program makes; of a loop, those that it answers."""
    loops = ("scan", "while")
    total = 0
    for equation in jaxpr.eqns:
        inner = [] if equation.primitive.name in loops else list(jaxprs_in_params(equation.params))
        made = [variable.aval for variable in equation.outvars if isinstance(variable.aval, ShapedArray)]
        total += sum(map(made_bytes, inner)) if inner else sum(a.size * a.dtype.itemsize for a in made)
    return total


@dataclass(frozen=True)
class Line:
    """Bytes as a fixed part and a part for each sample."""

    fixed: float
    per_sample: float

    def at(self, samples: int) -> int:
        """Return the bytes for a number of samples."""
        return round(self.fixed + self.per_sample * samples)

    def most(self, limit: int) -> int:
        """Return the largest number of samples within a limit, 0 if there is none."""
        if self.per_sample <= 0:
            return 0 if self.fixed > limit else 1 << 40
        return max(0, int((limit - self.fixed) / self.per_sample))


def line_through(bytes_of: Callable[[int], int], low: int, high: int) -> Line:
    """Return the line through two numbers of samples, each of which is one compilation."""
    first, second = bytes_of(low), bytes_of(high)
    slope = (second - first) / (high - low)
    return Line(first - slope * low, slope)


def largest(bytes_of: Callable[[int], int], limit: int, most: int, what: str) -> int:
    """Return the largest number of samples up to `most` whose program stays within a limit: found, then verified."""
    if bytes_of(most) <= limit:
        return most
    line = line_through(bytes_of, max(1, most // 4), max(2, most // 2))
    guess = line.most(limit)
    size = min(most, max(1, guess))
    while size > 1 and bytes_of(size) > limit:
        size = size * 4 // 5
    # Where the line promised nothing, memory does not grow along one: the size is felt for from below.
    while guess < 1 and 2 * size <= most and bytes_of(2 * size) <= limit:
        size *= 2
    if size > 1 or bytes_of(1) <= limit:
        return size
    raise MemoryLimitError(
        f"{what} needs {in_words(bytes_of(1))} even with one sample at a time; the limit is {in_words(limit)}.",
        mend="a larger memory_limit, a smaller batch_size, or a smaller model",
    )


@dataclass(frozen=True)
class MemoryReport:
    """What a model's step takes, in bytes, for one batch size, and how that grows with it.

    `weights`, `gradients`, `optimizer` and `data` are counted from shapes, `peak` is XLA's own analysis of the compiled
    step; `activations` is what is left: values kept for the backward pass, and workspace. `error` is by how much the
    line through two batch sizes misses a third.
    """

    model: str
    training: bool
    batch_size: int
    weights: int
    gradients: int
    optimizer: int
    data: int
    peak: int
    line: Line
    error: float

    @property
    def activations(self) -> int:
        """The bytes that are neither weights, gradients, optimizer state nor data."""
        return max(0, self.peak - self.weights - self.gradients - self.optimizer - self.data)

    @property
    def grows_evenly(self) -> bool:
        """Whether the peak is a fixed part and a part for each sample."""
        return self.error <= _TOLERANCE

    def at(self, batch_size: int) -> int:
        """Return the peak for another batch size."""
        return self.peak if batch_size == self.batch_size else self.line.at(batch_size)

    def largest_batch(self, limit: int) -> int:
        """Return the largest batch whose peak stays within a limit in bytes, 0 if there is none."""
        return self.line.most(limit)

    def _rows(self) -> list[tuple[str, str]]:
        named = [(name, getattr(self, name)) for name in ("weights", "gradients", "optimizer", "data", "activations")]
        rows = [(name, in_words(size)) for name, size in named if size]
        sizes = [self.batch_size * factor // 4 for factor in (1, 2, 4, 8, 16) if self.batch_size * factor // 4]
        peaks = [(f"peak, batch of {size:,}", in_words(self.at(size))) for size in dict.fromkeys(sizes)]
        return [*rows, *peaks]

    def __str__(self) -> str:
        what = "one training step" if self.training else "one prediction"
        head = f"{self.model}: memory of {what}, batch of {self.batch_size:,}"
        rows = [f"  {name:24s} {size:>12s}" for name, size in self._rows()]
        grows = f"  each sample takes {in_words(self.line.per_sample)} more; {in_words(self.line.fixed)} are fixed"
        if not self.grows_evenly:
            grows = f"  it does not grow evenly: a third batch size misses the line by {self.error:.0%}"
        return "\n".join([head, *rows, grows])

    def _repr_html_(self) -> str:
        head, *_ = str(self).splitlines()
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(size)}</td></tr>" for name, size in self._rows())
        return f"<p><b>{escape(head)}</b></p><table>{rows}</table>"
