"""One case: a layer with its arguments and the shapes it gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    layer: str
    arguments: dict[str, Any] = field(default_factory=dict)
    shape: Any = (3, 5)
    ids: int = 0
    inner: str | None = None
    inner_arguments: dict[str, Any] = field(default_factory=dict)
    apart: bool = False
    """Several inputs are arguments of their own, not one list."""

    def make(self, library: Any) -> Any:
        arguments = dict(self.arguments)
        if self.inner:
            arguments["layer"] = getattr(library.layers, self.inner)(**self.inner_arguments)
        return getattr(library.layers, self.layer)(**arguments)

    def __str__(self) -> str:
        shown = ",".join(f"{k}={v}" for k, v in {**self.arguments, **self.inner_arguments}.items())
        return f"{self.layer}{f'[{self.inner}]' if self.inner else ''}({shown}) on {self.shape}"

    def call(self, layer: Any, inputs: Any, **options: Any) -> Any:
        return layer(*inputs, **options) if self.apart else layer(inputs, **options)

    def given(self, inputs: Any) -> list[Any]:
        """The inputs as positional arguments."""
        return list(inputs) if self.apart else [inputs]

    @property
    def several(self) -> bool:
        return isinstance(self.shape, list)


IMAGE, FIRST = (2, 8, 9, 4), (2, 4, 8, 9)
SEQUENCE, VOLUME = (2, 7, 4), (2, 6, 5, 7, 4)
PAIR = [(3, 4, 5), (3, 4, 5)]
CF = {"data_format": "channels_first"}
