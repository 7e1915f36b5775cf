"""The forms of a convolution on CPU beside each other, for shapes from small to wide, in milliseconds.

The rules of `lamella.kernels.convolution_forms` and `winograd` were read off this table.
`python benchmarks/formulations.py [--json FILE]`
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import Figures, in_turns, report

from lamella.kernels import convolution, convolution_forms, winograd
from lamella.kernels.windows import Windows, padded, patches

# samples, side, channels, filters, taps, stride
SHAPES = [
    (64, 32, 16, 16, 3, 1),
    (64, 32, 24, 24, 3, 1),
    (64, 16, 32, 32, 3, 1),
    (64, 8, 64, 64, 3, 1),
    (16, 56, 64, 64, 3, 1),
    (16, 28, 32, 64, 5, 1),
    (16, 28, 3, 32, 3, 1),
    (16, 56, 64, 128, 3, 2),
]


def forms(windows: Windows) -> dict[str, Any]:
    """Every form that fits these windows."""
    found = {
        "patches": lambda x, kernel: convolution_forms._product(patches(padded(x, windows.pads), windows), kernel),
        "plain": lambda x, kernel: convolution.plain(x, kernel, windows),
    }
    if windows.slides_by_one:
        found["rows added"] = lambda x, kernel: convolution_forms._rows_added(x, kernel, windows)
    if windows.taps == (3, 3) and windows.slides_by_one:
        found["winograd"] = lambda x, kernel: winograd.forward(x, kernel, windows)
    return found


def measure() -> Figures:
    figures: Figures = {}
    draw = np.random.default_rng(0)
    for samples, side, channels, filters, taps, stride in SHAPES:
        pads = tuple(jax.lax.padtype_to_pads((side, side), (taps, taps), (stride, stride), "SAME"))
        windows = Windows((side, side), (taps, taps), (stride, stride), pads, (1, 1))
        x = jnp.asarray(draw.normal(size=(samples, side, side, channels)), "float32")
        kernel = jnp.asarray(draw.normal(size=(taps, taps, channels, filters)), "float32")
        chosen = jax.jit(lambda x, kernel, windows=windows: convolution_forms.forward(x, kernel, windows))
        calls = {"chosen": chosen, **{name: jax.jit(form) for name, form in forms(windows).items()}}
        title = f"{samples}x{side}x{side}x{channels}, {taps}x{taps}, stride {stride} -> {filters}"
        figures[title] = in_turns({name: (lambda call=call: call(x, kernel)) for name, call in calls.items()})  # noqa: B023
    return figures


if __name__ == "__main__":
    report(measure, __doc__)
