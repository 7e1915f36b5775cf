"""A functional model with two named inputs reads a digit: the upper and the lower half of a scan.

Each half goes through convolutions of its own before they meet. The measure is a logistic regression on all pixels,
and the most frequent digit.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from lamella import Input, Model, layers
from lamella.utils import set_random_seed


def half(name: str) -> tuple[object, object]:
    """Return the input for one half, (4, 8, 1), and what is seen in it, (64,)."""
    scan = Input((4, 8, 1), name=name)
    seen = layers.Conv2D(32, 3, padding="same", activation="relu")(scan)
    seen = layers.Conv2D(32, 3, padding="same", activation="relu")(seen)
    return scan, layers.Dense(64, activation="relu")(layers.Flatten()(layers.MaxPooling2D()(seen)))


def network() -> Model:
    upper, above = half("upper")
    lower, below = half("lower")
    both = layers.Dropout(0.3)(layers.Concatenate()([above, below]))
    return Model({"upper": upper, "lower": lower}, layers.Dense(10, activation="softmax")(both))


def main(epochs: int = 15) -> dict[str, float]:
    set_random_seed(1)
    digits = load_digits()
    images = (digits.images / 16).astype("float32")[..., None]
    x, x_test, y, y_test = train_test_split(
        images, digits.target, test_size=0.25, stratify=digits.target, random_state=0
    )
    model = network()
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit({"upper": x[:, :4], "lower": x[:, 4:]}, y, epochs=epochs, verbose=0)
    _, accuracy = model.evaluate({"upper": x_test[:, :4], "lower": x_test[:, 4:]}, y_test, verbose=0)

    linear = LogisticRegression(max_iter=2000).fit(x.reshape(len(x), -1), y)
    results = {
        "two inputs": float(accuracy),
        "logistic regression": float(linear.score(x_test.reshape(len(x_test), -1), y_test)),
        "most frequent digit": float((y_test == np.bincount(y).argmax()).mean()),
    }
    print(f"Accuracy on {len(y_test)} held-out digits:")
    for name, value in results.items():
        print(f"  {name:20s} {value:.1%}")
    return results


if __name__ == "__main__":
    main()
