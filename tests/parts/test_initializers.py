"""Initializers: exactly the oracle's numbers for the same seed."""

import jax.numpy as jnp
import keras
import numpy as np
import pytest

from lamella.core.errors import ArgumentError, ShapeError, UnknownNameError
from lamella.core.seeds import SeedGenerator, set_random_seed
from lamella.core.variable import Variable
from lamella.parts import initializers

SHAPES = [(5,), (4, 7), (7, 4), (3, 4, 5), (2, 3, 4, 5)]
SCALED = ["GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal"]
RANDOM = [
    *((name, {}) for name in SCALED),
    ("GlorotUniform", {"input_axes": [0], "output_axes": [-1]}),
    ("RandomNormal", {}),
    ("RandomNormal", {"mean": 1.0, "stddev": 2.0}),
    ("RandomUniform", {"minval": -1.0, "maxval": 3.0}),
    ("TruncatedNormal", {"mean": 0.5}),
    *(
        ("VarianceScaling", {"scale": 1.7, "mode": mode, "distribution": distribution})
        for mode in ("fan_in", "fan_out", "fan_avg")
        for distribution in ("truncated_normal", "untruncated_normal", "uniform")
    ),
]


@pytest.mark.parametrize(("name", "arguments"), RANDOM)
@pytest.mark.parametrize("shape", SHAPES)
def test_same_numbers(name, arguments, shape):
    ours = getattr(initializers, name)(seed=42, **arguments)
    theirs = getattr(keras.initializers, name)(seed=42, **arguments)
    np.testing.assert_array_equal(ours(shape), theirs(shape))
    np.testing.assert_array_equal(ours(shape), ours(shape))


@pytest.mark.parametrize("shape", [(6, 6), *SHAPES[1:]])
def test_orthogonal_matrices_are_the_oracles_up_to_rounding(shape):
    ours = initializers.Orthogonal(1.5, seed=42)
    np.testing.assert_allclose(ours(shape), keras.initializers.Orthogonal(1.5, seed=42)(shape), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ours(shape), ours(shape))


@pytest.mark.parametrize("window", [*initializers._WINDOWS, None, np.linspace(0.5, 1, 20)], ids=str)
@pytest.mark.parametrize(("side", "scaling", "periodic"), [("real", "density", False), ("imag", "spectrum", True)])
def test_waves_are_the_oracles(side, window, scaling, periodic):
    for shape in ((20, 1, 17), (20, 1, 21)):
        arguments = (side, window, scaling, periodic)
        theirs = keras.initializers.STFT(*arguments)(shape)
        np.testing.assert_allclose(initializers.STFT(*arguments)(shape), theirs, atol=1e-5)
    with pytest.raises(ArgumentError, match="window must be one of"):
        initializers.STFT(window="bohman")
    with pytest.raises(ShapeError, match="the window must have the shape"):
        initializers.STFT(window=[1.0, 2.0])((20, 1, 17))


@pytest.mark.parametrize("name", SCALED)
def test_random_seed_fixes_every_draw(name):
    keras.utils.set_random_seed(7)
    theirs = [getattr(keras.initializers, name)()((3, 4)) for _ in range(2)]
    set_random_seed(7)
    ours = [initializers.get(name)((3, 4)) for _ in range(2)]
    np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(ours[0], ours[1])


