"""First values made on the host: number for number those of jax.random, with no program compiled for their shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lamella.core import values

SHAPES = [(), (0, 3), (1,), (3, 4), (7, 513), (3, 8192)]
KEYS = [(0, 0), (7, 0), (0xFFFFFFFF, 0xFFFFFFFF), (123456789, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("key", KEYS)
def test_the_numbers_of_jax_random(key, shape):
    key = jnp.array(key, "uint32")
    drawn = values.uniform(key, shape, "float32", -0.3, 1.7)
    np.testing.assert_array_equal(drawn, jax.random.uniform(key, shape, "float32", -0.3, 1.7))
    drawn = values.normal(key, shape, "float32", 0.5, 0.1)
    np.testing.assert_array_equal(drawn, jax.random.normal(key, shape) * 0.1 + 0.5)
    drawn = values.truncated_normal(key, shape, "float32", 0.0, 2.0)
    np.testing.assert_array_equal(drawn, jax.random.truncated_normal(key, -2.0, 2.0, shape) * 2.0)
    assert isinstance(drawn, jax.Array)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_dtypes_are_left_to_jax(dtype):
    key = jnp.array([1, 0], "uint32")
    drawn = values.uniform(key, (5,), dtype, 0.0, 1.0)
    assert drawn.dtype == dtype
    np.testing.assert_array_equal(drawn, jax.random.uniform(key, (5,), dtype, 0.0, 1.0))


def test_traced_keys_are_left_to_jax():
    key = jnp.array([3, 0], "uint32")
    drawn = jax.jit(lambda key: values.normal(key, (4,), "float32", 0.0, 1.0))(key)
    np.testing.assert_array_equal(drawn, jax.random.normal(key, (4,)))


def test_nothing_is_compiled(caplog):
    key = jnp.array([1, 0], "uint32")
    values.normal(key, (11, 5), "float32", 0.0, 1.0)
    with jax.log_compiles():
        values.normal(key, (13, 4), "float32", 0.0, 1.0)
        values.uniform(key, (17, 3), "float32", 0.0, 1.0)
        values.full((19, 2), "bfloat16", 1)
        quiet = [record for record in caplog.records if "XLA compilation" in record.getMessage()]
        jax.random.normal(key, (23, 2))
    assert not quiet
    assert [record for record in caplog.records if "XLA compilation" in record.getMessage()]
