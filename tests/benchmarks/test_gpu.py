"""The benchmark for GPUs measures equal models; it runs on a CPU with small ones."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gpu import of_jax, of_lamella
from benchmarks.gpu.sizes import LARGE, SMALL


@pytest.mark.parametrize("name", SMALL)
def test_both_train_models_of_one_size(name: str) -> None:
    sizes = SMALL[name]
    x, y = sizes.data(2 * sizes.batch)
    runners = [module.Runner(name, sizes) for module in (of_lamella, of_jax)]
    assert runners[0].parameters() == runners[1].parameters()
    losses = [runner.train(x, y) for runner in runners]
    classes = getattr(sizes, "classes", None) or sizes.tokens
    # before it has learned anything, a model is about as wrong as a guess
    assert all(0.3 < loss / np.log(classes) < 3 for loss in losses)
    assert of_jax.forward_operations(name, sizes) > 0


def test_the_decoder_is_gpt2_small() -> None:
    sizes = LARGE["gpt2_small"]
    block = 12 * sizes.width**2 + 13 * sizes.width
    assert sizes.depth * block + (sizes.tokens + sizes.steps + 2) * sizes.width == 124_439_808
