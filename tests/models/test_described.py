"""Models as JSON, in Keras's form, and clones."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import lamella
from lamella.errors import ArgumentError
from tests.parity.test_layers import assert_close

X = np.random.default_rng(2).normal(size=(3, 6)).astype("float32")


def network(library: Any) -> Any:
    layers = library.layers
    first, second = library.Input((6,), name="first"), library.Input((6,), name="second")
    shared = layers.Dense(4, activation="relu", name="shared")
    inner = library.Sequential([library.Input((4,)), layers.Dense(3, name="inside")], name="inner")
    left, right = shared(first), shared(second)
    both = layers.Concatenate(name="both")([inner(left), inner(right)])
    steps = layers.Reshape((3, 2), name="steps")(both)
    attended = layers.MultiHeadAttention(1, 2, name="attend")(steps, value=steps, use_causal_mask=True)
    return library.Model([first, second], [layers.Flatten(name="flat")(attended), both], name="net")


def stack(library: Any) -> Any:
    layers = library.layers
    return library.Sequential([library.Input((6,)), layers.Dense(4, activation="tanh"), layers.Dense(2)], name="stack")


@pytest.mark.parametrize(("make", "inputs"), [(network, [X, X + 1]), (stack, X)])
@pytest.mark.parametrize("route", ["own JSON", "Keras's JSON", "clone", "recursive clone"])
def test_the_same_model_again(make: Any, inputs: Any, route: str) -> None:
    model = make(lamella)
    twin = {
        "own JSON": lambda: lamella.models.model_from_json(model.to_json()),
        "Keras's JSON": lambda: lamella.models.model_from_json(make(keras).to_json()),
        "clone": lambda: lamella.models.clone_model(model),
        "recursive clone": lambda: lamella.models.clone_model(model, recursive=True),
    }[route]()
    assert twin.name == model.name and type(twin) is type(model)
    assert [w.path for w in twin.weights] == [w.path for w in model.weights] or make is stack
    assert not {id(w) for w in twin.weights} & {id(w) for w in model.weights}
    twin.set_weights(model.get_weights())
    assert_close(twin.predict(inputs), model.predict(inputs))


@pytest.mark.parametrize("make", [network, stack])
def test_keras_reads_what_is_written(make: Any) -> None:
    model = make(lamella)
    twin = keras.models.model_from_json(model.to_json())
    twin.set_weights(model.get_weights())
    inputs = [X, X] if make is network else X
    assert_close(twin.predict(inputs, verbose=0), model.predict(inputs))


def test_clones_with_other_layers_and_inputs() -> None:
    def wider(layer: Any) -> Any:
        config = layer.get_config()
        return type(layer).from_config(config | {"units": 5} if "units" in config else config)

    assert lamella.models.clone_model(stack(lamella), clone_function=wider).output_shape == (None, 5)
    called: list[str] = []

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        called.append(layer.name)
        return layer(*args, **kwargs)

    lamella.models.clone_model(network(lamella), call_function=call)
    assert called.count("shared") == 2
    given = [lamella.Input((6,), name="a"), lamella.Input((6,), name="b")]
    assert lamella.models.clone_model(network(lamella), input_tensors=given).input_names == ["a", "b"]


def test_operations_between_layers_are_cloned() -> None:
    x = lamella.Input((6,))
    model = lamella.Model(x, lamella.layers.Dense(2)(x * 2 + 1))
    twin = lamella.models.clone_model(model)
    twin.set_weights(model.get_weights())
    assert_close(twin.predict(X), model.predict(X))
    twin = lamella.models.model_from_json(model.to_json())
    twin.set_weights(model.get_weights())
    assert_close(twin.predict(X), model.predict(X))


def test_refusals() -> None:
    class Own(lamella.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(ArgumentError, match="Own has a `call` of its own"):
        lamella.models.clone_model(Own())
    with pytest.raises(ArgumentError, match="call_function has no place"):
        lamella.models.clone_model(stack(lamella), call_function=lambda layer, x: layer(x))
    with pytest.raises(ArgumentError, match="describes Dense, which is no model"):
        lamella.models.model_from_json('{"class_name": "Dense", "config": {"units": 3}}')
    broken = network(lamella).get_config()
    broken["layers"] = [entry for entry in broken["layers"] if entry["name"] != "second"]
    with pytest.raises(ArgumentError, match="refers to the call 0 of 'second', which it does not have"):
        lamella.Functional.from_config(broken)
