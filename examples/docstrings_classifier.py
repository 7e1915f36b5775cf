"""Does a sentence come from NumPy's documentation or from scikit-learn's? An embedding with masks decides.

The text is the docstrings of the two installed packages, cut into sentences. Their names are taken out. Sentences have
different lengths: they are padded with zeros, which `mask_zero=True` keeps out of the average. Whole docstrings are
held out, and a held-out sentence that also stands in the training part is dropped: documentation repeats itself. The
measure is the more frequent package, and a guess by the length of the sentence alone.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from types import ModuleType

import numpy as np
import sklearn.cluster
import sklearn.decomposition
import sklearn.ensemble
import sklearn.linear_model
import sklearn.metrics
import sklearn.preprocessing
from sklearn.linear_model import LogisticRegression

from lamella import Input, Sequential, layers
from lamella.utils import pad_sequences, set_random_seed

WORDS, LENGTH = 3000, 40
OWN_NAMES = {"numpy", "np", "sklearn", "scikit", "learn"}
SKLEARN = (
    sklearn.cluster,
    sklearn.decomposition,
    sklearn.ensemble,
    sklearn.linear_model,
    sklearn.metrics,
    sklearn.preprocessing,
)


def docstrings(*modules: ModuleType) -> list[str]:
    """Return the different docstrings of the modules' public functions and classes."""
    things = [thing for module in modules for name, thing in sorted(vars(module).items()) if name[0] != "_"]
    return list(dict.fromkeys(filter(None, (inspect.getdoc(thing) for thing in things if callable(thing)))))


def sentences(text: str) -> list[str]:
    """Return the sentences of a docstring in lower case, of 5 to LENGTH words, without the packages' names."""
    found = []
    for sentence in re.split(r"\.\s|\n\n", text):
        words = [word for word in re.findall(r"[a-z]{2,}", sentence.lower()) if word not in OWN_NAMES]
        if 5 <= len(words) <= LENGTH:
            found.append(" ".join(words))
    return found


def split() -> tuple[dict[str, int], dict[str, int]]:
    """Return sentences and their package (0: NumPy), to train on and held out: a fifth of each package's docstrings."""
    train: dict[str, int] = {}
    test: dict[str, int] = {}
    for package, texts in enumerate((docstrings(np), docstrings(*SKLEARN))):
        for place, index in enumerate(np.random.permutation(len(texts))):
            part = test if place < len(texts) / 5 else train
            part.update(dict.fromkeys(sentences(texts[index]), package))
    return train, {sentence: package for sentence, package in test.items() if sentence not in train}


def encode(texts: dict[str, int], ids: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return (sentences, LENGTH) of word numbers, 0 for padding and 1 for a rare word, and the packages."""
    numbers = [[ids.get(word, 1) for word in sentence.split()] for sentence in texts]
    return pad_sequences(numbers, LENGTH, padding="post"), np.array(list(texts.values()))


def network() -> Sequential:
    return Sequential(
        [
            Input((LENGTH,), dtype="int32"),
            layers.Embedding(WORDS, 32, mask_zero=True),
            layers.GlobalAveragePooling1D(),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def main(epochs: int = 6) -> dict[str, float]:
    set_random_seed(1)
    train, test = split()
    counts = Counter(word for sentence in train for word in sentence.split())
    ids = {word: place for place, (word, _) in enumerate(counts.most_common(WORDS - 2), start=2)}
    x, y = encode(train, ids)
    x_test, y_test = encode(test, ids)

    model = network()
    model.compile("adam", loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, verbose=0)
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)

    lengths, lengths_test = ((part > 0).sum(1, keepdims=True) for part in (x, x_test))
    results = {
        "embedding": float(accuracy),
        "by length alone": float(LogisticRegression().fit(lengths, y).score(lengths_test, y_test)),
        "the more frequent": float(max(y_test.mean(), 1 - y_test.mean())),
    }
    print(f"Accuracy on {len(test)} sentences of held-out docstrings, after training on {len(train)}:")
    for name, value in results.items():
        print(f"  {name:18s} {value:.1%}")
    return results


if __name__ == "__main__":
    main()
