"""Recurrent cells: one step of SimpleRNN, LSTM and GRU, and the arguments that they share with their layers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp
import numpy as np

from lamella import kernels
from lamella.core.errors import ArgumentError
from lamella.core.seeds import SeedGenerator
from lamella.core.variable import Variable
from lamella.layers.dropout import check_rate
from lamella.layers.layer import Layer
from lamella.ops import random
from lamella.parts.activations import Activation, sigmoid, tanh
from lamella.parts.constraints import ConstraintLike
from lamella.parts.initializers import InitializerLike
from lamella.parts.regularizers import RegularizerLike


class SimpleRNNArguments(Layer):
    """The arguments of SimpleRNN and its cell."""

    units: int
    activation: Activation = "tanh"
    use_bias: bool = True
    kernel_initializer: InitializerLike = "glorot_uniform"
    recurrent_initializer: InitializerLike = "orthogonal"
    bias_initializer: InitializerLike = "zeros"
    kernel_regularizer: RegularizerLike = None
    recurrent_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None
    activity_regularizer: RegularizerLike = None
    kernel_constraint: ConstraintLike = None
    recurrent_constraint: ConstraintLike = None
    bias_constraint: ConstraintLike = None
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    seed: Any = None


class GateArguments(Layer):
    """The arguments of everything with an LSTM's gates."""

    activation: Activation = "tanh"
    recurrent_activation: Activation = "sigmoid"
    use_bias: bool = True
    kernel_initializer: InitializerLike = "glorot_uniform"
    recurrent_initializer: InitializerLike = "orthogonal"
    bias_initializer: InitializerLike = "zeros"
    unit_forget_bias: bool = True
    kernel_regularizer: RegularizerLike = None
    recurrent_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None
    activity_regularizer: RegularizerLike = None
    kernel_constraint: ConstraintLike = None
    recurrent_constraint: ConstraintLike = None
    bias_constraint: ConstraintLike = None
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    seed: Any = None


class LSTMArguments(GateArguments):
    """The arguments of LSTM and its cell."""

    units: int

    arguments_first = ("units",)


class GRUArguments(Layer):
    """The arguments of GRU and its cell."""

    units: int
    activation: Activation = "tanh"
    recurrent_activation: Activation = "sigmoid"
    use_bias: bool = True
    kernel_initializer: InitializerLike = "glorot_uniform"
    recurrent_initializer: InitializerLike = "orthogonal"
    bias_initializer: InitializerLike = "zeros"
    kernel_regularizer: RegularizerLike = None
    recurrent_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None
    activity_regularizer: RegularizerLike = None
    kernel_constraint: ConstraintLike = None
    recurrent_constraint: ConstraintLike = None
    bias_constraint: ConstraintLike = None
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    reset_after: bool = True
    seed: Any = None


class Cell(Layer):
    """One step of a recurrence: (batch, features), states -> (batch, units), new states.

    A step is in two parts: `project`, which depends on the inputs alone and may be taken for all steps at once, and
    `step`, which goes through the loop.
    """

    arguments_last = ("activity_regularizer",)
    gates: ClassVar[str] = ""
    if TYPE_CHECKING:
        units: int
        use_bias: bool
        activation: Activation
        recurrent_activation: Activation

    def __post_init__(self) -> None:
        owner = type(self).__name__
        if not isinstance(self.units, int) or self.units < 1:
            raise ArgumentError(f"{owner}: units must be a positive integer, got {self.units!r}.", mend=f"{owner}(32)")
        check_rate(owner, self.dropout)
        check_rate(owner, self.recurrent_dropout)
        self.seed_generator = SeedGenerator(self.seed)

    @property
    def state_size(self) -> Any:
        """The sizes of the states, a number for one."""
        return self.units

    @property
    def output_size(self) -> int:
        """The size of the output."""
        return self.units

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Return states of zeros."""
        sizes = self.state_size if isinstance(self.state_size, list) else [self.state_size]
        return [jnp.zeros((batch_size, size), self.compute_dtype) for size in sizes]

    def build(self, input_shape: Any) -> None:
        count = max(1, len(self.gates))
        self.kernel = self._add_declared("kernel", (input_shape[-1], count * self.units))
        self.recurrent_kernel = self._add_declared("recurrent_kernel", (self.units, count * self.units), "recurrent")
        self.bias: Variable | None = None
        if self.use_bias:
            self.bias = self._add_declared("bias", self._bias_shape(count))

    def _bias_shape(self, count: int) -> tuple[int, ...]:
        return (count * self.units,)

    def dropped(self, inputs: Any, training: Any) -> Any:
        """Apply one draw of input dropout, the same for every step: (batch, time, features) or (batch, features)."""
        if not training or not self.dropout:
            return inputs
        shape = (inputs.shape[0], 1, inputs.shape[2]) if inputs.ndim == 3 else None
        ones = jnp.ones((inputs.shape[0], inputs.shape[-1]), inputs.dtype)
        noise = random.dropout(ones, self.dropout, seed=self.seed_generator)
        return inputs * (noise if shape is None else noise[:, None])

    def recurrent_noise(self, state: Any, training: Any) -> Any:
        """Draw recurrent dropout's mask, the same for every step, or return None."""
        if not training or not self.recurrent_dropout:
            return None
        return random.dropout(jnp.ones(state.shape, state.dtype), self.recurrent_dropout, seed=self.seed_generator)

    def project(self, inputs: Any) -> Any:
        """Return inputs @ kernel + bias, for one step or all."""
        return kernels.dense(inputs, self.kernel.value, None if self.bias is None else self.bias.value)

    def step(self, projected: Any, states: list[Any], noise: Any = None) -> tuple[Any, list[Any]]:
        """Go one step on from the states; `noise` multiplies the state in products."""
        raise NotImplementedError

    def _weights(self) -> kernels.RecurrentWeights:
        biases = [] if self.bias is None else self.bias.value.reshape(-1, self.bias.shape[-1])
        return kernels.RecurrentWeights(self.kernel.value, self.recurrent_kernel.value, *biases)

    def whole(self) -> Any:
        """Return the kernel that takes a whole sequence at once, given its weights, or None if only steps will do."""
        return None

    def call(self, inputs: Any, states: Any, training: Any = False) -> Any:
        states = list(states) if isinstance(states, list | tuple) else [states]
        noise = self.recurrent_noise(states[0], training)
        return self.step(self.project(self.dropped(inputs, training)), states, noise)

    def __getattr__(self, name: str) -> Any:
        return gate_view(self, name)


