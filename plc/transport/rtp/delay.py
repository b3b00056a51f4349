"""The delay of packets, and the playing speed that keeps it.

*Transit* is when a packet arrived minus when its first sample stands in the stream, both in
seconds. Its zero means nothing, as the two clocks have nothing in common; its least value of the
last seconds, the *base*, is that of a packet that nothing held up. What another packet's transit
has above the base is how much it was held up: its jitter::

    transit ─┐    *              *
             │  *     * *  *        *   quantile of the jitter ─▶ target delay
    base ────┴──────*─────────*───────
                                        time

:class:`DelayEstimator` keeps the jitter's distribution and takes a quantile of it as the delay to
aim for. The base is taken over 4 s, so that two clocks that differ by 500 ppm blur it by 2 ms at
most, and it follows them for ever; over half a second where it rises evenly, as that of a slow
sender.

:class:`DriftControl` compares that aim with the delay there is and says how much faster than
nominal to play. Inside a dead band it does nothing at all, so that a stream whose clock agrees
comes out bit for bit; once outside it, a proportional-integral controller takes over and learns
the difference of the two clocks (its integral), which it keeps. The rate never moves faster than
200 ppm a second nor further than 3000 ppm, 5 cents: a shift in pitch that slow and small is not
heard, and as the rate changes a resampler's step, there is nothing that could click. :class:`Line`
is what it plays from.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc_kernels.signal.resample import CENTRE, TAPS, resample, sinc_table

# The base is the least of so many windows; where each is higher than the one before by as much, and
# all by about the same, the sender is slow, and it is that of the newest.
_BASE_WINDOW_S, _BASE_WINDOWS = 0.5, 8
_RISES, _RISE_S, _RISE_SHARE, _RISE_PACKETS = 3, 0.002, 0.4, 5
_BIN_S = 0.001
# What is left over for the receiver's own timing.
_MARGIN_S = 0.002
# Packets after which the distribution, rather than a first guess, may be the aim: as many as hold
# one late one, within these limits.
_ENOUGH = (50, 500)
# Packets between two looks at the distribution, once there are enough.
_LOOK_EVERY = 16
# The aim is lowered after this long without a packet that would have missed the lower one.
_CALM_S = 5.0
_LARGEST_WEIGHT = 1e12
_TABLE = sinc_table()

MAX_DELAY_MS = 5000.0


class DelayMode(Enum):
    """Way to find the target delay."""

    ADAPTIVE = "adaptive"
    """A quantile of the jitter."""
    HEADROOM = "headroom"
    """The same and ``delay_ms`` more."""
    FIXED = "fixed"
    """``delay_ms``, whatever the jitter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayConfig:
    """Settings of the delay.

    Parameters
    ----------
    mode : DelayMode
        How the target is found.
    safety : float
        0 (quick) to 1 (safe): packets that may come too late are one in 10 to one in 10 000.
    delay_ms : float
        The delay of the fixed mode, the headroom of the headroom mode.
    max_delay_ms : float
        What the delay never exceeds, but for a few packets: beyond two of those played, what is too
        much is left out.
    """

    mode: DelayMode = DelayMode.ADAPTIVE
    safety: float = 0.5
    delay_ms: float = 0.0
    max_delay_ms: float = 200.0

    def __post_init__(self) -> None:
        """Check that such a delay exists."""
        if not 0.0 <= self.safety <= 1.0:
            raise ConfigError(f"safety is {self.safety:g}; it is 0 (quick) to 1 (safe)")
        if not 0.0 < self.max_delay_ms <= MAX_DELAY_MS:
            raise ConfigError(
                f"max_delay_ms is {self.max_delay_ms:g}; supported: above 0, up to "
                f"{MAX_DELAY_MS:g} ms"
            )
        if not 0.0 <= self.delay_ms <= self.max_delay_ms:
            raise ConfigError(
                f"delay_ms is {self.delay_ms:g}; supported: 0 to max_delay_ms, "
                f"{self.max_delay_ms:g} ms"
            )

    @property
    def late_share(self) -> float:
        """Share of the packets that may come too late: a tenth to a ten-thousandth."""
        share: float = 10.0 ** (-1.0 - 3.0 * self.safety)
        return share

    @property
    def first_guess_s(self) -> float:
        """Delay before anything is known of the jitter: 10 ms (quick) to 80 ms (safe)."""
        guess: float = 0.010 * 8.0**self.safety
        return guess


