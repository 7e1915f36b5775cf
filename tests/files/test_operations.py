"""Operations between layers: Keras's classes and lamella's functions, as entries of a graph, both ways."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import keras.src.ops
import numpy as np
import pytest

import lamella
from lamella import ops
from lamella.errors import ArgumentError, LamellaError, UnknownNameError
from lamella.models.operations import BY_NAME
from tests.ops.cases import ONE, PRODUCT, TWO

# Operations that take a Python function, or hold a graph of their own.
WITHOUT = {
    *("AssociativeScan", "Cond", "ForiLoop", "Function", "JVP", "Map", "Scan", "SegmentReduction"),
    *("Switch", "VectorizedMap", "WhileLoop"),
}


def all_operations() -> Iterator[type]:
    """Every class of an operation that Keras has."""
    for module in pkgutil.iter_modules(keras.src.ops.__path__):
        if not module.name.endswith("_test"):
            importlib.import_module(f"keras.src.ops.{module.name}")
    waiting: list[type] = [keras.Operation]
    while waiting:
        for cls in waiting.pop().__subclasses__():
            if cls.__module__.startswith("keras.src.ops."):
                yield cls
            waiting.append(cls)


def names_in(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in ("self", "name", "kwargs")]


# A default that Keras writes out, and that its function takes among others.
UNSAID = ("rms_scaling",)


def test_the_table_is_keras_s() -> None:
    """Each class with its module, the arguments of its constructor, and in their order those of its call."""
    found = {cls.__name__: cls for cls in all_operations()}
    assert found.keys() - WITHOUT == BY_NAME.keys()
    for name, known in BY_NAME.items():
        cls: Any = found[name]
        rest = [argument for argument in names_in(known.function) if argument not in known.arguments]
        assert (known.module, list(known.arguments)) == (cls.__module__, names_in(cls.__init__)), name
        assert rest == names_in(cls.call), name


def model_of(library: Any, call: Callable[..., Any], count: int) -> Any:
    inputs = [library.Input(batch_shape=(4, 4, 4), name=f"x{place}") for place in range(count)]
    return library.Model(inputs, call(library.ops, *inputs), name="calls")


def described(library: Any, model: Any) -> Any:
    """The operations of a model in the order of the file, by their places in it."""
    config = json.loads(json.dumps(library.saving.serialize_keras_object(model)))["config"]
    entries = [entry for entry in config["layers"] if entry["class_name"] != "InputLayer"]
    places = {entry["name"]: place for place, entry in enumerate(entries)}

    def alike(value: Any) -> Any:
        if isinstance(value, dict) and "keras_history" in value:
            return alike(value["keras_history"])
        if isinstance(value, dict):
            return {key: alike(item) for key, item in value.items() if key not in ("name", "registered_name", *UNSAID)}
        if isinstance(value, list):
            return [alike(item) for item in value]
        return places.get(value, value) if isinstance(value, str) else value

    return alike([entries, config["output_layers"]])


def in_order(entries: Any) -> Any:
    """Entries with a call's arguments in a list, as Keras might have written them: None where nothing was given."""
    for entry in entries[0]:
        for node in entry["inbound_nodes"]:
            known = BY_NAME[entry["class_name"]]
            rest = [name for name in names_in(known.function) if name not in known.arguments]
            node["args"] += [node["kwargs"].pop(name) for name in rest[len(node["args"]) :] if name in node["kwargs"]]
            while node["args"] and node["args"][-1] is None:
                node["args"].pop()
            if entry["class_name"] == "GetItem" and not isinstance(node["args"][1], list):
                node["args"][1] = [node["args"][1]]
    return entries


CALLS = [
    (name, place, call, count)
    for table, count in ((ONE, 1), (TWO, 2), (PRODUCT, 2))
    for name, calls in table.items()
    for place, call in enumerate(calls)
]
# What one of the two cannot have as a part of a graph, and why.
EXCUSED = {
    r"bitwise_(not|invert|and|or|xor|.*shift)|.*_shift|gcd|lcm|bincount|.*in_top_k": "takes whole numbers",
    r"array|convert_to_tensor": "of a tensor with another dtype, here, a cast",
    r"nonzero|unique": "the size depends on the values",
    r"ndim|size": "numbers here",
    r"divide|multi_hot": "two names of one function; a default that Keras writes out",
    r"map|vectorized_map|scan|associative_scan|cond|switch|fori_loop|while_loop|vectorize": "takes a function",
}


