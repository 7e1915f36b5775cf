"""The older names of dtype policies, under Keras's names, and the optimizer that goes with half precision."""

from lamella.core.dtypes import DTypePolicy, dtype_policy, set_dtype_policy
from lamella.parts.optimizers import LossScaleOptimizer

Policy = DTypePolicy
global_policy = dtype_policy
set_global_policy = set_dtype_policy

__all__ = [
    "DTypePolicy",
    "LossScaleOptimizer",
    "Policy",
    "dtype_policy",
    "global_policy",
    "set_dtype_policy",
    "set_global_policy",
]
