"""Programs for any batch, written by `jax.export`: StableHLO with the weights inside, called with JAX alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax

from lamella.core.errors import ArgumentError, did_you_mean
from lamella.core.memory import in_words
from lamella.core.variable import discover
from lamella.kernels import made_for
from lamella.saving.endpoint import Endpoint

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_SEAL = b"sha256:"
_PLACES = "jax_traceback_in_locations_limit"
# The file's table of contents counts bytes in 32 bits with a sign; a megabyte is for the program around the weights.
_LARGEST = (1 << 31) - (1 << 20)


def stablehlo(endpoint: Endpoint, platforms: Sequence[str] = ("cpu", "cuda", "tpu")) -> bytes | bytearray:
    """Return the bytes that `jax.export.deserialize` takes: the endpoint's program for these platforms.

    >>> import numpy as np
    >>> from lamella import Input, Sequential, layers
    >>> from lamella.saving.endpoint import endpoint_of_model
    >>> data = stablehlo(endpoint_of_model(Sequential([Input((4,)), layers.Dense(2)])))
    >>> jax.export.deserialize(data).call(np.ones((3, 4), "float32")).shape
    (3, 2)
    """
    unknown = next((name for name in platforms if name not in PLATFORMS), None)
    if unknown is not None:
        raise ArgumentError(f"There is no platform {unknown!r}.{did_you_mean(unknown, PLATFORMS)}")

    def made(endpoint: Endpoint) -> Any:
        _check_size(endpoint)

        # A function of its own: JAX keeps what it traced of one that it has seen.
        def serve(*inputs: Any) -> Any:
            return endpoint.call(*inputs)

        with made_for("each"), _nameless():
            try:
                return jax.export.export(jax.jit(serve), platforms=platforms)(*endpoint.arguments)
            except NotImplementedError as error:
                missing = re.search(r"primitive '(\w+)' not found for platforms \['(\w+)", str(error))
                if missing is None:
                    raise
                place = endpoint.find(missing[1].__eq__)
                raise ArgumentError(
                    f"{endpoint.name!r} computes {place}, which JAX does not have on {missing[2]!r}.",
                    mend='platforms=["cpu"]',
                ) from error

    return sealed(endpoint.attempt(made).serialize())


def sealed(data: bytes | bytearray) -> bytes | bytearray:
    """Return a program with its digest behind it, which JAX does not look at: changes by accident are seen by it."""
    return data + _SEAL + hashlib.sha256(data).digest()


def is_whole(data: bytes | bytearray) -> bool:
    """Tell whether a program is as it was sealed."""
    end = len(data) - len(_SEAL) - hashlib.sha256().digest_size
    return end > 0 and sealed(data[:end]) == data


@contextmanager
def _nameless() -> Iterator[None]:
    """Leave the names of files out of programs: they say how the folders of this machine are called."""
    before = jax.config.values[_PLACES]
    jax.config.update(_PLACES, 0)
    try:
        yield
    finally:
        jax.config.update(_PLACES, before)


def _check_size(endpoint: Endpoint) -> None:
    known, _ = discover(endpoint.call, *endpoint.arguments)
    size = sum(variable.nbytes for variable in known)
    if size > _LARGEST:
        raise ArgumentError(
            f"The weights of {endpoint.name!r} take {in_words(size)}; a program with its weights holds 2 GB.",
            mend='model.quantize("int8") before, or format="tf_saved_model"',
        )
