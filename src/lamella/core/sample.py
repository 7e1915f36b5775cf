"""Where in a batch the present code runs: on all samples at once, or on one of them, and on which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Place:
    """The numbers of the samples around, outermost first, and whether arrays here have no batch axis."""

    numbers: tuple[Any, ...] = ()
    unbatched: bool = False


_NOWHERE = Place()
_place: ContextVar[Place] = ContextVar("lamella_sample", default=_NOWHERE)


def unbatched() -> bool:
    """Tell whether the present code is written for one sample: its arrays have no batch axis."""
    return _place.get().unbatched


def own_key(key: jax.Array) -> jax.Array:
    """Return the present sample's own key, made of one that all samples share; outside of any sample, that one."""
    for number in _place.get().numbers:
        key = jax.random.fold_in(key, number)
    return key


@contextmanager
def _at(place: Place) -> Iterator[None]:
    token = _place.set(place)
    try:
        yield
    finally:
        _place.reset(token)


def inside_sample(number: Any) -> Any:
    """Run code written for one sample, the one of this number."""
    return _at(Place((*_place.get().numbers, number), unbatched=True))


def as_batch_of_one() -> Any:
    """Run code written for batches on a batch that holds the present sample alone."""
    return _at(Place(_place.get().numbers))


def outside_samples() -> Any:
    """Run code that serves all samples, such as the making of weights."""
    return _at(_NOWHERE)
