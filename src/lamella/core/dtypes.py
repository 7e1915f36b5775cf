"""Dtype policies: in which type a layer keeps its weights and in which it computes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, ClassVar

import jax
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

    >>> standardize_dtype(np.dtype("bool")), standardize_dtype(int), standardize_dtype(None)
    ('bool', 'int32', 'float32')
    """
    if dtype is None:
        return floatx()
    if isinstance(dtype, str):
        name = _ALIASES.get(dtype, dtype)
    elif isinstance(dtype, type) and dtype in (bool, int, float):
        name = {bool: "bool", int: "int32", float: floatx()}[dtype]
    else:
        name = np.dtype(dtype).name
    if name not in DTYPES:
        raise ArgumentError(f"Unknown dtype {dtype!r}.{did_you_mean(name, DTYPES)}")
    return name


def is_float(dtype: Any) -> bool:
    """Tell whether a dtype is one of the floating-point types, bfloat16 included."""
    return bool(jnp.issubdtype(dtype, jnp.floating))


def is_int(dtype: Any) -> bool:
    """Tell whether a dtype is one of the types of whole numbers."""
    return bool(jnp.issubdtype(standardize_dtype(dtype), jnp.integer))


def result_type(*dtypes: Any) -> str:
    """Return the dtype of what comes from values of these dtypes; `int` and `float` stand for Python's numbers.

    >>> result_type("bfloat16", int), result_type("int32", float), result_type("int8", "uint8")
    ('bfloat16', 'float32', 'int16')
    """
    if not dtypes:
        return floatx()
    if any(str(dtype).startswith("float8") for dtype in dtypes):
        raise ArgumentError(f"No dtype is promoted from float8: {dtypes}.", mend='x.astype("bfloat16")')
    kept = [dtype if dtype in (int, float) else standardize_dtype(dtype) for dtype in dtypes]
    # arrays of 64 bits become arrays of 32
    given = [
        jax.dtypes.canonicalize_dtype(dtype) if isinstance(dtype, str) else {int: 0, float: 0.0}[dtype]
        for dtype in kept
    ]
    return standardize_dtype(jnp.result_type(*given))


