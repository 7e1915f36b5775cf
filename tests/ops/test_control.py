"""Variables that are read and updated inside loops and branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lamella.core.variable as variables
from lamella import ops
from lamella.core.errors import VariableInJitError
from lamella.core.seeds import SeedGenerator
from lamella.core.variable import Variable
from lamella.ops import random


def eager(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn


@pytest.fixture(params=[eager, variables.jit])
def run(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def count() -> Variable:
    return Variable(0.0, name="count")


def test_scan_carries_what_its_body_writes(run: Any, count: Variable) -> None:
    def step(carry: Any, x: Any) -> Any:
        count.assign_add(x)
        return carry + count.value, count.value

    last, seen = run(lambda xs: ops.scan(step, 0.0, xs))(jnp.arange(4.0))
    assert (float(last), seen.tolist(), float(count)) == (10.0, [0.0, 1.0, 3.0, 6.0], 6.0)


def test_map_draws_new_numbers_for_each_slice(run: Any) -> None:
    seed = SeedGenerator(3)
    drawn = run(lambda xs: ops.map(lambda x: x + random.uniform((2,), seed=seed), xs))(jnp.zeros(3))
    expected = [jax.random.uniform(jnp.array([3, i], "uint32"), (2,)) for i in range(3)]
    np.testing.assert_array_equal(drawn, expected)
    assert seed.state.numpy().tolist() == [3, 3]


def test_vectorized_map_writes_what_is_the_same_for_all(run: Any) -> None:
    seed = SeedGenerator(3)
    drawn = run(lambda xs: ops.vectorized_map(lambda x: x * random.uniform((), seed=seed), xs))(jnp.ones(3))
    assert len(set(drawn.tolist())) == 1 and seed.state.numpy().tolist() == [3, 1]


def test_vectorized_map_refuses_what_differs(count: Variable) -> None:
    with pytest.raises(ValueError, match="out_axes"):
        ops.vectorized_map(count.assign, jnp.arange(3.0))
    assert float(count) == 0


@pytest.mark.parametrize(("pred", "expected"), [(True, 5.0), (False, 0.0)])
def test_cond_writes_in_the_branch_taken(run: Any, count: Variable, pred: bool, expected: float) -> None:
    def call(pred: Any) -> Any:
        return ops.cond(pred, lambda: (count.assign(5.0), count + 1)[1], lambda: count - 1)

    out = run(call)(jnp.array(pred))
    assert float(count) == expected and float(out) == (6.0 if pred else -1.0)


def test_switch_writes_in_the_branch_taken(run: Any, count: Variable) -> None:
    other = Variable(1.0)
    branches = [lambda x: (count.assign(x), x)[1], lambda x: (other.assign_sub(x), x * 2)[1]]
    assert float(run(lambda i: ops.switch(i, branches, 3.0))(jnp.array(1))) == 6.0
    assert (float(count), float(other)) == (0.0, -2.0)


def test_while_loop_reads_in_its_condition(run: Any, count: Variable) -> None:
    def body(i: Any) -> Any:
        count.assign_add(2.0)
        return i + 1

    turns = run(lambda i: ops.while_loop(lambda i: count.value < 7, body, i))(jnp.array(0))
    assert (int(turns), float(count)) == (4, 8.0)


def test_fori_loop_inside_scan(run: Any, count: Variable) -> None:
    def inner(i: Any, y: Any) -> Any:
        count.assign_add(1.0)
        return y + count.value

    last, _ = run(lambda xs: ops.scan(lambda c, x: (ops.fori_loop(0, 2, inner, c), x), 0.0, xs))(jnp.ones(3))
    assert (float(last), float(count)) == (21.0, 6.0)


def test_reading_alone_traces_the_body_once(count: Variable) -> None:
    traced: list[int] = []
    ops.vectorized_map(lambda x: (traced.append(1), x + count.value)[1], jnp.ones(3))
    assert len(traced) == 1


def test_state_is_carried_in_its_own_precision_under_autocast(count: Variable) -> None:
    with variables.autocasting("bfloat16"):
        ops.fori_loop(0, 3, lambda i, y: (count.assign(1.001), y)[1], 0.0)
    assert float(count) == float(np.float32(1.001))


def test_writes_stay_in_the_frame_of_a_pure_call(count: Variable) -> None:
    call = variables.pure(lambda: ops.fori_loop(0, 3, lambda i, y: (count.assign_add(1.0), y)[1], 0), [count])
    _, new = call([jnp.float32(10)])
    assert (float(new[0]), float(count)) == (13.0, 0.0)


@pytest.mark.parametrize("body", ["read", "write"])
def test_bare_jit_around_a_loop_is_refused(count: Variable, body: str) -> None:
    def step(i: Any, y: Any) -> Any:
        if body == "write":
            count.assign_add(1.0)
        return y + count.value

    with pytest.raises(VariableInJitError, match=r"'count'.*bare jax\.jit"):
        jax.jit(lambda: ops.fori_loop(0, 3, step, 0.0))()
    assert float(count) == 0


def test_gradients_flow_through_state(count: Variable) -> None:
    def loss(x: Any) -> Any:
        ops.fori_loop(0, 3, lambda i, y: (count.assign_add(x), y)[1], 0)
        return count.value * 2

    grad = jax.grad(lambda x: variables.pure(loss, [count])([jnp.float32(0)], x)[0])(1.0)
    assert float(grad) == 6.0


def test_custom_gradient_is_used() -> None:
    @ops.custom_gradient
    def doubled(x: Any) -> Any:
        return x * 2, lambda upstream: upstream * 100

    assert float(doubled(3.0)) == 6 and float(jax.grad(doubled)(3.0)) == 100


def test_structures_go_through() -> None:
    xs = {"a": jnp.array([1, 2]), "b": jnp.array([3, 4])}
    carry, ys = ops.scan(lambda c, x: ({"n": c["n"] + x["a"]}, (c["n"], x["b"])), {"n": 0}, xs)
    assert int(carry["n"]) == 3 and [y.tolist() for y in ys] == [[0, 1], [3, 4]]
    turns, same = ops.while_loop(lambda i, x: i < 2, lambda i, x: [i + 1, x], [0, jnp.ones(1)])
    assert (int(turns), same.tolist()) == (2, [1.0])