def test_calls_are_described_as_keras_describes_them() -> None:
    """Every call of the grid of ops: described alike by both, and still after the other has read it."""
    compared, other = 0, set()
    for name, place, call, count in CALLS:
        models = []
        for library in (lamella, keras):
            try:
                model = model_of(library, call, count)
                described(library, model)
                models.append(model)
            except Exception:
                break
        if len(models) < 2:
            continue
        ours, theirs = models
        expected = in_order(described(keras, theirs))
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(theirs)))
        read = lamella.saving.deserialize_keras_object(config)
        if in_order(described(lamella, ours)) == expected == in_order(described(lamella, read)):
            compared += 1
        elif not any(re.fullmatch(pattern, name) for pattern in EXCUSED):
            other.add(f"{name}[{place}]")
    assert not other
    assert compared > 480


DRAW = np.random.default_rng(0)
X, IMAGES = DRAW.normal(size=(3, 4)).astype("float32"), DRAW.uniform(size=(3, 6, 6, 3)).astype("float32")


def many(k: Any) -> Any:
    """Operations of every kind, one after the other, with what their calls can hold."""
    x, image = k.Input((4,), name="x"), k.Input((6, 6, 3), name="image")
    d = k.layers.Dense(4, name="d")(x)
    joined = k.ops.concatenate([x + d, 2.0 * d, 1 - x], axis=-1)
    first, _, third = k.ops.split(joined, 3, axis=1)
    chosen = k.ops.where((first > 0) & (third < 1), third, k.ops.zeros_like(third))
    square = k.ops.reshape(chosen, (-1, 2, 2))
    u, s, v = k.ops.svd(square)
    numbers = [
        *(k.ops.mean(joined, axis=1, keepdims=True), d[:, 0], d[..., None], d[:, 1:4:2], k.ops.cast(square, "float16")),
        *(
            k.ops.einsum("bij,bjk->bik", square, square),
            square @ square,
            -chosen,
            k.ops.relu(-chosen),
            abs(chosen) ** 2,
        ),
        *(x // 2, x % 3, 7 / (x + 9), k.ops.add(x, np.arange(4, dtype="float32")), k.ops.clip(x, -0.5, 0.5)),
        *(k.ops.take(x, np.array([2, 0]), axis=1), k.ops.one_hot(k.ops.cast(abs(x), "int32"), 3), k.ops.cumsum(x, 1)),
        *(k.ops.matmul(u * s[:, None], v), k.ops.softmax(x), k.ops.layer_normalization(x), k.ops.normalize(x)),
        *(
            k.ops.transpose(square, (0, 2, 1)),
            k.ops.pad(x, ((0, 0), (1, 2))),
            k.ops.top_k(x, 2)[0],
            k.ops.argmax(x, -1),
        ),
        *(k.ops.image.resize(image, (3, 5)), k.ops.image.rgb_to_grayscale(image), k.ops.average_pool(image, 2, 2)),
        *(k.ops.conv(image, np.ones((2, 2, 3, 1), "float32"), padding="same"), k.ops.repeat(x, 2, axis=1)),
        *(k.ops.stack([x, d], axis=1), k.ops.squeeze(d[:, None]), k.ops.logsumexp(x, axis=1), k.ops.flip(x, 1)),
    ]
    return k.Model([x, image], [*numbers, k.layers.Dense(1, name="out")(chosen)], name="many")


def graphs_inside(k: Any) -> Any:
    """Graphs inside a graph, called twice, with their outputs among those of the whole."""
    z = k.Input((4,), name="z")
    inner = k.Model(z, k.layers.Dense(4, name="in")(k.ops.tanh(z)) + z, name="inner")
    x = k.Input((4,), name="x")
    once = inner(x)
    return k.Model(x, [inner(once * 2), once, once - x], name="outer")


def mask_of_ones_own(k: Any) -> Any:
    """A mask that is computed between layers and given, where another one comes along with the values."""
    words = k.Input((4,), dtype="int32", name="words")
    steps = k.layers.Embedding(10, 3, mask_zero=True, name="table")(words)
    out = k.layers.SimpleRNN(2, name="own")(steps, mask=k.ops.not_equal(words, 5))
    return k.Model(words, [out, k.layers.SimpleRNN(2, name="theirs")(steps)], name="masks")


MODELS = {
    "many": (many, [X, IMAGES]),
    "graphs inside": (graphs_inside, X),
    "masks": (mask_of_ones_own, np.array([[1, 5, 2, 0], [3, 0, 5, 5]])),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_same_numbers_both_ways(name: str, tmp_path: Path) -> None:
    make, x = MODELS[name]
    for source, target in ((keras, lamella), (lamella, keras), (lamella, lamella)):
        model = make(source)
        model.save(tmp_path / "a.keras")
        twin = target.saving.load_model(tmp_path / "a.keras")
        for a, b in zip(model.predict(x, verbose=0), twin.predict(x, verbose=0), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        twin.save(tmp_path / "b.keras")
        again = source.saving.load_model(tmp_path / "b.keras")
        for a, b in zip(twin.predict(x, verbose=0), again.predict(x, verbose=0), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_names_in_the_file_are_unique_and_stay(tmp_path: Path) -> None:
    x = lamella.Input((4,), name="x")
    added = lamella.layers.Add(name="add")([x + 1, x + 2])
    lamella.Model(x, added).save(tmp_path / "a.keras")
    model = lamella.saving.load_model(tmp_path / "a.keras")
    assert [op.name for op in model._known_graph().operations] == ["x", "add_1", "add_2", "add"]


def test_an_operation_of_ones_own_needs_to_be_known(tmp_path: Path) -> None:
    class Scaled(lamella.Operation):
        def __init__(self, factor: float, name: str | None = None) -> None:
            super().__init__(name)
            self.factor = factor

        def call(self, x: Any) -> Any:
            return x * self.factor

    x = lamella.Input((4,))
    model = lamella.Model(x, Scaled(3.0)(x))
    model.save(tmp_path / "a.keras")
    with pytest.raises(UnknownNameError, match="'Scaled', which is not known here"):
        lamella.saving.load_model(tmp_path / "a.keras")
    twin = lamella.saving.load_model(tmp_path / "a.keras", {"Scaled": Scaled})
    np.testing.assert_array_equal(twin(X), model(X))


WEIGHT = lamella.Variable(np.ones(4, "float32"))
UNWRITTEN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a function": (
        lambda x: ops.vectorized_map(lambda row: row * 2, x),
        "'vectorized_map' between layers has no",
    ),
    "a size from a tensor": (lambda x: ops.clip(x, x, 1.0), "'Clip' takes 'x_min' from a tensor"),
    "a variable": (lambda x: x * WEIGHT, "'multiply' between layers reads a variable, which no layer keeps"),
}


@pytest.mark.parametrize("name", UNWRITTEN)
def test_what_has_no_place_in_a_file(name: str) -> None:
    call, finding = UNWRITTEN[name]
    x = lamella.Input((4,))
    with pytest.raises(ArgumentError, match=finding):
        lamella.Model(x, call(x)).get_config()


def graph(*operations: tuple[str, dict[str, Any], int], shape: tuple[int | None, ...] = (None, 8)) -> dict[str, Any]:
    """The config of a model of operations, each on so many of the one before it."""
    entries = [
        {
            "module": "keras.layers", "class_name": "InputLayer", "name": "x", "inbound_nodes": [],
            "config": {"batch_shape": list(shape), "name": "x"},
        }
    ]  # fmt: skip
    for place, (name, arguments, count) in enumerate(operations):
        tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": [entries[-1]["name"], 0, 0]}}
        node = {"args": [tensor] * count, "kwargs": {}}
        entry = {"module": "keras.src.ops.numpy", "class_name": name, "name": f"op_{place}", "inbound_nodes": [node]}
        entries.append({**entry, "config": {"name": f"op_{place}", **arguments}})
    ends = {"input_layers": ["x", 0, 0], "output_layers": [entries[-1]["name"], 0, 0]}
    return {"class_name": "Functional", "config": {"name": "net", "layers": entries, **ends}}


def dead() -> dict[str, Any]:
    """A graph with an operation that no output depends on."""
    config = graph(("Add", {}, 2), ("Sum", {}, 1))
    config["config"]["output_layers"] = ["op_0", 0, 0]
    return config


LAMBDA = {"class_name": "__lambda__", "config": {"value": ["4wEAAAAA", None, None]}}
WIDE = ("BroadcastTo", {"shape": [10**6, 10**6, 4]}, 1)
HUGE: dict[str, dict[str, Any]] = {
    "sizes of 1e12": graph(
        ("BroadcastTo", {"shape": [10**4, 10**4, 8]}, 1), ("Tile", {"repeats": 10**4}, 1),
        ("Repeat", {"repeats": 1000, "axis": 0}, 1), ("Pad", {"pad_width": 10**6, "mode": "constant"}, 1),
        ("Cast", {"dtype": "int32"}, 1), ("OneHot", {"num_classes": 10**12}, 1), ("ZerosLike", {"dtype": None}, 1),
        ("Mean", {"axis": None, "keepdims": False}, 1), shape=(8,),
    ),
    "a product": graph(("Outer", {}, 2), ("Outer", {}, 2), ("Sum", {"axis": None}, 1), shape=(10**6,)),
}  # fmt: skip
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    **{
        name: (graph((name, {}, 1)), rf"the operation '{name}' between its layers, which is not known here")
        for name in sorted(WITHOUT)
    },
    "a function as an argument": (graph(("Map", {"f": LAMBDA}, 1)), "'Map' between its layers"),
    "code in the constructor": (graph(("Clip", {"x_min": LAMBDA}, 1)), "the code of a Python lambda.*never run"),
    "a name that is none": (graph(("../evil", {}, 1)), "'../evil' between its layers, which is not known here"),
    "a function that is no class": (graph(("save", {}, 1)), "'save' between its layers, which is not known here"),
    "an argument too many": (graph(("Add", {"f": 1}, 2)), "'Add' has no argument 'f'"),
    "a tensor too few": (graph(("Add", {}, 1)), "too many arguments, or too few"),
    "on no tensor": (graph(("Add", {}, 0)), "calls the operation 'op_0' on no tensor"),
    "a call that leads nowhere": (dead(), "calls 'op_1' for nothing"),
    "nonsense": (
        graph(("Reshape", {"newshape": "abc"}, 1)),
        r"\(Reshape\) with arguments that it does not take",
    ),
    "differences without end": (graph(("Diff", {"n": 10**9}, 1)), "work on 10,000,000,000 pieces; at most 1,000"),
    "pieces without end": (
        graph(WIDE, ("Split", {"indices_or_sections": 10**6, "axis": 0}, 1), shape=(4,)),
        "work on 1,000,000 pieces",
    ),
    "rows without end": (graph(WIDE, ("Concatenate", {"axis": 0}, 1), shape=(4,)), "work on 1,000,000 pieces"),
    "axes without end": (graph(WIDE, ("Unstack", {"axis": 1}, 1), shape=(4,)), "work on 1,000,000 pieces"),
    "a slice of code": (
        {"class_name": "__slice__", "config": {"start": "x", "stop": None, "step": None}},
        "a slice that is not between whole numbers",
    ),
}


@pytest.mark.parametrize("name", HUGE)
def test_sizes_are_declared_and_nothing_is_allocated(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = lamella.saving.deserialize_keras_object(HUGE[name])
    assert model.output_shape == ()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "it took 100 MB of memory"


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_operation_is_is_refused_by_name(name: str) -> None:
    config, finding = REFUSED[name]
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(LamellaError, match=finding):
        lamella.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert time.perf_counter() - begun < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "it took 100 MB of memory"
