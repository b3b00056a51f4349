"""Loss of packets: its models, and their traces.

A *model* (:class:`Bernoulli`, :class:`GilbertElliott`) says how likely losses are, a *source*
hands out the trace of one stream piece by piece. However a source's trace is cut into pieces, it
is the same trace: what is drawn are the lengths of alternating runs (received, lost, received, …),
which for a two-state Markov chain are geometric and independent; the pieces are painted from
where the runs end. So a million packets cost milliseconds and an endless stream no memory.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError, TraceError

# Runs drawn at once. Part of what a seed means: another number gives other traces.
_RUNS_DRAWN = 1024
# A run longer than this many packets (over 30 years of 1 ms) counts as for ever.
_LONGEST_RUN = 2**40


class LossSource(Protocol):
    """Source of one stream's trace, piece by piece."""

    def take(self, packets: int) -> NDArray[np.bool_]:
        """Return the next ``packets`` of the trace: bool, shape (packets,), True = lost."""


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """Loses each packet independently with probability ``loss``.

    Parameters
    ----------
    loss : float
        Share of packets lost, 0 to 1.
    """

    loss: float

    def __post_init__(self) -> None:
        """Check the share."""
        _check_share(self.loss)

    def source(self, seed: int = 0) -> "RunLengthLosses":
        """Return a new stream's losses, the same for the same seed."""
        return RunLengthLosses.start(self.loss, self.loss, 1.0 - self.loss, seed)

    def trace(self, packets: int, seed: int = 0) -> NDArray[np.bool_]:
        """Return the trace of ``packets`` packets: bool, shape (packets,), True = lost."""
        return self.source(seed).take(packets)


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Losses in bursts: a two-state Markov chain (Gilbert's model).

    A received packet is followed by a lost one with probability
    ``p = loss / (mean_burst * (1 - loss))``, a lost one by a received one with
    ``r = 1 / mean_burst``. A ``mean_burst`` of ``1 / (1 - loss)`` is :class:`Bernoulli`.

    Parameters
    ----------
    loss : float
        Share of packets lost, 0 up to but not including 1.
    mean_burst : float
        Mean number of packets in a burst, 1 or more.

    References
    ----------
    .. [1] E. N. Gilbert, "Capacity of a burst-noise channel", Bell System Technical Journal 39,
       1960, with every packet of the bad state lost.
    """

    loss: float
    mean_burst: float = 1.5

    def __post_init__(self) -> None:
        """Check that such a chain exists."""
        _check_share(self.loss)
        if not (math.isfinite(self.mean_burst) and self.mean_burst >= 1.0):
            raise ConfigError(f"mean burst is {self.mean_burst:g} packets; it is 1 or more")
        if self.loss == 1.0:
            raise ConfigError("loss is 100 %; a model with bursts needs some packets received")
        if self._onset_probability() > 1.0:
            least = self.loss / (1.0 - self.loss)
            most = self.mean_burst / (1.0 + self.mean_burst)
            raise ConfigError(
                f"{100 * self.loss:g} % loss cannot come in bursts of {self.mean_burst:g} packets "
                f"on average; take a mean burst of at least {least:.3g} packets, or a loss of at "
                f"most {100 * most:.3g} %"
            )

    def _onset_probability(self) -> float:
        return self.loss / (self.mean_burst * (1.0 - self.loss))

    def source(self, seed: int = 0) -> "RunLengthLosses":
        """Return a new stream's losses, the same for the same seed."""
        return RunLengthLosses.start(
            self.loss, self._onset_probability(), 1.0 / self.mean_burst, seed
        )

    def trace(self, packets: int, seed: int = 0) -> NDArray[np.bool_]:
        """Return the trace of ``packets`` packets: bool, shape (packets,), True = lost."""
        return self.source(seed).take(packets)


@dataclass(slots=True)
class RunLengthLosses:
    """A stream's losses as alternating runs of geometric length; made by a model's ``source``."""

    onset_probability: float
    recovery_probability: float
    rng: np.random.Generator
    lost: bool
    # Where the runs drawn so far end, in packets from the start of the next piece, ascending.
    ends: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def start(
        cls, loss: float, onset_probability: float, recovery_probability: float, seed: int
    ) -> "RunLengthLosses":
        """Return a stream in the chain's steady state: its first packet is lost like any other."""
        if seed < 0:
            raise ConfigError(f"seed is {seed}; it is 0 or more")
        rng = np.random.default_rng(seed)
        return cls(onset_probability, recovery_probability, rng, bool(rng.random() < loss))

    def take(self, packets: int) -> NDArray[np.bool_]:
        """Return the next ``packets`` of the trace: bool, shape (packets,), True = lost."""
        while not self.ends.size or self.ends[-1] < packets:
            self._draw_runs()
        past = int(np.searchsorted(self.ends, packets, side="right"))
        turns = np.zeros(packets + 1, np.bool_)
        turns[self.ends[:past]] = True
        trace: NDArray[np.bool_] = np.logical_xor.accumulate(turns)[:packets] ^ self.lost
        self.lost ^= bool(past % 2)
        self.ends = self.ends[past:] - packets
        return trace

    def _draw_runs(self) -> None:
        lost = np.resize([self.lost, not self.lost], _RUNS_DRAWN) ^ bool(self.ends.size % 2)
        leave = np.where(lost, self.recovery_probability, self.onset_probability)
        lengths = np.full(_RUNS_DRAWN, _LONGEST_RUN, np.int64)
        ending = leave > 0.0
        lengths[ending] = self.rng.geometric(leave[ending]).clip(1, _LONGEST_RUN)
        start = self.ends[-1] if self.ends.size else 0
        self.ends = np.concatenate([self.ends, start + np.cumsum(lengths)])


@dataclass(slots=True)
class TraceLosses:
    """A stream's losses from a given trace.

    Parameters
    ----------
    trace : bool, shape (packets,)
        True = lost; at least one packet.
    loop : bool
        Begin again at its end; otherwise asking past its end is a :class:`~plc.errors.TraceError`.
    path : str or Path, optional
        The file that the trace was read from, if it was: that one is not to be overwritten.
    """

    trace: NDArray[np.bool_]
    loop: bool = False
    position: int = 0
    path: str | Path | None = None

    def __post_init__(self) -> None:
        """Check that the trace is not empty."""
        if self.trace.ndim != 1 or not self.trace.size:
            raise TraceError(f"a trace has the shape (packets,); got {self.trace.shape}")

    def take(self, packets: int) -> NDArray[np.bool_]:
        """Return the next ``packets`` of the trace: bool, shape (packets,), True = lost."""
        stop = self.position + packets
        if stop > self.trace.size and not self.loop:
            raise TraceError(
                f"the trace has {self.trace.size} packets, at least {stop} are needed; "
                "give a longer one, or repeat it (--loop)"
            )
        index = np.arange(self.position, stop) % self.trace.size
        self.position = stop
        piece: NDArray[np.bool_] = self.trace[index]
        return piece


def _check_share(loss: float) -> None:
    if not 0.0 <= loss <= 1.0:
        raise ConfigError(f"loss is {100 * loss:g} %; it is a share from 0 to 1 (0 % to 100 %)")
