"""The one mechanism for shapes: trace a call on symbolic dimensions and read what comes out."""

from __future__ import annotations

import itertools
import re
import traceback
from collections.abc import Callable
from typing import Any

import jax
from jax.errors import InconclusiveDimensionOperation

from lamella.core.axes import BATCH, Dim, is_symbolic, symbol
from lamella.core.errors import (
    LamellaError,
    NotTraceableError,
    ShapeError,
    SymbolicBranchError,
    is_user_file,
    user_line,
)
from lamella.core.masked import mask_of, value_of, with_mask
from lamella.core.sample import outside_samples
from lamella.core.structure import flatten, unflatten
from lamella.core.variable import Frame

Spec = jax.ShapeDtypeStruct
Pair = tuple[Spec, Spec | None]
_opaque: dict[str, Dim] = {}
_numbers = itertools.count(1)


def trace(call: Callable[[list[Any]], Any], pairs: list[Pair], what: str) -> Any:
    """Return the structure that `call` returns, with specs as leaves (masked pairs of specs where masks go along).

    `pairs` are the specs of the inputs, each with its mask's or None. State written on the way is forgotten. If the
    sizes that are not known must agree for the call to make sense, they are taken to agree, as Keras does; if JAX
    cannot follow symbols through the call, two sets of concrete sizes settle its shape.
    """
    try:
        return _settled(_evaluate(call, pairs))
    except Exception as error:
        if branched_in_python(error):
            raise branch_error(error, what) from error
        answer = None
        if not isinstance(error, LamellaError) or isinstance(error, ShapeError):
            answer = _with_axes_unified(call, pairs)
        if answer is None and not isinstance(error, LamellaError):
            answer = _with_concrete_sizes(call, pairs)
        if answer is None:
            explained = value_error(error, what)
            if explained is None:
                raise
            raise explained from error
        return answer


def _evaluate(call: Callable[[list[Any]], Any], pairs: list[Pair]) -> Any:
    """Trace once; the structure of masked pairs is kept beside what JAX sees."""
    kept: list[Any] = []

    def on_arrays(values: list[Any], masks: list[Any]) -> Any:
        with Frame(), outside_samples():
            out = call([with_mask(value, mask) for value, mask in zip(values, masks, strict=True)])
        leaves, tree = flatten(out)
        kept[:] = [tree]
        return [value_of(leaf) for leaf in leaves], [mask_of(leaf) for leaf in leaves]

    values, masks = jax.eval_shape(on_arrays, [spec for spec, _ in pairs], [mask for _, mask in pairs])
    return unflatten(kept[0], [with_mask(value, mask) for value, mask in zip(values, masks, strict=True)])


def _settled(outputs: Any) -> Any:
    """Give each composite size, such as floordiv(n1 - 3, 2) + 1, a symbol of its own: equal sizes, equal symbols."""

    def settle(leaf: Any) -> Any:
        mask = mask_of(leaf)
        return with_mask(_simple(value_of(leaf)), None if mask is None else _simple(mask))

    leaves, tree = flatten(outputs)
    return unflatten(tree, [settle(leaf) for leaf in leaves])


def _simple(spec: Any) -> Spec:
    return Spec(tuple(_simple_dim(dim) for dim in spec.shape), spec.dtype)


def _simple_dim(dim: Dim) -> Dim:
    text = str(dim)
    # Products with the batch stay: a merged axis must be split again by whoever merged it.
    if not is_symbolic(dim) or text.isidentifier() or "batch" in text:
        return dim
    if text not in _opaque:
        _opaque[text] = symbol(f"m{next(_numbers)}")
    return _opaque[text]


def _with_axes_unified(call: Callable[[list[Any]], Any], pairs: list[Pair]) -> Any:
    """Try again with one size for all unknown axes at the same place, and a fixed batch where any input has one."""
    firsts: dict[int, Dim] = {}
    for spec, _ in pairs:
        for axis, dim in enumerate(spec.shape):
            known = firsts.setdefault(axis, dim)
            if axis == 0 and is_symbolic(known) and not is_symbolic(dim):
                firsts[0] = dim

    def unified(spec: Spec | None) -> Spec | None:
        if spec is None:
            return None
        dims = (firsts[axis] if is_symbolic(dim) else dim for axis, dim in enumerate(spec.shape))
        return Spec(tuple(dims), spec.dtype)

    changed = [(unified(spec), unified(mask)) for spec, mask in pairs]
    if changed == pairs:
        return None
    try:
        return _settled(_evaluate(call, changed))  # type: ignore[arg-type]
    except Exception:
        return None


