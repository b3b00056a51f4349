"""G.711 Appendix I: repetition of pitch periods, at 8 kHz.

At the start of a gap the pitch period (5 to 15 ms) is found by normalised correlation over the
last 20 ms, coarsely on every second sample and then finely. The last period is repeated; its
beginning is overlapped with what came before it over a quarter of a period, in the history too,
which is why the algorithm delays its output by 3.75 ms (taken out here). At 10 and at 20 ms another
period is added, so that no tone arises. From 10 ms on the gain falls by a fifth each 10 ms: after
60 ms there is silence. The first good samples are overlapped with what would have gone on, the
longer the gap the longer, up to 10 ms.

Only the concealment: there is no µ-law here. Other rates are brought to 8 kHz and back.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from plc.engine.spans import bursts_of
from plc.errors import ConfigError
from plc_bench.base.corpus import Samples
from plc_bench.peers.base import Contender
from plc_bench.peers.rates import INT16_SCALE, at_rate, packet_edges
from plc_bench.scores.metrics import Mask

RATE = 8_000
# Appendix I, in samples at 8 kHz.
FRAME = 80
PITCH_MIN = 40
PITCH_MAX = 120
OVERLAP_MAX = PITCH_MAX // 4
HISTORY = 3 * PITCH_MAX + OVERLAP_MAX
CORRELATION = 160
DECIMATION = 2
# The least energy that correlations are divided by, of int16 samples.
POWER_MIN = 250.0 / INT16_SCALE**2
FALL_PER_FRAME = 0.2
# Silent from this frame of a gap on.
AUDIBLE_FRAMES = 6
OVERLAP_GROWTH = 32


class G711:
    """Appendix I, each channel by itself."""

    coded = True

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Play the stream."""
        edges = packet_edges(trace.size, packet_samples, sample_rate, RATE)

        def conceal(narrow: Samples) -> Samples:
            rows = [conceal_gaps(row, edges[bursts_of(trace)]) for row in narrow.T]
            return np.stack(rows, axis=1).astype(np.float32)

        return at_rate(signal, sample_rate, RATE, conceal)


def peer(name: str) -> Contender:
    """Return the contender of a name; it has no options."""
    if name != "g711":
        raise ConfigError(f"peer {name!r}: g711 has no options")
    return G711()


def conceal_gaps(signal: NDArray[np.floating], gaps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a signal at 8 kHz with its gaps filled.

    Parameters
    ----------
    signal : float, shape (n,)
        What it holds inside a gap is not looked at.
    gaps : int64, shape (gaps, 2)
        Begin and end of each, in order.

    Returns
    -------
    float64, shape (n,)
    """
    out = np.concatenate([np.zeros(HISTORY), signal])
    for begin, end in gaps + HISTORY:
        _fill(out, int(begin), min(int(end), out.size))
    return out[HISTORY:]


@dataclass(slots=True)
class _Periods:
    """The last periods of a history, repeated through a gap."""

    buffer: NDArray[np.float64]
    pitch: int
    count: int = 1
    offset: int = 0
    tail: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.tail = self.buffer[-self.overlap :].copy()
        self._join()

    @property
    def overlap(self) -> int:
        return self.pitch >> 2

    def add_one(self) -> None:
        """Repeat one period more from here on."""
        while self.offset > self.pitch:
            self.offset -= self.pitch
        self.count += 1
        self._join()

    def take(self, samples: int) -> NDArray[np.float64]:
        """Return the next ``samples`` samples."""
        length = self.count * self.pitch
        at = (self.offset + np.arange(samples)) % length
        self.offset = (self.offset + samples) % length
        return self.buffer[self.buffer.size - length + at]

    def _join(self) -> None:
        """Crossfade the end of the buffer into its first period."""
        start = self.buffer.size - self.count * self.pitch
        before = self.buffer[start - self.overlap : start]
        self.buffer[-self.overlap :] = overlap_add(self.tail, before)


def _fill(out: NDArray[np.float64], begin: int, end: int) -> None:
    """Fill one gap of ``out``, and crossfade into the recovery."""
    history = out[begin - HISTORY : begin].copy()
    periods = _Periods(history, pitch_period(history))
    overlap = periods.overlap
    out[begin - overlap : begin] = history[-overlap:]
    frames = -(-(end - begin) // FRAME)
    for frame in range(frames):
        at = begin + frame * FRAME
        size = min(FRAME, end - at)
        out[at : at + size] = _frame(periods, frame, size)
    size = min(overlap + (frames - 1) * OVERLAP_GROWTH, FRAME, out.size - end)
    gain = max(0.0, 1.0 - (frames - 1) * FALL_PER_FRAME)
    if size > 0:
        going_on = gain * periods.take(size)
        out[end : end + size] = overlap_add(going_on, out[end : end + size])


def _frame(periods: _Periods, frame: int, size: int) -> NDArray[np.float64]:
    if frame >= AUDIBLE_FRAMES:
        return np.zeros(size)
    if frame not in (1, 2):
        samples = periods.take(size)
    else:
        offset = periods.offset
        before = periods.take(min(periods.overlap, size))
        periods.offset = offset
        periods.add_one()
        samples = periods.take(size)
        samples[: before.size] = overlap_add(before, samples[: before.size])
    if frame == 0:
        return samples
    gain: NDArray[np.float64] = 1.0 - FALL_PER_FRAME * (frame - 1 + np.arange(size) / FRAME)
    return samples * gain


def pitch_period(history: NDArray[np.float64]) -> int:
    """Return the pitch period of the last 20 ms, in samples.

    The lag of the largest correlation, normalised by the energy of the older stretch: first on
    every second sample and lag, then on all beside the best.
    """
    coarse = _best_lag(history, range(PITCH_MAX, PITCH_MIN - 1, -DECIMATION), DECIMATION)
    beside = range(min(coarse + 1, PITCH_MAX), max(coarse - 1, PITCH_MIN) - 1, -1)
    return _best_lag(history, beside, 1)


def _best_lag(history: NDArray[np.float64], lags: range, step: int) -> int:
    end = history.size
    newest = history[end - CORRELATION :: step]
    best, best_lag = -np.inf, lags[0]
    for lag in lags:
        older = history[end - CORRELATION - lag : end - lag : step]
        score = float(newest @ older) / np.sqrt(max(float(older @ older), POWER_MIN))
        # The coarse search takes the shorter of two lags that are as good, the fine one the longer.
        if score > best or (step > 1 and score == best):
            best, best_lag = score, lag
    return best_lag


def overlap_add(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the crossfade of two signals, linear, beginning one step in."""
    weight = np.arange(1, left.size + 1) / left.size
    return (1.0 - weight) * left + weight * right
