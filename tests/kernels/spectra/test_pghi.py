import heapq
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.spectra.pghi import (
    TOLERANCE,
    PghiWorkspace,
    gradients,
    integrate,
    random_phase,
    wrapped,
)
from plc_kernels.spectra.stft import Stft, istft, stft
from plc_kernels.spectra.windows import gaussian_gamma, window
from tests.examples import some
from tests.signals import noise, sine, tones

RATE = 16000
RADIANS = 2e-3  # float32 phases, added up along paths of hundreds of bins


def grid(name: str = "hann", length: int = 512, hop: int = 128, n_fft: int = 512) -> Stft:
    return Stft.allocate(window(name, length), hop, n_fft)


def transform(x: NDArray[np.float32], plan: Stft) -> NDArray[np.complex64]:
    out = np.empty((plan.frames(x.size), plan.bins), np.complex64)
    stft(x, plan.window, plan.hop, plan.factors, plan.twiddles, plan.scratch, plan.frame, out)
    return out


def convergence_db(
    phase: NDArray[np.float32], magnitude: NDArray[np.float32], samples: int, plan: Stft
) -> float:
    """Return how far the magnitudes move when a signal is made of them with ``phase``."""
    tables = plan.factors, plan.twiddles, plan.scratch, plan.frame
    signal = np.empty(samples, np.float32)
    spectra = (magnitude * np.exp(1j * phase)).astype(np.complex64)
    istft(spectra, plan.dual, plan.hop, *tables, signal)
    error = np.abs(transform(signal, plan)) - magnitude
    return float(20 * np.log10(np.linalg.norm(error) / np.linalg.norm(magnitude)))


def prepared(
    magnitude: NDArray[np.float32], plan: Stft, name: str = "hann", seed: int = 0
) -> PghiWorkspace:
    frames, bins = magnitude.shape
    work = PghiWorkspace.allocate(frames, bins, seed)
    length = plan.window.size
    gamma = gaussian_gamma(name, length)
    slopes = work.log_magnitude, work.time_gradient, work.frequency_gradient
    gradients(magnitude, gamma, length / 2, plan.hop, plan.n_fft, *slopes)
    return work


