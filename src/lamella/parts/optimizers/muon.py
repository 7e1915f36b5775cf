"""Muon: momentum made orthogonal, for kernels of two axes; AdamW for all else."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import jax.numpy as jnp

from lamella.core.variable import Variable
from lamella.parts.optimizers.optimizer import COMMON, Optimizer, Slots, optimizers


@optimizers.register("muon")
class Muon(Optimizer):
    """Momentum with all its singular values drawn near one, for variables of two axes; AdamW for the others.

    Jordan et al., https://kellerjordan.github.io/posts/muon; `rms_rate`, by which the rate and decay of AdamW fit here
    too: Liu et al., https://arxiv.org/abs/2502.16982. Embeddings (`exclude_embeddings`) and variables whose path
    matches one of `exclude_layers`, which should name the last layer, are left to AdamW, at `adam_lr_ratio` times the
    rate.
    """

    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    adam_weight_decay: float | None = 0.004
    epsilon: float = 1e-7
    exclude_layers: Any = None
    exclude_embeddings: bool = True
    muon_a: float = 3.4445
    muon_b: float = -4.7750
    muon_c: float = 2.0315
    adam_lr_ratio: float = 1
    momentum: float = 0.95
    ns_steps: int = 5
    nesterov: bool = True
    rms_rate: float | None = 0.2
    defaults: ClassVar[dict[str, Any]] = {"weight_decay": 0.004}
    leading: ClassVar[tuple[str, ...]] = (
        "learning_rate",
        "adam_beta_1",
        "adam_beta_2",
        "adam_weight_decay",
        "epsilon",
        *COMMON,
    )
    slots: ClassVar[tuple[tuple[str, ...], ...]] = (("momentum", "velocity"),)

    def __post_init__(self) -> None:
        self.exclude_layers = list(self.exclude_layers or ())

    def _is_for_adam(self, variable: Variable) -> bool:
        embedding = self.exclude_embeddings and "embedding" in variable.path.lower()
        named = any(re.search(pattern, variable.path) for pattern in self.exclude_layers)
        return len(variable.shape) != 2 or embedding or named

    def first(self, slot: str, variable: Variable) -> Any:
        """The mean of squares is AdamW's."""
        return None if slot == "velocity" and not self._is_for_adam(variable) else super().first(slot, variable)

    def decay_of(self, variable: Variable) -> float | None:
        """Return the weight decay of a variable."""
        decay = super().decay_of(variable)
        excluded = decay is None and self.weight_decay is not None
        return decay if excluded or not self._is_for_adam(variable) else self.adam_weight_decay

    def rule(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        """A variable with a velocity is AdamW's."""
        if "velocity" in slots:
            return self._adam(g, value, slots, rate * self.adam_lr_ratio, step)
        momentum = self.momentum * slots["momentum"] + g
        direction = self._orthogonal(g + self.momentum * momentum if self.nesterov else momentum)
        size = 1.0 if self.rms_rate is None else self.rms_rate * float(max(value.shape)) ** 0.5
        return value - rate * size * direction, {"momentum": momentum}

    def _adam(self, g: Any, value: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
        scale = rate * jnp.sqrt(1 - self.adam_beta_2**step) / (1 - self.adam_beta_1**step)
        m = slots["momentum"] + (g - slots["momentum"]) * (1 - self.adam_beta_1)
        v = slots["velocity"] + (jnp.square(g) - slots["velocity"]) * (1 - self.adam_beta_2)
        return value - m * scale / (jnp.sqrt(v) + self.epsilon), {"momentum": m, "velocity": v}

    def _orthogonal(self, g: Any) -> Any:
        """Newton and Schulz's iteration, with a quintic that is steep at zero; the short side comes first."""
        tall = g.shape[0] > g.shape[1]
        x = g.T if tall else g
        x = x / (jnp.sqrt(jnp.sum(jnp.square(x))) + 1e-7)
        for _ in range(self.ns_steps):
            square = x @ x.T
            x = self.muon_a * x + (self.muon_b * square + self.muon_c * square @ square) @ x
        return x.T if tall else x
