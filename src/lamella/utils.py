"""Helpers around data and configs, under Keras's names."""

from lamella.core.config import (
    custom_object_scope,
    get_registered_name,
    register_keras_serializable,
)
from lamella.core.config import deserialize as deserialize_keras_object
from lamella.core.config import serialize as serialize_keras_object
from lamella.core.seeds import set_random_seed
from lamella.tools.arrays import normalize, pad_sequences, to_categorical

__all__ = [
    "custom_object_scope",
    "deserialize_keras_object",
    "get_registered_name",
    "normalize",
    "pad_sequences",
    "register_keras_serializable",
    "serialize_keras_object",
    "set_random_seed",
    "to_categorical",
]
