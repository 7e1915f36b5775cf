"""Recurrence over images: an LSTM whose products are convolutions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax.numpy as jnp

from lamella import kernels
from lamella.core.errors import ShapeError
from lamella.layers.cells import GateArguments, LSTMGates
from lamella.layers.recurrent import CellLoop
from lamella.layers.spec import InputSpec
from lamella.layers.windows import (
    check_windows_fit,
    reach_of,
    refuse_strides_with_dilation,
    settle_windows,
    spatial,
)
from lamella.ops import random


class ConvLSTMArguments(GateArguments):
    """The arguments of ConvLSTM and its cell."""

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    data_format: Any = None
    dilation_rate: Any = 1

    arguments_first = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate")


class ConvLSTMCell(LSTMGates, ConvLSTMArguments):
    """One step of a ConvLSTM: (batch, *spatial, channels), [h, c] -> (batch, *new_spatial, filters), [h, c].

    The gates stand in the order i, f, c, o along the last axis of the weights. Under dropout each gate has noise of
    its own: what goes into a product then holds the channels four times, and the convolution has four groups.
    """

    def __post_init__(self) -> None:
        self.units, self.rank = self.filters, len(self.kernel_size)
        super().__post_init__()
        self.channel_axis = -1 if self.data_format == "channels_last" else -1 - self.rank

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Return states of zeros."""
        shape = list(self._state_shape)
        shape.insert(len(shape) + 1 + self.channel_axis, self.filters)
        return [jnp.zeros((batch_size, *shape), self.compute_dtype) for _ in range(2)]

    def build(self, input_shape: Any) -> None:
        channels, sizes = input_shape[self.channel_axis], spatial(input_shape, self.data_format)
        if None in (channels, *sizes):
            raise ShapeError(
                f"ConvLSTM{self.rank}D: all sizes but those of batch and time must be known, got {tuple(input_shape)}.",
                mend=f"Input((None, {', '.join(['32'] * self.rank)}, 3))",
            )
        check_windows_fit(f"ConvLSTM{self.rank}D", input_shape, reach_of(self), self.data_format, self.padding)
        self._state_shape = tuple(
            -(-(size - (reach - 1 if self.padding == "valid" else 0)) // stride)
            for size, reach, stride in zip(sizes, reach_of(self), self.strides, strict=True)
        )
        self.kernel = self._add_declared("kernel", (*self.kernel_size, channels, 4 * self.filters))
        self.recurrent_kernel = self._add_declared(
            "recurrent_kernel", (*self.kernel_size, self.filters, 4 * self.filters), "recurrent"
        )
        self.bias = self._add_declared("bias", (4 * self.filters,)) if self.use_bias else None

    def dropped(self, inputs: Any, training: Any) -> Any:
        """Apply one draw of input dropout for each gate, the same for every step."""
        if not training or not self.dropout:
            return inputs
        every_step = inputs.ndim == self.rank + 3
        noise = self._noise(inputs[:, 0] if every_step else inputs, self.dropout)
        return self._for_gates(inputs) * (noise[:, None] if every_step else noise)

    def recurrent_noise(self, state: Any, training: Any) -> Any:
        """Draw recurrent dropout's masks, one for each gate, the same for every step, or return None."""
        return self._noise(state, self.recurrent_dropout) if training and self.recurrent_dropout else None

    def _noise(self, x: Any, rate: float) -> Any:
        ones = jnp.ones(x.shape, x.dtype)
        draws = [random.dropout(ones, rate, seed=self.seed_generator) for _ in self.gates]
        return jnp.concatenate(draws, self.channel_axis)

    def _for_gates(self, x: Any) -> Any:
        return jnp.concatenate([x] * len(self.gates), self.channel_axis)

    def _convolved(self, x: Any, kernel: Any, strides: Any, padding: str, dilation_rate: Any) -> Any:
        return kernels.convolve(
            x,
            kernel,
            strides=strides,
            padding=padding,
            data_format=self.data_format,
            dilation_rate=dilation_rate,
            groups=x.shape[self.channel_axis] // kernel.shape[-2],
        )

    def project(self, inputs: Any) -> Any:
        """Return the inputs' convolution with the kernel, plus the bias, for one step or all."""
        lead = inputs.shape[: -1 - self.rank]
        merged = inputs.reshape(math.prod(lead), *inputs.shape[-1 - self.rank :])
        out = self._convolved(merged, self.kernel.value, self.strides, self.padding, self.dilation_rate)
        if self.bias is not None:
            out = out + self.bias.value.reshape(-1, *(1,) * (-1 - self.channel_axis))
        return out.reshape(*lead, *out.shape[1:])

    def step(self, projected: Any, states: list[Any], noise: Any = None) -> tuple[Any, list[Any]]:
        """Go one step on."""
        h, ones = states[0], (1,) * self.rank
        h = h if noise is None else self._for_gates(h) * noise
        total = projected + self._convolved(h, self.recurrent_kernel.value, ones, "same", ones)
        h, c = kernels.lstm_gates(
            total, states[1], self.activation, self.recurrent_activation, total.ndim + self.channel_axis
        )
        return h, [h, c]


class ConvLSTM(CellLoop, ConvLSTMArguments):
    """An LSTM over images: (batch, time, *spatial, channels) -> (batch, *new_spatial, filters), or every step's.

    Shi et al., "Convolutional LSTM Network", NeurIPS 2015, https://arxiv.org/abs/1506.04214.
    """

    rank: ClassVar[int]

    zero_output_for_mask: bool = False

    cell_class = ConvLSTMCell

    def __post_init__(self) -> None:
        settle_windows(self, self.rank)
        refuse_strides_with_dilation(self)
        batch, *others = self.axis_names
        super().__post_init__()
        self.axis_names = (batch, "time", *others)
        self._features = self.cell.channel_axis
        self.input_spec = InputSpec(ndim=self.rank + 3)


class ConvLSTM1D(ConvLSTM):
    """An LSTM over rows of steps: (batch, time, steps, channels) -> (batch, new_steps, filters), or every step's.

    >>> import numpy as np
    >>> ConvLSTM1D(4, 3)(np.ones((2, 5, 8, 3), "float32")).shape
    (2, 6, 4)
    """

    rank = 1


class ConvLSTM2D(ConvLSTM):
    """An LSTM over images: (batch, time, rows, cols, channels) -> (batch, new, new, filters), or every step's.

    >>> import numpy as np
    >>> layer = ConvLSTM2D(4, 3, padding="same", return_sequences=True)
    >>> layer(np.ones((2, 5, 8, 8, 3), "float32")).shape
    (2, 5, 8, 8, 4)
    """

    rank = 2


class ConvLSTM3D(ConvLSTM):
    """An LSTM over volumes: (batch, time, depth, rows, cols, channels) -> (batch, *new, filters), or every step's.

    >>> import numpy as np
    >>> ConvLSTM3D(2, 2)(np.ones((1, 3, 4, 4, 4, 1), "float32")).shape
    (1, 3, 3, 3, 2)
    """

    rank = 3
