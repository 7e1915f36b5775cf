"""Objects as plain data, models and weights as files, and back, under Keras's names."""

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
from lamella.saving.editor import KerasFileEditor
from lamella.saving.files import load_model, save_model
from lamella.saving.weight_files import load_weights, save_weights

__all__ = [
    "CustomObjectScope",
    "KerasFileEditor",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
    "serialize_keras_object",
]