class DelayEstimator:
    """The base of the transit, and the delay to aim for.

    Parameters
    ----------
    config : DelayConfig
        Settings of the delay.
    """

    def __init__(self, config: DelayConfig) -> None:
        self.config = config
        self._max_s = config.max_delay_ms / 1000.0
        self._extra_s = config.delay_ms / 1000.0 if config.mode is DelayMode.HEADROOM else 0.0
        self._bins = np.zeros(math.ceil(self._max_s / _BIN_S) + 1)
        # Three times the packets that hold one late one: the quantile's tail is then settled.
        self._growth = 1.0 / (1.0 - min(1.0 / 300.0, config.late_share / 3.0))
        self._enough = min(max(1.0 / config.late_share, _ENOUGH[0]), _ENOUGH[1])
        self.coarseness_s = 0.0
        """Time that a packet waits for its whole block; whoever cuts blocks sets it, then notes."""
        self.reset()

    def reset(self) -> None:
        """Know nothing again."""
        self._bins.fill(0.0)
        self._weight = 1.0
        self._total = 0.0
        self._noted = 0
        self._since_look = 0
        self._window_s = -math.inf
        self._window_packets = 0
        self._lows: deque[float] = deque(maxlen=_BASE_WINDOWS)
        self._rises: deque[float] = deque(maxlen=_RISES)
        self.base_s = math.inf
        """Transit of a packet that nothing held up; infinite before there was any."""
        self._jitter_s = 0.0  # its quantile, with hysteresis
        self._calm_since_s = -math.inf
        self.target_s = self._aim_s()
        """Delay to aim for, above the base."""

    def _aim_s(self) -> float:
        if self.config.mode is DelayMode.FIXED:
            return self.config.delay_ms / 1000.0
        jitter_s = self._jitter_s
        if self._noted < self._enough:
            jitter_s = max(jitter_s, self.config.first_guess_s)
        return min(jitter_s + _MARGIN_S + self.coarseness_s + self._extra_s, self._max_s)

    @property
    def dead_band_s(self) -> tuple[float, float]:
        """Deviation from the target delay that is left alone.

        Too much of it costs little, and is what a stream whose first packets were held up begins
        with; too little costs packets.
        """
        target_s = self.target_s
        return max(_MARGIN_S, 0.05 * target_s), max(_MARGIN_S, 0.25 * target_s)

    def note(self, transit_s: float, now_s: float) -> None:
        """Take in the transit of a packet that arrived now."""
        self._note_base(transit_s, now_s)
        held_up_s = transit_s - self.base_s
        place = min(int(held_up_s / _BIN_S), self._bins.size - 1)
        self._bins[place] += self._weight
        self._total += self._weight
        self._weight *= self._growth
        self._noted += 1
        self._since_look += 1
        is_beyond = held_up_s > self.target_s
        if self._noted < _ENOUGH[0] or self._since_look >= _LOOK_EVERY or is_beyond:
            self.look(now_s)
        else:
            self.target_s = self._aim_s()

    def rebase(self, base_s: float, now_s: float) -> None:
        """Take this for the base: the line was moved, or the stream begins anew."""
        self.base_s = base_s
        self._lows.clear()
        self._lows.append(base_s)
        self._window_s, self._window_packets = now_s, 0
        self._calm_since_s = min(self._calm_since_s, now_s)  # later only if the clock was set back

    def _note_base(self, transit_s: float, now_s: float) -> None:
        age_s = now_s - self._window_s
        if age_s >= _BASE_WINDOW_S:
            self._begin_window(age_s)
            self._lows.append(transit_s)
            self._window_s, self._window_packets = now_s, 0
        self._lows[-1] = min(self._lows[-1], transit_s)
        self._window_packets += 1
        self.base_s = min(self._lows)

    def _begin_window(self, age_s: float) -> None:
        """Forget the windows before the one that ends that are of no use for the base."""
        lows, rises = self._lows, self._rises
        if age_s >= _BASE_WINDOW_S * _BASE_WINDOWS:
            lows.clear()
        if len(lows) < 2 or self._window_packets < _RISE_PACKETS:
            rises.clear()
            return
        rises.append(lows[-1] - lows[-2])
        if len(rises) == _RISES and min(rises) >= max(_RISE_S, _RISE_SHARE * max(rises)):
            while len(lows) > 1:
                lows.popleft()

    def look(self, now_s: float) -> None:
        """Move the aim: up at once, down only where it is far too high and has been for a while."""
        self._since_look = 0
        if self._weight > _LARGEST_WEIGHT:
            self._bins /= self._weight
            self._total /= self._weight
            self._weight = 1.0
        share = (1.0 - self.config.late_share) * self._total
        place = int(np.searchsorted(np.cumsum(self._bins), share * (1.0 - 1e-12)))
        quantile_s = _BIN_S * (min(place, self._bins.size - 1) + 1)
        if quantile_s > 0.8 * self._jitter_s - _MARGIN_S:
            self._calm_since_s = now_s
            self._jitter_s = max(self._jitter_s, quantile_s)
        elif now_s - self._calm_since_s >= _CALM_S:
            self._calm_since_s = now_s
            self._jitter_s = quantile_s
        self.target_s = self._aim_s()


