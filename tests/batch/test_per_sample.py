"""What is written for one sample gives, on a batch, what the batched twin gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lamella
from lamella import Input, Model, Sequential, errors, layers, ops
from lamella.batch import per_sample
from tests.batch.samples import MASK, RNG, BatchedPool, Inside, Pool, X, Y, close, message


class TestFunctions:
    def test_several_inputs_and_outputs(self) -> None:
        def one(x: Any, pair: Any, scale: float, flag: bool = False, note: str = "", absent: Any = None) -> Any:
            assert x.shape == (6, 5) and pair["b"].shape == (3,) and pair["a"][0].shape == ()
            assert flag is True and note == "n" and absent is None and scale == 2.0
            return {"sum": jnp.sum(x) * scale, "rest": (pair["b"] * 2, [pair["a"][0]])}

        labels = np.arange(8)
        out = per_sample(one)(X, {"b": Y, "a": [labels]}, 2.0, flag=True, note="n")
        close(out["sum"], X.sum((1, 2)) * 2)
        close(out["rest"][0], Y * 2)
        np.testing.assert_array_equal(out["rest"][1][0], labels)

    def test_what_depends_on_no_sample_is_repeated(self) -> None:
        out = per_sample(lambda x: (jnp.ones(2), 3, x.sum()))(X)
        assert out[0].shape == (8, 2) and out[1].tolist() == [3] * 8 and out[2].shape == (8,)

    def test_masked_pairs(self) -> None:
        padded = layers.Masking()(X * MASK[..., None])

        def one(pair: Any) -> Any:
            assert pair.mask.shape == (6,)
            return pair

        out = per_sample(one)(padded)
        np.testing.assert_array_equal(out.mask, MASK)
        np.testing.assert_array_equal(out, padded)

    def test_functions_of_functions(self) -> None:
        gram = per_sample(lambda rows: per_sample(lambda row: jnp.sum(row * row))(rows))
        close(gram(X), (X * X).sum(-1))
        noise = per_sample(lambda rows: per_sample(lambda row: lamella.random.normal((), seed=1))(rows))
        assert len(np.unique(noise(X))) == 48

    def test_symbolic_tensors(self) -> None:
        x = Input((None, 5))
        y = per_sample(lambda rows: jnp.max(rows, axis=0))(x)
        assert y.shape == (None, 5)
        close(Model(x, y).predict(X, verbose=0), X.max(1))

    def test_variables_as_arguments(self) -> None:
        table = lamella.Variable(Y)
        close(per_sample(lambda row: row * 2)(table), Y * 2)

    def test_a_layer_as_the_function(self) -> None:
        dense = layers.Dense(4)
        close(per_sample(dense)(X), dense(X))

    def test_errors(self) -> None:
        add = per_sample(lambda a, b: a + b)
        text = message(errors.BatchSizeError, lambda: add(X, X[:5]))
        assert "(batch=8, time=6, features=5) and (batch=5, time=6, features=5)" in text
        assert "without any axis" in message(errors.ShapeError, lambda: add(X, jnp.float32(2)))
        assert "number of samples is not known" in message(errors.ArgumentError, lambda: add(1, 2))
        text = message(errors.ArgumentError, lambda: per_sample(lambda x: "yes")(X))
        assert "returns arrays and numbers, got str: 'yes'" in text

        def branches(x: Any) -> Any:
            return x if x.sum() > 0 else -x

        text = message(errors.SymbolicBranchError, lambda: per_sample(branches)(X))
        assert "Calling 'branches' on one sample" in text and "return x if x.sum() > 0 else -x" in text
        with pytest.raises(ValueError, match="of the function itself"):
            per_sample(_raises)(X)


def _raises(x: Any) -> Any:
    raise ValueError("out_axes of the function itself")


class TestLayers:
    def twins(self, shape: Any = (None, 6, 5)) -> tuple[Pool, BatchedPool]:
        ours, wanted = Pool(), BatchedPool()
        ours.build(shape)
        wanted.build(shape)
        wanted.set_weights(ours.get_weights())
        return ours, wanted

    def test_forward_and_shapes(self) -> None:
        ours, wanted = self.twins()
        close(ours(X), wanted(X))
        close(ours(X, mask=MASK), wanted(X, mask=MASK))
        close(ours(layers.Masking()(X * MASK[..., None])), wanted(X, mask=MASK))
        close(lamella.jit(ours)(X), wanted(X))
        assert ours(Input((None, 5))).shape == (None, 3)
        assert ours.compute_output_shape((None, 9, 5)) == (None, 3)
        assert Pool(units=7).compute_output_shape((4, 9, 5)) == (4, 7)

    @pytest.mark.parametrize("masked", [False, True])
    def test_the_same_training(self, masked: bool) -> None:
        def model(layer: layers.Layer) -> Any:
            return Sequential([Input((6, 5)), *([layers.Masking()] if masked else []), layer, layers.Dense(3)])

        ours, wanted = model(Pool()), model(BatchedPool())
        wanted.set_weights(ours.get_weights())
        for each in (ours, wanted):
            each.compile(lamella.optimizers.SGD(0.1), loss="mse")
            each.fit(X * MASK[..., None], Y, epochs=3, batch_size=3, shuffle=False, verbose=0)
        for a, b in zip(ours.get_weights(), wanted.get_weights(), strict=True):
            close(a, b)
        close(ours.predict(X, verbose=0), wanted.predict(X, verbose=0))

    def test_config_and_summary(self, capsys: pytest.CaptureFixture[str]) -> None:
        twin = Pool.from_config(Pool(units=4, name="p").get_config())
        assert twin(X).shape == (8, 4) and twin.name == "p"
        Sequential([Input((6, 5)), Pool(name="pooled")]).summary()
        printed = capsys.readouterr().out
        assert "pooled" in printed and "(None, 3)" in printed

    def test_several_inputs(self) -> None:
        class Compare(layers.Layer):
            def build(self, query_shape: Any, keys_shape: Any) -> None:
                assert query_shape == (None, 3) and keys_shape == (None, 6, 5)
                self.w = self.add_weight(shape=(query_shape[-1], keys_shape[-1]), name="w")

            def call_sample(self, query: Any, keys: Any, keys_mask: Any = None) -> Any:
                assert query.shape == (3,) and keys_mask.shape == (6,)
                return {"scores": ops.where(keys_mask, keys @ (query @ self.w), 0.0), "query": query}

        a, b = Input((3,)), Input((6, 5))
        layer = Compare()
        model = Model([a, b], layer(a, layers.Masking()(b)))
        out = model.predict([Y, X * MASK[..., None]], verbose=0)
        close(out["scores"], np.einsum("btf,bf->bt", X, Y @ layer.w.numpy()) * MASK)
        np.testing.assert_array_equal(out["query"], Y)

    def test_one_list_or_dict(self) -> None:
        class Sums(layers.Layer):
            def call_sample(self, inputs: Any) -> Any:
                return sum(ops.sum(x) for x in (inputs.values() if isinstance(inputs, dict) else inputs))

        close(Sums()([X, Y]), X.sum((1, 2)) + Y.sum(1))
        a, b = Input((6, 5)), Input((3,))
        close(Model([a, b], Sums()([a, b])).predict([X, Y], verbose=0), X.sum((1, 2)) + Y.sum(1))
        close(Sums()({"x": X, "y": Y}), X.sum((1, 2)) + Y.sum(1))

    def test_models_of_ones_own(self) -> None:
        class Whole(Model):
            def __init__(self) -> None:
                super().__init__()
                self.lstm, self.dense = layers.LSTM(4), layers.Dense(3)

            def call_sample(self, x: Any, training: Any = None) -> Any:
                return self.dense(self.lstm(x))

        model = Whole()
        model.compile(lamella.optimizers.SGD(0.1), loss="mse")
        before = model.evaluate(X, Y, verbose=0)
        close(model(X), model.dense(model.lstm(X)))
        model.fit(X, Y, epochs=3, verbose=0)
        assert model.evaluate(X, Y, verbose=0) < before

        class Outer(Model):
            def __init__(self) -> None:
                super().__init__()
                self.whole = model

            def call(self, x: Any) -> Any:
                return self.whole(x)

        close(Outer()(X), model(X))
        x = Input((6, 5))
        close(Model(x, model(x)).predict(X, verbose=0), model(X))

    def test_inside_wrappers_and_loops(self) -> None:
        steps = RNG.normal(size=(2, 3, 6, 5)).astype("float32")
        pool = Pool()
        out = layers.TimeDistributed(pool)(steps)
        close(out, np.stack([pool(step) for step in steps]))

        class Leaky(layers.Layer):
            state_size = output_size = 5

            def call_sample(self, x: Any, states: Any) -> Any:
                assert x.shape == states[0].shape == (5,)
                new = 0.5 * states[0] + x
                return new, [new]

        state = np.zeros((8, 5), "float32")
        for step in range(6):
            state = 0.5 * state + X[:, step]
        close(layers.RNN(Leaky())(X), state)

    def test_lambda(self) -> None:
        layer = layers.Lambda(
            lambda x, by: x[0] * by, output_shape=(5,), arguments={"by": np.arange(5.0)}, per_sample=True
        )
        close(layer(X), X[:, 0] * np.arange(5.0))
        assert layer(Input((6, 5))).shape == (None, 5)
        masked = layers.Lambda(lambda x, mask: jnp.sum(x[:, 0] * mask), mask=lambda x, mask: None, per_sample=True)
        close(masked(X, mask=MASK), (X[..., 0] * MASK).sum(1))
        assert layers.Lambda(jnp.sum, per_sample=True).get_config()["per_sample"] is True
        assert layers.Lambda(jnp.sum)(X).shape == ()

    def test_sizes_that_are_known_and_that_are_not(self) -> None:
        class Add(layers.Layer):
            def call_sample(self, a: Any, b: Any, *, scale: float = 1.0) -> Any:
                return (a + b) * scale

        assert Add()(Input((3,)), Input((3,), batch_size=4)).shape == (4, 3)
        assert Add()(Input((None, 3)), Input((None, 3)), scale=2.0).shape == (None, None, 3)
        assert Add()(Y[:0], Y[:0]).shape == (0, 3)
        close(Add()(Y, Y, scale=2.0), Y * 4)
        text = message(errors.BatchSizeError, lambda: Add()(Y, Y[:5]))
        assert "(batch=8, features=3) and (batch=5, features=3)" in text and "In the layer 'add_" in text

    def test_a_shape_asked_for_inside(self) -> None:
        class Asks(layers.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.inner = Sequential([Input((6, 5)), layers.LSTM(4)])

            def call_sample(self, x: Any) -> Any:
                assert self.inner.compute_output_shape((None, 6, 5)) == (None, 4)
                return self.inner(x)

        assert Asks()(X).shape == (8, 4)

    def test_inheritance(self) -> None:
        class Halved(Pool):
            def call_sample(self, x: Any, mask: Any = None) -> Any:
                return super().call_sample(x, mask) / 2

        class Batched(Pool):
            def call(self, x: Any) -> Any:
                return super().call(x) - ops.mean(x, axis=(0, 1))[:3]

        ours, _ = self.twins()
        for cls, wanted in ((Halved, ours(X) / 2), (Batched, ours(X) - X.mean((0, 1))[:3])):
            layer = cls()
            layer.build((None, 6, 5))
            layer.set_weights(ours.get_weights())
            close(layer(X), wanted)

    def test_half_precision(self) -> None:
        layer = Pool(dtype="mixed_bfloat16")
        assert layer(X).dtype == "bfloat16" and layer.query.dtype == "float32"

    def test_errors(self) -> None:
        def both() -> None:
            class Both(layers.Layer):
                def call(self, x: Any) -> Any:
                    return x

                def call_sample(self, x: Any) -> Any:
                    return x

        assert "defines both `call`, for a batch, and `call_sample`" in message(errors.ArgumentError, both)

        class Wrong(layers.Layer):
            def call_sample(self, x: Any) -> Any:
                return x + x.sum(axis=1)

        text = message(errors.ShapeError, lambda: Wrong()(X))
        assert "inside `call_sample` do not fit together: (time=6, features=5) and (features=6,)" in text
        text = message(errors.ShapeError, lambda: Inside(layers.Lambda(lambda x: jnp.squeeze(x, 0)))(X))
        assert "called on one sample, a batch of 1, and returned" in text and "is not the batch" in text
        text = message(errors.ArgumentError, lambda: Pool()(X, whole=1))
        assert "has no argument 'whole'" in text


class TestLayersInside:
    @pytest.mark.parametrize(
        ("make", "shape"),
        [
            (lambda: layers.Dense(4), (6, 5)),
            (lambda: layers.LSTM(4, return_sequences=True), (6, 5)),
            (lambda: layers.GRU(4, return_state=True), (6, 5)),
            (lambda: layers.Bidirectional(layers.LSTM(2)), (6, 5)),
            (lambda: layers.Conv1D(4, 3, padding="causal"), (6, 5)),
            (lambda: layers.Conv2D(4, 3), (7, 8, 2)),
            (lambda: layers.MaxPooling2D(2), (7, 8, 2)),
            (lambda: layers.LayerNormalization(), (6, 5)),
            (lambda: layers.BatchNormalization(), (6, 5)),
            (lambda: layers.Flatten(), (6, 5)),
            (lambda: layers.TimeDistributed(layers.Dense(2)), (6, 5)),
            (lambda: Sequential([Input((6, 5)), layers.LSTM(4), layers.Dense(2)]), (6, 5)),
            (lambda: Pool(), (6, 5)),
        ],
    )
    def test_as_on_a_batch(self, make: Callable[[], Any], shape: Any) -> None:
        x = RNG.normal(size=(4, *shape)).astype("float32")
        inner = make()
        layer = Inside(inner)
        out = layer(x)
        jax.tree.map(close, out, inner(x))
        assert len(layer.weights) == len(inner.weights)
        symbolic = Inside(make())(Input(shape))
        jax.tree.map(lambda a, b: close(a.shape[1:], b.shape[1:]), symbolic, inner(x))

    def test_embedding_and_masks(self) -> None:
        class Read(layers.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.embed, self.lstm = layers.Embedding(10, 4, mask_zero=True), layers.LSTM(3)

            def call_sample(self, words: Any) -> Any:
                vectors = self.embed(words)
                assert vectors.shape == (6, 4) and vectors.mask.shape == (6,)
                return self.lstm(vectors)

        words = RNG.integers(0, 3, (8, 6))
        layer = Read()
        close(layer(words), layer.lstm(layer.embed(words)))
        inner = layers.LSTM(3)
        close(Inside(inner)(X, mask=MASK), inner(X, mask=MASK))

    def test_training_of_what_is_inside(self) -> None:
        inner = layers.Dense(3)
        ours = Sequential([Input((6, 5)), Inside(inner), layers.Flatten(), layers.Dense(3)])
        wanted = Sequential([Input((6, 5)), layers.Dense(3), layers.Flatten(), layers.Dense(3)])
        wanted.set_weights(ours.get_weights())
        for model in (ours, wanted):
            model.compile(lamella.optimizers.SGD(0.1), loss="mse")
            model.fit(X, Y, epochs=2, batch_size=4, shuffle=False, verbose=0)
        for a, b in zip(ours.get_weights(), wanted.get_weights(), strict=True):
            close(a, b)
