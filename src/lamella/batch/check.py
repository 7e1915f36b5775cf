"""check: do the samples of a batch mix in a layer, a model, a loss or a function?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from lamella.batch.program import Program, trace_program, untouched
from lamella.batch.report import Place, Report, explained
from lamella.batch.source import Origin, layer_path, origin
from lamella.batch.values import CONSTANT, Value, along
from lamella.batch.walk import Site, Walk
from lamella.core.axes import BATCH, Dim, as_shape, exact, is_symbolic
from lamella.core.errors import ArgumentError, BatchSizeError, LamellaError, ShapeError, user_frame
from lamella.core.masked import Masked, mask_of, value_of, with_mask
from lamella.core.structure import leaves_of, map_leaves
from lamella.graph.trace import Spec, branch_error, branched_in_python, value_error
from lamella.parts.loss import Loss

# Two primes, far from any size that people write into code; nothing of that size is ever allocated.
_SIZES = (104729, 130363)


def check(target: Any, *shapes: Any, training: bool = False, mask: bool = False) -> Report:
    """Prove for a layer, a model, a loss or a function whether samples mix: (batch, ...) -> (batch, ...).

    `shapes` are those of one sample, one for each argument, as in `Input`: `(10, 5)`, with None for a size that may
    vary; a list or dict of them for an argument that is one. Arrays, specs and symbolic tensors are taken too, with
    their dtypes and with the batch as axis 0. A model that knows its inputs needs none. Without a dtype it is float32,
    or int32 where floats cannot be used. A loss is asked before it is averaged. `mask=True` gives the first argument
    a mask over its steps.

    >>> import lamella
    >>> check(lamella.layers.Dense(3), (10, 5)).verdict
    'independent'
    >>> check(lamella.layers.BatchNormalization(name="norm"), (5,), training=True).places[0].layer
    'norm'
    """
    call = target.each if isinstance(target, Loss) else target
    if not callable(call):
        raise ArgumentError(
            f"check takes a layer, a model, a loss or a function; got {type(target).__name__}.",
            mend="check(Dense(3), (10, 5))",
        )
    arguments = specs_for(target, shapes, mask)
    name = str(getattr(target, "name", None) or getattr(target, "__name__", type(target).__name__))
    return check_call(call, arguments, name, training)


def assert_independent(target: Any, *shapes: Any, training: bool = False, mask: bool = False) -> None:
    """Raise `MixesSamplesError` with the report unless samples are proven not to mix; for test suites.

    >>> import lamella
    >>> assert_independent(lamella.layers.LSTM(4), (10, 5))
    """
    check(target, *shapes, training=training, mask=mask).need("assert_independent")


def check_call(call: Callable[..., Any], arguments: list[Any], name: str, training: bool) -> Report:
    """Return the report on a call with these specs, whose batch axis is the symbol `BATCH`, or one size for all."""
    size = _common_size(arguments)
    if size != BATCH:
        arguments = _sized(arguments, size)
    try:
        return _proven(_traced(call, arguments, training, size), name)
    except Exception as error:
        if any(is_symbolic(dim) and dim != BATCH for spec in leaves_of(arguments) for dim in spec.shape):
            return check_call(call, _sized(arguments, None), name, training)
        return _without_symbols(call, arguments, name, training, error)


def _common_size(arguments: list[Any]) -> Dim:
    fixed = {spec.shape[0] for spec in leaves_of(arguments)} - {BATCH}
    if len(fixed) > 1:
        raise BatchSizeError(f"The inputs fix different numbers of samples: {sorted(fixed)}.", mend="one batch_size")
    return fixed.pop() if fixed else BATCH


def _traced(call: Callable[..., Any], arguments: list[Any], training: bool, size: Dim) -> Program:
    twin, context = untouched(call)
    with context:
        try:
            return trace_program(twin, arguments, training, size)
        except TypeError as error:
            if "integer" not in str(error) or isinstance(error, LamellaError):
                raise
            return trace_program(twin, _each_spec(_as_integers, arguments), training, size)


def _each_spec(function: Callable[[Spec], Spec], arguments: list[Any]) -> list[Any]:
    def on_pair(leaf: Any) -> Any:
        mask = mask_of(leaf)
        return with_mask(function(value_of(leaf)), None if mask is None else function(mask))

    return map_leaves(on_pair, arguments)  # type: ignore[no-any-return]


def _as_integers(spec: Spec) -> Spec:
    return Spec(spec.shape, "int32") if jnp.issubdtype(spec.dtype, jnp.floating) else spec


def _sized(arguments: list[Any], size: int | None) -> list[Any]:
    """Give sizes that are not known numbers; the batch only if one is given for it."""

    def dim_of(axis: int, dim: Dim) -> Dim:
        if not is_symbolic(dim):
            return dim
        return (dim if size is None else size) if dim == BATCH else 12 + axis

    return _each_spec(lambda s: Spec(tuple(dim_of(a, d) for a, d in enumerate(s.shape)), s.dtype), arguments)


def _proven(program: Program, name: str) -> Report:
    """Walk a traced program and put what was found into words."""
    jaxpr, size = program.jaxpr.jaxpr, program.size
    ins = [_input(variable.aval.shape, size) for variable in jaxpr.invars]
    values = Walk(size).run(jaxpr, [CONSTANT] * len(jaxpr.constvars), ins)
    outputs, rest = values[: program.outputs], values[program.outputs :]
    written = list(zip(program.state, rest, strict=False))
    found = [*((value, None) for value in outputs), *((value, path) for path, value in written)]
    places = _places(found, program) or _misplaced(outputs, program)
    uses = frozenset().union(*(value.uses for value, _ in found))
    kinds = {place.kind for place in places}
    verdict = "mixes" if "mixes" in kinds else "unknown" if kinds else "independent"
    fixed = size if isinstance(size, int) else None
    return Report(name, verdict, tuple(places), uses, losses=len(rest) > len(written), batch_size=fixed)


def _input(shape: Sequence[Dim], size: Dim) -> Value:
    return along(0) if shape and shape[0] == size else CONSTANT


def _places(found: Sequence[tuple[Value, str | None]], program: Program) -> list[Place]:
    """Return each place once, in the program's order; with the state that it reaches, if it reaches no output."""
    sites: dict[Site, tuple[str, str | None]] = {}
    for value, path in found:
        for kind, reached in (("mixes", value.mixed), ("unknown", value.doubtful)):
            for site in reached:
                sites.setdefault(site, (kind, path))
    places: dict[Any, Place] = {}
    for site in sorted(sites, key=lambda site: site.number):
        kind, path = sites[site]
        place = replace(_place(site, program, kind), state=path)
        places.setdefault((place.file, place.line, place.layer, place.sentence, kind), place)
    return list(places.values())


