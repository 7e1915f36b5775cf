"""Twenty steps with every loss, metric and optimizer beside Keras: whole curves, to a relative error of 1e-5.

What a library computes is one compiled program, for compiling costs most. Rounding errors grow on the way, so data and
steps are chosen such that they do not grow much; where that is not the whole answer, a comment says why.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import lamella
from lamella.core.masked import Masked
from tests.parts.test_losses import CASES as LOSS_CASES
from tests.parts.test_metrics import ALL_CASES as METRIC_CASES
from tests.parts.test_metrics import SOFT, P, W
from tests.parts.test_optimizers import CONFIGURATIONS, SCHEDULES

STEPS = 20
LIBRARIES = [lamella, keras]
# A program that runs once is not worth the time of the compiler's last passes.
ONCE = {"xla_backend_optimization_level": 0}


def classes(module: Any, base: type) -> set[str]:
    """The public classes of a kind, without the base; of several names for one, its own."""
    things = [thing for name, thing in vars(module).items() if isinstance(thing, type) and name[0] != "_"]
    return {thing.__name__ for thing in things if issubclass(thing, base) and thing is not base}


def run(curves: dict[str, Any]) -> dict[str, Any]:
    """Compute all curves in one program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the oracle asks JAX for int64
        program = jax.jit(lambda: {name: curve() for name, curve in curves.items()}, compiler_options=ONCE)
        return jax.device_get(program())


def check(name: str, found: Any, wanted: Any, atol: float = 0.0) -> None:
    assert found.shape == wanted.shape and len(found) == STEPS
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=atol, err_msg=name)


def masked(library: Any, values: Any, mask: Any) -> Any:
    if library is lamella:
        return Masked(values, mask)
    keras.src.backend.set_keras_mask(values, mask)
    return values


# -- losses ---------------------------------------------------------------------------------------------------------

LOSSES = list({name: (name, *rest) for name, *rest in reversed(LOSS_CASES)}.values())
DRAW = np.random.default_rng(3)
KERNEL = (np.eye(5) + 0.3 * DRAW.normal(size=(5, 5))).astype("float32")


def link(y_pred: Any, outputs: Any) -> Any:
    """Bring the outputs of a dense map to where a loss wants its predictions: to where those of the case are."""
    if np.allclose(np.sum(y_pred, -1), 1, atol=1e-5):
        return jax.nn.softmax(outputs)
    if np.allclose(np.sum(np.square(y_pred), -1), 1, atol=1e-5):
        return outputs / jnp.linalg.norm(outputs, axis=-1, keepdims=True)
    return jax.nn.sigmoid(outputs) if np.min(y_pred) >= 0 else outputs


def descent(library: Any, case: Any, weighted: bool) -> Any:
    """The losses on the way down, of a dense map from fixed features to the predictions."""
    name, arguments, y_true, y_pred = case
    loss = getattr(library.losses, name)(**arguments)
    draw = np.random.default_rng(4)
    features = jnp.asarray(draw.normal(size=y_pred.shape), "float32")
    shape = np.shape(getattr(lamella.losses, name)(reduction="none", **arguments)(y_true, y_pred))
    weights, mask = draw.uniform(0.2, 2, shape).astype("float32"), jnp.asarray(draw.random(shape) > 0.3)
    # Circle takes the exponential of 80 times a similarity: where the loss is small, a rounding error of 1e-7 in the
    # similarity is one of 1e-5 in the loss. Short steps stay where it is large.
    rate = 0.003 if name == "Circle" else 0.05

    def objective(kernel: Any) -> Any:
        out = link(y_pred, features @ kernel)
        given = (masked(library, out, mask), weights) if weighted else (out,)
        return loss(jnp.asarray(y_true), *given)

    def step(kernel: Any, _: Any) -> Any:
        value, slope = jax.value_and_grad(objective)(kernel)
        return kernel - rate * slope / jnp.maximum(1.0, jnp.max(jnp.abs(slope))), value

    return lambda: jax.lax.scan(step, jnp.asarray(KERNEL), length=STEPS)[1]


def test_every_loss_is_in_the_table() -> None:
    assert classes(keras.losses, keras.Loss) == {name for name, *_ in LOSSES}


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted and masked"])
def test_every_loss(weighted: bool) -> None:
    mine, theirs = (run({case[0]: descent(library, case, weighted) for case in LOSSES}) for library in LIBRARIES)
    for name, curve in mine.items():
        assert curve[-1] < curve[0], name
        # A similarity lies between -1 and 1 and passes through 0, where its error is an absolute one.
        check(name, curve, theirs[name], atol=1e-6 if name == "CosineSimilarity" else 0.0)


# -- metrics --------------------------------------------------------------------------------------------------------

METRICS = [
    *{name: (name, arguments, batches[0]) for name, arguments, batches in reversed(METRIC_CASES)}.values(),
    ("Mean", {}, (P, W)),
    ("Sum", {}, (P, W)),
    ("MeanMetricWrapper", {"fn": "huber", "delta": 0.3}, (SOFT, P, W)),
]


