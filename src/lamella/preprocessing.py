"""Keras's older place for what prepares data; see `lamella.utils`."""

from types import SimpleNamespace

from lamella.tools.arrays import pad_sequences
from lamella.tools.datasets import timeseries_dataset_from_array
from lamella.tools.folders import image_dataset_from_directory, text_dataset_from_directory
from lamella.tools.images import array_to_img, img_to_array, load_img, save_img, smart_resize

image = SimpleNamespace(
    array_to_img=array_to_img,
    img_to_array=img_to_array,
    load_img=load_img,
    save_img=save_img,
    smart_resize=smart_resize,
)
sequence = SimpleNamespace(pad_sequences=pad_sequences)

__all__ = [
    "image",
    "image_dataset_from_directory",
    "sequence",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
]
