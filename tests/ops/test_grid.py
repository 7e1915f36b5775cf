"""Every op answers as Keras does on the whole grid: the same shapes, dtypes, values, refusals and slopes."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import functools
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from lamella import KerasTensor, ops
from tests.ops import grid
from tests.ops.calls import CREATE, MANY
from tests.ops.cases import ONE, PRODUCT, TWO
from tests.ops.grid import Answer, Point
from tests.ops.image_calls import IMAGE

# By part, the points (a pattern of their labels) where the answer need not be Keras's, and why. "awkward": values that
# are not finite, or extreme.
EXCUSED: dict[str, dict[str, str]] = {
    "answers": {
        r"(get_item|scan|convert_to_numpy).*(int64|float64).*": "Keras hands NumPy's arrays through as they are",
        r"erf.*(bool|int).*": "whole numbers are welcome, as in erfc",
        r"normalize.*(bool|int).*": "whole numbers are welcome",
        r"(normalize|rms_normalization).*(\[\](, .*)?|2\.5)\)": "a number has no axis; Keras makes it a vector",
        r"ldexp.*(bool.*|True)\)": "a truth value is 0 or 1",
        r"histogram.*\[2, 1, 3\]\)": "elements are counted whatever the shape, as NumPy does",
        r"log_softmax\[4\].*": "several axes together, the last counted as -1, fail in Keras",
        r"max_pool\[many 2\].*": "Keras doubles strides that it takes from pool_size, channels first",
        r"(depthwise|separable)_conv.*(bfloat16.*float32|float32.*float16).*": "inputs take the kernel's dtype",
        r"conv_transpose.*(bfloat16.*float32|float32.*float16).*": "dtypes are promoted",
        r"stft.*(int32|\[0, 40\]).*": "whole numbers are welcome; Keras loses the batch axis of no signals",
        r"istft.*\[0, .*": "an empty batch is a batch; Keras divides by zero",
        r"unstack\[2\].*": "Keras does not look at num",
        r"scatter_update.*bool.*": "truth values are not added up",
        r"polar.*float16.*2\.5.*|polar.*2\.5.*float16.*": "a number changes no dtype here; Keras stops",
    },
    "values": {
        r"sparsemax.*": "Keras's rows need not sum to 1; test_values has the property",
        r"scatter_update\[product 0\]\(u?int.*float.*": "updates take the inputs' dtype before they are added",
        r"dot_product_attention.*int32.*": "Keras rounds scores and weights to whole numbers",
    },
    "slopes": {r"sparsemax.*": "as its values"},
    "awkward": {
        r"hard_shrink.*int8.*": "the magnitude of -128 is no int8",
        r"moments.*bfloat16.*": "Keras limits bfloat16 to the range of float16",
        r"extract_sequences.*": "Keras's windows are products with 0 and 1: a NaN spreads",
        r"layer_normalization.*": "Keras multiplies x and its mean by gamma apart: infinity minus infinity",
    },
}
# Where the size of the batch cannot stay open.
UNKNOWN = {
    **dict.fromkeys(("array_split", "glu", "split", "unstack", "vsplit"), "the axis is cut into so many parts"),
    **dict.fromkeys(("diag", "diagonal", "diagflat"), "the smaller of two axes decides"),
    **dict.fromkeys(("pad", "slice"), "the batch must be larger than the border, or the block"),
    "associative_scan": "the depth follows from the length",
    "cond": "a function without arguments sees symbols that nobody hands over",
    "size": "a Python number, if it is known",
}
ELSEWHERE = {"ctc_loss": "test_ctc", "ctc_decode": "test_ctc"}
QUICKLY = {"xla_backend_optimization_level": 0}
LIBRARIES = (ops, keras.ops)
NAMES = sorted({*ONE, *TWO, *PRODUCT, *MANY})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_answers(name: str) -> None:
    wrong, unlike = [], []
    for point in grid.points(name):
        if excused("answers", point):
            continue
        ours, theirs = grid.answers(LIBRARIES, point)
        if isinstance(theirs, Exception) and _may_refuse(point, ours):
            continue
        if isinstance(ours, Answer) and isinstance(theirs, Answer) and ours.kinds == theirs.kinds:
            if point.compared and (ours.program != theirs.program or not ours.program):
                unlike.append(point)
        else:
            wrong.append(f"{point.label}: {_short(ours)}, Keras {_short(theirs)}")
    wrong += _values([point for point in unlike if not excused("values", point)])
    assert not wrong, "\n".join(wrong)


def excused(part: str, point: Point) -> str | None:
    """Return the reason why an answer need not be Keras's."""
    return next((why for pattern, why in EXCUSED[part].items() if re.fullmatch(pattern, point.label)), None)


