"""Frequencies at constant distances on a scale: constant-Q, mel, ERB, or linear."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    # O'Shaughnessy, "Speech Communication: Human and Machine", 1987.
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def _mel_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def _erb(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    # Glasberg, Moore, "Derivation of auditory filter shapes from notched-noise data", Hearing
    # Research 47, 1990: numbers of equivalent rectangular bandwidths.
    return 21.4 * np.log10(1.0 + 0.00437 * hz)


def _erb_hz(erb: NDArray[np.float64]) -> NDArray[np.float64]:
    return (10.0 ** (erb / 21.4) - 1.0) / 0.00437


def _same(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return value


_Scale = Callable[[NDArray[np.float64]], NDArray[np.float64]]
# From Hz, and back to it.
_SCALES: dict[str, tuple[_Scale, _Scale]] = {
    "constant-q": (np.log2, np.exp2),
    "mel": (_mel, _mel_hz),
    "erb": (_erb, _erb_hz),
    "linear": (_same, _same),
}
SCALES = tuple(_SCALES)


def band_centres_hz(scale: str, bands: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Return frequencies at constant distances on a scale.

    Parameters
    ----------
    scale : str, one of ``SCALES``
    bands : int
        How many; at least 2.
    low_hz, high_hz : float
        The first and the last; the first is above 0 on the scale ``constant-q``.

    Returns
    -------
    float64, shape (bands,), in Hz, rising

    Raises
    ------
    ValueError
        If there is no such scale, or the bands do not fit it.
    """
    if scale not in _SCALES:
        raise ValueError(f"scale is {scale!r}; supported: {', '.join(SCALES)}")
    least = np.finfo(np.float64).tiny if scale == "constant-q" else 0.0
    if bands < 2 or not least <= low_hz < high_hz < math.inf:
        raise ValueError(
            f"{bands} bands from {low_hz:g} to {high_hz:g} Hz; expected at least 2, from "
            f"{'above ' if least else ''}0 Hz, rising"
        )
    on_scale, from_scale = _SCALES[scale]
    low, high = on_scale(np.array([low_hz, high_hz]))
    centres = from_scale(np.linspace(low, high, bands))
    centres[[0, -1]] = low_hz, high_hz
    return centres
