"""What people ask about layers and the batch axis, as programs; those that work in Keras give its numbers."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import keras
import numpy as np
import pytest

import lamella
from lamella import Sequential, layers
from lamella.core import memory

DRAW = np.random.default_rng(5)


def same(ours: Any, theirs: Any, x: np.ndarray) -> Any:
    """Call both layers on a batch, with Keras's weights in both, and compare the numbers; return the output."""
    ours(x), theirs(x)
    ours.set_weights(theirs.get_weights())
    got, wanted = np.asarray(ours(x)), np.asarray(theirs(x))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    return got


def random(*shape: int) -> np.ndarray:
    return DRAW.normal(size=shape).astype("float32")


class TestThatWork:
    def test_dense_on_a_batch_of_vectors(self) -> None:
        ours = layers.Dense(units=3, activation="relu")
        out = same(ours, keras.layers.Dense(units=3, activation="relu"), random(10, 5))
        assert out.shape == (10, 3) and ours.kernel.shape == (5, 3) and ours.bias.shape == (3,)

    def test_convolution_on_a_batch_of_images(self) -> None:
        ours = layers.Conv2D(filters=16, kernel_size=(3, 3), activation="relu")
        theirs = keras.layers.Conv2D(filters=16, kernel_size=(3, 3), activation="relu")
        out = same(ours, theirs, random(4, 28, 28, 3))
        assert out.shape == (4, 26, 26, 16) and ours.kernel.shape == (3, 3, 3, 16)

    def test_recurrence_on_a_batch_of_sequences(self) -> None:
        x = random(2, 10, 8)
        assert same(layers.LSTM(units=32), keras.layers.LSTM(units=32), x).shape == (2, 32)
        ours, theirs = layers.LSTM(32, return_sequences=True), keras.layers.LSTM(32, return_sequences=True)
        assert same(ours, theirs, x).shape == (2, 10, 32)

    def test_a_loop_over_samples(self) -> None:
        class Square(layers.Layer):
            def call(self, inputs: Any) -> Any:
                return lamella.ops.map(lambda sample: sample**2, inputs)

        x = random(32, 10, 5)
        np.testing.assert_allclose(Square()(x), x**2, rtol=1e-6)
        assert Square()(lamella.Input((10, 5))).shape == (None, 10, 5)

    def test_a_wide_dense_layer(self) -> None:
        ours = layers.Dense(units=128, activation="relu")
        out = same(ours, keras.layers.Dense(units=128, activation="relu"), random(32, 784))
        assert out.shape == (32, 128) and ours.kernel.shape == (784, 128)

    def test_input_shape_on_a_layer_by_itself(self) -> None:
        arguments = {"filters": 32, "kernel_size": (3, 3), "activation": "relu"}
        ours = layers.Conv2D(input_shape=(28, 28, 3), **arguments)
        out = same(ours, keras.layers.Conv2D(**arguments), random(16, 28, 28, 3))
        assert out.shape == (16, 26, 26, 32)

    def test_a_network_of_units(self) -> None:
        def stack(library: Any) -> Any:
            model = library.Sequential()
            model.add(library.Input((3,)))
            for units in (4, 4, 1):
                model.add(library.layers.Dense(units=units))
            return model

        ours, theirs = stack(lamella), stack(keras)
        assert same(ours, theirs, random(7, 3)).shape == (7, 1)
        assert [layer.output.shape for layer in ours.layers] == [(None, 4), (None, 4), (None, 1)]
        by_dim = Sequential([layers.Dense(4, input_dim=3)])
        assert by_dim.input_shape == (None, 3)
        fixed = Sequential([layers.Dense(4, batch_input_shape=(30, 50, 3))])
        assert fixed.output_shape == (30, 50, 4)


