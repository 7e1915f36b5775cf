"""What an exported program computes: a function of arrays alone, with the specs of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params

from lamella.batch.check import check_call
from lamella.batch.program import trace_program
from lamella.batch.source import layer_path, origin
from lamella.core.axes import BATCH, bounded, exact, is_symbolic, shown
from lamella.core.calls import collecting
from lamella.core.errors import ArgumentError, LamellaError, MixesSamplesError, NotBuiltError, ShapeError, user_line
from lamella.core.masked import value_of
from lamella.core.settings import floatx
from lamella.core.structure import flatten, leaves_of, map_leaves, unflatten
from lamella.core.variable import Frame
from lamella.graph.trace import Spec, branch_error, branched_in_python, value_error
from lamella.layers.input import Input
from lamella.layers.layer import map_shapes
from lamella.layers.spec import InputSpec
from lamella.training.trainer import Trainer

# The least size of what varies after the batch: 1, else so many as a window may need.
_LEAST = (1, 4, 16, 64)
_FIXED = "input_signature=[InputSpec(shape=(32, 8))] for batches of 32 alone"


@dataclass(frozen=True)
class Endpoint:
    """A function of variables and layers, and a structure of specs for each of its arguments."""

    name: str
    fn: Callable[..., Any]
    arguments: list[Any]
    input_names: list[str]
    output_names: list[str]
    # What sizes must be, as `jax.export` writes it: "n1 >= 4".
    limits: tuple[str, ...] = ()

    @property
    def specs(self) -> list[Spec]:
        """The specs of all arrays that go in."""
        return leaves_of(self.arguments)

    def structured(self, leaves: list[Any]) -> list[Any]:
        """Return arrays, or what else there is for each of them, as the arguments of a call."""
        return unflatten(flatten(self.arguments)[1], leaves)  # type: ignore[no-any-return]

    def call(self, *inputs: Any) -> Any:
        """Compute the outputs, without masks; state is read as it is now, and none is written."""
        with Frame(), collecting(False):
            return map_leaves(value_of, self.fn(*inputs))

    def flat(self, *leaves: Any) -> list[Any]:
        """Compute the outputs as a flat list from the inputs as one."""
        return leaves_of(self.call(*self.structured(list(leaves))))

    def checked(self) -> Endpoint:
        """Return the endpoint for sizes that it has a program for; refuse one that mixes samples, or calls Python."""
        alone: Endpoint = self.attempt(Endpoint.alone)
        if all(spec.shape[:1] == (BATCH,) for spec in self.specs):
            report = check_call(self.fn, self.arguments, self.name, False)
            if report.verdict == "mixes":
                raise MixesSamplesError(
                    f"Samples mix in {self.name!r}: what it answers for one depends on those beside it, and whoever "
                    f"calls an exported program chooses the batch.\n{report}",
                    mend=_FIXED,
                )
        return alone

    def alone(self) -> Endpoint:
        """Return the endpoint, unless its program would call Python functions of this process."""
        place = self.find(lambda operation: "callback" in operation or operation == "debug_print")
        if place is not None:
            raise ArgumentError(
                f"{self.name!r} calls a function of this process, which no other has: {place}.",
                mend="a `call` without jax.debug.print and jax.pure_callback",
            )
        return self

    def layer(self, nest: tuple[Any, ...]) -> str | None:
        """Return the path of the layer that equations, each inside the one before, belong to."""
        return layer_path(nest, trace_program(self.fn, self.arguments, False, BATCH).layers)

    def find(self, wanted: Callable[[str], bool]) -> str | None:
        """Say in which layer, and whose line, the program first computes an operation of these names."""
        program = trace_program(self.fn, self.arguments, False, BATCH)
        for nest in _nests(program.jaxpr.jaxpr):
            if wanted(nest[-1].primitive.name):
                layer, line = layer_path(nest, program.layers), origin(nest)
                where = [f"in the layer {layer!r}"] if layer else []
                where += [f"at {line.file}:{line.line}: {line.source}"] if line.file else []
                return " ".join([repr(nest[-1].primitive.name), *where])
        return None

    def attempt(self, make: Callable[[Endpoint], Any]) -> Any:
        """Return `make(self)`; if that fails by its sizes, with those alike that must agree, and none too small."""
        try:
            return make(self)
        except Exception as error:
            by_sizes = not isinstance(error, LamellaError) or isinstance(error, ShapeError)
            again = by_sizes and not self.limits and not branched_in_python(error)
            for other in self._narrower() if again else ():
                with suppress(Exception):
                    return make(other)
            if isinstance(error, LamellaError):
                raise
            raise _explained(error, self.name) from error

    def _narrower(self) -> Iterator[Endpoint]:
        """Yield the endpoint for fewer sizes: two that vary are one, or all at one place are; then none is small."""
        places = [
            (axis, dim) for spec in self.specs for axis, dim in enumerate(spec.shape) if axis and is_symbolic(dim)
        ]
        free = list(dict.fromkeys(dim for _, dim in places))
        first = dict(reversed(places))
        merged: list[dict[Any, Any]] = [{}, *({b: a} for a, b in combinations(free, 2))]
        merged += [{dim: first[axis] for axis, dim in places}] if len(free) > 2 else []
        for least in _LEAST if free else ():
            for same in merged if least > 1 else merged[1:]:
                yield self._with_sizes({dim: same.get(dim, dim) for dim in free}, least)

    def _with_sizes(self, same: dict[Any, Any], least: int) -> Endpoint:
        limits = tuple(f"{dim} >= {least}" for dim in dict.fromkeys(same.values())) if least > 1 else ()
        dims = {BATCH: BATCH, **same}
        known = bounded(limits, dims.values()) if limits else {dim: dim for dim in dims}

        def changed(spec: Spec) -> Spec:
            return Spec(tuple(known[dims[dim]] if is_symbolic(dim) else dim for dim in spec.shape), spec.dtype)

        return replace(self, arguments=map_leaves(changed, self.arguments), limits=limits)


def endpoint_of(name: str, fn: Callable[..., Any], arguments: list[Any], *names: list[str]) -> Endpoint:
    """Return a function as an endpoint; `names` are those of its inputs and of its outputs."""
    inputs, outputs = names or ([f"input_{place}" for place in range(len(leaves_of(arguments)))], [])
    return Endpoint(name, fn, arguments, inputs, outputs)


def endpoint_of_model(model: Any, input_signature: Any = None) -> Endpoint:
    """Return a model's prediction as an endpoint, for the inputs that it knows or that are given."""
    if not isinstance(model, Trainer):
        raise ArgumentError(f"A model is exported, got {type(model).__name__}.", mend="model.export(path)")
    given = None if input_signature is None else arguments_of(input_signature)
    if not model.built and given is not None:
        model(*map_leaves(lambda spec: Input(batch_shape=shown(spec.shape), dtype=str(spec.dtype)), given))
    graph = getattr(model, "_graph", None)
    if graph is None:
        arguments = _called_with(model) if given is None else given
        return endpoint_of(model.name, model, arguments)
    specs = leaves_of(graph.inputs if given is None else given)
    if len(specs) != len(graph.input_tensors):
        raise ShapeError(
            f"The model {model.name!r} has {len(graph.input_tensors)} inputs; input_signature has {len(specs)}."
        )
    structure = flatten(graph.inputs)[1]
    arguments = [unflatten(structure, [_spec(spec) for spec in specs])]
    tensors = leaves_of(graph.inputs), leaves_of(graph.outputs)
    return endpoint_of(model.name, model, arguments, *(_names(each) for each in tensors))


