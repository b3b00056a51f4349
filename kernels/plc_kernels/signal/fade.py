"""Ramps: crossfades from one signal into another, and the fade of a burst into noise."""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel


@kernel
def crossfade(
    incoming: NDArray[np.float32], ramp: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Blend ``incoming`` over ``out``: ``out[i] += ramp[i] * (incoming[i] - out[i])``.

    Parameters
    ----------
    incoming : float32, shape (n,), what takes over
    ramp : float32, shape (n,)
        Weight of ``incoming``, 0 to 1.
    out : float32, shape (n,), read and written, what is playing
    """
    for i in range(ramp.size):
        out[i] += ramp[i] * (incoming[i] - out[i])


@kernel
def burst_gain(age: int, hold: int, fade: int, out: NDArray[np.float32]) -> float:
    """Write the gain of a concealment; return the last one.

    It is 1 for ``hold`` samples, then a half cosine to 0.

    Parameters
    ----------
    age : int
        Samples of the burst already played when ``out`` begins.
    hold, fade : int
        Samples at full level, and from there to silence.
    out : float32, shape (n,), written
        Gain of each sample; the noise that replaces it has ``sqrt(1 - gain ** 2)``.
    """
    for i in range(out.size):
        into = age + i - hold
        if into <= 0:
            out[i] = 1.0
        elif into >= fade:
            out[i] = 0.0
        else:
            out[i] = 0.5 + 0.5 * math.cos(math.pi * into / fade)
    return float(out[out.size - 1])


@kernel
def fade_into(
    noise: NDArray[np.float32], gain: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Fade ``out`` into ``noise`` at constant power: the two are uncorrelated.

    Parameters
    ----------
    noise : float32, shape (n,), comfort noise
    gain : float32, shape (n,)
        Level of ``out``, 0 to 1, from :func:`burst_gain`.
    out : float32, shape (n,), read and written, the concealment
    """
    for i in range(gain.size):
        rest = max(np.float32(0.0), np.float32(1.0) - gain[i] * gain[i])
        out[i] = gain[i] * out[i] + math.sqrt(rest) * noise[i]


@kernel
def mix_by_error(
    forward_error: float,
    backward_error: float,
    lead_in: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Blend a backward over a forward prediction, each weighted by its error.

    The error power of a prediction is taken to grow in proportion to its distance from the
    samples it started from; the weights are those of least error for uncorrelated errors.

    Parameters
    ----------
    forward_error, backward_error : float
        Error power of each prediction on the known samples beyond the gap, at least 0.
    lead_in : float32, shape (n,)
        The backward prediction, that is in reverse: the sample nearest the gap's end first.
    out : float32, shape (n,), read and written, the forward prediction
    """
    n = out.size
    # So that two predictions without error share the gap evenly.
    least = 1e-12 * (forward_error + backward_error) + 1e-30
    for i in range(n):
        place = (i + 0.5) / n
        forward = (forward_error + least) * place
        backward = (backward_error + least) * (1.0 - place)
        share = np.float32(forward / (forward + backward))
        out[i] += share * (lead_in[n - 1 - i] - out[i])


@kernel
def write_ramp(out: NDArray[np.float32]) -> None:
    """Write a squared-sine ramp from 0 to 1, both outside: ``out``, float32, shape (n,)."""
    for i in range(out.size):
        out[i] = math.sin(0.5 * math.pi * ((i + 0.5) / out.size)) ** 2


def crossfade_ramp(samples: int) -> NDArray[np.float32]:
    """Return a squared-sine ramp from 0 to 1, both outside: float32, shape (samples,)."""
    ramp = np.zeros(samples, np.float32)
    write_ramp(ramp)
    return ramp
