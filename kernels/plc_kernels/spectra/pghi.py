"""Phase from magnitude: phase gradient heap integration (PGHI).

For a Gaussian window ``exp(-pi t^2 / gamma)`` the phase's gradient is the gradient of
the log-magnitude, turned by 90 degrees; other windows resemble a Gaussian (their
``gamma``: :mod:`plc_kernels.spectra.windows`). With frame ``n``, bin ``k``, hop ``a``, transform
length ``M``, window peak at sample ``c`` of the frame and phases that refer to a frame's
first sample, as :mod:`plc_kernels.spectra.stft` has them:

    d phase / dn =  a M / gamma * d log|S| / dk + 2 pi a k / M
    d phase / dk = -gamma / (a M) * d log|S| / dn - 2 pi c / M

:func:`gradients` computes both by central differences. :func:`integrate` then walks from
bin to bin by the trapezoidal rule, always on from the largest coefficient reached so
far, so that errors made in weak bins do not spread to strong ones. It starts from the
coefficients whose phase is known (the context on both sides of a gap), or else from the
largest with phase 0; each further region that no path joins starts with 0 again. What
lies below a tolerance gets a random phase. O(n log n) for n coefficients.

Prusa, Balazs, Sondergaard, "A Noniterative Method for Reconstruction of Phase from
STFT Magnitude", IEEE/ACM TASLP 25(5), 2017, doi 10.1109/TASLP.2017.2678166.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel

TOLERANCE = 1e-6  # of the largest magnitude; 1e-3 to 1e-10 give the same (docs/notebook/phase.md)
# Magnitudes below this (-200 dB of full scale) count as this: the logarithm stays finite.
LEAST_MAGNITUDE = 1e-10


@dataclass(frozen=True, slots=True)
class PghiWorkspace:
    """Gradients and heaps of :func:`gradients` and :func:`integrate`, and the random state."""

    log_magnitude: NDArray[np.float32]
    time_gradient: NDArray[np.float32]
    frequency_gradient: NDArray[np.float32]
    keys: NDArray[np.float32]
    items: NDArray[np.int32]
    random: NDArray[np.uint64]

    @classmethod
    def allocate(cls, frames: int, bins: int, seed: int = 0) -> Self:
        """Return a workspace for magnitudes of shape ``(frames, bins)``."""
        return cls(
            log_magnitude=np.empty((frames, bins), np.float32),
            time_gradient=np.empty((frames, bins), np.float32),
            frequency_gradient=np.empty((frames, bins), np.float32),
            keys=np.empty((2, frames * bins), np.float32),
            items=np.empty((2, frames * bins), np.int32),
            random=np.array([seed], np.uint64),
        )


@kernel
def random_phase(random: NDArray[np.uint64]) -> float:
    """Return a phase uniform in [-pi, pi) and step ``random``, shape (1,): SplitMix64."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (float(z >> np.uint64(11)) * 2.0**-52 - 1.0) * math.pi


@kernel
def wrapped(phase: float) -> float:
    """Return ``phase`` less whole turns, in [-pi, pi]."""
    return phase - 2 * math.pi * math.floor(phase / (2 * math.pi) + 0.5)


@kernel
def log_magnitudes(magnitude: NDArray[np.float32], out: NDArray[np.float32]) -> float:
    """Write finite natural logarithms of magnitudes, float32, shape (bins,); return the largest.

    A magnitude that is not a finite number counts as silence.
    """
    peak = math.log(LEAST_MAGNITUDE)
    for k in range(magnitude.size):
        value = magnitude[k]
        if not (value > LEAST_MAGNITUDE and value < np.inf):
            value = np.float32(LEAST_MAGNITUDE)
        out[k] = math.log(value)
        peak = max(peak, float(out[k]))
    return peak


@kernel
def time_gradients(
    log_magnitude: NDArray[np.float32],
    gamma: float,
    hop: int,
    n_fft: int,
    out: NDArray[np.float32],
) -> None:
    """Write the phase advance of each bin in one hop.

    Parameters
    ----------
    log_magnitude : float32, shape (bins,), natural logarithms of the magnitudes
    gamma : float
        Width of the window's Gaussian, in samples squared.
    hop, n_fft : int, of the transform
    out : float32, shape (bins,), written
        Radians. At 0 Hz and half the sample rate, where the magnitude of a real signal
        is even, the difference is 0.
    """
    last = out.size - 1
    scale = hop * n_fft / (2 * gamma)
    for k in range(out.size):
        turn = 2 * math.pi / n_fft * (hop * k % n_fft)
        if k == 0 or k == last:
            out[k] = turn
        else:
            out[k] = turn + scale * (log_magnitude[k + 1] - log_magnitude[k - 1])


@kernel
def gradients(
    magnitude: NDArray[np.float32],
    gamma: float,
    centre: float,
    hop: int,
    n_fft: int,
    log_magnitude: NDArray[np.float32],
    time_gradient: NDArray[np.float32],
    frequency_gradient: NDArray[np.float32],
) -> None:
    """Write the gradient of the phase by the formulas of this module.

    Parameters
    ----------
    magnitude : float32, shape (frames, bins)
        Magnitudes; what is not a finite number counts as silence.
    gamma : float
        Width of the window's Gaussian, in samples squared.
    centre : float
        Sample of the frame at which the window peaks, half its length.
    hop, n_fft : int, of the transform
    log_magnitude, time_gradient, frequency_gradient : float32, shape (frames, bins), written
        Natural logarithms; radians a hop; radians a bin. The first and the last frame
        use one-sided differences in time.
    """
    frames = magnitude.shape[0]
    for n in range(frames):
        log_magnitudes(magnitude[n], log_magnitude[n])
        time_gradients(log_magnitude[n], gamma, hop, n_fft, time_gradient[n])
    lead = 2 * math.pi * centre / n_fft
    for n in range(frames):
        before = max(n - 1, 0)
        after = min(n + 1, frames - 1)
        scale = gamma / (hop * n_fft * max(after - before, 1))
        for k in range(magnitude.shape[1]):
            rise = log_magnitude[after, k] - log_magnitude[before, k]
            frequency_gradient[n, k] = -scale * rise - lead


