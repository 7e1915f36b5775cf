"""What programs ask of the engine below, under Keras's names."""

from lamella.core.dtypes import is_float as is_float_dtype
from lamella.core.dtypes import is_int as is_int_dtype
from lamella.core.dtypes import result_type, standardize_dtype
from lamella.core.naming import forget_names as clear_session
from lamella.core.naming import get_uid
from lamella.core.settings import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from lamella.graph.tensor import is_symbol as is_keras_tensor

__all__ = [
    "backend",
    "clear_session",
    "epsilon",
    "floatx",
    "get_uid",
    "image_data_format",
    "is_float_dtype",
    "is_int_dtype",
    "is_keras_tensor",
    "result_type",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "standardize_dtype",
]
