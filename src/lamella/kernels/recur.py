"""Recurrence: one loop over time for every cell, and the steps of the known cells.

The products of inputs with kernels are taken for all steps at once before the loop; inside it only the product with
the recurrent kernel is left. The loop runs time-major. A step whose mask is False keeps the states and repeats the
output before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lamella.kernels.platform import for_readers

Activation = Callable[[jax.Array], jax.Array]
Step = Callable[[Any, list[Any]], tuple[Any, list[Any]]]


def scan_steps(
    step: Step,
    xs: Any,
    initial_states: Sequence[Any],
    mask: jax.Array | None = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    unmasked: int = 0,
) -> tuple[Any, Any, list[Any]]:
    """Run `step(x, states) -> (output, states)` over axis 1 of xs; return (last output, outputs, last states).

    Going backwards, the outputs come in the order in which they were computed. The first `unmasked` states are
    carried on by every step, whatever the mask says.
    """
    if go_backwards and for_readers():
        # ONNX has loops forward alone.
        xs, mask = jax.tree.map(lambda x: jnp.flip(x, 1), (xs, mask))
        return scan_steps(step, xs, initial_states, mask, False, zero_output_for_mask, unmasked)
    states = list(initial_states)
    steps = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), xs)
    if mask is None:

        def plain(states: list[Any], x: Any) -> tuple[list[Any], Any]:
            output, states = step(x, states)
            return list(states), output

        states, outputs = lax.scan(plain, states, steps, reverse=go_backwards)
        last_index = 0 if go_backwards else -1
        last = jax.tree.map(lambda y: y[last_index], outputs)
    else:
        last, states, outputs = _masked(step, steps, states, mask, go_backwards, zero_output_for_mask, unmasked)
    if go_backwards:
        outputs = jax.tree.map(lambda y: jnp.flip(y, 0), outputs)
    return last, jax.tree.map(lambda y: jnp.swapaxes(y, 0, 1), outputs), states


def _masked(
    step: Step,
    steps: Any,
    states: list[Any],
    mask: jax.Array,
    go_backwards: bool,
    zero_output: bool,
    unmasked: int,
) -> tuple[Any, list[Any], Any]:
    first = jax.tree.map(lambda x: x[0], steps)
    blank = jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), jax.eval_shape(step, first, states)[0])

    def masked(carry: tuple[Any, list[Any]], inputs: tuple[Any, jax.Array]) -> tuple[tuple[Any, list[Any]], Any]:
        (before, states), (x, keep) = carry, inputs

        def kept(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(_like(keep, new), new, old)

        output, new = step(x, states)
        states = [*new[:unmasked], *jax.tree.map(kept, list(new[unmasked:]), list(states[unmasked:]))]
        shown = jax.tree.map(kept, output, blank if zero_output else before)
        return (shown, states), shown

    (last, states), outputs = lax.scan(masked, (blank, states), (steps, mask.T), reverse=go_backwards)
    return last, states, outputs


def _like(keep: jax.Array, x: jax.Array) -> jax.Array:
    return keep.reshape(*keep.shape, *(1,) * (x.ndim - keep.ndim))


def simple_rnn_step(
    projected: jax.Array, h: jax.Array, recurrent_kernel: jax.Array, activation: Activation
) -> jax.Array:
    """activation(projected + h @ recurrent_kernel), where projected = x @ kernel + bias."""
    return activation(projected + h @ recurrent_kernel)


def lstm_step(
    projected: jax.Array,
    h: jax.Array,
    c: jax.Array,
    recurrent_kernel: jax.Array,
    activation: Activation,
    recurrent_activation: Activation,
) -> tuple[jax.Array, jax.Array]:
    """One step of Hochreiter and Schmidhuber's LSTM with gates in the order i, f, c, o -> (h, c)."""
    return lstm_gates(projected + h @ recurrent_kernel, c, activation, recurrent_activation)


def lstm_gates(
    total: jax.Array, c: jax.Array, activation: Activation, recurrent_activation: Activation, axis: int = -1
) -> tuple[jax.Array, jax.Array]:
    """The gates' effect, given the sums that go into them side by side along an axis -> (h, c)."""
    i, f, g, o = jnp.split(total, 4, axis)
    c = recurrent_activation(f) * c + recurrent_activation(i) * activation(g)
    return recurrent_activation(o) * activation(c), c


def gru_step(
    projected: jax.Array,
    h: jax.Array,
    recurrent_kernel: jax.Array,
    recurrent_bias: jax.Array | None,
    activation: Activation,
    recurrent_activation: Activation,
    reset_after: bool,
    h_dropped: jax.Array | None = None,
) -> jax.Array:
    """One step of Cho et al.'s GRU with gates in the order z, r, h; `h_dropped` stands for h in the products."""
    inner = h if h_dropped is None else h_dropped
    xz, xr, xh = jnp.split(projected, 3, axis=-1)
    units = h.shape[-1]
    if reset_after:
        recurrent = inner @ recurrent_kernel
        if recurrent_bias is not None:
            recurrent = recurrent + recurrent_bias
        rz, rr, rh = jnp.split(recurrent, 3, axis=-1)
        z, r = recurrent_activation(xz + rz), recurrent_activation(xr + rr)
        candidate = activation(xh + r * rh)
    else:
        rz, rr = jnp.split(inner @ recurrent_kernel[:, : 2 * units], 2, axis=-1)
        z, r = recurrent_activation(xz + rz), recurrent_activation(xr + rr)
        candidate = activation(xh + (r * inner) @ recurrent_kernel[:, 2 * units :])
    return z * h + (1 - z) * candidate