def _place(site: Site, program: Program, kind: str) -> Place:
    reason = site.reason
    eqn = site.eqns[-1]
    where = origin(site.eqns)
    layer = layer_path(site.eqns, program.layers)
    called = eqn.primitive.name if reason.what == "no rule" else where.called or eqn.primitive.name
    sentence, mend = explained(reason.what, called, reason.axis, reason.detail)
    return _located(Place(eqn.primitive.name, sentence, mend, kind, reason.axis), where, layer, program.layers)


def _located(place: Place, where: Origin, path: str | None, layers: dict[str, Any]) -> Place:
    layer = layers.get(path) if path else None
    return replace(
        place,
        layer=path,
        file=where.file,
        line=where.line,
        source=where.source,
        made_at=getattr(layer, "made_at", None),
        declared=getattr(layer, "mixes_samples", ""),
    )


def _misplaced(outputs: list[Value], program: Program) -> list[Place]:
    """Find results in which the samples are kept apart, but not as axis 0."""
    places = []
    jaxpr = program.jaxpr.jaxpr
    for value, variable in zip(outputs, jaxpr.outvars, strict=False):
        if not value.is_along or value.layout == (0, 1, 1):
            continue
        what = "moved" if (value.outer, value.inner) == (1, 1) else "merged"
        detail = value.axis if what == "moved" else variable.aval.shape[value.axis]
        eqn = next(eqn for eqn in jaxpr.eqns if variable in eqn.outvars)
        sentence, mend = explained(what, eqn.primitive.name, value.axis, detail)
        place = Place(eqn.primitive.name, sentence, mend, axis=value.axis)
        places.append(_located(place, origin((eqn,)), layer_path((eqn,), program.layers), program.layers))
    return places


