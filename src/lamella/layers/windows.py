"""What layers with windows over spatial axes have in common: tuples of sizes, and checks of them."""

from __future__ import annotations

from typing import Any

from lamella.core.axes import is_symbolic, spatial_names
from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.settings import one_of, standardize_data_format
from lamella.layers.spec import InputSpec


def tuple_of(value: Any, rank: int, owner: str, argument: str, least: int = 1) -> tuple[int, ...]:
    """Return `rank` integers for one number or a sequence of numbers."""
    sizes = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(sizes) != rank or not all(isinstance(size, int) and size >= least for size in sizes):
        raise ArgumentError(
            f"{owner}: {argument} must be an integer of at least {least} or {rank} of them, got {value!r}."
        )
    return sizes


def settle_windows(layer: Any, rank: int, paddings: tuple[str, ...] = ("valid", "same")) -> None:
    """Check a convolution's arguments and make them complete: sizes as tuples, padding, data format, counts."""
    owner = type(layer).__name__
    for name in ("kernel_size", "strides", "dilation_rate"):
        setattr(layer, name, tuple_of(getattr(layer, name), rank, owner, name))
    layer.padding = one_of("padding", layer.padding, paddings)
    settle_format(layer, rank)
    for name in ("filters", "groups", "depth_multiplier"):
        count = getattr(layer, name, 1)
        if not isinstance(count, int) or count < 1:
            raise ArgumentError(f"{owner}: {name} must be a positive integer, got {count!r}.")


def settle_format(layer: Any, rank: int) -> None:
    """Make the data format complete, name the axes, and take inputs of that rank alone."""
    layer.data_format = standardize_data_format(layer.data_format)
    layer.axis_names = spatial_names(rank, layer.data_format)
    layer.input_spec = InputSpec(ndim=rank + 2)


def refuse_strides_with_dilation(layer: Any) -> None:
    """Refuse windows that both jump and have gaps."""
    if max(layer.strides) > 1 and max(layer.dilation_rate) > 1:
        raise ArgumentError(
            f"{type(layer).__name__}: strides={layer.strides} and dilation_rate={layer.dilation_rate} exclude each "
            "other."
        )


def reach_of(layer: Any) -> tuple[int, ...]:
    """Return how many positions a window spans along each axis."""
    return tuple((size - 1) * step + 1 for size, step in zip(layer.kernel_size, layer.dilation_rate, strict=True))


def pairs_of(value: Any, rank: int, owner: str, argument: str) -> tuple[tuple[int, int], ...]:
    """Return `rank` pairs (before, after) for one number, a number an axis, or a pair an axis."""
    if isinstance(value, int):
        value = (value,) * rank
    elif rank == 1 and len(value) == 2 and all(isinstance(size, int) for size in value):
        value = (tuple(value),)
    pairs = tuple((size, size) if isinstance(size, int) else tuple(size) for size in value)
    if len(pairs) != rank or not all(len(p) == 2 and min(p) >= 0 for p in pairs):
        raise ArgumentError(f"{owner}: {argument} must be an integer, {rank} integers or {rank} pairs, got {value!r}.")
    return pairs


def spatial(shape: Any, data_format: str) -> tuple[Any, ...]:
    """Return the sizes of the spatial axes."""
    return tuple(shape[1:-1] if data_format == "channels_last" else shape[2:])


def check_windows_fit(owner: str, shape: Any, window: tuple[int, ...], data_format: str, padding: str) -> None:
    """Refuse windows that are larger than what they slide over."""
    if padding != "valid":
        return
    for size, reach in zip(spatial(shape, data_format), window, strict=True):
        if not is_symbolic(size) and size < reach:
            raise ShapeError(
                f"{owner}: a window of {window} does not fit into {spatial(shape, data_format)}; "
                "there would be no output.",
                mend="padding='same', or a smaller window",
            )
