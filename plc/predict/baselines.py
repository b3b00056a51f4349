"""Simple concealers to compare with, behind the engine's own interface.

None is meant to be used: each stands for what much software does when a packet is missing.
"""

import numpy as np
from numpy.typing import NDArray

from plc.predict.filler import STEADY_MOMENT, Filler, Moment
from plc.predict.history import History
from plc_kernels.pitch import best_lag
from plc_kernels.spectra.windows import grid_window_samples, window

# G.711 Appendix I, section I.2.3: pitch between 66 and 200 Hz; widened for music and children.
_PITCH_MIN_HZ = 50.0
_PITCH_MAX_HZ = 500.0
_TEMPLATE_MS = 20.0


class _Baseline(Filler):
    """Base of the baselines: a copy of the newest samples."""

    def __init__(self, channels: int, past_samples: int) -> None:
        self.past_samples = past_samples
        self._past = np.zeros((channels, past_samples), np.float32)
        self._made = 0

    def reset(self) -> None:
        """Forget the stream."""
        self._past.fill(0.0)
        self._made = 0

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        """Copy the newest samples."""
        self._made = 0
        for c, past in enumerate(self._past):
            history.newest(c, past)


class ZerosFiller(_Baseline):
    """Silence, with hard edges: a receiver without concealment."""

    name = "zeros"
    crossfades = False
    fades = False

    def __init__(self, sample_rate: int, channels: int, packet_samples: int) -> None:
        super().__init__(channels, 1)

    def extend(self, out: NDArray[np.float32]) -> None:
        """Write zeros."""
        out.fill(0.0)


class RepeatFiller(_Baseline):
    """The last packet again and again."""

    name = "repeat"

    def __init__(self, sample_rate: int, channels: int, packet_samples: int) -> None:
        super().__init__(channels, packet_samples)

    def extend(self, out: NDArray[np.float32]) -> None:
        """Write the packet, from where the last call stopped."""
        repeat_period(self._past, self._made, out)
        self._made += out.shape[1]


class PitchFiller(_Baseline):
    """The last pitch period repeated, as in G.711 Appendix I."""

    name = "pitch"

    def __init__(self, sample_rate: int, channels: int, packet_samples: int) -> None:
        self._lag_min = int(sample_rate / _PITCH_MAX_HZ)
        lag_max = int(sample_rate / _PITCH_MIN_HZ)
        self._template = round(sample_rate * _TEMPLATE_MS / 1000.0)
        super().__init__(channels, self._template + lag_max)
        self._score = np.empty(lag_max - self._lag_min + 1, np.float32)
        self._lags = [self._lag_min] * channels

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        """Find each channel's pitch period."""
        super().begin(history, moment)
        for c, past in enumerate(self._past):
            self._lags[c] = best_lag(past, self._template, self._lag_min, self._score)

    def extend(self, out: NDArray[np.float32]) -> None:
        """Write the period, from where the last call stopped."""
        for c, lag in enumerate(self._lags):
            repeat_period(self._past[c : c + 1, -lag:], self._made, out[c : c + 1])
        self._made += out.shape[1]


def repeat_period(period: NDArray[np.float32], start: int, out: NDArray[np.float32]) -> None:
    """Fill ``out`` with copies of ``period``, both (channels, n), beginning at ``start``."""
    size = period.shape[1]
    done = 0
    while done < out.shape[1]:
        at = (start + done) % size
        take = min(size - at, out.shape[1] - done)
        out[:, done : done + take] = period[:, at : at + take]
        done += take


class MagnitudeFiller(_Baseline):
    """Spectral magnitudes held, or interpolated to those after the gap.

    The phase of each bin goes on turning as fast as it last did (a phase vocoder). Works on whole
    arrays in numpy: a baseline, not made for the audio path.
    """

    name = "magnitude"
    bridges = True

    def __init__(self, sample_rate: int, channels: int, packet_samples: int) -> None:
        self._size = grid_window_samples(sample_rate)
        self._hop = self._size // 4
        super().__init__(channels, self._size + self._hop)
        self._window = window("hann", self._size)
        bins = self._size // 2 + 1
        self._magnitude = np.zeros((channels, bins))
        self._phase = np.zeros((channels, bins))
        self._turn = np.zeros((channels, bins))
        self._sum = np.zeros((channels, self._size))
        self._ready = 0

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        """Take the last frame's magnitudes and phase steps."""
        super().begin(history, moment)
        before = self._spectra(self._past[:, : self._size])
        last = self._spectra(self._past[:, self._hop :])
        self._magnitude[:] = np.abs(last)
        self._phase[:] = np.angle(last)
        self._turn[:] = np.angle(last) - np.angle(before)
        self._sum.fill(0.0)
        self._ready = 0
        # Frames that begin before the gap and end in it; only their ends are heard.
        for _ in range(3):
            self._add_frame(self._magnitude)

    def _spectra(self, frames: NDArray[np.float32]) -> NDArray[np.complex128]:
        return np.asarray(np.fft.rfft(frames * self._window))

    def _add_frame(self, magnitude: NDArray[np.float64]) -> None:
        """Shift by a hop and add the next frame."""
        self._sum[:, : -self._hop] = self._sum[:, self._hop :]
        self._sum[:, -self._hop :] = 0.0
        self._phase += self._turn
        frame = np.fft.irfft(magnitude * np.exp(1j * self._phase), self._size)
        # Hann squared at a quarter of its length adds up to 1.5.
        self._sum += frame * self._window / 1.5
        self._ready = self._hop

    def extend(self, out: NDArray[np.float32]) -> None:
        """Write the next samples with the last magnitudes."""
        self._synthesise(out, self._magnitude, 0)

    def bridge(
        self,
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        moment: Moment = STEADY_MOMENT,
    ) -> bool:
        """Write the gap with magnitudes on their way to those of ``after``."""
        if after.shape[1] < self._size:
            self.extend(out)
            return False
        target = np.abs(self._spectra(after[:, : self._size]))
        self._synthesise(out, target, -(-out.shape[1] // self._hop))
        return False  # the magnitudes meet, the phases do not

    def _synthesise(
        self, out: NDArray[np.float32], target: NDArray[np.float64], frames: int
    ) -> None:
        done = 0
        step = 0
        while done < out.shape[1]:
            if self._ready == 0 or done == self._made == 0:
                step += 1
                share = step / (frames + 1) if frames else 0.0
                self._add_frame((1.0 - share) * self._magnitude + share * target)
            take = min(self._ready, out.shape[1] - done)
            at = self._hop - self._ready
            out[:, done : done + take] = self._sum[:, at : at + take]
            self._ready -= take
            done += take
            self._made += take
