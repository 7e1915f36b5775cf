"""explain: the axes, weights and costs of a layer or a model, found by tracing it and told in plain words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from lamella.batch.check import specs_for
from lamella.batch.program import untouched
from lamella.core.axes import BATCH, is_symbolic, shown
from lamella.core.calls import collecting
from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.masked import value_of
from lamella.core.naming import counted_apart
from lamella.core.structure import leaves_of, map_leaves
from lamella.core.variable import Frame
from lamella.graph.tensor import SymbolicTensor, symbols_of
from lamella.graph.trace import Spec
from lamella.layers.calling import signature_of
from lamella.layers.layer import Layer
from lamella.models.model import Model
from lamella.tools.explaining import fates, words
from lamella.tools.explaining.costs import Count, count
from lamella.tools.explaining.facts import Axis, LayerFacts, Tensor, Weight
from lamella.tools.explaining.formulas import Formula
from lamella.tools.explaining.pages import as_html, as_text
from lamella.tools.explaining.probe import Findings, Probe, axis_names, look, path_in, quietly

# A number of samples that is no other size, to tell it apart from the others in what comes out.
_SAMPLES = 7
_UNKNOWN = 16
# What the next layer calls an axis that this argument sets the size of.
_CALLED = {"filters": "channels", "output_dim": "features"}


@dataclass(frozen=True)
class Explanation:
    """What `explain` found: print it, show it in a notebook, or read the facts.

    `facts` are those of the layer or of the whole model; a model's `facts.sections` are those of its layers, in the
    order in which they are called. `assumed` is the size taken for axes that were given as None, or None.
    """

    facts: LayerFacts
    how_to_give: tuple[str, ...]
    assumed: int | None = None

    def __str__(self) -> str:
        return as_text(self.facts, self.how_to_give, self.assumed)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self.facts, self.how_to_give, self.assumed)


def explain(target: Any, *shapes: Any) -> Explanation:
    """Say for a layer, or each layer of a model, what each axis is, what it is for, and where every number comes from.

    `shapes` are those of one sample, one for each argument, as in `Input` and `lamella.batch.check`; what knows its
    inputs needs none. Nothing is built and no weight is made or changed. The layer is called as in inference.

    >>> import lamella
    >>> told = explain(lamella.layers.Dense(3), (10, 5))
    >>> told.facts.works_on, told.facts.left_alone
    (('features',), ('batch', 'time'))
    >>> [(w.name, [str(f) for f in w.formulas], w.shape) for w in told.facts.weights]
    [('kernel', ['features', 'units'], (5, 3)), ('bias', ['units'], (3,))]
    """
    if not isinstance(target, Layer):
        raise ArgumentError(
            f"explain takes a layer or a model; got {'the class ' if isinstance(target, type) else ''}"
            f"{target.__name__ if isinstance(target, type) else type(target).__name__}.",
            mend="explain(Dense(3), (10, 5)); Lambda(fn) for a plain function",
        )
    with counted_apart(), quietly():
        arguments = specs_for(target, _for_call(target, shapes or _known(target)))
        batch = _fixed_batch(target) or _SAMPLES
        open_axes = any(is_symbolic(d) and d != BATCH for spec in leaves_of(arguments) for d in value_of(spec).shape)
        if open_axes:
            _refuse_open(target, arguments)
        calls = _heard(target, arguments, batch)
        facts = _Teller(target, calls, batch).tell()
    given = [shown(value_of(spec).shape)[1:] for spec in leaves_of(arguments)]
    config = None if isinstance(target, Model) else _config(target)
    return Explanation(facts, words.how_to_give(given, config), _UNKNOWN if open_axes else None)


def _for_call(target: Any, shapes: Sequence[Any]) -> Sequence[Any]:
    """Make one list of several shapes for a layer that takes one argument."""
    taken = signature_of(type(target).call)
    one = len(taken.required) == 1 and not taken.variadic and not (set(taken.names[1:]) - {"training", "mask"})
    return [list(shapes)] if one and len(shapes) > 1 else shapes


def _config(layer: Layer) -> dict[str, Any] | None:
    try:
        return layer.get_config()
    except Exception:
        return None


def _known(target: Any) -> Sequence[Any]:
    """Return the inputs that a layer was called with symbolically, or the shape that it was told."""
    if getattr(target, "_graph", None) is not None:
        return ()
    if target.nodes:
        return [argument for argument in target.nodes[0].args if symbols_of(argument)]
    if target._state.input_shapes is not None:
        return [tuple(target._state.input_shapes[1:])]
    raise ArgumentError(
        f"explain needs the shape of one sample for each argument: {target.name!r} does not know its input yet.",
        mend=f"explain({target.name}, (10, 5))",
    )


def _fixed_batch(target: Any) -> int | None:
    graph = getattr(target, "_graph", None)
    tensors = graph.input_tensors if graph is not None else symbols_of(target.nodes[0].args) if target.nodes else []
    sizes = [tensor.dims[0] for tensor in tensors if isinstance(tensor, SymbolicTensor) and tensor.dims]
    return next((size for size in sizes if not is_symbolic(size)), None)


@dataclass
class Called:
    """A call that was met while a target was traced: where, of what, with which arrays (as specs)."""

    path: tuple[str, ...]
    layer: Any
    arguments: dict[str, Any]


def _heard(target: Any, arguments: list[Any], batch: int) -> list[Called]:
    """Call the target on tracers and note each call of the target itself and of layers directly in its models."""
    try:
        return _listened(target, _sized(arguments, batch))
    except TypeError as error:
        if "integer" not in str(error):
            raise
        return _listened(target, _sized(map_leaves(_as_integers, arguments), batch))
    except Exception:
        # Once more, so that the error calls the batch by its name and not by a number that nobody gave.
        _listened(target, arguments)
        raise


def _refuse_open(target: Any, arguments: list[Any]) -> None:
    """Let the layer say that it must know an axis that was given as None."""
    try:
        _listened(target, arguments)
    except ShapeError:
        raise
    except Exception:
        return


def _as_integers(spec: Any) -> Any:
    return Spec(spec.shape, "int32") if jax.numpy.issubdtype(spec.dtype, jax.numpy.floating) else spec


def _sized(arguments: list[Any], batch: int) -> list[Any]:
    def sized(spec: Any) -> Any:
        dims = (batch if d == BATCH else _UNKNOWN if is_symbolic(d) else d for d in spec.shape)
        return Spec(tuple(dims), spec.dtype)

    return map_leaves(sized, arguments)  # type: ignore[no-any-return]


def _listened(target: Any, arguments: list[Any]) -> list[Called]:
    calls: list[Called] = []
    models: set[tuple[str, ...]] = {()}

    def listen(path: tuple[str, ...], layer: Any, given: dict[str, Any]) -> None:
        if path[:-1] in models:
            kept = {name: value for name, value in given.items() if name != "training"}
            calls.append(Called(path, layer, map_leaves(_as_spec, kept)))
            if isinstance(layer, Model):
                models.add(path)

    twin, context = untouched(target)

    def traced(values: list[Any]) -> Any:
        with Frame(), collecting(False) as call:
            if not twin.built:
                # Building may call layers too; those calls are not the ones to be heard.
                twin.run(tuple(values), {})
            call.listen = listen
            return [value_of(leaf) for leaf in leaves_of(twin.run(tuple(values), {}))]

    with context:
        jax.eval_shape(traced, arguments)
    return calls


def _as_spec(leaf: Any) -> Any:
    return Spec(leaf.shape, leaf.dtype) if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else leaf


class _Teller:
    """Turns calls into facts; what was found for one layer is kept for others that are made alike."""

    def __init__(self, target: Any, calls: list[Called], batch: int) -> None:
        self.calls, self.batch = calls, batch
        self._told: set[int] = set()
        self._kept: dict[str, LayerFacts] = {}

    def tell(self) -> LayerFacts:
        """Return the facts of the target: of its only call, or of a model with all that is in it."""
        return self._section(0)

    def _section(self, index: int) -> LayerFacts:
        called = self.calls[index]
        depth = len(called.path)
        inside = []
        for later in range(index + 1, len(self.calls)):
            path = self.calls[later].path
            if len(path) <= depth:
                break
            if len(path) == depth + 1:
                inside.append(self._section(later))
        facts = self._facts(called)
        again = id(called.layer) in self._told
        self._told.add(id(called.layer))
        produced = sum(section.activation_bytes for section in inside)
        return replace(
            facts,
            path="/".join(called.path[1:]) or called.layer.name,
            again=again,
            sections=tuple(inside),
            activation_bytes=produced or facts.activation_bytes,
        )

    def _facts(self, called: Called) -> LayerFacts:
        key = self._key(called)
        if key is None or key not in self._kept:
            facts = facts_of(called, self.batch)
            if key is None:
                return facts
            self._kept[key] = facts
        return self._kept[key]

    def _key(self, called: Called) -> str | None:
        """Return what makes two calls alike: the class, the config but for the name, the input."""
        config = _config(called.layer)
        if config is None or isinstance(called.layer, Model):
            return None
        rest = {name: value for name, value in config.items() if name != "name"}
        trained = [weight.trainable for weight in called.layer.weights]
        return json.dumps([str(type(called.layer)), rest, str(called.arguments), trained, called.layer.trainable])


def facts_of(called: Called, batch: int) -> LayerFacts:
    """Return what is known of one call."""
    layer = called.layer
    probe = Probe(layer, called.arguments, batch)
    _name_ids(probe)
    findings = look(probe)
    programs = fates.programs(probe, list(findings.knobs.values()))
    plain = [(i, leaf) for i, leaf in enumerate(probe.leaves) if not leaf.hidden]
    inputs = tuple(Tensor(leaf.label, fates.axes_of(leaf, i, programs), str(leaf.spec.dtype)) for i, leaf in plain)
    outputs = tuple(_outputs(probe, findings, inputs))
    weights = tuple(_weights(layer, findings))
    told = () if isinstance(layer, Model) else words.relations(findings, inputs, outputs, weights)
    cost, samples = _cost(probe, findings, batch)
    return LayerFacts(
        path=layer.name,
        kind=type(layer).__name__,
        inputs=inputs,
        outputs=outputs,
        weights=weights,
        parameters=sum(weight.size for weight in weights),
        trainable=sum(weight.size for weight in weights if weight.trainable),
        flops=cost.flops // samples,
        activation_bytes=sum(_bytes(output) for output in probe.seen.outputs) // batch,
        relations=told,
        endless=cost.endless,
    )


def _name_ids(probe: Probe) -> None:
    """Give inputs that are ids in float form the axes' names of ids."""
    for i, leaf in enumerate(probe.leaves):
        if leaf.names == ("batch", "features") and not leaf.hidden:
            program = fates.traced(probe, probe.config, probe.specs)
            if program is not None and fates.holds_ids(program, i):
                probe.leaves[i] = replace(leaf, names=axis_names(_as_integers(leaf.spec)))