def _may_refuse(point: Point, ours: Any) -> bool:
    """Tell whether Keras may refuse: where lamella does, and numbers in place of arrays."""
    numbers = not any(hasattr(x, "dtype") for x in point.samples[0])
    return numbers or isinstance(ours, (ValueError, TypeError, IndexError))


def _short(answer: Any) -> str:
    return f"{answer.kinds[1:]}" if isinstance(answer, Answer) else f"{type(answer).__name__}: {answer}"[:200]


def _values(points: list[Point], strict: bool = False) -> list[str]:
    """Return where values differ. All points are compiled into one program, unless one of them resists that."""

    def both(lists: list[Any]) -> list[Any]:
        return [[_arrays(library, *each) for library in LIBRARIES] for each in zip(points, lists, strict=True)]

    if not points:
        return []
    try:
        program = jax.jit(both, compiler_options=QUICKLY).lower([grid.dynamic(p.samples[0]) for p in points]).compile()
    except Exception:
        if len(points) > 1:
            return [line for point in points for line in _values([point])]
        program = both
    wrong = []
    for index in range(max(len(point.samples) for point in points)):
        lists = [grid.dynamic(point.samples[index % len(point.samples)]) for point in points]
        for point, arrays, (ours, theirs) in zip(points, lists, program(lists), strict=True):
            if not _alike(ours, theirs) and (strict or not (index and excused("awkward", point))):
                wrong.append(f"{point.label}: {ours}, Keras {theirs}, of {arrays}"[:900])
    return wrong


def _arrays(library: Any, point: Point, arrays: list[Any]) -> Any:
    """Return the arrays in an answer; what resists to be compiled is run, and an error then is an answer."""
    call = grid.joined(point.samples[0], arrays)
    if any(isinstance(x, jax.core.Tracer) for x in arrays):
        return grid.flat(point.call(library, *call))[0]
    try:
        return grid.flat(point.call(library, *call))[0]
    except Exception as error:
        return error


def _alike(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Exception) or isinstance(theirs, Exception):
        return isinstance(ours, Exception) and isinstance(theirs, Exception)
    return all(close(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_slopes(name: str) -> None:
    unlike = []
    for point in _of_floats(name):
        slopes = Point(point.label, functools.partial(_slopes, point), point.samples)
        ours, theirs = (grid.answer(library, slopes, traced=True) for library in LIBRARIES)
        if isinstance(ours, Answer) and isinstance(theirs, Answer) and ours.program == theirs.program:
            continue
        if not isinstance(theirs, Exception) and not excused("slopes", point):
            unlike.append(slopes)
    wrong = _values(unlike)
    assert not wrong, "\n".join(wrong)


def _of_floats(name: str) -> Iterator[Point]:
    """Yield a point in float32 for each call of an op."""
    seen = set()
    for point in grid.points(name):
        call = point.label.partition("]")[0]
        arrays = grid.dynamic(point.samples[0])
        if call not in seen and len(arrays) == len(point.samples[0]) and {str(x.dtype) for x in arrays} == {"float32"}:
            seen.add(call)
            yield point


def _slopes(point: Point, library: Any, *arrays: Any) -> Any:
    def total(*arrays: Any) -> Any:
        found = [x.real for x in grid.flat(point.call(library, *arrays))[0] if jnp.issubdtype(x.dtype, jnp.inexact)]
        # weighted, for many a plain sum is the same whatever the arrays
        weighted = (x.astype("float32") * np.cos(np.arange(x.size)).reshape(x.shape).astype("float32") for x in found)
        return sum((jnp.sum(x) for x in weighted), jnp.zeros(()))

    return jax.grad(total, argnums=tuple(range(len(arrays))))(*arrays)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNKNOWN])
