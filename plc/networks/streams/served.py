"""What the networks of a stream have in common that ONNX Runtime runs: conditions and switches."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from plc.predict.ladder import Pace
from plc.runtime.providers import Signature
from plc.runtime.runner import InlineRunner, NetworkCounters, Outcome, Runnable, Runner
from plc.runtime.worker import NetworkWorker

ANSWER_BY = 0.85
"""Share of the time limit until which an answer is waited for: it has to become samples, too."""
# Waiting for a model to load and warm up, at construction.
_OPEN_S = 120.0


@dataclass(frozen=True, slots=True)
class StreamContext:
    """A stream, and the conditions that its networks run under.

    Attributes
    ----------
    sample_rate, channels, packet_samples
        The format, in Hz and samples.
    limit_ms : float
        Time that the first concealment of a burst may take.
    reach : int
        The longest bridge that will be asked for, and the most samples known beyond it.
    clock : callable
        Returns seconds.
    provider : str
        What the networks run on: ``"auto"``, ``"tensorrt"``, ``"cuda"`` or ``"cpu"``.
    counters : NetworkCounters
        Where runs are counted.
    """

    sample_rate: int
    channels: int
    packet_samples: int
    limit_ms: float = math.inf
    reach: int = 0
    clock: Callable[[], float] = time.perf_counter
    provider: str = "auto"
    counters: NetworkCounters = field(default_factory=NetworkCounters)

    @property
    def stream(self) -> tuple[int, int, int]:
        """Sample rate, channels and samples of a packet."""
        return self.sample_rate, self.channels, self.packet_samples

    @property
    def packet_ms(self) -> float:
        """A packet's duration."""
        return 1000.0 * self.packet_samples / self.sample_rate

    def runner(self, open_it: Callable[[], Runnable], signature: Signature) -> Runner:
        """Open a network: in the caller's thread if there is no time limit, else in its own.

        Raises
        ------
        Exception
            Whatever opening it raises.
        """
        runner: Runner
        if self.limit_ms == math.inf:
            runner = InlineRunner(open_it(), signature)
        else:
            runner = worker = NetworkWorker(open_it, signature, self.clock)
            worker.wait_until_open(_OPEN_S)
        runner.counters = self.counters
        return runner


class Switch:
    """Turns a network off after misses, and on again after calm.

    Notes
    -----
    The rules are those of :class:`~plc.predict.ladder.Pace` with one step: two misses within a
    hundred turn it off. While it is off, concealments without a network count as calm. A network is
    judged by wall time, as its answer is of no use after its deadline, whoever had the processor.
    """

    __slots__ = ("_pace", "_turns")

    def __init__(self) -> None:
        self._pace = Pace()
        self._turns = 0

    @property
    def on(self) -> bool:
        """True if the network may be used."""
        return self._pace.depth == 0

    def note(self, outcome: Outcome) -> bool:
        """Count one outcome; return whether the switch turns."""
        if outcome is Outcome.ABSENT:
            return False  # what it is busy with has been counted
        return self._count(self._pace.note(outcome is not Outcome.DONE, 1))

    def note_off(self) -> None:
        """Count a concealment for which the network was off."""
        self._pace.note(False, 1)

    def pass_time(self, ms: float) -> bool:
        """Advance the stream's time; return whether the switch turns."""
        return self._count(self._pace.pass_time(ms))

    def _count(self, turns: int) -> bool:
        self._turns += turns
        return turns > 0

    def take_turns(self) -> int:
        """Return the turns since the last call."""
        turns, self._turns = self._turns, 0
        return turns

    def reset(self) -> None:
        """Turn on, and forget all outcomes."""
        self._pace.reset()
        self._turns = 0


def described(runner: Runner, switch: Switch) -> dict[str, str]:
    """Return mode and state of a network, and its last error if there is one.

    ``state`` is ``on``; ``off`` while it is too often late or fails; ``ended`` or ``hung`` if its
    thread is.
    """
    found = {"mode": "inline" if isinstance(runner, InlineRunner) else "worker"}
    lost = runner.state in ("ended", "hung")
    found["state"] = runner.state if lost else "on" if switch.on else "off"
    return found | ({"error": runner.last_error} if runner.last_error else {})
