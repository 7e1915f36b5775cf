"""Trainer: the verbs of a model, each a few lines over the loop."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from lamella.batch.memory import MemoryReport
from lamella.core.errors import ArgumentError, NotBuiltError
from lamella.parts import optimizers
from lamella.training import forecast, loop
from lamella.training.callbacks import History
from lamella.training.compilation import Compiled, arguments_from
from lamella.training.data import adapt
from lamella.training.ongoing import Training

if TYPE_CHECKING:
    from lamella.core.dtypes import DTypePolicy
    from lamella.parts.optimizers import Optimizer


class TrainerState:
    """What training keeps on a model, apart from the attributes that its layers are found by."""

    def __init__(self) -> None:
        self.stop_training = False
        self.training: Training | None = None
        self.optimizer: Optimizer | None = None
        self.loss: Any = None
        self.compiled: Compiled | None = None
        self.predictor: Compiled | None = None
        self.history: History | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "predictor": None, "training": None}


def _kept(name: str) -> Any:
    """A property whose value lives in the trainer's state."""

    def read(model: Trainer) -> Any:
        return getattr(model._trainer, name)

    def write(model: Trainer, value: Any) -> None:
        setattr(model._trainer, name, value)

    return property(read, write)


class Trainer:
    """What a model can do once it was compiled."""

    _trainer: TrainerState
    stop_training = _kept("stop_training")
    optimizer = _kept("optimizer")
    loss = _kept("loss")
    history = _kept("history")

    if TYPE_CHECKING:
        name: str
        built: bool
        dtype_policy: DTypePolicy
        variables: list[Any]
        trainable_variables: list[Any]

        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
        def _penalties(self) -> list[Any]: ...
        def fingerprint(self) -> Any: ...

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int | None = None,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
        *,
        micro_batch: int | str | None = None,
        per_sample_clipnorm: float | None = None,
    ) -> None:
        """Say how the model is trained: by which optimizer, towards which loss, watched by which metrics.

        `loss`, `loss_weights` and `metrics` may be one thing, a list by the outputs' places or a dict by their
        names. `steps_per_execution` is how many steps run in one call of the compiled program; by default as many
        as give a live progress bar. `micro_batch` takes each batch in pieces of so many samples, whose gradients are
        added up before the one update: the memory of a small batch, the result of the whole one.
        `per_sample_clipnorm` shortens the gradients of each sample to a norm before they are averaged, as
        differentially private training does (Abadi et al., CCS 2016); samples must not mix. `auto_scale_loss` puts a
        `LossScaleOptimizer` around the optimizer of a model whose policy is "mixed_float16".
        """
        if run_eagerly:
            raise ArgumentError(
                "run_eagerly=True is not offered: a step is one compiled program.",
                mend="jax.debug.print inside `call`",
            )
        kept = self._trainer
        chosen = optimizers.get(optimizer)
        half = auto_scale_loss and self.dtype_policy.name == "mixed_float16"
        if half and chosen is not None and not isinstance(chosen, optimizers.LossScaleOptimizer):
            chosen = optimizers.LossScaleOptimizer(chosen, name="loss_scale_optimizer")
        kept.compiled = Compiled(
            self,
            chosen,
            loss,
            loss_weights,
            metrics,
            weighted_metrics,
            steps_per_execution,
            micro_batch,
            per_sample_clipnorm,
        )
        kept.optimizer, kept.loss = kept.compiled.optimizer, loss

    def get_compile_config(self) -> dict[str, Any] | None:
        """Return what `compile` was given, as plain data; None if it was not called."""
        return None if self._trainer.compiled is None else self._trainer.compiled.get_config()

    def compile_from_config(self, config: dict[str, Any], **own: Any) -> None:
        """Compile as `get_compile_config` says, and make what the optimizer keeps for each weight."""
        if type(self).compile is not Trainer.compile and type(self).compile_from_config is Trainer.compile_from_config:
            warnings.warn(
                f"{type(self).__name__} has a `compile` of its own, which was not called: what it takes is not known. "
                "Call it, or define get_compile_config and compile_from_config.",
                stacklevel=2,
            )
            return
        self.compile(**arguments_from(config), **own)
        if self.built and self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return self._trainer.compiled is not None

    def _need_compiled(self) -> Compiled:
        if self._trainer.compiled is None:
            raise NotBuiltError(
                f"The model {self.name!r} was not compiled: there is no loss to train towards.",
                mend="model.compile(optimizer='adam', loss='mse')",
            )
        return self._trainer.compiled

    @property
    def metrics(self) -> list[Any]:
        """The loss tracker and the metrics."""
        compiled = self._trainer.compiled
        return [] if compiled is None else compiled.trackers()

    @property
    def metrics_names(self) -> list[str]:
        """The names in the logs."""
        return self._need_compiled().steps.names()

    def reset_metrics(self) -> None:
        """Start the metrics anew."""
        if self._trainer.compiled is not None:
            self._trainer.compiled.steps.reset()

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        *,
        micro_batch: int | str | None = None,
        memory_limit: int | str | None = None,
    ) -> History:
        """Train on arrays (first axis: samples) or on an iterable of batches; return the history of the logs.

        The data is checked first: sizes, dtypes, NaN and the shapes of the inputs. `verbose`: 0 silent, 1 a live
        bar, 2 a line an epoch; "auto" is 1 in a terminal. `micro_batch` goes before that of `compile`.
        With `memory_limit` ("8GB", or bytes) a step takes its batch in pieces as large as fit, which is found by
        compiling, not by running; `micro_batch="auto"` and `memory_limit="auto"` do so with the memory that is free.
        """
        plan = loop.Plan(
            epochs=epochs,
            initial_epoch=initial_epoch,
            verbose=verbose,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_freq=validation_freq,
            micro_batch=micro_batch,
            memory_limit=memory_limit,
        )
        data = adapt(x, y, sample_weight, batch_size, steps_per_epoch, shuffle)
        size = validation_batch_size or batch_size or 32
        train, held = loop.training_data(data, class_weight, validation_split, validation_data, size, validation_steps)
        return loop.fit(self._need_compiled(), train, held, callbacks, plan)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss and the metrics on data: a list, a dict, or the loss alone if there are no metrics."""
        data = adapt(x, y, sample_weight, batch_size, steps)
        logs = loop.evaluate(self._need_compiled(), data, callbacks, verbose)
        return logs if return_dict else loop.as_list(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = 0,
        steps: int | None = None,
        callbacks: Any = None,
        *,
        memory_limit: int | str | None = None,
    ) -> Any:
        """Return the outputs for data, batch by batch, as NumPy arrays: (samples, ...) -> (samples, ...).

        With `memory_limit` ("8GB", bytes, or "auto" for what is free) batches are as small as must be for it.
        """
        compiled = self._trainer.compiled or self._uncompiled()
        return loop.predict(compiled, adapt(x, None, None, batch_size, steps), callbacks, verbose, memory_limit)

    def _uncompiled(self) -> Compiled:
        """A stand-in for models that only predict."""
        if self._trainer.predictor is None:
            self._trainer.predictor = Compiled(self, None, None, None, None, None, None)
        return self._trainer.predictor

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Run one step of training on one batch; return the logs, which go on from the last `reset_metrics`."""
        data = loop.one_batch(x, y, sample_weight, class_weight)
        logs = loop.on_batch(self._need_compiled(), data, training=True)
        return logs if return_dict else loop.as_list(logs)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Evaluate one batch; return the logs, which go on from the last `reset_metrics`."""
        logs = loop.on_batch(self._need_compiled(), loop.one_batch(x, y, sample_weight, None), training=False)
        return logs if return_dict else loop.as_list(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """Return the outputs for one batch, as NumPy arrays."""
        data = loop.one_batch(x, None, None, None)
        return loop.predict(self._trainer.compiled or self._uncompiled(), data, None, 0)

    def per_sample_gradients(
        self, x: Any, y: Any = None, sample_weight: Any = None, training: bool = False
    ) -> list[Any]:
        """Return each sample's gradients of the loss: (samples, *weight.shape) for each trainable weight, in order.

        A sample's loss is that of a batch of one, times its weight, without penalties on weights; for losses averaged
        over the batch, the mean of the gradients is that of the batch. The model stays as it is. They exist where
        samples do not mix: `MixesSamplesError` names the layer otherwise.
        """
        data = loop.one_batch(x, y, sample_weight, None)
        return loop.sample_gradients(self._need_compiled(), data, training)

    def memory(self, batch_size: int = 32, training: bool = True, *, x: Any = None, y: Any = None) -> MemoryReport:
        """Return what memory a step takes, before it runs: weights, gradients, optimizer state, activations, peak.

        The step is compiled for three batch sizes and its peak read from XLA's own analysis. `x` and `y`, arrays or
        specs of any number of samples, are for models that do not know their inputs, or targets of another kind.

        >>> import lamella
        >>> model = lamella.Sequential([lamella.Input((10,)), lamella.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> report = model.memory(64)
        >>> report.weights, report.gradients, report.peak > 64 * 11 * 4
        (44, 44, True)
        """
        compiled = self._need_compiled() if training else self._trainer.compiled or self._uncompiled()
        return forecast.report(compiled, batch_size, training, x, y)
