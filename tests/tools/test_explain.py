from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lamella
from lamella import explain, layers
from lamella.core.axes import BATCH
from lamella.core.errors import ArgumentError, ShapeError
from lamella.graph.trace import Spec
from lamella.tools.explaining.costs import count
from lamella.tools.explaining.explain import Explanation
from lamella.tools.explaining.facts import LayerFacts, Weight
from lamella.tools.explaining.formulas import fit
from tests.parity.cases import CASES, Case


def _formulas(weight: Weight) -> str:
    return ", ".join(str(formula) for formula in weight.formulas)


def _weights(facts: LayerFacts) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {weight.name: (_formulas(weight), weight.shape) for weight in facts.weights}


def _fates(facts: LayerFacts, number: int = 0) -> dict[str, str]:
    return {axis.name: axis.fate for axis in facts.inputs[number].axes}


def _names(facts: LayerFacts) -> list[str]:
    return [axis.name for axis in facts.outputs[0].axes]


# -- axes and weights -------------------------------------------------------------------------------------------------


def test_dense_works_on_the_last_axis_and_flattens_nothing() -> None:
    facts = explain(layers.Dense(3), (10, 5)).facts
    assert facts.works_on == ("features",)
    assert facts.left_alone == ("batch", "time")
    assert [axis.output for axis in facts.inputs[0].axes] == [0, 1, None]
    assert _names(facts) == ["batch", "time", "units"]
    assert facts.outputs[0].shape == (10, 3)
    assert _weights(facts) == {"kernel": ("features, units", (5, 3)), "bias": ("units", (3,))}
    assert (facts.parameters, facts.trainable) == (18, 18)
    assert "The layer works on features and leaves batch and time alone; nothing is flattened." in facts.relations
    assert "time=10 is in no weight: the same weights serve any other size." in facts.relations
    assert "batch_size is in no weight: any number of samples goes in, and as many come out." in facts.relations


def test_the_text_says_what_to_write_without_the_batch() -> None:
    text = " ".join(str(explain(layers.Dense(3), (5,))).split())
    assert "input_shape=(5,), the shape of one sample, without the batch. The data is (batch_size, 5)." in text
    assert "The comma in (5,) makes it a tuple; it is no second axis. input_dim=5 says the same." in text
    assert "the number of axes (here 2, with the batch), and the size of one (here 5 for the last)" in text
    assert "units=3 is the size of axis 1 of the output, the last, and is an axis of kernel and bias." in text


@pytest.mark.parametrize("features", [1, 2])
def test_an_axis_of_one_place_is_treated_as_a_longer_one(features: int) -> None:
    facts = explain(layers.Dense(4), (features,)).facts
    assert _fates(facts) == {"batch": "left alone", "features": "worked on"}
    assert _weights(facts)["kernel"] == ("features, units", (features, 4))


def test_a_size_of_one_is_named_where_it_is_a_size() -> None:
    assert _weights(explain(layers.Dense(1), (5,)).facts)["kernel"] == ("features, units", (5, 1))


@pytest.mark.parametrize(
    ("data_format", "shape", "names"),
    [
        ("channels_last", (8, 9, 16), ["batch", "rows", "cols", "channels"]),
        ("channels_first", (16, 8, 9), ["batch", "channels", "rows", "cols"]),
    ],
)
def test_convolutions_in_both_formats(data_format: str, shape: tuple[int, ...], names: list[str]) -> None:
    facts = explain(layers.Conv2D(32, 3, data_format=data_format), shape).facts
    assert [axis.name for axis in facts.inputs[0].axes] == names
    assert _names(facts) == names
    assert set(facts.works_on) == {"rows", "cols", "channels"}
    assert facts.left_alone == ("batch",)
    assert _weights(facts)["kernel"] == ("kernel_size[0], kernel_size[1], channels, filters", (3, 3, 16, 32))
    sizes = dict(zip(names, map(str, facts.outputs[0].formulas), strict=True))
    assert sizes == {
        "batch": "batch_size",
        "rows": "rows - kernel_size[0] + 1",
        "cols": "cols - kernel_size[1] + 1",
        "channels": "filters",
    }


