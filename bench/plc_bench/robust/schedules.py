"""Schedules of arrivals: when each packet of a stream comes, if at all.

A packet is sent when its last sample is recorded, by the sender's clock. The network adds its
transit, of which a part below 20 ms is constant and drawn, too: how packets lie between the moments
at which sound is asked for matters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.engine.loss import GilbertElliott

PACKET_MS = 20.0
# Packets before and after one, of which the fastest has the least transit.
_ROUND = 50
_LARGEST_TAIL_MS = 250.0

Times = NDArray[np.float64]
_Maker = Callable[[Times, np.random.Generator], Times]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When packets arrive.

    Attributes
    ----------
    arrivals_ms : float64, shape (packets,)
        Since the first sample was recorded. Infinite: lost; NaN: never sent, as in a pause.
    speed : float
        How fast the sender's clock runs.
    """

    arrivals_ms: Times
    speed: float

    def least_ms(self) -> Times:
        """Return the least time from a packet's first sample to its arrival, within a second."""
        taken_ms = self.arrivals_ms - np.arange(self.arrivals_ms.size) * PACKET_MS / self.speed
        padded = np.pad(np.nan_to_num(taken_ms, nan=np.inf), _ROUND, constant_values=np.inf)
        least_ms: Times = np.lib.stride_tricks.sliding_window_view(padded, 2 * _ROUND + 1).min(1)
        return least_ms


def make_schedule(name: str, seconds: float, seed: int) -> Schedule:
    """Return the schedule of a name of :data:`SCHEDULES`."""
    speed, maker = SCHEDULES[name]
    packets = round(1000.0 * seconds / PACKET_MS)
    sent_ms = np.linspace(1.0, packets, packets) * (PACKET_MS / speed)
    rng = np.random.default_rng(seed)
    return Schedule(rng.uniform(0.0, PACKET_MS) + maker(sent_ms, rng), speed)


def _slow_ones(every: int, late_ms: float, begin_ms: float) -> _Maker:
    def maker(sent_ms: Times, rng: np.random.Generator) -> Times:
        slow = np.arange(sent_ms.size) % every == rng.integers(every)
        return sent_ms + np.where(slow & (sent_ms > begin_ms), late_ms, 0.0)

    return maker


def _step(before_ms: float, after_ms: float) -> _Maker:
    return lambda sent_ms, _: sent_ms + np.where(sent_ms <= 30_000.0, before_ms, after_ms)


def _stalled(sent_ms: Times, begins_ms: Times, lasts_ms: Times) -> Times:
    """Let packets that are sent during a stall come at its end."""
    of = np.maximum(np.searchsorted(begins_ms, sent_ms, "right") - 1, 0)
    over_ms = begins_ms[of] + lasts_ms[of]
    return np.where((begins_ms[of] <= sent_ms) & (sent_ms < over_ms), over_ms, sent_ms)


def _jitter(sent_ms: Times, rng: np.random.Generator) -> Times:
    return sent_ms + 3.0 * np.abs(rng.standard_normal(sent_ms.size))


def _tcp(sent_ms: Times, rng: np.random.Generator) -> Times:
    begins_ms = np.arange(2000.0, 2000.0 + sent_ms[-1], 2000.0)
    return _stalled(sent_ms, begins_ms, rng.uniform(60.0, 180.0, begins_ms.size))


def _wifi(sent_ms: Times, rng: np.random.Generator) -> Times:
    begins_ms = np.cumsum(rng.uniform(500.0, 3500.0, sent_ms.size))
    stalled_ms = _stalled(sent_ms, begins_ms, rng.uniform(30.0, 250.0, sent_ms.size))
    return np.maximum.accumulate(stalled_ms + rng.exponential(2.0, sent_ms.size))


def _mobile(sent_ms: Times, rng: np.random.Generator) -> Times:
    begins_ms = np.cumsum(rng.uniform(8000.0, 16_000.0, sent_ms.size))
    of = np.searchsorted(begins_ms, sent_ms, "right")
    stalled_ms = _stalled(sent_ms, begins_ms, rng.uniform(150.0, 350.0, sent_ms.size))
    cell_ms = rng.uniform(0.0, 60.0, sent_ms.size)[of]
    arrivals_ms = np.maximum.accumulate(stalled_ms + cell_ms + rng.gamma(2.0, 4.0, sent_ms.size))
    # What was on its way to the old cell is gone.
    arrivals_ms[(of > 0) & (sent_ms < begins_ms[of - 1] + 60.0)] = np.inf
    return arrivals_ms


def _wander(sent_ms: Times, rng: np.random.Generator) -> Times:
    return np.maximum.accumulate(sent_ms + np.abs(np.cumsum(rng.normal(0.0, 1.2, sent_ms.size))))


def _tail(sent_ms: Times, rng: np.random.Generator) -> Times:
    return sent_ms + np.minimum(3.0 * rng.pareto(1.3, sent_ms.size), _LARGEST_TAIL_MS)


def _lossy(lost: float) -> _Maker:
    def maker(sent_ms: Times, rng: np.random.Generator) -> Times:
        arrivals_ms = sent_ms + rng.exponential(5.0, sent_ms.size)
        losses = GilbertElliott(lost, 2.0).trace(sent_ms.size, int(rng.integers(2**31)))
        return np.where(losses, np.inf, arrivals_ms)

    return maker


def _tail_lossy(sent_ms: Times, rng: np.random.Generator) -> Times:
    arrivals_ms = _tail(sent_ms, rng)
    losses = GilbertElliott(0.05, 1.5).trace(sent_ms.size, int(rng.integers(2**31)))
    return np.where(losses, np.inf, arrivals_ms)


def _talk(sent_ms: Times, rng: np.random.Generator) -> Times:
    return np.where(sent_ms % 13_000.0 <= 5000.0, _jitter(sent_ms, rng), np.nan)


SCHEDULES: dict[str, tuple[float, _Maker]] = {
    "two-links": (1.0, _slow_ones(2, 70.0, 5000.0)),
    "minority": (1.0, _slow_ones(10, 100.0, 20_000.0)),
    "tcp": (1.0, _tcp),
    "wifi": (1.0, _wifi),
    "mobile": (1.0, _mobile),
    "wander": (1.0, _wander),
    "drift": (1.0003, _jitter),
    "fast": (1.02, _jitter),
    "slow": (0.98, _jitter),
    "step-up": (1.0, _step(0.0, 80.0)),
    "step-down": (1.0, _step(80.0, 0.0)),
    "tail": (1.0, _tail),
    "tail-loss": (1.0, _tail_lossy),
    "lossy-5": (1.0, _lossy(0.05)),
    "lossy-20": (1.0, _lossy(0.2)),
    "lossy-40": (1.0, _lossy(0.4)),
    "talk": (0.9995, _talk),
}
"""Speed of the sender's clock and maker of arrivals, by name; docs/measuring.md describes them."""
