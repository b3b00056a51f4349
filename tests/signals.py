"""Signals that the tests make (seeded, float32, full scale 1.0), and their error."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plc
from plc.files.audio import read_audio


def noise(seed: int, samples: int = 4800, level: float = 0.1) -> NDArray[np.float32]:
    """Return white noise of standard deviation ``level``."""
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal(samples)).astype(np.float32)


def sine(
    frequency_hz: float, sample_rate: int, samples: int, amplitude: float = 0.5
) -> NDArray[np.float32]:
    """Return a sine that starts at phase 0."""
    t = np.arange(samples) / sample_rate
    return (amplitude * np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32)


def glide(seed: int, sample_rate: int, samples: int, level: float = 0.1) -> NDArray[np.float32]:
    """Return a voice with vibrato over a little noise: less predictable than :func:`tones`."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / sample_rate
    f0_hz = 220.0 * 2.0 ** (0.3 * np.sin(2 * np.pi * 0.7 * t) + 0.03 * np.sin(2 * np.pi * 5.5 * t))
    phase = 2 * np.pi * np.cumsum(f0_hz) / sample_rate
    out = 0.01 * rng.standard_normal(samples)
    for harmonic in range(1, 9):
        out += np.sin(harmonic * phase + rng.uniform(0, 2 * np.pi)) / harmonic
    return (level * out / np.std(out)).astype(np.float32)


def tones(seed: int, sample_rate: int, samples: int, level: float = 0.1) -> NDArray[np.float32]:
    """Return a chord of decaying harmonics over a little noise: music, as far as a test needs."""
    return _tones(seed, sample_rate, samples, level).copy()


@lru_cache(maxsize=100)  # a second takes 10 ms, and tests of one property ask for the same again
def _tones(seed: int, sample_rate: int, samples: int, level: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / sample_rate
    out = 0.01 * rng.standard_normal(samples)
    for f0_hz in rng.uniform(110.0, 880.0, 3):
        for harmonic in range(1, 9):
            phase = rng.uniform(0, 2 * np.pi)
            per_second = rng.uniform(0.2, 1.5)
            if f0_hz * harmonic < 0.45 * sample_rate:
                decay = np.exp(-t * per_second)
                out += decay / harmonic * np.sin(2 * np.pi * f0_hz * harmonic * t + phase)
    return (level * out / np.std(out)).astype(np.float32)


def voice(
    rate: int, seconds: float, hertz: float, per_second: float, seed: int = 0
) -> NDArray[np.float32]:
    """Return harmonics through a formant; their pitch falls by ``per_second`` of itself."""
    t = np.arange(round(seconds * rate)) / rate
    frequency = hertz * np.exp(-per_second * t)
    phase = 2.0 * np.pi * np.cumsum(frequency) / rate
    count = int(min(3500, rate / 2.2) / hertz)
    sound = np.zeros(t.size)
    for k in range(1, count + 1):
        sound += np.cos(k * phase + k * k) / (1.0 + ((k * hertz - 500.0) / 400.0) ** 2)
    return (0.1 * sound + 3e-4 * noise(seed, t.size)).astype(np.float32)


def content(kind: str, rate: int, samples: int, channels: int = 1) -> NDArray[np.float32]:
    """Return ``speech`` or ``music`` of the package, ``tones``, or ``noise``: (samples, channels).

    A recording begins anew at its end, and is read out at the rate as a straight line between its
    samples: what is above its own band is not silent, as far as a test needs.
    """
    if kind == "noise":
        one = noise(3, samples)
    elif kind == "tones":
        one = tones(3, rate, samples)
    else:
        signal, recorded = read_audio(Path(plc.__file__).parent / "data" / f"{kind}.flac")
        at = np.arange(samples) * recorded / rate % (len(signal) - 1)
        one = np.interp(at, np.arange(len(signal)), signal[:, 0]).astype(np.float32)
    rows = [one, 0.5 * one[::-1], 0.3 * one][:channels]
    return np.ascontiguousarray(np.stack(rows, 1).astype(np.float32))


def nmse_db(
    estimate: NDArray[Any], truth: NDArray[Any], where: NDArray[np.bool_] | None = None
) -> float:
    """Return the error of an estimate relative to the truth, in dB; by default of all samples."""
    if where is not None:
        estimate, truth = estimate[where], truth[where]
    error = estimate.astype(np.float64) - truth
    return float(10 * np.log10(np.sum(error**2) / np.sum(truth.astype(np.float64) ** 2)))
