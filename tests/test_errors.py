"""Errors that teach: what was expected, what came, in which layer, and the mend."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import lamella
from lamella import Input, Model, Sequential, errors, layers

X = np.ones((8, 10, 5), "float32")


def message(kind: type[Exception], call: Any) -> str:
    with pytest.raises(kind) as caught:
        call()
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


class TestShapes:
    def test_wrong_last_axis(self) -> None:
        layer = layers.Dense(3, name="head")
        layer(X)
        text = message(errors.ShapeError, lambda: layer(np.ones((8, 10, 6), "float32")))
        assert "expected features=5, received (batch=8, time=10, features=6)" in text
        assert "'head' (Dense, made at" in text and "test_errors.py" in text

    def test_wrong_rank(self) -> None:
        text = message(errors.ShapeError, lambda: layers.LSTM(3)(np.ones((8, 5), "float32")))
        assert "expected 3 axes (batch, time, features), received (batch=8, features=5) with 2" in text
        text = message(errors.ShapeError, lambda: layers.Conv2D(3, 3)(np.ones((8, 28, 28), "float32")))
        assert "expected 4 axes (batch, rows, cols, channels)" in text

    def test_the_path_in_the_model(self) -> None:
        inner = Sequential([Input((5,)), layers.Dense(3, name="deep")], name="inner")
        text = message(errors.ShapeError, lambda: Sequential([Input((4,)), inner], name="outer"))
        assert "expected (batch, features=5)" in text and "'inner'" in text

    def test_a_model_on_other_data(self) -> None:
        model = Sequential([Input((10, 5)), layers.LSTM(3)])
        text = message(errors.ShapeError, lambda: model.predict(np.ones((8, 10, 4))))
        assert "expected (batch, time=10, features=5)" in text and "received (batch=8, time=10, features=4)" in text
        assert "x[None]" in message(errors.ShapeError, lambda: model.predict(np.ones((10, 5))))

    def test_windows_that_do_not_fit(self) -> None:
        text = message(errors.ShapeError, lambda: layers.Conv2D(3, 5)(np.ones((1, 4, 9, 2), "float32")))
        assert "(5, 5) does not fit into (4, 9)" in text and "padding='same'" in text

    def test_merging(self) -> None:
        a, b = np.ones((8, 3), "float32"), np.ones((8, 4), "float32")
        assert "axis 1" in message(errors.ShapeError, lambda: layers.Add()([a, b]))
        assert "batch sizes" in message(errors.ShapeError, lambda: layers.Add()([a, a[:5]]))
        assert "axis 0 is the batch" in message(errors.ArgumentError, lambda: layers.Dot(axes=0))
        assert "all other axes" in message(errors.ShapeError, lambda: layers.Concatenate()([X, X[:, :4]]))

    def test_reshape(self) -> None:
        assert "has 50 elements" in message(errors.ShapeError, lambda: layers.Reshape((7, 7))(X))

    def test_arrays_inside_call(self) -> None:
        class Wrong(layers.Layer):
            def call(self, inputs: Any) -> Any:
                return inputs + inputs.sum(axis=1)

        text = message(errors.ShapeError, lambda: Wrong()(X))
        assert "(batch=8, time=10, features=5)" in text and "return inputs + inputs.sum(axis=1)" in text


class TestData:
    def model(self) -> Any:
        model = Sequential([Input((5,)), layers.Dense(1)])
        model.compile("sgd", loss="mse")
        return model

    def test_sizes(self) -> None:
        x = np.ones((8, 5))
        text = message(errors.BatchSizeError, lambda: self.model().fit(x, np.ones(7), verbose=0))
        assert "x: 8" in text and "y: 7" in text
        text = message(errors.BatchSizeError, lambda: self.model().fit(x, np.ones(8), sample_weight=np.ones(3)))
        assert "sample_weight: 3" in text

    def test_nan(self) -> None:
        x = np.ones((8, 5))
        x[3, 2] = np.nan
        text = message(errors.DataError, lambda: self.model().fit(x, np.ones(8), verbose=0))
        assert "x (batch=8, features=5) holds 1 NaN, the first at index (3, 2)" in text
        assert "y" in message(errors.DataError, lambda: self.model().fit(np.ones((8, 5)), np.full(8, np.nan)))

    def test_dtypes(self) -> None:
        words = np.array([["a", "b"]])
        assert "<U1" in message(errors.DataError, lambda: self.model().predict(words))
        assert "cannot go into a layer" in message(errors.DataError, lambda: layers.Dense(2)(words))

    def test_no_data(self) -> None:
        assert "NoneType" in message(errors.DataError, lambda: self.model().fit(None))
        assert "leaves one side empty" in message(
            errors.DataError, lambda: self.model().fit(np.ones((2, 5)), np.ones(2), validation_split=0.9)
        )


class TestNames:
    def test_unknown_strings(self) -> None:
        assert "Did you mean 'relu'" in message(errors.UnknownNameError, lambda: layers.Dense(3, activation="rleu"))
        assert "Did you mean 'glorot_uniform'" in message(
            errors.UnknownNameError, lambda: layers.Dense(3, kernel_initializer="glorot_unform")
        )
        model = Sequential([Input((5,)), layers.Dense(1)])
        assert "Did you mean 'adam'" in message(errors.UnknownNameError, lambda: model.compile("adm"))
        assert "Did you mean 'mse'" in message(errors.UnknownNameError, lambda: model.compile("adam", loss="mze"))
        assert "Did you mean" in message(errors.ArgumentError, lambda: layers.Conv2D(3, 3, padding="sme"))
        assert "no argument 'unit'" in message(errors.ArgumentError, lambda: layers.Dense(unit=3))

    @pytest.mark.parametrize("name", ["weights", "losses", "trainable_weights", "variables", "dtype", "output"])
    def test_reserved(self, name: str) -> None:
        class Mine(layers.Layer):
            def __init__(self) -> None:
                super().__init__()
                setattr(self, name, [1])

        text = message(errors.ReservedNameError, Mine)
        assert f"Mine assigns self.{name}" in text and "self." in text.split("Try:")[1]

    def test_a_name_that_is_no_string(self) -> None:
        class Mine(layers.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.name = 3

        assert "self.label" in message(errors.ReservedNameError, Mine)

    def test_metrics_in_the_place_of_loss_weights(self) -> None:
        model = Sequential([Input((5,)), layers.Dense(1)])
        text = message(errors.ArgumentError, lambda: model.compile("adam", "mse", ["mae"]))
        assert "loss_weights are numbers, got 'mae'" in text and "metrics=" in text


class TestBranching:
    def test_on_the_batch(self) -> None:
        class Branch(layers.Layer):
            def call(self, inputs: Any) -> Any:
                if inputs.shape[0] > 16:
                    return inputs
                return inputs * 2

        text = message(errors.SymbolicBranchError, lambda: Branch()(Input((5,))))
        assert "if inputs.shape[0] > 16:" in text and "the batch" in text and "ops.cond" in text
        assert Branch()(X).shape == X.shape

    def test_a_loop_over_time(self) -> None:
        class Loop(layers.Layer):
            def call(self, inputs: Any) -> Any:
                return sum(inputs[:, step] for step in range(inputs.shape[1]))

        assert "range(inputs.shape[1])" in message(errors.SymbolicBranchError, lambda: Loop()(Input((None, 5))))
        assert Loop()(Input((4, 5))).shape == (None, 5)

    def test_on_values(self) -> None:
        class Branch(layers.Layer):
            def call(self, inputs: Any) -> Any:
                return inputs if inputs.sum() > 0 else -inputs

        assert "the values of an array" in message(errors.SymbolicBranchError, lambda: Branch()(Input((5,))))

    def test_symbols_have_no_values(self) -> None:
        for wrong in (float, np.asarray, bool):
            assert "no values" in message(errors.SymbolicValueError, lambda wrong=wrong: wrong(Input((5,))))


class TestNotYet:
    def test_before_shapes_are_known(self) -> None:
        assert "input_shape=(5,)" in message(errors.NotBuiltError, lambda: layers.Dense(2).count_params())
        assert "was not compiled" in message(errors.NotBuiltError, lambda: Sequential([layers.Dense(1)]).fit(X, X))
        assert "layer(Input" in message(errors.NotBuiltError, lambda: layers.Dense(2).output)
        assert "has no layers" in message(errors.NotBuiltError, lambda: Sequential()(X))
        assert "does not define `call`" in message(errors.NotBuiltError, lambda: layers.Layer()(X))

    def test_an_axis_that_a_weight_needs(self) -> None:
        assert "last axis" in message(errors.ShapeError, lambda: layers.Dense(2)(Input((None,))))

    def test_stateful_needs_a_batch_size(self) -> None:
        text = message(errors.ShapeError, lambda: layers.LSTM(2, stateful=True)(Input((4, 5))))
        assert "batch_size=32" in text


class TestMasks:
    def test_a_dropped_mask_is_told(self) -> None:
        words = np.array([[1, 2, 0]])
        embedded = layers.Embedding(5, 4, mask_zero=True)(words)
        pool = layers.MaxPooling1D(1)
        with pytest.warns(layers.MaskDroppedWarning, match="neither uses it nor passes it on"):
            pool(embedded)
        lamella.config.set_strict_masks(True)
        try:
            with pytest.raises(errors.MaskShapeError, match="max_pooling1d"):
                layers.MaxPooling1D(1)(embedded)
        finally:
            lamella.config.set_strict_masks(False)

    def test_a_mask_goes_on_where_it_can(self) -> None:
        x = Input((None,), dtype="int32")
        y = layers.Dense(3)(layers.Dropout(0.1)(layers.Embedding(9, 4, mask_zero=True)(x)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = Model(x, layers.LSTM(2)(y))
        assert y.mask is not None
        padded, short = np.array([[3, 4, 0, 0]]), np.array([[3, 4]])
        np.testing.assert_allclose(model.predict(padded), model.predict(short), rtol=1e-5)


def test_arguments_out_of_range() -> None:
    for wrong, said in (
        (lambda: layers.Dense(0), "units"),
        (lambda: layers.Dropout(1.5), "between 0 and 1"),
        (lambda: layers.Conv1D(4, 3, groups=3), "groups"),
        (lambda: layers.SeparableConv1D(4, 3, depth_multiplier=0), "depth_multiplier must be a positive integer"),
        (lambda: layers.Conv2DTranspose(4, 3, strides=2, dilation_rate=2), "exclude each other"),
        (lambda: layers.Conv2DTranspose(4, 3, strides=2, output_padding=2), "output_padding must be smaller"),
        (lambda: layers.DepthwiseConv1D(3).build((None, 7, None)), "channels must be known"),
        (lambda: layers.Input(5), r"shape=(5,)"),
        (lambda: layers.Embedding(0, 4), "input_dim"),
        (lambda: layers.Permute((0, 1)), "Permute"),
        (lambda: layers.Bidirectional(layers.Dense(3)), "recurrent layer"),
        (lambda: layers.TimeDistributed(3), "wraps a layer"),
    ):
        assert said in message(errors.LamellaError, wrong)
