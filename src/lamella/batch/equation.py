"""One equation of a traced program, as the rules of the proof see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias, TypeVar

from lamella.batch.values import LOST, Kind, Value
from lamella.core.axes import Dim


@dataclass(frozen=True)
class Reason:
    """Why an equation mixes samples, or may: the kind of thing that happens, and on which axis."""

    what: str
    axis: int | None = None
    detail: str = ""


class Walker(Protocol):
    """What a rule may ask of the walk around it."""

    size: Dim

    def enter(self, eqn: Any, program: Any, ins: Sequence[Value]) -> list[Value]:
        """Walk the program inside an equation."""

    def by_kind(self, eq: Equation, ins: Sequence[Value], rule: Rule) -> Value:
        """Answer for values that no rule need look at, and ask the rule for others."""

    def follows_size(self, dims: Sequence[Dim]) -> bool:
        """Tell whether any of these sizes depends on the batch's."""

    def place(self, eqn: Any, reason: Reason) -> Any:
        """Return the site of an equation that mixes samples."""


class Equation:
    """A primitive with its parameters and shapes; `mixed` and `doubtful` make the answers that name it."""

    def __init__(self, walk: Walker, eqn: Any) -> None:
        self.walk = walk
        self.eqn = eqn
        self.name: str = eqn.primitive.name
        self.params: dict[str, Any] = eqn.params
        self.size: Dim = walk.size
        self.shapes: list[tuple[Dim, ...]] = [tuple(getattr(v.aval, "shape", ())) for v in eqn.invars]
        self.out_shapes: list[tuple[Dim, ...]] = [tuple(getattr(v.aval, "shape", ())) for v in eqn.outvars]

    def mixed(self, what: str, axis: int | None = None, *, then: Value = LOST, detail: str = "") -> Value:
        """Answer that samples mix here; `then` is how to go on, as if they had not."""
        place = self.walk.place(self.eqn, Reason(what, axis, detail))
        return replace(then, mixed=then.mixed | {place})

    def doubtful(self, what: str, detail: str = "") -> Value:
        """Answer that it cannot be told whether samples mix here."""
        place = self.walk.place(self.eqn, Reason(what, None, detail))
        return Value(Kind.LOST, doubtful=frozenset([place]))


Rule: TypeAlias = Callable[[Equation, Sequence[Value]], "Value | list[Value]"]
AnyRule = TypeVar("AnyRule", bound=Rule)


class RuleTable:
    """Rules by the names of primitives.

    A rule sees equations in which at least one array has its samples along an axis, and answers with where they lie
    in the outputs. A `whole` rule sees every equation, and answers for everything that its inputs depend on too.
    """

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self.whole: set[str] = set()

    def __call__(self, *names: str, whole: bool = False) -> Callable[[AnyRule], AnyRule]:
        """Enter a rule for some primitives."""

        def enter(rule: AnyRule) -> AnyRule:
            self.rules.update(dict.fromkeys(names, rule))
            if whole:
                self.whole.update(names)
            return rule

        return enter
