"""Every layer beside Keras's: outputs, weights, shapes, configs, one step of training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import keras
import numpy as np
import pytest

import lamella
from tests.parity.cases import CASES, Case

LIMIT = 1e-5
FIRST_CASES = list({case.layer: case for case in reversed(CASES)}.values())
pytestmark = pytest.mark.usefixtures("drawn_by_numpy")


def data(case: Case, seed: int = 0) -> Any:
    draw = np.random.default_rng(seed)

    def one(shape: tuple[int, ...]) -> Any:
        return draw.integers(0, case.ids, shape) if case.ids else draw.normal(size=shape).astype("float32")

    return [one(shape) for shape in case.shape] if case.several else one(case.shape)


def assert_close(ours: Any, theirs: Any) -> None:
    ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    assert len(ours) == len(theirs)
    for a, b in zip(map(np.asarray, ours), map(np.asarray, theirs), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=LIMIT, atol=LIMIT * max(1.0, float(np.abs(b).max(initial=0))))


def seeded(case: Case) -> Case:
    """The case with a seed, if its layer draws."""
    draws = "Dropout" in case.layer or "Noise" in case.layer or "dropout" in case.arguments
    return replace(case, arguments={**case.arguments, "seed": 3}) if draws else case


def pair(case: Case) -> tuple[Any, Any, Any]:
    """Both layers, built on the same data, with Keras's weights in both (made random, so that none is zero)."""
    x = data(case)
    ours, theirs = case.make(lamella), case.make(keras)
    case.call(ours, x), case.call(theirs, x)
    draw = np.random.default_rng(1)
    weights = [np.abs(draw.normal(size=w.shape)).astype("float32") * 0.3 + 0.1 for w in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    return ours, theirs, x


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_and_weights(case: Case) -> None:
    ours, theirs, x = pair(case)
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    assert [w.name for w in ours.trainable_weights] == [w.name for w in theirs.trainable_weights]
    assert ours.count_params() == theirs.count_params()
    assert_close(case.call(ours, x), case.call(theirs, x))
    assert_close(ours.losses, theirs.losses)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_training_mode(case: Case) -> None:
    ours, theirs, x = pair(seeded(case))
    assert_close(case.call(ours, x, training=True), case.call(theirs, x, training=True))
    assert_close(ours.get_weights(), theirs.get_weights())


@pytest.mark.parametrize("case", FIRST_CASES, ids=str)
def test_mixed_precision(case: Case) -> None:
    """What comes out in 16 bits has Keras's dtype, and its values to the few bits that are left."""
    # Keras's spectrum is refused to bfloat16.
    policy = {"dtype": "mixed_float16" if case.layer == "STFTSpectrogram" else "mixed_bfloat16"}
    half = replace(case, arguments={**case.arguments, **policy})
    if case.inner:
        half = replace(half, inner_arguments={**case.inner_arguments, **policy})
    ours, theirs, x = pair(half)
    assert [w.dtype for w in ours.weights] == [str(w.dtype) for w in theirs.weights]
    out, wanted = (jax.tree.leaves(case.call(layer, x)) for layer in (ours, theirs))
    assert [str(leaf.dtype) for leaf in out] == [str(leaf.dtype) for leaf in wanted]
    for a, b in zip(out, wanted, strict=True):
        a, b = np.asarray(a, "float32"), np.asarray(b, "float32")
        np.testing.assert_allclose(a, b, rtol=0.03, atol=0.03 * max(1.0, float(np.abs(b).max(initial=0))))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_shape_with_unknown_batch(case: Case) -> None:
    shapes = case.shape if case.several else [case.shape]
    unknown = [(None, *shape[1:]) for shape in shapes]
    argument = unknown if case.several else unknown[0]
    ours, theirs = case.make(lamella), case.make(keras)
    wanted = [tuple(t.shape) for t in keras.tree.flatten(case.call(theirs, _inputs(keras, case, unknown)))]
    if case.layer == "EinsumDense":
        # Keras foretells None where output_shape says so, and turns the axes around that dots stand for.
        wanted = [(None, *theirs(np.zeros(case.shape, "float32")).shape[1:])]
    assert _shapes(ours, case, argument) == wanted
    assert not ours.weights, "asking for a shape must not make weights"
    symbols = case.call(ours, _inputs(lamella, case, unknown))
    flat = symbols if isinstance(symbols, list | tuple) else [symbols]
    assert [t.shape for t in flat] == wanted


def _shapes(layer: Any, case: Case, given: Any) -> list[Any]:
    shapes = layer.compute_output_shape(*case.given(given))
    return list(shapes) if isinstance(shapes, list) or isinstance(shapes[0], tuple) else [shapes]


def _inputs(library: Any, case: Case, shapes: list[Any]) -> Any:
    made = [library.Input(batch_shape=shape, dtype="int32" if case.ids else "float32") for shape in shapes]
    return made if case.several else made[0]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_config_round_trip(case: Case) -> None:
    ours, theirs, x = pair(case)
    config = ours.get_config()
    twin = type(ours).from_config(config)
    assert twin.get_config() == config
    case.call(twin, x)
    twin.set_weights(ours.get_weights())
    assert_close(case.call(twin, x), case.call(ours, x))
    missing = set(theirs.get_config()) - set(config) - ABSENT
    assert not missing, f"Keras's config has {missing}"


# Arguments of Keras that stand for LoRA, ragged tensors and the like, which are not there yet.
ABSENT = {
    "lora_rank",
    "lora_alpha",
    "registered_name",
    "build_config",
    "activity_regularizer",
}


SIZES = {"kernel_size", "units", "output_dim", "equation", "num_heads", "head_dim"}
WEIGHTY = {"BatchNormalization", "LayerNormalization", "Bidirectional", "TimeDistributed", "PReLU"}
WEIGHTY |= {"GroupNormalization", "RMSNormalization", "SpectralNormalization"}


@pytest.mark.parametrize("case", [case for case in CASES if not case.ids], ids=str)
def test_gradient_of_inputs(case: Case) -> None:
    ours, theirs, x = pair(case)

    def slope(layer: Any, jit: Any) -> Any:
        def total(x: Any) -> Any:
            return sum((leaf**2).sum() for leaf in jax.tree.leaves(case.call(layer, x)))

        return jit(jax.grad(total))(jax.tree.map(jax.numpy.asarray, x))

    assert_close(slope(ours, lamella.jit), slope(theirs, jax.jit))


@pytest.mark.parametrize("case", [c for c in CASES if SIZES & set(c.arguments) or c.layer in WEIGHTY], ids=str)
def test_one_step_of_sgd(case: Case) -> None:
    ours, theirs, x = pair(seeded(case))
    target = np.zeros(np.shape(jax.tree.leaves(case.call(ours, x))[0]), "float32")
    results = []
    for library, layer in ((lamella, ours), (keras, theirs)):
        model = _model(library, case, layer)
        model.compile(optimizer=library.optimizers.SGD(0.1), loss="mse")
        loss = model.train_on_batch(x, target)
        results.append((np.float32(loss), layer.get_weights()))
    assert_close(*results)


def _model(library: Any, case: Case, layer: Any) -> Any:
    shapes = case.shape if case.several else [case.shape]
    inputs = [library.Input(shape[1:], dtype="int32" if case.ids else "float32") for shape in shapes]
    outputs = case.call(layer, inputs if case.several else inputs[0])
    if isinstance(outputs, list | tuple):
        outputs = outputs[0]
    return library.Model(inputs, outputs)
