"""Randomness with a memory: a key held in a Variable, so that pure calls can carry it."""

from __future__ import annotations

import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.errors import ArgumentError, FileFormatError
from lamella.core.sample import own_key
from lamella.core.variable import Variable


class SeedGenerator:
    """A source of random keys that never repeats one; the same seed gives the same keys.

    >>> SeedGenerator(7).next().tolist(), SeedGenerator(7).next().tolist()
    ([7, 0], [7, 0])
    """

    def __init__(self, seed: int | None = None, name: str | None = None) -> None:
        if seed is not None and not isinstance(seed, int):
            raise ArgumentError(f"seed must be an integer or None, got {seed!r}.")
        self.name = name or "seed_generator"
        self.seed = seed
        start = make_default_seed() if seed is None else seed
        self.state = Variable(np.array([start & 0xFFFFFFFF, 0], "uint32"), trainable=False, name="seed_generator_state")

    def next(self) -> jax.Array:
        """Return a key, (2,) uint32, and move on; inside code for one sample, each sample has its own."""
        key: jax.Array = self.state.value
        self.state.assign(key + np.array([0, 1], "uint32"))
        return own_key(key)

    def get_config(self) -> dict[str, Any]:
        """Return the seed that the generator was made with."""
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        """Make a generator from `get_config`'s answer."""
        return cls(**config)


_global: list[SeedGenerator] = []


def make_default_seed() -> int:
    """Draw a seed from Python's own generator, which `set_random_seed` fixes."""
    return random.randint(1, int(1e9))


def set_random_seed(seed: int) -> None:
    """Make everything random from here on reproducible: weights, dropout, shuffling, Python and NumPy."""
    if not isinstance(seed, int):
        raise ArgumentError(f"seed must be an integer, got {seed!r}.")
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    _global[:] = [SeedGenerator(seed)]


def random_states() -> dict[str, Any]:
    """Return, as plain data, where everything stands that `set_random_seed` fixes.

    >>> states = random_states()
    >>> drawn = np.random.rand(3)
    >>> set_random_states(states)
    >>> bool((np.random.rand(3) == drawn).all())
    True
    """
    return {
        "numpy": plain_state(np.random.get_state()),
        "python": list(random.getstate()),
        "lamella": _global[0].state.numpy().tolist() if _global else None,
    }


def set_random_states(states: Any) -> None:
    """Go on from `random_states`' answer, which may come from a file: it is checked first."""
    try:
        state, (version, words, gauss), own = numpy_state(states["numpy"]), states["python"], states["lamella"]
        # The last word is a place among the others.
        if not (_are_words(words, 625) and words[-1] <= 624 and (own is None or _are_words(own, 2))):
            raise ValueError("numbers that no generator has")
        random.setstate((version, tuple(words), None if gauss is None else float(gauss)))
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise FileFormatError(f"These are no states of random generators: {str(error)[:100]}.") from error
    np.random.set_state(state)
    if own is not None:
        if not _global:
            _global.append(SeedGenerator(0))
        _global[0].state.assign(np.array(own, "uint32"))


def plain_state(state: Any) -> list[Any]:
    """Return the state of one of NumPy's generators as plain data."""
    name, words, *rest = state
    return [name, np.asarray(words).tolist(), *rest]


def numpy_state(plain: Any) -> tuple[Any, ...]:
    """Return what `plain_state` was given, checked."""
    name, words, place, spare, gauss = plain
    if name != "MT19937" or not _are_words(words, 624) or type(place) is not int or not 0 <= place <= 624:
        raise FileFormatError("This is no state of a random generator.")
    return name, np.array(words, "uint32"), place, int(bool(spare)), float(gauss)


def _are_words(numbers: Any, count: int) -> bool:
    whole = isinstance(numbers, list | tuple) and len(numbers) == count
    return whole and all(type(number) is int and 0 <= number < 1 << 32 for number in numbers)


def draw_key(seed: int | SeedGenerator | jax.Array | None) -> jax.Array:
    """Return the key for one draw: the next of a generator (the process's own for None), or a fixed seed's."""
    if isinstance(seed, SeedGenerator):
        return seed.next()
    if isinstance(seed, jax.Array):
        return seed
    if isinstance(seed, int):
        return own_key(jnp.asarray(np.array([seed & 0xFFFFFFFF, 0], "uint32"), "uint32"))
    if seed is None:
        if not _global:
            _global.append(SeedGenerator())
        return _global[0].next()
    raise ArgumentError(f"seed must be an integer, a SeedGenerator, a key or None, got {seed!r}.")
