"""Recurrent layers: a cell in a loop over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp

from lamella import kernels
from lamella.core.config import fields_of
from lamella.core.errors import ShapeError
from lamella.core.structure import flatten, leaves_of, map_leaves, unflatten
from lamella.core.values import full
from lamella.core.variable import Variable
from lamella.layers.cells import (
    Cell,
    GRUArguments,
    GRUCell,
    LSTMArguments,
    LSTMCell,
    SimpleRNNArguments,
    SimpleRNNCell,
    StackedRNNCells,
    call_cell,
    check_cell,
    gate_view,
    initial_states,
)
from lamella.layers.layer import Layer
from lamella.layers.spec import InputSpec
from lamella.ops.lift import with_state


class Kept:
    """The states that a stateful layer carries from batch to batch; they are not among its weights."""

    def __init__(self, states: list[Any]) -> None:
        leaves, self.structure = flatten(states)
        self.variables = [Variable(state, trainable=False, name=f"state_{i}") for i, state in enumerate(leaves)]

    def nested(self) -> list[Any]:
        """Return the variables as the cell has its states."""
        return unflatten(self.structure, self.variables)  # type: ignore[no-any-return]

    def keep(self, states: list[Any]) -> None:
        """Give the variables new values."""
        for variable, state in zip(self.variables, leaves_of(states), strict=True):
            variable.assign(state)


class Recurrence(Layer):
    """The base: (batch, time, features) -> (batch, units), or (batch, time, units) with `return_sequences`.

    A step whose mask is False keeps the states and repeats the output before it.
    """

    supports_masking = True
    _features: int = -1
    if TYPE_CHECKING:
        cell: Any
        zero_output_for_mask: bool
        return_sequences: bool
        return_state: bool
        go_backwards: bool
        stateful: bool

    def __post_init__(self) -> None:
        self.axis_names = ("batch", "time", "features")
        self.input_spec = InputSpec(ndim=3)
        self._kept: Kept | None = None

    def build(self, input_shape: Any) -> None:
        if not self.cell.built:
            self.cell.build((input_shape[0], *input_shape[2:]))
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self._features: input_shape[self._features]})
        if self.stateful:
            if input_shape[0] is None:
                raise ShapeError(
                    f"{type(self).__name__}: a stateful layer needs a fixed batch size.",
                    mend="Input(..., batch_size=32) or batch_shape=(32, 10, 5)",
                )
            self._kept = Kept(self.get_initial_state(input_shape[0]))

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """Return the states at the beginning: zeros."""
        return initial_states(self.cell, batch_size, self.compute_dtype)

    def reset_state(self) -> None:
        """Set the states that are carried from batch to batch back to zero."""
        for variable in self._kept.variables if self._kept else ():
            variable.assign(full(variable.shape, variable.dtype, 0))

    reset_states = reset_state

    @property
    def states(self) -> list[Any] | None:
        """The states that are carried from batch to batch, of a stateful layer: variables."""
        return self._kept.nested() if self._kept else None

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: Any = False) -> Any:
        if isinstance(mask, list | tuple):
            mask = mask[0]
        if self._kept is not None and initial_state is None:
            states = map_leaves(lambda variable: variable.value, self._kept.nested())
        elif initial_state is None:
            states = self.get_initial_state(sequences.shape[0])
        else:
            states = list(initial_state) if isinstance(initial_state, list | tuple) else [initial_state]
        how = {"go_backwards": self.go_backwards, "zero_output_for_mask": self.zero_output_for_mask}
        last, outputs, states = run_cell(self.cell, sequences, states, mask, training, how)
        if self._kept is not None:
            self._kept.keep(states)
        result = outputs if self.return_sequences else last
        return (result, *states) if self.return_state else result

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask goes on with the sequences, if they are returned."""
        mask = previous_mask[0] if isinstance(previous_mask, list | tuple) else previous_mask
        kept = mask if self.return_sequences else None
        return [kept, *(None for _ in leaves_of(self.cell.state_size))] if self.return_state else kept


def run_cell(
    cell: Any, sequences: Any, states: list[Any], mask: Any, training: Any, how: dict[str, bool]
) -> tuple[Any, Any, list[Any]]:
    """Run a cell over time; a known cell takes the products of all inputs before the loop."""
    if isinstance(cell, StackedRNNCells) and type(cell).call is StackedRNNCells.call:
        return _run_stack(cell, sequences, states, mask, training, how)
    if not isinstance(cell, Cell) or type(cell).call is not Cell.call:
        return _run_any(cell, sequences, states, mask, how)
    sequences = cell.dropped(sequences, training)
    noise = cell.recurrent_noise(states[0], training)
    whole = cell.whole() if noise is None else None
    if whole is not None:
        return whole(sequences, states, mask=mask, **how)  # type: ignore[no-any-return]
    return kernels.scan_steps(lambda x, now: cell.step(x, now, noise), cell.project(sequences), states, mask, **how)


