"""The time-frequency kernels on whole signals, for files: with memory of their own.

:func:`spectra_of` and :func:`signal_of` transform; :func:`integrate_phase` makes phase from
magnitudes by PGHI, :func:`refine_phase` improves it by the fast Griffin-Lim algorithm.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.spectra.griffin_lim import ALPHA, fast_griffin_lim
from plc_kernels.spectra.pghi import TOLERANCE, PghiWorkspace, gradients, integrate
from plc_kernels.spectra.stft import Stft, istft, stft


def spectra_of(x: NDArray[np.float32], plan: Stft) -> NDArray[np.complex64]:
    """Return the spectra of ``x``, float32, shape (n,): complex64, shape (frames, bins)."""
    out = np.empty((plan.frames(x.size), plan.bins), np.complex64)
    stft(x, plan.window, plan.hop, plan.factors, plan.twiddles, plan.scratch, plan.frame, out)
    return out


def signal_of(spectra: NDArray[np.complex64], samples: int, plan: Stft) -> NDArray[np.float32]:
    """Return the signal of spectra: float32, shape (samples,)."""
    out = np.empty(samples, np.float32)
    istft(spectra, plan.dual, plan.hop, plan.factors, plan.twiddles, plan.scratch, plan.frame, out)
    return out


def integrate_phase(
    magnitude: NDArray[np.float32],
    known: NDArray[np.uint8],
    gamma: float,
    plan: Stft,
    phase: NDArray[np.float32],
) -> None:
    """Integrate the phase gradient from known phases (PGHI, :mod:`plc_kernels.spectra.pghi`).

    Parameters
    ----------
    magnitude : float32, shape (frames, bins), of all frames
    known : uint8, shape (frames, bins), 1 where ``phase`` is known
    gamma : float
        Width of the window's Gaussian, in samples squared.
    plan : Stft, the transform
    phase : float32, shape (frames, bins), read and written, in radians
    """
    work = PghiWorkspace.allocate(*magnitude.shape)
    slopes = work.log_magnitude, work.time_gradient, work.frequency_gradient
    gradients(magnitude, gamma, plan.window.size / 2, plan.hop, plan.n_fft, *slopes)
    integrate(TOLERANCE, *slopes, known.copy(), work.keys, work.items, work.random, phase)


def refine_phase(
    iterations: int,
    magnitude: NDArray[np.float32],
    known: NDArray[np.uint8],
    values: NDArray[np.complex64],
    samples: int,
    plan: Stft,
    estimate: NDArray[np.complex64],
) -> None:
    """Iterate fast Griffin-Lim (:mod:`plc_kernels.spectra.griffin_lim`) on ``estimate``.

    Parameters
    ----------
    iterations : int, iterations to do
    magnitude : float32, shape (frames, bins), what unknown coefficients shall have
    known : uint8, shape (frames, bins), 1 where ``values`` holds
    values : complex64, shape (frames, bins), known coefficients
    samples : int, length of the signal
    plan : Stft, the transform
    estimate : complex64, shape (frames, bins), read and written, phases to begin with
    """
    fast_griffin_lim(
        iterations,
        ALPHA,
        magnitude,
        known,
        values,
        plan.window,
        plan.dual,
        plan.hop,
        plan.factors,
        plan.twiddles,
        plan.scratch,
        plan.frame,
        np.empty((2, *estimate.shape), np.complex64),
        np.empty(samples, np.float32),
        estimate,
    )
