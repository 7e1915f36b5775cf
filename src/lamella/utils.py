"""Helpers around data and configs, under Keras's names."""

from lamella.core.config import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from lamella.core.config import deserialize as deserialize_keras_object
from lamella.core.config import serialize as serialize_keras_object
from lamella.core.dtypes import standardize_dtype
from lamella.core.naming import forget_names as clear_session
from lamella.core.seeds import set_random_seed
from lamella.core.settings import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
)
from lamella.graph.tensor import is_symbol as is_keras_tensor
from lamella.tools.arrays import normalize, pad_sequences, to_categorical

__all__ = [
    "CustomObjectScope",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "disable_interactive_logging",
    "enable_interactive_logging",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "is_interactive_logging_enabled",
    "is_keras_tensor",
    "normalize",
    "pad_sequences",
    "register_keras_serializable",
    "serialize_keras_object",
    "set_random_seed",
    "standardize_dtype",
    "to_categorical",
]
