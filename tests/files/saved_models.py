"""All models through TensorFlow itself, where it is installed: python -m tests.files.saved_models"""

from __future__ import annotations

import tempfile
from typing import Any

import jax
import numpy as np

from lamella.core.extras import need
from tests.files.programs import MODELS, calls


def worst(model: Any, given: list[Any], folder: str) -> float:
    """Write a SavedModel, have TensorFlow load it, and return how far its answers are from those of `predict`."""
    model.export(folder, format="tf_saved_model")
    loaded = need("tensorflow", "tensorflow").saved_model.load(folder)
    differences = [0.0]
    for x in given:
        expected = jax.tree.leaves(model.predict(x, verbose=0))
        for size in (1, 3, 7):
            answers = jax.tree.leaves(loaded.serve(jax.tree.map(lambda a, size=size: a[:size], x)))
            for answer, wanted in zip(answers, expected, strict=True):
                apart = np.abs(np.asarray(answer, "float32") - np.asarray(wanted[:size], "float32"))
                differences.append(float(apart.max()))
    return max(differences)


def main() -> None:
    given = calls(MODELS)
    for name, (model, _) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name}: {worst(model, given[name], folder + '/model'):.1e}", flush=True)


if __name__ == "__main__":
    main()