def test_strides_and_groups_are_in_the_formulas() -> None:
    strided = explain(layers.Conv1D(8, 3, strides=2), (21, 4)).facts
    assert str(strided.outputs[0].formulas[1]) == "(steps - kernel_size[0]) // strides[0] + 1"
    padded = explain(layers.Conv1D(8, 3, strides=2, padding="same"), (21, 4)).facts
    assert str(padded.outputs[0].formulas[1]) == "ceil(steps / strides[0])"
    grouped = explain(layers.Conv1D(6, 2, groups=2), (9, 4)).facts
    assert _weights(grouped)["kernel"] == ("kernel_size[0], channels // groups, filters", (2, 2, 6))
    assert _fates(grouped)["channels"] == "unknown"


def test_lstm_gates_are_four_times_the_units() -> None:
    facts = explain(layers.LSTM(64), (10, 5)).facts
    assert _weights(facts) == {
        "kernel": ("features, 4 * units", (5, 256)),
        "recurrent_kernel": ("units, 4 * units", (64, 256)),
        "bias": ("4 * units", (256,)),
    }
    assert facts.works_on == ("time", "features")
    assert "gone through step by step" in facts.inputs[0].axes[1].how
    assert _names(facts) == ["batch", "units"]


def test_bidirectional_names_the_argument_of_the_layer_inside() -> None:
    facts = explain(layers.Bidirectional(layers.LSTM(3)), (10, 5)).facts
    assert str(facts.outputs[0].formulas[1]) == "2 * layer.units"
    assert {_formulas(w) for w in facts.weights if w.name.endswith("recurrent_kernel")} == {
        "layer.units, 4 * layer.units"
    }


def test_embedding_has_ids_in_time() -> None:
    facts = explain(layers.Embedding(100, 8), (10,)).facts
    assert _fates(facts) == {"batch": "left alone", "time": "left alone"}
    assert _names(facts) == ["batch", "time", "features"]
    assert _weights(facts) == {"embeddings": ("input_dim, output_dim", (100, 8))}


def test_batch_normalization_keeps_each_feature_apart_and_trains_half() -> None:
    facts = explain(layers.BatchNormalization(), (4, 5)).facts
    assert facts.left_alone == ("batch", "time", "features")
    assert {_formulas(weight) for weight in facts.weights} == {"features"}
    assert (facts.parameters, facts.trainable) == (20, 10)
    assert [weight.name for weight in facts.weights if not weight.trainable] == ["moving_mean", "moving_variance"]


def test_layer_normalization_works_on_what_batch_normalization_leaves_alone() -> None:
    assert explain(layers.LayerNormalization(), (4, 5)).facts.works_on == ("features",)


def test_flatten_lays_axes_into_one() -> None:
    facts = explain(layers.Flatten(), (4, 5, 6)).facts
    assert _fates(facts) == {"batch": "left alone", "rows": "merged", "cols": "merged", "channels": "merged"}
    assert str(facts.outputs[0].formulas[1]) == "rows * cols * channels"
    assert "rows, cols and channels are laid into one axis; no number is changed by that." in facts.relations


def test_permute_moves_axes_that_it_leaves_alone() -> None:
    facts = explain(layers.Permute((2, 1)), (4, 5)).facts
    assert [axis.output for axis in facts.inputs[0].axes] == [0, 2, 1]
    assert _names(facts) == ["batch", "features", "time"]


# -- several inputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", [((4, 5), (4, 5)), ([(4, 5), (4, 5)],)])
def test_add_takes_a_list_or_one_shape_after_the_other(shapes: Any) -> None:
    facts = explain(layers.Add(), *shapes).facts
    assert len(facts.inputs) == 2
    for number in range(2):
        assert set(_fates(facts, number).values()) == {"left alone"}


def test_dot_sums_over_one_axis_of_each_input() -> None:
    facts = explain(layers.Dot(axes=(2, 1)), [(4, 5), (5, 6)]).facts
    assert _fates(facts, 0) == {"batch": "left alone", "time": "left alone", "features": "worked on"}
    assert _fates(facts, 1) == {"batch": "left alone", "time": "worked on", "features": "left alone"}


def test_concatenate_adds_sizes() -> None:
    facts = explain(layers.Concatenate(), [(4, 5), (4, 6)]).facts
    assert str(facts.outputs[0].formulas[2]) == "inputs[0].features + inputs[1].features"
    assert explain(layers.Concatenate(), [(4, 5), (4, 6)]).how_to_give == (
        "What to write: Input((4, 5)), Input((4, 6)), the shapes of one sample, without the batch.",
    )


