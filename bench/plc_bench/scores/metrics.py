"""Quality as numbers: one definition of each metric, on plain arrays.

*Conventions.* A signal is a float array of shape ``(n,)`` or ``(n, channels)``, full scale 1.0; a
metric of several channels sums their energies or averages their frames. ``lost`` is a bool array of
shape ``(n,)``, True where the sample was in a lost packet. An undefined metric (no loss, a silent
reference) is NaN; a perfect one may be infinite.

*Metrics.*

==================================  ======  ======================================================
:func:`nmse_db`                     lower   energy of the error over that of the lost samples
:func:`snr_ms_db`                   higher  SNR of the magnitude spectrogram inside one gap
:func:`lsd_db`                      lower   log-spectral distance of the frames that touch losses
:func:`mel_spectral_convergence`    lower   relative error of those frames' mel spectra
:func:`click_ratio`                 lower   largest step at a gap's edge over the local steps
:func:`zero_runs`                   lower   runs of zeros: the holes that zero filling leaves
:func:`fill_level_db`               --      level of the fill over that of the lost samples
==================================  ======  ======================================================

PLCMOS, PESQ and STOI, which judge speech, are in :mod:`plc_bench.scores.speech`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc.files.distances import (
    WINDOW_MS,
    Mask,
    Signal,
    frames_touching,
    level_db,
    lsd_db,
    magnitudes,
    nmse_db,
    ratio_db,
    spectral_distances_db,
)
from plc_kernels.signal import click

# Names of the lower package that are part of this set; those below need no entry.
__all__ = [
    "WINDOW_MS",
    "Mask",
    "Signal",
    "frames_touching",
    "level_db",
    "lsd_db",
    "magnitudes",
    "nmse_db",
    "spectral_distances_db",
]

# STFT of SNR_MS: paper section 3.1, at its 16 kHz.
SNR_MS_RATE = 16_000
SNR_MS_WINDOW = 512
SNR_MS_HOP = 128
# Segments whose gap is quieter than this RMS are left out: paper section 3.2.
GAP_RMS_MIN = 1e-4
# Quieter ends of examples are silence, told by the levels of 1024 samples, every 512: the program
# of the paper's authors.
SILENCE_RMS = 0.01
_TRIM_SAMPLES, _TRIM_SHIFT_SAMPLES = 1024, 512

# 64 triangles up to 20 kHz: the narrowest still holds a bin of a 32 ms window.
MEL_BANDS = 64
MEL_TOP_HZ = 20_000.0

# Shorter runs of zeros happen in 16-bit music; 64 samples are 1.3 ms at 48 kHz.
ZERO_RUN_SAMPLES = 64


def fill_level_db(reference: Signal, estimate: Signal, lost: Mask) -> float:
    """Return the fill's energy over the lost samples' energy, in dB.

    No score, but what others are read beside: NMSE can be bought by playing less (silence has 0 dB
    of error), and a level far below 0 dB says so. Minus infinity for silence.
    """
    truth = reference[lost].astype(np.float64)
    fill = estimate[lost].astype(np.float64)
    return ratio_db(float((fill**2).sum()), float((truth**2).sum()))


def snr_db(reference: Signal, estimate: Signal) -> float:
    """Return ``10 log10(sum x^2 / sum (x - y)^2)`` over whole arrays: equation (4) of the paper."""
    truth = np.asarray(reference, np.float64)
    return -ratio_db(float(((truth - estimate) ** 2).sum()), float((truth**2).sum()))


def snr_ms_db(reference: Signal, estimate: Signal, gap: tuple[int, int]) -> float:
    """Return the SNR of the magnitude spectrogram inside a gap, in dB.

    Parameters
    ----------
    reference, estimate : float, shape (n,) or (n, channels)
        The paper's setting is 16 kHz.
    gap : tuple of int
        First sample of the gap and first after it.

    Returns
    -------
    float
        NaN where the gap's RMS is below ``GAP_RMS_MIN``, where the paper drops the segment.

    Notes
    -----
    Section 3.4 of [1]_: ``10 log10(||S||^2 / ||S - S'||^2)`` with S the magnitudes of the frames
    that lie wholly inside the gap; of a gap of 64 ms (1024 samples) these are 5.

    References
    ----------
    .. [1] A. Marafioti, N. Holighaus, P. Majdak, N. Perraudin, "Audio inpainting of music by means
       of neural networks", AES 146th Convention, 2019.
    """
    start, stop = gap
    if stop - start < SNR_MS_WINDOW:
        raise ValueError(f"the gap has {stop - start} samples, a frame {SNR_MS_WINDOW}")
    if rms(reference[start:stop]) < GAP_RMS_MIN:
        return math.nan
    starts = np.arange(start, stop - SNR_MS_WINDOW + 1, SNR_MS_HOP)
    truth, made = (magnitudes(each, starts, SNR_MS_WINDOW) for each in (reference, estimate))
    return snr_db(truth, made)


def mel_spectral_convergence(
    reference: Signal, estimate: Signal, lost: Mask, sample_rate: int
) -> float:
    """Return the relative mel-spectral error of frames with losses.

    Notes
    -----
    ``||M - M'|| / ||M||`` (Frobenius), the spectral convergence of [1]_ on mel magnitudes: frames
    as in :func:`lsd_db`, 64 triangular bands, equally spaced on ``2595 log10(1 + f / 700)`` from 0
    to 20 kHz or the Nyquist frequency.

    References
    ----------
    .. [1] N. Sturmel, L. Daudet, "Signal reconstruction from STFT magnitude: a state of the art",
       DAFx, 2011.
    """
    errors, energies, _ = mel_energies(reference, estimate, lost, sample_rate)
    energy = float(energies.sum())
    return math.sqrt(float(errors.sum()) / energy) if energy > 0.0 else math.nan


def mel_energies(
    reference: Signal, estimate: Signal, lost: Mask, sample_rate: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Return error, energy and first sample of each mel frame.

    Returns
    -------
    float64, shape (frames,) or (channels, frames), twice
        ``||M - M'||^2`` and ``||M||^2`` of each frame that touches losses.
    intp, shape (frames,)
        First sample of each frame.
    """
    starts, window_samples = frames_touching(lost, sample_rate)
    bands = mel_filters(window_samples, sample_rate).T
    truth = magnitudes(reference, starts, window_samples) @ bands
    error = magnitudes(estimate, starts, window_samples) @ bands - truth
    return (error**2).sum(axis=-1), (truth**2).sum(axis=-1), starts


def click_ratio(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    """Return the largest step at a gap's edges, relative to nearby steps.

    Steps are differences of neighbouring samples. At each edge the estimate's step is divided by
    the reference's largest step within 2 ms (at least -80 dB of full scale); the result is the
    largest of these ratios. An undamaged signal has at most 1, an audible click well over 2; NaN
    without an edge, or where a sample at an edge is NaN. See :mod:`plc_kernels.signal.click`.
    """
    width = max(1, round(sample_rate * click.NEIGHBOURHOOD_MS / 1000))
    channels = zip(_by_channel(reference), _by_channel(estimate), strict=True)
    ratios = [
        click.click_ratio(width, np.ascontiguousarray(truth), np.ascontiguousarray(output), lost)
        for truth, output in channels
    ]
    return float(np.max(ratios))


def zero_runs(signal: Signal) -> int:
    """Count runs of 64 zeros and more in all channels."""
    count = 0
    for channel in _by_channel(signal):
        turns = np.flatnonzero(np.diff(channel == 0.0, prepend=False, append=False))
        count += int((turns[1::2] - turns[::2] >= ZERO_RUN_SAMPLES).sum())
    return count


def rms(signal: Signal) -> float:
    """Return the root of the mean square of all samples, in float64."""
    return float(np.sqrt(np.mean(np.asarray(signal, np.float64) ** 2)))


def heard_span(signal: Signal, silence_rms: float = SILENCE_RMS) -> tuple[int, int]:
    """Return the first sample between silent ends, and the first after.

    Both are 0 if all is silence.
    """
    starts = range(0, max(len(signal) - _TRIM_SAMPLES, 0) + 1, _TRIM_SHIFT_SAMPLES)
    heard = [start for start in starts if rms(signal[start : start + _TRIM_SAMPLES]) >= silence_rms]
    return (heard[0], min(heard[-1] + _TRIM_SAMPLES, len(signal))) if heard else (0, 0)


def mel_filters(window_samples: int, sample_rate: int) -> NDArray[np.float64]:
    """Return the triangular mel bands: float64, shape (MEL_BANDS, bins), each of height 1."""
    top_hz = min(MEL_TOP_HZ, sample_rate / 2)
    mel = np.linspace(0.0, 2595.0 * math.log10(1.0 + top_hz / 700.0), MEL_BANDS + 2)
    corners_hz = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    bins_hz = np.fft.rfftfreq(window_samples, 1.0 / sample_rate)
    low, centre, high = (corners_hz[i : i + MEL_BANDS, None] for i in range(3))
    rising = (bins_hz - low) / (centre - low)
    falling = (high - bins_hz) / (high - centre)
    filters: NDArray[np.float64] = np.minimum(rising, falling).clip(0.0)
    return filters


def _by_channel(signal: Signal) -> NDArray[np.float64]:
    """Return the signal as float64, shape (channels, n)."""
    return np.atleast_2d(np.asarray(signal, np.float64).T)
