"""Every layer in all its configurations as a program: python -m tests.files.every_program [onnx]

Programs are run beside the layer; graphs are, when they are written. What has no program is printed with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import lamella
from lamella.core.axes import exact
from lamella.core.errors import ArgumentError
from lamella.core.masked import value_of
from lamella.core.structure import leaves_of
from lamella.graph.trace import Spec
from lamella.saving.endpoint import Endpoint, endpoint_of
from lamella.saving.onnx import onnx
from lamella.saving.stablehlo import stablehlo
from tests.parity.cases import CASES, Case


def data(case: Case) -> Any:
    draw = np.random.default_rng(0)

    def one(shape: tuple[int, ...]) -> Any:
        return draw.integers(0, case.ids, shape, "int32") if case.ids else draw.normal(size=shape).astype("float32")

    return [one(shape) for shape in case.shape] if case.several else one(case.shape)


def endpoint(case: Case) -> Endpoint:
    layer, x = case.make(lamella), data(case)
    case.call(layer, x)
    specs = jax.tree.map(lambda a: Spec(exact((None, *a.shape[1:])), a.dtype), x)
    return endpoint_of(case.layer, lambda x: case.call(layer, x), [specs]).checked()


def as_program(case: Case) -> None:
    made = endpoint(case)
    x = data(case)
    expected = [np.asarray(value_of(leaf)) for leaf in leaves_of(made.fn(x))]
    answers = jax.tree.leaves(jax.export.deserialize(bytearray(stablehlo(made))).call(x))
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, wanted, rtol=2e-5, atol=2e-5)


def as_graph(case: Case) -> None:
    onnx(endpoint(case))


def main(run: Callable[[Case], None]) -> None:
    left = 0
    for case in CASES:
        try:
            run(case)
        except ArgumentError as error:
            left += 1
            print(f"{case}: {error.message}", flush=True)
    print(f"{len(CASES) - left} of {len(CASES)}")


if __name__ == "__main__":
    main(as_graph if sys.argv[1:] == ["onnx"] else as_program)