# -- models -----------------------------------------------------------------------------------------------------------


def _images() -> lamella.Sequential:
    return lamella.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def test_a_model_has_a_section_for_each_layer_and_totals() -> None:
    model = _images()
    facts = explain(model).facts
    assert [section.kind for section in facts.sections] == ["Conv2D", "MaxPooling2D", "Flatten", "Dense"]
    assert facts.parameters == model.count_params() == sum(section.parameters for section in facts.sections)
    assert facts.flops == sum(section.flops for section in facts.sections)
    assert facts.activation_bytes == 4 * (6 * 6 * 4 + 3 * 3 * 4 + 36 + 10)
    assert [tuple(axis.size for axis in section.outputs[0].axes[1:]) for section in facts.sections] == [
        tensor.shape[1:] for tensor in (layer.output for layer in model.layers)
    ]


def test_nested_and_shared_layers_are_told_by_path_and_counted_once() -> None:
    x = layers.Input((4,))
    shared = layers.Dense(4, name="shared")
    inner = lamella.Model(x, layers.Add()([x, shared(shared(x))]), name="inner")
    a = layers.Input((4,))
    model = lamella.Model(a, layers.Dense(2, name="last")(inner(a) * 2.0))
    facts = explain(model).facts
    assert [section.path for section in facts.sections] == ["inner", "last"]
    nested = facts.sections[0].sections
    assert [(section.path, section.again) for section in nested[:2]] == [
        ("inner/shared", False),
        ("inner/shared", True),
    ]
    assert facts.sections[0].parameters == 20
    assert facts.parameters == model.count_params() == 30
    assert "4 of the FLOPs are outside of these layers." in str(explain(model))
    assert "called again: the same weights" in str(explain(model))


