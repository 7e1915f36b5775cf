"""Normalization by data, LoRA, spectral norms, JaxLayer, pipelines: beside Keras where Keras has it."""

from __future__ import annotations

from typing import Any

import jax
import keras
import numpy as np
import pytest

import lamella
from lamella.errors import ArgumentError, DataError, NotBuiltError, ShapeError
from tests.parity.cases import Case
from tests.parity.test_layers import assert_close, pair

DRAW = np.random.default_rng(6)
X = DRAW.normal(2.0, 3.0, size=(12, 4, 3)).astype("float32")


@pytest.mark.parametrize("axis", [-1, None, 1, (1, 2)])
@pytest.mark.parametrize("form", ["array", "batches", "pairs", "generator"])
def test_adapt(axis: Any, form: str) -> None:
    results = []
    for library in (lamella, keras):
        data = {
            "array": X,
            "batches": [X[:5], X[5:]],
            "pairs": [(X[:5], 0), (X[5:], 1)],
            "generator": (X[i : i + 3] for i in range(0, 12, 3)),
        }[form]
        layer = library.layers.Normalization(axis=axis)
        # Keras wants TensorFlow for anything but an array; the statistics are those of the whole.
        layer.adapt(data if library is lamella else X)
        results.append([layer(X), layer.mean, layer.variance, layer.get_weights()])
    assert_close(*results)


def test_normalization_inverts_itself() -> None:
    forth, back = lamella.layers.Normalization(), lamella.layers.Normalization(invert=True)
    forth.adapt(X)
    back.adapt(X)
    np.testing.assert_allclose(back(forth(X)), X, rtol=1e-5, atol=1e-5)


def test_normalization_in_a_model_is_data_not_code() -> None:
    layer = lamella.layers.Normalization()
    model = lamella.Sequential([lamella.Input((4, 3)), layer])
    before = model.predict(X)
    layer.adapt(X)
    assert_close(model.predict(X), np.asarray(layer(X)))
    assert not np.allclose(before, model.predict(X))


@pytest.mark.parametrize(
    ("error", "message", "make"),
    [
        (ArgumentError, "given together", lambda layers: layers.Normalization(mean=1.0)),
        (ShapeError, "have one shape", lambda layers: layers.Normalization(mean=[1.0], variance=[1.0, 2.0])),
        (ShapeError, "no such axes", lambda layers: layers.Normalization(axis=3).build((None, 2))),
        (ShapeError, "need known sizes", lambda layers: layers.Normalization(axis=1).build((None, None))),
        (ArgumentError, "nothing to adapt", lambda layers: layers.Normalization(mean=1.0, variance=1.0).adapt(X)),
        (DataError, "adapt got no data", lambda layers: layers.Normalization().adapt([])),
        (DataError, "adapt takes an array", lambda layers: layers.Normalization().adapt(3)),
        (ShapeError, "adapt got data of shape", lambda layers: layers.Normalization().adapt([X, X[..., :2]])),
        (ArgumentError, "groups must be a positive", lambda layers: layers.GroupNormalization(0)),
        (ShapeError, "4 channels cannot be put into 3", lambda layers: layers.GroupNormalization(3)(np.ones((2, 4)))),
        (
            ShapeError,
            "GroupNormalization needs to know",
            lambda layers: layers.GroupNormalization().build((None, None)),
        ),
        (ArgumentError, "power_iterations", lambda layers: layers.SpectralNormalization(layers.Dense(2), 0)),
        (ArgumentError, "neither a kernel", lambda layers: layers.SpectralNormalization(layers.ReLU())(X)),
        (ArgumentError, "stddev lies between", lambda layers: layers.GaussianNoise(2.0)),
        (ArgumentError, "negative_slope must not", lambda layers: layers.LeakyReLU(-1.0)),
        (
            ArgumentError,
            "synchronized=True is not offered",
            lambda layers: layers.BatchNormalization(synchronized=True),
        ),
        (
            ArgumentError,
            "renorm_clipping has rmin",
            lambda layers: layers.BatchNormalization(renorm=True, renorm_clipping={"max": 1}),
        ),
        (
            ArgumentError,
            "leaves nothing",
            lambda layers: layers.BatchNormalization(renorm=True, renorm_clipping={"rmin": 2, "rmax": 1}),
        ),
    ],
)
def test_errors(error: Any, message: str, make: Any) -> None:
    with pytest.raises(error, match=message):
        make(lamella.layers)


ADAPTABLE = [
    Case("Dense", {"units": 3, "kernel_regularizer": "l2"}),
    Case("EinsumDense", {"equation": "abc,cde->abde", "output_shape": (None, 2, 7), "bias_axes": "e"}, (3, 4, 5)),
    Case("Embedding", {"input_dim": 11, "output_dim": 4}, (3, 6), ids=11),
]


