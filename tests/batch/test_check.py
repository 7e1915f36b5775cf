"""The proof: verdicts on functions, layers, models and losses; the places it names; what it says of the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import lamella
from lamella import Input, errors, layers, ops
from lamella.batch import assert_independent, check, walk
from lamella.batch.rules_reduction import REDUCTIONS
from lamella.batch.values import CONSTANT
from tests.batch import campaign
from tests.parity.cases import CASES, Case

KEY = jnp.array([3, 0], "uint32")
SAMPLE = (10, 5)


def fixpoint(x: Any) -> Any:
    return jax.vmap(lambda row: lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, row))(x)


@jax.custom_vjp
def custom(x: Any) -> Any:
    return jnp.sin(x)


custom.defvjp(lambda x: (custom(x), x), lambda x, g: (g * jnp.cos(x),))

INDEPENDENT: dict[str, Any] = {
    "elementwise": lambda x: jnp.tanh(x) * 2 + 1,
    "softmax": lambda x: jax.nn.softmax(x, -1),
    "normalized": lambda x: (x - x.mean((1, 2), keepdims=True)) / x.std(-1, keepdims=True),
    "dense": lambda x: x @ jnp.ones((5, 3)),
    "attention": lambda x: jnp.einsum("bts,bsd->btd", jax.nn.softmax(jnp.einsum("btd,bsd->bts", x, x)), x),
    "scan_time": lambda x: lax.scan(lambda c, t: (c + t, c), jnp.zeros(x.shape[::2]), x.swapaxes(0, 1))[0],
    "scan_batch": lambda x: lax.map(lambda row: jnp.sort(row, 0), x),
    "fori": lambda x: lax.fori_loop(0, 10, lambda i, c: c + x[:, i], jnp.zeros(x.shape[::2])),
    "while_each": fixpoint,
    "cond_each": jax.vmap(lambda r: lax.cond(r.sum() > 0, jnp.sin, jnp.cos, r)),
    "custom_vjp": custom,
    "custom_jvp": jax.nn.relu,
    "remat": jax.checkpoint(lambda x: jnp.sin(x) @ jnp.ones((5, 2))),
    "nested_jit": jax.jit(lambda x: jax.jit(jnp.cumsum, static_argnums=1)(x, 1)),
    "merged_axes": lambda x: (x.reshape(-1, 5) @ jnp.ones((5, 2))).reshape(x.shape[0], -1),
    "merged_otherwise": lambda x: (x.swapaxes(0, 1).reshape(-1, 5) * 2).reshape(10, -1, 5).swapaxes(0, 1),
    "own_index": lambda x: x[jnp.arange(x.shape[0]), x[:, 0, 0].astype(int)],
    "own_scatter": lambda x: jnp.zeros((x.shape[0], 4)).at[jnp.arange(x.shape[0]), 1].add(x[:, 0, 0]),
    "take_along": lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 1),
    "lookup": lambda x: jnp.ones((7, 3))[x[..., 0].astype(int)],
    "matrices": lambda x: jnp.linalg.inv(jnp.einsum("bti,btj->bij", x, x) + jnp.eye(5)),
    "windows": lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 1), (1, 1, 1), "SAME"),
    "fft": lambda x: jnp.fft.fft(x, axis=1).real,
    "stop_gradient": lambda x: x + lax.stop_gradient(x.max(-1, keepdims=True)),
    "argmax_within": lambda x: x.argmax(-1),
    "associative_scan": lambda x: lax.associative_scan(jnp.add, x, axis=1),
    "interpolated": lambda x: jnp.interp(x, jnp.arange(4.0), jnp.arange(4.0)),
    "no_sample_at_all": lambda x: jnp.ones((3,)),
}

# function, primitive, axis of the place, words of the sentence
MIXES: dict[str, tuple[Any, str, int | None, str]] = {
    "mean": (lambda x: x.mean(), "reduce_sum", 0, "`mean` makes one number of all samples"),
    "centred": (lambda x: x - x.mean(0), "reduce_sum", 0, "`mean` makes one number of all samples"),
    "softmax": (lambda x: jax.nn.softmax(x, axis=0), "reduce_max", 0, "`softmax` makes one number of all samples"),
    "folded": (lambda x: x.reshape(5, -1), "reshape", 0, "writes the size of the batch into the code: 5"),
    "fixed": (lambda x: x.reshape(32, 50), "reshape", 0, "writes the size of the batch into the code: 32"),
    "flat": (lambda x: x.reshape(-1), "reshape", 0, "folded into one"),
    "gram": (lambda x: x[:, 0].T @ x[:, 0], "dot_general", 1, "multiplies and sums over"),
    "pairs": (lambda x: x[:, 0] @ x[:, 0].T, "dot_general", 0, "each sample together with each other one"),
    "first": (lambda x: x - x[0], "dynamic_slice", 0, "takes samples out of the batch by their number"),
    "later": (lambda x: x[1:], "gather", 0, "takes samples out of the batch by their number"),
    "rolled": (lambda x: jnp.roll(x, 1, 0), "slice", 0, "takes samples out of the batch by their number"),
    "reversed": (lambda x: jnp.flip(x, 0), "rev", 0, "gives samples other places"),
    "sorted": (lambda x: jnp.sort(x, 0), "sort", 0, "gives samples other places"),
    "cumulated": (lambda x: jnp.cumsum(x, 0), "cumsum", 0, "runs along the batch"),
    "transposed": (lambda x: x.T, "transpose", 2, "does not have the batch as axis 0"),
    "joined": (lambda x: jnp.concatenate([x, x]), "concatenate", 0, "other samples before or after"),
    "leak_without_gradient": (lambda x: x + lax.stop_gradient(x.mean(0)), "reduce_sum", 0, "`mean`"),
    "argmax": (lambda x: x * x.sum((1, 2)).argmax(), "argmax", 0, "`argmax` makes one number"),
    "any_branch": (lambda x: lax.cond((x > 0).any(), jnp.sin, jnp.cos, x), "reduce_or", 0, "`any` makes one"),
    "carried": (
        lambda x: lax.scan(lambda c, r: (c + r, c), jnp.zeros(SAMPLE), x)[1],
        "scan",
        None,
        "carries something",
    ),
    "looped": (lambda x: lax.map(lambda r: r * x, x), "mul", None, "looks at the whole batch"),
    "remat": (jax.checkpoint(lambda x: x - x.mean(0)), "reduce_sum", 0, "`mean`"),
    "window": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 1, 1), (1, 1, 1), "SAME"),
        "reduce_window_sum",
        0,
        "slides a window along the batch",
    ),
    "counted": (
        lambda x: jnp.zeros(7).at[x[:, 0, 0].astype(int)].add(1.0),
        "scatter-add",
        None,
        "several samples into",
    ),
    "norm": (lambda x: x / jnp.linalg.norm(x), "reduce_sum", 0, "`norm` makes one number"),
    "whole_fft": (lambda x: jnp.fft.fft(x, axis=0).real, "fft", 2, "as a part of each vector"),
}


class TestFunctions:
    @pytest.mark.parametrize("name", INDEPENDENT)
    def test_independent(self, name: str) -> None:
        report = check(INDEPENDENT[name], SAMPLE)
        assert report.verdict == "independent", report
        assert report.places == ()
        assert report.may_pad and report.may_split

    @pytest.mark.parametrize("name", MIXES)
    def test_mixes_and_says_where(self, name: str) -> None:
        function, primitive, axis, words = MIXES[name]
        report = check(function, SAMPLE)
        assert report.verdict == "mixes", report
        found = next((place for place in report.places if place.primitive == primitive), None)
        assert found is not None, report
        assert (found.axis, words in found.sentence) == (axis, True), found
        assert found.file == __file__ and "lambda" in found.source

    def test_every_place_is_named_and_dead_ones_are_not(self) -> None:
        def two(x: Any) -> Any:
            x.sum()
            x = x - x.mean(0)
            return x / x.std(0)

        lines = {place.source for place in check(two, SAMPLE).places}
        assert lines == {"x = x - x.mean(0)", "return x / x.std(0)"}

    def test_several_inputs_and_outputs(self) -> None:
        assert check(lambda a, b: (a + b, {"k": a * b}), (4,), (4,)).independent
        assert not check(lambda a, b: (a + b, (a * b).sum()), (4,), (4,)).independent
        assert check(lambda pair: pair["a"] * pair["b"], {"a": (4,), "b": (4,)}).independent

    def test_samples_on_different_axes_mix(self) -> None:
        (place,) = check(lambda a, b: a[:, :, None] * b.T[None, :3, :], (3,), (3,)).places
        assert "different axes" in place.sentence

    def test_host_callbacks_are_not_trusted(self) -> None:
        def hidden(x: Any) -> Any:
            return jax.pure_callback(lambda v: v - v.mean(), jax.ShapeDtypeStruct(x.shape, x.dtype), x)

        report = check(hidden, SAMPLE)
        assert report.verdict == "unknown" and "no rule" in report.places[0].sentence

    def test_run_time_numbers_are_unknown(self) -> None:
        def filled(x: Any) -> Any:
            return lax.fori_loop(0, x.shape[0], lambda i, out: out.at[i].set(x[i] * 2), jnp.zeros_like(x))

        report = check(filled, SAMPLE)
        assert report.verdict == "unknown" and "known only at run time" in report.places[0].sentence

    def test_python_branch_on_the_batch_size_is_unknown(self) -> None:
        def branching(x: Any) -> Any:
            return x * 2 if x.shape[0] > 16 else x

        report = check(branching, SAMPLE)
        assert report.verdict == "unknown"
        assert report.places[0].source == "return x * 2 if x.shape[0] > 16 else x"
        assert "Python branches on the size" in report.places[0].sentence

    def test_a_size_in_the_code_is_found(self) -> None:
        def fixed(x: Any) -> Any:
            return x + jnp.ones((32, 10, 5))

        (place,) = check(fixed, SAMPLE).places
        assert "a batch of 32 samples" in place.sentence and place.source == "return x + jnp.ones((32, 10, 5))"

    def test_sizes_that_vary_beside_the_batch(self) -> None:
        assert check(lambda x: x.reshape(-1, 5).reshape(x.shape[0], -1, 5), (None, 5)).independent
        assert check(lambda x: jnp.cumsum(x, 1), (None, 5)).independent
        assert not check(lambda x: jnp.cumsum(x, 0), (None, 5)).independent


class TestTheBatchAsAWhole:
    def test_noise_size_and_order(self) -> None:
        assert check(lambda x: x * jax.random.bernoulli(KEY, 0.5, x.shape), SAMPLE).uses == {"noise"}
        assert check(lambda x: x + jax.random.normal(KEY, x.shape[1:]), SAMPLE).uses == frozenset()
        assert check(lambda x: x / x.shape[0], SAMPLE).uses == {"size"}
        assert check(lambda x: x + jnp.arange(x.shape[0])[:, None, None], SAMPLE).uses == {"order"}
        assert "size" in check(lambda x: x * jnp.ones(x.shape).sum(), SAMPLE).uses

    def test_what_a_batch_may_be_cut_into(self) -> None:
        noisy = check(layers.Dropout(0.5), (4,), training=True)
        assert noisy.may_pad and noisy.may_split
        numbered = check(lambda x: x + jnp.arange(x.shape[0])[:, None], (4,))
        assert numbered.may_pad and not numbered.may_split
        assert not check(lambda x: x / x.shape[0], (4,)).may_pad

    def test_the_text_says_so(self) -> None:
        assert "The number of samples in the batch goes into the result" in str(check(lambda x: x / len(x), (4,)))


class Leaky(layers.Layer):
    def build(self, input_shape: Any) -> None:
        self.dense = layers.Dense(3)

    def call(self, inputs: Any) -> Any:
        hidden = self.dense(inputs)
        return hidden - ops.mean(hidden)


class Remembering(layers.Layer):
    def build(self, input_shape: Any) -> None:
        self.largest = self.add_weight((), "zeros", trainable=False, name="largest")

    def call(self, inputs: Any) -> Any:
        self.largest.assign(ops.maximum(self.largest, ops.max(inputs)))
        return inputs * 2


class TestLayers:
    def test_the_path_and_the_line(self) -> None:
        model = lamella.Sequential([layers.Input((4,)), layers.Dense(3), Leaky(name="leaky")], name="net")
        (place,) = check(model).places
        assert place.layer == "net/leaky"
        assert place.source == "return hidden - ops.mean(hidden)"
        assert place.file == __file__ and place.made_at is not None and place.made_at.startswith(__file__)
        text = str(check(model))
        assert text.startswith("net: mixes") and "Try: leave axis 0 out" in text

    def test_a_declared_mixer_is_named_as_such(self) -> None:
        model = lamella.Sequential([layers.Input((4,)), layers.BatchNormalization(name="bn")], name="m")
        assert check(model).independent
        places = check(model, training=True).places
        assert places and all(
            p.layer == "m/bn" and "mean and variance are taken over the batch" in p.declared for p in places
        )
        assert "It mixes on purpose: in training, mean and variance" in str(places[0])

    def test_state_that_remembers_samples_mixes(self) -> None:
        (place,) = check(Remembering(), (4,)).places
        assert place.state is not None and place.state.endswith("largest")
        assert "It is kept in the state" in str(place)

    def test_a_layer_is_left_unbuilt(self) -> None:
        layer = layers.Dense(3)
        assert check(layer, (4,)).independent
        assert not layer.built

    def test_masks_and_integers(self) -> None:
        assert check(layers.LSTM(3), (10, 4), mask=True).independent
        assert check(layers.Embedding(7, 3, mask_zero=True), (10,)).independent
        assert check(lambda ids: jnp.ones((7, 3))[ids], (10,)).independent
        words = lamella.Sequential([layers.Input((None,), dtype="int32"), layers.Embedding(7, 3, mask_zero=True)])
        words.add(layers.Bidirectional(layers.LSTM(4)))
        assert check(words, training=True).independent

    def test_arrays_and_symbolic_tensors(self) -> None:
        assert check(layers.Dense(3), np.ones((2, 4))).independent
        assert check(layers.Dense(3), layers.Input((4,))).independent
        assert check(layers.Add(), [(4,), (4,)]).independent

    def test_losses_are_asked_before_they_are_averaged(self) -> None:
        assert check(lamella.losses.MeanSquaredError(), (4,), (4,)).independent
        assert check(lamella.losses.SparseCategoricalCrossentropy(), (), (4,)).independent
        dice = check(lamella.losses.Dice(), (4,), (4,))
        assert dice.verdict == "mixes" and dice.places[0].layer == "dice"
        assert "It mixes on purpose: the regions are those of the whole batch" in str(dice)
        assert check(lamella.losses.Dice(axis=-1), (4,), (4,)).independent

    def test_cells_and_loops_around_them(self) -> None:
        assert check(layers.RNN(layers.LSTMCell(3)), (10, 4), mask=True).independent
        assert check(layers.LSTMCell(3), (4,), [(3,), (3,)]).independent
        assert check(layers.GRUCell(3), (4,), [(3,)]).independent
        assert check(layers.RNN([layers.SimpleRNNCell(3), layers.GRUCell(2)]), (10, 4), mask=True).independent
        assert check(layers.Lambda(lambda x: x[..., ::-1]), (4,)).independent
        assert check(layers.Lambda(lambda x: x[::-1]), (4,)).verdict == "mixes"

    def test_pipelines(self) -> None:
        assert check(layers.Pipeline([layers.Dropout(0.5), layers.Flatten()]), (10, 4), training=True).independent
        (place,) = check(layers.Pipeline([layers.Dense(3), Leaky(name="leaky")], name="pipe"), (4,)).places
        assert place.layer == "pipe/leaky"

    def test_a_batch_size_fixed_by_the_input(self) -> None:
        inputs = Input((10, 4), batch_size=3)
        stateful = lamella.Model(inputs, layers.LSTM(3, stateful=True)(inputs))
        report = check(stateful)
        assert report.independent and report.batch_size == 3 and "independent in batches of 3" in str(report)
        assert not report.may_pad and not report.may_split
        others = Input((10, 4), batch_size=1)
        with pytest.raises(errors.BatchSizeError, match=r"fix different numbers of samples: \[1, 3\]"):
            check(lambda a, b: a + b, inputs, others)
        assert check(lamella.Model(inputs, layers.Lambda(lambda x: x[::-1])(inputs))).verdict == "mixes"

    def test_assert_independent(self) -> None:
        assert_independent(layers.Dense(3), SAMPLE)
        with pytest.raises(
            errors.MixesSamplesError,
            match=r"(?s)samples that do not mix, but samples mix in leaky.*`mean` makes one number",
        ):
            assert_independent(Leaky(), SAMPLE)

    def test_html(self) -> None:
        html = check(Leaky(name="<leaky>"), (4,))._repr_html_()
        assert "&lt;leaky&gt;" in html and "<pre>" in html and "<leaky>" not in html


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_layer_has_a_verdict_that_numbers_bear_out(case: Case) -> None:
    rng = np.random.default_rng(5)

    def drawn(shape: tuple[int, ...]) -> Any:
        shape = (4, *shape[1:])
        return rng.integers(0, case.ids, shape) if case.ids else rng.normal(size=shape).astype("float32")

    shapes = case.shape if case.several else [case.shape]
    arrays = [drawn(shape) for shape in shapes]
    for training in (False, True):
        layer = case.make(lamella)
        given = arrays if case.several else arrays[0]
        report = check(layer, *case.given(given), training=training)
        declared = case.layer == "BatchNormalization" and training
        assert report.verdict == ("mixes" if declared else "independent")
        assert not {"size", "order"} & report.uses or declared
        if not declared:
            lamella.utils.set_random_seed(3)
            layer = case.make(lamella)
            case.call(layer, given)
            _others_stay(layer, arrays, case, training, drawn)


def _others_stay(layer: Any, arrays: list[Any], case: Case, training: bool, drawn: Any) -> None:
    state = [variable.numpy() for variable in layer.variables]
    changed = [array.copy() for array in arrays]
    for array, shape in zip(changed, case.shape if case.several else [case.shape], strict=True):
        array[2] = drawn(shape)[0]
    results = []
    for values in (arrays, changed):
        for variable, value in zip(layer.variables, state, strict=True):
            variable.assign(value)
        mode = _mode(case, training)
        out = lamella.jit(lambda *a: case.call(layer, list(a) if case.several else a[0], **mode))(*values)  # noqa: B023
        results.append([np.asarray(leaf)[[0, 1, 3]] for leaf in jax.tree.leaves(out)])
    for before, after in zip(*results, strict=True):
        np.testing.assert_array_equal(before, after)


def _mode(case: Case, training: bool) -> dict[str, Any]:
    return {} if case.layer == "Dot" else {"training": training}


def test_a_small_campaign_finds_no_wrong_proof() -> None:
    counts = campaign.run(range(40))
    assert campaign.wrong(counts) == 0
    assert counts["independent", "same"] > 10 and counts["mixes", "influence"] > 10


def test_the_campaign_finds_a_wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REDUCTIONS:
        monkeypatch.setitem(walk.RULES, name, lambda eq, ins: CONSTANT)
    assert campaign.wrong(campaign.run(range(25))) > 0


class TestBadInput:
    def test_shapes(self) -> None:
        with pytest.raises(errors.ArgumentError, match="must be a tuple"):
            check(layers.Dense(2), 5)
        with pytest.raises(errors.ArgumentError, match="needs the shape of one sample"):
            check(layers.Dense(2))
        with pytest.raises(errors.ShapeError, match=r"expected 4 axes \(batch, rows, cols, channels\)"):
            check(layers.Conv2D(2, 3), (2,))
        with pytest.raises(errors.ArgumentError, match="the batch as axis 0"):
            check(layers.Dense(2), np.float32(3))
        with pytest.raises(errors.ShapeError, match=r"(?s)do not fit together.*contracting.*test_check.py"):
            check(lambda x: x @ jnp.ones((7, 2)), (4, 3))

    def test_not_a_function(self) -> None:
        with pytest.raises(errors.ArgumentError, match="takes a layer, a model, a loss or a function; got int"):
            check(5, (4,))

    def test_numpy_on_tracers(self) -> None:
        with pytest.raises(
            errors.NotTraceableError, match=r"(?s)NumPy is called.*np.asarray\(x\).*Try: the same function"
        ):
            check(lambda x: np.asarray(x).max(), (4,))

    def test_python_on_values(self) -> None:
        def branching(x: Any) -> Any:
            return x if x.sum() > 0 else -x

        with pytest.raises(errors.SymbolicBranchError, match=r"(?s)the values of an array.*x.sum\(\) > 0"):
            check(branching, (4,))
        with pytest.raises(errors.NotTraceableError, match="a Python number is made"):
            check(lambda x: x * float(x[0, 0]), (4,))


def test_numpy_and_python_in_a_layer_that_trains() -> None:
    class Numeric(lamella.Model):
        def call(self, inputs: Any) -> Any:
            return np.tanh(np.asarray(inputs))

    class Branching(lamella.Model):
        def call(self, inputs: Any) -> Any:
            return inputs if inputs[0, 0] > 0 else -inputs

    x = np.ones((4, 2), "float32")
    for make, error, words in (
        (
            Numeric,
            errors.NotTraceableError,
            r"(?s)'numeric', NumPy is called.*np.tanh\(np.asarray\(inputs\)\).*Try: the same",
        ),
        (Branching, errors.SymbolicBranchError, r"(?s)the values of an array.*inputs\[0, 0\] > 0"),
    ):
        model = make(name=make.__name__.lower())
        model.compile("sgd", "mse")
        with pytest.raises(error, match=words):
            model.fit(x, x, verbose=0)


def test_sources_are_read_from_files() -> None:
    place = check(MIXES["mean"][0], SAMPLE).places[0]
    assert place.line is not None
    assert Path(__file__).read_text().splitlines()[place.line - 1].strip() == place.source
