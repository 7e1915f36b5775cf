"""Every op answers as Keras does on the whole grid: the same shapes, dtypes, values, refusals and slopes."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import re
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from lamella import ops
from tests.ops import grid
from tests.ops.calls import MANY
from tests.ops.cases import ONE, PRODUCT, TWO
from tests.ops.grid import Answer, Point

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
    "awkward": {
        r"hard_shrink.*int8.*": "the magnitude of -128 is no int8",
        r"moments.*bfloat16.*": "Keras limits bfloat16 to the range of float16",
        r"extract_sequences.*": "Keras's windows are products with 0 and 1: a NaN spreads",
        r"layer_normalization.*": "Keras multiplies x and its mean by gamma apart: infinity minus infinity",
    },
}
QUICKLY = {"xla_backend_optimization_level": 0}
LIBRARIES = (ops, keras.ops)
NAMES = sorted({*ONE, *TWO, *PRODUCT, *MANY})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_answers(name: str) -> None:
    wrong, unlike = [], []
    for point in grid.points(name):
        ours, theirs = grid.answers(LIBRARIES, point)
        if excused("answers", point) or (isinstance(theirs, Exception) and _may_refuse(point, ours)):
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
    return isinstance(ours, Exception) or not any(hasattr(x, "dtype") for x in point.samples[0])


def _short(answer: Any) -> str:
    return f"{answer.kinds[1:]}" if isinstance(answer, Answer) else f"{type(answer).__name__}: {answer}"[:200]


def _values(points: list[Point]) -> list[str]:
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
            if not (index and excused("awkward", point)) and not _alike(ours, theirs):
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


def close(ours: Any, theirs: Any) -> bool:
    """Tell whether values agree: to 1e-5, in half precision to one unit of rounding, whole numbers exactly."""
    if not jnp.issubdtype(ours.dtype, jnp.inexact):
        return bool(np.array_equal(ours, theirs))
    bound = max(1e-5, float(jnp.finfo(ours.dtype).eps))
    wide = "complex128" if jnp.iscomplexobj(ours) else "float64"
    a, b = (np.asarray(x).astype(wide) for x in (ours, theirs))
    return bool(np.allclose(a, b, rtol=bound, atol=bound / 10, equal_nan=True))
