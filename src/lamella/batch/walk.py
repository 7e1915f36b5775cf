"""The walk over a traced program: each equation by its rule, values in, values out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lamella.batch import rules_elementwise, rules_flow, rules_indexing, rules_reduction, rules_structure
from lamella.batch.equation import Equation, Reason, Rule
from lamella.batch.values import CONSTANT, LOST, SINGLE, Dims, Kind, Value, along, quotient, tainted
from lamella.core.axes import Dim

_TABLES = [m.rule for m in (rules_elementwise, rules_structure, rules_reduction, rules_indexing, rules_flow)]
RULES: dict[str, Rule] = {name: rule for table in _TABLES for name, rule in table.rules.items()}
_WHOLE = {name for table in _TABLES for name in table.whole}


@dataclass(frozen=True, eq=False)
class Site:
    """An equation that mixes samples, or may; with the equations around it, outermost first."""

    number: int
    eqns: tuple[Any, ...]
    reason: Reason


class Walk:
    """One walk: `size` is the size of the axis whose samples are followed, a symbol or a number.

    Follow the batch through a program: `Walk(BATCH).run(jaxpr, [], [along(0)])`. Any other axis can be followed in
    the same way.
    """

    def __init__(self, size: Dim) -> None:
        self.size = size
        self._sites: dict[Any, Site] = {}
        self._around: tuple[Any, ...] = ()
        self._names = None if isinstance(size, int) else re.compile(rf"\b{re.escape(str(size))}\b")

    def run(self, jaxpr: Any, consts: Sequence[Value], ins: Sequence[Value]) -> list[Value]:
        """Return the values of a program's outputs."""
        known = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, ins, strict=True))
        for eqn in jaxpr.eqns:
            values = [_literal(v) if hasattr(v, "val") else known[v] for v in eqn.invars]
            known.update(zip(eqn.outvars, self._equation(eqn, values), strict=True))
        return [_literal(v) if hasattr(v, "val") else known[v] for v in jaxpr.outvars]

    def enter(self, eqn: Any, program: Any, ins: Sequence[Value]) -> list[Value]:
        """Walk the program inside an equation."""
        jaxpr = getattr(program, "jaxpr", program)
        around, self._around = self._around, (*self._around, eqn)
        try:
            return self.run(jaxpr, [CONSTANT] * len(jaxpr.constvars), ins)
        finally:
            self._around = around

    def _equation(self, eqn: Any, ins: list[Value]) -> list[Value]:
        eq = Equation(self, eqn)
        try:
            answer = self._answer(eq, ins)
        except (KeyError, AttributeError):
            # Parameters that this version of JAX has and the rule does not know.
            answer = tainted(eq.doubtful("no rule"), ins)
        answers = answer if isinstance(answer, list) else [answer] * len(eq.out_shapes)
        return [self._checked(eq, value, shape) for value, shape in zip(answers, eq.out_shapes, strict=True)]

    def _answer(self, eq: Equation, ins: list[Value]) -> Any:
        rule = RULES.get(eq.name)
        if rule is None:
            if any(value.kind is not Kind.CONSTANT for value in ins):
                return tainted(eq.doubtful("no rule"), ins)
            sized = any(self.follows_size(shape) for shape in [*eq.shapes, *eq.out_shapes])
            return tainted(replace(CONSTANT, uses=frozenset({"size", "order"} if sized else ())), ins)
        if eq.name in _WHOLE:
            return rule(eq, ins)
        return tainted(self.by_kind(eq, ins, rule), ins)

    def by_kind(self, eq: Equation, ins: Sequence[Value], rule: Rule) -> Value:
        """Answer for values that no rule need look at, and ask the rule where samples lie along an axis."""
        kinds = {value.kind for value in ins}
        if Kind.LOST in kinds:
            return LOST
        if Kind.SINGLE in kinds:
            return eq.mixed("looped") if Kind.ALONG in kinds else SINGLE
        if Kind.ALONG in kinds:
            return rule(eq, ins)  # type: ignore[return-value]
        return self._constant(eq, ins, rule)

    def _constant(self, eq: Equation, ins: Sequence[Value], rule: Rule) -> Value:
        """Constants of the batch's size depend on that size where the rule would mix samples that lay in them."""
        if not any(self.follows_size(shape) for shape in eq.shapes):
            return CONSTANT
        ghosts = [self._ghost(value, shape) for value, shape in zip(ins, eq.shapes, strict=False)]
        if all(ghost is not None for ghost in ghosts):
            answer = rule(eq, [ghost for ghost in ghosts if ghost is not None])
            answers = answer if isinstance(answer, list) else [answer]
            if not any(value.mixed or value.doubtful or value.uses for value in answers):
                return CONSTANT
        return replace(CONSTANT, uses=frozenset({"size", "order"}))

    def _ghost(self, value: Value, shape: Dims) -> Value | None:
        for axis, dim in enumerate(shape):
            if self.follows_size([dim]):
                inner = quotient(dim, self.size)
                return None if inner is None else along(axis, 1, inner)
        return replace(value, rows=None)

    def _checked(self, eq: Equation, value: Value, shape: Dims) -> Value:
        """Hold an answer against the shape: empty arrays depend on nothing, and the samples' axis has its size."""
        if any(isinstance(dim, int) and dim == 0 for dim in shape):
            return CONSTANT
        if value.is_along:
            if not value.axis < len(shape) or shape[value.axis] != value.outer * self.size * value.inner:
                return tainted(eq.doubtful("lost count"), [value])
            others = [dim for axis, dim in enumerate(shape) if axis != value.axis]
        else:
            others = [dim for dim in shape if value.kind is Kind.SINGLE or self.follows_size([dim])][1:]
        if self.follows_size(others):
            return replace(value, uses=value.uses | {"size", "order"})
        return value

    def follows_size(self, dims: Dims) -> bool:
        """Tell whether any of these sizes depends on the batch's."""
        if self._names is None:
            return False
        return any(not isinstance(dim, int) and self._names.search(str(dim)) is not None for dim in dims)

    def place(self, eqn: Any, reason: Reason) -> Site:
        """Return the site of an equation: the same one each time a loop comes by."""
        eqns = (*self._around, eqn)
        key = tuple(map(id, eqns)), reason
        return self._sites.setdefault(key, Site(len(self._sites), eqns, reason))


def _literal(literal: Any) -> Value:
    return replace(CONSTANT, known=literal.val.item() if hasattr(literal.val, "item") else literal.val)
