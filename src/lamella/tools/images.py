"""Pictures as files and as arrays; needs `lamella[images]`."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.extras import need
from lamella.core.settings import floatx, one_of, standardize_data_format

_RESAMPLING = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")
_MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """Return a picture, as Pillow's, from a file or from bytes in memory; `target_size` is (height, width).

    With `keep_aspect_ratio` the middle of the picture is cut out in the proportions of the target.
    """
    pictures = need("PIL.Image", "images")
    one_of("color_mode", color_mode, tuple(_MODES))
    one_of("interpolation", interpolation, _RESAMPLING)
    with pictures.open(path if isinstance(path, io.BytesIO) else Path(path)) as file:
        file.load()
        picture = file.copy()
    deep = color_mode == "grayscale" and picture.mode in ("I;16", "I")
    if not deep and picture.mode != _MODES[color_mode]:
        picture = picture.convert(_MODES[color_mode])
    if target_size is None or picture.size == (target_size[1], target_size[0]):
        return picture
    how = getattr(pictures.Resampling, interpolation.upper())
    (width, height), (high, wide) = picture.size, target_size
    box = None
    if keep_aspect_ratio:
        box_height, box_width = min(height, width * high // wide), min(width, height * wide // high)
        top, left = (height - box_height) // 2, (width - box_width) // 2
        box = (left, top, left + box_width, top + box_height)
    return picture.resize((wide, high), how, box=box)


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray[Any, Any]:
    """Return a picture as an array (height, width, channels), or with the channels first."""
    array = np.asarray(img, dtype=dtype or floatx())
    if array.ndim not in (2, 3):
        raise ShapeError(f"A picture has shape (height, width) or (height, width, channels), got {array.shape}.")
    array = array[..., None] if array.ndim == 2 else array
    return np.moveaxis(array, -1, 0) if standardize_data_format(data_format) == "channels_first" else array


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """Return an array (height, width, channels) as Pillow's picture; `scale` stretches its values to 0 ... 255."""
    pictures = need("PIL.Image", "images")
    array = np.asarray(x, dtype=dtype or floatx())
    if array.ndim != 3:
        raise ShapeError(f"A picture has shape (height, width, channels), got {array.shape}.")
    if standardize_data_format(data_format) == "channels_first":
        array = np.moveaxis(array, 0, -1)
    if scale:
        array = array - array.min()
        array = array / (array.max() or 1) * 255
    channels = array.shape[-1]
    if channels not in (1, 3, 4):
        raise ArgumentError(f"A picture has 1, 3 or 4 channels, got {channels}.")
    if channels == 1:
        return pictures.fromarray(array[..., 0].astype("int32" if array.max() > 255 else "uint8"))
    return pictures.fromarray(array.astype("uint8"))


def save_img(
    path: Any, x: Any, data_format: str | None = None, file_format: str | None = None, scale: bool = True, **kwargs: Any
) -> None:
    """Write an array as a picture file, of the kind that its name says; other keywords go to Pillow."""
    if file_format is None and isinstance(path, str | Path):
        file_format = Path(path).suffix[1:].lower()
    file_format = "jpeg" if file_format == "jpg" else file_format
    picture = array_to_img(x, data_format, scale)
    if picture.mode == "RGBA" and file_format == "jpeg":
        warnings.warn("JPEG has no transparency: the picture is written without it.", stacklevel=2)
        picture = picture.convert("RGB")
    picture.save(path, format=file_format, **kwargs)


def smart_resize(
    x: Any, size: tuple[int, int], interpolation: str = "bilinear", data_format: str | None = "channels_last"
) -> np.ndarray[Any, Any]:
    """Resize a picture, or a batch of them, to (height, width) without distortion: the middle in those proportions."""
    array = np.asarray(x)
    if array.ndim == 4:
        return np.stack([smart_resize(one, size, interpolation, data_format) for one in array])
    pictures = need("PIL.Image", "images")
    first = standardize_data_format(data_format) == "channels_first"
    array = np.moveaxis(array, 0, -1) if first else array
    height, width = array.shape[:2]
    high, wide = min(height, width * size[0] // size[1]), min(width, height * size[1] // size[0])
    top, left = (height - high) // 2, (width - wide) // 2
    how = getattr(pictures.Resampling, one_of("interpolation", interpolation, _RESAMPLING).upper())
    cut = array[top : top + high, left : left + wide].astype("float32")
    channels = [
        np.asarray(pictures.fromarray(np.ascontiguousarray(channel)).resize((size[1], size[0]), how))
        for channel in np.moveaxis(cut, -1, 0)
    ]
    out = np.stack(channels, -1)
    return np.moveaxis(out, -1, 0) if first else out
