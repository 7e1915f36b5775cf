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
from lamella.graph.tensor import get_source_inputs
from lamella.graph.tensor import is_symbol as is_keras_tensor
from lamella.tools.arrays import normalize, pad_sequences, to_categorical
from lamella.tools.datasets import (
    pack_x_y_sample_weight,
    split_dataset,
    timeseries_dataset_from_array,
    unpack_x_y_sample_weight,
)
from lamella.tools.download import get_file
from lamella.tools.folders import (
    audio_dataset_from_directory,
    image_dataset_from_directory,
    text_dataset_from_directory,
)
from lamella.tools.images import array_to_img, img_to_array, load_img, save_img
from lamella.tools.keeping import Config, Progbar
from lamella.training.dataset import PyDataset

Sequence = PyDataset

__all__ = [
    "Config",
    "CustomObjectScope",
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "audio_dataset_from_directory",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "disable_interactive_logging",
    "enable_interactive_logging",
    "get_custom_objects",
    "get_file",
    "get_registered_name",
    "get_registered_object",
    "get_source_inputs",
    "image_dataset_from_directory",
    "img_to_array",
    "is_interactive_logging_enabled",
    "is_keras_tensor",
    "load_img",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "register_keras_serializable",
    "save_img",
    "serialize_keras_object",
    "set_random_seed",
    "split_dataset",
    "standardize_dtype",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
    "to_categorical",
    "unpack_x_y_sample_weight",
]
