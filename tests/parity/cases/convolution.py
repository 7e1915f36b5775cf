"""Convolutions by channel, separable and transposed; adaptive pooling; recurrence over images."""

from __future__ import annotations

from typing import Any

from tests.parity.cases.case import CF, FIRST, IMAGE, SEQUENCE, VOLUME, Case

SHAPES: dict[int, Any] = {1: (SEQUENCE, (2, 4, 7)), 2: (IMAGE, FIRST), 3: (VOLUME, (2, 4, 6, 5, 7))}


def _transposed() -> list[Case]:
    cases = []
    for rank, (last, first) in SHAPES.items():
        name, base = f"Conv{rank}DTranspose", {"filters": 3, "kernel_size": 3}
        cases += [
            Case(name, base, last),
            Case(name, base | {"strides": 2, "padding": "same", "activation": "relu"}, last),
            Case(name, base | {"strides": 2, "output_padding": 1}, last),
            Case(name, base | {"strides": 2, "padding": "same", "output_padding": 0} | CF, first),
            Case(name, base | {"dilation_rate": 2, "use_bias": False}, last),
            Case(name, base | {"strides": 3, "kernel_size": 2, "padding": "same"} | CF, first),
        ]
    return [
        *cases,
        Case("Conv2DTranspose", {"filters": 2, "kernel_size": (4, 3), "strides": (2, 1), "padding": "same"}, IMAGE),
        Case("Conv2DTranspose", {"filters": 2, "kernel_size": 4, "strides": 3, "output_padding": (0, 2)}, IMAGE),
    ]


def _by_channel() -> list[Case]:
    cases = []
    for rank in (1, 2):
        last, first = SHAPES[rank]
        for name, base in ((f"DepthwiseConv{rank}D", {}), (f"SeparableConv{rank}D", {"filters": 5})):
            base = base | {"kernel_size": 3}
            cases += [
                Case(name, base, last),
                Case(name, base | {"strides": 2, "padding": "same", "depth_multiplier": 2}, last),
                Case(name, base | {"dilation_rate": 2, "use_bias": False, "activation": "tanh"}, last),
                Case(name, base | {"kernel_size": 2, "padding": "same", "depth_multiplier": 3} | CF, first),
                Case(name, base | {"kernel_size": 2, "strides": 2, "dilation_rate": 2}, last),
            ]
    return cases


CASES = [*_transposed(), *_by_channel()]