def _steps_as(cell: Cell, known: type[Cell]) -> bool:
    """Tell whether a cell, perhaps of a subclass, has the step and the projection of a class of ours."""
    return type(cell).step is known.step and type(cell).project is known.project


def gate_view(cell: Cell, name: str) -> Any:
    """Return the part of a weight that belongs to one gate: `kernel_i`, `recurrent_kernel_f`, `bias_o`, ..."""
    weight, _, gate = name.rpartition("_")
    gates = type(cell).gates
    if weight not in ("kernel", "recurrent_kernel", "bias") or len(gate) != 1 or gate not in gates:
        raise AttributeError(f"{type(cell).__name__!r} object has no attribute {name!r}")
    array = vars(cell)[weight].value if weight in vars(cell) else None
    if array is None:
        raise AttributeError(f"{type(cell).__name__} has no {weight} yet: call it on data, or build((None, 10, 5)).")
    at = gates.index(gate) * cell.units
    return array[..., at : at + cell.units]


class SimpleRNNCell(Cell, SimpleRNNArguments):
    """One step of a fully connected recurrence: (batch, features), [(batch, units)] -> the same of (batch, units)."""

    def step(self, projected: Any, states: list[Any], noise: Any = None) -> tuple[Any, list[Any]]:
        """Go one step on."""
        h = states[0] if noise is None else states[0] * noise
        h = kernels.simple_rnn_step(projected, h, self.recurrent_kernel.value, self.activation)
        return h, [h]

    def whole(self) -> Any:
        """With the standard activation."""
        if self.activation is not tanh or not _steps_as(self, SimpleRNNCell):
            return None
        return partial(kernels.simple_rnn, weights=self._weights())


class LSTMGates(Cell):
    """What the cells with an LSTM's gates have in common: two states, and a forget gate that begins open."""

    gates = "ifco"
    if TYPE_CHECKING:
        unit_forget_bias: bool
        bias_initializer: InitializerLike

    @property
    def state_size(self) -> list[int]:
        """The sizes of h and c."""
        return [self.units, self.units]

    def _add_declared(self, name: str, shape: tuple[Any, ...], group: str = "", **options: Any) -> Variable:
        if name == "bias" and self.unit_forget_bias:
            options["initializer"] = self._forgetting_nothing
        return super()._add_declared(name, shape, group, **options)

    def _forgetting_nothing(self, shape: Any, dtype: Any = None) -> Any:
        given = self.bias_initializer
        first, rest = (np.asarray(given((size,), dtype=dtype)) for size in (self.units, 2 * self.units))
        return jnp.asarray(np.concatenate([first, np.ones_like(first), rest]), dtype)


class LSTMCell(LSTMGates, LSTMArguments):
    """One step of an LSTM: (batch, features), [h, c] -> (batch, units), [h, c].

    The gates stand in the order i, f, c, o along the last axis of the weights; `kernel_i` and so on are views.
    Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997).
    """

    def step(self, projected: Any, states: list[Any], noise: Any = None) -> tuple[Any, list[Any]]:
        """Go one step on."""
        h = states[0] if noise is None else states[0] * noise
        h, c = kernels.lstm_step(
            projected, h, states[1], self.recurrent_kernel.value, self.activation, self.recurrent_activation
        )
        return h, [h, c]

    def whole(self) -> Any:
        """With the standard activations."""
        if (self.activation, self.recurrent_activation) != (tanh, sigmoid) or not _steps_as(self, LSTMCell):
            return None
        return partial(kernels.lstm, weights=self._weights())


