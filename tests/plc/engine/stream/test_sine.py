"""The plainest signal shows the plainest faults: a sine that loses packets must stay one."""

from math import ceil, inf

import numpy as np
import pytest
from numpy.typing import NDArray

import plc
from plc.engine.loss import Bernoulli
from plc_bench.scores.metrics import zero_runs

HERTZ, AMPLITUDE = 440.0, 0.5
# Nothing is lost before: unheard, no engine can continue it.
LEAD_IN_S = 0.5
GAP_MS = 10.0
RATES = (8000, 16_000, 32_000, 44_100, 48_000, 96_000)
PACKET_MS = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)
# Sound cards' powers of two, CD's 10 ms, MP3's granule pair.
SIZES = (64, 441, 512, 1152)
SHORT = [(8000, 80), (44_100, 512), (48_000, 480)]
ALL = [(rate, round(rate * ms / 1000)) for rate in RATES for ms in PACKET_MS]
ALL += [(rate, size) for rate in (44_100, 48_000) for size in SIZES]


def sine(rate: int, samples: int) -> NDArray[np.float32]:
    turns = HERTZ / rate * np.arange(samples)
    return np.asarray(AMPLITUDE * np.sin(2 * np.pi * turns), np.float32)


def phase_error_deg(
    reference: NDArray[np.float32], played: NDArray[np.float32], rate: int
) -> float:
    """Return how far the phases of two sines are apart, 0 to 180."""
    turns = 2 * np.pi * HERTZ / rate * np.arange(reference.size)
    basis = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    real, imaginary = np.linalg.lstsq(basis, np.stack([reference, played], axis=1), rcond=None)[0]
    first, second = real - 1j * imaginary
    return abs(float(np.degrees(np.angle(second / first))))


def concealed(
    tone: NDArray[np.float32], trace: NDArray[np.bool_], rate: int
) -> NDArray[np.float32]:
    packet_samples = tone.size // trace.size
    damaged = tone.copy()
    damaged[np.repeat(trace, packet_samples)] = 0.0
    made = plc.conceal(
        damaged, trace, sample_rate=rate, packet_samples=packet_samples, budget_ms=inf
    )
    return np.asarray(made, np.float32)


@pytest.mark.parametrize(
    ("rate", "packet_samples", "seconds"),
    [
        *((*case, 2.0) for case in SHORT),
        *(pytest.param(*case, 10.0, marks=pytest.mark.deep) for case in dict.fromkeys(ALL)),
    ],
)
def test_a_sine_has_no_hole_no_click_and_its_phase(
    rate: int, packet_samples: int, seconds: float
) -> None:
    lead_in = ceil(LEAD_IN_S * rate / packet_samples)
    trace = Bernoulli(0.05).trace(ceil(seconds * rate / packet_samples), 0)
    trace[:lead_in] = False
    tone = sine(rate, trace.size * packet_samples)
    output = concealed(tone, trace, rate)
    assert trace.any()
    assert zero_runs(output) == 0
    assert np.abs(np.diff(output)).max() <= 2.0 * np.abs(np.diff(tone)).max()
    # A packet may last as long as the gap is meant to, or longer: then the gap is that packet.
    gap_samples = round(rate * GAP_MS / 1000)
    gap = np.arange(lead_in + ceil(gap_samples / packet_samples)) >= lead_in
    into_gap = concealed(tone[: gap.size * packet_samples], gap, rate)
    end = lead_in * packet_samples + gap_samples
    last = slice(end - ceil(rate / HERTZ), end)
    assert phase_error_deg(tone[last], into_gap[last], rate) <= 5.0
