"""Fills of gaps without this engine: to compare with, and for gaps of recordings.

None is meant to be used: each stands for the way much software treats a missing packet, and
``lpc`` for the literature. In NumPy alone, for no audio path.

References
----------
.. [1] A. Marafioti et al., "Audio inpainting of music by means of neural networks", AES 146th
   Convention, 2019, section 3.5.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from plc.errors import ConfigError, unknown
from plc_kernels.spectra.windows import grid_window_samples, window
from plc_kernels.stream.layout import RECOVERY_MS

# Of lpc, as in the paper [1]_.
_ORDER, _PAST = 1000, 2048
# Where fewer samples are known: so many for each coefficient, and the least of all.
_SAMPLES_PER_COEFFICIENT, _LEAST_PAST = 4, 64
# A prediction is held at so many times the peak of what it was fitted on. A fit ends early where
# what is left of the energy is rounding.
_OVERSHOOT, _LEAST_ENERGY = 1.5, 1e-14
# G.711 Appendix I, section I.2.3: pitch between 66 and 200 Hz; widened for music and children.
_PITCH_MIN_HZ, _PITCH_MAX_HZ = 50.0, 500.0
_TEMPLATE_MS = 20.0
# Added to each product of energies: silence then scores 0 instead of 0/0.
_LEAST_PRODUCT = 1e-9


class Baseline:
    """One of :data:`plc.engine.stream.methods.BASELINES`, for the gaps of a signal.

    Parameters
    ----------
    method : str, its name
    sample_rate, packet_samples : int
        Of the signal, and of the packet that is repeated.

    Raises
    ------
    ConfigError
        If there is no such method.
    """

    def __init__(self, method: str, sample_rate: int, packet_samples: int) -> None:
        self.method = method
        self._bend = round(sample_rate * RECOVERY_MS / 1000.0)
        self._lags = int(sample_rate / _PITCH_MAX_HZ), int(sample_rate / _PITCH_MIN_HZ)
        self._template = round(sample_rate * _TEMPLATE_MS / 1000.0)
        self._frame = grid_window_samples(sample_rate)
        known = {
            "lpc": _PAST,
            "pitch": self._template + self._lags[1],
            "repeat": packet_samples,
            "magnitude": self._frame + self._frame // 4,
            "zeros": 0,
        }
        if method not in known:
            raise ConfigError(unknown("method", method, known))
        self.past_samples = known[method]
        """Samples before a gap that are looked at."""

    def go_on(self, before: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
        """Return samples that follow ``before``, (channels, n): float32, (channels, samples)."""
        return self._made(before, before[:, :0], samples)

    def fill(
        self, before: NDArray[np.float32], after: NDArray[np.float32], samples: int
    ) -> NDArray[np.float32]:
        """Return samples for the gap between two sides: float32, shape (channels, samples).

        Parameters
        ----------
        before, after : float32, shape (channels, n) and (channels, m)
            Either may be empty. Without the far side a gap is filled as a stream would, without
            the near one as the same in reverse.
        samples : int, of the gap
        """
        if not before.shape[1]:
            return self.go_on(after[:, ::-1], samples)[:, ::-1]
        if self.method == "lpc" and after.shape[1] >= _LEAST_PAST:
            both = self.go_on(before, samples)
            back = self.go_on(after[:, :_PAST][:, ::-1], samples)[:, ::-1]
            both += (squared_sine(samples, samples) * (back - both)).astype(np.float32)
            return both
        found = self._made(before, after, samples + 1)
        made = found[:, :samples]
        if after.shape[1] and self.method != "zeros":
            n = min(self._bend, samples)
            apart = after[:, :1] - found[:, samples:]
            made[:, samples - n :] += (squared_sine(n, n) * apart).astype(np.float32)
        return made

    def _made(
        self, before: NDArray[np.float32], after: NDArray[np.float32], samples: int
    ) -> NDArray[np.float32]:
        out = np.zeros((before.shape[0], samples), np.float32)
        if self.method == "lpc":
            for line, row in zip(out, before, strict=True):
                line[:] = predicted(row[-_PAST:], samples)
            return out
        past = np.pad(before, ((0, 0), (self.past_samples, 0)))
        past = past[:, past.shape[1] - self.past_samples :]
        if self.method == "magnitude":
            self._hold_magnitudes(past, after, out)
        elif self.method != "zeros":
            for line, known in zip(out, past, strict=True):
                period = self._lag(known) if self.method == "pitch" else known.size
                line[:] = np.resize(known[known.size - period :], samples)
        return out

    def _lag(self, past: NDArray[np.float32]) -> int:
        """Return the lag of the highest normalised correlation with the newest samples."""
        least, most = self._lags
        parts = sliding_window_view(past.astype(np.float64), self._template)
        shifted, newest = parts[most - least :: -1], parts[-1]
        powers = np.einsum("ij,ij->i", shifted, shifted) * (newest @ newest)
        return least + int(np.argmax(shifted @ newest / np.sqrt(powers + _LEAST_PRODUCT)))

    def _hold_magnitudes(
        self, past: NDArray[np.float32], after: NDArray[np.float32], out: NDArray[np.float32]
    ) -> None:
        """Write a gap with the last magnitudes, which move to the next ones if these are known.

        The phase of each bin goes on turning as fast as it last did (a phase vocoder).
        """
        size, samples = self._frame, out.shape[1]
        hop = size // 4
        shape = window("hann", size)
        before, last = (np.fft.rfft(past[:, k : k + size] * shape) for k in (0, hop))
        near, phase = np.abs(last), np.angle(last)
        turn = phase - np.angle(before)
        far = np.abs(np.fft.rfft(after[:, :size] * shape)) if after.shape[1] >= size else near
        # What begins with the sample behind the gap is zero there.
        frames = -(-(samples - 1) // hop)
        sums = np.zeros((out.shape[0], (frames + 3) * hop + size))
        for k in range(frames + 3):
            # The first three begin before the gap and end in it; only their ends are heard.
            share = max(k - 2, 0) / (frames + 1)
            phase = phase + turn
            frame = np.fft.irfft(((1.0 - share) * near + share * far) * np.exp(1j * phase), size)
            # Hann squared at a quarter of its length adds up to 1.5.
            sums[:, k * hop : k * hop + size] += frame * shape / 1.5
        out[:] = sums[:, 3 * hop : 3 * hop + samples]


def squared_sine(samples: int, full: int) -> NDArray[np.float64]:
    """Return a ramp that rises from 0 to 1 within ``full`` samples: shape (samples,)."""
    place = np.minimum((np.arange(samples) + 0.5) / full, 1.0)
    return np.asarray(np.sin(0.5 * np.pi * place) ** 2)


def predicted(x: NDArray[np.float32], samples: int) -> NDArray[np.float64]:
    """Continue a signal by linear prediction, as the method ``lpc``: float64, shape (samples,).

    There are zeros where too little is known to fit anything.

    Parameters
    ----------
    x : float32, shape (n,)
        The newest sample last, at most 2048 of them; where there are fewer, the order falls.
    samples : int, how many to predict
    """
    if x.size < _LEAST_PAST:
        return np.zeros(samples)
    order = _ORDER if x.size == _PAST else min(_ORDER, x.size // _SAMPLES_PER_COEFFICIENT)
    taps = -burg(x, order)[:0:-1]
    line = np.concatenate([x[x.size - taps.size :].astype(np.float64), np.zeros(samples)])
    for k in range(samples):
        line[taps.size + k] = taps @ line[k : taps.size + k]
    limit = _OVERSHOOT * float(np.abs(x).max())
    np.clip(line, -limit, limit, line)
    return line[taps.size :]


def burg(x: NDArray[np.float32], order: int) -> NDArray[np.float64]:
    """Return the predictor of Burg's method: float64, shape (stages + 1,), the first 1.

    There are fewer stages than ``order`` where the error falls to rounding.
    """
    predictor = np.ones(1)
    forward = backward = x.astype(np.float64)
    least = 0.0
    for _ in range(order):
        ahead, behind = forward[1:], backward[:-1]
        energy = float(ahead @ ahead + behind @ behind)
        least = least or _LEAST_ENERGY * energy
        if not least < energy < np.inf:
            break
        k = -2.0 * float(ahead @ behind) / energy
        forward, backward = ahead + k * behind, behind + k * ahead
        predictor = np.append(predictor, 0.0)
        predictor = predictor + k * predictor[::-1]
    return predictor
