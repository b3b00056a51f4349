"""Random filters that imitate other instruments, rooms and microphones."""

import numpy as np
from numpy.typing import NDArray

# Cepstral order: fine enough for formants and rooms, smooth between partials.
_CEPSTRUM = 24
_TAPS = 256


def coloured(
    lines: NDArray[np.float32], depth_db: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return segments, each filtered by another random filter.

    The filter has minimum phase and is short compared with a segment's past, so that a filtered
    draft is nearly the draft of the filtered past.

    Parameters
    ----------
    lines : float32, shape (segments, lines, samples)
        All lines of a segment, truth and drafts, get the same filter.
    depth_db : float
        Standard deviation of the filter's gain, over filters and frequencies.

    Returns
    -------
    float32, shape (segments, lines, samples)

    Notes
    -----
    ``log |H(w)| = sum_n c_n cos(n w)`` of a causal cepstrum ``c``, whose exponential has minimum
    phase [1]_; the variance of ``c_n`` falls as ``1 / n``: more tilt than ripple.

    References
    ----------
    .. [1] A. Oppenheim, R. Schafer, "Discrete-Time Signal Processing", 3rd edition, section 13.5.
    """
    variance = 1.0 / np.arange(1, _CEPSTRUM + 1)
    nepers = depth_db * np.log(10.0) / 20.0
    cepstra = np.zeros((len(lines), _TAPS))
    deviation = nepers * np.sqrt(2.0 * variance / variance.sum())
    cepstra[:, 1 : _CEPSTRUM + 1] = rng.standard_normal((len(lines), _CEPSTRUM)) * deviation
    filters = np.fft.irfft(np.exp(np.fft.rfft(cepstra)))
    points = lines.shape[2] + _TAPS - 1
    points += points % 2
    spectra = np.fft.rfft(lines, points) * np.fft.rfft(filters, points)[:, None]
    made: NDArray[np.float32] = np.fft.irfft(spectra, points)[..., : lines.shape[2]].astype(
        np.float32
    )
    return made
