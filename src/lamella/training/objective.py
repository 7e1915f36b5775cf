"""The objective of a step: the loss of a batch and its gradients, at once or piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from lamella.core.calls import collecting
from lamella.core.masked import mask_of, value_of, with_mask
from lamella.core.structure import flatten, leaves_of, map_leaves, unflatten
from lamella.core.variable import Frame, Variable
from lamella.training.compiled import CompiledLoss

if TYPE_CHECKING:
    from lamella.training.trainer import Trainer

# x, y, sample weights, and which samples count: (batch,) booleans, or None where all do.
Batch = tuple[Any, Any, Any, Any]
Update = Callable[[Batch, Any], None]


class Objective:
    """The loss of a model on a batch: each output's loss with its weight, losses that layers add, and penalties."""

    def __init__(self, model: Trainer, loss: CompiledLoss) -> None:
        self.model = model
        self.loss = loss

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
        return total + share * (sum(call.losses) + sum(self.model._penalties())), parts, outputs

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
        trained = self.model.trainable_variables
        kept: dict[str, Any] = {}

        def objective(values: list[Any]) -> tuple[Any, Any]:
            with Frame(trained, values) as frame:
                total, parts, outputs = self.evaluate(batch, True, of, share)
                leaves, kept["structure"] = flatten(outputs)
                kept["written"] = list(frame.written.values())
                new = [frame.values[id(variable)] for variable in kept["written"]]
            total = total.astype("float32")
            parts = [None if part is None else part.astype("float32") for part in parts]
            return total, (total, [(value_of(x), mask_of(x)) for x in leaves], parts, new)

        grads, (total, leaves, parts, new) = jax.grad(objective, has_aux=True)([v.value for v in trained])
        for variable, value in zip(kept["written"], new, strict=True):
            variable.assign(value)
        update(batch, unflatten(kept["structure"], [with_mask(value, mask) for value, mask in leaves]))
        return grads, total, parts

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

        def step(carry: Any, piece: Batch) -> tuple[Any, None]:
            values, results = carry
            with Frame(variables, values) as frame:
                new = self._of_piece(piece, update, of, _shown(piece) / shown)
                values = [frame.values[id(variable)] for variable in variables]
            return (values, jax.tree.map(jnp.add, results, new)), None

        grads = [jnp.zeros_like(variable.value) for variable in self.model.trainable_variables]
        nothing = (grads, jnp.zeros(()), [None if count is None else jnp.zeros(()) for count in of])
        carry, _ = lax.scan(step, ([variable.value for variable in variables], nothing), head)
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


def _samples(batch: Batch) -> int:
    size: int = leaves_of(batch[0])[0].shape[0]
    return size


def _shown(batch: Batch) -> Any:
    """The number of samples that count."""
    return _samples(batch) if batch[3] is None else jnp.sum(batch[3])