def test_subclassed_models_are_told_without_being_built() -> None:
    class Net(lamella.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embed = layers.Embedding(50, 3, name="embed")
            self.loop = layers.LSTM(4, name="loop")

        def call(self, inputs: Any) -> Any:
            return self.loop(self.embed(inputs))

    net = Net()
    facts = explain(net, (10,)).facts
    assert [section.path for section in facts.sections] == ["embed", "loop"]
    assert not net.built
    assert not net.weights
    net(np.zeros((2, 10), "int32"))
    assert facts.parameters == net.count_params()


def test_a_sequential_model_without_an_input_layer_is_told_on_a_shape() -> None:
    model = lamella.Sequential([layers.Dense(3), layers.Dense(2)])
    facts = explain(model, (5,)).facts
    assert [section.parameters for section in facts.sections] == [18, 8]
    assert not model.built


def test_a_model_with_a_fixed_batch_is_told_for_one_sample() -> None:
    x = layers.Input((5,), batch_size=4)
    facts = explain(lamella.Model(x, layers.Dense(3)(x))).facts
    assert facts.sections[0].flops == 2 * 5 * 3 + 3
    assert facts.flops == facts.sections[0].flops
    assert facts.activation_bytes == 12


# -- layers of the user's ---------------------------------------------------------------------------------------------


class Block(layers.Layer):
    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.first = layers.Dense(2 * units, name="first")
        self.second = layers.Dense(units, name="second")

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(shape=(input_shape[1], self.units), initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return self.second(self.first(inputs)) * self.scale


def test_a_layer_of_the_users_own() -> None:
    facts = explain(Block(6), (10, 4)).facts
    weights = _weights(facts)
    assert weights["scale"] == ("time, units", (10, 6))
    assert weights["first/kernel"] == ("features, 2 * units", (4, 12))
    assert weights["second/kernel"] == ("2 * units, units", (12, 6))
    assert facts.left_alone == ("batch", "time")
    assert "time=10 comes with the input: it is an axis of scale, and cannot change later." in facts.relations


def test_a_layer_that_cannot_be_made_again_shows_its_numbers() -> None:
    class Odd(layers.Layer):
        def __init__(self, source: Any) -> None:
            super().__init__()
            self.source = source

        def build(self, input_shape: Any) -> None:
            self.w = self.add_weight((input_shape[-1],), name="w")

        def call(self, inputs: Any) -> Any:
            return inputs * self.w

    layer = Odd(object())
    layer(np.ones((2, 5), "float32"))
    facts = explain(layer, (5,)).facts
    assert _weights(facts) == {"w": ("5", (5,))}
    assert facts.parameters == 5
    assert facts.left_alone == ("batch", "features")


def test_the_layer_is_left_as_it_was() -> None:
    layer = layers.Dense(3)
    before = copy.copy(vars(layer))
    explain(layer, (10, 5))
    assert not layer.built
    assert vars(layer) == before
    built = layers.Dense(3)
    built(np.ones((2, 5), "float32"))
    kernel = built.kernel.numpy()
    explain(built, (7, 5))
    np.testing.assert_array_equal(built.kernel.numpy(), kernel)


def test_names_of_later_layers_do_not_depend_on_what_was_explained() -> None:
    layers.LSTM(2)
    first = layers.LSTM(2).cell.name
    explain(layers.Bidirectional(layers.GRU(2)), (4, 3))
    explain(layers.RNN(layers.LSTMCell(2, name="given")), (4, 3))
    assert int(layers.LSTM(2).cell.name.rpartition("_")[2]) == int(first.rpartition("_")[2]) + 1


def test_what_knows_its_input_needs_no_shape() -> None:
    layer = layers.Dense(3)
    layer(layers.Input((10, 5)))
    assert explain(layer).facts.inputs[0].shape == (10, 5)
    assert explain(layers.Dense(3, input_shape=(5,))).facts.inputs[0].shape == (5,)


def test_open_axes_are_taken_to_have_a_size_and_the_text_says_so() -> None:
    told = explain(layers.LSTM(3), (None, 5))
    assert told.assumed == 16
    assert told.facts.inputs[0].shape == (16, 5)
    assert "Axes given as None were taken to have 16 places." in str(told)
    assert "Input((None, 5))" in str(told)


# -- costs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "flops"),
    [
        (layers.Dense(3), (5,), 2 * 5 * 3 + 3),
        (layers.Dense(3), (10, 5), 10 * (2 * 5 * 3 + 3)),
        (layers.Dense(3, use_bias=False, activation="tanh"), (5,), 2 * 5 * 3 + 3),
        (layers.Conv2D(6, 3), (8, 9, 4), 6 * 7 * 6 * (2 * 3 * 3 * 4 + 1)),
        (layers.Conv2D(6, 3, groups=2, padding="same"), (8, 9, 4), 8 * 9 * 6 * (2 * 3 * 3 * 2 + 1)),
        # the gates' products and sums; scaled, a hyperbolic tangent, scaled, shifted; three products, a sum, a tangent
        (layers.LSTM(4), (10, 5), 10 * (2 * 5 * 16 + 16 + 2 * 4 * 16 + 16 + 4 * 16 + (3 + 1 + 1) * 4)),
        (layers.MaxPooling2D(2), (8, 8, 3), 4 * 4 * 3 * 3),
        (layers.Flatten(), (8, 8, 3), 0),
    ],
    ids=str,
)
def test_operations_are_those_of_a_count_by_hand(layer: Any, shape: Any, flops: int) -> None:
    assert explain(layer, shape).facts.flops == flops


def test_a_loop_of_unknown_length_is_counted_once_and_said() -> None:
    def call(x: Any) -> Any:
        return jax.lax.while_loop(lambda y: y.sum() < 10.0, lambda y: y * 2.0, x)

    told = explain(layers.Lambda(call), (5,))
    assert told.facts.endless
    assert "was counted once" in str(told)


def test_branches_count_as_the_most_expensive_one() -> None:
    def branch(x: Any) -> Any:
        return jax.lax.cond(x[0] > 0, lambda y: y + 1.0, lambda y: (y + 1.0) * 2.0, x)

    assert count(jax.make_jaxpr(branch)(jnp.ones(100))).flops in range(200, 205)


# -- formulas ---------------------------------------------------------------------------------------------------------


def test_a_size_that_follows_no_rule_is_said_to_depend() -> None:
    formula = fit([({"n": 3}, 7), ({"n": 4}, 8), ({"n": 6}, 31)])
    assert (formula.text, formula.known, formula.names) == ("depends on n", False, ("n",))


@pytest.mark.parametrize(
    ("points", "text"),
    [
        ([({"a": 2, "b": 2}, 4), ({"a": 3, "b": 2}, 5), ({"a": 2, "b": 3}, 5)], "a + b"),
        ([({"a": 2, "b": 2}, 4), ({"a": 3, "b": 2}, 6), ({"a": 2, "b": 3}, 6)], "a * b"),
        ([({"a": 2}, 3), ({"a": 3}, 5), ({"a": 4}, 7)], "2 * a - 1"),
        ([({"a": 8, "b": 2}, 4), ({"a": 16, "b": 2}, 8), ({"a": 8, "b": 4}, 2)], "a // b"),
    ],
)
def test_a_formula_holds_at_every_point(points: Any, text: str) -> None:
    assert fit(points).text == text


# -- every layer, errors, HTML ----------------------------------------------------------------------------------------


def _shapes(case: Case) -> Any:
    if case.several:
        return [Spec((BATCH, *shape[1:]), "float32") for shape in case.shape]
    return Spec((BATCH, *case.shape[1:]), "int32" if case.ids else "float32")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_layer_is_told_with_its_real_parameters(case: Case) -> None:
    layer = case.make(lamella)
    told = explain(layer, *case.given(_shapes(case)))
    assert all(axis.fate for tensor in told.facts.inputs for axis in tensor.axes)
    inputs: Any = (
        [np.zeros(shape, "float32") for shape in case.shape]
        if case.several
        else np.zeros(case.shape, "int32" if case.ids else "float32")
    )
    outputs = jax.tree.leaves(case.call(layer, inputs))
    assert told.facts.parameters == layer.count_params()
    assert [weight.shape for weight in told.facts.weights] == [tuple(weight.shape) for weight in layer.weights]
    sizes = [formula for weight in told.facts.weights for formula in weight.formulas]
    # a power of two that holds a frame is neither product nor sum; what it depends on is told
    hard = [formula for formula in sizes if not formula.known]
    assert {(case.layer, formula.text) for formula in hard} <= {
        ("STFTSpectrogram", f"depends on {argument}") for argument in ("frame_length", "fft_length")
    }
    assert [tensor.shape for tensor in told.facts.outputs] == [output.shape[1:] for output in outputs]
    assert all(value.strip() for value in str(told).splitlines() if value)
    again = explain(layer, *case.given(_shapes(case))).facts
    assert (again.flops, again.inputs) == (told.facts.flops, told.facts.inputs)


def test_wrong_shapes_give_the_layers_own_error_with_the_batch_by_name() -> None:
    with pytest.raises(ShapeError, match=r"batch, features=5\)"):
        explain(layers.LSTM(3), (5,))
    with pytest.raises(ShapeError, match="Dense needs to know the size of its input's last axis"):
        explain(layers.Dense(3), (10, None))
    model = lamella.Sequential([layers.Input((5,)), layers.Dense(3)])
    with pytest.raises(ShapeError, match="expected"):
        explain(model, (6,))


@pytest.mark.parametrize("thing", [3, "dense", layers.Dense, len])
def test_what_is_no_layer_is_refused_with_a_mend(thing: Any) -> None:
    with pytest.raises(ArgumentError, match=r"explain takes a layer or a model[\s\S]*Try: explain\(Dense"):
        explain(thing, (5,))


def test_a_layer_that_does_not_know_its_input_asks_for_a_shape() -> None:
    with pytest.raises(ArgumentError, match=r"explain needs the shape of one sample[\s\S]*explain\(mine, \(10, 5\)\)"):
        explain(layers.Dense(3, name="mine"))


def test_html_is_escaped_and_says_what_the_text_says() -> None:
    told: Explanation = explain(layers.Dense(3, name="<b>&"), (10, 5))
    page = told._repr_html_()
    assert "<b>&lt;b&gt;&amp;</b>" in page
    assert "<b>&<" not in page
    for sentence in told.facts.relations:
        assert sentence in page
    assert page.count("<table>") == page.count("</table>") == 2


def test_html_of_a_model_has_its_sections() -> None:
    page = explain(_images())._repr_html_()
    assert page.count("<details open>") == page.count("</details>") == 5
