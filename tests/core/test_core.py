"""The mechanisms by themselves: variables and frames, the trace, configs."""

from __future__ import annotations

import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lamella
from lamella import Input, layers
from lamella.core.errors import NotBuiltError, ShapeError, VariableInJitError
from lamella.core.variable import Frame, Variable, discover, pure


class TestVariables:
    def test_a_pure_call_changes_nothing_outside(self) -> None:
        count = Variable(1.0, name="count")

        def step(x: Any) -> Any:
            count.assign_add(x)
            return count * 10

        out, new = jax.jit(pure(step, [count]))([jnp.float32(5)], 2.0)
        assert float(out) == 70 and float(new[0]) == 7 and float(count) == 1

    def test_frames_belong_to_one_thread(self) -> None:
        variable, seen = Variable(1.0), []
        with Frame([variable], [jnp.float32(2)]):
            thread = threading.Thread(target=lambda: seen.append(float(variable)))
            thread.start()
            thread.join()
            assert float(variable) == 2
        assert seen == [1.0]

    def test_an_error_inside_a_frame_leaves_nothing(self) -> None:
        variable = Variable(1.0)
        with pytest.raises(ZeroDivisionError), Frame():
            variable.assign(5.0)
            _ = 1 / 0
        assert float(variable) == 1

    def test_what_a_function_reads_and_writes(self) -> None:
        read, written = Variable(1.0, name="read"), Variable(2.0, name="written")
        reads, writes = discover(lambda x: written.assign(read * x), jnp.ones(()))
        assert [v.name for v in reads] == ["read", "written"] and [v.name for v in writes] == ["written"]
        assert float(written) == 2

    def test_bare_jit_is_refused(self) -> None:
        variable = Variable(1.0, name="frozen")
        with pytest.raises(VariableInJitError, match="'frozen' is read inside a bare"):
            jax.jit(lambda x: x + variable.value)(1.0)
        with pytest.raises(VariableInJitError, match="'frozen' is assigned inside a bare"):
            jax.jit(lambda x: variable.assign(x))(1.0)
        assert float(variable) == 1

    def test_gradients_outside_of_jit_see_the_value(self) -> None:
        variable = Variable(3.0)
        assert float(jax.grad(lambda x: x * variable.value)(1.0)) == 3
        dense = layers.LSTM(2)
        dense(np.ones((1, 3, 2), "float32"))
        slope = jax.grad(lambda x: dense(x).sum())(jnp.ones((1, 3, 2)))
        assert slope.shape == (1, 3, 2)

    def test_shapes_are_kept(self) -> None:
        with pytest.raises(ShapeError, match=r"has shape \(2,\); the value assigned has \(3,\)"):
            Variable(np.zeros(2)).assign(np.zeros(3))

    def test_values_are_in_arrays_of_their_own(self) -> None:
        variable = Variable(np.zeros(2))
        taken = variable.numpy()
        taken[0] = 5
        assert float(variable[0]) == 0


class TestTrace:
    def test_operations_that_do_not_know_symbols(self) -> None:
        class Spectrum(layers.Layer):
            def call(self, inputs: Any) -> Any:
                return jnp.abs(jnp.fft.fft(inputs, axis=1))

        assert Spectrum()(Input((None, 3))).shape == (None, None, 3)

    def test_a_merged_axis_splits_again(self) -> None:
        class Merged(layers.Layer):
            def call(self, inputs: Any) -> Any:
                rows = inputs.reshape(-1, inputs.shape[-1]) * 2
                return rows.reshape(inputs.shape)

        assert Merged()(Input((None, 3))).shape == (None, None, 3)

    def test_nothing_is_allocated_for_a_shape(self) -> None:
        layer = layers.Dense(1_000_000)
        assert layer.compute_output_shape((None, 1_000_000)) == (None, 1_000_000)
        assert not layer.built and not layer.weights

    def test_state_written_on_the_way_is_forgotten(self) -> None:
        layer = layers.BatchNormalization()
        layer(Input((3,)), training=True)
        np.testing.assert_array_equal(layer.moving_mean.numpy(), 0)

    def test_fixed_and_free_batches_meet(self) -> None:
        assert layers.Concatenate()([Input((3,), batch_size=4), Input((2,))]).shape == (4, 5)


class TestConfigs:
    def test_positional_and_variadic_arguments(self) -> None:
        class Many(layers.Layer):
            def __init__(self, first: int, *rest: int, last: int = 3, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.all = (first, *rest, last)

        layer = Many(1, 2, 5, last=9, name="many")
        twin = Many.from_config(layer.get_config())
        assert twin.all == (1, 2, 5, 9) and twin.name == "many"

    def test_no_names_are_imported_or_called(self) -> None:
        config = {"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": None}
        with pytest.raises(ValueError, match="'system', which is not known here"):
            lamella.utils.deserialize_keras_object(config)

    def test_trainable_and_dtype_come_back(self) -> None:
        layer = layers.Dense(2, dtype="mixed_bfloat16", trainable=False)
        twin = layers.Dense.from_config(layer.get_config())
        assert twin.dtype_policy.name == "mixed_bfloat16" and not twin.trainable


def test_states_of_stateful_layers_go_on() -> None:
    layer = layers.LSTM(3, stateful=True)
    x = np.random.default_rng(0).normal(size=(2, 4, 5)).astype("float32")
    layer.build((2, 4, 5))
    whole = layers.LSTM(3)
    whole.build((2, 8, 5))
    whole.set_weights(layer.get_weights())
    layer(x)
    second = layer(x)
    np.testing.assert_allclose(second, whole(np.concatenate([x, x], 1)), rtol=1e-5, atol=1e-6)
    layer.reset_state()
    np.testing.assert_allclose(layer(x), whole(x), rtol=1e-5, atol=1e-6)
    assert len(layer.weights) == 3


def test_symbolic_outputs_of_a_layer_not_called() -> None:
    with pytest.raises(NotBuiltError, match="not called on symbolic tensors yet"):
        _ = layers.Dense(2).input


@pytest.mark.parametrize("make", [lambda: layers.Dense(3), lambda: layers.LSTM(3), lambda: layers.Conv1D(3, 2)])
def test_built_by_hand_and_then_called(make: Any) -> None:
    layer = make()
    layer.build((None, 4, 5))
    kept = layer.weights
    layer(np.ones((2, 4, 5), "float32"))
    assert list(map(id, layer.weights)) == list(map(id, kept)) and layer.built
    assert kept[0].path.startswith(f"{layer.name}/")


def test_constants_made_while_building_are_values() -> None:
    class Positions(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.table = jnp.arange(input_shape[1], dtype="float32")[:, None]

        def call(self, inputs: Any) -> Any:
            return inputs + self.table

    layer = Positions()
    layer(Input((4, 5)))
    np.testing.assert_array_equal(layer(np.zeros((1, 4, 1), "float32"))[0, :, 0], np.arange(4))
