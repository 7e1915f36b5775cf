"""The grid: for each op its calls, on arrays of many shapes and dtypes; and what two libraries answer there.

A call is traced, not run: the trace tells shapes, dtypes and refusals in a millisecond. Where two libraries trace to
the same program their values are the same; only where the programs differ are they compiled and their values compared.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.ops.calls import MANY
from tests.ops.cases import ONE, PRODUCT, TWO

Call = Callable[..., Any]
Arguments = tuple[Any, ...]

DTYPES = ("bool", "int8", "uint8", "int32", "float16", "bfloat16", "float32")
SHAPES = ((), (0,), (0, 3), (1,), (2, 1, 3), (3,))
PAIRS = (((), (3,)), ((0,), (1,)), ((2, 1, 3), (2, 3)), ((2, 3), (3,)), ((3,), (0,)), ((0, 3), (3,)), ((2, 3), (2, 2)))
PRODUCT_PAIRS = (
    *(((), ()), ((), (3,)), ((0,), (0,)), ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 3), (3, 0)), ((0, 3), (3, 2))),
    *(((2, 1, 3), (3, 3)), ((2, 3, 3), (2, 3, 3))),
)
# Run, not traced, and compiled operation by operation: on few points.
SEEING = ("unique", "nonzero")
NUMBERS = (True, 2, 2.5)

_FLOATS = [0.3, -1.6, 2.2, 1, 0, -0.4, 3, -2, 0.5, 7.5, -1, 1.5, np.nan, np.inf, -0.0, -np.inf, 88.9, -104, 1e-4]
_WHOLE = [3, -7, 2, 1, 0, -1, 5, 1, 2, 6, -128, 127]


class Point(NamedTuple):
    """A call, and arguments of the same shapes and dtypes with several values, the first of them finite."""

    label: str
    call: Call
    samples: list[Arguments]
    compared: bool = True
    """Whether values are compared too; of pairs of dtypes and in half precision they are for some."""


def points(name: str) -> Iterator[Point]:
    """Yield the points of one op: its first call on the whole grid, its others on a part of it."""
    for kind, table, inputs in (("", ONE, _one), ("two ", TWO, _two), ("product ", PRODUCT, _product)):
        for index, call in enumerate(table.get(name, ())):
            for samples in inputs(DTYPES if index == 0 and name not in SEEING else ("int32", "bfloat16", "float32")):
                dtypes = {str(x.dtype) for x in dynamic(samples[0])}
                yield Point(_label(name, f"{kind}{index}", samples[0]), call, samples, _compared(dtypes))
    for index, (call, *arrays) in enumerate(MANY.get(name, ())):
        for arguments in _many(arrays):
            dtypes = {str(x.dtype) for x in arguments}
            yield Point(_label(name, f"many {index}", arguments), call, [arguments], dtypes == {"float32"})


def _compared(dtypes: set[str]) -> bool:
    return len(dtypes) < 2 or "float32" in dtypes


def _label(name: str, index: str, arguments: Arguments) -> str:
    shown = (f"{x.dtype}{list(x.shape)}" if hasattr(x, "dtype") else repr(x) for x in arguments)
    return f"{name}[{index}]({', '.join(shown)})"


@functools.cache
def fill(shape: tuple[int, ...], dtype: str, start: int = 0) -> Any:
    """Return an array of plain values and, from the 12th on, awkward ones."""
    values = np.array(_FLOATS if "float" in dtype else _WHOLE)
    values = values > 0 if dtype == "bool" else np.abs(values) if dtype == "uint8" else values
    return jnp.asarray(np.resize(np.roll(values, -start), shape)).astype(dtype)


def _filled(*kinds: tuple[tuple[int, ...], str], starts: Iterable[int] = (0, 10, 15)) -> list[Arguments]:
    return [tuple(fill(*kind, start + 2 * place) for place, kind in enumerate(kinds)) for start in starts]


def _one(dtypes: Iterable[str]) -> Iterator[list[Arguments]]:
    yield from (_filled(((2, 3), dtype)) for dtype in dtypes)
    yield from (_filled((shape, "float32")) for shape in (SHAPES if dtypes is DTYPES else SHAPES[::2]))
    if dtypes is DTYPES:
        yield from (_filled((shape, "int32")) for shape in SHAPES[:3])
        yield from ([(np.arange(6).reshape(2, 3).astype(dtype),)] for dtype in ("int64", "float64"))
        yield from ([(number,)] for number in NUMBERS)


def _pairs(dtypes: Iterable[str]) -> list[tuple[str, str]]:
    """Return each pair of dtypes in one of its orders."""
    pairs = itertools.combinations_with_replacement(dtypes, 2)
    return [pair[:: 1 if index % 2 else -1] for index, pair in enumerate(pairs)]  # type: ignore[misc]


def _two(dtypes: Iterable[str]) -> Iterator[list[Arguments]]:
    every = len(_FLOATS)
    yield from (_filled(((every, 1), a), ((1, every), b), starts=[0]) for a, b in _pairs(dtypes))
    for number, dtype in itertools.product(NUMBERS, set(dtypes) & {"bool", "uint8", "int32", "bfloat16"}):
        yield [(x, number) for (x,) in _filled(((2, 3), dtype))]
        yield [(number, x) for (x,) in _filled(((2, 3), dtype))]
    if dtypes is DTYPES:
        yield from (_filled((a, "float32"), (b, "float32")) for a, b in PAIRS)
        yield from ([(np.array([1, 2, 5], dtype), fill((3,), "float16"))] for dtype in ("int64", "float64"))
        yield from ([pair] for pair in ((2, 2.5), (2.5, True), (2, 2)))


def _product(dtypes: Iterable[str]) -> Iterator[list[Arguments]]:
    yield from (_filled(((3, 3), a), ((3, 3), b), starts=(0, 9)) for a, b in _pairs(dtypes))
    yield from (_filled((a, "float32"), (b, "float32")) for a, b in PRODUCT_PAIRS)
    if dtypes is DTYPES:
        yield from ([(np.ones((3, 3), dtype), fill((3, 3), "float16"))] for dtype in ("int64", "float64"))


def _many(arrays: list[Any]) -> Iterator[Arguments]:
    xs = [jnp.asarray(x) for x in arrays]
    yield tuple(xs)
    yield from (tuple(x.astype(dtype) for x in xs) for dtype in ("float16", "bfloat16", "int32"))
    yield tuple(x[:0] if x.shape[0] == 2 else x for x in xs)
    if len(xs) > 1:
        yield (xs[0].astype("bfloat16"), *xs[1:])
        yield (xs[0], *(x.astype("float16") for x in xs[1:]))


UNTRACEABLE = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)


class Answer(NamedTuple):
    """What a library answers at a point."""

    kinds: list[Any]
    """The structure; dtype and shape of each array; type and value of all else."""
    program: str
    """The text of the traced program, or nothing where the call must see values."""


def answers(libraries: Iterable[Any], point: Point) -> list[Answer | Exception]:
    """Trace a call in each library; where one of them must see values, run it in each. An error is an answer too."""
    found = [answer(library, point, traced=True) for library in libraries]
    if any(isinstance(each, UNTRACEABLE) or "concrete" in str(each) for each in found if isinstance(each, Exception)):
        found = [answer(library, point, traced=False) for library in libraries]
    return found


def answer(ops: Any, point: Point, traced: bool) -> Answer | Exception:
    """Return the answer of one library."""
    arguments = point.samples[0]
    kinds: list[Any] = []

    def staged(*arrays: Any) -> list[Any]:
        out, seen = flat(point.call(ops, *joined(arguments, arrays)))
        kinds[:] = seen
        return out

    try:
        if not traced:
            staged(*dynamic(arguments))
            return Answer(kinds, "")
        closed = jax.make_jaxpr(staged)(*dynamic(arguments))
        return Answer(kinds, f"{closed.jaxpr} {[(str(x.dtype), np.asarray(x).tolist()) for x in closed.consts]}")
    except Exception as error:
        return error


def flat(out: Any) -> tuple[list[Any], list[Any]]:
    """Return the arrays in an answer, and the kinds of all that it holds."""
    leaves, structure = jax.tree.flatten(out)
    kinds = ((str(x.dtype), x.shape) if hasattr(x, "dtype") else (type(x).__name__, x) for x in leaves)
    return [x for x in leaves if hasattr(x, "dtype")], [structure, *kinds]


def dynamic(arguments: Arguments) -> list[Any]:
    """Return the JAX arrays among arguments; NumPy's and numbers stay as they are in a traced call."""
    return [x for x in arguments if isinstance(x, jax.Array)]


def joined(arguments: Arguments, arrays: Iterable[Any]) -> list[Any]:
    """Return the arguments with other JAX arrays in the place of theirs."""
    rest = iter(arrays)
    return [next(rest) if isinstance(x, jax.Array) else x for x in arguments]
