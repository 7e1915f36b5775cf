"""Names that are given where a person gives none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_counts: Counter[str] = Counter()


def snake_case(class_name: str) -> str:
    """Return a class name in lower case with underscores; names in files depend on the very rule.

    >>> snake_case("MeanSquaredError"), snake_case("AUC")
    ('mean_squared_error', 'auc')
    """
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def spelled_out(text: object) -> str:
    """Return a stranger's text as it may be shown: signs that a terminal would obey are written as in Python.

    >>> print(spelled_out("a\\x1b[2Jb"))
    a\\x1b[2Jb
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in str(text))


def automatic_name(class_name: str) -> str:
    """Return a name for a thing of this class: "dense", then "dense_1", ..."""
    base = snake_case(class_name)
    _counts[base] += 1
    return base if _counts[base] == 1 else f"{base}_{_counts[base] - 1}"


def get_uid(prefix: str = "") -> int:
    """Return 1 for a prefix that nothing was named with so far, then 2, ..."""
    _counts[prefix] += 1
    return _counts[prefix]


def forget_names(free_memory: bool = True) -> None:
    """Count from the start again. `free_memory` is accepted for Keras's sake: nothing else is kept."""
    _counts.clear()


@contextmanager
def counted_apart() -> Iterator[None]:
    """Give names to things that nobody keeps, without a gap in the count of those that people make."""
    before = _counts.copy()
    try:
        yield
    finally:
        _counts.clear()
        _counts.update(before)
