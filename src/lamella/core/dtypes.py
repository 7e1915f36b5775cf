"""Dtype policies: in which type a layer keeps its weights and in which it computes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from lamella.core.errors import ArgumentError, did_you_mean
from lamella.core.settings import floatx

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e5m2", "int4", "uint4"),
)
_ALIASES = {"float": "float32", "int": "int32", "half": "float16", "double": "float64"}


def standardize_dtype(dtype: Any) -> str:
    """Return a dtype as a string; None is the default float type.

    >>> standardize_dtype(np.int8), standardize_dtype(int), standardize_dtype(None)
    ('int8', 'int32', 'float32')
    """
    if dtype is None:
        return floatx()
    if isinstance(dtype, str):
        name = _ALIASES.get(dtype, dtype)
    elif dtype in (bool, int, float):
        name = {bool: "bool", int: "int32", float: floatx()}[dtype]
    else:
        name = np.dtype(dtype).name
    if name not in DTYPES:
        raise ArgumentError(f"Unknown dtype {dtype!r}.{did_you_mean(name, DTYPES)}")
    return name


def is_float(dtype: Any) -> bool:
    """Tell whether a dtype is one of the floating-point types, bfloat16 included."""
    return bool(jnp.issubdtype(dtype, jnp.floating))


class DTypePolicy:
    """The pair (compute dtype, variable dtype) under one name, as Keras names them.

    >>> policy = DTypePolicy("mixed_bfloat16")
    >>> policy.compute_dtype, policy.variable_dtype
    ('bfloat16', 'float32')
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or floatx()
        if self.name.startswith("mixed_"):
            self.compute_dtype, self.variable_dtype = standardize_dtype(self.name[6:]), "float32"
        else:
            self.name = self.compute_dtype = self.variable_dtype = standardize_dtype(self.name)

    def __repr__(self) -> str:
        return f"<DTypePolicy {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def get_config(self) -> dict[str, Any]:
        """Return the name, which says it all."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicy:
        """Make a policy from `get_config`'s answer."""
        return cls(**config)


_default: list[DTypePolicy] = []


def dtype_policy() -> DTypePolicy:
    """Return the policy of layers that are given none."""
    return _default[0] if _default else DTypePolicy(floatx())


def set_dtype_policy(policy: str | DTypePolicy) -> None:
    """Set the policy of layers that are given none: "float32", "mixed_bfloat16", ..."""
    _default[:] = [get_policy(policy)]


def get_policy(given: Any) -> DTypePolicy:
    """Return the policy for what a layer's `dtype` argument may be: None, a name, a dtype, a config."""
    if given is None:
        return dtype_policy()
    if isinstance(given, DTypePolicy):
        return given
    if isinstance(given, dict):
        return DTypePolicy(given.get("config", given).get("name"))
    return DTypePolicy(given if isinstance(given, str) else standardize_dtype(given))