def _cost(probe: Probe, findings: Findings, batch: int) -> tuple[Count, int]:
    """Count a call on one sample; where the batch is fixed, a call on all of it, and how many those are."""
    knob = findings.knobs.get("batch_size")
    for values, samples in ([(knob, max(1, knob.value // batch))] if knob else [], 1), ([], batch):
        config, specs = probe.turned(values)
        program = fates.traced(probe, config, specs) if values or samples > 1 else None
        if program is not None:
            return count(program.jaxpr), samples
    return Count(), 1


def _bytes(spec: Any) -> int:
    return int(math.prod(spec.shape)) * int(spec.dtype.itemsize)


def _weights(layer: Any, findings: Findings) -> Iterator[Weight]:
    trained = {id(weight) for weight in layer.trainable_weights}
    names = _short(layer, [path_in(layer, weight) for weight in layer.weights])
    for name, (_, formulas), weight in zip(names, findings.weights, layer.weights, strict=True):
        yield Weight(name, tuple(weight.shape), formulas, id(weight) in trained, weight.size, weight.nbytes)


def _short(layer: Any, paths: list[str]) -> list[str]:
    """Leave the layers that our own layers are made of out of their weights' names, where that leaves them apart."""
    if isinstance(layer, Model) or not type(layer).__module__.startswith("lamella."):
        return paths
    for keep in (lambda parts: parts[-1:], lambda parts: [*parts[:1], parts[-1]]):
        short = ["/".join(keep(path.split("/"))) for path in paths]
        if len(set(short)) == len(paths):
            return short
    return paths


def _outputs(probe: Probe, findings: Findings, inputs: Sequence[Tensor]) -> Iterator[Tensor]:
    for number, (spec, formulas) in enumerate(zip(probe.seen.outputs, findings.outputs, strict=True)):
        usual = axis_names(spec)
        names: list[str] = []
        for axis, formula in enumerate(formulas):
            name = _kept(axis, formula.size, inputs) if number == 0 else None
            name = name or _made(formula, findings) or ("batch" if axis == 0 else usual[axis])
            names.append(name if name not in names else f"axis{axis}")
        label = "outputs" if len(probe.seen.outputs) == 1 else f"outputs[{number}]"
        axes = tuple(Axis(name, formula.size) for name, formula in zip(names, formulas, strict=True))
        yield Tensor(label, axes, str(spec.dtype), formulas)


def _kept(place: int, size: int, inputs: Sequence[Tensor]) -> str | None:
    """Return the name of the input's axis that comes out here as it went in."""
    axes = (axis for tensor in inputs for axis in tensor.axes)
    return next((a.name for a in axes if a.fate == "left alone" and a.output == place and a.size == size), None)


def _made(formula: Formula, findings: Findings) -> str | None:
    """Return the name of the only argument or input's axis that an axis of the output is made from."""
    sources = [findings.knobs[name] for name in formula.names]
    if len(sources) == 1 and sources[0].path and formula.text == sources[0].name:
        last = str(sources[0].name).rpartition(".")[2]
        return _CALLED.get(last, last) if last.isidentifier() else None
    from_axes = {knob.name.rpartition(".")[2] for knob in sources if knob.axes}
    name = from_axes.pop() if len(from_axes) == 1 else None
    return "batch" if name == "batch_size" else name
