"""Callbacks that write down what the logs say, in a file or to a server."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from lamella.core.extras import need
from lamella.training.callbacks import Callback, Logs


class CSVLogger(Callback):
    """Write the logs of each epoch as a line of a table; `append` goes on with a file that is there.

    Columns for validation are there from the start, with NA where an epoch had none.
    """

    def __init__(self, filename: Any, separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename, self.separator, self.append = Path(filename), separator, append
        self._file: TextIO | None = None
        self._columns: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the file."""
        self._columns = []
        self._headed = self.append and self.filename.exists() and self.filename.stat().st_size > 0
        self._file = self.filename.open("a" if self.append else "w", newline="")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write a line."""
        assert self._file is not None
        logs = logs or {}
        writer = csv.writer(self._file, delimiter=self.separator)
        if not self._columns:
            names = sorted(logs)
            held = [] if any(name.startswith("val_") for name in names) else [f"val_{name}" for name in names]
            self._columns = [*names, *held]
            if not self._headed:
                writer.writerow(["epoch", *self._columns])
        writer.writerow([epoch, *(_cell(logs.get(name, "NA")) for name in self._columns)])
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _cell(value: Any) -> Any:
    return f'"[{", ".join(map(str, value))}]"' if np.ndim(value) else value


class RemoteMonitor(Callback):
    """Send the logs of each epoch to a server, as a field of a form or as JSON; needs `lamella[remote]`."""

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: Any = None,
        send_as_json: bool = False,
    ) -> None:
        super().__init__()
        self.root, self.path, self.field = root, path, field
        self.headers, self.send_as_json = headers, send_as_json
        self._requests = need("requests", "remote")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Send the logs; a server that is not there is no reason to stop."""
        values = {name: np.asarray(value).tolist() for name, value in (logs or {}).items()}
        content: dict[str, Any] = {"epoch": epoch, **values}
        body = {"json": content} if self.send_as_json else {"data": {self.field: json.dumps(content)}}
        try:
            self._requests.post(self.root + self.path, headers=self.headers, timeout=10, **body)
        except self._requests.exceptions.RequestException as error:
            warnings.warn(f"RemoteMonitor could not reach {self.root}: {error}", stacklevel=2)
