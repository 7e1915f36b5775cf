"""The table that `model.summary()` prints."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from lamella.core.axes import describe, names
from lamella.core.errors import NotBuiltError
from lamella.core.settings import is_interactive_logging_enabled, say
from lamella.core.structure import leaves_of
from lamella.core.variable import Variable

if TYPE_CHECKING:
    from lamella.layers.layer import Layer
    from lamella.models.model import Model


def print_summary(model: Model, line_length: int | None, expand_nested: bool, print_fn: Any) -> None:
    """Print a model's layers, or hand the text to `print_fn`."""
    if not model.weights and model._graph is None and not model.built:
        raise NotBuiltError(
            f"The model {model.name!r} cannot be summarized: it does not know its input's shape yet.",
            mend="Input((5,)) as its first layer, or model.build((None, 5)), or call it on data",
        )
    table = Table(title=f"{type(model).__name__} {model.name!r}", title_justify="left")
    for heading in ("layer", "output shape", "axes"):
        table.add_column(heading, overflow="fold")
    for heading in ("parameters", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    _add_rows(table, model, expand_nested, "")
    buffer = io.StringIO()
    handed = print_fn or line_length or not is_interactive_logging_enabled()
    console = Console(file=buffer, width=line_length or 100) if handed else Console()
    console.print(table)
    console.print(_totals(model))
    if handed:
        (print_fn or say)(buffer.getvalue())


def _add_rows(table: Table, model: Any, expand: bool, indent: str) -> None:
    layers = list(model.layers)
    if model._graph is not None:
        for tensor in model._graph.input_tensors:
            layer = tensor.node.operation if tensor.node else None
            if layer is not None and layer not in layers:
                layers.insert(0, layer)
    for layer in layers:
        shape, axes = _output_of(layer)
        size = sum(weight.size for weight in layer.weights)
        table.add_row(
            f"{indent}{layer.name} [dim]{type(layer).__name__}[/dim]",
            shape,
            axes,
            f"{size:,}",
            in_bytes(sum(weight.nbytes for weight in layer.weights)),
        )
        if expand and hasattr(layer, "layers"):
            _add_rows(table, layer, expand, indent + "  ")


def _output_of(layer: Layer) -> tuple[str, str]:
    if not layer.nodes:
        return "?", ""
    tensors = leaves_of(layer.nodes[0].outputs)
    shapes = ", ".join(str(tensor.shape) for tensor in tensors)
    first = tensors[0].shape
    labels = layer.axis_names if len(layer.axis_names) == len(first) else names(len(first))
    return shapes, describe(first, labels).strip("(),") if len(tensors) == 1 else ""


def _totals(model: Model) -> str:
    trained, kept = model.trainable_weights, model.non_trainable_weights
    lines = [("Parameters", [*trained, *kept]), ("  trained", trained), ("  not trained", kept)]
    return "\n".join(f"{label}: {_total(weights)}" for label, weights in lines if weights or label == "Parameters")


def _total(weights: list[Variable]) -> str:
    return f"{sum(w.size for w in weights):,} ({in_bytes(sum(w.nbytes for w in weights))})"


def in_bytes(count: float) -> str:
    """Print a number of bytes in the unit that suits it.

    >>> in_bytes(1234567)
    '1.2 MB'
    """
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
