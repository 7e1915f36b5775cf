"""Process-wide settings, under Keras's names, and the strictness of masks."""

from lamella.core.dtypes import dtype_policy, set_dtype_policy
from lamella.core.settings import (
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
    set_strict_masks,
    strict_masks,
)

__all__ = [
    "dtype_policy",
    "epsilon",
    "floatx",
    "image_data_format",
    "set_dtype_policy",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "set_strict_masks",
    "strict_masks",
]
