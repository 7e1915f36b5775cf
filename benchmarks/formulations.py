"""Forms of the same operation on CPU beside each other, in milliseconds: what lamella's choices were read off.

`python benchmarks/formulations.py [--json FILE]`; `benchmarks/formulations.json` holds the last ones. The rules are in
`lamella.kernels`: `convolution_forms.forward` and `winograd.fits` (which form for which convolution),
`convolution_forms._transposed_product` (long sums of products), `sequence._loop` (products with inputs before the loop
or in it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from timing import Figures, in_turns, report

from lamella.kernels import RecurrentWeights, convolution, convolution_forms, sequence, winograd
from lamella.kernels.windows import Windows, padded, patches

# samples, side, channels, filters, taps, stride
CONVOLUTIONS = [
    (64, 32, 16, 16, 3, 1),
    (64, 32, 24, 24, 3, 1),
    (64, 16, 32, 32, 3, 1),
    (64, 8, 64, 64, 3, 1),
    (16, 56, 64, 64, 3, 1),
    (16, 28, 32, 64, 5, 1),
    (16, 28, 3, 32, 3, 1),
    (16, 56, 64, 128, 3, 2),
]
# length of the sum, and the two widths
PRODUCTS = [(4096, 192, 192), (16384, 96, 96), (65536, 144, 16), (73728, 192, 96), (12544, 576, 128)]
# samples, steps, features, units
SEQUENCES = [(8, 20, 10, 64), (32, 200, 128, 64), (64, 100, 128, 256), (256, 120, 7, 32)]

Forms = dict[str, Callable[..., Any]]
DRAW = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return jnp.asarray(DRAW.normal(size=shape), "float32")


def timed(forms: Forms, *given: Any) -> dict[str, float]:
    compiled = {name: jax.jit(form) for name, form in forms.items()}
    return in_turns({name: lambda call=call: call(*given) for name, call in compiled.items()})  # type: ignore[misc]


def convolution_forms_of(windows: Windows) -> Forms:
    """The one that is chosen, and every form that fits these windows."""
    found: Forms = {
        "chosen": lambda x, kernel: convolution_forms.forward(x, kernel, windows),
        "patches": lambda x, kernel: convolution_forms._product(patches(padded(x, windows.pads), windows), kernel),
        "plain": lambda x, kernel: convolution.plain(x, kernel, windows),
    }
    if windows.slides_by_one:
        found["rows added"] = lambda x, kernel: convolution_forms._rows_added(x, kernel, windows)
    if windows.taps == (3, 3) and windows.slides_by_one:
        found["winograd"] = lambda x, kernel: winograd.forward(x, kernel, windows)
    return found


def convolutions() -> Figures:
    figures: Figures = {}
    for samples, side, channels, filters, taps, stride in CONVOLUTIONS:
        pads = tuple(jax.lax.padtype_to_pads((side, side), (taps, taps), (stride, stride), "SAME"))
        windows = Windows((side, side), (taps, taps), (stride, stride), pads, (1, 1))
        title = f"{samples}x{side}x{side}x{channels}, {taps}x{taps}, stride {stride} -> {filters}"
        given = normal(samples, side, side, channels), normal(taps, taps, channels, filters)
        figures[title] = timed(convolution_forms_of(windows), *given)
    return figures


def products() -> Figures:
    """Sums of products along the first axis of both: which one comes first, and whether the sum is cut in two."""

    def whole(a: Any, b: Any) -> Any:
        return lax.dot_general(a, b, (((0,), (0,)), ((), ())))

    def halves(a: Any, b: Any) -> Any:
        cut = [side.reshape(2, -1, side.shape[-1]) for side in (a, b)]
        return lax.dot_general(cut[0], cut[1], (((1,), (1,)), ((0,), (0,)))).sum(0)

    forms: Forms = {
        "chosen": convolution_forms._transposed_product,
        "wide first": whole,
        "narrow first": lambda a, b: whole(b, a).T,
        "wide first, halves": halves,
        "narrow first, halves": lambda a, b: halves(b, a).T,
    }
    return {
        f"{length} x {wide}, {narrow}": timed(forms, normal(length, wide), normal(length, narrow))
        for length, wide, narrow in PRODUCTS
    }


def sequences() -> Figures:
    """An LSTM's output, with the products with its inputs at each step or before the loop."""
    figures: Figures = {}
    chosen = sequence._FULL_BATCH, sequence._NARROWER
    for samples, steps, features, units in SEQUENCES:
        weights = RecurrentWeights(
            normal(features, 4 * units), normal(units, 4 * units) / units**0.5, normal(4 * units)
        )
        states = normal(samples, units), normal(samples, units)

        def at(rule: tuple[int, float], states: Any = states, weights: Any = weights) -> Callable[[Any], Any]:
            def form(x: Any) -> Any:
                sequence._FULL_BATCH, sequence._NARROWER = rule
                return sequence.lstm(x, states, weights, None, False, False)

            return form

        forms: Forms = {"chosen": at(chosen), "in the loop": at((1, 0.0)), "before it": at((1 << 30, 0.0))}
        figures[f"lstm {samples}x{steps}x{features} -> {units}"] = timed(forms, normal(samples, steps, features))
    sequence._FULL_BATCH, sequence._NARROWER = chosen
    return figures


def measure() -> Figures:
    return {**convolutions(), **products(), **sequences()}


if __name__ == "__main__":
    report(measure, __doc__)
