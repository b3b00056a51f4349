"""Synthesised music for benchmarks of time."""

import numpy as np
from numpy.typing import NDArray

_NOTES_PER_S = 4
_NOTE_S = 1.5
_PARTIALS = 12
# Three octaves of a minor pentatonic scale up from A2.
_LOWEST_HZ = 110.0
_SEMITONES = np.array([0, 3, 5, 7, 10])
_PEAK = 0.7


def music(
    sample_rate: int, seconds: float, channels: int = 1, seed: int = 0
) -> NDArray[np.float32]:
    """Return plucked notes over a little noise: float32, shape (n, channels), peak 0.7.

    Harmonic, with onsets and decays, each channel with notes of its own, as costly to conceal as
    music. The same seed gives the same piece.
    """
    samples = round(sample_rate * seconds)
    rng = np.random.default_rng(seed)
    piece = 1e-3 * rng.standard_normal((samples, channels))
    for channel in range(channels):
        for _ in range(max(1, round(seconds * _NOTES_PER_S))):
            note = _note(rng, sample_rate)
            start = int(rng.integers(samples))
            piece[start : start + note.size, channel] += note[: samples - start]
    piece *= _PEAK / np.abs(piece).max()
    return piece.astype(np.float32)


def _note(rng: np.random.Generator, sample_rate: int) -> NDArray[np.float64]:
    """Return one note: harmonics that start together and die away, the higher the sooner."""
    semitone = 12 * rng.integers(3) + rng.choice(_SEMITONES)
    f0_hz = _LOWEST_HZ * 2 ** (semitone / 12)
    t = np.arange(round(sample_rate * _NOTE_S)) / sample_rate
    note = np.zeros(t.size)
    for k in range(1, _PARTIALS + 1):
        if k * f0_hz < 0.45 * sample_rate:
            decay = np.exp(-t * (2.0 + k))
            note += decay / k * np.sin(2 * np.pi * (k * f0_hz * t + rng.random()))
    attack: NDArray[np.float64] = np.minimum(1.0, t / 0.002)
    return attack * note
