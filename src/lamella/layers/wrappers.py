"""Layers around a layer: TimeDistributed and Bidirectional."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lamella.core.axes import describe, is_symbolic
from lamella.core.errors import ArgumentError, MaskShapeError
from lamella.core.masked import value_of, with_mask
from lamella.core.settings import one_of
from lamella.core.structure import map_leaves
from lamella.layers.layer import Layer
from lamella.layers.spec import InputSpec


class Wrapper(Layer):
    """The base of layers around another layer."""

    layer: Any

    def __post_init__(self) -> None:
        if not isinstance(self.layer, Layer):
            raise ArgumentError(
                f"{type(self).__name__} wraps a layer, got {type(self.layer).__name__}.",
                mend=f"{type(self).__name__}(Dense(3))",
            )


class TimeDistributed(Wrapper):
    """A layer applied to each step: (batch, time, ...) -> (batch, time, ...).

    Steps are samples to the layer inside: it is called once, on a merged axis of batch times time. A layer that
    takes statistics over its batch, such as BatchNormalization, takes them over all steps at once.

    >>> import numpy as np
    >>> from lamella.layers.dense import Dense
    >>> TimeDistributed(Dense(64))(np.ones((32, 10, 5), "float32")).shape
    (32, 10, 64)
    """

    supports_masking = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.input_spec = InputSpec(min_ndim=3)

    def build(self, input_shape: Any) -> None:
        if not self.layer.built:
            self.layer.build((None, *input_shape[2:]))

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        batch, time = inputs.shape[:2]
        if mask is not None:
            self._check_mask(mask, inputs)
        merged = inputs.reshape(batch * time, *inputs.shape[2:])
        uses = mask is not None and self.layer._uses_mask()
        steps = with_mask(merged, mask.reshape(batch * time, *mask.shape[2:]) if uses else None)
        outputs = self.layer(steps)
        return map_leaves(lambda y: value_of(y).reshape(batch, time, *y.shape[1:]), outputs)

    def _check_mask(self, mask: Any, inputs: Any) -> None:
        pairs = zip(mask.shape[:2], inputs.shape[:2], strict=False)
        known = [(m, x) for m, x in pairs if not is_symbolic(m) and not is_symbolic(x)]
        if mask.ndim < 2 or any(m != x for m, x in known):
            raise MaskShapeError(
                f"TimeDistributed: a mask has an element for each step; got {describe(mask.shape)} for "
                f"{describe(inputs.shape)}."
            )


class Bidirectional(Layer):
    """A recurrent layer forward and another backward in time: (batch, time, features) -> both outputs merged.

    `merge_mode`: "concat" along the features, "sum", "mul", "ave", or None for a pair. Schuster and Paliwal,
    "Bidirectional Recurrent Neural Networks", IEEE Transactions on Signal Processing 45 (1997).

    >>> import numpy as np
    >>> from lamella.layers.recurrent import LSTM
    >>> Bidirectional(LSTM(4, return_sequences=True))(np.ones((2, 7, 3), "float32")).shape
    (2, 7, 8)
    """

    supports_masking = True
    axis_names = ("batch", "time", "features")

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not hasattr(layer, "go_backwards"):
            raise ArgumentError(
                f"Bidirectional wraps a recurrent layer, got {type(layer).__name__}.",
                mend="Bidirectional(LSTM(32))",
            )
        if merge_mode is not None:
            one_of("merge_mode", merge_mode, ("concat", "sum", "mul", "ave"))
        self.merge_mode = merge_mode
        self.forward_layer = _copied(layer, layer.go_backwards, f"forward_{layer.name}")
        self.backward_layer = backward_layer or _copied(layer, not layer.go_backwards, f"backward_{layer.name}")
        if self.backward_layer.go_backwards == self.forward_layer.go_backwards:
            raise ArgumentError(
                "Bidirectional: the backward layer must run in the other direction.",
                mend="LSTM(32, go_backwards=True)",
            )
        self.return_sequences, self.return_state = layer.return_sequences, layer.return_state
        self.input_spec = layer.input_spec
        self._initial_weights = weights

    def build(self, input_shape: Any) -> None:
        for layer in (self.forward_layer, self.backward_layer):
            if not layer.built:
                layer.build(input_shape)
        if self._initial_weights is not None:
            self.set_weights(self._initial_weights)

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: Any = None) -> Any:
        half = len(initial_state) // 2 if initial_state is not None else 0
        forward_state = None if initial_state is None else list(initial_state[:half])
        backward_state = None if initial_state is None else list(initial_state[half:])
        forward = self.forward_layer(sequences, initial_state=forward_state, mask=mask)
        backward = self.backward_layer(sequences, initial_state=backward_state, mask=mask)
        states: tuple[Any, ...] = ()
        if self.return_state:
            states = (*forward[1:], *backward[1:])
            forward, backward = forward[0], backward[0]
        forward, backward = value_of(forward), value_of(backward)
        if self.return_sequences:
            backward = jnp.flip(backward, axis=1)
        merged = self._merge(forward, backward)
        if not states:
            return merged
        return (*merged, *states) if self.merge_mode is None else (merged, *states)

    def _merge(self, forward: Any, backward: Any) -> Any:
        if self.merge_mode is None:
            return forward, backward
        if self.merge_mode == "concat":
            return jnp.concatenate([forward, backward], axis=-1)
        if self.merge_mode == "mul":
            return forward * backward
        total = forward + backward
        return total / 2 if self.merge_mode == "ave" else total

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask goes on with the sequences, if they are returned."""
        mask = previous_mask[0] if isinstance(previous_mask, list | tuple) else previous_mask
        kept = mask if self.return_sequences else None
        outputs = [kept] * (2 if self.merge_mode is None else 1)
        if self.return_state:
            count = 2 * len(self.forward_layer.get_initial_state(1))
            return [*outputs, *(None for _ in range(count))]
        return outputs if self.merge_mode is None else kept

    def reset_state(self) -> None:
        """Set the states that are carried from batch to batch back to zero."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()


def _copied(layer: Any, go_backwards: bool, name: str) -> Any:
    config = {**layer.get_config(), "go_backwards": go_backwards, "name": name}
    if hasattr(layer, "zero_output_for_mask"):
        # Both directions must agree on padded steps, whichever end they stand at.
        config["zero_output_for_mask"] = layer.return_sequences
    return type(layer).from_config(config)
