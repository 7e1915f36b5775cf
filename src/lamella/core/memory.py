"""How much memory there is, asked before it is taken."""

from __future__ import annotations

import math
import os
from functools import cache

import jax
import jax.numpy as jnp

from lamella.core.errors import WeightTooLargeError

_WORTH_ASKING = 1 << 28


@cache
def capacity() -> int:
    """Return the bytes of memory where arrays live: the accelerator's if there is one, else the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 62


def check_fits(name: str, shape: tuple[int, ...], dtype: str) -> None:
    """Refuse, with the arithmetic, a weight that is larger than all the memory there is."""
    itemsize = jnp.dtype(dtype).itemsize
    needed = math.prod(shape) * itemsize
    if needed < _WORTH_ASKING or needed <= capacity():
        return
    product = " x ".join(f"{dim:,}" for dim in shape)
    error = WeightTooLargeError(
        f"The weight {name!r} does not fit: {product} elements x {itemsize} bytes = {needed / 1e9:,.1f} GB; "
        f"there are {capacity() / 1e9:,.1f} GB of memory. Nothing was allocated."
    )
    error.shape = shape
    raise error
