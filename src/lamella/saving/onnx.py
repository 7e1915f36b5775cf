"""Programs as ONNX graphs, for runtimes that are not JAX: converted by jax2onnx, then run beside the model once."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from lamella.core.axes import is_symbolic
from lamella.core.errors import ArgumentError
from lamella.core.extras import need
from lamella.graph.trace import Spec
from lamella.kernels import made_for
from lamella.saving.endpoint import Endpoint

# What the runtime's numbers may differ by from JAX's, as a share of the largest.
_TOLERANCE = 1e-3
# The sizes of a trial run, where they may vary: one for the batch, one for the others.
_SAMPLES, _STEPS = 3, 24
_MEND = 'format="stablehlo", which has every operation of JAX'


def onnx(endpoint: Endpoint, opset_version: int = 23) -> bytes:
    """Return an endpoint as an ONNX model, its inputs and outputs under the names of the layers that make them."""
    with _restoring():
        jax2onnx = need("jax2onnx", "onnx")
    need("onnxruntime", "onnx")

    def made(endpoint: Endpoint) -> bytes:
        jax.eval_shape(endpoint.flat, *endpoint.specs)

        # A function of its own: JAX keeps what it traced of one that it has seen.
        def graph(*leaves: Any) -> list[Any]:
            return endpoint.flat(*leaves)

        try:
            with made_for("readers"), _quiet(), _restoring():
                model = jax2onnx.to_onnx(
                    graph,
                    inputs=[Spec(tuple(map(_size, spec.shape)), spec.dtype) for spec in endpoint.specs],
                    model_name=endpoint.name,
                    opset=opset_version,
                    input_names=endpoint.input_names,
                    output_names=endpoint.output_names or None,
                )
        except Exception as error:
            raise _not_converted(error, endpoint) from error
        data: bytes = model.SerializeToString()
        _try_out(endpoint, data)
        return data

    return endpoint.attempt(made)  # type: ignore[no-any-return]


def _size(dim: Any) -> Any:
    return str(dim) if is_symbolic(dim) else dim


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the converter says of shapes that it does not know: runtimes infer them."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _restoring() -> Iterator[None]:
    """Put back what the converter leaves changed in JAX: a `jnp.cumsum` of its own, which takes fewer arguments."""
    spaces = [space for name, space in list(sys.modules.items()) if re.match(r"jax(\.(?!_src)|$)", name)]
    before = [(space, dict(vars(space))) for space in spaces]
    try:
        yield
    finally:
        for space, names in before:
            for name, value in names.items():
                if vars(space).get(name) is not value:
                    setattr(space, name, value)


def _not_converted(error: Exception, endpoint: Endpoint) -> ArgumentError:
    """Say which operation of which layer the converter was at."""
    nest: list[Any] = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        equation = frame.f_locals.get("eqn")
        if hasattr(equation, "primitive") and all(equation is not other for other in nest):
            nest.append(equation)
    said = str(error).strip().splitlines()[:1]
    if not nest:
        return ArgumentError(f"jax2onnx does not convert {endpoint.name!r}: {' '.join(said)}", mend=_MEND)
    layer = endpoint.layer(tuple(nest))
    where = f" in the layer {layer!r}" if layer else ""
    return ArgumentError(
        f"jax2onnx does not convert {nest[-1].primitive.name!r}{where} of {endpoint.name!r}: {' '.join(said)}",
        mend=_MEND,
    )


def _try_out(endpoint: Endpoint, data: bytes) -> None:
    """Compare one batch through the runtime with what JAX computes: a graph may be wrong, or no runtime may take it."""
    inputs = [_trial(spec, place) for place, spec in enumerate(endpoint.specs)]
    expected = [np.asarray(leaf, "float32") for leaf in jax.jit(endpoint.flat)(*inputs)]
    runtime = need("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        fed = {given.name: x for given, x in zip(session.get_inputs(), inputs, strict=True)}
        answers = [np.asarray(answer, "float32") for answer in session.run(None, fed)]
    except Exception as error:
        said = str(error).strip().splitlines()[0][:300]
        raise ArgumentError(
            f"The graph of {endpoint.name!r} does not run in onnxruntime: {said}", mend=_MEND
        ) from error
    for answer, wanted in zip(answers, expected, strict=True):
        room = _TOLERANCE * np.max(np.abs(wanted), initial=1.0)
        if answer.shape != wanted.shape or not np.allclose(answer, wanted, rtol=0, atol=room, equal_nan=True):
            raise ArgumentError(
                f"The graph of {endpoint.name!r} gives other numbers in onnxruntime than in JAX: it was not written.",
                mend=_MEND,
            )


def _trial(spec: Spec, place: int) -> Any:
    """Return numbers for an input: between -1 and 1, or 0 and 1 where they are whole."""
    sizes = [dim if not is_symbolic(dim) else _STEPS if axis else _SAMPLES for axis, dim in enumerate(spec.shape)]
    drawn = np.random.default_rng(place).uniform(-1, 1, sizes)
    return (drawn if np.issubdtype(spec.dtype, np.floating) else drawn > 0).astype(spec.dtype)
