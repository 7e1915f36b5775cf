"""Rules for calls, branches and loops: the programs inside are entered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax

from lamella.batch.equation import Equation, RuleTable
from lamella.batch.rules_elementwise import elementwise
from lamella.batch.values import CONSTANT, LOST, SINGLE, Kind, Value, tainted, uses_of

rule = RuleTable()

CALLS = {
    **dict.fromkeys(
        ["jit", "closed_call", "core_call", "remat2", "checkpoint", "composite", "custom_jvp_call_jaxpr"], "jaxpr"
    ),
    **dict.fromkeys(["custom_jvp_call", "custom_vjp_call", "closed_call"], "call_jaxpr"),
    **{"custom_vmap_call": "call"},
}
_ROUNDS = 50


@rule(*CALLS, whole=True)
def call(eq: Equation, ins: Sequence[Value]) -> list[Value]:
    """The equations inside."""
    return eq.walk.enter(eq.eqn, eq.params[CALLS[eq.name]], ins)


@rule("call_hi_primitive", whole=True)
def call_of_high_primitive(eq: Equation, ins: Sequence[Value]) -> list[Value]:
    """What the primitive is made of, traced; JAX 0.12 has searchsorted as one."""
    inside = jax.make_jaxpr(eq.params["_prim"].expand)(*(variable.aval for variable in eq.eqn.invars))
    return eq.walk.enter(eq.eqn, inside, ins)


@rule("custom_linear_solve", whole=True)
def linear_solve(eq: Equation, ins: Sequence[Value]) -> list[Value]:
    """The solver inside, on its constants and the right-hand sides."""
    lengths = eq.params["const_lengths"]
    before = lengths.matvec + lengths.vecmat
    constants = ins[before : before + lengths.solve]
    return eq.walk.enter(eq.eqn, eq.params["jaxprs"].solve, [*constants, *ins[sum(lengths) :]])


@rule("cond", whole=True)
def cond(eq: Equation, ins: Sequence[Value]) -> list[Value]:
    """What any branch may answer; and all of it depends on the choice."""
    choice, *operands = ins
    branches = [eq.walk.enter(eq.eqn, branch, operands) for branch in eq.params["branches"]]
    return [joined(eq, [choice, *answers], of=answers) for answers in zip(*branches, strict=True)]


def joined(eq: Equation, values: Sequence[Value], of: Sequence[Value] | None = None) -> Value:
    """Return what holds of an array that may be any of several; marks on the numbers stay where all agree."""
    choices = values if of is None else of
    marks = {(value.rows, value.known) for value in choices}
    value = tainted(_of_any_kind(eq, values), values if len(marks) > 1 else [replace(v, rows=None) for v in values])
    if len(marks) == 1:
        ((rows, known),) = marks
        return replace(value, rows=rows, known=known)
    return value


def _of_any_kind(eq: Equation, values: Sequence[Value]) -> Value:
    kinds = {value.kind for value in values} - {Kind.CONSTANT}
    if not kinds:
        return CONSTANT
    if Kind.LOST in kinds:
        return LOST
    if kinds == {Kind.SINGLE}:
        return SINGLE
    if kinds == {Kind.ALONG}:
        return elementwise(eq, values)
    return eq.mixed("looped")


def _settled(eq: Equation, start: Sequence[Value], step: Callable[[list[Value]], list[Value]]) -> list[Value]:
    """Join what a loop carries with what it makes of it until nothing changes."""
    # A number that is known before the first round changes in the next.
    carried = [replace(value, known=None) for value in start]
    for _ in range(_ROUNDS):
        after = [joined(eq, pair) for pair in zip(carried, step(carried), strict=True)]
        if after == carried:
            return carried
        carried = after
    return [eq.doubtful("no end") for _ in carried]


@rule("while", whole=True)
def while_loop(eq: Equation, ins: Sequence[Value]) -> list[Value]:
    """What is carried, until it settles; whether to go on may be asked of each sample by itself."""
    test, body = eq.params["cond_jaxpr"], eq.params["body_jaxpr"]
    for_test, for_body = eq.params["cond_nconsts"], eq.params["body_nconsts"]
    test_values, body_values = ins[:for_test], ins[for_test : for_test + for_body]

    def step(carried: list[Value]) -> list[Value]:
        (going_on,) = eq.walk.enter(eq.eqn, test, [*test_values, *carried])
        after = eq.walk.enter(eq.eqn, body, [*body_values, *carried])
        return [joined(eq, [going_on, value], of=[value]) for value in after]

    return _settled(eq, ins[for_test + for_body :], step)


@rule("scan", whole=True)
def scan(eq: Equation, ins: Sequence[Value]) -> list[Value]:
    """A loop over another axis keeps the samples along theirs; over the batch, if it carries nothing from one on."""
    consts, carries = _scan_counts(eq.params)
    scanned = ins[consts + carries :]
    over_batch = {value.layout for value in scanned if value.is_along and value.axis == 0}
    if len(over_batch) > 1 or (over_batch and any(value.kind is Kind.SINGLE for value in ins)):
        return [eq.mixed("crossed") for _ in eq.out_shapes]
    constants = list(ins[:consts])
    pieces = [_piece(value) for value in scanned]
    counted = frozenset({"size", "order"}) if eq.walk.follows_size([eq.params["length"]]) else frozenset()

    def step(carried: list[Value]) -> list[Value]:
        return eq.walk.enter(eq.eqn, eq.params["jaxpr"], [*constants, *carried, *pieces])

    def carry(carried: list[Value]) -> list[Value]:
        after = step(carried)[:carries]
        if over_batch:
            after = [_not_from_samples(eq, value) for value in after]
        return [replace(value, uses=uses_of(value) | counted, rows=None) for value in after]

    settled = _settled(eq, ins[consts : consts + carries], carry)
    return [*settled, *(_stacked(value, over_batch) for value in step(settled)[carries:])]


def _scan_counts(params: dict[str, Any]) -> tuple[int, int]:
    """Return how many inputs a scan holds on to and how many it carries; JAX 0.12 tells it in another way."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carries, _ = params["ft_in"].unpack()
    return len(consts), len(carries)


def _piece(value: Value) -> Value:
    """One step's part of a scanned array."""
    if not value.is_along:
        return replace(value, rows=None, uses=uses_of(value), known=None)
    if value.axis == 0:
        return tainted(SINGLE, [value])
    return tainted(value.moved(value.axis - 1), [value])


def _not_from_samples(eq: Equation, value: Value) -> Value:
    if value.kind is not Kind.SINGLE:
        return value
    return tainted(eq.mixed("carried", then=CONSTANT), [value])


def _stacked(value: Value, over_batch: set[Any]) -> Value:
    """All steps' parts as one array."""
    plain = replace(value, rows=None, uses=uses_of(value), known=None)
    if value.is_along:
        return replace(plain, axis=value.axis + 1)
    if value.kind is Kind.SINGLE and over_batch:
        ((_, outer, inner),) = over_batch
        return replace(plain, kind=Kind.ALONG, axis=0, outer=outer, inner=inner)
    return plain