def followed(library: Any, case: Any, weighted: bool) -> Any:
    """The results of a metric after each of twenty batches of four samples."""
    name, arguments, data = case
    if "fn" in arguments:
        arguments = {**arguments, "fn": getattr(library.losses, arguments["fn"])}
    metric = getattr(library.metrics, name)(**arguments)
    values = data[:-1] if name in ("Mean", "Sum") else data[:2]
    draw = np.random.default_rng(5)
    places = draw.permuted(np.tile(np.arange(6), (STEPS, 1)), axis=1)[:, :4]
    weights = draw.uniform(0.2, 2, (STEPS, 4)).astype("float32")
    masks = draw.random((STEPS, 4)) > 0.3
    batches = [jnp.asarray(np.asarray(value)[places]) for value in values]
    if library is lamella and len(batches) == 2:
        metric.build(*(batch.shape[1:] for batch in batches))
    elif hasattr(metric, "_build"):  # Keras makes some variables with the first batch
        metric.update_state(*(batch[0] for batch in batches))
        metric.reset_state()

    def step(state: Any, batch: Any) -> Any:
        *given, weight, mask = batch
        if weighted:
            given[-1] = masked(library, given[-1], mask)
        more = {"sample_weight": weight} if weighted and len(data) > len(values) else {}
        state = metric.stateless_update_state(state, *given, **more)
        return state, metric.stateless_result(state)

    first = [jnp.asarray(variable.value) for variable in metric.variables]
    return lambda: jax.lax.scan(step, first, (*batches, weights, masks))[1]


def test_every_metric_is_in_the_table() -> None:
    assert classes(keras.metrics, keras.Metric) == {name for name, *_ in METRICS}


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted and masked"])
def test_every_metric(weighted: bool) -> None:
    mine, theirs = (run({case[0]: followed(library, case, weighted) for case in METRICS}) for library in LIBRARIES)
    if weighted:
        # Keras's root of the mean squared error does not see the mask that its mean squared error sees.
        theirs["RootMeanSquaredError"] = np.sqrt(theirs["MeanSquaredError"])
    for name, curve in mine.items():
        # A correlation lies between -1 and 1 and passes through 0, where its error is an absolute one.
        check(name, curve, theirs[name], atol=1e-7 if "Correlation" in name else 0.0)


# -- optimizers -----------------------------------------------------------------------------------------------------

X, Y = DRAW.normal(size=(8, 4)).astype("float32"), DRAW.normal(size=(8, 3)).astype("float32")
WEIGHTS = [DRAW.normal(size=(4, 3)).astype("float32"), np.zeros(3, "float32")]


def made(library: Any, kind: str, arguments: dict[str, Any]) -> Any:
    found = library.optimizers
    if kind in dict(SCHEDULES):
        return found.SGD(getattr(found.schedules, kind)(**arguments), momentum=0.5)
    if kind == "LossScaleOptimizer":
        return found.LossScaleOptimizer(found.Adam(0.05), **arguments)
    if kind == "MultiOptimizer":
        return found.MultiOptimizer(found.OptimizerMap(found.SGD(0.1), {"bias": found.Adam(0.05)}))
    return getattr(found, kind)(**arguments)


OPTIMIZERS = [
    *CONFIGURATIONS,
    *SCHEDULES,
    ("LossScaleOptimizer", {"initial_scale": 8.0, "dynamic_growth_steps": 5}),
    ("MultiOptimizer", {}),
]


def training(library: Any, kind: str, arguments: dict[str, Any]) -> Any:
    """The losses of a linear regression under way."""
    optimizer = made(library, kind, arguments)
    names = ("kernel", "bias")
    variables = [library.Variable(value, name=name) for value, name in zip(WEIGHTS, names, strict=True)]
    optimizer.build(variables)

    def objective(values: Any, kept: Any) -> Any:
        loss = jnp.mean(jnp.square(X @ values[0] + values[1] - Y))
        with library.StatelessScope(list(zip(optimizer.variables, kept, strict=True))):
            return optimizer.scale_loss(loss), loss

    def step(state: Any, _: Any) -> Any:
        (_, loss), grads = jax.value_and_grad(objective, has_aux=True)(*state)
        values, kept = optimizer.stateless_apply(state[1], grads, state[0])
        return (list(values), list(kept)), loss

    first = [jnp.asarray(v.value) for v in variables], [jnp.asarray(v.value) for v in optimizer.variables]
    return lambda: jax.lax.scan(step, first, length=STEPS)[1]


def test_every_optimizer_and_schedule_is_in_the_table() -> None:
    listed = {kind for kind, _ in OPTIMIZERS}
    assert classes(keras.optimizers, keras.Optimizer) <= listed
    assert classes(keras.optimizers.schedules, keras.optimizers.schedules.LearningRateSchedule) <= listed


def test_every_optimizer() -> None:
    mine, theirs = (run({f"{kind} {a}": training(lib, kind, a) for kind, a in OPTIMIZERS}) for lib in LIBRARIES)
    for name, curve in mine.items():
        assert curve[-1] < curve[0], name
        check(name, curve, theirs[name])
