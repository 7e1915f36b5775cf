"""Ops on the pixels of images: colours, sizes, patches, edges, likeness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.settings import one_of, standardize_data_format
from lamella.ops.dispatch import array, finfo, op
from lamella.ops.elementwise import saturate_cast
from lamella.ops.spatial import conv

__all__ = [
    "crop_images",
    "extract_patches",
    "extract_patches_3d",
    "gaussian_blur",
    "hsv_to_rgb",
    "pad_images",
    "resize",
    "rgb_to_grayscale",
    "rgb_to_hsv",
    "sobel_edges",
    "ssim",
]

_INTERPOLATIONS = ("bilinear", "nearest", "lanczos3", "lanczos5", "bicubic")
_GREY = (0.2989, 0.5870, 0.1140)


def channels_last(images: Any, data_format: str | None, rank: int = 2) -> tuple[Any, Callable[[Any], Any]]:
    """Return images as a batch with the channels last, and the way back for what becomes of them."""
    first = standardize_data_format(data_format) == "channels_first"
    single = images.ndim == rank + 1
    if not single and images.ndim != rank + 2:
        raise ShapeError(f"Expected one image ({rank + 1} axes) or a batch of them ({rank + 2}), got {images.shape}.")

    def back(images: Any) -> Any:
        images = jnp.moveaxis(images, -1, 1) if first else images
        return images[0] if single else images

    images = images[None] if single else images
    return (jnp.moveaxis(images, 1, -1) if first else images), back


def _float_type(x: Any) -> Any:
    return x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.dtype("float32")


@op
def rgb_to_grayscale(images: Any, data_format: str | None = None) -> Any:
    """Return the brightness of colours, in one channel; grey images stay as they are."""
    images, back = channels_last(array(images), data_format)
    if images.shape[-1] not in (1, 3):
        raise ShapeError(f"Images have 3 channels (red, green, blue) or 1, got {images.shape[-1]}.")
    if images.shape[-1] == 1:
        return back(images)
    wide = images.astype(_float_type(images))
    grey = jnp.tensordot(wide, jnp.asarray(_GREY, wide.dtype), axes=(-1, -1))[..., None]
    return back(grey.astype(images.dtype))


def _colours(images: Any, data_format: str | None) -> tuple[Any, Callable[[Any], Any]]:
    images, back = channels_last(array(images), data_format)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ArgumentError(f"Colours are float numbers in [0, 1], got {images.dtype}.", mend='ops.cast(x, "float32")')
    return images, back


@op
def rgb_to_hsv(images: Any, data_format: str | None = None) -> Any:
    """Return hue, saturation and value of colours, each in [0, 1]."""
    images, back = _colours(images, data_format)
    images = jnp.where(jnp.abs(images) < finfo(images.dtype).eps, 0.0, images)
    red, green, blue = (images[..., channel] for channel in range(3))
    value, least = jnp.max(images, axis=-1), jnp.min(images, axis=-1)
    spread = value - least
    saturation = jnp.where(value > 0, spread / jnp.where(value > 0, value, 1.0), 0.0)
    sixth = 1.0 / (6.0 * jnp.where(spread > 0, spread, 1.0))
    hue = jnp.where(value == green, sixth * (blue - red) + 2.0 / 6.0, sixth * (red - green) + 4.0 / 6.0)
    hue = jnp.where(value == red, sixth * (green - blue), hue)
    hue = jnp.where(spread > 0, hue, 0.0) + (hue < 0.0).astype(hue.dtype)
    return back(jnp.stack([hue, saturation, value], axis=-1))


@op
def hsv_to_rgb(images: Any, data_format: str | None = None) -> Any:
    """Return red, green and blue of colours given as hue, saturation and value."""
    images, back = _colours(images, data_format)
    hue, saturation, value = (images[..., channel] for channel in range(3))
    turn = jnp.mod(hue, 1.0) * 6.0
    shares = (jnp.abs(turn - 3.0) - 1.0, 2.0 - jnp.abs(turn - 2.0), 2.0 - jnp.abs(turn - 4.0))
    parts = [value * ((1.0 - saturation) + saturation * jnp.clip(share, 0.0, 1.0)) for share in shares]
    return back(jnp.stack(parts, axis=-1))


@op
def resize(
    images: Any,
    size: Any,
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> Any:
    """Return images of another height and width, stretched, or cut or framed first to the new proportions."""
    images, back = channels_last(array(images), data_format)
    method = one_of("interpolation", interpolation, _INTERPOLATIONS)
    one_of("fill_mode", fill_mode, ("constant",))
    if len(size) != 2:
        raise ArgumentError(f"size is (height, width), got {size!r}.")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ArgumentError("crop_to_aspect_ratio and pad_to_aspect_ratio exclude each other.")
    kept = images.dtype
    if crop_to_aspect_ratio:
        images = _cut_to(images, size[0], size[1])
    elif pad_to_aspect_ratio:
        images = _framed_to(images, size[0], size[1], fill_value)
    batch, _, _, channels = images.shape
    images = jax.image.resize(images, (batch, *size, channels), method, antialias)
    if images.dtype != kept:
        images = saturate_cast(jnp.round(images) if jnp.issubdtype(kept, jnp.integer) else images, kept)
    return back(images)


def _cut_to(images: Any, height: int, width: int) -> Any:
    rows, cols = images.shape[1:3]
    kept_rows = max(min(rows, int(cols * height / width)), 1)
    kept_cols = max(min(cols, int(rows * width / height)), 1)
    top, left = (rows - kept_rows) // 2, (cols - kept_cols) // 2
    return images[:, top : top + kept_rows, left : left + kept_cols]


def _framed_to(images: Any, height: int, width: int, value: float) -> Any:
    rows, cols = images.shape[1:3]
    above = (max(rows, int(cols * height / width)) - rows) // 2
    beside = 0 if above else (max(cols, int(rows * width / height)) - cols) // 2
    widths = ((0, 0), (above, above), (beside, beside), (0, 0))
    return jnp.pad(images, widths, constant_values=jnp.asarray(value, images.dtype))


def _solved(names: tuple[str, str, str], before: Any, after: Any, target: Any, size: int, sign: int) -> tuple[Any, Any]:
    """Return what is added (sign 1) or cut (-1) before and after, from two of these and the wanted size."""
    if [before, after, target].count(None) != 1:
        raise ArgumentError(f"Two of {', '.join(names)} say it all; got {before}, {after} and {target}.")
    change = None if target is None else sign * (target - size)
    before = change - after if before is None else before
    after = change - before if after is None else after
    if min(before, after) < 0 or (target is not None and target < 0):
        raise ArgumentError(f"{names[0]}, {names[1]} and {names[2]} must not be negative for a size of {size}.")
    return before, after


@op
def pad_images(
    images: Any,
    top_padding: int | None = None,
    left_padding: int | None = None,
    bottom_padding: int | None = None,
    right_padding: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Any:
    """Return images with rows and columns of zeros around them; of top, bottom and target height two are given."""
    images, back = channels_last(array(images), data_format)
    rows, cols = images.shape[1:3]
    names = ("top_padding", "bottom_padding", "target_height")
    vertical = _solved(names, top_padding, bottom_padding, target_height, rows, 1)
    names = ("left_padding", "right_padding", "target_width")
    horizontal = _solved(names, left_padding, right_padding, target_width, cols, 1)
    return back(jnp.pad(images, ((0, 0), vertical, horizontal, (0, 0))))


@op
def crop_images(
    images: Any,
    top_cropping: int | None = None,
    left_cropping: int | None = None,
    bottom_cropping: int | None = None,
    right_cropping: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Any:
    """Return images without rows and columns at their borders; of top, bottom and target height two are given."""
    images, back = channels_last(array(images), data_format)
    rows, cols = images.shape[1:3]
    names = ("top_cropping", "bottom_cropping", "target_height")
    top, bottom = _solved(names, top_cropping, bottom_cropping, target_height, rows, -1)
    names = ("left_cropping", "right_cropping", "target_width")
    left, right = _solved(names, left_cropping, right_cropping, target_width, cols, -1)
    return back(images[:, top : rows - bottom, left : cols - right])


@op
def extract_patches(
    images: Any,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> Any:
    """(batch, rows, cols, channels) -> (batch, places, places, window * channels): each window as one vector.

    A size of three numbers is for volumes, as `extract_patches_3d`.
    """
    rank = 3 if not isinstance(size, int) and len(size) == 3 else 2
    return _patches(images, size, strides, dilation_rate, padding, data_format, rank)


@op
def extract_patches_3d(
    volumes: Any,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> Any:
    """(batch, depth, rows, cols, channels) -> (batch, places, places, places, window * channels)."""
    return _patches(volumes, size, strides, dilation_rate, padding, data_format, 3)


def _patches(images: Any, size: Any, strides: Any, rate: Any, padding: str, data_format: str | None, rank: int) -> Any:
    images, back = channels_last(array(images), data_format, rank)

    def each(argument: str, value: Any) -> tuple[int, ...]:
        values = (value,) * rank if isinstance(value, int) else tuple(value)
        if len(values) != rank:
            raise ArgumentError(f"{argument} must be one number or {rank}, got {value!r}.")
        return values

    window = each("size", size)
    found = lax.conv_general_dilated_patches(
        jnp.moveaxis(images, -1, 1),
        window,
        window if not strides else each("strides", strides),
        one_of("padding", padding, ("valid", "same")).upper(),
        rhs_dilation=each("dilation_rate", rate),
        precision=lax.Precision.HIGHEST,
    )
    # JAX puts the channel before the places of the window, Keras after them.
    split = found.reshape(found.shape[0], images.shape[-1], -1, *found.shape[2:])
    split = jnp.moveaxis(split, (2, 1), (-2, -1))
    return back(split.reshape(*split.shape[:-2], -1))


def _bell(size: int, sigma: Any, dtype: Any) -> Any:
    """(size,): a normal distribution's density about the middle, scaled to 1."""
    x = jnp.arange(size, dtype=dtype) - jnp.asarray((size - 1) / 2, dtype)
    weights = jnp.exp(-0.5 * (x / jnp.asarray(sigma, dtype)) ** 2)
    return weights / jnp.sum(weights)


