"""Switches of the process, and scopes: each has the effect that its name says."""

from __future__ import annotations

import logging
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import lamella
from lamella import config, layers
from lamella.core.settings import settings

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")


@pytest.fixture(autouse=True)
def _kept() -> Any:
    before = dict(vars(settings))
    yield
    vars(settings).update(before)
    config.enable_traceback_filtering()


def model() -> Any:
    made = lamella.Sequential([lamella.Input((3,)), layers.Dense(1)])
    made.compile("sgd", loss="mse")
    return made


def test_fit_keeps_to_the_limits() -> None:
    config.set_max_epochs(2)
    config.set_max_steps_per_epoch(3)
    ends: list[int] = []
    count = lamella.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(batch))
    made = model()
    with pytest.warns(UserWarning, match="stops after 2 epochs"):
        history = made.fit(X, X[:, :1], epochs=5, batch_size=8, verbose=0, callbacks=[count])
    assert history.epoch == [0, 1] and ends == [0, 1, 2] * 2
    assert made.predict(X, batch_size=8).shape == (24, 1)
    assert (config.max_epochs(), config.max_steps_per_epoch()) == (2, 3)


def test_progress_may_go_to_the_log(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    config.disable_interactive_logging()
    assert not lamella.utils.is_interactive_logging_enabled()
    with caplog.at_level(logging.INFO, logger="lamella"):
        made = model()
        made.fit(X, X[:, :1], verbose=1)
        made.summary()
    assert capsys.readouterr().out == ""
    assert "epoch 1/1" in caplog.messages[0] and "Parameters: 4" in caplog.messages[1]
    config.enable_interactive_logging()
    made.fit(X, X[:, :1], verbose=2)
    assert "epoch 1/1" in capsys.readouterr().out


def test_tracebacks_may_show_all_frames() -> None:
    def frames() -> int:
        try:
            jax.jit(lambda x: x @ x)(jnp.ones((2, 3)))
        except TypeError as error:
            trace, found = error.__traceback__, 0
            while trace is not None:
                trace, found = trace.tb_next, found + 1
            return found
        raise AssertionError

    filtered = frames()
    config.disable_traceback_filtering()
    assert not config.is_traceback_filtering_enabled() and frames() > filtered
    config.enable_traceback_filtering()
    assert config.is_traceback_filtering_enabled() and frames() == filtered


def test_the_engine_is_jax() -> None:
    config.set_backend("jax")
    assert config.backend() == lamella.backend.backend() == "jax" and not config.is_nnx_enabled()
    with pytest.raises(ValueError, match="backend must be one of 'jax'"):
        config.set_backend("torch")


def test_a_name_scope_is_in_the_paths() -> None:
    def paths(library: Any) -> list[str]:
        with library.name_scope("outer"), library.name_scope("inner"):
            variable = library.Variable(1.0, name="v")
            dense = library.layers.Dense(2, name="dense")
            dense.build((None, 3))
        return [variable.path, dense.kernel.path, library.Variable(1.0, name="w").path]

    assert paths(lamella) == paths(keras) == ["outer/inner/v", "outer/inner/dense/kernel", "w"]
    with pytest.raises(ValueError, match="without a slash"), lamella.name_scope("a/b"):
        pass


def test_a_stateless_scope_leaves_variables_alone() -> None:
    def run(library: Any) -> list[float]:
        a, b = library.Variable(1.0), library.Variable([1.0, 2.0])
        with library.StatelessScope([(a, 3.0)]) as scope:
            a.assign(a + 1.0)
            scope.add_update((b, library.ops.convert_to_tensor([5.0, 6.0])))
            inside = [float(x) for x in (a, b[0])]
        unseen = scope.get_current_value(library.Variable(0.0))
        return [*inside, float(a), float(b[0]), float(scope.get_current_value(a)), unseen is None]

    assert run(lamella) == run(keras) == [4.0, 5.0, 1.0, 1.0, 4.0, True]
    variable = lamella.Variable([1.0, 2.0], name="v")
    with pytest.raises(ValueError, match=r"'v' has shape \(2,\), its value \(3,\)"):
        lamella.StatelessScope([(variable, np.ones(3))])


def test_a_stateless_scope_collects_losses() -> None:
    class Costly(layers.Layer):
        def call(self, inputs: Any) -> Any:
            self.add_loss(2.0)
            return inputs

    with lamella.StatelessScope(collect_losses=True) as scope:
        Costly()(X)
        scope.add_loss(1.0)
    assert scope.losses == [2.0, 1.0]


def test_remat_gives_the_same_and_carries_state() -> None:
    count = lamella.Variable(0.0)

    def wave(x: Any, training: bool = False) -> Any:
        if training:
            count.assign_add(1.0)
        return jnp.sin(x) * jnp.cos(x)

    np.testing.assert_allclose(lamella.remat(wave)(X), wave(X), rtol=1e-6)
    plain, again = (jax.make_jaxpr(jax.grad(lambda x, f=f: f(x).sum()))(X) for f in (wave, lamella.remat(wave)))
    assert "remat" in str(again) and "remat" not in str(plain)
    lamella.remat(wave)(X, training=True)
    assert float(count) == 1.0


def test_a_device_is_chosen() -> None:
    with lamella.device("cpu:0"):
        assert jnp.ones(1).device.platform == "cpu"
    with pytest.raises(RuntimeError, match="nothere"), lamella.device("nothere:0"):
        pass


def test_names_of_the_session() -> None:
    assert lamella.version() == lamella.__version__
    lamella.backend.clear_session()
    assert [lamella.backend.get_uid("thing") for _ in range(2)] == [1, 2]
    tensor = lamella.KerasTensor((None, 3))
    assert (tensor.shape, tensor.dtype) == ((None, 3), "float32") and lamella.utils.is_keras_tensor(tensor)
    assert not lamella.backend.is_keras_tensor(X)
    assert lamella.backend.is_float_dtype("bfloat16") and lamella.backend.is_int_dtype("uint8")
    assert not lamella.backend.is_int_dtype("bool") and not lamella.backend.is_float_dtype("int8")


def test_custom_objects() -> None:
    @lamella.saving.register_keras_serializable("mine", "thing")
    class Thing:
        pass

    saving = lamella.saving
    assert saving.get_registered_name(Thing) == "mine>thing" and saving.get_registered_object("mine>thing") is Thing
    assert saving.get_registered_object("a", {"a": 1}) == 1 and saving.get_registered_object("a") is None
    assert saving.get_registered_object("a", None, {"a": 2}) == 2
    with saving.custom_object_scope({"a": 3}):
        assert saving.get_registered_object("a", {"a": 1}) == 3
    assert saving.get_custom_objects().pop("mine>thing") is Thing
    assert saving.get_registered_object("mine>thing") is None


def test_flash_attention_is_kept_as_in_keras() -> None:
    answers = []
    for library in (lamella, keras):
        switches = library.config
        found = [switches.is_flash_attention_enabled()]
        switches.disable_flash_attention()
        found.append(switches.is_flash_attention_enabled())
        switches.enable_flash_attention()
        answers.append([*found, switches.is_flash_attention_enabled()])
    assert answers == [[None, False, None]] * 2