class DriftControl:
    """Controls the playing speed, so that the delay reaches its target."""

    MAX_STRETCH = 3e-3
    _MAX_DRIFT = 1e-3
    _SLEW_PER_S = 2e-4
    # Time constant 10 s, damping 0.7: 500 ppm of drift move the delay by 5 ms.
    _PROPORTIONAL_PER_S = 0.1
    _INTEGRAL_PER_S2 = _PROPORTIONAL_PER_S**2 / 2.0
    # What one late packet does to the delay is no drift: larger errors count as this one.
    _LARGEST_LEARNT_S = 0.002
    _SMOOTHING_S = 1.0
    _CALM_S = 20.0
    # A clock closer than this is left alone again, once the delay is where it should be.
    _NO_DRIFT = 3e-6

    __slots__ = ("_calm_s", "_error_s", "drift", "engaged", "stretch")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Play at the nominal rate, and know of no drift."""
        self.stretch = 0.0
        """Share by which to play faster than nominal."""
        self.drift = 0.0
        """Share by which the sender's clock runs faster than ours, as far as is known."""
        self.engaged = False
        self._error_s = 0.0
        self._calm_s = 0.0

    def update(self, excess_s: float, dead_band_s: tuple[float, float], elapsed_s: float) -> float:
        """Return the stretch to play with from here on.

        Parameters
        ----------
        excess_s : float
            Delay there is, less the delay aimed for.
        dead_band_s : tuple of float
            Lack, and excess, that need not be seen to.
        elapsed_s : float
            Time since the last update.
        """
        self._error_s += (excess_s - self._error_s) * min(1.0, elapsed_s / self._SMOOTHING_S)
        error_s = self._error_s
        if not self.engaged:
            if -dead_band_s[0] <= error_s <= dead_band_s[1]:
                return 0.0
            self.engaged = True
        wanted = self.drift + self._PROPORTIONAL_PER_S * error_s
        if abs(wanted) < self.MAX_STRETCH:  # else the integral would wind up
            learnt_s = min(max(error_s, -self._LARGEST_LEARNT_S), self._LARGEST_LEARNT_S)
            drift = self.drift + self._INTEGRAL_PER_S2 * learnt_s * elapsed_s
            self.drift = min(max(drift, -self._MAX_DRIFT), self._MAX_DRIFT)
        wanted = min(max(wanted, -self.MAX_STRETCH), self.MAX_STRETCH)
        step = self._SLEW_PER_S * elapsed_s
        self.stretch += min(max(wanted - self.stretch, -step), step)
        self._disengage_if_calm(error_s, dead_band_s[0], elapsed_s)
        return self.stretch

    def _disengage_if_calm(self, error_s: float, band_s: float, elapsed_s: float) -> None:
        calm = abs(error_s) < 0.5 * band_s and abs(self.drift) < self._NO_DRIFT
        self._calm_s = self._calm_s + elapsed_s if calm else 0.0
        if self._calm_s >= self._CALM_S:
            error_s = self._error_s
            self.reset()
            self._error_s = error_s


class Line:
    """Samples that wait, and the block played last.

    Below the channels is a row of marks: 1 where a sample was lost.

    Attributes
    ----------
    played : float32, shape (channels + 1, block)
        The last block.
    """

    __slots__ = ("_at", "_filled", "_rows", "played")

    def __init__(self, channels: int, block: int) -> None:
        self._rows = np.zeros((channels + 1, CENTRE + 4 * block + 2 * TAPS), np.float32)
        self._at = float(CENTRE)
        self._filled = CENTRE
        self.played = np.zeros((channels + 1, block), np.float32)
        # The first call in a process loads or compiles it; it is not to come in midstream.
        resample(float(CENTRE), 1.0, _TABLE, self._rows, self.played)

    @property
    def waiting(self) -> float:
        """Samples that wait."""
        return self._filled - self._at

    def add(self, samples: int) -> NDArray[np.float32]:
        """Append so much silence; return it, to be written to: shape (channels + 1, samples)."""
        added = self._rows[:, self._filled : self._filled + samples]
        added.fill(0.0)
        self._filled += samples
        return added

    def _is_copied(self, step: float) -> bool:
        return step == 1.0 and self._at.is_integer()

    def lacks(self, step: float) -> bool:
        """Return whether there is too little for a block at a speed."""
        last = math.floor(self._at + (self.played.shape[1] - 1) * step)
        return self._filled < last + 1 + (0 if self._is_copied(step) else TAPS // 2)

    def play(self, step: float) -> NDArray[np.float32]:
        """Play a block at a speed, and forget the samples that the resampler no longer needs."""
        if self._is_copied(step):
            begin, samples = int(self._at), self.played.shape[1]
            self.played[:] = self._rows[:, begin : begin + samples]
            self._at += samples
        else:
            self._at = resample(self._at, step, _TABLE, self._rows, self.played)
        stale = math.floor(self._at) - CENTRE
        self._rows[:, : self._filled - stale] = self._rows[:, stale : self._filled]
        self._filled -= stale
        self._at -= stale
        return self.played
