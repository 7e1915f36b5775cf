"""The objective of a step: the loss of a batch and its gradients, at once or piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from lamella import kernels
from lamella.batch.gradients import clip_per_sample
from lamella.batch.per_sample import per_sample
from lamella.core.calls import collecting
from lamella.core.masked import mask_of, value_of, with_mask
from lamella.core.sample import as_batch_of_one
from lamella.core.structure import flatten, leaves_of, map_leaves, unflatten
from lamella.core.variable import Frame, Variable
from lamella.training.compiled import CompiledLoss

if TYPE_CHECKING:
    from lamella.training.trainer import Trainer

# x, y, sample weights, and which samples count: (batch,) booleans, or None where all do.
Batch = tuple[Any, Any, Any, Any]
Update = Callable[[Batch, Any], None]


# Where loops are slow, so many pieces are written out one by one; more would take too long to compile.
_UNROLLED = 32


class Objective:
    """The loss of a model on a batch: each output's loss with its weight, losses that layers add, and penalties."""

    def __init__(self, model: Trainer, loss: CompiledLoss, clipnorm: float | None = None) -> None:
        self.model = model
        self.loss = loss
        self.clipnorm = clipnorm
        self.loops_well = True
        self.looks_up = False

    def evaluate(self, batch: Batch, training: bool, of: list[Any] | None = None, share: Any = 1.0) -> Any:
        """Return the total, the loss of each output and the outputs.

        For a piece of a batch, `of` are the numbers that the losses of the whole batch are divided by, and `share` is
        the part of its samples that the piece holds.
        """
        x, y, sample_weight, valid = batch
        with collecting(training) as call:
            outputs = self.model(x, training=training)
        sums = self.loss.sums(y, outputs, sample_weight, valid)
        total, parts = self.loss.total(sums, of)
        return total + share * sum(call.losses), parts, outputs

    def penalty(self) -> Any:
        """Return what the regularizers of the weights add to the loss."""
        return sum(self.model._penalties())

    def gradients(
        self, batch: Batch, update: Update, variables: list[Variable], micro_batch: int | None
    ) -> tuple[list[Any], Any, list[Any]]:
        """Return the gradients, the total and the loss of each output; `update` is given each piece and its outputs.

        `variables` are those that a step may write. With `micro_batch` the batch is taken in pieces of so many samples.
        """
        if micro_batch is None or micro_batch >= _samples(batch):
            return self._of_piece(batch, update)
        return self._in_pieces(batch, micro_batch, update, variables)

    def _of_piece(
        self, batch: Batch, update: Update, of: list[Any] | None = None, share: Any = 1.0
    ) -> tuple[list[Any], Any, list[Any]]:
        if self.clipnorm is not None:
            return self._clipped(batch, update, share, self.clipnorm)
        return self._plain(batch, update, of, share)

    def _plain(
        self, batch: Batch, update: Update, of: list[Any] | None, share: Any
    ) -> tuple[list[Any], Any, list[Any]]:
        trained = self.model.trainable_variables
        written: list[Variable] = []
        structure: list[Any] = []

        def objective(values: list[Any]) -> tuple[Any, Any]:
            with Frame(trained, values) as frame:
                total, parts, outputs = self.evaluate(batch, True, of, share)
                total = total + share * self.penalty()
                leaves, structure[:] = _opened(outputs)
                written[:] = _state(frame, trained)
                new = [frame.values[id(variable)] for variable in written]
            total = total.astype("float32")
            parts = [None if part is None else part.astype("float32") for part in parts]
            return self._scaled(total), (total, leaves, parts, new)

        optimizer = self.model.optimizer
        by_rows = self.looks_up and of is None and optimizer is not None and optimizer.takes_rows
        differentiated = kernels.row_gradients if by_rows else _gradients
        grads, (total, leaves, parts, new) = differentiated(objective, [v.value for v in trained])
        for variable, value in zip(written, new, strict=True):
            variable.assign(value)
        update(batch, _closed(structure, leaves))
        return grads, total, parts

    def each(self, batch: Batch, training: bool) -> Any:
        """Return, for each sample as a batch of its own: gradients, total, the loss of each output, the outputs."""
        trained = self.model.trainable_variables
        structure: list[Any] = []

        def of_one(x: Any, y: Any, sample_weight: Any) -> Any:
            alone = map_leaves(lambda a: a[None], (x, y, sample_weight))

            written: list[Variable] = []

            def objective(values: list[Any]) -> Any:
                with as_batch_of_one(), Frame(trained, values) as frame:
                    total, parts, outputs = self.evaluate((*alone, None), training)
                    written[:] = _state(frame, trained)
                leaves, structure[:] = _opened(map_leaves(_without_batch, outputs))
                return total.astype("float32"), (total, parts, leaves, [frame.values[id(v)] for v in written])

            grads, (total, parts, leaves, new) = jax.grad(objective, has_aux=True)([v.value for v in trained])
            for variable, value in zip(written, new, strict=True):
                variable.assign(value)
            return grads, total, parts, leaves

        grads, total, parts, leaves = per_sample(of_one)(*batch[:3])
        return grads, total, parts, _closed(structure, leaves)

    def _clipped(self, batch: Batch, update: Update, share: Any, norm: float) -> tuple[list[Any], Any, list[Any]]:
        """The mean of the samples' gradients, each shortened to a norm; penalties are added to that."""
        trained = self.model.trainable_variables
        grads, totals, parts, outputs = self.each(batch, training=True)
        update(batch, outputs)
        weights = jnp.ones(_samples(batch)) if batch[3] is None else batch[3].astype("float32")

        def mean(array: Any) -> Any:
            # A piece may hold nothing but padding.
            shown = jnp.maximum(jnp.sum(weights), 1.0).astype(array.dtype)
            return share * jnp.tensordot(weights.astype(array.dtype), array, 1) / shown

        def penalty(values: list[Any]) -> Any:
            with Frame(trained, values):
                return share * jnp.asarray(self.penalty(), "float32")

        added, more = jax.value_and_grad(penalty)([v.value for v in trained])
        grads = [self._scaled(mean(g) + extra) for g, extra in zip(clip_per_sample(grads, norm), more, strict=True)]
        return grads, mean(totals) + added, [None if part is None else mean(part) for part in parts]

    def _scaled(self, total: Any) -> Any:
        """Gradients are those of the loss as the optimizer scales it; the optimizer divides them again."""
        return total if self.model.optimizer is None else self.model.optimizer.scale_loss(total)

    def _in_pieces(
        self, batch: Batch, size: int, update: Update, variables: list[Variable]
    ) -> tuple[list[Any], Any, list[Any]]:
        """Add up the gradients of pieces of `size` samples, and of what is left over, inside the one program."""
        count = _samples(batch) // size
        head = map_leaves(lambda a: a[: count * size].reshape(count, size, *a.shape[1:]), batch)
        rest = map_leaves(lambda a: a[count * size :], batch)
        rests = [rest] if _samples(rest) else []
        of = self._counts(head, rests)
        shown = _shown(batch)

        unroll = count if not self.loops_well and count <= _UNROLLED else 1

        def step(carry: Any, piece: Batch) -> tuple[Any, None]:
            if unroll > 1:
                # One piece after the other: side by side they would need the memory of the whole batch.
                carry, piece = lax.optimization_barrier((carry, piece))
            values, results = carry
            with Frame(variables, values) as frame:
                new = self._of_piece(piece, update, of, _shown(piece) / shown)
                values = [frame.values[id(variable)] for variable in variables]
            return (values, jax.tree.map(jnp.add, results, new)), None

        grads = [jnp.zeros_like(variable.value) for variable in self.model.trainable_variables]
        nothing = (grads, jnp.zeros(()), [None if count is None else jnp.zeros(()) for count in of])
        carry, _ = lax.scan(step, ([variable.value for variable in variables], nothing), head, unroll=unroll)
        for left in rests:
            carry, _ = step(carry, left)
        for variable, value in zip(variables, carry[0], strict=True):
            variable.assign(value)
        return carry[1]

    def _counts(self, head: Batch, rests: list[Batch]) -> list[Any]:
        """Return what the losses of the whole batch are divided by; the compiler keeps only what that takes."""

        def count(batch: Batch) -> list[Any]:
            with Frame(), collecting(True):
                outputs = self.model(batch[0], training=True)
                sums = self.loss.sums(batch[1], outputs, batch[2], batch[3])
            return [None if pair is None else jnp.asarray(pair[1], "float32") for pair in sums]

        per_piece = lax.map(count, head)
        last = [count(rest) for rest in rests]
        return self.loss.divisors(
            [
                None if counts is None else jnp.sum(counts) + sum(left[i] for left in last)
                for i, counts in enumerate(per_piece)
            ]
        )


