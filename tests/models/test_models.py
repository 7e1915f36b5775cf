"""Models of every make: stacks, graphs, classes; what they know and how they are called."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

import jax.numpy as jnp
import keras
import numpy as np
import pytest

import lamella
from lamella import Input, Model, Sequential, layers, ops
from lamella.errors import NotBuiltError, ShapeError

X = np.random.default_rng(0).normal(size=(12, 6)).astype("float32")


class TestFunctional:
    def test_shared_layers_and_nested_models(self) -> None:
        shared = layers.Dense(4, name="shared")
        left, right = Input((6,)), Input((6,))
        inner_in = Input((4,))
        inner = Model(inner_in, layers.Dense(2)(inner_in), name="inner")
        model = Model([left, right], layers.Subtract()([inner(shared(left)), inner(shared(right))]))
        assert model.count_params() == 6 * 4 + 4 + 4 * 2 + 2
        assert [layer.name for layer in model.layers].count("shared") == 1
        np.testing.assert_allclose(model.predict([X, X]), 0, atol=1e-6)
        out = model([X, X * 0])
        np.testing.assert_allclose(out, inner(shared(X)) - inner(shared(X * 0)), rtol=1e-5, atol=1e-6)

    def test_weights_stand_in_kerass_order(self) -> None:
        def make(library: Any) -> Any:
            a, b = library.Input((6,)), library.Input((3,))
            x = library.layers.Dense(4, name="one")(a)
            y = library.layers.Dense(5, name="two")(library.layers.Dense(7, name="three")(b))
            z = library.layers.concatenate([y, x])
            return library.Model(
                [a, b], [library.layers.Dense(2, name="four")(z), library.layers.Dense(1, name="five")(x)]
            )

        ours, theirs = make(lamella), make(keras)
        assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
        named = [layer.name for layer in theirs.layers if layer.weights]
        assert [layer.name for layer in ours.layers if layer.weights] == named

    def test_dicts_in_and_out(self) -> None:
        a, b = Input((6,), name="a"), Input((3,), name="b")
        model = Model({"a": a, "b": b}, {"sum": layers.concatenate([a, b]), "a": a})
        out = model.predict({"b": X[:, :3], "a": X})
        assert out["sum"].shape == (12, 9)
        np.testing.assert_array_equal(out["a"], X)
        with pytest.raises(ValueError, match=r"inputs are a, b; 'b' is missing"):
            model.predict({"a": X})

    def test_ops_and_operators_on_symbols(self) -> None:
        x = Input((6,))
        y = ops.mean(ops.relu(2 * x[:, 1:] - 1) ** 2, axis=-1, keepdims=True)
        model = Model(x, y)
        np.testing.assert_allclose(model(X), (np.maximum(2 * X[:, 1:] - 1, 0) ** 2).mean(-1, keepdims=True), rtol=1e-5)
        bounded = Model(x, lamella.activations.relu(np.sin(x), max_value=0.5))
        np.testing.assert_allclose(bounded(X), np.clip(np.sin(X), 0, 0.5), rtol=1e-5, atol=1e-6)

    def test_a_part_of_a_model(self) -> None:
        model = Sequential([Input((6,)), layers.Dense(4, name="features"), layers.Dense(2)])
        part = Model(model.input, model.get_layer("features").output)
        np.testing.assert_allclose(part(X), model.layers[0](X), rtol=1e-6)
        with pytest.raises(ValueError, match="Did you mean 'features'"):
            model.get_layer("feature")

    def test_unknown_sizes_agree_where_they_must(self) -> None:
        a, b = Input((None, 4)), Input((None, 4))
        assert layers.Add()([a, b]).shape == (None, None, 4)
        fixed = layers.Add()([Input((3,), batch_size=5), Input((3,))])
        assert fixed.shape == (5, 3)

    def test_sizes_follow_convolutions(self) -> None:
        x = Input((None, None, 3))
        y = layers.Conv2D(4, 3, strides=2)(x)
        z = layers.Conv2D(4, 3, strides=2)(x)
        assert layers.Add()([y, z]).shape == (None, None, None, 4)
        model = Model(x, layers.GlobalMaxPooling2D()(layers.Concatenate()([y, z])))
        assert model.predict(np.ones((2, 9, 11, 3))).shape == (2, 8)

    def test_an_input_that_is_missing(self) -> None:
        a, b = Input((3,)), Input((3,))
        with pytest.raises(ValueError, match="not among the model's inputs"):
            Model(a, layers.Add()([a, b]))

    def test_its_config_makes_its_twin(self) -> None:
        x = Input((3,))
        model = Model(x, layers.Dense(1)(x))
        twin = Model.from_config(model.get_config())
        twin.set_weights(model.get_weights())
        np.testing.assert_array_equal(twin.predict(np.ones((2, 3))), model.predict(np.ones((2, 3))))

    def test_a_subclass_made_of_symbols(self) -> None:
        class Named(Model):
            def __init__(self) -> None:
                x = Input((6,))
                super().__init__(inputs=x, outputs=layers.Dense(2)(x))

        assert Named().predict(X).shape == (12, 2)


class TestSequential:
    def test_shapes_come_with_the_first_data(self) -> None:
        model = Sequential([layers.Dense(4), layers.Dense(2)])
        with pytest.raises(ValueError, match="does not know its input's shape"):
            model.summary()
        with pytest.raises(ValueError, match="does not know its input's shape"):
            _ = model.output
        assert model.predict(X).shape == (12, 2)
        assert model.output_shape == (None, 2)

    def test_lengths_may_differ_when_none_was_declared(self) -> None:
        model = Sequential([layers.LSTM(3)])
        assert model(np.ones((2, 5, 4), "float32")).shape == model(np.ones((2, 9, 4), "float32")).shape

    def test_add_and_pop(self) -> None:
        model = Sequential([Input((6,)), layers.Dense(4)])
        model.add(layers.Dense(2))
        assert model.output_shape == (None, 2)
        model.pop()
        assert model.output_shape == (None, 4) and len(model.layers) == 1
        with pytest.raises(ValueError, match="Lambda"):
            model.add(lambda x: x)  # type: ignore[arg-type]

    def test_config_round_trip(self) -> None:
        model = Sequential([Input((6,)), layers.Dense(4, activation="relu"), layers.Dropout(0.2), layers.Dense(1)])
        twin = Sequential.from_config(model.get_config())
        assert twin.get_config() == model.get_config()
        twin.set_weights(model.get_weights())
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))


class TestSubclassed:
    def test_layers_are_found_in_attributes(self) -> None:
        class Tower(Model):
            def __init__(self, depth: int) -> None:
                super().__init__()
                self.blocks = [layers.Dense(5, activation="relu") for _ in range(depth)]
                self.heads = {"out": layers.Dense(1)}
                self.dropout = layers.Dropout(0.5)

            def call(self, inputs: Any, training: bool = False) -> Any:
                for block in self.blocks:
                    inputs = block(inputs)
                return self.heads["out"](self.dropout(inputs, training=training))

        model = Tower(3)
        model.compile("adam", loss="mse")
        before = model.predict(X)
        model.fit(X, X[:, :1], epochs=2, verbose=0)
        assert len(model.trainable_weights) == 8 and len(model.layers) == 5
        assert not np.allclose(before, model.predict(X))
        assert "Tower" in str(model.get_config()) or model.get_config()["depth"] == 3

    def test_summary_of_a_built_class(self) -> None:
        class Tiny(Model):
            def __init__(self) -> None:
                super().__init__()
                self.dense = layers.Dense(2)

            def call(self, inputs: Any) -> Any:
                return self.dense(inputs)

        model = Tiny()
        with pytest.raises(ValueError, match="cannot be summarized"):
            model.summary()
        model(X)
        text = printed(model)
        assert "dense" in text and "14" in text


def printed(model: Any) -> str:
    buffer = io.StringIO()
    with redirect_stdout(buffer):
        model.summary(line_length=120)
    return buffer.getvalue()


def test_summary_shows_shapes_axes_parameters_and_bytes() -> None:
    model = Sequential([Input((28, 28, 1)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(10)])
    text = printed(model)
    for piece in ("(None, 28, 28, 1)", "(None, 26, 26, 8)", "rows=26", "channels=8", "54,090", "216.4 KB", "54,170"):
        assert piece in text, piece


def test_freezing() -> None:
    model = Sequential([Input((6,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(1)])
    model.compile("sgd", loss="mse")
    model.fit(X, X[:, :1], epochs=1, verbose=0)
    model.layers[0].trainable = False
    model.layers[1].trainable = False
    kept = [w.numpy() for layer in model.layers[:2] for w in layer.weights]
    assert len(model.trainable_weights) == 2
    model.compile("sgd", loss="mse")
    model.fit(X, X[:, :1], epochs=1, verbose=0)
    for weight, before in zip((w for layer in model.layers[:2] for w in layer.weights), kept, strict=True):
        np.testing.assert_array_equal(weight.numpy(), before)


def test_an_activation_assigned_later_is_used() -> None:
    model = Sequential([Input((6,)), layers.Dense(4)])
    before = model.predict(X), np.asarray(model(X)), np.asarray(model.layers[0](X))
    model.layers[0].activation = lamella.activations.relu
    for old, new in zip(before, (model.predict(X), model(X), model.layers[0](X)), strict=True):
        np.testing.assert_allclose(new, np.maximum(old, 0), rtol=1e-6)


def test_reproducible_bit_for_bit() -> None:
    def run() -> list[np.ndarray]:
        lamella.utils.set_random_seed(5)
        model = Sequential([Input((6,)), layers.Dense(16, activation="relu"), layers.Dropout(0.3), layers.Dense(1)])
        model.compile("adam", loss="mse")
        model.fit(X, X[:, :1], epochs=3, batch_size=5, verbose=0)
        return model.get_weights()

    assert all(a.tobytes() == b.tobytes() for a, b in zip(run(), run(), strict=True))


def test_calls_inside_jit() -> None:
    import jax

    model = Sequential([Input((6,)), layers.Dense(4)])
    with pytest.raises(RuntimeError, match=r"bare jax\.jit[\s\S]*lamella\.jit"):
        jax.jit(lambda x: model(x))(jnp.asarray(X))
    np.testing.assert_allclose(lamella.jit(lambda x: model(x))(X), model(X), rtol=1e-6)
    trainable, rest = ([v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables))
    outputs, _ = jax.jit(model.stateless_call)(trainable, rest, jnp.asarray(X))
    np.testing.assert_allclose(outputs, model(X), rtol=1e-6)


class TestFunction:
    def test_steps_without_weights(self) -> None:
        results = []
        for library in (lamella, keras):

            class Scale(library.Operation):  # type: ignore[misc, name-defined]
                def __init__(self, factor: float, name: str | None = None) -> None:
                    super().__init__(name=name)
                    self.factor = factor

                def call(self, x: Any) -> Any:
                    return x * self.factor

            a, b = library.KerasTensor((None, 6)), library.KerasTensor((None, 6))
            scale = Scale(3.0, name="scale")
            function = library.Function({"a": a, "b": b}, [library.ops.tanh(scale(a) + b), scale(b)], name="both")
            assert [tensor.shape for tensor in (*function.inputs, *function.outputs)] == [(None, 6)] * 4
            assert (function.name, scale in function.operations) == ("both", True)
            assert scale.compute_output_spec(a).shape == (None, 6)
            assert Scale.from_config(scale.get_config()).factor == 3.0
            assert isinstance(library.layers.Dense(2), library.Operation)
            results.append(function({"a": X, "b": X + 1}))
        for ours, theirs in zip(*results, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)

    def test_of_symbols(self) -> None:
        x = Input((6,))
        function = lamella.Function(x, layers.Dense(2)(x))
        assert function(Input((6,))).shape == (None, 2) and function(X).shape == (12, 2)
        with pytest.raises(ShapeError, match=r"takes 1 inputs .*, got 2"):
            function([X, X])
        with pytest.raises(ShapeError, match=r"'function' expected .batch, features=6. .* received"):
            function(X[:, :5])
        with pytest.raises(NotBuiltError, match="Operation does not define `call`"):
            lamella.Operation()(X)