@kernel
def _spread(
    n: int,
    k: int,
    threshold: float,
    log_magnitude: NDArray[np.float32],
    time_gradient: NDArray[np.float32],
    frequency_gradient: NDArray[np.float32],
    known: NDArray[np.uint8],
    phase: NDArray[np.float32],
    keys: NDArray[np.float32],
    items: NDArray[np.int32],
    size: int,
) -> int:
    """Give the unknown neighbours of ``(n, k)`` their phase; return the heap's new size."""
    frames, bins = phase.shape
    for side in range(4):
        i, j = n, k
        if side == 0:
            i = n + 1
        elif side == 1:
            i = n - 1
        elif side == 2:
            j = k + 1
        else:
            j = k - 1
        if i < 0 or i >= frames or j < 0 or j >= bins:
            continue
        if known[i, j] or not log_magnitude[i, j] > threshold:
            continue
        if side < 2:
            step = (i - n) * (time_gradient[n, k] + time_gradient[i, j])
        else:
            step = (j - k) * (frequency_gradient[n, k] + frequency_gradient[i, j])
        phase[i, j] = wrapped(phase[n, k] + 0.5 * step)
        known[i, j] = 1
        size = push(keys, items, size, log_magnitude[i, j], i * bins + j)
    return size


@kernel
def integrate(
    tolerance: float,
    log_magnitude: NDArray[np.float32],
    time_gradient: NDArray[np.float32],
    frequency_gradient: NDArray[np.float32],
    known: NDArray[np.uint8],
    keys: NDArray[np.float32],
    items: NDArray[np.int32],
    random: NDArray[np.uint64],
    phase: NDArray[np.float32],
) -> None:
    """Integrate the phase from known coefficients, or from the largest.

    Parameters
    ----------
    tolerance : float
        Share of the largest magnitude up to which the phase is random.
    log_magnitude, time_gradient, frequency_gradient : float32, shape (frames, bins)
        From :func:`gradients`.
    known : uint8, shape (frames, bins), read and written
        1 where ``phase`` is given; on return also where it was integrated, so that a
        second call with a smaller tolerance goes on from there.
    keys, items, random : of a :class:`PghiWorkspace`, written
    phase : float32, shape (frames, bins), read where known, written elsewhere
        Radians in [-pi, pi], always finite.
    """
    frames, bins = phase.shape
    peak = log_magnitude[0, 0]
    for n in range(frames):
        for k in range(bins):
            peak = max(peak, log_magnitude[n, k])
    threshold = peak + math.log(tolerance)
    # Row 0 of the heap: coefficients to go on from. Row 1: where to start afresh.
    size = 0
    starts = 0
    for n in range(frames):
        for k in range(bins):
            if not log_magnitude[n, k] > threshold:
                continue
            if known[n, k]:
                size = push(keys[0], items[0], size, log_magnitude[n, k], n * bins + k)
            else:
                keys[1, starts] = log_magnitude[n, k]
                items[1, starts] = n * bins + k
                starts += 1
    heapify(keys[1], items[1], starts)
    remaining = starts
    while remaining > 0:
        if size > 0:
            size = pop(keys[0], items[0], size)
            at = items[0, size]
        else:
            starts = pop(keys[1], items[1], starts)
            at = items[1, starts]
        n = at // bins
        k = at - n * bins
        if not known[n, k]:
            known[n, k] = 1
            phase[n, k] = 0
            remaining -= 1
        reached = size
        size = _spread(
            n,
            k,
            threshold,
            log_magnitude,
            time_gradient,
            frequency_gradient,
            known,
            phase,
            keys[0],
            items[0],
            size,
        )
        remaining -= size - reached
    for n in range(frames):
        for k in range(bins):
            if not known[n, k]:
                phase[n, k] = random_phase(random)


@kernel
def push(
    keys: NDArray[np.float32], items: NDArray[np.int32], size: int, key: float, item: int
) -> int:
    """Add ``item`` to a heap of ``size`` entries; return the new size."""
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if keys[parent] >= key:
            break
        keys[child] = keys[parent]
        items[child] = items[parent]
        child = parent
    keys[child] = key
    items[child] = item
    return size + 1


@kernel
def sift(keys: NDArray[np.float32], items: NDArray[np.int32], size: int, hole: int) -> None:
    """Sink the entry at ``hole`` to its place among ``size`` entries."""
    key = keys[hole]
    item = items[hole]
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] > keys[child]:
            child += 1
        if keys[child] <= key:
            break
        keys[hole] = keys[child]
        items[hole] = items[child]
        hole = child
    keys[hole] = key
    items[hole] = item


@kernel
def pop(keys: NDArray[np.float32], items: NDArray[np.int32], size: int) -> int:
    """Move the entry of the greatest key to index ``size - 1``; return the new size."""
    last = size - 1
    keys[0], keys[last] = keys[last], keys[0]
    items[0], items[last] = items[last], items[0]
    sift(keys, items, last, 0)
    return last


@kernel
def heapify(keys: NDArray[np.float32], items: NDArray[np.int32], size: int) -> None:
    """Turn ``size`` entries in any order into a heap."""
    for hole in range((size >> 1) - 1, -1, -1):
        sift(keys, items, size, hole)
