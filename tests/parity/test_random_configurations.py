"""Layers beside Keras's on configurations that nobody chose."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.parity.cases import Case
from tests.parity.test_layers import assert_close, pair

few = settings(max_examples=12, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def images(draw: Any, rank: int) -> tuple[tuple[int, ...], str]:
    spatial = tuple(draw(st.integers(5, 8)) for _ in range(rank))
    data_format = draw(st.sampled_from(["channels_last", "channels_first"]))
    channels = 4
    shape = (*spatial, channels) if data_format == "channels_last" else (channels, *spatial)
    return (draw(st.integers(1, 3)), *shape), data_format


@st.composite
def convolutions(draw: Any) -> Case:
    rank = draw(st.integers(1, 3))
    shape, data_format = draw(images(rank))
    strides = draw(st.integers(1, 3))
    padding = draw(st.sampled_from(["valid", "same", *(["causal"] if rank == 1 and data_format[9] == "l" else [])]))
    arguments = {
        "filters": draw(st.sampled_from([2, 4, 6])),
        "kernel_size": tuple(draw(st.integers(1, 3)) for _ in range(rank)),
        "strides": strides,
        "padding": padding,
        "data_format": data_format,
        "dilation_rate": draw(st.integers(1, 2)) if strides == 1 else 1,
        "groups": draw(st.sampled_from([1, 2])),
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from([None, "relu", "tanh", "gelu"])),
    }
    return Case(f"Conv{rank}D", arguments, shape)


@st.composite
def poolings(draw: Any) -> Case:
    rank = draw(st.integers(1, 3))
    shape, data_format = draw(images(rank))
    arguments = {
        "pool_size": tuple(draw(st.integers(1, 3)) for _ in range(rank)),
        "strides": draw(st.sampled_from([None, 1, 2])),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "data_format": data_format,
    }
    return Case(f"{draw(st.sampled_from(['Max', 'Average']))}Pooling{rank}D", arguments, shape)


@st.composite
def recurrences(draw: Any) -> Case:
    name = draw(st.sampled_from(["SimpleRNN", "LSTM", "GRU"]))
    arguments = {
        "units": draw(st.integers(1, 6)),
        "use_bias": draw(st.booleans()),
        "return_sequences": draw(st.booleans()),
        "go_backwards": draw(st.booleans()),
        "activation": draw(st.sampled_from(["tanh", "relu", "softsign"])),
    }
    if name == "GRU":
        arguments["reset_after"] = draw(st.booleans())
    return Case(name, arguments, (draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 5))))


@st.composite
def dense(draw: Any) -> Case:
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=5)))
    arguments = {"units": draw(st.integers(1, 5)), "use_bias": draw(st.booleans())}
    return Case("Dense", arguments, shape)


def same(case: Case) -> None:
    ours, theirs, x = pair(case)
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    assert_close(ours(x), theirs(x))
    assert ours.compute_output_shape((None, *x.shape[1:]))[1:] == tuple(theirs(x).shape[1:])


@few
@given(convolutions())
def test_convolutions(case: Case) -> None:
    same(case)


@few
@given(poolings())
def test_poolings(case: Case) -> None:
    same(case)


@few
@given(recurrences())
def test_recurrences(case: Case) -> None:
    same(case)


@few
@given(dense())
def test_dense(case: Case) -> None:
    same(case)
