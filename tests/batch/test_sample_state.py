"""Code for one sample: each sample has its own random numbers, and none leaves anything of its own behind."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import lamella
from lamella import Input, Sequential, errors, layers, ops
from lamella.batch import per_sample
from tests.batch.samples import Inside, Pool, X, Y, close, message


class Noise(layers.Layer):
    seed: Any = 3

    def __post_init__(self) -> None:
        self.source = self.seed if self.seed is None else lamella.SeedGenerator(self.seed)

    def call_sample(self, x: Any, training: Any = False) -> Any:
        return x + lamella.random.normal(x.shape, seed=self.source) if training else x


class Total(layers.Layer):
    by_sample: bool = False

    def __post_init__(self) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")
        self.total = self.add_weight(shape=(), initializer="zeros", trainable=False, name="total")

    def call_sample(self, x: Any, training: Any = False) -> Any:
        if training:
            self.calls.assign_add(1.0)
            if self.by_sample:
                self.total.assign_add(ops.sum(x))
        return x + self.calls


class TestRandom:
    def test_each_sample_has_its_own_numbers(self) -> None:
        layer = Noise()
        state = layer.source.state.numpy()
        drawn = layer(np.zeros_like(X), training=True)
        assert len(np.unique(drawn)) == X.size
        np.testing.assert_array_equal(layer.source.state.numpy(), state + np.array([0, 1], "uint32"))
        assert not np.allclose(drawn, layer(np.zeros_like(X), training=True))
        np.testing.assert_array_equal(drawn, Noise()(np.zeros_like(X), training=True))
        np.testing.assert_array_equal(layer(X), X)

    def test_the_same_eagerly_jitted_and_in_smaller_batches(self) -> None:
        wanted = Noise()(X, training=True)
        layer = Noise()
        close(lamella.jit(lambda x: layer(x, training=True))(X), wanted)
        close(Noise()(X[:3], training=True), wanted[:3])

    @pytest.mark.parametrize("seed", [7, None])
    def test_fixed_seeds_and_the_global_generator(self, seed: int | None) -> None:
        lamella.utils.set_random_seed(1)
        draw = per_sample(lambda x: lamella.random.uniform(x.shape, seed=seed))
        first, second = draw(X), draw(X)
        assert len(np.unique(np.round(first, 6))) > 230 and np.allclose(first, second) == (seed is not None)

    def test_weights_are_not_a_samples(self) -> None:
        made = [Inside(layers.Dense(4, kernel_initializer=lamella.initializers.RandomNormal(seed=2))) for _ in range(2)]
        made[0](X)
        made[1].inner(X)
        np.testing.assert_array_equal(made[0].inner.kernel.numpy(), made[1].inner.kernel.numpy())

    def test_dropout_inside(self) -> None:
        layer = Inside(layers.Dropout(0.5, seed=1))
        out = np.asarray(layer(np.ones_like(X), training=True))
        assert len({tuple(row.ravel()) for row in out}) == 8 and set(np.unique(out)) == {0.0, 2.0}
        model = Sequential([Input((6, 5)), layer, layers.Flatten(), layers.Dense(3)])
        model.compile("sgd", loss="mse")
        before = layer.inner.seed_generator.state.numpy()
        model.fit(X, Y, epochs=1, batch_size=4, verbose=0)
        after = layer.inner.seed_generator.state.numpy()
        assert after.tolist() == [before[0], before[1] + 2]

    def test_loops_of_ops_inside(self) -> None:
        seeds = lamella.SeedGenerator(5)
        draws = per_sample(lambda x: ops.map(lambda row: lamella.random.normal((), seed=seeds), x))
        assert len(np.unique(draws(X))) == 48 and seeds.state.numpy()[1] == 6


class TestState:
    def test_what_is_the_same_for_all_is_written_once(self) -> None:
        layer = Total()
        close(layer(X, training=True), X + 1)
        assert float(layer.calls) == 1
        close(lamella.jit(lambda x: layer(x, training=True))(X), X + 2)
        model = Sequential([Input((6, 5)), layer, layers.Flatten(), layers.Dense(3)])
        model.compile("sgd", loss="mse")
        model.fit(X, Y, epochs=2, batch_size=4, verbose=0)
        assert float(layer.calls) == 6
        model.predict(X, verbose=0)
        assert float(layer.calls) == 6

    def test_what_differs_is_refused(self) -> None:
        layer = Total(by_sample=True, name="sums")
        text = message(errors.SampleStateError, lambda: layer(X, training=True))
        assert "assigns 'sums/total' a value that depends on the sample" in text and "a Metric" in text
        assert "In the layer 'sums'" in text
        assert float(layer.calls) == float(layer.total) == 0
        model = Sequential([Input((6, 5)), layer])
        model.compile("sgd", loss="mse")
        with pytest.raises(errors.SampleStateError, match="/total"):
            model.fit(X, X, verbose=0)

    def test_statistics_over_the_batch_are_refused(self) -> None:
        layer = Inside(layers.BatchNormalization(name="norm"))
        text = message(errors.SampleStateError, lambda: layer(X, training=True))
        assert "norm/moving_mean" in text and "moving_variance" not in text

    def test_states_carried_from_batch_to_batch_are_refused(self) -> None:
        with pytest.raises(errors.SampleStateError, match=r"'inside(_\d+)?/lstm(_\d+)?/state_0'"):
            Inside(layers.LSTM(3, stateful=True))(X)

    def test_losses_leave_as_means(self) -> None:
        class Penalty(layers.Layer):
            def call_sample(self, x: Any) -> Any:
                self.add_loss(ops.sum(x**2))
                return x

        layer = Penalty()
        layer(X)
        wanted = (X**2).sum((1, 2)).mean()
        close(layer.losses, [wanted])
        model = Sequential([Input((6, 5)), layer])
        model.compile("sgd", loss="mse")
        close(model.evaluate(X, X, batch_size=8, verbose=0), wanted)
        regular = Inside(layers.Dense(5, activity_regularizer="l2", kernel_initializer="identity"))
        model = Sequential([Input((6, 5)), regular])
        model.compile("sgd", loss="mse")
        close(model.evaluate(X, X, batch_size=8, verbose=0), 0.01 * wanted)

    def test_a_bare_jit_is_refused(self) -> None:
        layer = Pool()
        layer(X)
        with pytest.raises(errors.VariableInJitError, match=r"read inside a bare jax\.jit"):
            jax.jit(layer)(X)

    def test_tracer_leaks(self) -> None:
        layer = Inside(Sequential([Input((6, 5)), layers.LSTM(3), layers.Dropout(0.5, seed=1), Total()]))
        with jax.checking_leaks():
            layer(X, training=True)
            lamella.jit(lambda x: layer(x, training=True))(X)
        assert not any(isinstance(v._value, jax.core.Tracer) for v in layer.variables)