def blurred(images: Any, kernel_size: Any, sigma: Any) -> Any:
    """Return images with the channels last, each channel blurred: (across, down) sizes of the window and widths."""
    across, down = (_bell(size, width, images.dtype) for size, width in zip(kernel_size, sigma, strict=True))
    return _filtered(images, jnp.outer(down, across), "same")


def _filtered(images: Any, kernel: Any, padding: str) -> Any:
    """Return each channel of images with the channels last convolved with one kernel (rows, cols)."""
    channels = images.shape[-1]
    stacked = jnp.broadcast_to(kernel[..., None, None], (*kernel.shape, 1, channels))
    return conv(images, stacked, padding=padding, data_format="channels_last")


@op
def gaussian_blur(
    images: Any, kernel_size: Any = (3, 3), sigma: Any = (1.0, 1.0), data_format: str | None = None
) -> Any:
    """Return images in which each pixel is a weighted mean of those around it, the weights a bell of width sigma."""
    images, back = channels_last(array(images), data_format)
    return back(blurred(images, kernel_size, tuple(array(sigma))))


@op
def sobel_edges(images: Any, data_format: str | None = None) -> Any:
    """Return the slopes (down, across) of images as a new last axis (Sobel and Feldman, 1968)."""
    images, back = channels_last(array(images), data_format)
    across = jnp.outer(jnp.array([1, 2, 1]), jnp.array([-1, 0, 1])).astype(images.dtype)
    slopes = [back(_filtered(images, kernel, "same")) for kernel in (across.T, across)]
    return jnp.stack(slopes, axis=-1)


@op
def ssim(
    image1: Any,
    image2: Any,
    max_val: float = 1.0,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    data_format: str | None = None,
) -> Any:
    """(batch, rows, cols, channels) twice -> (batch,): how alike images are, 1 for equal ones (Wang et al., 2004)."""
    first, second = array(image1), array(image2)
    kept, dtype = first.dtype, _float_type(first)
    (a, _), (b, _) = (channels_last(x.astype(dtype), data_format) for x in (first, second))
    bell = _bell(filter_size, filter_sigma, dtype)
    window = jnp.outer(bell, bell)

    def mean(x: Any) -> Any:
        return _filtered(x, window, "valid")

    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    of_a, of_b = mean(a), mean(b)
    both, squares = of_a * of_b, of_a * of_a + of_b * of_b
    covariance, variances = mean(a * b) - both, (mean(a * a) - of_a * of_a) + (mean(b * b) - of_b * of_b)
    likeness = (2.0 * both + c1) * (2.0 * covariance + c2) / ((squares + c1) * (variances + c2))
    found = jnp.mean(likeness, axis=(1, 2, 3)).astype(kept)
    return found[0] if first.ndim == 3 else found
