"""Programs at random: operations, masks, loops and reshapes over a batch, on any axis, right and wrong alike.

A program is a list of steps, each a function with its parameters and the places of its operands in a pool. It is
written down while it is traced with a batch of unknown size, so that it can be run again on numbers.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

TIME, FEATURES = 4, 3
Step = Callable[..., Any]
KEY = jnp.array([7, 0], "uint32")
TABLE = jnp.sin(jnp.arange(21.0)).reshape(7, 3)

UNARY: list[Step] = [jnp.sin, jnp.tanh, jax.nn.relu, jnp.abs, jnp.square, jnp.sign, jax.nn.gelu, lax.stop_gradient]
BINARY: list[Step] = [jnp.add, jnp.multiply, jnp.maximum, jnp.subtract, lambda a, b: jnp.where(a > 0, a, b)]
REDUCE: list[Step] = [jnp.sum, jnp.mean, jnp.max, jnp.min, jnp.std, jnp.any, jnp.prod, jax.nn.logsumexp, jnp.median]
ALONG: list[Step] = [
    jnp.cumsum,
    jnp.sort,
    jax.nn.softmax,
    jnp.flip,
    lax.cummax,
    lambda a, axis: jnp.argsort(a, axis=axis),
    lambda a, axis: jnp.roll(a, 1, axis=axis),
    lambda a, axis: jnp.fft.fft(a, axis=axis).real,
    lambda a, axis: jnp.diff(a, axis=axis),
    lambda a, axis: jnp.take_along_axis(a, jnp.argsort(a, axis=axis), axis=axis),
    lambda a, axis: lax.associative_scan(jnp.add, a, axis=axis),
]


def _axis(rng: random.Random, rank: int) -> int:
    """The batch is asked for less often than the other axes, so that programs stay independent for some steps."""
    return 0 if rank == 1 or rng.random() < 0.12 else rng.randrange(1, rank)


def unary(rng: random.Random, a: Any) -> Step:
    return rng.choice(UNARY)


def reduce(rng: random.Random, a: Any) -> Step:
    function, axis, keep = rng.choice(REDUCE), _axis(rng, a.ndim), rng.random() < 0.5
    return lambda a: function(a, axis=axis, keepdims=keep).astype("float32")


def argreduce(rng: random.Random, a: Any) -> Step:
    axis = _axis(rng, a.ndim)
    return lambda a: jnp.argmax(a, axis=axis).astype("float32")


def along(rng: random.Random, a: Any) -> Step:
    function, axis = rng.choice(ALONG), _axis(rng, a.ndim)
    return lambda a: function(a, axis=axis).astype("float32")


def part(rng: random.Random, a: Any) -> Step:
    axis = _axis(rng, a.ndim)
    index = rng.choice([0, -1, slice(None), slice(1, None), slice(None, None, -1), slice(None, -1), slice(0, 2)])
    where = (slice(None),) * axis + (index,)
    return lambda a: a[where]


def reshape(rng: random.Random, a: Any) -> Step:
    return rng.choice(
        [
            lambda a: a.reshape(a.shape[0], -1),
            lambda a: a.reshape(-1, a.shape[-1]),
            lambda a: a.reshape(-1),
            lambda a: a.reshape(a.shape[0], -1, 2),
            lambda a: a.reshape(a.shape[1], a.shape[0], *a.shape[2:]),
            lambda a: a.reshape(-1, TIME, FEATURES),
            lambda a: a.reshape(-1, FEATURES),
        ]
    )


def move(rng: random.Random, a: Any) -> Step:
    order = list(range(a.ndim))
    rng.shuffle(order)
    place = rng.randrange(a.ndim + 1)
    return rng.choice([lambda a: jnp.transpose(a, order), lambda a: jnp.expand_dims(a, place), jnp.squeeze])


def back(rng: random.Random, a: Any) -> Step:
    source = rng.randrange(a.ndim)
    return lambda a: jnp.moveaxis(a, source, 0)


def kernel(rng: random.Random, a: Any) -> Step:
    units = rng.choice([2, FEATURES])
    return lambda a: a @ jnp.cos(jnp.arange(a.shape[-1] * units, dtype="float32")).reshape(a.shape[-1], units)


def binary(rng: random.Random, a: Any, b: Any) -> Step:
    return rng.choice(BINARY)


def einsum(rng: random.Random, a: Any, b: Any) -> Step:
    letters = "bcdefg"
    left = letters[: a.ndim]
    right = "b" + "".join(rng.choice(letters[1:]) for _ in range(b.ndim - 1))
    if rng.random() < 0.2:
        right = "".join(rng.sample(letters, b.ndim))
    pool = sorted({*left, *right})
    kept = "b" + "".join(c for c in pool if c != "b" and rng.random() < 0.5) if rng.random() < 0.8 else rng.choice(pool)
    return lambda a, b: jnp.einsum(f"{left},{right}->{kept}", a, b)


def join(rng: random.Random, a: Any, b: Any) -> Step:
    axis = _axis(rng, a.ndim)
    return rng.choice([lambda a, b: jnp.concatenate([a, b], axis), lambda a, b: jnp.stack([a, b], axis)])


def widen(rng: random.Random, a: Any) -> Step:
    axis = _axis(rng, a.ndim)
    pads = [(1, 0) if i == axis else (0, 0) for i in range(a.ndim)]
    copies = [2 if i == axis else 1 for i in range(a.ndim)]
    return rng.choice(
        [lambda a: jnp.pad(a, pads), lambda a: jnp.repeat(a, 2, axis=axis), lambda a: jnp.tile(a, copies)]
    )


def index(rng: random.Random, a: Any, b: Any) -> Step:
    def own(a: Any, b: Any) -> Any:
        return a[jnp.arange(a.shape[0]), _whole(b, a.shape[1])]

    def own_set(a: Any, b: Any) -> Any:
        return a.at[jnp.arange(a.shape[0]), _whole(b, a.shape[1])].set(0.5)

    return rng.choice(
        [
            own,
            own_set,
            lambda a, b: TABLE[_whole(a, 7)],
            lambda a, b: jax.nn.one_hot(_whole(a, 4), 4),
            lambda a, b: a.at[0].set(0.0),
            lambda a, b: a.at[:, 0].set(0.0),
            lambda a, b: a.at[:, _whole(b.ravel(), 2)[:1]].add(1.0),
            lambda a, b: a[_whole(b, 2)],
            lambda a, b: jnp.zeros((a.shape[0], 4)).at[jnp.arange(a.shape[0]), _whole(b, 4)].add(a),
            lambda a, b: jnp.zeros((7,)).at[_whole(a, 7)].add(1.0),
        ]
    )


def _whole(a: Any, below: int) -> Any:
    """Small whole numbers out of any array: one for each sample if it has more axes."""
    while a.ndim > 1:
        a = a[..., 0]
    return jnp.clip(jnp.nan_to_num(jnp.abs(a) * 3), 0, below - 1).astype("int32")


def loop(rng: random.Random, a: Any, b: Any) -> Step:
    axis = _axis(rng, a.ndim)

    def scan(a: Any, b: Any) -> Any:
        moved = jnp.moveaxis(a, axis, 0)
        return lax.scan(lambda c, t: (jnp.tanh(c + t), c * t), jnp.zeros_like(moved[0]), moved)[rng_part]

    def counted(a: Any, b: Any) -> Any:
        return lax.fori_loop(0, a.shape[1], lambda i, c: c + a[:, i], jnp.zeros_like(a[:, 0]))

    def until(a: Any, b: Any) -> Any:
        return jax.vmap(lambda r: lax.while_loop(lambda c: jnp.abs(c).sum() < 3, lambda c: jnp.abs(c) * 2 + 1, r))(a)

    def all_until(a: Any, b: Any) -> Any:
        return lax.while_loop(lambda c: (jnp.abs(c) < 3).any(), lambda c: jnp.abs(c) * 2 + 1, a)

    def filled(a: Any, b: Any) -> Any:
        return lax.fori_loop(0, a.shape[0], lambda i, c: c.at[i].set(a[i]), jnp.zeros_like(a))

    rng_part = rng.randrange(2)
    return rng.choice(
        [
            scan,
            counted,
            until,
            all_until,
            filled,
            lambda a, b: lax.map(lambda row: jnp.sort(row, axis=-1) * 2, a),
            lambda a, b: lax.map(lambda row: row - b.mean(), a),
            lambda a, b: lax.scan(lambda c, row: (c + 1.0, row * c), jnp.float32(0), a)[1],
            lambda a, b: lax.cond(b.sum() > 0, jnp.sin, jnp.cos, a),
            lambda a, b: lax.cond(a.shape[-1] > 2, jnp.sin, jnp.cos, a),
            lambda a, b: jax.vmap(lambda r: lax.cond(r.sum() > 0, jnp.sin, jnp.cos, r))(a),
        ]
    )


def noise(rng: random.Random, a: Any) -> Step:
    def own(a: Any) -> Any:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(a.shape[0]))
        return a * jax.vmap(lambda key: jax.random.uniform(key))(keys).reshape((-1,) + (1,) * (a.ndim - 1))

    return rng.choice(
        [
            own,
            lambda a: a * jax.random.bernoulli(KEY, 0.5, a.shape),
            lambda a: a + jax.random.normal(KEY, a.shape[1:]),
            lambda a: jax.random.permutation(KEY, a, axis=0, independent=False),
        ]
    )


def batch_size(rng: random.Random, a: Any) -> Step:
    def numbered(a: Any) -> Any:
        return a + jnp.arange(a.shape[0], dtype="float32").reshape((-1,) + (1,) * (a.ndim - 1))

    return rng.choice(
        [numbered, lambda a: a / a.shape[0], lambda a: a * jnp.ones(a.shape).sum(), lambda a: a + jnp.ones_like(a)]
    )


def window(rng: random.Random, a: Any) -> Step:
    size = [1] * a.ndim
    size[_axis(rng, a.ndim)] = 2
    ones = (1,) * a.ndim

    def convolve(a: Any) -> Any:
        taps = jnp.cos(jnp.arange(2.0 * a.shape[2] * 2)).reshape(2, a.shape[2], 2)
        return lax.conv_general_dilated(a, taps, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))

    return rng.choice(
        [
            convolve,
            lambda a: lax.reduce_window(a, -jnp.inf, lax.max, tuple(size), ones, "VALID"),
            lambda a: lax.reduce_window(a, 0.0, lax.add, tuple(size), ones, "SAME"),
        ]
    )


def matrix(rng: random.Random, a: Any) -> Step:
    def solved(a: Any) -> Any:
        square = jnp.einsum("...ij,...ik->...jk", a, a) + 2 * jnp.eye(a.shape[-1])
        return jnp.linalg.solve(square, jnp.ones(square.shape[:-1])[..., None])

    return rng.choice([solved, lambda a: jnp.linalg.qr(a)[1], lambda a: a / jnp.linalg.norm(a, axis=-1, keepdims=True)])


def wrapped(rng: random.Random, a: Any) -> Step:
    inner = rng.choice([unary, reduce, along, part, move, reshape])(rng, a)

    @jax.custom_vjp
    def custom(a: Any) -> Any:
        return inner(a)

    custom.defvjp(lambda a: (inner(a), a), lambda a, g: (a,))
    way = rng.choice([jax.checkpoint, jax.jit, lambda f: custom])
    return lambda a: way(inner)(a)


def mapped(rng: random.Random, a: Any) -> Step:
    inner = rng.choice([unary, reduce, along, part, kernel])(rng, a[0] if a.ndim > 1 else a)
    axis = 0 if rng.random() < 0.7 else rng.randrange(a.ndim)
    return lambda a: jax.vmap(inner, in_axes=axis)(a)


GRAMMAR: list[tuple[Callable[..., Step], int, int]] = [
    # (maker, operands, weight)
    (unary, 1, 3),
    (binary, 2, 4),
    (reduce, 1, 3),
    (argreduce, 1, 1),
    (along, 1, 3),
    (part, 1, 2),
    (reshape, 1, 3),
    (move, 1, 3),
    (back, 1, 1),
    (kernel, 1, 2),
    (einsum, 2, 3),
    (join, 2, 2),
    (widen, 1, 1),
    (index, 2, 3),
    (loop, 2, 3),
    (noise, 1, 1),
    (batch_size, 1, 1),
    (window, 1, 2),
    (matrix, 1, 1),
    (wrapped, 1, 2),
    (mapped, 1, 2),
]


@dataclass
class Program:
    """Steps over a pool that starts with (batch, time, features), (batch, features) and a mask (batch, time)."""

    steps: list[tuple[Step, tuple[int, ...]]] = field(default_factory=list)
    output: int = 0

    def __call__(self, x: Any, y: Any, mask: Any) -> Any:
        pool = _start(x, y, mask)
        for function, operands in self.steps:
            pool.append(function(*(pool[place] for place in operands)))
        return pool[self.output]


def _start(x: Any, y: Any, mask: Any) -> list[Any]:
    x, y, mask = jnp.asarray(x), jnp.asarray(y), jnp.asarray(mask)
    return [x, y, mask.astype("float32"), jnp.where(mask[..., None], x, 0.0), x * y[:, None, :]]


def generate(seed: int, specs: tuple[Any, Any, Any], length: int) -> Program:
    """Return a program of up to `length` steps; steps that do not fit their operands are left out."""
    rng = random.Random(seed)
    program = Program()
    makers, operands, weights = zip(*GRAMMAR, strict=True)

    def traced(x: Any, y: Any, mask: Any) -> None:
        pool = _start(x, y, mask)
        for _ in range(length):
            (choice,) = rng.choices(range(len(makers)), weights)
            # Late values are used more often, so that programs grow deep.
            places = tuple(max(rng.randrange(len(pool)) for _ in range(2)) for _ in range(operands[choice]))
            values = [pool[place] for place in places]
            if any(value.ndim == 0 or value.ndim > 4 for value in values):
                continue
            try:
                step = makers[choice](rng, *values)
                out = step(*values)
            except Exception:
                continue
            program.steps.append((step, places))
            pool.append(out)
        program.output = len(pool) - 1

    jax.eval_shape(traced, *specs)
    return program
