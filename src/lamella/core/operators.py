"""The operators of an array, for things that stand for one: `Variable`, `Masked`, symbolic tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

BINARY = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and_",
    "or_",
    "xor",
]
REFLECTED = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor"]
UNARY = ["neg", "pos", "abs", "invert"]


def give_operators(cls: type, apply: Callable[[Callable[..., Any], tuple[Any, ...]], Any]) -> None:
    """Define the dunder methods of `cls` as `apply(operator_function, operands)`."""

    def forward(op: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, *others: apply(op, (self, *others))

    def reflected(op: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, other: apply(op, (other, self))

    for name in (*BINARY, *UNARY):
        setattr(cls, f"__{name.strip('_')}__", forward(getattr(operator, name)))
    for name in REFLECTED:
        setattr(cls, f"__r{name.strip('_')}__", reflected(getattr(operator, name)))
    cls.__hash__ = object.__hash__  # type: ignore[method-assign, assignment]


class ArrayLike:
    """A thing that has its array in `value` and behaves as that array in arithmetic and in jnp."""

    __array_priority__ = 100
    __array_ufunc__: Any = None
    value: Any

    def __jax_array__(self) -> Any:
        return self.value

    def __getitem__(self, index: Any) -> Any:
        return self.value[index]

    def __len__(self) -> int:
        return len(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)


def _on_values(op: Callable[..., Any], operands: tuple[Any, ...]) -> Any:
    return op(*(x.value if isinstance(x, ArrayLike) else x for x in operands))


give_operators(ArrayLike, _on_values)
