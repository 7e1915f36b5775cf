"""Dtype policies, and which of them a layer goes by."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest

import lamella
from lamella import dtype_policies, layers

KINDS = ["bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "float16", "bfloat16", "float32", "complex64"]
MIXED = ["mixed_bfloat16", "mixed_float16", "bfloat16", "float16"]


@pytest.mark.parametrize("number", [1, 2])
def test_result_type(number: int) -> None:
    for dtypes in itertools.product([*KINDS, int, float, None], repeat=number):
        try:
            wanted = keras.backend.result_type(*dtypes)
        except KeyError:  # where Keras's table has a type of 64 bits, which JAX has not
            continue
        if not wanted.endswith("64") or wanted == "complex64":
            assert lamella.backend.result_type(*dtypes) == wanted, dtypes


def policies(library: Any) -> Any:
    return library.dtype_policies.DTypePolicyMap(
        "float32", {"tower/first": library.DTypePolicy("mixed_bfloat16"), "tower/s.*": library.DTypePolicy("bfloat16")}
    )


def test_a_map_is_keras_s() -> None:
    ours, theirs = policies(lamella), policies(keras)
    ours["head"] = theirs["head"] = "float16"
    for path in ("tower/first", "tower/second", "tower", "head", "other"):
        assert ours[path].name == theirs[path].name and (path in ours) == (path in theirs)
    assert (len(ours), list(ours), ours.name, ours.compute_dtype) == (3, list(theirs), theirs.name, "float32")
    assert dtype_policies.serialize(ours) == keras.dtype_policies.serialize(theirs)
    again = dtype_policies.deserialize(dtype_policies.serialize(ours))
    assert again == ours and dtype_policies.get(dtype_policies.serialize(ours)) == ours
    del ours["head"]
    assert again != ours and "head" not in ours


def test_layers_go_by_their_path() -> None:
    def outputs(library: Any) -> list[tuple[str, str, str]]:
        class Tower(library.layers.Layer):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__(name="tower")
                given = policies(library)
                self.inside = [library.layers.Dense(2, name=name, dtype=given) for name in ("first", "second", "x")]

            def call(self, inputs: Any) -> Any:
                return [layer(inputs) for layer in self.inside]

        tower = Tower()
        found = tower(np.ones((1, 3), "float32"))
        return [(y.dtype.name, str(d.kernel.dtype), d.path) for y, d in zip(found, tower.inside, strict=True)]

    assert outputs(lamella) == outputs(keras)
    assert [dtype for dtype, *_ in outputs(lamella)] == ["bfloat16", "bfloat16", "float32"]


def test_a_layer_s_config_keeps_the_map() -> None:
    layer = layers.Dense(2, dtype=policies(lamella))
    assert layers.Dense.from_config(layer.get_config()).dtype_policy == policies(lamella)


def test_a_map_may_be_the_default() -> None:
    lamella.mixed_precision.set_global_policy(policies(lamella))
    try:
        assert layers.Dense(2).dtype_policy == policies(lamella)
    finally:
        lamella.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", MIXED)
def test_a_mixed_model_trains_as_keras_s(policy: str) -> None:
    x = np.random.default_rng(0).normal(size=(8, 6, 3)).astype("float32")
    found = []
    for library in (lamella, keras):
        library.utils.set_random_seed(1)
        names = ["Conv1D", "BatchNormalization", "LayerNormalization", "GlobalAveragePooling1D", "Dense"]
        arguments: list[tuple[Any, ...]] = [(4, 2), (), (), (), (2,)]
        stack = [getattr(library.layers, n)(*a, dtype=policy) for n, a in zip(names, arguments, strict=True)]
        model = library.Sequential([library.Input((6, 3)), *stack])
        model.compile(library.optimizers.SGD(0.1), loss="mse")
        model.train_on_batch(x, np.ones((8, 2), "float32"))
        found.append((model(x), [str(w.dtype) for w in model.weights], model.get_weights()))
    (ours, dtypes, weights), (theirs, wanted, others) = found
    assert str(ours.dtype) == str(theirs.dtype) and dtypes == wanted
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(np.float32(a), np.float32(b), atol=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policies(lamella).__setitem__("tower/first", "float32"), "has the policy"),
        (lambda: dtype_policies.DTypePolicyMap(policies(lamella)), "one policy, not a map"),
        (lambda: dtype_policies.DTypePolicyMap("float32", {"a.*": None, ".*b": None})["ab"], "fits several keys"),
        (lambda: dtype_policies.get({"class_name": "DTypePolicyMop", "config": {}}), "Did you mean 'DTypePolicyMap'"),
        (lambda: lamella.backend.result_type("float8_e5m2", "float32"), "promoted from float8"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
