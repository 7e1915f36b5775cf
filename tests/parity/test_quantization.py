"""Weights in whole numbers: layers, models, policies and quantizers beside Keras's."""

from __future__ import annotations

import json
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import lamella
from lamella.batch import check
from lamella.errors import ArgumentError, NotBuiltError, UnknownNameError
from tests.parity.cases import Case
from tests.parity.test_layers import assert_close

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

DRAW = np.random.default_rng(8)
STEPS = (2, 3, 5)
EINSUM = [
    ("abc,cde->abde", (3, 4, 2), "e", STEPS),
    ("abcd,cde->abe", (3, 4), None, (2, 3, 5, 2)),
    ("abc,dce->abed", (3, 6, 4), "ed", STEPS),
    ("abc,cd->ad", (4,), "d", STEPS),
    ("ab,b->ab", (3,), None, (2, 3)),
]
DENSE = Case("Dense", {"units": 4, "activation": "relu"}, STEPS)
TIED = Case("ReversibleEmbedding", {"input_dim": 11, "output_dim": 4}, (2, 3), ids=11)
UNTIED = Case("ReversibleEmbedding", TIED.arguments | {"tie_weights": False, "logit_soft_cap": 2.0}, (2, 3), ids=11)
CASES = [
    DENSE,
    Case("Dense", {"units": 4, "use_bias": False, "dtype": "mixed_bfloat16"}, (2, 5)),
    *(Case("EinsumDense", dict(equation=e, output_shape=out, bias_axes=b), x) for e, out, b, x in EINSUM),
    Case("Embedding", {"input_dim": 11, "output_dim": 4}, (2, 3), ids=11),
    TIED,
    UNTIED,
]


