"""Models as programs for other processes and other tools."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from lamella.core.axes import describe
from lamella.core.errors import ArgumentError, did_you_mean
from lamella.core.settings import say
from lamella.saving.durable import replacing
from lamella.saving.endpoint import Endpoint, endpoint_of_model
from lamella.saving.onnx import onnx
from lamella.saving.saved_model import write_saved_model
from lamella.saving.stablehlo import stablehlo

Writer = Callable[..., None]


def _as_file(make: Callable[..., bytes | bytearray]) -> Writer:
    def write(endpoint: Endpoint, path: str, **options: Any) -> None:
        data = make(endpoint, **options)
        with replacing(path) as file:
            file.write(data)

    return write


# Each format's writer, and the options that it takes.
_FORMATS: dict[str, tuple[Writer, tuple[str, ...]]] = {
    "stablehlo": (_as_file(stablehlo), ("platforms",)),
    "tf_saved_model": (write_saved_model, ("platforms", "jax2tf_kwargs")),
    "onnx": (_as_file(onnx), ("opset_version",)),
}
_ELSEWHERE = {
    "litert": 'format="tf_saved_model", then TensorFlow\'s own tf.lite.TFLiteConverter.from_saved_model(path)',
    "openvino": 'format="onnx", then openvino.convert_model(path)',
    "torch": 'format="onnx"; or model.save_weights("weights.safetensors") for a model written in PyTorch',
}


def export_model(
    model: Any,
    filepath: Any,
    format: str = "stablehlo",
    verbose: Any = None,
    input_signature: Any = None,
    **kwargs: Any,
) -> None:
    """Write what `predict` computes as a program for any batch size, weights included, in one step.

    `format`: "stablehlo", which JAX alone reads and calls. `input_signature` holds a spec for each argument of `call`:
    sizes that are None may vary. A subclassed model that was never called needs it. `platforms=["cpu"]` makes a
    "stablehlo" program for these alone; "cpu", "cuda" and "tpu" otherwise.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import jax, numpy as np
    >>> from lamella import Input, Sequential, layers
    >>> path = Path(tempfile.mkdtemp(), "model.stablehlo")
    >>> Sequential([Input((4,)), layers.Dense(2)]).export(path)
    >>> program = jax.export.deserialize(bytearray(path.read_bytes()))
    >>> program.call(np.ones((3, 4), "float32")).shape
    (3, 2)
    """
    writer, known = _writer(format)
    unknown = next((key for key in kwargs if key not in known), None)
    if unknown is not None:
        raise ArgumentError(f"export has no argument {unknown!r} for {format!r}.{did_you_mean(unknown, known)}")
    endpoint = endpoint_of_model(model, input_signature).checked()
    path = os.fspath(filepath)
    writer(endpoint, path, **kwargs)
    if verbose:
        takes = [*(f"{describe(spec.shape)} {spec.dtype}" for spec in endpoint.specs), *endpoint.limits]
        say(f"{model.name!r} was written to {path!r}: {', '.join(takes)}.")


def _writer(format: str) -> tuple[Writer, tuple[str, ...]]:
    if format in _ELSEWHERE:
        raise ArgumentError(f"export does not write {format!r} itself.", mend=_ELSEWHERE[format])
    if format not in _FORMATS:
        raise ArgumentError(f"There is no format {format!r}.{did_you_mean(format, _FORMATS)}")
    return _FORMATS[format]