def test_seed_generator_moves_on():
    ours, theirs = SeedGenerator(3), keras.random.SeedGenerator(3)
    a, b = initializers.HeNormal(ours), keras.initializers.HeNormal(theirs)
    for _ in range(2):
        np.testing.assert_array_equal(a((3, 4)), b((3, 4)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtype(dtype):
    ours = initializers.GlorotUniform(1)((3, 4), dtype=dtype)
    assert ours.dtype == dtype
    theirs = keras.initializers.GlorotUniform(1)((3, 4), dtype=dtype)
    np.testing.assert_array_equal(np.asarray(ours, "float32"), np.asarray(theirs, "float32"))


def test_constant_kinds():
    assert initializers.Zeros()((2, 3)).tolist() == [[0.0] * 3] * 2
    assert initializers.Ones()((2,), dtype="int32").tolist() == [1, 1]
    assert initializers.Constant(3.0)((2,)).tolist() == [3.0, 3.0]
    assert initializers.Constant([1.0, 2.0])((2, 2)).tolist() == [[1.0, 2.0]] * 2
    np.testing.assert_array_equal(initializers.Identity(2.0)((3, 4)), keras.initializers.Identity(2.0)((3, 4)))


@pytest.mark.parametrize("name", [*SCALED, "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling"])
def test_config_round_trip(name):
    ours, theirs = getattr(initializers, name)(), getattr(keras.initializers, name)()
    assert ours.get_config() == theirs.get_config()
    config = keras.initializers.serialize(getattr(keras.initializers, name)(seed=5))
    again = initializers.deserialize(config)
    assert type(again) is type(ours)
    assert initializers.serialize(again) == config


def test_positional_arguments():
    assert initializers.RandomNormal(1.0, 2.0, 3).get_config() == {"mean": 1.0, "stddev": 2.0, "seed": 3}
    assert initializers.GlorotUniform(3).seed == 3
    assert initializers.VarianceScaling(2.0, "fan_out", "uniform", 9).seed == 9


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("glorot_uniform", "GlorotUniform"),
        ("zeros", "Zeros"),
        ("zero", "Zeros"),
        ("one", "Ones"),
        ("normal", "RandomNormal"),
        ("random_normal", "RandomNormal"),
        ("uniform", "RandomUniform"),
        ("he_normal", "HeNormal"),
        ("lecun_uniform", "LecunUniform"),
        ("orthogonal", "Orthogonal"),
        ("IdentityInitializer", "Identity"),
    ],
)
def test_aliases(alias, name):
    assert type(initializers.get(alias)).__name__ == name
    assert type(initializers.get(alias)) is type(initializers.get(name))


def test_get():
    assert initializers.get(None) is None
    assert initializers.get("ones") is not initializers.get("ones")
    assert isinstance(initializers.get(initializers.HeNormal), initializers.HeNormal)
    given = initializers.HeNormal()
    assert initializers.get(given) is given

    def mine(shape, dtype=None):
        return jnp.zeros(shape, dtype)

    assert initializers.get(mine) is mine
    values = np.arange(6.0).reshape(2, 3)
    for array in (values, jnp.asarray(values), Variable(values)):
        np.testing.assert_array_equal(initializers.get(array)((2, 3), dtype="float32"), values)


def test_clone_draws_anew():
    first = initializers.HeNormal()
    assert not np.array_equal(first((3, 4)), first.clone()((3, 4)))
    seeded = initializers.HeNormal(1)
    np.testing.assert_array_equal(seeded((3, 4)), seeded.clone()((3, 4)))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: initializers.get("glorot_unifrom"), UnknownNameError, "Did you mean 'glorot_uniform'"),
        (
            lambda: initializers.get(1.5),
            ArgumentError,
            "initializer is a name, a config or a callable, got 1.5",
        ),
        (
            lambda: initializers.GlorotUniform("7"),
            ArgumentError,
            "seed must be an integer, a SeedGenerator or None",
        ),
        (lambda: initializers.VarianceScaling(0.0), ArgumentError, "scale must be positive, got 0.0"),
        (lambda: initializers.VarianceScaling(mode="fan"), ArgumentError, "mode must be one of 'fan_in'"),
        (
            lambda: initializers.VarianceScaling(distribution="flat"),
            ArgumentError,
            "distribution must be one of",
        ),
        (lambda: initializers.Orthogonal()((3,)), ShapeError, "at least two axes"),
        (lambda: initializers.Identity()((3,)), ShapeError, "Identity makes matrices"),
        (
            lambda: initializers.get(np.ones((2, 2)))((2, 3)),
            ShapeError,
            r"shape \(2, 3\); the values given for it",
        ),
        (lambda: initializers.Initializer()((2,)), NotImplementedError, "does not define `__call__`"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
