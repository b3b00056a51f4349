"""Phase from magnitude, one frame at a time: real-time PGHI.

The formulas of :mod:`plc_kernels.spectra.pghi`; a frame is integrated from the one before it
and along its own bins, always on from the largest coefficient of both that was reached.
What differs is how the rise of the log-magnitude in time is taken:

* :func:`advance_centred` looks one frame ahead: the central difference of PGHI. Each
  call takes the magnitudes of frame ``n + 1`` and gives the phase of frame ``n``.
* :func:`advance_causal` has no lookahead: the difference of second order backwards,
  ``(3 s[n] - 4 s[n - 1] + s[n - 2]) / 2``.

A stream whose frames are known for a while (good packets) calls :func:`adopt` instead;
the next frame of a gap is then integrated from true phases.

The order needs no heap here. A bin is reached from its own past, of magnitude ``p``, or
from a neighbour, and from whichever is taken off the heap first. A heap gives a
coefficient away when the smallest magnitude on the best path to it comes up, and in one
row of bins the best path from the left is ``min(s, max(p, best path from the left))`` of
the left neighbour; from the right likewise. Two sweeps find both, two more integrate, and
a frame costs O(bins), the same result, and a fifth of the time.

Prusa, Sondergaard, "Real-Time Spectrogram Inversion Using Phase Gradient Heap
Integration", DAFx-16, 2016.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel
from plc_kernels.spectra.pghi import (
    LEAST_MAGNITUDE,
    log_magnitudes,
    random_phase,
    time_gradients,
    wrapped,
)

_SILENCE = math.log(LEAST_MAGNITUDE)  # before the stream's start


@dataclass(frozen=True, slots=True)
class RtpghiState:
    """State and scratch memory of one stream.

    ``logs`` holds the log-magnitudes of the last three frames, the newest last;
    ``phase`` and ``time_gradient`` belong to the frame resolved last.
    """

    logs: NDArray[np.float32]
    phase: NDArray[np.float32]
    time_gradient: NDArray[np.float32]
    random: NDArray[np.uint64]
    gradient: NDArray[np.float32]
    arrival: NDArray[np.float32]

    @classmethod
    def allocate(cls, bins: int, seed: int = 0) -> Self:
        """Return the state of a new stream of frames of ``bins`` frequencies."""
        return cls(
            logs=np.full((3, bins), _SILENCE, np.float32),
            phase=np.zeros(bins, np.float32),
            time_gradient=np.zeros(bins, np.float32),
            random=np.array([seed], np.uint64),
            gradient=np.empty((2, bins), np.float32),
            arrival=np.empty((3, bins), np.float32),
        )

    def reset(self, seed: int = 0) -> None:
        """Make the stream new."""
        self.logs[:] = _SILENCE
        self.phase[:] = 0
        self.time_gradient[:] = 0
        self.random[0] = seed


@kernel
def _shift_in(magnitude: NDArray[np.float32], logs: NDArray[np.float32]) -> None:
    """Append a frame to the three of ``logs``."""
    for k in range(magnitude.size):
        logs[0, k] = logs[1, k]
        logs[1, k] = logs[2, k]
    log_magnitudes(magnitude, logs[2])


@kernel
def adopt(
    magnitude: NDArray[np.float32],
    known_phase: NDArray[np.float32],
    lookahead: int,
    gamma: float,
    hop: int,
    n_fft: int,
    logs: NDArray[np.float32],
    phase: NDArray[np.float32],
    time_gradient: NDArray[np.float32],
) -> None:
    """Take a frame with known phase.

    Parameters
    ----------
    magnitude : float32, shape (bins,)
        Magnitudes of the newest frame.
    known_phase : float32, shape (bins,)
        Phase of the frame to resolve: the newest, or with lookahead the one before.
    lookahead : int
        1 in a stream of :func:`advance_centred`, 0 of :func:`advance_causal`.
    gamma, hop, n_fft
        As in :func:`plc_kernels.spectra.pghi.time_gradients`.
    logs, phase, time_gradient
        Of an :class:`RtpghiState`, written.
    """
    _shift_in(magnitude, logs)
    time_gradients(logs[2 - lookahead], gamma, hop, n_fft, time_gradient)
    for k in range(phase.size):
        phase[k] = known_phase[k]


@kernel
def _start_afresh(
    threshold: float, log_magnitude: NDArray[np.float32], past: NDArray[np.float32]
) -> None:
    """Give each run of bins without any past one at its largest: an onset out of silence.

    Parameters
    ----------
    threshold : float
        Log-magnitude that ends a run.
    log_magnitude : float32, shape (bins,)
        Of the frame to resolve.
    past : float32, shape (bins,), read and written
        Log-magnitude of the past; minus infinity: none; plus infinity: start here.
    """
    start = -1
    reached = False
    for k in range(past.size + 1):
        if k < past.size and log_magnitude[k] > threshold:
            if start < 0 or log_magnitude[k] > log_magnitude[start]:
                start = k
            reached = reached or past[k] > -np.inf
            continue
        if start >= 0 and not reached:
            past[start] = np.inf
        start = -1
        reached = False


@kernel
def _resolve(
    tolerance: float,
    before: NDArray[np.float32],
    log_magnitude: NDArray[np.float32],
    before_gradient: NDArray[np.float32],
    time_gradient: NDArray[np.float32],
    frequency_gradient: NDArray[np.float32],
    arrival: NDArray[np.float32],
    random: NDArray[np.uint64],
    phase: NDArray[np.float32],
) -> None:
    """Replace ``phase`` of a frame by the next frame's.

    Parameters
    ----------
    tolerance : float
        Share of the largest magnitude of both frames up to which the phase is random.
    before, log_magnitude : float32, shape (bins,)
        Log-magnitudes of the frame before and of the one to resolve.
    before_gradient, time_gradient, frequency_gradient : float32, shape (bins,)
        Radians a hop of both frames; radians a bin of the one to resolve.
    arrival, random
        Of an :class:`RtpghiState`, written.
    phase : float32, shape (bins,), read and written
        Radians in [-pi, pi].
    """
    bins = phase.size
    peak = before[0]
    for k in range(bins):
        peak = max(peak, before[k], log_magnitude[k])
    threshold = peak + math.log(tolerance)
    past, left, right = arrival[0], arrival[1], arrival[2]
    for k in range(bins):
        past[k] = before[k] if before[k] > threshold else -np.inf
    _start_afresh(threshold, log_magnitude, past)
    best = np.float32(-np.inf)
    for k in range(bins):
        left[k] = best
        best = min(max(best, past[k]), log_magnitude[k])
        best = best if log_magnitude[k] > threshold else np.float32(-np.inf)
    best = np.float32(-np.inf)
    for k in range(bins - 1, -1, -1):
        right[k] = best
        best = min(max(best, past[k]), log_magnitude[k])
        best = best if log_magnitude[k] > threshold else np.float32(-np.inf)
    for k in range(bins):
        if not log_magnitude[k] > threshold:
            phase[k] = random_phase(random)
        elif past[k] == np.inf:
            phase[k] = 0
        elif past[k] >= max(left[k], right[k]):
            phase[k] = wrapped(phase[k] + 0.5 * (before_gradient[k] + time_gradient[k]))
        elif left[k] >= right[k]:
            step = 0.5 * (frequency_gradient[k - 1] + frequency_gradient[k])
            phase[k] = wrapped(phase[k - 1] + step)
    for k in range(bins - 2, -1, -1):
        if log_magnitude[k] > threshold and right[k] > max(left[k], past[k]):
            step = 0.5 * (frequency_gradient[k + 1] + frequency_gradient[k])
            phase[k] = wrapped(phase[k + 1] - step)


@kernel
def advance_centred(
    magnitude: NDArray[np.float32],
    gamma: float,
    centre: float,
    hop: int,
    n_fft: int,
    tolerance: float,
    logs: NDArray[np.float32],
    time_gradient: NDArray[np.float32],
    random: NDArray[np.uint64],
    gradient: NDArray[np.float32],
    arrival: NDArray[np.float32],
    phase: NDArray[np.float32],
) -> None:
    """Resolve the frame before the newest, with the newest as lookahead.

    Parameters
    ----------
    magnitude : float32, shape (bins,)
        Magnitudes of the newest frame.
    gamma, centre, hop, n_fft
        As in :func:`plc_kernels.spectra.pghi.gradients`.
    tolerance : float
        Share of the largest magnitude of two frames up to which the phase is random.
    logs, time_gradient, random, gradient, arrival
        Of an :class:`RtpghiState`, written.
    phase : float32, shape (bins,), read and written
        Of the state: on return the phase of the frame before the newest.
    """
    _shift_in(magnitude, logs)
    time_gradients(logs[1], gamma, hop, n_fft, gradient[0])
    lead = 2 * math.pi * centre / n_fft
    scale = gamma / (2 * hop * n_fft)
    for k in range(phase.size):
        gradient[1, k] = -scale * (logs[2, k] - logs[0, k]) - lead
    _resolve(
        tolerance,
        logs[0],
        logs[1],
        time_gradient,
        gradient[0],
        gradient[1],
        arrival,
        random,
        phase,
    )
    for k in range(phase.size):
        time_gradient[k] = gradient[0, k]


@kernel
def advance_causal(
    magnitude: NDArray[np.float32],
    gamma: float,
    centre: float,
    hop: int,
    n_fft: int,
    tolerance: float,
    logs: NDArray[np.float32],
    time_gradient: NDArray[np.float32],
    random: NDArray[np.uint64],
    gradient: NDArray[np.float32],
    arrival: NDArray[np.float32],
    phase: NDArray[np.float32],
) -> None:
    """Resolve the newest frame; arguments as in :func:`advance_centred`.

    On return ``phase`` is that of the newest frame.
    """
    _shift_in(magnitude, logs)
    time_gradients(logs[2], gamma, hop, n_fft, gradient[0])
    lead = 2 * math.pi * centre / n_fft
    scale = gamma / (2 * hop * n_fft)
    for k in range(phase.size):
        rise = 3 * logs[2, k] - 4 * logs[1, k] + logs[0, k]
        gradient[1, k] = -scale * rise - lead
    _resolve(
        tolerance,
        logs[1],
        logs[2],
        time_gradient,
        gradient[0],
        gradient[1],
        arrival,
        random,
        phase,
    )
    for k in range(phase.size):
        time_gradient[k] = gradient[0, k]
