"""Formulas for sizes, found by looking: which numbers change a size, and which expression of them it always is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Setting: TypeAlias = Mapping[str, int]
Point: TypeAlias = tuple[Setting, int]
Candidate: TypeAlias = tuple[str, Callable[[Setting], float]]


@dataclass(frozen=True)
class Formula:
    """An expression for a size, its value, and the names that it depends on; `known` if it held in every trial."""

    text: str
    size: int
    names: tuple[str, ...] = ()
    known: bool = True

    def __str__(self) -> str:
        return self.text


def fit(points: Sequence[Point]) -> Formula:
    """Return the simplest expression that gives the size at every point, the first of which is the one at hand.

    Each of the others has another value for one name, or for several.

    >>> fit([({"units": 3}, 12), ({"units": 4}, 16), ({"units": 6}, 24)]).text
    '4 * units'
    >>> fit([({"units": 3}, 5), ({"units": 4}, 5)]).text
    '5'
    """
    base, size = points[0]
    names = tuple(name for name in base if _matters(name, points))
    if not names:
        return Formula(str(size), size, known=all(other == size for _, other in points))
    for text, value in _candidates(names, points):
        if all(value(setting) == other for setting, other in points):
            return Formula(text, size, names)
    return Formula(f"depends on {', '.join(names)}", size, names, known=False)


def _matters(name: str, points: Sequence[Point]) -> bool:
    base, size = points[0]
    return any(other != size and _changed(base, setting) == {name} for setting, other in points[1:])


def _changed(base: Setting, setting: Setting) -> set[str]:
    return {name for name in base if setting[name] != base[name]}


def _candidates(names: tuple[str, ...], points: Sequence[Point]) -> Iterator[Candidate]:
    yield from _products(names, points[0])
    yield from _sums(names, points)
    yield from _windows(names)


def _products(names: tuple[str, ...], point: Point) -> Iterator[Candidate]:
    base, size = point
    for count in range(len(names), 0, -1):
        for above in itertools.combinations(names, count):
            below = [name for name in names if name not in above]
            top, bottom = math.prod(base[n] for n in above), math.prod(base[n] for n in below)
            if top == 0 or size * bottom % top:
                continue
            factor = size * bottom // top
            text = " * ".join([*([str(factor)] if factor != 1 else []), *above])
            text = " // ".join([text, *below])
            yield text, _product(factor, above, tuple(below))


def _product(factor: int, above: tuple[str, ...], below: tuple[str, ...]) -> Callable[[Setting], float]:
    return lambda at: factor * math.prod(at[n] for n in above) / math.prod(at[n] for n in below)


def _sums(names: tuple[str, ...], points: Sequence[Point]) -> Iterator[Candidate]:
    base, size = points[0]
    slopes: dict[str, int] = {}
    for name in names:
        setting, other = next(p for p in points[1:] if _changed(base, p[0]) == {name})
        if (other - size) % (setting[name] - base[name]):
            return
        slopes[name] = (other - size) // (setting[name] - base[name])
    rest = size - sum(slope * base[name] for name, slope in slopes.items())
    terms = sorted(slopes.items(), key=lambda item: item[1] < 0)
    text = "".join(_term(slope, name) for name, slope in terms) + (_term(rest, "") if rest else "")
    yield text.removeprefix(" + "), lambda at: rest + sum(slope * at[name] for name, slope in slopes.items())


def _term(factor: int, name: str) -> str:
    number = str(abs(factor)) if not name else name if abs(factor) == 1 else f"{abs(factor)} * {name}"
    return f" {'-' if factor < 0 else '+'} {number}"


def _windows(names: tuple[str, ...]) -> Iterator[Candidate]:
    """Places of a window that slides, with or without padding; which name plays which part is tried out."""
    for first, *others in itertools.permutations(names):
        if not others:
            continue
        a, *more = others
        if not more:
            yield f"{first} // {a}", lambda at, x=first, a=a: at[x] // at[a]  # type: ignore[misc]
            yield f"ceil({first} / {a})", lambda at, x=first, a=a: -(-at[x] // at[a])  # type: ignore[misc]
        elif len(more) == 1:
            b = more[0]
            text = f"({first} - {a}) // {b} + 1"
            yield text, lambda at, x=first, a=a, b=b: (at[x] - at[a]) // at[b] + 1  # type: ignore[misc]
            text = f"{first} - {a} * ({b} - 1)"
            yield text, lambda at, x=first, a=a, b=b: at[x] - at[a] * (at[b] - 1)  # type: ignore[misc]
        elif len(more) == 2:
            b, c = more
            text = f"({first} - {a} * ({b} - 1) - 1) // {c} + 1"
            yield text, lambda at, x=first, a=a, b=b, c=c: (at[x] - at[a] * (at[b] - 1) - 1) // at[c] + 1  # type: ignore[misc]