class DTypePolicy:
    """The pair (compute dtype, variable dtype) under one name, as Keras names them.

    >>> policy = DTypePolicy("mixed_bfloat16")
    >>> policy.compute_dtype, policy.variable_dtype
    ('bfloat16', 'float32')
    """

    keras_module: ClassVar[str] = "keras"
    name: str
    compute_dtype: str
    variable_dtype: str
    quantization_mode: str | None = None

    def __init__(self, name: str | None = None) -> None:
        self.name = name or floatx()
        if self.name.startswith("mixed_"):
            self.compute_dtype, self.variable_dtype = standardize_dtype(self.name[6:]), "float32"
        else:
            self.name = self.compute_dtype = self.variable_dtype = standardize_dtype(self.name)

    def __repr__(self) -> str:
        return f"<DTypePolicy {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        alike = isinstance(other, DTypePolicy) and not isinstance(other, DTypePolicyMap)
        return alike and isinstance(other, DTypePolicy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def get_config(self) -> dict[str, Any]:
        """Return the name, which says it all."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicy:
        """Make a policy from `get_config`'s answer."""
        return cls(**config)


class FloatDTypePolicy(DTypePolicy):
    """Another name of `DTypePolicy`."""


class QuantizedDTypePolicy(DTypePolicy):
    """The types of another policy, with large weights kept in whole numbers: "int8_from_float32".

    >>> policy = QuantizedDTypePolicy("int8", "mixed_bfloat16")
    >>> policy.name, policy.compute_dtype, policy.variable_dtype, policy.quantization_mode
    ('int8_from_mixed_bfloat16', 'bfloat16', 'float32', 'int8')
    """

    keras_module: ClassVar[str] = "keras.dtype_policies"

    def __init__(self, mode: str, source_name: str | None = None) -> None:
        source = dtype_policy().name if source_name is None else source_name
        super().__init__(source)
        self.quantization_mode, self.source_name = check_quantization_mode(mode), source
        self.name = f"{mode}_from_{source}"
        if self.compute_dtype == "float16":
            raise ArgumentError(
                f"{self.name!r}: the sums of whole numbers leave the range of float16.",
                mend=f'"{mode}_from_mixed_bfloat16"',
            )

    def get_config(self) -> dict[str, Any]:
        """Return the mode, and the name of the policy that it goes with."""
        return {"mode": self.quantization_mode, "source_name": self.source_name}


def check_quantization_mode(mode: Any) -> str:
    """Return a mode of quantization; any but "int8" is an error."""
    if mode != "int8":
        raise ArgumentError(f"Quantization by {mode!r} is not offered; 'int8' is the one mode.", mend='"int8"')
    return "int8"


class DTypePolicyMap(DTypePolicy, MutableMapping[str, DTypePolicy]):
    """Policies by the path of a layer in its model; a key may be a regular expression that fits whole paths.

    >>> policies = DTypePolicyMap("float32", {"head/.*": DTypePolicy("mixed_bfloat16")})
    >>> policies["head/dense"].compute_dtype, policies["body/dense"].compute_dtype
    ('bfloat16', 'float32')
    """

    keras_module: ClassVar[str] = "keras.dtype_policies"

    def __init__(self, default_policy: Any = None, policy_map: Mapping[str, DTypePolicy] | None = None) -> None:
        if isinstance(default_policy, DTypePolicyMap):
            raise ArgumentError("default_policy is one policy, not a map of them.", mend='default_policy="float32"')
        self._given = default_policy
        self._policies = dict(policy_map or {})

    @property
    def default_policy(self) -> DTypePolicy:
        """The policy of paths that no key fits: the given one, or the present default of all layers."""
        return get_policy(self._given)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The default policy's name, with a prefix."""
        return f"map_{self.default_policy.name}"

    @property
    def compute_dtype(self) -> str:  # type: ignore[override]
        """The default policy's."""
        return self.default_policy.compute_dtype

    @property
    def variable_dtype(self) -> str:  # type: ignore[override]
        """The default policy's."""
        return self.default_policy.variable_dtype

    @property
    def quantization_mode(self) -> str | None:  # type: ignore[override]
        """The default policy's."""
        return self.default_policy.quantization_mode

    def __getitem__(self, key: str) -> DTypePolicy:
        if key in self._policies:
            return self._policies[key]
        fitting = [pattern for pattern in self._policies if re.fullmatch(pattern, key)]
        if len(fitting) > 1:
            raise ArgumentError(f"The path {key!r} fits several keys of the policies: {fitting}.")
        return self._policies[fitting[0]] if fitting else self.default_policy

    def __setitem__(self, key: str, policy: Any) -> None:
        if key in self._policies:
            raise ArgumentError(f"{key!r} has the policy {self._policies[key]} already.", mend=f"del policies[{key!r}]")
        self._policies[key] = get_policy(policy)

    def __delitem__(self, key: str) -> None:
        del self._policies[key]

    def __contains__(self, key: object) -> bool:
        return key in self._policies

    def __iter__(self) -> Iterator[str]:
        return iter(self._policies)

    def __len__(self) -> int:
        return len(self._policies)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicyMap) and other.get_config() == self.get_config()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<DTypePolicyMap {self.default_policy.name!r} {dict(self._policies)}>"

    def get_config(self) -> dict[str, Any]:
        """Return the default and the policies as plain data."""
        default = describe_policy(self._given) if isinstance(self._given, DTypePolicy) else self._given
        return {
            "default_policy": default,
            "policy_map": {key: describe_policy(policy) for key, policy in self._policies.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicyMap:
        """Make a map from `get_config`'s answer."""
        default = config["default_policy"]
        policies = {key: get_policy(policy) for key, policy in config["policy_map"].items()}
        return cls(get_policy(default) if isinstance(default, dict) else default, policies)


KINDS = {kind.__name__: kind for kind in (DTypePolicy, FloatDTypePolicy, QuantizedDTypePolicy, DTypePolicyMap)}


def describe_policy(dtype_policy: DTypePolicy) -> dict[str, Any]:
    """Return a policy as plain data, in the form of every serialized object."""
    kind = type(dtype_policy)
    return {
        "module": kind.keras_module,
        "class_name": kind.__name__,
        "config": dtype_policy.get_config(),
        "registered_name": None,
    }


_default: list[DTypePolicy] = []


def dtype_policy() -> DTypePolicy:
    """Return the policy of layers that are given none."""
    return _default[0] if _default else DTypePolicy(floatx())


def set_dtype_policy(policy: str | DTypePolicy) -> None:
    """Set the policy of layers that are given none: "float32", "mixed_bfloat16", ..."""
    _default[:] = [get_policy(policy)]


def get_policy(identifier: Any) -> DTypePolicy:
    """Return the policy for what a layer's `dtype` argument may be: None, a name, a dtype, a config."""
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, dict):
        kind = str(identifier.get("class_name", "DTypePolicy"))
        if kind not in KINDS:
            raise ArgumentError(f"The config names {kind!r}, no policy of dtypes.{did_you_mean(kind, KINDS)}")
        return KINDS[kind].from_config(identifier.get("config", identifier))
    if isinstance(identifier, str) and "_from_" in identifier:
        return QuantizedDTypePolicy(*identifier.split("_from_", 1))
    return DTypePolicy(identifier if isinstance(identifier, str) else standardize_dtype(identifier))
