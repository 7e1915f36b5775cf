"""Dtype policies, under Keras's names."""

from lamella.core.config import deserialize
from lamella.core.dtypes import DTypePolicy, DTypePolicyMap, FloatDTypePolicy, QuantizedDTypePolicy
from lamella.core.dtypes import describe_policy as serialize
from lamella.core.dtypes import get_policy as get

__all__ = [
    "DTypePolicy",
    "DTypePolicyMap",
    "FloatDTypePolicy",
    "QuantizedDTypePolicy",
    "deserialize",
    "get",
    "serialize",
]
