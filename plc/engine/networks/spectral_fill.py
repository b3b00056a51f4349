"""Samples from spectra that are known in part.

Phase is integrated from what is known (:mod:`plc_kernels.spectra.pghi`), then improved by fast
Griffin-Lim with the known frames held. Both ends of a fill are bent to meet their neighbours.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.signal.fade import crossfade_ramp
from plc_kernels.spectra.offline import integrate_phase, refine_phase
from plc_kernels.spectra.stft import Stft
from plc_kernels.stream.layout import RECOVERY_MS


def with_phase(
    spectra: NDArray[np.complex64],
    known: NDArray[np.uint8],
    samples: int,
    iterations: int,
    gamma: float,
    plan: Stft,
) -> NDArray[np.complex64]:
    """Return spectra with phases made for unknown frames; there, only magnitudes count.

    Parameters
    ----------
    spectra : complex64, shape (frames, bins)
        Known values, and magnitudes where nothing is known.
    known : uint8, shape (frames, bins), 1 where a value is known
    samples : int, length of the signal
    iterations : int, of fast Griffin-Lim
    gamma : float
        Width of the window's Gaussian, in samples squared.
    plan : Stft, the transform
    """
    magnitude = np.abs(spectra)
    phase = np.where(known, np.angle(spectra), 0.0).astype(np.float32)
    integrate_phase(magnitude, known, gamma, plan, phase)
    estimate: NDArray[np.complex64] = (magnitude * np.exp(1j * phase)).astype(np.complex64)
    refine_phase(iterations, magnitude, known, spectra, samples, plan, estimate)
    return estimate


def bent(
    filled: NDArray[np.float32], known: NDArray[np.float32], gap: tuple[int, int], sample_rate: int
) -> NDArray[np.float32]:
    """Return a gap's samples, their ends bent to meet their neighbours.

    Parameters
    ----------
    filled, known : float32, shape (n,)
        The signal made anew, and as it is known beside the gap.
    gap : (int, int)
        First sample of the gap, and first after it; a sample is known on either side.
    sample_rate : int, in Hz
    """
    start, stop = gap
    out = filled[start:stop].copy()
    ramp = crossfade_ramp(min(round(sample_rate * RECOVERY_MS / 1000.0), out.size // 2))
    if ramp.size:
        out[: ramp.size] += ramp[::-1] * (known[start - 1] - filled[start - 1])
        out[out.size - ramp.size :] += ramp * (known[stop] - filled[stop])
    return out


def padded(x: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
    """Return a copy of ``x[start:stop]``, silent outside ``x``, which is float32, shape (n,)."""
    out = np.zeros(stop - start, np.float32)
    low, high = max(start, 0), min(stop, x.size)
    if low < high:
        out[low - start : high - start] = x[low:high]
    return out


def interpolated(frames: NDArray[np.float32], lost: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return frames with lost ones on straight lines between known ones.

    Before the first known frame and after the last, that one is repeated.

    ``frames`` are float32, shape (frames, bins), lost ones are not looked at; ``lost`` is bool,
    shape (frames,), at least one is known.
    """
    known = np.flatnonzero(~lost)
    places = np.arange(lost.size)
    behind = np.clip(np.searchsorted(known, places, side="right"), 1, known.size - 1)
    left, right = known[behind - 1], known[behind]
    share = np.clip((places - left) / np.maximum(right - left, 1), 0.0, 1.0).astype(np.float32)
    filled = frames[left] + share[:, None] * (frames[right] - frames[left])
    return np.where(lost[:, None], filled, frames)
