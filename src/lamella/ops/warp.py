"""Ops that look images up between their pixels: transforms of coordinates, and what they are made of."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy import ndimage

from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.seeds import draw_key
from lamella.core.settings import one_of
from lamella.ops.dispatch import array, op
from lamella.ops.images import blurred, channels_last

__all__ = ["affine_transform", "elastic_transform", "map_coordinates", "perspective_transform", "scale_and_translate"]

_ORDER = {"nearest": 0, "bilinear": 1}
_FILL_MODES = ("constant", "nearest", "wrap", "mirror", "reflect")
_METHODS = ("linear", "bilinear", "trilinear", "cubic", "bicubic", "tricubic", "lanczos3", "lanczos5")


@op
def map_coordinates(inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: Any = 0) -> Any:
    """Return the values at coordinates (axes of inputs, ...) between the elements: the nearest (0) or linear (1).

    >>> map_coordinates(jnp.array([0.0, 10.0]), jnp.array([[0.5, 1.0]]), order=1).tolist()
    [5.0, 10.0]
    """
    inputs, coordinates = array(inputs), array(coordinates)
    if coordinates.ndim < 2 or coordinates.shape[0] != inputs.ndim:
        raise ShapeError(
            f"coordinates must be ({inputs.ndim}, ...) for inputs {inputs.shape}; got {coordinates.shape}."
        )
    if order not in (0, 1):
        raise ArgumentError(f"order must be 0 (nearest) or 1 (linear), got {order!r}.")
    mode = one_of("fill_mode", fill_mode, _FILL_MODES)
    return ndimage.map_coordinates(inputs, list(coordinates), order, mode, fill_value)


def _looked_up(images: Any, rows: Any, cols: Any, interpolation: str, fill_mode: str, fill_value: Any) -> Any:
    """(batch, h, w, channels), (batch, h, w) twice -> (batch, h, w, channels): each image at its coordinates."""
    order = _ORDER[one_of("interpolation", interpolation, tuple(_ORDER))]
    mode = one_of("fill_mode", fill_mode, _FILL_MODES)

    def one(image: Any, rows: Any, cols: Any) -> Any:
        at = [rows, cols]
        planes = jnp.moveaxis(image, -1, 0)
        found = jax.vmap(lambda plane: ndimage.map_coordinates(plane, at, order, mode, fill_value))(planes)
        return jnp.moveaxis(found, 0, -1)

    return jax.vmap(one)(images, rows, cols)


def _grid(images: Any) -> tuple[Any, Any]:
    rows, cols = images.shape[1:3]
    y, x = jnp.meshgrid(jnp.arange(rows), jnp.arange(cols), indexing="ij")
    return y, x


def _projected(images: Any, transform: Any) -> tuple[Any, Any]:
    """(n, 8) numbers -> rows and columns (batch, h, w): where `(a0 x + a1 y + a2, b0 x + b1 y + b2) / k` leads."""
    y, x = _grid(images)
    a0, a1, a2, b0, b1, b2, c0, c1 = (transform[:, place, None, None] for place in range(8))
    k = c0 * x + c1 * y + 1
    shape = (images.shape[0], *x.shape)
    source_x, source_y = (a0 * x + a1 * y + a2) / k, (b0 * x + b1 * y + b2) / k
    return jnp.broadcast_to(source_y, shape), jnp.broadcast_to(source_x, shape)


@op
def affine_transform(
    images: Any,
    transform: Any,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: Any = 0,
    data_format: str | None = None,
) -> Any:
    """Return images whose pixel (x, y) is the input's at `(a0 x + a1 y + a2, b0 x + b1 y + b2) / (c0 x + c1 y + 1)`.

    `transform` is (8,) or (batch, 8): a0, a1, a2, b0, b1, b2, c0, c1.
    """
    images, back = channels_last(array(images), data_format)
    transform = jnp.atleast_2d(array(transform))
    if transform.ndim != 2 or transform.shape[-1] != 8:
        raise ShapeError(f"A transform has 8 numbers, one row for each image; got the shape {transform.shape}.")
    rows, cols = _projected(images, transform)
    return back(_looked_up(images, rows, cols, interpolation, fill_mode, fill_value))


@op
def perspective_transform(
    images: Any,
    start_points: Any,
    end_points: Any,
    interpolation: str = "bilinear",
    fill_value: Any = 0,
    data_format: str | None = None,
) -> Any:
    """Return images in which four corner points (x, y), the start, lie where the end points are.

    Points are (4, 2), or (batch, 4, 2).
    """
    images, back = channels_last(array(images), data_format)
    start, end = (array(points).astype("float32") for points in (start_points, end_points))
    for points in (start, end):
        if points.ndim not in (2, 3) or points.shape[-2:] != (4, 2):
            raise ShapeError(f"Points must be (4, 2) or (batch, 4, 2), got {points.shape}.")
    start, end = (points.reshape(-1, 4, 2) if points.ndim == 2 else points for points in (start, end))
    rows, cols = _projected(images, _homography(start, end))
    return back(_looked_up(images, rows, cols, interpolation, "constant", fill_value))


def _homography(start: Any, end: Any) -> Any:
    """(n, 4, 2) points twice -> (n, 8): the projection that takes each end point to its start point."""
    x, y = end[..., 0], end[..., 1]
    one, zero = jnp.ones_like(x), jnp.zeros_like(x)

    def equations(target: Any, own: list[Any]) -> Any:
        return jnp.stack([*own, -target * x, -target * y], axis=-1)

    to_x = equations(start[..., 0], [x, y, one, zero, zero, zero])
    to_y = equations(start[..., 1], [zero, zero, zero, x, y, one])
    targets = jnp.concatenate([start[..., 0], start[..., 1]], axis=-1)
    return jnp.linalg.solve(jnp.concatenate([to_x, to_y], axis=1), targets[..., None])[..., 0]


@op
def elastic_transform(
    images: Any,
    alpha: Any = 20.0,
    sigma: Any = 5.0,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: Any = 0.0,
    seed: Any = None,
    data_format: str | None = None,
) -> Any:
    """Return images bent by blurred random shifts of pixels, alpha strong and sigma wide (Simard et al., 2003)."""
    images, back = channels_last(array(images), data_format)
    dtype = images.dtype
    window = int(6 * float(sigma)) | 1
    # Keras takes both directions from one key.
    noise = jax.random.normal(draw_key(seed), images.shape[:3], dtype) * jnp.asarray(sigma, dtype)
    shift = alpha * blurred(noise[..., None], (window, window), (sigma, sigma))[..., 0]
    y, x = _grid(images)
    return back(_looked_up(images, y + shift, x + shift, interpolation, fill_mode, fill_value).astype(dtype))


@op
def scale_and_translate(
    images: Any,
    output_shape: Any,
    scale: Any,
    translation: Any,
    spatial_dims: Any,
    method: str,
    antialias: bool = True,
) -> Any:
    """Return images of `output_shape`, scaled about the origin, then moved, along `spatial_dims`."""
    method = one_of("method", method, _METHODS)
    shape, axes = tuple(output_shape), tuple(spatial_dims)
    return jax.image.scale_and_translate(
        array(images), shape, axes, array(scale), array(translation), method, antialias
    )
