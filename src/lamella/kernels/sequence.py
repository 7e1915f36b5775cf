"""Whole sequences of the standard cells (tanh and sigmoid): LSTM, GRU with `reset_after`, simple recurrence.

Differentiating a loop step by step makes XLA:CPU keep every intermediate and walk it in many small pieces. Here the
loop answers, beside its outputs, the few coefficients of its own linear map; the tangent is then a loop of that map
alone, with every product that does not depend on the step before taken for all steps at once. What JAX makes of it
by transposition is the usual backward pass through time: one product inside the loop, one for each weight after it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lamella.kernels.platform import on_platform
from lamella.kernels.recur import gru_step, lstm_step, scan_steps, simple_rnn_step

States = tuple[jax.Array, ...]
# From this many samples on, products with each step's inputs are as fast as one for all steps, and need no memory,
# if the inputs are so many times narrower than the gates.
_FULL_BATCH, _NARROWER = 32, 4


class Weights(NamedTuple):
    """(features, gates * units), (units, gates * units), and for each of the two products (gates * units) or None."""

    kernel: Any
    recurrent_kernel: Any
    bias: Any = None
    recurrent_bias: Any = None


class Rule(NamedTuple):
    """One step of a cell and its linear map, on the products with the inputs (xs) and with the state (hs).

    `plain(xs, states, weights) -> states` is the reference; `step(xs, hs, states) -> (states, coefficients)`;
    `joined(coefficients, xs', hs')` is what the changes of weights and inputs add, for all steps;
    `change(coefficients, joined, hs', states') -> states'` is linear in all but the coefficients.
    """

    plain: Callable[..., States]
    step: Callable[..., tuple[States, States]]
    joined: Callable[..., Any]
    change: Callable[..., States]


def lstm(x: Any, states: Any, weights: Weights, mask: Any, go_backwards: bool, zero_output_for_mask: bool) -> Any:
    """LSTM with gates i, f, c, o: (batch, time, features), (h, c) -> last output, outputs, states.

    Arguments and answers are those of `scan_steps`, likewise for the other cells.
    """
    return _whole(_LSTM, x, states, weights, mask, go_backwards, zero_output_for_mask)


def gru(x: Any, states: Any, weights: Weights, mask: Any, go_backwards: bool, zero_output_for_mask: bool) -> Any:
    """GRU with gates z, r, h, the reset after the product: (batch, time, features), (h,) -> as `lstm`."""
    return _whole(_GRU, x, states, weights, mask, go_backwards, zero_output_for_mask)


def simple_rnn(x: Any, states: Any, weights: Weights, mask: Any, go_backwards: bool, zero_output_for_mask: bool) -> Any:
    """tanh(x @ kernel + h @ recurrent_kernel): (batch, time, features), (h,) -> last output, outputs, states."""
    return _whole(_SIMPLE, x, states, weights, mask, go_backwards, zero_output_for_mask)


def _whole(
    rule: Rule, x: Any, states: Any, weights: Weights, mask: Any, go_backwards: bool, zero_output: bool
) -> tuple[Any, Any, list[Any]]:
    given = rule, go_backwards, zero_output
    form = on_platform(partial(_by_coefficients, *given), partial(whole_plain, *given))
    return form(x, states, weights, mask)  # type: ignore[no-any-return]


def whole_plain(
    rule: Rule, go_backwards: bool, zero_output: bool, x: Any, states: Any, weights: Weights, mask: Any
) -> tuple[Any, Any, list[Any]]:
    """The plain form: the cell's steps in a loop."""
    projected = _plus(x @ weights.kernel, weights.bias)

    def step(xs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        after = rule.plain(xs, states, weights)
        return after[0], list(after)

    return scan_steps(step, projected, states, mask, go_backwards, zero_output)


def _by_coefficients(
    rule: Rule, go_backwards: bool, zero_output: bool, x: Any, states: Any, weights: Weights, mask: Any
) -> tuple[Any, Any, list[Any]]:
    keep = None if mask is None else mask.astype(bool).T
    outputs, after = _run(rule, go_backwards, jnp.swapaxes(x, 0, 1), tuple(states), weights, keep)
    last = after[0]
    if keep is not None:
        # Before the first step that counts the output is zero, whatever the state.
        shown = keep if zero_output else lax.cummax(keep.astype("int32"), reverse=go_backwards) > 0
        outputs = jnp.where(shown[..., None], outputs, jnp.zeros_like(outputs))
        last = jnp.where(shown[0 if go_backwards else -1, :, None], last, jnp.zeros_like(last))
    if go_backwards:
        outputs = jnp.flip(outputs, 0)
    return last, jnp.swapaxes(outputs, 0, 1), list(after)


def _plus(product: Any, bias: Any) -> Any:
    return product if bias is None else product + bias


def _product(x: Any, kernel: Any) -> Any:
    """x @ kernel as one of matrices: its transpose then takes the gradients of all steps as they lie, uncopied."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def _held(keep: Any, new: States, old: States) -> States:
    return new if keep is None else tuple(jnp.where(keep[:, None], n, o) for n, o in zip(new, old, strict=True))


def _loop(
    rule: Rule, reverse: bool, x: Any, states: States, weights: Weights, keep: Any, linear: bool
) -> tuple[States, tuple[Any, States]]:
    """Return the last states, every step's output and, if `linear`, its coefficients; x and keep are time-major."""
    narrow = x.shape[-1] * _NARROWER < weights.kernel.shape[-1]
    in_loop = narrow and isinstance(x.shape[1], int) and x.shape[1] >= _FULL_BATCH

    def project(x: Any) -> Any:
        return x @ weights.kernel

    def step(states: States, inputs: tuple[Any, Any]) -> tuple[States, tuple[Any, States]]:
        xs, keep = inputs
        xs = _plus(project(xs) if in_loop else xs, weights.bias)
        hs = _plus(states[0] @ weights.recurrent_kernel, weights.recurrent_bias)
        new, coefficients = rule.step(xs, hs, states)
        new = _held(keep, new, states)
        return new, (new[0], coefficients if linear else ())

    return lax.scan(step, states, (x if in_loop else project(x), keep), reverse=reverse)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _run(rule: Rule, reverse: bool, x: Any, states: States, weights: Weights, keep: Any) -> tuple[Any, States]:
    after, (outputs, _) = _loop(rule, reverse, x, states, weights, keep, linear=False)
    return outputs, after


@_run.defjvp
def _run_jvp(rule: Rule, reverse: bool, primals: Any, tangents: Any) -> Any:
    """The linear map of each step, in a loop; the changes of inputs and weights join it from products for all steps."""
    (x, states, weights, keep), (x_dot, states_dot, dot, _) = primals, tangents
    after, (outputs, coefficients) = _loop(rule, reverse, x, states, weights, keep, linear=True)
    first = states[0][None]
    before = jnp.concatenate([outputs[1:], first] if reverse else [first, outputs[:-1]])
    from_inputs = _plus(x_dot @ weights.kernel + _product(x, dot.kernel), dot.bias)
    from_states = _plus(_product(before, dot.recurrent_kernel), dot.recurrent_bias)
    joined = rule.joined(coefficients, from_inputs, from_states)
    # Behind the barrier the kernel is transposed once, not at every step of the backward pass.
    turned = lax.optimization_barrier(weights.recurrent_kernel.T)

    def step(states: States, inputs: tuple[Any, States, Any]) -> tuple[States, Any]:
        joined, coefficients, keep = inputs
        hs = lax.dot_general(states[0], turned, (((1,), (1,)), ((), ())))
        new = _held(keep, rule.change(coefficients, joined, hs, states), states)
        return new, new[0]

    after_dot, outputs_dot = lax.scan(step, states_dot, (joined, coefficients, keep), reverse=reverse)
    return (outputs, after), (outputs_dot, after_dot)


def _gates(x: Any, kinds: str) -> tuple[Any, Any]:
    """Split into gates, "s" through a sigmoid and "t" through a tanh -> (gates, their slopes).

    The sigmoid is (1 + tanh(x / 2)) / 2, so that one pass takes all; behind the barrier each is computed once.
    """
    scale = np.repeat([0.5 if kind == "s" else 1 for kind in kinds], x.shape[-1] // len(kinds)).astype(x.dtype)
    shift = np.repeat([0.5 if kind == "s" else 0 for kind in kinds], x.shape[-1] // len(kinds)).astype(x.dtype)
    t = lax.optimization_barrier(jnp.tanh(x * scale))
    cut = partial(jnp.split, indices_or_sections=len(kinds), axis=-1)
    return cut(t * scale + shift), cut((1 - t * t) * (scale * scale))


def _lstm_step(xs: Any, hs: Any, states: States) -> tuple[States, States]:
    before = states[1]
    (i, f, g, o), (i_slope, f_slope, g_slope, o_slope) = _gates(xs + hs, "ssts")
    c = lax.optimization_barrier(f * before + i * g)
    out = lax.optimization_barrier(jnp.tanh(c))
    to_c = (i_slope * g, f_slope * before, g_slope * i)
    return (o * out, c), (*to_c, o_slope * out, f, o * (1 - out * out))


def _lstm_change(coefficients: States, joined: Any, hs: Any, states: States) -> States:
    i_to_c, f_to_c, g_to_c, o_to_h, kept, c_to_h = coefficients
    i, f, g, o = jnp.split(joined + hs, 4, axis=-1)
    c = kept * states[1] + i_to_c * i + f_to_c * f + g_to_c * g
    return c_to_h * c + o_to_h * o, c


def _gru_step(xs: Any, hs: Any, states: States) -> tuple[States, States]:
    units = states[0].shape[-1]
    (z, r), (z_slope, r_slope) = _gates(xs[:, : 2 * units] + hs[:, : 2 * units], "ss")
    inner = hs[:, 2 * units :]
    candidate = lax.optimization_barrier(jnp.tanh(xs[:, 2 * units :] + r * inner))
    to_h = (1 - z) * (1 - candidate * candidate)
    h = z * states[0] + (1 - z) * candidate
    return (h,), ((states[0] - candidate) * z_slope, to_h * inner * r_slope, to_h, r, z)


def _gru_joined(coefficients: States, xs: Any, hs: Any) -> Any:
    (xz, xr, xh), (hz, hr, hh) = jnp.split(xs, 3, axis=-1), jnp.split(hs, 3, axis=-1)
    return xz + hz, xr + hr, xh + coefficients[3] * hh


def _gru_change(coefficients: States, joined: Any, hs: Any, states: States) -> States:
    z_to_h, r_to_h, candidate_to_h, reset, kept = coefficients
    hz, hr, hh = jnp.split(hs, 3, axis=-1)
    z, r, candidate = joined[0] + hz, joined[1] + hr, joined[2] + reset * hh
    return (kept * states[0] + z_to_h * z + r_to_h * r + candidate_to_h * candidate,)


def _simple_step(xs: Any, hs: Any, states: States) -> tuple[States, States]:
    h = lax.optimization_barrier(jnp.tanh(xs + hs))
    return (h,), (1 - h * h,)


def _simple_change(coefficients: States, joined: Any, hs: Any, states: States) -> States:
    return (coefficients[0] * (joined + hs),)


def _sum(coefficients: States, xs: Any, hs: Any) -> Any:
    return xs + hs


def _lstm_plain(xs: Any, states: Any, weights: Weights) -> States:
    return lstm_step(xs, states[0], states[1], weights.recurrent_kernel, jnp.tanh, jax.nn.sigmoid)


def _gru_plain(xs: Any, states: Any, weights: Weights) -> States:
    kernel, bias = weights.recurrent_kernel, weights.recurrent_bias
    return (gru_step(xs, states[0], kernel, bias, jnp.tanh, jax.nn.sigmoid, reset_after=True),)


def _simple_plain(xs: Any, states: Any, weights: Weights) -> States:
    return (simple_rnn_step(xs, states[0], weights.recurrent_kernel, jnp.tanh),)


_LSTM = Rule(_lstm_plain, _lstm_step, _sum, _lstm_change)
_GRU = Rule(_gru_plain, _gru_step, _gru_joined, _gru_change)
_SIMPLE = Rule(_simple_plain, _simple_step, _sum, _simple_change)
