"""Complex coefficients as two channels of real numbers, and back.

Magnitudes are logarithms, ``ln(magnitude + 1e-10)``. Phases are in half turns. An *instantaneous
frequency* is what the phase turns by from one frame to the next, from -1 to 1 half turns, and in
the first frame the phase itself.
"""

import numpy as np
from numpy.typing import NDArray

from plc.papers.representations.base import Array

# Added to magnitudes: the logarithm of silence is -23.
LEAST = 1e-10
# What a network may answer is not bounded; its exponent must be, in float32.
_MOST = 69.0

Coefficients = NDArray[np.complex64] | NDArray[np.complex128]


def cartesian(coefficients: Coefficients) -> Array:
    """Return real and imaginary parts: float32, shape (2, …)."""
    return np.stack([coefficients.real, coefficients.imag]).astype(np.float32)


def from_cartesian(array: Array) -> NDArray[np.complex64]:
    """Return the coefficients of real and imaginary parts."""
    return np.asarray(array[0] + 1j * array[1], np.complex64)


def log_magnitude(magnitude: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the logarithm of magnitudes."""
    return np.log(magnitude + magnitude.dtype.type(LEAST))


def magnitude_of(logarithm: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the magnitudes of logarithms, at most 1e30."""
    least = np.minimum(logarithm.astype(np.float64), _MOST)
    magnitude: NDArray[np.float64] = np.maximum(np.exp(least) - LEAST, 0.0)
    return magnitude


def polar(coefficients: Coefficients) -> Array:
    """Return log-magnitudes and phases: float32, shape (2, rows, frames)."""
    magnitude = log_magnitude(np.abs(coefficients))
    return np.stack([magnitude, np.angle(coefficients) / np.pi]).astype(np.float32)


def from_polar(array: Array) -> NDArray[np.complex128]:
    """Return the coefficients of log-magnitudes and phases."""
    return _turned(array[0], array[1].astype(np.float64))


def with_frequency(coefficients: Coefficients) -> Array:
    """Return log-magnitudes and instantaneous frequencies: float32, shape (2, rows, frames)."""
    magnitude, phase = polar(coefficients)
    turn = np.diff(phase.astype(np.float64), axis=1, prepend=0.0)
    turn -= 2.0 * np.round(turn / 2.0)
    return np.stack([magnitude, turn.astype(np.float32)])


def from_frequency(array: Array) -> NDArray[np.complex128]:
    """Return the coefficients of log-magnitudes and instantaneous frequencies."""
    phase = np.cumsum(array[1].astype(np.float64), axis=1)
    return _turned(array[0], phase)


def _turned(logarithm: Array, half_turns: NDArray[np.float64]) -> NDArray[np.complex128]:
    return np.asarray(magnitude_of(logarithm) * np.exp(1j * np.pi * half_turns), np.complex128)