@pytest.mark.parametrize("case", ADAPTABLE, ids=lambda case: case.layer)
def test_lora_is_keras_s(case: Case) -> None:
    ours, theirs, x = pair(case)
    for layer in (ours, theirs):
        layer.enable_lora(2, lora_alpha=3)
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, w.shape) for w in theirs.weights]
    assert [w.name for w in ours.trainable_weights] == [w.name for w in theirs.trainable_weights]
    weights = [DRAW.normal(size=w.shape).astype("float32") for w in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    assert_close(ours(x), theirs(x))
    assert_close(getattr(ours, ours.adapted), getattr(theirs, ours.adapted))
    assert (ours.get_config()["lora_rank"], ours.get_config()["lora_alpha"]) == (2, 3)
    twin = type(ours).from_config(ours.get_config())
    twin(x)
    assert [w.name for w in twin.weights] == [w.name for w in ours.weights]
    twin.set_weights(weights)
    assert_close(twin(x), ours(x))


def test_lora_trains_the_factors_alone() -> None:
    model = lamella.Sequential([lamella.Input((5,)), lamella.layers.Dense(3)])
    layer = model.layers[0]
    before = layer.kernel.numpy()
    layer.enable_lora(2)
    np.testing.assert_array_equal(layer.kernel, before)
    assert [w.path.rpartition("/")[0] for w in layer.weights] == [layer.name] * 4
    model.compile("sgd", loss="mse")
    model.fit(np.ones((8, 5), "float32"), np.ones((8, 3), "float32"), verbose=0)
    np.testing.assert_array_equal(layer._kernel, before)
    assert np.abs(np.asarray(layer.kernel) - before).max() > 0


def test_lora_refusals() -> None:
    layer = lamella.layers.Dense(3)
    with pytest.raises(NotBuiltError, match="has no kernel to adapt yet"):
        layer.enable_lora(2)
    layer.build((None, 4))
    layer.enable_lora(2)
    with pytest.raises(ArgumentError, match="a layer is adapted once"):
        layer.enable_lora(2)
    bound = lamella.layers.Dense(3, kernel_constraint="non_neg")
    bound.build((None, 4))
    with pytest.raises(ArgumentError, match="does not go together with kernel_constraint"):
        bound.enable_lora(2)


def test_embedding_takes_first_values() -> None:
    table = DRAW.normal(size=(5, 3)).astype("float32")
    for given in (table, [table]):
        np.testing.assert_array_equal(lamella.layers.Embedding(5, 3, weights=given)(np.array([[4]]))[0], table[4:])


def test_spectral_normalization_bounds_the_kernel() -> None:
    layer = lamella.layers.SpectralNormalization(lamella.layers.Dense(4), power_iterations=50)
    layer(X[:, 0], training=True)
    assert abs(np.linalg.norm(np.asarray(layer.layer.kernel), 2) - 1) < 1e-3
    layer.layer.kernel.assign(np.zeros((3, 4)))
    assert np.isfinite(np.asarray(layer(X[:, 0], training=True))).all()
    assert not np.asarray(layer.layer.kernel).any()


def test_activity_regularization_is_penalized() -> None:
    losses = []
    for library in (lamella, keras):
        model = library.Sequential([library.Input((4, 3)), library.layers.ActivityRegularization(0.1, 0.2)])
        model.compile("sgd", loss="mse")
        losses.append(np.float32(model.evaluate(X, X, batch_size=12, verbose=0)))
    assert losses[0] > 1
    assert_close(*losses)
    assert "activity_regularizer" not in lamella.layers.ActivityRegularization(0.1).get_config()


def _forward(params: Any, state: Any, rng: Any, inputs: Any, training: Any) -> Any:
    noise = jax.random.normal(rng, inputs.shape) if training else 0.0
    return (inputs + noise) @ params["w"] + params["b"], {"calls": state["calls"] + 1}


def _begin(rng: Any, inputs: Any) -> Any:
    width = inputs.shape[-1]
    return {"w": jax.random.normal(rng, (width, 2)), "b": jax.numpy.ones(2)}, {"calls": jax.numpy.zeros((), "int32")}


def test_jax_layer() -> None:
    # Keras's own asks for TensorFlow, so the function itself is the measure.
    layer = lamella.layers.JaxLayer(_forward, _begin, seed=4)
    layer(X)
    params = {name: variable.value for name, variable in layer.params.items()}
    key = lamella.SeedGenerator(4).next()
    assert sorted(weight.shape for weight in layer.trainable_weights) == [(2,), (3, 2)]
    assert_close(layer(X), _forward(params, {"calls": 0}, None, X, False)[0])
    assert_close(layer(X, training=True), _forward(params, {"calls": 0}, key, X, True)[0])
    assert int(layer.state["calls"]) == 3


def test_jax_layer_trains_and_is_checked() -> None:
    layer = lamella.layers.JaxLayer(lambda params, inputs: inputs @ params, params=np.ones((3, 2), "float32"))
    model = lamella.Sequential([lamella.Input((4, 3)), layer])
    model.compile("sgd", loss="mse")
    model.fit(X, np.ones((12, 4, 2)), verbose=0)
    assert not np.allclose(layer.get_weights()[0], 1)
    assert lamella.batch.check(layer, (4, 3)).verdict == "independent"
    mixing = lamella.layers.JaxLayer(lambda inputs: inputs - inputs.mean(0))
    assert lamella.batch.check(mixing, (4, 3)).verdict == "mixes"


def test_jax_layer_refusals() -> None:
    with pytest.raises(ArgumentError, match="nothing to get them from"):
        lamella.layers.JaxLayer(_forward)
    with pytest.raises(ArgumentError, match=r"call_fn takes `inputs` and any of params.*got x"):
        lamella.layers.JaxLayer(lambda x: x)
    layer = lamella.layers.JaxLayer(lambda state, inputs: (inputs, {}), state={"a": np.ones(2, "float32")})
    with pytest.raises(ArgumentError, match="a state of another structure"):
        layer(X)


@lamella.utils.register_keras_serializable("test")
class Module:
    """A stand-in for a flax.linen.Module, with its protocol: `init` and `apply`. Flax is not part of these tests."""

    def __init__(self, units: int = 2) -> None:
        self.units = units

    def get_config(self) -> dict[str, Any]:
        return {"units": self.units}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Module:
        return cls(**config)

    def __call__(self, inputs: Any, training: bool) -> Any: ...

    def halved(self, inputs: Any) -> Any: ...

    def init(self, rngs: Any, inputs: Any, method: Any = None, training: bool = False) -> Any:
        kernel = jax.random.normal(rngs["params"], (inputs.shape[-1], self.units))
        return {"params": {"kernel": kernel}, "count": {"calls": jax.numpy.zeros(())}}

    def apply(
        self, variables: Any, inputs: Any, rngs: Any, method: Any = None, mutable: Any = False, training: bool = False
    ) -> Any:
        assert set(rngs) == ({"dropout"} if training else set())
        noise = jax.random.normal(rngs["dropout"], inputs.shape) if training else 0.0
        out = (inputs + noise) @ variables["params"]["kernel"] / (2 if method else 1)
        new = {"params": variables["params"], "count": {"calls": variables["count"]["calls"] + 1}}
        return out, {name: new[name] for name in mutable}


def test_flax_layer() -> None:
    layer = lamella.layers.FlaxLayer(Module(), seed=4)
    out = layer(X)
    kernel, key = layer.trainable_weights[0].value, lamella.SeedGenerator(4).next()
    assert [weight.shape for weight in layer.weights] == [(3, 2), ()]
    assert_close(out, X @ kernel)
    assert_close(layer(X, training=True), (X + jax.random.normal(key, X.shape)) @ kernel)
    assert float(layer.non_trainable_weights[0].value) == 2
    given = {"params": {"kernel": kernel}, "count": {"calls": np.zeros(())}}
    assert_close(lamella.layers.FlaxLayer(Module(), "halved", given)(X), out / 2)
    assert lamella.batch.check(layer, (4, 3)).independent
    twin = lamella.layers.FlaxLayer.from_config(lamella.layers.FlaxLayer(Module(5), "halved").get_config())
    assert twin(X).shape == (12, 4, 5)
    with pytest.raises(ArgumentError, match=r"FlaxLayer takes a flax\.linen\.Module, got object"):
        lamella.layers.FlaxLayer(object())


def test_pipeline() -> None:
    results = []
    for library in (lamella, keras):
        make = library.layers
        layer = make.Pipeline([make.GaussianNoise(0.5, seed=2), make.Flatten(), make.ReLU()])
        twin = make.Pipeline.from_config(layer.get_config())
        results.append([layer(X), twin(X), layer(X, training=False)])
    assert_close(*results)
    assert not np.allclose(results[0][0], results[0][2])


def test_layers_as_plain_data() -> None:
    layer = lamella.layers.Dense(3, activation="relu", name="first")
    twin = lamella.layers.deserialize(lamella.layers.serialize(layer))
    assert twin.get_config() == layer.get_config()
    assert lamella.layers.deserialize(keras.layers.serialize(keras.layers.Dense(3, name="first"))).units == 3
    with pytest.raises(ArgumentError, match="describes SGD, which is no layer"):
        lamella.layers.deserialize(lamella.utils.serialize_keras_object(lamella.optimizers.SGD()))


def test_a_quiet_sound_beside_a_loud_one() -> None:
    arguments = {"fft_length": 64, "sequence_stride": 30, "num_mel_bins": 6, "sampling_rate": 8000, "top_db": 10.0}
    ours, theirs = (library.layers.MelSpectrogram(**arguments) for library in (lamella, keras))
    sounds = DRAW.normal(size=(3, 400)).astype("float32") * np.array([[1], [1e-3], [30]], "float32")
    together = np.asarray(ours(sounds))
    for shown, sound in zip(together, sounds, strict=True):
        assert_close(shown, theirs(sound))
        assert_close(shown, ours(sound))
    # The loudest sound of the batch decides in Keras what is seen of the others.
    assert np.ptp(np.asarray(theirs(sounds))[1]) == 0 < np.ptp(together[1])
    assert ours(lamella.Input((None,))).shape == (None, 6, None)
    with pytest.raises(ArgumentError, match="fft_length must be at least sequence_length=50, got 20"):
        lamella.layers.MelSpectrogram(fft_length=20, sequence_length=50)
