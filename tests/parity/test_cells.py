"""Cells, RNN around them and Lambda beside Keras's; they take other arguments than the layers of the table."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import lamella
from tests.parity.test_layers import assert_close

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

DRAW = np.random.default_rng(9)
X = DRAW.normal(size=(3, 7, 5)).astype("float32")
CELLS: list[tuple[str, dict[str, Any], int]] = [
    ("SimpleRNNCell", {"units": 4, "activation": "relu"}, 1),
    ("LSTMCell", {"units": 4}, 2),
    ("GRUCell", {"units": 4}, 1),
    ("GRUCell", {"units": 4, "reset_after": False, "use_bias": False}, 1),
]


def same_weights(ours: Any, theirs: Any) -> None:
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    weights = [DRAW.normal(size=w.shape).astype("float32") * 0.4 for w in theirs.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)


@pytest.mark.parametrize(("name", "arguments", "states"), CELLS)
def test_one_step(name: str, arguments: dict[str, Any], states: int) -> None:
    ours, theirs = getattr(lamella.layers, name)(**arguments), getattr(keras.layers, name)(**arguments)
    before = [DRAW.normal(size=(3, 4)).astype("float32") for _ in range(states)]
    ours(X[:, 0], before), theirs(X[:, 0], before)
    same_weights(ours, theirs)
    assert_close(ours(X[:, 0], before), theirs(X[:, 0], before))
    assert type(ours).from_config(ours.get_config()).get_config() == ours.get_config()


@pytest.mark.parametrize(("name", "arguments", "states"), CELLS)
def test_in_a_loop(name: str, arguments: dict[str, Any], states: int) -> None:
    options = {"return_sequences": True, "return_state": True, "go_backwards": True}
    ours = lamella.layers.RNN(getattr(lamella.layers, name)(**arguments), **options)
    theirs = keras.layers.RNN(getattr(keras.layers, name)(**arguments), **options)
    ours(X), theirs(X)
    same_weights(ours, theirs)
    assert_close(ours(X), theirs(X))
    start = [DRAW.normal(size=(3, 4)).astype("float32") for _ in range(states)]
    assert_close(ours(X, initial_state=start), theirs(X, initial_state=start))


def stack(library: Any, **options: Any) -> Any:
    layers = library.layers
    return layers.RNN([layers.LSTMCell(3), layers.GRUCell(5), layers.SimpleRNNCell(2)], **options)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [{}, {"go_backwards": True}, {"zero_output_for_mask": True}], ids=str)
def test_a_stack_in_a_loop(options: dict[str, bool], masked: bool) -> None:
    options = {"return_sequences": True, "return_state": True, **options}
    ours, theirs = stack(lamella, **options), stack(keras, **options)
    ours(X), theirs(X)
    same_weights(ours, theirs)
    mask = DRAW.random(X.shape[:2]) > 0.4 if masked else None
    assert_close(ours(X, mask=mask), theirs(X, mask=mask))
    again = lamella.layers.RNN.from_config(ours.get_config())
    assert again.get_config() == ours.get_config()
    assert theirs.get_config().keys() <= ours.get_config().keys()


def test_a_stack_step_by_step_and_by_cells_is_the_same() -> None:
    class Stepwise(lamella.layers.StackedRNNCells):
        def call(self, inputs: Any, states: Any, training: Any = False) -> Any:
            return super().call(inputs, states, training)

    whole = stack(lamella, return_state=True)
    steps = lamella.layers.RNN(Stepwise(whole.cell.cells), return_state=True)
    assert_close(whole(X), steps(X))
    start = [[DRAW.normal(size=leaf.shape).astype("float32") for leaf in each] for each in whole(X)[1:]]
    assert_close(whole(X, initial_state=start), steps(X, initial_state=start))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_dropout_of_convolutional_recurrence(data_format: str) -> None:
    arguments = {"filters": 3, "kernel_size": 2, "data_format": data_format, "return_sequences": True}
    noise = {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": 3}
    ours, theirs = (library.layers.ConvLSTM2D(**arguments, **noise) for library in (lamella, keras))
    x = DRAW.normal(size=(2, 4, 5, 5, 5)).astype("float32")
    ours(x), theirs(x)
    same_weights(ours, theirs)
    # Keras draws at every call, in training or not.
    ours.cell.seed_generator.state.assign(np.asarray(theirs.cell.seed_generator.state))
    assert_close(ours(x, training=True), theirs(x, training=True))


@pytest.mark.parametrize("name", ["RNN", "ConvLSTM1D"])
def test_states_that_stay(name: str) -> None:
    x = X if name == "RNN" else X[..., None]

    def make(library: Any) -> Any:
        arguments: dict[str, Any] = {"filters": 2, "kernel_size": 3, "stateful": True}
        return stack(library, stateful=True) if name == "RNN" else library.layers.ConvLSTM1D(**arguments)

    ours, theirs = make(lamella), make(keras)
    ours(x), theirs(x)
    same_weights(ours, theirs)
    ours.reset_state()
    if name == "ConvLSTM1D":
        theirs.reset_state()
        assert_close([ours(x), ours(x)], [theirs(x), theirs(x)])
        ours.reset_state()
    first = np.asarray(ours(x))
    assert not np.allclose(first, ours(x))
    ours.reset_state()
    assert_close(ours(x), first)


def test_what_is_no_cell_and_sizes_that_are_not_known() -> None:
    with pytest.raises(lamella.errors.ArgumentError, match="StackedRNNCells: a cell is a layer with `state_size`"):
        lamella.layers.RNN([lamella.layers.Dense(3)])
    with pytest.raises(lamella.errors.ShapeError, match="ConvLSTM2D: all sizes but those of batch and time"):
        lamella.layers.ConvLSTM2D(3, 2)(lamella.Input((4, None, 5, 3)))


def test_lambda() -> None:
    def double(x: Any, times: float = 1.0) -> Any:
        return 2 * x[..., :3] * times

    ours = lamella.layers.Lambda(double, output_shape=(7, 3), arguments={"times": 1.5})
    theirs = keras.layers.Lambda(double, output_shape=(7, 3), arguments={"times": 1.5})
    assert_close(ours(X), theirs(X))
    assert ours(lamella.Input((7, 5))).shape == (None, 7, 3)
