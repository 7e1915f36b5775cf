"""What is proven of a model together with its losses and metrics, before a batch is cut or filled up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from lamella.batch.check import check_call
from lamella.batch.report import Place, Report
from lamella.core.axes import BATCH
from lamella.core.calls import collecting
from lamella.core.structure import leaves_of, map_leaves
from lamella.training.compiled import CompiledLoss, CompiledMetrics

if TYPE_CHECKING:
    from lamella.training.trainer import Trainer


def prove(model: Trainer, batch: Any, mode: str, loss: CompiledLoss, metrics: CompiledMetrics) -> Report:
    """Return the report on the outputs for a batch, and but for "predict" on each sample's losses and metrics.

    Code that cannot be traced for other batch sizes may still train on its own: nothing is proven of it then.
    """
    training = mode == "train"

    def call(x: Any, y: Any, sample_weight: Any) -> Any:
        if mode == "predict":
            # What layers add to a loss has no part in a prediction.
            with collecting(training):
                return leaves_of(model(x, training=training))
        outputs = model(x, training=training)
        return [outputs, loss.each(y, outputs), metrics.each(y, outputs)]

    def spec(array: Any) -> Any:
        dtype = jax.dtypes.canonicalize_dtype(array.dtype)
        return jax.ShapeDtypeStruct((BATCH, *array.shape[1:]), dtype)

    try:
        return check_call(call, map_leaves(spec, list(batch)), model.name, training)
    except Exception as error:
        sentence = f"It cannot be traced for a batch of any size: {error}"
        return Report(model.name, "unknown", (Place("trace", sentence, "", "unknown"),))
