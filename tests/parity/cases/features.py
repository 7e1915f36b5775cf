"""Normalization, activations, noise, pipelines: what changes values and keeps places."""

from __future__ import annotations

from tests.parity.cases.case import FIRST, IMAGE, SEQUENCE, Case

CASES = [
    Case("GroupNormalization", {"groups": 2}, IMAGE),
    Case("GroupNormalization", {"groups": -1, "axis": 1, "scale": False}, FIRST),
    Case("GroupNormalization", {"groups": 1, "center": False, "epsilon": 1e-2}, SEQUENCE),
    Case("RMSNormalization", {}, SEQUENCE),
    Case("RMSNormalization", {"axis": [2, 1], "epsilon": 1e-3}, SEQUENCE),
    Case("UnitNormalization", {}, SEQUENCE),
    Case("UnitNormalization", {"axis": [1, 2]}, SEQUENCE),
    Case("Normalization", {"mean": 3.0, "variance": 2.0}, SEQUENCE),
    Case("Normalization", {"axis": (1, 3), "mean": [1.0, 2, 3, 4], "variance": [4.0, 3, 2, 1], "invert": True}, IMAGE),
    Case("BatchNormalization", {"renorm": True}, IMAGE),
    Case(
        "BatchNormalization",
        {"renorm": True, "scale": False, "renorm_clipping": {"rmax": 1.5, "rmin": 0.5, "dmax": 0.3}, "axis": 1},
        FIRST,
    ),
    Case("SpectralNormalization", {}, (3, 5), 0, "Dense", {"units": 4}),
    Case("SpectralNormalization", {"power_iterations": 3}, IMAGE, 0, "Conv2D", {"filters": 3, "kernel_size": 2}),
    Case("ELU", {"alpha": 0.5}),
    Case("PReLU", {}, SEQUENCE),
    Case("PReLU", {"shared_axes": [1, 2], "alpha_initializer": "ones"}, IMAGE),
    Case("GaussianNoise", {"stddev": 0.3}, SEQUENCE),
    Case("GaussianDropout", {"rate": 0.3}, SEQUENCE),
    Case("AlphaDropout", {"rate": 0.3}, SEQUENCE),
    Case("ActivityRegularization", {"l1": 0.1, "l2": 0.2}, SEQUENCE),
]
