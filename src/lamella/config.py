"""Process-wide settings, under Keras's names, the strictness of masks and the form of convolutions."""

from lamella.core.dtypes import dtype_policy, set_dtype_policy
from lamella.core.settings import (
    conv_algorithm,
    epsilon,
    floatx,
    image_data_format,
    set_conv_algorithm,
    set_epsilon,
    set_floatx,
    set_image_data_format,
    set_strict_masks,
    strict_masks,
)

__all__ = [
    "conv_algorithm",
    "dtype_policy",
    "epsilon",
    "floatx",
    "image_data_format",
    "set_conv_algorithm",
    "set_dtype_policy",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "set_strict_masks",
    "strict_masks",
]