def test_symbols(name: str) -> None:
    wrong = []
    for label, call, shapes in _batches(name):
        known = grid.answer(
            ops, Point(label, call, [tuple(jnp.zeros([n or 8 for n in shape]) for shape in shapes)]), True
        )
        if isinstance(known, Exception):
            continue
        kinds = [kind for kind in known.kinds[1:] if isinstance(kind[1], tuple)]
        try:
            out = jax.tree.leaves(call(ops, *(KerasTensor(shape) for shape in shapes)))
            found = [(x.dtype, tuple(_at_8(n) for n in x.dims)) for x in out if isinstance(x, KerasTensor)]
        except Exception as error:
            found = [repr(error)[:200]]
        if found != kinds:
            wrong.append(f"{label} of {shapes}: {found}, known {kinds}")
    assert not wrong, "\n".join(wrong)


def _batches(name: str) -> Iterator[tuple[str, Any, list[Any]]]:
    """Yield the calls of an op with shapes whose first axis is not known."""
    for table, shapes in ((ONE, [(None, 3)]), (TWO, [(None, 3)] * 2), (PRODUCT, [(None, 3), (3, 3)])):
        for index, call in enumerate(table.get(name, ())):
            yield f"{name}[{index}]", call, shapes
    for index, (call, *arrays) in enumerate(MANY.get(name, ())):
        yield f"{name}[many {index}]", call, [(None if x.shape[0] == 2 else x.shape[0], *x.shape[1:]) for x in arrays]


def _at_8(size: Any) -> int:
    return size if isinstance(size, int) else size._evaluate({"batch": 8})


def test_no_op_is_forgotten() -> None:
    made = {name for call in CREATE.values() for name in call.__code__.co_names}
    for library in (ops, ops.numpy, ops.nn, ops.linalg):
        assert set(library.__all__) - {*NAMES, *made} == set(ELSEWHERE) & set(library.__all__)
    assert set(ops.image.__all__) <= {name for call in IMAGE.values() for name in call.__code__.co_names}


@pytest.mark.filterwarnings("ignore")
def test_every_excuse_is_needed() -> None:
    everywhere = [point for name in NAMES for point in grid.points(name)]
    for part, patterns in EXCUSED.items():
        for pattern in patterns:
            points = (point for point in everywhere if re.fullmatch(pattern, point.label))
            assert any(_differs(part, point) for point in points), pattern


def _differs(part: str, point: Point) -> bool:
    """Tell whether a point would fail without its excuse."""
    if part == "slopes":
        point = Point(point.label, functools.partial(_slopes, point), point.samples)
    ours, theirs = grid.answers(LIBRARIES, point)
    if isinstance(ours, Exception) or isinstance(theirs, Exception):
        return part == "answers" and not (isinstance(ours, Exception) and isinstance(theirs, Exception))
    return ours.kinds != theirs.kinds if part == "answers" else bool(_values([point], strict=True))


def close(ours: Any, theirs: Any) -> bool:
    """Tell whether values agree: to 1e-5, in half precision to one unit of rounding, whole numbers exactly."""
    if not jnp.issubdtype(ours.dtype, jnp.inexact):
        return bool(np.array_equal(ours, theirs))
    bound = max(1e-5, float(jnp.finfo(ours.dtype).eps))
    wide = "complex128" if jnp.iscomplexobj(ours) else "float64"
    a, b = (np.asarray(x).astype(wide) for x in (ours, theirs))
    # where large terms cancel, what is left is as exact as they are
    largest = np.abs(b[np.isfinite(b)]).max(initial=1)
    return bool(np.allclose(a, b, rtol=bound, atol=bound / 10 * min(largest, 20), equal_nan=True))
