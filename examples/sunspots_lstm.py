"""An LSTM forecasts next year's sunspots from the thirty years before, 1700 to 2008.

The last sixty years are held out. Two trivial forecasts are the measure: this year's number again, and the mean. A
third is the plain statistical one, a linear regression on the same thirty years. It does as well as the LSTM.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LinearRegression
from statsmodels.datasets import sunspots

from lamella import Input, Sequential, callbacks, layers
from lamella.utils import set_random_seed

YEARS, HELD_OUT = 30, 60


def windows(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (samples, YEARS, 1) of past values and (samples, 1) of the value after each."""
    past = np.stack([series[i : i + YEARS] for i in range(len(series) - YEARS)])
    return past[..., None], series[YEARS:, None]


def main(epochs: int = 200) -> dict[str, float]:
    set_random_seed(1)
    counts = sunspots.load_pandas().data["SUNACTIVITY"].to_numpy("float32")
    scale = counts[:-HELD_OUT].max()
    x, y = windows(counts / scale)
    train, test = slice(None, -HELD_OUT), slice(-HELD_OUT, None)

    model = Sequential([Input((YEARS, 1)), layers.LSTM(32), layers.Dense(1)])
    model.compile("adam", loss="mae")
    stop = callbacks.EarlyStopping(patience=25, restore_best_weights=True)
    model.fit(x[train], y[train], epochs=epochs, validation_split=0.2, callbacks=[stop], verbose=0)

    linear = LinearRegression().fit(x[train][..., 0], y[train])

    def error(forecast: np.ndarray | float) -> float:
        return float(np.abs(forecast - y[test]).mean() * scale)

    errors = {
        "LSTM": error(model.predict(x[test])),
        "linear regression": error(linear.predict(x[test][..., 0])),
        "this year again": error(x[test][:, -1]),
        "the mean": error(float(y[train].mean())),
    }
    print(f"Mean absolute error over {HELD_OUT} held-out years, in sunspots:")
    for name, value in errors.items():
        print(f"  {name:18s} {value:5.1f}")
    return errors


if __name__ == "__main__":
    main()