def _with_concrete_sizes(call: Callable[[list[Any]], Any], pairs: list[Pair]) -> Any:
    """Trace with two sets of sizes; an output size that follows a symbol in both is that symbol."""
    symbols = {dim for spec, _ in pairs for dim in spec.shape if is_symbolic(dim)}
    if not symbols or any(not str(dim).isidentifier() for dim in symbols):
        return None
    sizes = [{dim: size + 4 * i for i, dim in enumerate(sorted(symbols, key=str))} for size in (16, 34)]
    answers = []
    for chosen in sizes:

        def concrete(spec: Spec | None, chosen: dict[Dim, int] = chosen) -> Spec | None:
            return None if spec is None else Spec(tuple(chosen.get(dim, dim) for dim in spec.shape), spec.dtype)

        try:
            answers.append(_evaluate(call, [(concrete(spec), concrete(mask)) for spec, mask in pairs]))  # type: ignore[misc]
        except Exception:
            return None
    (first, tree), (second, _) = flatten(answers[0]), flatten(answers[1])

    def merged(a: Any, b: Any) -> Any:
        if a is None:
            return None
        dims = (_followed(x, y, *sizes) for x, y in zip(a.shape, b.shape, strict=True))
        return Spec(tuple(dims), a.dtype)

    pairs_out = [
        with_mask(merged(value_of(a), value_of(b)), merged(mask_of(a), mask_of(b)))
        for a, b in zip(first, second, strict=True)
    ]
    return unflatten(tree, pairs_out)


def _followed(first: int, second: int, sizes: dict[Dim, int], others: dict[Dim, int]) -> Dim:
    if first == second:
        return first
    for dim, size in sizes.items():
        if first == size and second == others[dim]:
            return dim
    return symbol(f"m{next(_numbers)}")


def value_error(error: BaseException, what: str) -> NotTraceableError | None:
    """Say which line asked for values while only shapes were known, if that is what went wrong."""
    line = user_line(error.__traceback__)
    if isinstance(error, jax.errors.TracerArrayConversionError):
        subject, mend = "NumPy is called", "the same function of lamella.ops or jax.numpy"
    elif isinstance(error, jax.errors.TracerIntegerConversionError | jax.errors.ConcretizationTypeError):
        subject, mend = (
            "a Python number is made",
            "sizes from x.shape; ops.where or ops.take for what depends on values",
        )
    else:
        return None
    return NotTraceableError(f"Calling {what}, {subject} on values that are not known yet.\n  {line}", mend=mend)


def branched_in_python(error: BaseException) -> bool:
    """Tell whether Python code of the user's compared, looped over or indexed with a size that is not known yet."""
    inconclusive = isinstance(error, InconclusiveDimensionOperation)
    if not inconclusive and not (isinstance(error, TypeError) and "_DimExpr" in str(error)):
        return isinstance(error, jax.errors.TracerBoolConversionError) and _last_is_users(error)
    return _last_is_users(error)


def _last_is_users(error: BaseException) -> bool:
    entries = traceback.extract_tb(error.__traceback__)
    outside = [e for e in entries if "shape_poly" not in e.filename and "jax/_src/core.py" not in e.filename]
    return bool(outside) and is_user_file(outside[-1].filename)


def branch_error(error: BaseException, what: str) -> SymbolicBranchError:
    """Say which line branched on what, and what to write in its place."""
    line = user_line(error.__traceback__)
    if isinstance(error, jax.errors.TracerBoolConversionError):
        subject, mend = "the values of an array", "ops.where(condition, a, b) or ops.cond(condition, f, g)"
    else:
        found = re.search(r"Symbolic dimension comparison '(.*?)' \S+ '(.*?)'", str(error))
        subject = f"the size {found.group(1)!r}" if found else "a size"
        subject += " that is not known yet" + (" (the batch)" if str(BATCH) in subject else "")
        mend = "ops.map, ops.scan or ops.cond; or a fixed size: Input(..., batch_size=32)"
    return SymbolicBranchError(f"Calling {what}, Python code depends on {subject}.\n  {line}", mend=mend)