def _run_any(
    cell: Any, sequences: Any, states: list[Any], mask: Any, how: dict[str, bool]
) -> tuple[Any, Any, list[Any]]:
    """Call a cell step by step; what it writes to variables goes through the loop."""

    def run(pure_of: Any, values: list[Any]) -> tuple[list[Any], Any]:
        one = pure_of(lambda x, now: call_cell(cell, x, now))

        def step(x: Any, carry: list[Any]) -> tuple[Any, list[Any]]:
            new_values, (output, new_states) = one(carry[0], x, carry[1:])
            return output, [new_values, *new_states]

        last, outputs, (values, *after) = kernels.scan_steps(
            step, sequences, [values, *states], mask, **how, unmasked=1
        )
        return values, (last, outputs, after)

    return with_state(run)  # type: ignore[no-any-return]


def _run_stack(
    stack: StackedRNNCells, sequences: Any, states: list[Any], mask: Any, training: Any, how: dict[str, bool]
) -> tuple[Any, Any, list[Any]]:
    """Run one cell after the other over all of time, which comes to the same as all of them at each step."""
    last, after = None, []
    for number, (cell, now) in enumerate(zip(stack.cells, states, strict=True)):
        last, sequences, now = run_cell(cell, sequences, list(now), mask, training, how)
        after.append(list(now))
        if number == 0 and how["go_backwards"]:
            # The outputs come in the order in which they were computed.
            mask, how = None if mask is None else jnp.flip(mask, 1), {**how, "go_backwards": False}
    return last, sequences, after


class RNN(Recurrence):
    """A cell of any kind in a loop: (batch, time, ...) -> (batch, output_size), or every step's.

    A cell is a layer with `state_size` and `call(inputs, states) -> (outputs, new_states)` for one step. A list of
    cells is a stack of them.

    >>> import numpy as np
    >>> RNN(LSTMCell(4), return_sequences=True)(np.ones((2, 7, 3), "float32")).shape
    (2, 7, 4)
    """

    cell: Any
    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool = False
    zero_output_for_mask: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.cell, list | tuple):
            self.cell = StackedRNNCells(self.cell)
        check_cell("RNN", self.cell)
        self.input_spec = InputSpec(min_ndim=3)


class CellLoop(Recurrence):
    """The base of layers that make their cell from their own arguments."""

    cell_class: ClassVar[type[Cell]]

    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [field.name for field in fields_of(self.cell_class) if field.name != "activity_regularizer"]
        self.cell = self.cell_class(**{name: getattr(self, name) for name in names}, dtype=self.dtype_policy)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("kernel_", "recurrent_kernel_", "bias_")) and "cell" in vars(self):
            return gate_view(self.cell, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class SimpleRNN(CellLoop, SimpleRNNArguments):
    """A fully connected recurrence: (batch, time, features) -> (batch, units), or every step's.

    >>> import numpy as np
    >>> SimpleRNN(4)(np.ones((2, 7, 3), "float32")).shape
    (2, 4)
    """

    arguments_last = ("seed", "zero_output_for_mask")
    zero_output_for_mask: bool = False

    cell_class = SimpleRNNCell


class LSTM(CellLoop, LSTMArguments):
    """Long short-term memory: (batch, time, features) -> (batch, units), or every step's.

    `kernel_i`, `kernel_f`, `kernel_c`, `kernel_o`, and likewise `recurrent_kernel_...` and `bias_...`, are the gates'
    parts of the weights. Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997).

    >>> import numpy as np
    >>> layer = LSTM(32)
    >>> layer(np.ones((2, 10, 8), "float32")).shape, layer.kernel_i.shape
    ((2, 32), (8, 32))
    """

    use_cudnn: Any = "auto"
    zero_output_for_mask: bool = False

    cell_class = LSTMCell


class GRU(CellLoop, GRUArguments):
    """Gated recurrent unit: (batch, time, features) -> (batch, units), or every step's.

    `kernel_z`, `kernel_r`, `kernel_h`, and likewise `recurrent_kernel_...` and `bias_...`, are the gates' parts of
    the weights. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014.

    >>> import numpy as np
    >>> GRU(4, return_sequences=True)(np.ones((2, 7, 3), "float32")).shape
    (2, 7, 4)
    """

    arguments_last = ("reset_after", "use_cudnn", "zero_output_for_mask")
    use_cudnn: Any = "auto"
    zero_output_for_mask: bool = False

    cell_class = GRUCell
