"""What is known of a layer's shapes, as data; how it reads is written in `words` and `pages`."""

from __future__ import annotations

from dataclasses import dataclass, field

from lamella.tools.explaining.formulas import Formula


@dataclass(frozen=True)
class Axis:
    """An axis of an input, and what the layer does with it.

    `fate` is "left alone" (each index by itself comes out at index `output`), "merged" (still apart, but together with
    other axes, or several times, in output axis `output`), "worked on", "not used" or "unknown".
    """

    name: str
    size: int
    fate: str = ""
    how: str = ""
    output: int | None = None


@dataclass(frozen=True)
class Tensor:
    """An input or output: its axes by name, each with the formula of its size where that is known."""

    label: str
    axes: tuple[Axis, ...]
    dtype: str
    formulas: tuple[Formula, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of one sample, without the batch."""
        return tuple(axis.size for axis in self.axes[1:])


@dataclass(frozen=True)
class Weight:
    """A weight: the formula of each of its axes, and whether training changes it."""

    name: str
    shape: tuple[int, ...]
    formulas: tuple[Formula, ...]
    trainable: bool
    size: int
    nbytes: int


@dataclass(frozen=True)
class LayerFacts:
    """One call of one layer.

    `parameters` are those of the layer, `flops` and `activation_bytes` are for one sample. `relations` say in words
    how its arguments, its input and its weights hang together. `sections` are the calls in a model.
    """

    path: str
    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: tuple[Weight, ...]
    parameters: int
    trainable: int
    flops: int
    activation_bytes: int
    relations: tuple[str, ...] = ()
    endless: bool = False
    again: bool = False
    sections: tuple[LayerFacts, ...] = field(default=())

    @property
    def left_alone(self) -> tuple[str, ...]:
        """The axes of the first input that the layer leaves alone."""
        return tuple(axis.name for axis in self.inputs[0].axes if axis.fate == "left alone") if self.inputs else ()

    @property
    def works_on(self) -> tuple[str, ...]:
        """The axes of the first input that the layer works on."""
        return tuple(axis.name for axis in self.inputs[0].axes if axis.fate == "worked on") if self.inputs else ()
