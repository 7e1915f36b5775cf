"""What layers with windows over spatial axes have in common: tuples of sizes, and checks of them."""

from __future__ import annotations

from typing import Any

from lamella.core.axes import is_symbolic
from lamella.core.errors import ArgumentError, ShapeError


def tuple_of(value: Any, rank: int, owner: str, argument: str, least: int = 1) -> tuple[int, ...]:
    """Return `rank` integers for one number or a sequence of numbers."""
    sizes = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(sizes) != rank or not all(isinstance(size, int) and size >= least for size in sizes):
        raise ArgumentError(
            f"{owner}: {argument} must be an integer of at least {least} or {rank} of them, got {value!r}."
        )
    return sizes


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