def built(case: Case) -> tuple[Any, Any, Any]:
    """Both layers with the same weights, which are of both signs, and inputs."""
    ours, theirs = case.make(lamella), case.make(keras)
    for layer in (ours, theirs):
        layer.build((None, *case.shape[1:]))
    weights = [DRAW.normal(size=w.shape).astype("float32") for w in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    x = DRAW.integers(0, case.ids, size=case.shape) if case.ids else DRAW.normal(size=case.shape).astype("float32")
    return ours, theirs, x


def quantized(case: Case) -> tuple[Any, Any, Any]:
    ours, theirs, x = built(case)
    ours.quantize("int8")
    theirs.quantize("int8")
    return ours, theirs, x


def calls(theirs: Any, *args: Any, **kwargs: Any) -> Any:
    """Keras's answer, from one program and not from one for each operation."""
    still = [place for place, value in enumerate(args) if isinstance(value, str | int)]
    return jax.jit(lambda *args: theirs(*args, **kwargs), static_argnums=still)(*args)


def described(layer: Any) -> list[Any]:
    return [(w.path.split("/")[-1], str(w.dtype), tuple(w.shape), w.trainable) for w in layer.weights]


def assert_same_weights(ours: Any, theirs: Any) -> None:
    assert described(ours) == described(theirs)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layers(case: Case) -> None:
    ours, theirs, x = quantized(case)
    assert_same_weights(ours, theirs)
    assert ours.weights[0].path == f"{ours.name}/{ours.weights[0].name}"
    assert (ours.quantization_mode, ours.dtype_policy.name) == (theirs.quantization_mode, theirs.dtype_policy.name)
    assert ours.count_params() == theirs.count_params()
    assert_close(ours(x), calls(theirs, x))
    if case.layer == "ReversibleEmbedding":
        vectors = DRAW.normal(size=(2, 3, 4)).astype("float32")
        assert_close(ours(vectors, reverse=True), calls(theirs, vectors, reverse=True))
    # A config makes a layer that is built quantized, here and there.
    config = json.loads(json.dumps(ours.get_config()))
    assert config["dtype"] == theirs.get_config()["dtype"]
    twin, other = type(ours).from_config(config), type(theirs).from_config(config)
    assert twin.get_config() == ours.get_config()
    for layer in (twin, other):
        layer.build((None, *x.shape[1:]))
    assert described(twin) == described(ours) and described(other) == described(theirs)
    twin.set_weights(ours.get_weights())
    other.set_weights(ours.get_weights())
    assert_same_weights(twin, other)
    assert_close(twin(x), ours(x))


@pytest.mark.parametrize(
    ("case", "inputs"), [(DENSE, "rounded"), (DENSE, "kept"), (CASES[2], "kept"), (CASES[4], "rounded")], ids=str
)
def test_gradient_of_inputs(case: Case, inputs: str) -> None:
    slopes = []
    config = {} if inputs == "rounded" else {"activation_quantizer": None}
    ours, theirs, x = built(case)
    for library, layer in ((lamella, ours), (keras, theirs)):
        layer.quantize(config=library.quantizers.Int8QuantizationConfig(**config))
        total = lamella.jit(jax.value_and_grad(lambda x, layer=layer: jnp.sum(jnp.sin(layer(x)))))
        slopes.append(total(x))
    assert_close(*slopes)


def test_weights_alone_may_be_quantized_and_by_another_range() -> None:
    ours, theirs, x = built(DENSE)
    for library, layer in ((lamella, ours), (keras, theirs)):
        quantizer = library.quantizers.AbsMaxQuantizer(axis=0, value_range=(-31, 31))
        layer.quantize(config=library.quantizers.Int8QuantizationConfig(quantizer, None))
    assert_same_weights(ours, theirs)
    assert abs(ours.kernel.numpy()).max() == 31
    assert_close(ours(x), calls(theirs, x))
    twin = type(ours).from_config(ours.get_config())
    assert twin.quantization_config.activation_quantizer is None
    assert twin.quantization_config.weight_quantizer.value_range == (-31, 31)


@pytest.mark.parametrize(
    ("case", "first"),
    [(DENSE, "adapted"), (DENSE, "quantized"), (CASES[2], "adapted"), (CASES[7], "quantized")],
    ids=str,
)
def test_adaptation(case: Case, first: str) -> None:
    ours, theirs, x = built(case)
    for layer in (ours, theirs):
        for step in ("adapted", "quantized") if first == "adapted" else ("quantized", "adapted"):
            layer.enable_lora(2, lora_alpha=3) if step == "adapted" else layer.quantize("int8")
        factors = [w for w in layer.weights if "lora" in w.name]
        for number, factor in enumerate(factors):
            factor.assign(np.random.default_rng(number).normal(size=factor.shape).astype("float32"))
    assert_same_weights(ours, theirs)
    assert_close(ours(x), calls(theirs, x))
    config = json.loads(json.dumps(ours.get_config()))
    twin = type(ours).from_config(config)
    twin.build((None, *x.shape[1:]))
    assert described(twin) == described(ours)
    # What the weight comes to is a float; Keras adds the product of the factors to the codes.
    scale = getattr(ours, f"{ours.adapted}_scale").numpy()
    scale = scale[:, None] if case.layer == "Embedding" else scale.reshape(scale.shape[-2:] if scale.ndim > 2 else -1)
    a, b = (w.numpy() for w in ours.weights if "lora" in w.name)
    codes = getattr(ours, f"_{ours.adapted}").numpy()
    assert_close(getattr(ours, ours.adapted), (codes / scale + np.float32(1.5) * (a @ b)).astype("float32"))


def test_adaptation_reaches_the_way_back() -> None:
    """Keras leaves the factors out there once the table is quantized."""
    ours = TIED.make(lamella)
    ours.build(None)
    vectors = DRAW.normal(size=(2, 3, 4)).astype("float32")
    ours.enable_lora(2, b_initializer="ones")
    whole = ours(vectors, reverse=True)
    ours.quantize("int8")
    np.testing.assert_allclose(ours(vectors, reverse=True), whole, rtol=0.02, atol=0.02 * np.abs(whole).max())


def attentive(policy: Any = None) -> Any:
    """A table, attention, and two dense layers: seven weights that can be quantized."""
    ids = lamella.Input((6,), dtype="int32")
    x = lamella.layers.Embedding(20, 8, name="table")(ids)
    x = lamella.layers.MultiHeadAttention(2, 4, name="attention", dtype=policy)(x, x)
    x = lamella.layers.Dense(8, activation="relu", name="hidden")(lamella.layers.LayerNormalization(name="norm")(x))
    return lamella.Model(ids, lamella.layers.Dense(3, name="head")(x))


IDS = DRAW.integers(0, 20, size=(4, 6))


def test_a_functional_model_is_keras_s() -> None:
    models = []
    for library in (lamella, keras):
        ids = library.Input((6,), dtype="int32")
        x = library.layers.Dropout(0.1)(library.layers.Embedding(20, 8, name="table")(ids))
        x = library.layers.EinsumDense("abc,cde->abde", (6, 2, 4), "relu", name="heads")(x)
        x = library.layers.Dense(3, name="last")(library.layers.Dense(5, activation="relu", name="hidden")(x))
        models.append(library.Model(ids, x))
    ours, theirs = models
    theirs.set_weights(ours.get_weights())
    ours.quantize("int8", filters=["t", "hidden"])
    with warnings.catch_warnings():
        # Keras warns of each layer that it leaves as it is.
        warnings.simplefilter("ignore")
        theirs.quantize("int8", filters=["t", "hidden"])
    assert_same_weights(ours, theirs)
    assert [w.path for w in ours.weights if w.dtype == "int8"] == ["table/embeddings", "hidden/kernel", "last/kernel"]
    assert_close(ours.predict(IDS), calls(theirs, IDS))


def test_layers_inside_of_layers() -> None:
    model = attentive()
    before, floats = model.predict(IDS), sum(w.nbytes for w in model.weights)
    model.quantize("int8")
    assert sum(w.dtype == "int8" for w in model.weights) == 7
    assert sum(w.nbytes for w in model.weights) < 0.6 * floats
    np.testing.assert_allclose(model.predict(IDS), before, atol=0.05)
    assert check(model).independent and check(model, training=True).independent


@pytest.mark.parametrize(
    ("filters", "chosen"),
    [
        ("^head$", ["head"]),
        (["table", "hid"], ["table", "hidden"]),
        (lambda layer: layer.name == "query", ["query"]),
    ],
    ids=["pattern", "patterns", "function"],
)
def test_filters(filters: Any, chosen: list[str]) -> None:
    model = attentive()
    model.quantize("int8", filters=filters)
    assert [layer.name for layer in model._flatten_layers() if layer.quantization_mode] == chosen


def test_a_map_of_policies_remembers_the_layers_inside_of_a_layer() -> None:
    """In Keras, such a layer cannot be quantized."""
    policies = lamella.dtype_policies.DTypePolicyMap("float32")
    model = attentive(policies)
    model.quantize("int8", filters=lambda layer: layer.name != "value")
    inside = ["attention_output", "key", "query"]
    assert sorted(policies) == [f"attention/{name}" for name in inside]
    assert policies["attention/query"].name == "int8_from_float32"
    again = lamella.models.model_from_json(model.to_json())
    assert described(again) == described(model)
    again.set_weights(model.get_weights())
    assert_close(again(IDS), model(IDS))


def test_training_goes_on_with_what_is_still_in_floats() -> None:
    results = []
    x = np.random.default_rng(1).normal(size=(32, 5)).astype("float32")
    for library in (lamella, keras):
        model = library.Sequential([library.Input((5,)), library.layers.Dense(4), library.layers.Dense(1)])
        if results:
            model.set_weights(results[0][0])
        results.append([model.get_weights()])
        y = x.sum(axis=-1, keepdims=True)
        for layer in model.layers:
            # With rounded inputs, a last bit in the first layer may become a whole step in the second.
            layer.quantize(config=library.quantizers.Int8QuantizationConfig(activation_quantizer=None))
        codes = [w for w in model.get_weights() if w.dtype == "int8"]
        model.compile(library.optimizers.SGD(0.01), "mse")
        for layer in model.layers:
            layer.enable_lora(2, a_initializer="ones")
        logs = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history
        for before, after in zip(codes, [w for w in model.get_weights() if w.dtype == "int8"], strict=True):
            np.testing.assert_array_equal(before, after)
        assert logs["loss"][-1] < logs["loss"][0]
        results[-1] += [model.get_weights(), logs["loss"], model.predict(x, verbose=0)]
    assert_close(results[0][1:], results[1][1:])


def test_a_compiled_model_that_was_trained_goes_on() -> None:
    model = lamella.Sequential([lamella.Input((5,)), lamella.layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.ones((8, 5), "float32")
    model.fit(x, x[:, :1], verbose=0)
    before = model.predict(x)
    model.quantize("int8")
    np.testing.assert_allclose(model.predict(x), before, atol=0.02)
    bias, codes = model.layers[0].bias.numpy(), model.layers[0].kernel.numpy()
    model.fit(x, x[:, :1], verbose=0)
    assert model.layers[0].bias.numpy() != bias
    np.testing.assert_array_equal(model.layers[0].kernel, codes)


def test_masks_jit_samples_and_ids_out_of_range() -> None:
    table = lamella.layers.Embedding(5, 3, mask_zero=True)
    table.build()
    rows = table.embeddings.numpy()
    table.quantize("int8")
    out = table(np.array([[1, 0, 7]]))
    assert out.mask.tolist() == [[True, False, True]]
    np.testing.assert_allclose(out.value[0, :2], rows[[1, 0]], atol=np.abs(rows).max() / 200)
    assert np.isnan(out.value[0, 2]).all()
    dense = lamella.layers.Dense(2)
    x = DRAW.normal(size=(4, 3)).astype("float32")
    dense.build((None, 3))
    dense.quantize("int8")
    assert_close(lamella.jit(dense)(x), dense(x))
    assert_close(jax.vmap(dense)(x[:, None])[:, 0], dense(x))
    assert_close(dense(np.array([[1, 2, 3]])), dense(np.array([[1.0, 2.0, 3.0]], "float32")))
    assert dense.compute_output_shape((None, 3)) == (None, 2)
    dots = lamella.layers.EinsumDense("...c,cd->...d", (4,))  # which Keras cannot quantize
    floats = dots(x)
    dots.quantize("int8")
    np.testing.assert_allclose(dots(x), floats, atol=0.05)


def test_policies() -> None:
    for name in ("int8_from_float32", "int8_from_mixed_bfloat16"):
        ours, theirs = lamella.dtype_policies.get(name), keras.dtype_policies.get(name)
        for part in ("name", "compute_dtype", "variable_dtype", "quantization_mode"):
            assert getattr(ours, part) == getattr(theirs, part)
        written = lamella.dtype_policies.serialize(ours)
        assert written == keras.dtype_policies.serialize(theirs)
        assert lamella.dtype_policies.deserialize(written) == ours == lamella.dtype_policies.get(written)
    assert lamella.DTypePolicy("float32").quantization_mode is None
    layer = lamella.layers.Dense(2)
    layer.build((None, 3))
    layer.dtype_policy = "int8_from_float32"
    assert layer.kernel.dtype == "int8"
    with pytest.raises(ArgumentError, match="stays quantized"):
        layer.dtype_policy = "float32"


def test_quantizers() -> None:
    x = DRAW.normal(size=(4, 6)).astype("float32")
    for axis, value_range, on_host in ((0, (-127, 127), True), ((-1,), (-8, 7), False), ((0, 1), (-127, 127), False)):
        given = {"axis": axis, "value_range": value_range, "to_numpy": on_host}
        for a, b in zip(
            lamella.quantizers.abs_max_quantize(x, **given), keras.quantizers.abs_max_quantize(x, **given), strict=True
        ):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
    history = np.abs(x[0])
    three = np.ones(3, "float32")
    for name, first, last in (
        ("compute_float8_amax_history", (x, history), ()),
        ("compute_float8_scale", (three * [2.0, 0.0, np.inf], three * 3, 448.0), ()),
        ("compute_float8_scale", (three, three * 3, 448.0), (2,)),
        ("quantize_and_dequantize", (x * 300, three[0] / 2), ("float8_e4m3fn", "float32")),
        ("quantize_and_dequantize", (x, three[0] / 2), ("float8_e5m2", "bfloat16")),
    ):
        given = [jnp.asarray(value) for value in first]
        ours, theirs = (getattr(library.quantizers, name) for library in (lamella, keras))
        assert_close(ours(*given, *last), calls(theirs, *given, *last))
    symbol = lamella.quantizers.fake_quant_with_min_max_vars(lamella.Input((3,)), 0.0, 1.0)
    assert symbol.shape == (None, 3)


@pytest.mark.parametrize(
    ("low", "high", "given"),
    [
        (-0.9, 1.3, {}),
        (0.2, 1.0, {"num_bits": 4}),
        ([-1.0, -0.5, 0.0], [0.5, 1.0, 2.0], {"axis": -1, "narrow_range": True}),
        ([[-1.0], [-0.5]], [[0.5], [2.0]], {"axis": 0, "num_bits": 3}),
    ],
    ids=str,
)
def test_fake_quantization(low: Any, high: Any, given: Any) -> None:
    x, low, high = (jnp.asarray(v, "float32") for v in (DRAW.normal(size=(2, 3)), low, high))

    def total(quantizers: Any, *args: Any) -> Any:
        return jnp.sum(jnp.sin(quantizers.fake_quant_with_min_max_vars(*args, **given)) * jnp.arange(6.0).reshape(2, 3))

    grad = jax.jit(jax.value_and_grad(total, argnums=(1, 2, 3)), static_argnums=0)
    assert_close(grad(lamella.quantizers, x, low, high), grad(keras.quantizers, x, low, high))


def test_bounds_lie_along_the_axis() -> None:
    """Keras lays a vector of bounds along the last axis, whatever `axis` says."""
    x = DRAW.normal(size=(2, 3)).astype("float32")
    fake = jax.jit(lamella.quantizers.fake_quant_with_min_max_vars, static_argnames="axis")
    both = fake(x, np.float32([-1, -2]), np.float32([1, 2]), axis=0)
    for row, bound in enumerate((1.0, 2.0)):
        assert_close(both[row], fake(x[row], -bound, bound))


def test_quantizers_as_data() -> None:
    quantizers = lamella.quantizers
    written = quantizers.serialize(quantizers.AbsMaxQuantizer(axis=1, epsilon=1e-3))
    theirs = keras.quantizers.deserialize(written)
    assert (theirs.axis, theirs.epsilon, theirs.value_range) == ((1,), 1e-3, [-127, 127])
    again = quantizers.deserialize(keras.quantizers.serialize(theirs))
    assert again.get_config() == quantizers.get(written).get_config() == written["config"]
    assert quantizers.get("abs_max_quantizer", axis=0).axis == (0,) and quantizers.get(None) is None
    config = quantizers.Int8QuantizationConfig()
    assert quantizers.deserialize(quantizers.serialize(config)).get_config() == config.get_config()
    assert config.mode == "int8"
    assert quantizers.Quantizer()(3) == 3
    with pytest.raises(UnknownNameError, match="Unknown quantizer 'abs_max'"):
        quantizers.get("abs_max")
    with pytest.raises(NotImplementedError, match="does not define `mode`"):
        _ = quantizers.QuantizationConfig().mode


def dense() -> Any:
    layer = lamella.layers.Dense(2, name="d")
    layer.build((None, 3))
    return layer


class Doubled(lamella.layers.Dense):
    def call(self, inputs: Any) -> Any:
        return inputs @ (2 * self.kernel)


Q = lamella.quantizers


@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("Quantization by 'int4' is not offered; 'int8' is", lambda: dense().quantize("int4")),
        ("Quantization by 'gptq' is not offered", lambda: attentive().quantize("gptq")),
        ("Quantization by 'int4/128' is not", lambda: lamella.layers.Dense(2, dtype="int4/128_from_float32")),
        ("leave the range of float16", lambda: lamella.dtype_policies.QuantizedDTypePolicy("int8", "float16")),
        ("needs a mode or a config", lambda: dense().quantize()),
        ("takes a QuantizationConfig, got 3", lambda: dense().quantize(config=3)),
        ("the mode 'int4' and a config of the mode", lambda: dense().quantize("int4", Q.Int8QuantizationConfig())),
        ("they have one scale", lambda: dense().quantize("int8", Q.Int8QuantizationConfig(Q.AbsMaxQuantizer(1)))),
        ("int8 reaches from -128 to 127", lambda: Q.AbsMaxQuantizer(value_range=(-200, 200))),
        ("must give int8, it gives uint8", lambda: Q.Int8QuantizationConfig(Q.Quantizer("uint8"))),
        ("ReLU has no quantized form", lambda: lamella.layers.ReLU(dtype="int8_from_float32")(np.ones((1, 2)))),
        ("Flatten has no quantized form", lambda: lamella.layers.Flatten().quantize("int8")),
        ("filters are patterns or a function", lambda: attentive().quantize("int8", filters=3)),
    ],
)  # fmt: skip
def test_refusals(message: str, make: Any) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


def test_a_weight_that_another_layer_reads_stays() -> None:
    inner = lamella.layers.Dense(2, name="inner")
    model = lamella.Sequential(
        [lamella.Input((3,)), lamella.layers.SpectralNormalization(inner, name="around"), lamella.layers.Dense(2)]
    )
    with pytest.warns(UserWarning, match=r"another layer reads, stay as they are: \['around/inner'\]"):
        model.quantize("int8")
    assert [w.dtype == "int8" for w in model.weights] == [False, False, False, False, True, False]


def test_a_layer_goes_by_its_own_config() -> None:
    config = Q.Int8QuantizationConfig(activation_quantizer=None)
    model = lamella.Sequential([lamella.Input((3,)), lamella.layers.Dense(2, quantization_config=config)])
    assert model.layers[0].quantization_mode is None
    model.quantize("int8")
    assert model.layers[0].quantization_config is config


def test_a_layer_is_quantized_once_and_when_it_is_built() -> None:
    with pytest.raises(NotBuiltError, match="has no weights to quantize yet"):
        lamella.layers.Dense(2).quantize("int8")
    layer = dense()
    layer.quantize("int8")
    with pytest.raises(ArgumentError, match="'d' is quantized already: 'int8_from_float32'"):
        layer.quantize("int8")


def test_classes_of_one_s_own_are_left_alone() -> None:
    own = Doubled(2, name="own")
    model = lamella.Sequential([lamella.Input((3,)), own, lamella.layers.Dense(2)])
    with pytest.warns(UserWarning, match=r"classes of one's own, .*, stay as they are: \['own'\]"):
        model.quantize("int8")
    assert [w.dtype for w in model.weights] == ["float32", "float32", "float32", "int8", "float32"]
    with pytest.raises(ArgumentError, match="Doubled may have a `call` of its own"):
        own.quantize("int8")
    own.quantize("int8", type_check=False)
    assert own.kernel.dtype == "int8"
    with pytest.warns(UserWarning, match="has no layer for it"):
        lamella.Sequential([lamella.Input((3,)), lamella.layers.ReLU()]).quantize("int8")
    half = lamella.Sequential([lamella.Input((3,)), lamella.layers.Dense(2), lamella.layers.Dense(2, name="second")])
    half.quantize("int8", filters="second")
    with pytest.raises(ArgumentError, match="'second' is quantized already"):
        half.quantize("int8")
    assert half.layers[0].quantization_mode is None
