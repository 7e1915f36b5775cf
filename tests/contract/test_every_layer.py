"""One list of checks that every layer passes: what a layer promises, whatever it computes."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

import lamella
from lamella.core.structure import leaves_of
from tests.parity.cases import CASES, Case

# One case for each layer: the first of the table.
FIRST = list({case.layer: case for case in reversed(CASES)}.values())
BUILT_IN = {
    name
    for name in lamella.layers.__all__
    if isinstance(getattr(lamella.layers, name), type) and issubclass(getattr(lamella.layers, name), lamella.Layer)
}
ELSEWHERE = {
    "Layer",
    "InputLayer",
    "Wrapper",
    "Lambda",
    "RNN",
    "LSTMCell",
    "GRUCell",
    "SimpleRNNCell",
    "StackedRNNCells",
}
ELSEWHERE |= {"Pipeline", "JaxLayer", "FlaxLayer"}
ALIASES = {name for name in BUILT_IN if getattr(lamella.layers, name).__name__ != name}


def data(case: Case, batch: int | None = None) -> Any:
    draw = np.random.default_rng(3)

    def one(shape: tuple[int, ...]) -> Any:
        shape = (batch or shape[0], *shape[1:])
        return draw.integers(0, case.ids, shape) if case.ids else draw.normal(size=shape).astype("float32")

    return [one(shape) for shape in case.shape] if case.several else one(case.shape)


def symbols(case: Case) -> Any:
    dtype = "int32" if case.ids else "float32"
    shapes = case.shape if case.several else [case.shape]
    made = [lamella.Input(shape[1:], dtype=dtype) for shape in shapes]
    return made if case.several else made[0]


def test_every_layer_is_in_the_table() -> None:
    assert {case.layer for case in CASES} | ELSEWHERE | ALIASES == BUILT_IN


@pytest.mark.parametrize("case", FIRST, ids=lambda case: case.layer)
class TestContract:
    def test_any_batch_size_and_eager_equals_traced(self, case: Case) -> None:
        layer = case.make(lamella)
        for batch in (1, 4):
            x = data(case, batch)
            eager = leaves_of(case.call(layer, x))
            traced = leaves_of(lamella.jit(lambda x, case=case, layer=layer: case.call(layer, x))(x))
            for a, b in zip(eager, traced, strict=True):
                assert a.shape[0] == batch
                np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)

    def test_numpy_and_jax_inputs(self, case: Case) -> None:
        layer, x = case.make(lamella), data(case)
        jax_x = jax.tree.map(jax.numpy.asarray, x)
        for a, b in zip(leaves_of(case.call(layer, x)), leaves_of(case.call(layer, jax_x)), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))

    def test_symbolic_shape_is_the_real_one(self, case: Case) -> None:
        layer = case.make(lamella)
        known = [t.shape for t in leaves_of(case.call(layer, symbols(case)))]
        real = [np.asarray(leaf).shape for leaf in leaves_of(case.call(layer, data(case, 3)))]
        assert [(3, *shape[1:]) for shape in known] == real

    def test_config_is_plain_data(self, case: Case) -> None:
        layer = case.make(lamella)
        config = layer.get_config()
        assert json.loads(json.dumps(config)) == json.loads(json.dumps(type(layer).from_config(config).get_config()))
        wrapped = lamella.utils.deserialize_keras_object(lamella.utils.serialize_keras_object(layer))
        assert type(wrapped) is type(layer) and wrapped.name == layer.name

    def test_copies_are_independent(self, case: Case) -> None:
        layer, x = case.make(lamella), data(case)
        before = [np.asarray(leaf) for leaf in leaves_of(case.call(layer, x))]
        twin = copy.deepcopy(layer)
        twin.set_weights([w * 0 for w in twin.get_weights()])
        for a, b in zip(before, leaves_of(case.call(layer, x)), strict=True):
            np.testing.assert_array_equal(a, np.asarray(b))

    def test_pickles_are_equal(self, case: Case) -> None:
        layer = case.make(lamella)
        case.call(layer, symbols(case))
        twin = pickle.loads(pickle.dumps(layer))
        for a, b in zip(twin.get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert json.dumps(twin.get_config()) == json.dumps(layer.get_config())
        assert [t.shape for t in leaves_of(case.call(twin, symbols(case)))] == [
            t.shape for t in leaves_of(case.call(layer, symbols(case)))
        ]

    def test_half_precision_keeps_weights_in_single(self, case: Case) -> None:
        case_of = replace(case, arguments={**case.arguments, "dtype": "mixed_bfloat16"})
        if case.inner:
            inner = {**case.inner_arguments, "dtype": "mixed_bfloat16"}
            case_of = replace(case_of, inner_arguments=inner)
        layer = case_of.make(lamella)
        for leaf in leaves_of(case.call(layer, data(case))):
            assert str(np.asarray(leaf).dtype) == "bfloat16"
        assert {w.dtype for w in layer.weights} <= {"float32", "int32"}

    def test_training_in_a_model(self, case: Case) -> None:
        inputs = symbols(case)
        layer = case.make(lamella)
        out = leaves_of(case.call(layer, inputs))[0]
        flat = lamella.layers.GlobalAveragePooling1D() if case.layer == "Masking" else lamella.layers.Flatten()
        out = lamella.layers.Dense(1)(flat(out))
        model = lamella.Model(inputs, out)
        model.compile("sgd", loss="mse")
        x = data(case, 5)
        history = model.fit(x, np.ones((5, 1)), batch_size=2, epochs=1, verbose=0)
        assert np.isfinite(history.history["loss"][0])
        assert model.predict(x).shape == (5, 1)

    def test_no_tracer_is_left_behind(self, case: Case) -> None:
        layer = case.make(lamella)
        case.call(layer, symbols(case))
        with jax.checking_leaks():
            mode = {"training": True} if case.layer != "Dot" else {}
            lamella.jit(lambda x: case.call(layer, x, **mode))(data(case))
        for variable in layer.variables:
            assert isinstance(variable.numpy(), np.ndarray)