def _without_symbols(
    call: Callable[..., Any], arguments: list[Any], name: str, training: bool, error: Exception
) -> Report:
    """Say what can be said when no size for the batch but certain numbers can be traced."""
    places: list[Place] = []
    for size in _SIZES:
        try:
            report = _proven(_traced(call, _sized(arguments, size), training, size), name)
        except Exception:
            return _one_size(call, arguments, name, training, error)
        places.extend(place for place in report.places if place.kind == "mixes" and place not in places)
    if places:
        return Report(name, "mixes", tuple(places))
    where = _line_of(error)
    what = "branches" if branched_in_python(error) else "no rule"
    sentence, mend = explained(what, where.called or "this line", None, "")
    return Report(name, "unknown", (_located(Place("trace", sentence, mend, "unknown"), where, None, {}),))


def _one_size(call: Callable[..., Any], arguments: list[Any], name: str, training: bool, error: Exception) -> Report:
    """Find a batch size that is written into the code among the numbers of the error; or let the error out."""
    for size in dict.fromkeys(map(int, re.findall(r"\b\d+\b", str(error)))):
        if not 1 < size < 1 << 20:
            continue
        try:
            _traced(call, _sized(arguments, size), training, size)
        except Exception:
            continue
        where = _line_of(error)
        sentence, mend = explained("one size", "", None, size)
        return Report(name, "mixes", (_located(Place("trace", sentence, mend), where, None, {}),))
    if branched_in_python(error):
        raise branch_error(error, repr(name)) from error
    explanation = value_error(error, repr(name)) or _shape_error(error, name)
    if explanation is None:
        raise error
    raise explanation from error


def _shape_error(error: Exception, name: str) -> ShapeError | None:
    if isinstance(error, LamellaError) or not isinstance(error, TypeError | ValueError) or "shape" not in str(error):
        return None
    line = user_frame(error.__traceback__)
    where = f"\n  {line.filename}:{line.lineno}: {line.line}" if line else ""
    return ShapeError(
        f"Tracing {name!r}, arrays do not fit together: {error}{where}",
        mend="the shapes of one sample, one for each argument, without the batch: check(f, (10, 5))",
    )


def _line_of(error: Exception) -> Origin:
    frame = user_frame(error.__traceback__)
    return Origin(frame.filename, frame.lineno) if frame else Origin()


def specs_for(target: Any, shapes: Sequence[Any], mask: bool = False) -> list[Any]:
    """Return the spec of each argument of a call, or the structure of specs, for shapes of one sample."""
    known = _known_inputs(target)
    if not shapes:
        if known is None:
            raise ArgumentError("check needs the shape of one sample for each argument.", mend="check(layer, (10, 5))")
        shapes = [known]
    elif known is not None and len(shapes) > 1 and len(leaves_of(known)) == len(shapes):
        shapes = [list(shapes)]
    arguments = [_as_specs(shape) for shape in shapes]
    if known is not None and len(leaves_of(known)) == len(leaves_of(arguments)):
        dtypes = iter([tensor.dtype for tensor in leaves_of(known)])
        arguments = map_leaves(lambda spec: Spec(spec.shape, next(dtypes)), arguments)
    if mask and arguments:
        first = leaves_of(arguments)[0]
        arguments[0] = Masked(first, Spec(first.shape[:2], "bool"))
    return arguments


def _known_inputs(target: Any) -> Any:
    return target.input if getattr(target, "_graph", None) is not None else None


def _as_specs(shape: Any) -> Any:
    """Return the spec of one argument, or the structure of specs of a structure."""
    if isinstance(shape, dict):
        return {key: _as_specs(item) for key, item in shape.items()}
    if hasattr(shape, "dims") and hasattr(shape, "dtype"):
        return Spec(shape.dims, shape.dtype)
    if hasattr(shape, "shape") and hasattr(shape, "dtype"):
        if not shape.shape:
            raise ArgumentError("An array for check has the batch as axis 0; this one has no axis.", mend="(5,)")
        return Spec((BATCH, *shape.shape[1:]), jax.dtypes.canonicalize_dtype(shape.dtype))
    plain = (int, type(None))
    if isinstance(shape, list | tuple) and not all(isinstance(item, plain) or is_symbolic(item) for item in shape):
        return [_as_specs(item) for item in shape]
    return Spec((BATCH, *exact(as_shape(shape, "shape"), batched=False)), "float32")
