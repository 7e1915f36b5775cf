"""One table of layers, arguments and input shapes, for comparison with Keras: a module for each family."""

from __future__ import annotations

from tests.parity.cases import convolution, core
from tests.parity.cases.case import Case

CASES = [*core.CASES, *convolution.CASES]

__all__ = ["CASES", "Case"]