def integrated(
    work: PghiWorkspace,
    tolerance: float = TOLERANCE,
    known: NDArray[np.uint8] | None = None,
    phase: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    shape = work.log_magnitude.shape
    known = np.zeros(shape, np.uint8) if known is None else known.copy()
    phase = np.zeros(shape, np.float32) if phase is None else phase.copy()
    slopes = work.log_magnitude, work.time_gradient, work.frequency_gradient
    integrate(tolerance, *slopes, known, work.keys, work.items, work.random, phase)
    return phase, known


def by_definition(
    work: PghiWorkspace,
    tolerance: float,
    known: NDArray[np.uint8],
    phase: NDArray[np.float32],
) -> dict[tuple[int, int], float]:
    """Integrate with Python's heap, in float64 and without wrapping."""
    log = work.log_magnitude.astype(np.float64)
    frames, bins = log.shape
    threshold = log.max() + math.log(tolerance)
    inside = {(n, k) for n in range(frames) for k in range(bins) if log[n, k] > threshold}
    done = {at: float(phase[at]) for at in inside if known[at]}
    heap = [(-log[at], at) for at in done]
    heapq.heapify(heap)
    while len(done) < len(inside):
        if not heap:
            at = max(inside - done.keys(), key=lambda at: log[at])
            done[at] = 0.0
            heap = [(-log[at], at)]
        _, (n, k) = heapq.heappop(heap)
        for i, j in ((n + 1, k), (n - 1, k), (n, k + 1), (n, k - 1)):
            if (i, j) in inside and (i, j) not in done:
                slope = work.time_gradient if i != n else work.frequency_gradient
                step = (i - n + j - k) * (float(slope[n, k]) + float(slope[i, j])) / 2
                done[i, j] = done[n, k] + step
                heapq.heappush(heap, (-log[i, j], (i, j)))
    return done


def turned(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the angles between two arrays of phases."""
    angles: NDArray[np.floating] = np.abs(np.angle(np.exp(1j * (np.asarray(a) - np.asarray(b)))))
    return angles


@pytest.mark.parametrize(("length", "hop", "n_fft"), [(512, 128, 512), (320, 80, 400)])
def test_gradients_equal_their_formulas(length: int, hop: int, n_fft: int) -> None:
    magnitude = np.abs(transform(tones(1, RATE, 3000), grid("hann", length, hop, n_fft)))
    work = prepared(magnitude, grid("hann", length, hop, n_fft))
    gamma = 0.25645 * length**2
    log = np.log(np.maximum(magnitude.astype(np.float64), 1e-10))
    rise = np.gradient(log, axis=0)
    slope = np.zeros_like(log)
    slope[:, 1:-1] = (log[:, 2:] - log[:, :-2]) / 2
    k = np.arange(log.shape[1])
    in_time = hop * n_fft / gamma * slope + 2 * np.pi * hop * k / n_fft
    in_frequency = -gamma / (hop * n_fft) * rise - np.pi * length / n_fft
    assert turned(work.time_gradient, in_time).max() < RADIANS
    np.testing.assert_allclose(work.log_magnitude, log, atol=1e-5)
    np.testing.assert_allclose(work.frequency_gradient, in_frequency, atol=RADIANS)


def test_gradients_are_those_of_the_phase_of_a_sine_a_chirp_and_an_impulse() -> None:
    # A Gaussian window: the formulas hold exactly but for sampling and truncation.
    plan = grid("gauss", 1024, 64, 1024)
    t = np.arange(12000) / RATE
    signals = (
        0.5 * np.sin(2 * np.pi * 1234.5 * t),
        0.5 * np.sin(2 * np.pi * (1000 * t + 1500 * t**2)),
        np.where(np.arange(12000) == 6001, 1.0, 0.0),
    )
    for x in signals:
        spectra = transform(x.astype(np.float32), plan)[60:120]
        work = prepared(np.abs(spectra), plan, "gauss")
        strong = np.abs(spectra) > 0.03 * np.abs(spectra).max()
        along = strong[1:] & strong[:-1]
        mean = (work.time_gradient[1:] + work.time_gradient[:-1]) / 2
        turn = turned(np.angle(spectra[1:] * spectra[:-1].conj()), mean)
        assert turn[along].max() < 0.2
        across = strong[:, 1:] & strong[:, :-1]
        mean = (work.frequency_gradient[:, 1:] + work.frequency_gradient[:, :-1]) / 2
        turn = turned(np.angle(spectra[:, 1:] * spectra[:, :-1].conj()), mean)
        assert turn[across].max() < 0.2


@pytest.mark.parametrize("tolerance", [1e-1, 1e-4])
@pytest.mark.parametrize("context", [0, 3])
def test_phases_equal_those_of_a_plain_heap(tolerance: float, context: int) -> None:
    plan = grid("hann", 160, 40, 160)
    spectra = transform(tones(2, RATE, 1000) + noise(2, 1000, 0.01), plan)
    work = prepared(np.abs(spectra), plan)
    known = np.zeros(spectra.shape, np.uint8)
    known[:context] = known[len(known) - context :] = 1
    given = np.angle(spectra)
    phase, done = integrated(work, tolerance, known, given)
    expected = by_definition(work, tolerance, known, given)
    at = tuple(np.array(sorted(expected)).T)
    assert (
        turned(phase[at], np.array([expected[pair] for pair in sorted(expected)])).max() < RADIANS
    )
    assert done.sum() == len(expected.keys() | set(zip(*np.nonzero(known), strict=True)))


def test_known_phases_stay_bit_for_bit() -> None:
    plan = grid()
    spectra = transform(tones(3, RATE, 8000), plan)
    known = np.zeros(spectra.shape, np.uint8)
    known[:20] = known[31:] = 1
    phase, _ = integrated(prepared(np.abs(spectra), plan), 1e-6, known, np.angle(spectra))
    np.testing.assert_array_equal(phase[known == 1], np.angle(spectra)[known == 1])


@pytest.mark.parametrize(
    ("name", "ceiling_db"), [("hann", -30), ("hamming", -24), ("blackman", -30), ("gauss", -30)]
)
def test_a_sine_is_rebuilt_from_its_magnitudes(name: str, ceiling_db: float) -> None:
    plan = grid(name)
    x = sine(1234.5, RATE, 8000)
    magnitude = np.abs(transform(x, plan))
    phase, _ = integrated(prepared(magnitude, plan, name))
    assert convergence_db(phase, magnitude, x.size, plan) < ceiling_db


def test_a_second_call_goes_on_where_the_first_stopped() -> None:
    plan = grid()
    work = prepared(np.abs(transform(tones(5, RATE, 4000), plan)), plan)
    first, known = integrated(work, 1e-1)
    second, more = integrated(work, 1e-6, known, first)
    assert 0 < known.sum() < more.sum()
    np.testing.assert_array_equal(second[known == 1], first[known == 1])


def test_weak_coefficients_get_seeded_random_phases() -> None:
    plan = grid()
    magnitude = np.abs(transform(sine(1000, RATE, 4000), plan))
    first, known = integrated(prepared(magnitude, plan, seed=1), 1e-1)
    again, _ = integrated(prepared(magnitude, plan, seed=1), 1e-1)
    other, _ = integrated(prepared(magnitude, plan, seed=2), 1e-1)
    np.testing.assert_array_equal(first, again)
    assert (first != other)[known == 0].all()
    assert np.abs(np.exp(1j * first[known == 0]).mean()) < 0.1


def test_random_phases_are_uniform_over_the_circle() -> None:
    state = np.array([7], np.uint64)
    phases = np.array([random_phase(state) for _ in range(4000)])
    counts, _ = np.histogram(phases, 8, (-np.pi, np.pi))
    assert counts.sum() == 4000
    assert np.abs(counts - 500).max() < 100


@pytest.mark.parametrize("turns", [-1e4, -3.0, 0.0, 0.49, 7.2])
def test_wrapping_keeps_the_angle_within_one_turn(turns: float) -> None:
    angle = wrapped(2 * math.pi * turns)
    assert abs(angle) <= math.pi + 1e-9
    assert np.exp(1j * angle) == pytest.approx(np.exp(2j * np.pi * turns), abs=1e-9)


@some("fill", [0.0, np.nan, np.inf, 1.0], 4)
@some("shape", [(1, 2), (1, 257), (5, 2), (11, 257)], 2)
def test_any_magnitudes_give_finite_phases(fill: float, shape: tuple[int, int]) -> None:
    magnitude = np.full(shape, fill, np.float32)
    plan = grid()
    phase, _ = integrated(prepared(magnitude, plan))
    assert np.isfinite(phase).all()
    assert np.abs(phase).max() <= np.float32(np.pi)


def test_a_bad_magnitude_counts_as_silence() -> None:
    plan = grid()
    magnitude = np.abs(transform(tones(6, RATE, 4000), plan))
    magnitude[10, 20] = 0
    expected, _ = integrated(prepared(magnitude, plan))
    magnitude[10, 20] = np.nan
    phase, _ = integrated(prepared(magnitude, plan))
    np.testing.assert_array_equal(phase, expected)
