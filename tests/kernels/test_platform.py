"""Forms by whom a program is made for: readers know JAX's own operations, each platform takes its own form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lamella import kernels
from lamella.kernels.recur import scan_steps

DRAW = np.random.default_rng(5)


def draw(*shape: int) -> Any:
    return jnp.asarray(DRAW.normal(size=shape), "float32")


PICTURES, STEPS = draw(2, 9, 9, 3), draw(2, 6, 4)
MASK = jnp.asarray([[True, False, True, True, False, False], [False, False, True, False, True, True]])
KERNEL, TAPS = draw(4, 4), draw(3, 2, 5, 3)
GATES = kernels.RecurrentWeights(draw(4, 8), draw(2, 8), draw(8))


def backwards(zero: bool) -> Any:
    def step(x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        after = jnp.tanh(x + states[0] @ KERNEL)
        return after * 2, [after]

    return scan_steps(step, STEPS, [jnp.zeros((2, 4))], MASK, go_backwards=True, zero_output_for_mask=zero)


def transposed() -> Any:
    return kernels.convolve_transposed(
        PICTURES, TAPS, strides=(2, 1), borders=((1, 0), (0, 1)), data_format="channels_last", dilation_rate=(1, 2)
    )


COMPUTED: dict[str, Callable[[], Any]] = {
    "a loop backwards": lambda: backwards(False),
    "a loop backwards, with zeros where nothing counts": lambda: backwards(True),
    "lstm": lambda: kernels.lstm(STEPS, (jnp.zeros((2, 2)), jnp.ones((2, 2))), GATES, MASK, True, False),
    "convolve_transposed": transposed,
    "a large window": lambda: kernels.max_pool(PICTURES, (7, 7), (2, 2), "same", "channels_last"),
    "average_pool": lambda: kernels.average_pool(PICTURES, (2, 2), (2, 2), "same", "channels_last"),
    "attention": lambda: kernels.attention(*[PICTURES] * 3, scale=0.5, is_causal=True),
    "weighted_mean": lambda: kernels.weighted_mean(STEPS @ KERNEL @ jnp.swapaxes(STEPS, 1, 2), STEPS),
}


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("whom", ["each", "readers"])
def test_all_forms_compute_the_same(name: str, whom: Any) -> None:
    expected = jax.tree.leaves(COMPUTED[name]())
    with kernels.made_for(whom):
        program = jax.make_jaxpr(lambda: COMPUTED[name]())()
        answers = jax.tree.leaves(jax.core.eval_jaxpr(program.jaxpr, program.consts))
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", COMPUTED)
def test_readers_get_loops_forward_and_no_windows(name: str) -> None:
    """What converters lack: primitives of our own, loops in reverse, windows over the batch and the channels."""
    with kernels.made_for("readers"):
        # A function of its own: JAX keeps what it traced of one that it has seen.
        text = str(jax.make_jaxpr(lambda: COMPUTED[name]())())
    assert not any(word in text for word in ("reverse=True", "reduce_window", "conv_input_gradient", "= conv["))
