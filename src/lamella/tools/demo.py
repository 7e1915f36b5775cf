"""The demo: handwritten digits, from scans to a trained network, its errors and its learning curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lamella.core.extras import need
from lamella.core.seeds import set_random_seed
from lamella.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from lamella.models.sequential import Sequential


def run(out: Path, epochs: int) -> float:
    """Train on four fifths of the digits, test on the rest, draw two figures into `out`; return the accuracy."""
    set_random_seed(7)
    (x, y), (x_test, y_test) = digits()
    print(f"{len(x)} scans of 8 x 8 pixels to learn from, {len(x_test)} held out.\n")
    model = network()
    model.summary()
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=32, epochs=epochs, validation_data=(x_test, y_test))
    guesses = np.asarray(model.predict(x_test)).argmax(-1)
    accuracy = float((guesses == y_test).mean())
    Console().print(confusion_table(y_test, guesses))
    out.mkdir(parents=True, exist_ok=True)
    draw_curve(history.history, out / "learning_curve.png")
    draw_errors(x_test, y_test, guesses, out / "errors.png")
    print(f"Held-out accuracy: {accuracy:.1%} ({int((guesses != y_test).sum())} of {len(y_test)} wrong).")
    print(f"Figures: {out / 'learning_curve.png'}, {out / 'errors.png'}")
    return accuracy


def digits() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return scikit-learn's scans, (samples, 8, 8, 1) between 0 and 1, and their digits, split by digit."""
    scans = need("sklearn.datasets", "demo").load_digits()
    images = (scans.images[..., None] / 16).astype("float32")
    split = need("sklearn.model_selection", "demo").train_test_split
    x, x_test, y, y_test = split(images, scans.target, test_size=0.2, stratify=scans.target, random_state=0)
    return (x, y), (x_test, y_test)


def network() -> Sequential:
    """Return a small convolutional network for 8 x 8 scans."""
    return Sequential(
        [
            Input((8, 8, 1)),
            Conv2D(32, 3, padding="same", activation="relu"),
            Conv2D(64, 3, padding="same", activation="relu"),
            MaxPooling2D(),
            Dropout(0.25),
            Flatten(),
            Dense(128, activation="relu"),
            Dropout(0.5),
            Dense(10, activation="softmax"),
        ],
        name="digits",
    )


def confusion_table(truth: Any, guesses: Any) -> Table:
    """Return a table with the number of times that each digit (rows) was taken for each (columns)."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (truth, guesses), 1)
    table = Table(title="Rows: the digit written. Columns: the digit read.", title_justify="left")
    for heading in ("", *map(str, range(10))):
        table.add_column(heading, justify="right")
    for digit, row in enumerate(counts):
        cells = ["" if not n else f"[bold]{n}[/bold]" if i == digit else f"[red]{n}[/red]" for i, n in enumerate(row)]
        table.add_row(str(digit), *cells)
    return table


def draw_curve(history: dict[str, list[float]], path: Path) -> None:
    """Draw the losses and accuracies by epoch."""
    plt = _pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        epochs = range(1, len(history[name]) + 1)
        axis.plot(epochs, history[name], label="training, with dropout")
        axis.plot(epochs, history[f"val_{name}"], label="held out")
        axis.set(xlabel="epoch", ylabel=name)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_errors(x: Any, truth: Any, guesses: Any, path: Path) -> None:
    """Draw the scans that were read wrongly, up to twelve."""
    plt = _pyplot()
    wrong = np.flatnonzero(truth != guesses)[:12]
    figure, axes = plt.subplots(2, 6, figsize=(9, 3.6), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, index in zip(axes.flat, wrong, strict=False):
        axis.imshow(x[index, ..., 0], cmap="gray_r")
        axis.set_title(f"{truth[index]}, read as {guesses[index]}", fontsize=9)
    figure.suptitle("Held-out scans read wrongly" if len(wrong) else "No held-out scan was read wrongly")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _pyplot() -> Any:
    need("matplotlib", "demo").use("Agg")
    return need("matplotlib.pyplot", "demo")
