"""Does a sentence come from NumPy's documentation or from scikit-learn's? An embedding with masks decides.

The text is the docstrings of the two installed packages, cut into sentences. Their names are taken out. Sentences have
different lengths: they are padded with zeros, which `mask_zero=True` keeps out of the average. The measure is the
more frequent package, and a guess by the length of the sentence alone.
"""

from __future__ import annotations

import inspect
import re
from types import ModuleType

import numpy as np
import sklearn.cluster
import sklearn.decomposition
import sklearn.ensemble
import sklearn.linear_model
import sklearn.metrics
import sklearn.preprocessing

from lamella import Input, Sequential, layers
from lamella.utils import pad_sequences, set_random_seed

WORDS, LENGTH = 3000, 40
SKLEARN = (
    sklearn.cluster,
    sklearn.decomposition,
    sklearn.ensemble,
    sklearn.linear_model,
    sklearn.metrics,
    sklearn.preprocessing,
)


def sentences(*modules: ModuleType) -> list[list[str]]:
    """Return the sentences in the docstrings of the modules' public functions and classes, as lists of words."""
    found: dict[str, None] = {}
    for module in modules:
        for name, thing in sorted(vars(module).items()):
            text = inspect.getdoc(thing) if callable(thing) and not name.startswith("_") else None
            for sentence in re.split(r"\.\s|\n\n", text or ""):
                words = re.findall(r"[a-z]{2,}", sentence.lower())
                kept = [word for word in words if word not in ("numpy", "np", "sklearn", "scikit", "learn")]
                if 5 <= len(kept) <= LENGTH:
                    found[" ".join(kept)] = None
    return [sentence.split() for sentence in found]


def main(epochs: int = 6) -> dict[str, float]:
    set_random_seed(1)
    texts = [sentences(np), sentences(*SKLEARN)]
    words = [sentence for text in texts for sentence in text]
    y = np.repeat([0, 1], [len(text) for text in texts])
    order = np.random.permutation(len(y))
    train, test = order[: int(0.8 * len(y))], order[int(0.8 * len(y)) :]

    counts: dict[str, int] = {}
    for index in train:
        for word in words[index]:
            counts[word] = counts.get(word, 0) + 1
    frequent = sorted(counts, key=lambda word: -counts[word])[: WORDS - 2]
    ids = {word: place + 2 for place, word in enumerate(frequent)}
    x = pad_sequences([[ids.get(word, 1) for word in sentence] for sentence in words], LENGTH, padding="post")

    model = Sequential(
        [
            Input((LENGTH,), dtype="int32"),
            layers.Embedding(WORDS, 32, mask_zero=True),
            layers.GlobalAveragePooling1D(),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(x[train], y[train], epochs=epochs, verbose=0)
    _, accuracy = model.evaluate(x[test], y[test], verbose=0)

    lengths = (x > 0).sum(1)
    cut = max(range(5, LENGTH), key=lambda cut: abs(((lengths[train] > cut) == y[train]).mean() - 0.5))
    by_length = ((lengths[test] > cut) == y[test]).mean()
    results = {
        "embedding": float(accuracy),
        "by length alone": float(max(by_length, 1 - by_length)),
        "the more frequent": float(max(y[test].mean(), 1 - y[test].mean())),
    }
    print(f"Accuracy on {len(test)} held-out sentences of {len(y)}:")
    for name, value in results.items():
        print(f"  {name:18s} {value:.1%}")
    return results


if __name__ == "__main__":
    main()
