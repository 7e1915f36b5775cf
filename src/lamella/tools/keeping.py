"""What programs keep beside a model: named values, and how far they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from lamella.core.errors import ArgumentError, did_you_mean
from lamella.training.progress import Progress


class Config(MutableMapping[str, Any]):
    """Named values, read and written as attributes or as entries; `freeze` keeps them as they are.

    >>> config = Config(rate=0.1)
    >>> config.steps = 5
    >>> config["rate"], config.to_json()
    (0.1, '{"rate": 0.1, "steps": 5}')
    """

    def __init__(self, **kwargs: Any) -> None:
        object.__setattr__(self, "_values", dict(kwargs))
        object.__setattr__(self, "_frozen", False)

    @property
    def frozen(self) -> bool:
        """Whether the values stay as they are."""
        return bool(self._frozen)

    def freeze(self) -> None:
        """Refuse changes from now on."""
        object.__setattr__(self, "_frozen", True)

    def unfreeze(self) -> None:
        """Allow changes again."""
        object.__setattr__(self, "_frozen", False)

    def _check(self) -> None:
        if self._frozen:
            raise ArgumentError("The config is frozen.", mend="config.unfreeze()")

    def as_dict(self) -> dict[str, Any]:
        """Return the values as a dict of their own."""
        return dict(self._values)

    def to_json(self) -> str:
        """Return the values as JSON."""
        return json.dumps(self._values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._check()
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        self._check()
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"The config has no value {name!r}.{did_you_mean(name, self._values)}")
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __repr__(self) -> str:
        return f"<Config {self._values}>"


class Progbar:
    """A progress bar for loops of one's own: `update(steps_done, [("loss", 0.5)])`, `add(steps, ...)`.

    Values are averaged over the steps, except those named in `stateful_metrics`.
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: Any = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ) -> None:
        self.target, self.width, self.unit_name = target, width, unit_name
        self.verbose, self.interval = verbose, interval
        self.stateful_metrics = set(stateful_metrics or ())
        self._progress: Progress | None = None
        self._done = 0
        self._sums: dict[str, tuple[float, float]] = {}

    @property
    def values(self) -> dict[str, float]:
        """The values as they are shown."""
        return {name: total / max(count, 1e-30) for name, (total, count) in self._sums.items()}

    def update(self, current: int, values: Any = None, finalize: bool | None = None) -> None:
        """Show that so many steps are done."""
        weight = max(current - self._done, 1)
        for name, value in values or ():
            total, count = self._sums.get(name, (0.0, 0.0))
            kept = name in self.stateful_metrics
            self._sums[name] = (float(value), 1.0) if kept else (total + float(value) * weight, count + weight)
        if self._progress is None:
            self._progress = Progress(self.verbose, self.unit_name, self.target).__enter__()
        self._progress.advance(current - self._done)
        self._done = current
        if finalize or (finalize is None and self.target is not None and current >= self.target):
            self._progress.finish(self.values)
            self._progress.__exit__()
            self._progress = None
        elif self._progress.wants_logs:
            self._progress.show(self.values)

    def add(self, n: int, values: Any = None) -> None:
        """Show that so many more steps are done."""
        self.update(self._done + n, values)
