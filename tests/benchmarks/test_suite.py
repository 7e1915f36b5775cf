"""The benchmark suite measures equal models, and its workers do what the suite asks of them."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import keras
import pytest

import lamella
from benchmarks.speed import measure, page
from benchmarks.speed.definition import BODIES, build
from benchmarks.speed.peers import of_jax
from benchmarks.speed.workloads import WORKLOADS


def counts(library: Any, name: str) -> tuple[int, int]:
    workload = WORKLOADS[name]
    inputs = library.Input(workload.shape, dtype="int32" if workload.rows else "float32")
    model = library.Model(inputs, BODIES[name](library, inputs))
    kept = [weight for weight in model.non_trainable_weights if "seed" not in weight.path]
    return sum(prod(w.shape) for w in model.trainable_weights), sum(prod(w.shape) for w in kept)


@pytest.mark.usefixtures("drawn_by_numpy")
@pytest.mark.parametrize("name", WORKLOADS)
def test_all_have_the_same_number_of_parameters(name: str) -> None:
    theirs = counts(keras, name)
    assert counts(lamella, name) == theirs
    assert of_jax.Handwritten(name).parameters() == theirs


@pytest.mark.parametrize("name", ["text_bilstm_masked", "cifar_resnet"])
def test_data_fits_its_workload(name: str) -> None:
    workload = WORKLOADS[name]
    x, y = workload.data(6)
    assert x.shape == (6, *workload.shape) and len(y) == 6
    assert (x == 0).any() == workload.ragged


def test_lamella_learns_what_the_suite_gives_it() -> None:
    x, y = WORKLOADS["tabular_mlp"].data(640)
    model = build(lamella, "tabular_mlp")
    losses = model.fit(x, y, batch_size=32, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_a_pair_takes_turns_and_makes_a_page(tmp_path: Path) -> None:
    found = measure.pair("jax-by-hand", "tabular_mlp", measure.Effort(0.001, 2, second_start=False))
    taken = found["train"]["seconds"]
    assert {who: len(seconds) for who, seconds in taken.items()} == {"lamella": 2, "jax-by-hand": 2}
    assert found["train"]["samples"] % WORKLOADS["tabular_mlp"].batch == 0
    assert found["start"]["lamella"]["parameters"] == found["start"]["jax-by-hand"]["parameters"]
    found["second start"] = found["start"]
    machine = {"cpu": "one", "cores": 1, "system": "a system", "python": "3"}
    kept = {"machine": machine, "pairs": [{**found, "date": "2026-01-01", "effort": [0.001, 2]}]}
    page.write(tmp_path / "speed.md", json.loads(json.dumps(kept)))
    lines = (tmp_path / "speed.md").read_text().splitlines()
    assert sum(line.startswith("| tabular_mlp") for line in lines) == 6
    assert "tabular_mlp" in (tmp_path / "speed.svg").read_text()


def test_a_worker_that_fails_is_quoted() -> None:
    quoted = pytest.raises(measure.WorkerError, match=r"AttributeError.*'dance'")
    with measure.worker("lamella", "tabular_mlp", "/nowhere") as process, quoted:
        process.ask("dance")


def test_a_ratio_compares_what_was_taken_together() -> None:
    assert measure.ratio({"lamella": [1.0, 10.0, 2.0], "torch": [2.0, 20.0, 4.0]}, "torch") == 2.0
