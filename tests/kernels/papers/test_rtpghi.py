import heapq
import math
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.papers.rtpghi import RtpghiState, adopt, advance_causal, advance_centred
from plc_kernels.spectra.pghi import TOLERANCE
from plc_kernels.spectra.windows import gaussian_gamma
from tests.kernels.spectra.test_pghi import RATE, convergence_db, grid, transform, turned
from tests.signals import noise, sine, tones

Lookahead = Literal[0, 1]
LENGTH, HOP = 512, 128
GRID = gaussian_gamma("hann", LENGTH), LENGTH / 2, HOP, LENGTH
RADIANS = 1e-3
LOOKAHEADS: list[Lookahead] = [0, 1]


def advance(
    magnitude: NDArray[np.float32],
    state: RtpghiState,
    lookahead: Lookahead,
    tolerance: float = TOLERANCE,
) -> None:
    kernel = advance_centred if lookahead else advance_causal
    kernel(
        magnitude,
        *GRID,
        tolerance,
        state.logs,
        state.time_gradient,
        state.random,
        state.gradient,
        state.arrival,
        state.phase,
    )


def phases(
    magnitude: NDArray[np.float32], lookahead: Lookahead, tolerance: float = TOLERANCE
) -> NDArray[np.float32]:
    """Return the phase of every frame of a stream that ends in silence."""
    state = RtpghiState.allocate(magnitude.shape[1], seed=1)
    out = []
    for row in np.pad(magnitude, ((0, lookahead), (0, 0))):
        advance(row, state, lookahead, tolerance)
        out.append(state.phase.copy())
    return np.array(out[lookahead:])


def by_definition(
    magnitude: NDArray[np.float32],
    lookahead: Lookahead,
    tolerance: float,
    earlier: NDArray[np.float32],
) -> list[dict[int, float]]:
    """Return the integrated bins of every frame, by a heap as in the paper, in float64.

    Each frame goes on from the phases ``earlier[n - 1]``, random ones among them.
    """
    gamma = GRID[0]
    padded = np.pad(magnitude.astype(np.float64), ((2, lookahead), (0, 0)))
    log = np.log(np.maximum(padded, 1e-10))
    bins = log.shape[1]
    slope = np.zeros_like(log)
    slope[:, 1:-1] = (log[:, 2:] - log[:, :-2]) / 2
    in_time = HOP * LENGTH / gamma * slope + 2 * np.pi * HOP * np.arange(bins) / LENGTH
    out: list[dict[int, float]] = []
    for n in range(2, 2 + len(magnitude)):
        if lookahead:
            rise = (log[n + 1] - log[n - 1]) / 2
        else:
            rise = (3 * log[n] - 4 * log[n - 1] + log[n - 2]) / 2
        in_frequency = -gamma / (HOP * LENGTH) * rise - np.pi
        threshold = max(log[n].max(), log[n - 1].max()) + math.log(tolerance)
        wanted = {k for k in range(bins) if log[n, k] > threshold}
        heap = [(-log[n - 1, k], 0, k) for k in range(bins) if log[n - 1, k] > threshold]
        heapq.heapify(heap)
        done: dict[int, float] = {}
        while len(done) < len(wanted):
            if not heap:
                start = max(wanted - done.keys(), key=lambda k: log[n, k])
                done[start] = 0.0
                heap = [(-log[n, start], 1, start)]
            _, row, k = heapq.heappop(heap)
            if row == 0:
                targets = {k: float(earlier[n - 3, k]) + (in_time[n - 1, k] + in_time[n, k]) / 2}
            else:
                targets = {
                    j: done[k] + (j - k) * (in_frequency[k] + in_frequency[j]) / 2
                    for j in (k - 1, k + 1)
                    if 0 <= j < bins
                }
            for j, value in targets.items():
                if j in wanted and j not in done:
                    done[j] = value
                    heapq.heappush(heap, (-log[n, j], 1, j))
        out.append(done)
    return out


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
@pytest.mark.parametrize("tolerance", [1e-1, 1e-4])
def test_phases_equal_those_of_the_heap_of_the_paper(
    lookahead: Lookahead, tolerance: float
) -> None:
    magnitude = np.abs(transform(tones(1, RATE, 6000) + noise(1, 6000, 0.01), grid()))
    out = phases(magnitude, lookahead, tolerance)
    expected = by_definition(magnitude, lookahead, tolerance, out)
    for n, done in enumerate(expected):
        at = sorted(done)
        assert turned(out[n, at], np.array([done[k] for k in at])).max(initial=0) < RADIANS
    assert sum(map(len, expected)) > 1000


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
def test_a_sine_is_rebuilt_frame_by_frame(lookahead: Lookahead) -> None:
    plan = grid()
    x = sine(1234.5, RATE, 8000)
    magnitude = np.abs(transform(x, plan))
    ceiling_db = (-25, -33)[lookahead]
    assert convergence_db(phases(magnitude, lookahead), magnitude, x.size, plan) < ceiling_db


def test_the_lookahead_helps_a_chord_with_onsets() -> None:
    plan = grid()
    x = tones(2, RATE, 16000)
    x[:4000] = 0
    magnitude = np.abs(transform(x, plan))
    errors = [convergence_db(phases(magnitude, look), magnitude, x.size, plan) for look in (0, 1)]
    assert errors[1] < errors[0] < -12


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
def test_a_sine_goes_on_from_its_known_phase_into_a_gap(lookahead: Lookahead) -> None:
    spectra = transform(sine(1003, RATE, 8000), grid())
    magnitude, angle = np.abs(spectra), np.angle(spectra)
    state = RtpghiState.allocate(magnitude.shape[1])
    gamma, _, hop, n_fft = GRID
    stream = state.logs, state.phase, state.time_gradient
    for n in range(20):
        adopt(magnitude[n], angle[n - lookahead], lookahead, gamma, hop, n_fft, *stream)
    for n in range(20, 30):
        advance(magnitude[n], state, lookahead)
        strong = magnitude[n] > 0.1 * magnitude[n].max()
        assert turned(state.phase, angle[n - lookahead])[strong].max() < 0.15


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
def test_a_reset_stream_equals_a_new_one(lookahead: Lookahead) -> None:
    magnitude = np.abs(transform(noise(3), grid()))
    used, new = RtpghiState.allocate(257, seed=5), RtpghiState.allocate(257, seed=5)
    for row in magnitude:
        advance(row, used, lookahead)
    used.reset(seed=5)
    for row in magnitude:
        advance(row, used, lookahead)
        advance(row, new, lookahead)
        np.testing.assert_array_equal(used.phase, new.phase)


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
@pytest.mark.parametrize("bins", [2, 3, 257])
@pytest.mark.parametrize("fill", [0.0, 1.0, np.nan, np.inf])
def test_any_magnitudes_give_finite_phases(lookahead: Lookahead, bins: int, fill: float) -> None:
    state = RtpghiState.allocate(bins)
    rng = np.random.default_rng(bins)
    for n in range(8):
        row = rng.random(bins).astype(np.float32)
        row[n % bins :] = fill
        advance(row, state, lookahead)
        assert np.isfinite(state.phase).all()
        assert np.abs(state.phase).max() <= np.float32(np.pi)