class TestThatFailElsewhere:
    def test_a_weight_named_weights(self) -> None:
        class WeightedSum(layers.Layer):
            def __init__(self, units: int, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.weights = self.add_weight(shape=(units,), initializer="random_normal", trainable=True)

        with pytest.raises(AttributeError, match=r"WeightedSum assigns self\.weights[\s\S]*self\.kernel = "):
            WeightedSum(units=10)

    def test_the_same_under_another_name_works(self) -> None:
        class WeightedSum(layers.Layer):
            def __init__(self, units: int, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.scale = self.add_weight(shape=(units,), initializer="random_normal", trainable=True)

            def call(self, inputs: Any) -> Any:
                return inputs * self.scale

        layer, x = WeightedSum(units=10), random(32, 10)
        np.testing.assert_allclose(layer(x), x * layer.scale.numpy(), rtol=1e-6)
        assert [w.name for w in layer.trainable_weights] == [layer.scale.name]

    def test_a_mask_without_a_features_axis(self) -> None:
        class MaskedAverage(layers.Layer):
            def call(self, inputs: Any, mask: Any = None) -> Any:
                masked = inputs * jnp.asarray(mask, "float32")
                return masked.sum(axis=1)

        with pytest.raises(ValueError, match="A mask has no features axis") as caught:
            MaskedAverage()(random(32, 10, 5), mask=DRAW.random((32, 10)) > 0.5)
        text = str(caught.value)
        assert "(batch=32, time=10, features=5)" in text and "mask[..., None]" in text
        assert "masked = inputs * jnp.asarray(mask" in text, "the line of the user's code is shown"

    def test_the_same_with_an_axis_more_works(self) -> None:
        class MaskedAverage(layers.Layer):
            def call(self, inputs: Any, mask: Any = None) -> Any:
                weight = mask[..., None].astype("float32")
                return (inputs * weight).sum(axis=1) / weight.sum(axis=1)

        x, mask = random(32, 10, 5), DRAW.random((32, 10)) > 0.3
        wanted = np.stack([sample[kept].mean(0) for sample, kept in zip(x, mask, strict=True)])
        np.testing.assert_allclose(MaskedAverage()(x, mask=mask), wanted, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(
        "first",
        [
            lambda: layers.Flatten(input_shape=(32, 10, 5)),
            lambda: layers.TimeDistributed(layers.Dense(64, activation="relu"), input_shape=(32, 10, 5)),
        ],
    )
    def test_the_batch_axis_in_input_shape(self, first: Any) -> None:
        model = Sequential([first(), layers.Dense(64)])
        x = random(32, 10, 5)
        for verb in (model.predict, model, model.predict_on_batch):
            with pytest.raises(lamella.errors.BatchAxisError) as caught:
                verb(x)
            text = str(caught.value)
            assert "input_shape=(10, 5)" in text and "batch_shape=(32, 10, 5)" in text
        with pytest.raises(lamella.errors.BatchAxisError, match=r"input_shape=\(10, 5\)"):
            model.predict(random(64, 10, 5))

    def test_a_weight_larger_than_the_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "capacity", lambda: 24 * 10**9)
        with pytest.raises(lamella.errors.WeightTooLargeError) as caught:
            Sequential([layers.Flatten(input_shape=(1024, 1000, 100)), layers.Dense(128, activation="relu")])
        text = str(caught.value)
        assert "102,400,000 x 128" in text and "52.4 GB" in text
        assert "1024 x 1000 x 100" in text and "input_shape=(1000, 100)" in text

    def test_the_weights_of_single_gates(self) -> None:
        layer = layers.LSTM(units=64, return_sequences=True)
        assert layer(random(8, 20, 10)).shape == (8, 20, 64)
        for place, gate in enumerate("ifco"):
            part = slice(place * 64, (place + 1) * 64)
            np.testing.assert_array_equal(getattr(layer, f"kernel_{gate}"), layer.cell.kernel.numpy()[:, part])
            np.testing.assert_array_equal(getattr(layer, f"bias_{gate}"), layer.cell.bias.numpy()[part])
            recurrent = getattr(layer, f"recurrent_kernel_{gate}")
            np.testing.assert_array_equal(recurrent, layer.cell.recurrent_kernel.numpy()[:, part])
        gru = layers.GRU(4)
        gru(random(2, 3, 5))
        assert gru.kernel_z.shape == gru.kernel_r.shape == gru.kernel_h.shape == (5, 4)
        assert gru.bias_z.shape == (2, 4)
        with pytest.raises(AttributeError, match="kernel_x"):
            _ = layer.kernel_x
