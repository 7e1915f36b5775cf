"""The compiled functions of a model: one training step, one evaluation step, one prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from lamella import kernels
from lamella.batch.memory import made_bytes
from lamella.batch.report import Report
from lamella.core.calls import collecting
from lamella.core.masked import value_of
from lamella.core.structure import flatten, leaves_of, map_leaves, unflatten
from lamella.core.variable import Frame, Variable, discover
from lamella.training.compiled import CompiledLoss, CompiledMetrics
from lamella.training.objective import Batch, Objective
from lamella.training.proof import prove

if TYPE_CHECKING:
    from lamella.training.trainer import Trainer


class Steps:
    """Pure, compiled steps over a flat list of a model's variables, which stay on the device between calls."""

    def __init__(
        self,
        model: Trainer,
        loss: CompiledLoss,
        metrics: CompiledMetrics,
        loss_tracker: Any,
        per_sample_clipnorm: float | None = None,
    ) -> None:
        self.model = model
        self.loss = loss
        self.objective = Objective(model, loss, per_sample_clipnorm)
        self.metrics = metrics
        self.loss_tracker = loss_tracker
        self.variables: list[Variable] = []
        self.read: list[Variable] = []
        self._train = self._compiled(self._train_step)
        self._test = self._compiled(self._test_step)
        self._predict = jax.jit(self._predict_values)
        self._gradients = jax.jit(self._gradient_values, static_argnums=2)
        self._structure: Any = None
        self.loops_well = True
        self.sample_bytes = 0
        self.micro_batch: int | None = None
        self._reports: dict[Any, Report] = {}

    def gather(self, batch: Any, training: bool) -> None:
        """Find every variable that a step reads or writes: the model's, and any other that its call meets."""
        x = batch[0]

        def forward(x: Any) -> Any:
            with collecting(training):
                return map_leaves(value_of, self.model(x))

        met, _ = discover(forward, x)
        optimizer = self.model.optimizer
        # The lists only grow: a program compiled for a shorter one is not called with a longer one.
        self.read = list(dict.fromkeys([*self.read, *self.model.variables, *met]))
        found = [
            *self.read,
            *(v for tracker in self.trackers() for v in tracker.variables),
            *(optimizer.variables if optimizer is not None else ()),
        ]
        self.variables = list(dict.fromkeys([*self.variables, *found]))

    def prepare(self, batch: Any, training: bool) -> None:
        """Build what is not built yet: weights, metrics, the optimizer's state."""
        x, y, _ = batch

        def forward(x: Any) -> Any:
            with collecting(False):
                leaves, self._structure = flatten(self.model(x))
            return [value_of(leaf) for leaf in leaves]

        def traced(x: Any) -> Any:
            with Frame():
                return forward(x)

        jaxpr, specs = jax.make_jaxpr(traced, return_shape=True)(x)
        self.loops_well = self.objective.loops_well = kernels.loops_well(jaxpr)
        self.objective.looks_up = kernels.looks_up(jaxpr)
        self.sample_bytes = made_bytes(jaxpr.jaxpr) // leaves_of(x)[0].shape[0]
        outputs = unflatten(self._structure, specs)
        if y is not None:
            self.metrics.build(y, outputs)
        if training and self.model.optimizer is not None:
            self.model.optimizer.ensure_built(self.model.trainable_variables)
        self.gather(batch, training)

    def report(self, batch: Any, mode: str) -> Report:
        """Return what is proven of "train", "test" or "predict" on batches of this kind, whatever their size."""
        if mode == "predict":
            batch = (batch[0], None, None)
        leaves, tree = flatten(batch)
        key = mode, tree, tuple((leaf.shape[1:], str(leaf.dtype)) for leaf in leaves)
        if key not in self._reports:
            self._reports[key] = prove(self.model, batch, mode, self.loss, self.metrics)
        return self._reports[key]

    def may_pad(self, batch: Any, mode: str) -> bool:
        """Tell whether a batch may be filled up with samples that do not count, without any change to the results."""
        ours = all(type(metric).__module__.startswith("lamella.") for *_, metric in self.metrics.entries)
        return (ours or mode == "predict") and self.report(batch, mode).may_pad

    # -- running ------------------------------------------------------------------------------------------------

    def train(self, arrays: Any, steps: int) -> list[Any]:
        """Run some steps of training on a block of batches; the variables have their new values afterwards."""
        return self._run(self._train, arrays, steps)

    def test(self, arrays: Any, steps: int) -> list[Any]:
        """Run some steps of evaluation on a block of batches."""
        return self._run(self._test, arrays, steps)

    def predict(self, x: Any) -> Any:
        """Return the outputs for one batch, without masks."""
        return self._predict([variable._value for variable in self.read], x)

    def sample_gradients(self, batch: Any, training: bool) -> list[Any]:
        """Return the gradients of each sample's loss, (samples, ...) for each trainable weight; nothing changes."""
        self.report(batch, "train" if training else "test").need("per_sample_gradients", split=True)
        return self._gradients([variable._value for variable in self.variables], batch, training)  # type: ignore[no-any-return]

    def _gradient_values(self, values: list[Any], batch: Any, training: bool) -> list[Any]:
        with Frame(self.variables, values):
            return self.objective.each((*batch, None), training)[0]  # type: ignore[no-any-return]

    def _run(self, program: Callable[..., Any], arrays: Any, steps: int) -> list[Any]:
        values, logs = program([variable._value for variable in self.variables], arrays, steps, self.micro_batch)
        for variable, value in zip(self.variables, values, strict=True):
            variable._value = value
        return logs  # type: ignore[no-any-return]

    def _compiled(self, step: Callable[[Batch, int | None], None]) -> Callable[..., Any]:
        """Compile `step` over a block: a loop inside the program, over as many steps as the call says."""

        def one(values: list[Any], arrays: Any, index: Any, micro_batch: int | None) -> list[Any]:
            x, y, weights, count = map_leaves(lambda a: lax.dynamic_index_in_dim(a, index, keepdims=False), arrays)
            valid = None if count is None else jnp.arange(leaves_of(x)[0].shape[0]) < count
            batch = x, y, weights, valid
            with Frame(self.variables, values) as frame:
                step(batch, micro_batch)
                return [frame.values[id(variable)] for variable in self.variables]

        def block(values: list[Any], arrays: Any, steps: Any, micro_batch: int | None) -> tuple[list[Any], list[Any]]:
            if leaves_of(arrays)[0].shape[0] == 1:
                values = one(values, arrays, 0, micro_batch)
            else:
                values = lax.fori_loop(0, steps, lambda i, now: one(now, arrays, i, micro_batch), values)
            return values, self._results(values)

        return jax.jit(block, donate_argnums=0, static_argnums=3)

    def _results(self, values: list[Any]) -> list[Any]:
        with Frame(self.variables, values):
            return self.results()

    # -- the steps ------------------------------------------------------------------------------------------------

    def _train_step(self, batch: Batch, micro_batch: int | None) -> None:
        grads, total, parts = self.objective.gradients(batch, self._update, self.variables, micro_batch)
        assert self.model.optimizer is not None
        self.model.optimizer.apply(grads, self.model.trainable_variables)
        self._track(batch, total, parts)

    def _test_step(self, batch: Batch, _: int | None) -> None:
        with Frame() as scratch:
            total, parts, outputs = self.objective.evaluate(batch, training=False)
            total = total + self.objective.penalty()
        for variable in scratch.written.values():
            variable.assign(scratch.values[id(variable)])
        self._update(batch, outputs)
        self._track(batch, total, parts)

    def _update(self, batch: Batch, outputs: Any) -> None:
        _, y, sample_weight, valid = batch
        self.metrics.update(y, outputs, sample_weight, valid)

    def _track(self, batch: Batch, total: Any, parts: list[Any]) -> None:
        x, _, _, valid = batch
        samples = leaves_of(x)[0].shape[0] if valid is None else jnp.sum(valid)
        self.loss_tracker.update_state(total, sample_weight=samples)
        for tracker, part in zip(self.loss.trackers, parts, strict=True):
            if tracker is not None and part is not None:
                tracker.update_state(part, sample_weight=samples)

    def _predict_values(self, values: list[Any], x: Any) -> Any:
        with Frame(self.read, values), collecting(False):
            return map_leaves(value_of, self.model(x, training=False))

    def reset(self) -> None:
        """Start the metrics anew."""
        for tracker in self.trackers():
            tracker.reset_state()

    def trackers(self) -> list[Any]:
        """Return the metrics behind the results, in their order: the loss, the outputs' losses, the metrics."""
        losses = [tracker for tracker in self.loss.trackers if tracker is not None]
        return [self.loss_tracker, *losses, *(metric for *_, metric in self.metrics.entries)]

    def results(self) -> list[Any]:
        """Return the results so far."""
        return [tracker.result() for tracker in self.trackers()]

    def names(self) -> list[str]:
        """The names of the results, in their order."""
        trackers = [tracker.name for tracker in self.loss.trackers if tracker is not None]
        return ["loss", *trackers, *(name for _, _, name, _ in self.metrics.entries)]