def _gradients(fn: Callable[[list[Any]], Any], values: list[Any]) -> tuple[list[Any], Any]:
    return jax.grad(fn, has_aux=True)(values)  # type: ignore[no-any-return]


def _state(frame: Frame, trained: list[Variable]) -> list[Variable]:
    """Return what a call wrote; what it wrote into a trained weight lasts for the call: the optimizer sets those."""
    fixed = set(map(id, trained))
    return [variable for variable in frame.written.values() if id(variable) not in fixed]


def _opened(outputs: Any) -> tuple[list[Any], list[Any]]:
    """Return outputs as pairs of arrays and masks, which JAX may carry, and their structure, in a list of one."""
    leaves, structure = flatten(outputs)
    return [(value_of(leaf), mask_of(leaf)) for leaf in leaves], [structure]


def _closed(structure: list[Any], leaves: list[Any]) -> Any:
    """Return the outputs again, with their masks."""
    return unflatten(structure[0], [with_mask(value, mask) for value, mask in leaves])


def _without_batch(leaf: Any) -> Any:
    mask = mask_of(leaf)
    return with_mask(value_of(leaf)[0], None if mask is None else mask[0])


def _samples(batch: Batch) -> int:
    size: int = leaves_of(batch[0])[0].shape[0]
    return size


def _shown(batch: Batch) -> Any:
    """The number of samples that count."""
    return _samples(batch) if batch[3] is None else jnp.sum(batch[3])