class GRUCell(Cell, GRUArguments):
    """One step of a GRU: (batch, features), [(batch, units)] -> the same of (batch, units).

    The gates stand in the order z, r, h along the last axis of the weights. Cho et al., "Learning Phrase
    Representations using RNN Encoder-Decoder", EMNLP 2014; `reset_after` is the variant of cuDNN.
    """

    gates = "zrh"

    def _bias_shape(self, count: int) -> tuple[int, ...]:
        return (2, count * self.units) if self.reset_after else (count * self.units,)

    def project(self, inputs: Any) -> Any:
        """Return inputs @ kernel + the inputs' bias."""
        bias = None if self.bias is None else self.bias.value[0] if self.reset_after else self.bias.value
        return kernels.dense(inputs, self.kernel.value, bias)

    def step(self, projected: Any, states: list[Any], noise: Any = None) -> tuple[Any, list[Any]]:
        """Go one step on."""
        h = kernels.gru_step(
            projected,
            states[0],
            self.recurrent_kernel.value,
            self.bias.value[1] if self.bias is not None and self.reset_after else None,
            self.activation,
            self.recurrent_activation,
            self.reset_after,
            None if noise is None else states[0] * noise,
        )
        return h, [h]

    def whole(self) -> Any:
        """With the standard activations and the reset after the product."""
        standard = self.reset_after and (self.activation, self.recurrent_activation) == (tanh, sigmoid)
        if not standard or not _steps_as(self, GRUCell):
            return None
        return partial(kernels.gru, weights=self._weights())


class StackedRNNCells(Layer):
    """Cells one upon the other, as one cell: (batch, features), states of each -> (batch, units), states of each.

    `RNN([cell, cell])` is the same as `RNN(StackedRNNCells([cell, cell]))`.

    >>> import numpy as np
    >>> stack = StackedRNNCells([LSTMCell(4), GRUCell(3)])
    >>> output, states = stack(np.ones((2, 5), "float32"), stack.get_initial_state(2))
    >>> output.shape, [len(each) for each in states]
    ((2, 3), [2, 1])
    """

    cells: Any

    def __post_init__(self) -> None:
        self.cells = list(self.cells)
        for cell in self.cells:
            check_cell(type(self).__name__, cell)

    @property
    def state_size(self) -> list[Any]:
        """The sizes of each cell's states."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        """The size of the last cell's output."""
        return _output_size(self.cells[-1])

    def get_initial_state(self, batch_size: Any = None) -> list[list[Any]]:
        """Return states of zeros for each cell."""
        return [initial_states(cell, batch_size, self.compute_dtype) for cell in self.cells]

    def build(self, input_shape: Any) -> None:
        for cell in self.cells:
            if not cell.built:
                cell.build(input_shape)
            input_shape = (input_shape[0], _output_size(cell))

    def call(self, inputs: Any, states: Any, training: Any = False) -> Any:
        after = []
        for cell, now in zip(self.cells, states, strict=True):
            inputs, now = call_cell(cell, inputs, now)
            after.append(now)
        return inputs, after


def check_cell(owner: str, cell: Any) -> None:
    """Refuse what is no cell."""
    if not hasattr(cell, "state_size") or not callable(cell):
        raise ArgumentError(
            f"{owner}: a cell is a layer with `state_size` and a `call` for one step; got {type(cell).__name__}.",
            mend="RNN(LSTMCell(32))",
        )


def call_cell(cell: Any, x: Any, states: Any) -> tuple[Any, list[Any]]:
    """Go one step on; the states come back as a list, also where there is one."""
    output, after = cell(x, states)
    return output, list(after) if isinstance(after, list | tuple) else [after]


def initial_states(cell: Any, batch_size: Any, dtype: str) -> list[Any]:
    """Return a cell's states of zeros, as a list also where there is one."""
    if hasattr(cell, "get_initial_state"):
        states = cell.get_initial_state(batch_size=batch_size)
        return list(states) if isinstance(states, list | tuple) else [states]
    sizes = cell.state_size if isinstance(cell.state_size, list | tuple) else [cell.state_size]
    dims = [tuple(size) if isinstance(size, list | tuple) else (size,) for size in sizes]
    return [jnp.zeros((batch_size, *each), dtype) for each in dims]


def _output_size(cell: Any) -> Any:
    size = getattr(cell, "output_size", None)
    if size is not None:
        return size
    return cell.state_size[0] if isinstance(cell.state_size, list | tuple) else cell.state_size
