"""Ops on images give Keras's values, on arrays and on symbolic tensors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import lamella
from lamella import ops
from tests.ops.image_calls import IMAGE
from tests.ops.test_values import assert_same


@pytest.mark.parametrize("name", IMAGE)
def test_image(name: str) -> None:
    assert_same(IMAGE[name](ops.image), IMAGE[name](keras.ops.image))


@pytest.mark.parametrize("name", ["affine_transform", "elastic_transform", "gaussian_blur", "resize", "sobel_edges"])
def test_images_of_an_unknown_batch(name: str) -> None:
    arguments = {"resize": ((4, 5),), "affine_transform": (jnp.arange(8.0),)}.get(name, ())
    x = np.ones((2, 8, 9, 3), "float32")
    call = getattr(ops.image, name)
    out = call(lamella.Input((8, 9, 3)), *arguments)
    assert out.shape[0] is None and out.shape[1:] == call(x, *arguments).shape[1:]


def test_images_do_not_mix() -> None:
    def call(x: Any) -> Any:
        y = ops.image.affine_transform(ops.image.rgb_to_hsv(x), jnp.array([1, 0, 2, 0, 1, -1, 0, 0.0]))
        return ops.image.extract_patches(ops.image.gaussian_blur(ops.image.resize(y, (6, 5))), 2)

    assert lamella.batch.check(call, (8, 9, 3)).independent


def test_a_projection_divides() -> None:
    image = np.arange(12, dtype="float32").reshape(3, 4, 1)
    out = ops.image.affine_transform(image, np.array([1, 0, 0, 0, 1, 0, 0, 1], "float32"))
    # (x, y) looks at (x, y) / (y + 1): the second row at (x / 2, 1 / 2)
    np.testing.assert_allclose(out[1, :, 0], [2, 2.5, 3, 3.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.image.resize(x, (2,)), r"size is \(height, width\)"),
        (lambda x: ops.image.resize(x, (2, 2), crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), "exclude"),
        (lambda x: ops.image.resize(x[0, 0], (2, 2)), r"Expected one image \(3 axes\) or a batch of them \(4\)"),
        (lambda x: ops.image.rgb_to_grayscale(x[..., :2]), "Images have 3 channels"),
        (lambda x: ops.image.rgb_to_hsv(x.astype("int32")), "Colours are float numbers"),
        (lambda x: ops.image.pad_images(x, 1, 1, 1), "Two of left_padding, right_padding, target_width"),
        (
            lambda x: ops.image.pad_images(x, 1, 1, target_height=2, target_width=9),
            "must not be negative for a size of 4",
        ),
        (lambda x: ops.image.extract_patches_3d(x[None], (2, 2)), "size must be one number or 3"),
        (lambda x: ops.image.map_coordinates(x, jnp.zeros((3, 2)), 1), r"coordinates must be \(4, ...\)"),
        (lambda x: ops.image.map_coordinates(x, jnp.zeros((4, 2)), 2), "order must be 0"),
        (lambda x: ops.image.affine_transform(x, jnp.zeros(6)), "A transform has 8 numbers"),
        (lambda x: ops.image.perspective_transform(x, jnp.zeros((3, 2)), jnp.zeros((4, 2))), "Points must be"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(jax.numpy.ones((2, 4, 5, 3)))
