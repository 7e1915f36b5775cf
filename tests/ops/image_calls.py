"""Calls of ops on images, written once and run on two libraries: `call(image)`, image the namespace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def _draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(size=shape).astype("float32")


_X, _ONE, _FIRST = _draw(2, 9, 7, 3), _draw(8, 6, 3), _draw(2, 3, 9, 7)
_BYTES = (_X * 255).astype("uint8")
_VOLUME = _draw(2, 5, 6, 7, 2)
_CORNERS = np.array([[0, 0], [6, 0], [0, 8], [6, 8]], "float32")
_MOVED = np.array([[1, 0.5], [5, 1], [0.5, 7], [6, 7.5]], "float32")
_TURN = np.array([0.9, 0.2, 0.5, -0.1, 1.1, -0.7, 0, 0], "float32")
_SHIFT = np.array([[1, 0, 2, 0, 1, -1, 0, 0], [0.8, 0, 0, 0, 1.2, 0, 0, 0]], "float32")
_PLACES = np.array([[0.3, 2.5, 9.0], [1.0, -0.5, 3.2]], "float32")
CF = {"data_format": "channels_first"}

IMAGE: dict[str, Callable[[Any], Any]] = {
    "grey": lambda image: image.rgb_to_grayscale(_X),
    "grey_one": lambda image: image.rgb_to_grayscale(_ONE),
    "grey_first": lambda image: image.rgb_to_grayscale(_FIRST, **CF),
    "grey_already": lambda image: image.rgb_to_grayscale(_X[..., :1]),
    "grey_bytes": lambda image: image.rgb_to_grayscale(_BYTES),
    "hsv": lambda image: image.rgb_to_hsv(_X),
    "hsv_first": lambda image: image.rgb_to_hsv(_FIRST, **CF),
    "hsv_flat": lambda image: image.rgb_to_hsv(
        np.array([[[0, 0, 0], [1, 1, 1], [1, 0, 0], [0.5, 0.5, 0.1]]], "float32")
    ),
    "rgb": lambda image: image.hsv_to_rgb(_X),
    "rgb_first": lambda image: image.hsv_to_rgb(_FIRST, **CF),
    "resize": lambda image: image.resize(_X, (5, 11)),
    "resize_one": lambda image: image.resize(_ONE, (5, 11), interpolation="bicubic"),
    "resize_first": lambda image: image.resize(_FIRST, (4, 4), interpolation="nearest", **CF),
    "resize_bytes": lambda image: image.resize(_BYTES, (5, 11), interpolation="lanczos3"),
    "resize_bytes_nearest": lambda image: image.resize(_BYTES, (5, 11), interpolation="nearest"),
    "resize_antialias": lambda image: image.resize(_X, (3, 3), antialias=True, interpolation="lanczos5"),
    "resize_cut": lambda image: image.resize(_X, (4, 6), crop_to_aspect_ratio=True),
    "resize_cut_first": lambda image: image.resize(_FIRST, (12, 4), crop_to_aspect_ratio=True, **CF),
    "resize_framed": lambda image: image.resize(_X, (4, 6), pad_to_aspect_ratio=True, fill_value=0.5),
    "resize_framed_rows": lambda image: image.resize(_ONE, (12, 4), pad_to_aspect_ratio=True),
    "pad": lambda image: image.pad_images(_X, 2, 3, target_height=20, target_width=30),
    "pad_all": lambda image: image.pad_images(_ONE, 2, 3, 1, 0),
    "pad_first": lambda image: image.pad_images(
        _FIRST, bottom_padding=1, right_padding=0, target_height=11, target_width=9, **CF
    ),
    "crop": lambda image: image.crop_images(_X, 2, 3, target_height=5, target_width=2),
    "crop_all": lambda image: image.crop_images(_ONE, 2, 3, 1, 0),
    "crop_first": lambda image: image.crop_images(
        _FIRST, bottom_cropping=1, right_cropping=0, target_height=6, target_width=3, **CF
    ),
    "patches": lambda image: image.extract_patches(_X, 3),
    "patches_same": lambda image: image.extract_patches(_X, (3, 2), strides=(2, 1), padding="same"),
    "patches_dilated": lambda image: image.extract_patches(_ONE, 2, strides=1, dilation_rate=2),
    "patches_first": lambda image: image.extract_patches(_FIRST, (2, 3), **CF),
    "patches_volume": lambda image: image.extract_patches_3d(_VOLUME, (2, 3, 2), strides=2),
    "patches_of_three": lambda image: image.extract_patches(_VOLUME[0], (2, 3, 2), padding="same"),
    "places_linear": lambda image: image.map_coordinates(_X[0, :, :, 0], _PLACES, order=1),
    "places_nearest": lambda image: image.map_coordinates(_X[0, :, :, 0], _PLACES, order=0, fill_mode="reflect"),
    "affine": lambda image: image.affine_transform(_X, _SHIFT),
    "affine_one": lambda image: image.affine_transform(_ONE, _TURN, "nearest", "wrap"),
    "affine_first": lambda image: image.affine_transform(_FIRST, _SHIFT, fill_mode="reflect", **CF),
    "affine_value": lambda image: image.affine_transform(_X, _SHIFT, fill_value=0.3),
    "affine_bytes": lambda image: image.affine_transform(_BYTES, _SHIFT),
    "perspective": lambda image: image.perspective_transform(
        _X, np.stack([_CORNERS] * 2), np.stack([_MOVED, _CORNERS])
    ),
    "perspective_one": lambda image: image.perspective_transform(_ONE, _CORNERS, _MOVED, "nearest", fill_value=0.2),
    "perspective_first": lambda image: image.perspective_transform(
        _FIRST, *np.stack([[_CORNERS] * 2, [_MOVED] * 2]), **CF
    ),
    "elastic": lambda image: image.elastic_transform(_X, alpha=3.0, sigma=1.5, seed=4),
    "elastic_one": lambda image: image.elastic_transform(_ONE, alpha=2.0, sigma=1.0, interpolation="nearest", seed=4),
    "elastic_first": lambda image: image.elastic_transform(_FIRST, sigma=1.0, fill_mode="constant", seed=1, **CF),
    "scale": lambda image: image.scale_and_translate(_X, (2, 4, 5, 3), [0.5, 0.7], [0.3, -0.2], (1, 2), "linear"),
    "scale_plain": lambda image: image.scale_and_translate(
        _ONE, (9, 9, 3), [1.5, 1.0], [0.0, 2.0], (0, 1), "cubic", False
    ),
    "blur": lambda image: image.gaussian_blur(_X, data_format="channels_last"),
    "blur_wide": lambda image: image.gaussian_blur(_ONE, (5, 3), (2.0, 0.7), data_format="channels_last"),
    "blur_first": lambda image: image.gaussian_blur(_FIRST, (3, 5), (1.0, 2.0), **CF),
    "edges": lambda image: image.sobel_edges(_X),
    "edges_first": lambda image: image.sobel_edges(_FIRST, **CF),
    "ssim": lambda image: image.ssim(_draw(2, 15, 13, 3), _draw(2, 15, 13, 3, seed=1)),
    "ssim_one": lambda image: image.ssim(_ONE, _ONE[::-1], filter_size=5, max_val=2.0, k1=0.02),
    "ssim_first": lambda image: image.ssim(_FIRST, _FIRST[::-1], filter_size=3, filter_sigma=0.8, **CF),
}
