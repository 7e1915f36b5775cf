"""Other ranges and spectra."""

from __future__ import annotations

from tests.parity.cases.case import CF, IMAGE, Case

SOUND = (2, 40, 2)
SHORT = {"frame_length": 8}
MEL = {"fft_length": 64, "sequence_stride": 30, "num_mel_bins": 6, "sampling_rate": 8000}

CASES = [
    Case("Rescaling", {"scale": 0.5, "offset": -1.0}, IMAGE),
    Case("Rescaling", {"scale": [0.5, 1.0, 2.0, 3.0], "offset": [1.0, 0.0, 0.0, 2.0]}, IMAGE),
    Case("Rescaling", {"scale": 1 / 255}, (3, 6), ids=256),
    *[Case("STFTSpectrogram", {"mode": mode, **SHORT}, SOUND) for mode in ("log", "psd", "angle", "stft", "imag")],
    Case("STFTSpectrogram", {"mode": "magnitude", "padding": "same", "expand_dims": True, **SHORT}, SOUND),
    Case("STFTSpectrogram", {"mode": "real", "frame_step": 3, "fft_length": 16, **SHORT} | CF, (2, 2, 40)),
    Case("STFTSpectrogram", {"window": None, "scaling": None, "expand_dims": True, **SHORT} | CF, (2, 2, 40)),
    Case("MelSpectrogram", MEL, (2, 400)),
    Case("MelSpectrogram", {**MEL, "power_to_db": False, "mag_exp": 1.0, "window": None, "max_freq": 3000}, (2, 400)),
    Case("MelSpectrogram", {**MEL, "sequence_length": 50, "ref_power": 2.0, "window": "hamming"}, (2, 400)),
    Case("MelSpectrogram", {**MEL, "top_db": 10.0}, (1, 400)),
]
