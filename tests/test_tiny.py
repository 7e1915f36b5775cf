"""The whole product in one small file: define, see, train, predict. It needs lamella and pytest, nothing else."""

import numpy as np
import pytest

import lamella
from lamella import Input, Model, Sequential, layers


def two_moons(samples: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    angle = draw.uniform(0, np.pi, samples)
    side = draw.integers(0, 2, samples)
    x = np.stack([np.cos(angle) + side, np.sin(angle) * (1 - 2 * side) + side * 0.5], -1)
    return (x + draw.normal(0, 0.1, x.shape)).astype("float32"), side


def test_train_and_predict() -> None:
    lamella.utils.set_random_seed(1)
    x, y = two_moons(600)
    model = Sequential([Input((2,)), layers.Dense(32, activation="relu"), layers.Dense(2, activation="softmax")])
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=30, validation_split=0.2, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0] / 2
    assert history.history["val_accuracy"][-1] > 0.9
    assert model.predict(x[:7]).shape == (7, 2)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9


def test_same_seed_same_numbers() -> None:
    def weights() -> list[np.ndarray]:
        lamella.utils.set_random_seed(3)
        x, y = two_moons(100)
        model = Sequential([Input((2,)), layers.Dense(8, activation="tanh"), layers.Dropout(0.2), layers.Dense(1)])
        model.compile("sgd", loss="mse")
        model.fit(x, y, epochs=2, verbose=0)
        return model.get_weights()

    for a, b in zip(weights(), weights(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_shapes_are_seen_before_data() -> None:
    image, words = Input((28, 28, 1)), Input((None,), dtype="int32")
    seen = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(image))
    read = layers.LSTM(4)(layers.Embedding(50, 6, mask_zero=True)(words))
    model = Model([image, words], layers.Dense(3)(layers.Concatenate()([seen, read])))
    assert model.output_shape == (None, 3)
    assert model.predict([np.zeros((2, 28, 28, 1)), np.ones((2, 9), int)]).shape == (2, 3)


def test_a_layer_of_ones_own() -> None:
    class Scale(layers.Layer):
        start: str = "ones"

        def build(self, input_shape):
            self.factor = self.add_weight(shape=(input_shape[-1],), initializer=self.start, name="factor")

        def call(self, inputs):
            return inputs * self.factor

    layer = Scale("zeros")
    assert float(layer(np.ones((2, 3), "float32")).sum()) == 0
    assert Scale.from_config(layer.get_config()).start == "zeros"


def test_an_error_that_teaches() -> None:
    model = Sequential([layers.Flatten(input_shape=(32, 10, 5)), layers.Dense(4)])
    with pytest.raises(ValueError, match=r"input_shape does not include the batch axis[\s\S]*input_shape=\(10, 5\)"):
        model.predict(np.zeros((32, 10, 5)))
