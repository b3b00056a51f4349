"""Scaling the input scales the output: no fill of a recording depends on the level in numbers.

Nothing here is near full scale, where samples count as clipped.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import inpaint
from tests.plc.files.fill.test_gaps import inside
from tests.signals import content, nmse_db

# What no listener hears of all fills; of speech's networks single ones differ by more.
MOST_DB = -40.0
GAINS = (0.7, 0.5, 0.1, 1.7)
RATES = {"speech": 16_000, "music": 44_100}
LENGTHS_MS = (5, 20, 60, 150, 400)


def sound(kind: str) -> NDArray[np.float32]:
    """Return six seconds with nothing above 80 % of the band, as coders and resamplers leave it."""
    spectrum = np.fft.rfft(0.5 * content(kind, RATES[kind], 6 * RATES[kind])[:, 0])
    spectrum[int(0.8 * spectrum.size) :] = 0.0
    return np.fft.irfft(spectrum).astype(np.float32)


@pytest.mark.parametrize("model", ["auto", "ar"])
@pytest.mark.parametrize("kind", RATES)
def test_a_louder_or_quieter_recording_gets_the_same_fills(kind: str, model: str) -> None:
    signal, rate = sound(kind), RATES[kind]
    starts = np.linspace(1.0, 5.0, 2 * len(LENGTHS_MS)) * rate
    gaps = [
        (int(start), int(start) + ms * rate // 1000)
        for start, ms in zip(starts, 2 * LENGTHS_MS, strict=True)
    ]
    lost = inside(gaps, signal.size)
    whole = inpaint(signal, gaps, sample_rate=rate, model=model)
    errors = {}
    for gain in GAINS:
        scaled = (signal * np.float32(gain)).astype(np.float32)
        made = inpaint(scaled, gaps, sample_rate=rate, model=model) / np.float32(gain)
        with np.errstate(divide="ignore"):  # some are equal
            errors[gain] = nmse_db(made, whole, lost)
    assert max(errors.values()) < MOST_DB, {key: round(value, 1) for key, value in errors.items()}
