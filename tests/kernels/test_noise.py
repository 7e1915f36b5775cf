"""Random choices: JAX's own, number for number, in every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lamella import kernels

KEY = jnp.array([5, 0xFFFFFFF0], "uint32")


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5, 2), (300, 257)])
@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1 / 3, 0.9, 1.0])
def test_the_choices_of_jax_random(shape, probability):
    ours = kernels.bernoulli(KEY, probability, shape)
    assert ours.dtype == bool
    np.testing.assert_array_equal(ours, jax.random.bernoulli(KEY, probability, shape))
    compiled = jax.jit(lambda key: kernels.bernoulli(key, probability, shape))(KEY)
    np.testing.assert_array_equal(compiled, ours)


def test_keys_of_many_samples():
    keys = jnp.arange(24, dtype="uint32").reshape(2, 6, 2)

    def draw(key):
        return kernels.bernoulli(key, 0.3, (4, 5))

    drawn = jax.vmap(jax.vmap(draw, in_axes=1), in_axes=2)(jnp.moveaxis(keys, (0, 1, 2), (2, 1, 0)))
    for outer in range(2):
        for inner in range(6):
            np.testing.assert_array_equal(drawn[outer, inner], jax.random.bernoulli(keys[outer, inner], 0.3, (4, 5)))


def test_other_generators_are_left_to_jax():
    key = jax.random.key(3, impl="rbg")
    np.testing.assert_array_equal(kernels.bernoulli(key, 0.5, (9,)), jax.random.bernoulli(key, 0.5, (9,)))
    with jax.threefry_partitionable(False):
        drawn = kernels.bernoulli(KEY, 0.5, (9,))
        np.testing.assert_array_equal(drawn, jax.random.bernoulli(KEY, 0.5, (9,)))
