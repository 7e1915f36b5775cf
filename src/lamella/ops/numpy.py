"""Ops that NumPy has too, under keras.ops.numpy's names."""

# ruff: noqa: F403 -- each module's `__all__` says what is public.

from lamella.ops import arrange, create, elementwise, reduce
from lamella.ops.arrange import *
from lamella.ops.core import vectorize, view
from lamella.ops.create import *
from lamella.ops.elementwise import *
from lamella.ops.matrices import cross, dot, einsum, inner, kron, matmul, outer, slogdet, tensordot, trace, vdot
from lamella.ops.reduce import *

__all__ = [
    *arrange.__all__,
    *create.__all__,
    *elementwise.__all__,
    *reduce.__all__,
    "cross",
    "dot",
    "einsum",
    "inner",
    "kron",
    "matmul",
    "outer",
    "slogdet",
    "tensordot",
    "trace",
    "vdot",
    "vectorize",
    "view",
]