def arguments_of(input_signature: Any) -> list[Any]:
    """Return a structure of specs for each argument: one for all of them, or a list of one for each."""
    listed = list(input_signature) if isinstance(input_signature, list | tuple) else [input_signature]
    return map_leaves(_spec, listed)  # type: ignore[no-any-return]


def _spec(leaf: Any) -> Spec:
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    if shape is None:
        raise ArgumentError(
            f"input_signature holds specs with a shape, got {leaf!r}.",
            mend='input_signature=[InputSpec(shape=(None, 8), dtype="float32")]',
        )
    if isinstance(leaf, InputSpec | jax.ShapeDtypeStruct):
        dims = exact(shape)
    else:
        dims = leaf.dims if hasattr(leaf, "dims") else (BATCH, *shape[1:])
    return Spec(dims, jax.dtypes.canonicalize_dtype(dtype or floatx()))


def _called_with(model: Any) -> list[Any]:
    """Return specs of what a model without a graph was first called with, for any number of samples."""
    shapes = model._state.build_shapes
    if not shapes:
        raise NotBuiltError(
            f"The model {model.name!r} was never called, so that its inputs are not known.",
            mend="model.export(path, input_signature=[InputSpec(shape=(None, 8))])",
        )
    return [map_shapes(lambda s: Spec(exact((None, *s[1:])), floatx()), shape) for shape in shapes.values()]


def _names(tensors: list[Any]) -> list[str]:
    names = [tensor.node.operation.name for tensor in tensors]
    return [name if names.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(names)]


def _explained(error: Exception, name: str) -> Exception:
    if branched_in_python(error):
        return branch_error(error, repr(name))
    explained = value_error(error, repr(name))
    if explained is not None:
        return explained
    line = user_line(error.__traceback__)
    said = [str(error).strip(), *getattr(error, "__notes__", ()), *([line] if line else [])]
    headline = f"{name!r} has no program for every size: {type(error).__name__}."
    return ShapeError("\n  ".join([headline, *said]), mend=_FIXED)


def _nests(jaxpr: Any, outer: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield each equation of a program, behind those that it is inside of."""
    for equation in jaxpr.eqns:
        yield (*outer, equation)
        for inner in jaxprs_in_params(equation.params):
            yield from _nests(inner, (*outer, equation))
