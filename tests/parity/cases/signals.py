"""Other ranges and spectra."""

from __future__ import annotations

from tests.parity.cases.case import CF, IMAGE, Case

SOUND = (2, 40, 2)
SHORT = {"frame_length": 8}

CASES = [
    Case("Rescaling", {"scale": 0.5, "offset": -1.0}, IMAGE),
    Case("Rescaling", {"scale": [0.5, 1.0, 2.0, 3.0], "offset": [1.0, 0.0, 0.0, 2.0]}, IMAGE),
    Case("Rescaling", {"scale": 1 / 255}, (3, 6), ids=256),
    *[Case("STFTSpectrogram", {"mode": mode, **SHORT}, SOUND) for mode in ("log", "psd", "angle", "stft", "imag")],
    Case("STFTSpectrogram", {"mode": "magnitude", "padding": "same", "expand_dims": True, **SHORT}, SOUND),
    Case("STFTSpectrogram", {"mode": "real", "frame_step": 3, "fft_length": 16, **SHORT} | CF, (2, 2, 40)),
    Case("STFTSpectrogram", {"window": None, "scaling": None, "expand_dims": True, **SHORT} | CF, (2, 2, 40)),
]
