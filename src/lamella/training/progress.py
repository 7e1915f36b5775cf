"""A live progress bar where there is a terminal, a line an epoch where there is none."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lamella.core.settings import is_interactive_logging_enabled, say

_REFRESH = 0.1


class Progress:
    """Shows how far a pass over the data is, and the logs. `verbose`: 0 silent, 1 a live bar, 2 a line an epoch."""

    def __init__(self, verbose: Any, title: str, total: int | None) -> None:
        self.console = Console(file=sys.stdout)
        if verbose in ("auto", 1):
            verbose = 1 if self.console.is_terminal and is_interactive_logging_enabled() else 2
        self.verbose = int(verbose)
        self.title, self.total, self.done = title, total, 0
        self.started = time.perf_counter()
        self._shown = 0.0
        self._live = Live(console=self.console, auto_refresh=False) if self.verbose == 1 else None

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def wants_logs(self) -> bool:
        """Whether it is time to show something: reading logs makes the device catch up."""
        return self._live is not None and time.perf_counter() - self._shown > _REFRESH

    def advance(self, steps: int) -> None:
        """Count steps that were run."""
        self.done += steps

    def show(self, logs: dict[str, float]) -> None:
        """Draw the bar with the logs so far."""
        if self._live is not None:
            self._shown = time.perf_counter()
            self._live.update(self._line(logs), refresh=True)

    def finish(self, logs: dict[str, float]) -> None:
        """Show the last state; without a terminal, print the one line of this pass."""
        if self._live is not None:
            self.show(logs)
        elif self.verbose == 2:
            seconds = time.perf_counter() - self.started
            say(f"{self.title}  {self.done} steps  {seconds:.1f} s  {_printed(logs)}")

    def _line(self, logs: dict[str, float]) -> Table:
        row = Table.grid(padding=(0, 2))
        count = f"{self.done}/{self.total or '?'}"
        seconds = time.perf_counter() - self.started
        bar = ProgressBar(total=self.total, completed=self.done, width=24)
        row.add_row(self.title, bar, count, f"{seconds:.1f} s", Text(_printed(logs)))
        return row


def _printed(logs: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
