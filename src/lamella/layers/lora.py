"""Low-rank adaptation: a large weight rests, and training finds a small product that is added to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp

from lamella.core.errors import ArgumentError, NotBuiltError
from lamella.core.variable import Variable
from lamella.layers.layer import Layer
from lamella.parts import initializers


class Adaptable(Layer):
    """A layer whose weight may be adapted: (..., rank) times (rank, last) is added to it, scaled by alpha / rank.

    The factors are `lora_<weight>_a` and `lora_<weight>_b`. Hu et al., "LoRA: Low-Rank Adaptation of Large Language
    Models", 2021, https://arxiv.org/abs/2106.09685.

    >>> from lamella.layers.dense import Dense
    >>> layer = Dense(64)
    >>> layer.build((None, 100))
    >>> layer.enable_lora(4)
    >>> sum(weight.size for weight in layer.trainable_weights)
    720
    """

    adapted: ClassVar[str]
    lora_enabled = False
    if TYPE_CHECKING:
        lora_rank: int | None
        lora_alpha: Any

    def enable_lora(
        self, rank: int, lora_alpha: Any = None, a_initializer: Any = "he_uniform", b_initializer: Any = "zeros"
    ) -> None:
        """Freeze the weight and add two factors of this rank to it; once, on a layer that is built."""
        if not self.built:
            raise NotBuiltError(
                f"The layer {self.name!r} has no {self.adapted} to adapt yet.", mend="layer.build((None, 5)) first"
            )
        if self.lora_enabled:
            raise ArgumentError(f"LoRA is enabled on {self.name!r} already; a layer is adapted once.")
        self._adapt(rank, lora_alpha, a_initializer, b_initializer)

    def _adapt(
        self, rank: int, alpha: Any = None, a_initializer: Any = "he_uniform", b_initializer: Any = "zeros"
    ) -> None:
        name, base = self.adapted, self._base()
        if getattr(self, f"{name}_constraint") is not None:
            raise ArgumentError(f"LoRA does not go together with {name}_constraint: the sum would not keep to it.")
        for letter, shape, initializer in (
            ("a", (*base.shape[:-1], rank), a_initializer),
            ("b", (rank, base.shape[-1]), b_initializer),
        ):
            factor = self.add_weight(
                shape,
                initializers.get(initializer),
                # Small steps would be lost in half precision.
                dtype="float32",
                regularizer=getattr(self, f"{name}_regularizer"),
                name=f"lora_{name}_{letter}",
            )
            factor.path = base.path.removesuffix(base.name) + factor.name
            setattr(self, factor.name, factor)
        base.trainable = False
        self.lora_enabled = True
        self.lora_alpha = rank if alpha is None else alpha
        self.lora_rank = rank

    def _base(self) -> Variable:
        return getattr(self, f"_{self.adapted}")  # type: ignore[no-any-return]

    def _adapted_value(self) -> Any:
        """Return the weight's value, with the product of the factors where there are any."""
        value = self._base_value()
        if not self.lora_enabled or not self.lora_rank:
            return value
        a, b = self._factors()
        return value + (a @ b).astype(value.dtype)

    def _base_value(self) -> Any:
        return self._base().value

    def _kept_variables(self) -> list[Variable]:
        """The adapted weight first, then the others; the factors go into it."""
        if not self.built:
            return super()._kept_variables()
        base = self._base()
        factors = [getattr(self, f"lora_{self.adapted}_{letter}") for letter in "ab" if self.lora_enabled]
        return [base, *(v for v in super()._kept_variables() if all(v is not other for other in (base, *factors)))]

    def _merged(self) -> dict[Variable, Any]:
        """Return the values that some variables have with the factors in them."""
        return {self._base(): self._adapted_value()} if self.lora_enabled else {}

    def save_own_variables(self, store: Any) -> None:
        """Put the layer's variables into `store`, the product of the factors added to the weight."""
        merged = self._merged()
        for place, variable in enumerate(self._kept_variables()):
            store[str(place)] = merged.get(variable, variable)

    def load_own_variables(self, store: Any) -> None:
        """Take the layer's variables from `store`; what the factors held is in the weight, so they become zero."""
        super().load_own_variables(store)
        if self.lora_enabled:
            for letter in "ab":
                factor = getattr(self, f"lora_{self.adapted}_{letter}")
                factor.assign(jnp.zeros(factor.shape, factor.dtype))

    def _factors(self) -> tuple[Any, Any]:
        """Return the factors' values, the second with the scaling by alpha / rank."""
        a, b = (getattr(self, f"lora_{self.adapted}_{letter}").value for letter in "ab")
        return a, (self.lora_alpha / self.lora_rank) * b
