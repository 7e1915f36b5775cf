"""Checkpoints: a training that is broken off goes on with the same bits; what is kept, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lamella
from lamella.callbacks import BackupAndRestore, OrbaxCheckpoint
from lamella.checkpoint import Checkpoints
from lamella.core import extras
from lamella.errors import ArgumentError, FileFormatError, FileTakenError, NotBuiltError
from lamella.saving import checkpoints as inside
from tests.files import resuming
from tests.files.resuming import Kill, Killed

# How often is saved, where the training ends, which epochs are run when it goes on. The last place is after the last
# batch of an epoch, before its end.
PLACES: list[tuple[Any, tuple[int, ...], list[int]]] = [
    ("epoch", (2,), [2, 3]),
    (4, (2, 4), [2, 3]),
    (6, (2, 0), [1, 2, 3]),
]
CASES = [
    ("orbax", "arrays", PLACES[0]),
    *(("backup", "arrays", place) for place in PLACES),
    *(("backup", data, PLACES[1]) for data in resuming.DATA if data != "arrays"),
    # These remember something from epoch to epoch.
    *(("backup", data, PLACES[0]) for data in ("a dataset", "endless")),
]


def keeper(kind: str, folder: Path, save_freq: Any) -> Any:
    if kind == "backup":
        return BackupAndRestore(folder, save_freq)
    return OrbaxCheckpoint(folder, save_freq=save_freq, max_to_keep=2, resume=True)


@cache
def unbroken(data: str, each: bool) -> list[Any]:
    """What a training ends with that nobody broke off; `each` lets it see every batch."""
    watch = [lamella.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)] if each else []
    return resuming.bits(resuming.trained(1, data, watch))


@pytest.mark.parametrize(("kind", "data", "place"), CASES)
def test_a_training_goes_on_with_the_same_bits(kind: str, data: str, place: Any, tmp_path: Path) -> None:
    save_freq, end, epochs = place
    with pytest.raises(Killed):
        resuming.trained(1, data, [keeper(kind, tmp_path, save_freq), Kill(*end)])
    # Another process would have other weights and other random states.
    rest = resuming.trained(99, data, [keeper(kind, tmp_path, save_freq)])
    assert rest.history.epoch == epochs
    resuming.same_bits(resuming.bits(rest), unbroken(data, save_freq != "epoch"))


def test_a_process_that_is_killed_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    program = ("-m", "tests.files.resuming", str(tmp_path))
    assert run(*program, "1", "2", "4", ends=-signal.SIGKILL) == ""
    assert Checkpoints(tmp_path).steps
    assert run(*program, "99") == resuming.fingerprint(unbroken("arrays", True))


def dense(units: int = 4, optimizer: Any = "adam", value: float | None = None) -> Any:
    model = lamella.Sequential(
        [lamella.Input((3,)), lamella.layers.Dense(units, name="hidden"), lamella.layers.Dense(1)]
    )
    if optimizer is not None:
        model.compile(optimizer, "mse")
    if value is not None:
        model.set_weights([np.full(weight.shape, value, "float32") for weight in model.weights])
    return model


def filled(folder: Any, losses: list[float], **arguments: Any) -> Checkpoints:
    """Checkpoints of models whose weights are their steps."""
    checkpoints = Checkpoints(folder, **arguments)
    for step, loss in enumerate(losses):
        checkpoints.save(dense(value=step), step, {"loss": loss})
    return checkpoints


@pytest.mark.parametrize(
    ("mode", "losses", "kept", "best"),
    [
        ("min", [0.5, 0.1, 0.3, float("nan"), 0.2], [1, 3, 4], 1),
        ("max", [0.5, 0.1, 0.3, 0.2], [0, 2, 3], 0),
        ("min", [float("nan"), float("nan"), 1.0], [1, 2], 2),
    ],
)
def test_the_latest_and_the_best_are_kept(
    mode: str, losses: list[float], kept: list[int], best: int, tmp_path: Path
) -> None:
    # Opened anew in the middle, as after an interruption.
    filled(tmp_path, losses[:-1], max_to_keep=2, best=("loss", mode))
    again = Checkpoints(tmp_path, max_to_keep=2, best=("loss", mode))
    again.save(dense(value=len(losses) - 1), len(losses) - 1, {"loss": losses[-1], "other": 2})
    assert (again.steps, again.best_step, again.latest_step) == (kept, best, len(losses) - 1)
    assert again.metrics(again.latest_step) == {"loss": losses[-1], "other": 2.0}
    for step, which in ((best, "best"), (kept[-1], "latest"), (kept[-1], None), (kept[0], np.int64(kept[0]))):
        model = dense(optimizer=None)
        assert again.restore(model, which) == step
        assert {float(value) for weight in model.get_weights() for value in weight.flat} == {step}


def test_a_training_outside_of_fit_goes_on(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    model = dense()
    for _ in range(3):
        model.train_on_batch(x, x[:, :1])
    model.reset_metrics()
    with Checkpoints(tmp_path, save_on_background=True) as checkpoints:
        checkpoints.save(model, 3)
        # The steps reuse the memory of what is being written.
        losses = [model.train_on_batch(x, x[:, :1]) for _ in range(20)]
    twin = dense(value=0.0)
    Checkpoints(tmp_path).restore(twin)
    assert int(twin.optimizer.iterations) == 3
    assert [twin.train_on_batch(x, x[:, :1]) for _ in range(20)] == losses
    lonely = dense(optimizer="sgd", value=0.0)
    Checkpoints(tmp_path / "weights").save_weights(model, 1)
    Checkpoints(tmp_path / "weights").restore(lonely)
    resuming.same_bits(lonely.get_weights(), model.get_weights())


def test_layers_without_weights_are_kept_too(tmp_path: Path) -> None:
    bare = lamella.Sequential([lamella.Input((3,)), lamella.layers.Flatten()])
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(bare, 0)
    assert checkpoints.restore(bare) == 0
    checkpoints.save(dense(), 1)
    with pytest.raises(FileFormatError, match="there is no such variable"):
        checkpoints.restore(bare)


def test_what_goes_wrong_in_the_background_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(self: Any, *_: Any) -> None:
        raise OSError("No space left on device")

    checkpoints = filled(tmp_path, [1.0], save_on_background=True)
    checkpoints.wait()
    orbax = extras.need("orbax.checkpoint", "checkpoint")
    with monkeypatch.context() as patch:
        patch.setattr(orbax.path.atomicity.AtomicRenameTemporaryPath, "finalize", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoints.save(dense(), 1)
            checkpoints.wait()
    assert Checkpoints(tmp_path).steps == [0]
    checkpoints.save(dense(), 1)
    checkpoints.close()
    assert sorted(os.listdir(tmp_path)) == ["0", "1"]


def run(*arguments: str, ends: int = 0, **environment: str) -> str:
    with_path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    done = subprocess.run(
        [sys.executable, *arguments], env=with_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == ends, done.stderr[-2000:]
    return done.stdout.strip()


def test_a_model_over_four_devices(tmp_path: Path) -> None:
    program = str(Path(__file__).with_name("sharded_checkpoint.py"))
    assert run(program, str(tmp_path), XLA_FLAGS="--xla_force_host_platform_device_count=4") == "done"


def test_a_process_killed_at_random_moments_leaves_whole_checkpoints() -> None:
    assert "broken=0" in run("-m", "tests.files.deaths", "--checkpoints", "--deaths", "2")


# -- a folder is data -------------------------------------------------------------------------------------------------


def test_nothing_in_a_folder_is_unpickled_or_chooses_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, [1.0])
    about = tmp_path / "0" / "_CHECKPOINT_METADATA"
    told = json.loads(about.read_text())
    told["item_handlers"] = {"model": "os.system", "evil": "builtins.exec", "training": None}
    about.write_text(json.dumps(told))
    (tmp_path / "0" / "evil").mkdir()

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a pickle was read")

    for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    model = dense(value=7.0)
    Checkpoints(tmp_path).restore(model)
    assert not any(weight.any() for weight in model.get_weights())


def test_links_are_not_followed(tmp_path: Path) -> None:
    filled(tmp_path / "a", [1.0])
    data = next((tmp_path / "a" / "0" / "model").glob("ocdbt.process_0/d/*"))
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileFormatError, match=r"is a link to another place, which is not followed"):
        Checkpoints(tmp_path / "a").restore(dense())


def test_other_forms_are_not_read(tmp_path: Path) -> None:
    filled(tmp_path, [1.0])
    (tmp_path / "0" / "model" / "checkpoint").write_bytes(b"\x80")
    with pytest.raises(FileFormatError, match="in a form that Orbax has given up"):
        Checkpoints(tmp_path).restore(dense())
    for found in (SimpleNamespace(), SimpleNamespace(shape=(2,), dtype="float32", storage=None)):
        with pytest.raises(FileFormatError, match="'a' is no array"):
            inside._as_declared("a", found)
    huge = SimpleNamespace(shape=(2,), dtype="float32", storage=SimpleNamespace(chunk_shape=(1 << 40,)))
    with pytest.raises(FileFormatError, match=r"pieces of \(1099511627776,\): more than the whole"):
        inside._as_declared("a", huge)


def test_files_cut_off_and_bits_turned_give_no_wrong_weights(tmp_path: Path) -> None:
    model = dense(64)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model, 0)
    wanted, draw, refused = model.get_weights(), np.random.default_rng(0), 0
    files = sorted(path for path in (tmp_path / "0" / "model").rglob("*") if path.is_file())
    for path in files * 2:
        whole = path.read_bytes()
        place = int(draw.integers(len(whole)))
        turned = bytearray(whole)
        turned[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(draw.choice([whole[:place], bytes(turned)]))
        model.set_weights([np.zeros_like(weight) for weight in wanted])
        try:
            checkpoints.restore(model)
            resuming.same_bits(model.get_weights(), wanted)
        except FileFormatError:
            refused += 1
            assert not any(weight.any() for weight in model.get_weights())
        path.write_bytes(whole)
    assert refused > 5


def test_bits_that_were_not_written(tmp_path: Path) -> None:
    filled(tmp_path, [1.0])
    place = tmp_path / "0" / "training" / "metadata"
    told = json.loads(place.read_text())
    told["digests"]["model"]["layers/dense/bias"] += 1
    place.write_text(json.dumps(told))
    with pytest.raises(FileFormatError, match="The bits of model/layers/dense/bias are not those that were written"):
        Checkpoints(tmp_path).restore(dense())


def test_another_model_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    filled(tmp_path, [1.0])
    other = dense(5, value=2.0)
    kernel = r"model/layers/dense/kernel \(hidden/kernel\): kernel has the shape \(3, 5\), the file has \(3, 4\)"
    with pytest.raises(FileFormatError, match=rf"of another model:\n  {kernel}"):
        Checkpoints(tmp_path).restore(other)
    assert all((weight == 2.0).all() for weight in other.get_weights())
    with pytest.raises(FileFormatError, match="of another optimizer, not of this one"):
        Checkpoints(tmp_path).restore(dense(optimizer="sgd"))
    smaller = lamella.Sequential([lamella.Input((3,)), lamella.layers.Dense(4)])
    with pytest.raises(FileFormatError, match="model/layers/dense_1/kernel: there is no such variable"):
        Checkpoints(tmp_path).restore(smaller)


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"epoch": -1}, "does not say at which epoch it stands"),
    ({"epoch": None}, "does not say at which epoch it stands"),
    ({"order": None}, "does not describe a training"),
    ({"random": {"numpy": [], "python": [], "lamella": None}}, "no states of random generators"),
    ({"callbacks": 3}, "does not describe a training"),
    ({"digests": {}}, "is broken: KeyError"),
]


def test_places_that_make_no_sense(tmp_path: Path) -> None:
    x, model = np.ones((4, 3), "float32"), dense()

    def fit(**arguments: Any) -> None:
        saver = OrbaxCheckpoint(tmp_path, save_freq=1, **arguments)
        model.fit(x, x[:, :1], batch_size=2, verbose=0, callbacks=[saver])

    fit()
    place = tmp_path / "2" / "training" / "metadata"
    told = json.loads(place.read_text())
    for change, message in NONSENSE:
        place.write_text(json.dumps({**told, **change}))
        with pytest.raises(FileFormatError, match=message):
            fit(resume=True)
    place.write_text(json.dumps(told))
    fit(resume=True)


# -- errors that teach ------------------------------------------------------------------------------------------------


def test_mistakes(tmp_path: Path) -> None:
    unbuilt = lamella.Sequential([lamella.layers.Dense(1)])
    some = filled(tmp_path / "some", [1.0, 2.0], best=("loss", "min"))
    blind = Checkpoints(tmp_path / "some", best=("accuracy", "max"))
    (tmp_path / "empty").mkdir()
    mistakes: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: Checkpoints(tmp_path / "no").restore(dense()), FileNotFoundError, "There is no folder '.*no'"),
        (lambda: Checkpoints(tmp_path / "empty").restore(dense()), FileNotFoundError, "no whole checkpoint in"),
        (lambda: blind.restore(dense(), "best"), FileNotFoundError, "no whole checkpoint with such a metric in"),
        (lambda: some.restore(unbuilt), NotBuiltError, "does not know its input's shape"),
        (lambda: some.save(unbuilt, 3, {"loss": 1.0}), NotBuiltError, "does not know its input's shape"),
        (lambda: some.restore(dense(), 7), ArgumentError, "no checkpoint of step 7 in .* There are: 0, 1"),
        (lambda: some.restore(dense(), "bset"), ArgumentError, "bset"),
        (lambda: some.save(dense(), 3), ArgumentError, "by 'loss', which is not among the metrics: none"),
        (lambda: some.save(dense(), 1, {"loss": 1}), FileTakenError, "checkpoint of step 1; the next is of a later"),
        (lambda: some.save(dense(), -1, {"loss": 1}), ArgumentError, "A step is a number from 0 on, got -1"),
        (lambda: some.restore(dense(), 1.0), ArgumentError, "A step is a number from 0 on, got 1.0"),
        (lambda: Checkpoints(tmp_path / "some").best_step, ArgumentError, "Nobody said which checkpoint is the best"),
        (lambda: Checkpoints(tmp_path, max_to_keep=0), ArgumentError, "max_to_keep is a number of checkpoints"),
        (lambda: Checkpoints(tmp_path, best="loss"), ArgumentError, "best is a metric and its better end, got 'loss'"),
        (lambda: Checkpoints(tmp_path, best=("loss", "less")), ArgumentError, "less"),
        (lambda: OrbaxCheckpoint(tmp_path, save_freq=0), ArgumentError, "save_freq is 'epoch' or a number of batches"),
        (
            lambda: OrbaxCheckpoint(tmp_path, save_weights_only=True, resume=True),
            ArgumentError,
            "does not go on from weights alone",
        ),
    ]
    for wrong, kind, message in mistakes:
        with pytest.raises(kind, match=message):
            wrong()
    assert some.steps == [0, 1]


def test_metrics_that_are_broken(tmp_path: Path) -> None:
    some = filled(tmp_path, [1.0, 2.0], best=("loss", "min"))
    (tmp_path / "0" / "metrics" / "metrics").write_text("{")
    assert Checkpoints(tmp_path).restore(dense()) == 1
    with pytest.raises(FileFormatError, match=r"0' is broken: JSONDecodeError"):
        some.metrics(0)
    with pytest.raises(FileFormatError, match=r"The metrics of a checkpoint in .* are broken"):
        Checkpoints(tmp_path).save(dense(), 5)
    (tmp_path / "0" / "metrics" / "metrics").write_text("[1]")
    with pytest.raises(FileFormatError, match="The metrics are not numbers by names"):
        some.metrics(0)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(extras.MissingExtraError, match=r"needs orbax, .*\n.*pip install 'lamella\[checkpoint\]'"):
        Checkpoints(tmp_path)


# -- the callback -----------------------------------------------------------------------------------------------------


def test_the_callback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.ones((6, 3), "float32")
    model = dense()

    def fit(saver: OrbaxCheckpoint, epochs: int = 3) -> list[int]:
        model.fit(x, x[:, :1], epochs=epochs, batch_size=2, verbose=0, callbacks=[saver])
        return saver.checkpoints.steps

    assert fit(OrbaxCheckpoint(tmp_path / "a", verbose=1)) == [2]
    assert "Epoch 3: saved step 2 in" in capsys.readouterr().out
    with pytest.raises(
        FileTakenError, match=r"of step 2; the first of this training would be of step 0.\n.*resume=True"
    ):
        fit(OrbaxCheckpoint(tmp_path / "a"))
    done = int(model.optimizer.iterations)
    every = OrbaxCheckpoint(tmp_path / "b", save_freq=2, max_to_keep=None, save_weights_only=True)
    assert fit(every, 1) == [done + 2]
    assert fit(OrbaxCheckpoint(Checkpoints(tmp_path / "b"), save_freq=2), 1) == [done + 2, done + 5]


def test_the_callback_keeps_the_best(tmp_path: Path) -> None:
    saver = OrbaxCheckpoint(tmp_path, "accuracy", save_best_only=True, max_to_keep=2, initial_value_threshold=0.3)
    saver.set_model(dense())
    for epoch, accuracy in enumerate([0.2, 0.5, 0.4, 0.6]):
        saver.on_epoch_end(epoch, {"accuracy": accuracy})
    with pytest.warns(UserWarning, match="monitors 'accuracy', which is not in the logs: loss. Nothing is saved"):
        saver.on_epoch_end(4, {"loss": 0.1})
    saver.wait_until_finished()
    assert saver.checkpoints.steps == [1, 3]
    assert saver.checkpoints.metrics(3) == {"accuracy": 0.6}
    saver.let_go()


def test_callbacks_that_stopped_a_training_stop_it_again(tmp_path: Path) -> None:
    x = np.ones((6, 3), "float32")

    def fit(keeper: Any) -> Any:
        stop = lamella.callbacks.EarlyStopping("loss", min_delta=100, patience=1)
        model = dense(optimizer="sgd", value=0.1)
        model.fit(x, x[:, :1], epochs=9, verbose=0, callbacks=[keeper, stop])
        return model

    assert fit(BackupAndRestore(tmp_path, delete_checkpoint=False)).history.epoch == [0, 1]
    assert fit(BackupAndRestore(tmp_path, delete_checkpoint=False)).history.epoch == []
