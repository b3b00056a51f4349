"""The audio thread's calls of a network: submit, collect, tick.

Two implementations of :class:`Runner`::

    inline   submit ── run ──▶ collect            no hand-over; nothing can interrupt a slow run
    worker   submit ─┐        ┌─▶ collect         the audio thread waits until its deadline and
                     └─ run ──┘                   goes on without the result

:class:`InlineRunner` is here, :class:`~plc.runtime.worker.NetworkWorker` has a module of its own,
which says what either costs.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError, in_a_line
from plc.runtime.providers import Signature

Clock = Callable[[], float]

NO_TICKET = 0


class Runnable(Protocol):
    """A network for a runner, such as :class:`~plc.runtime.network.GapNetwork`."""

    @property
    def on_gpu(self) -> bool:
        """True if the network needs to be kept warm."""
        ...

    def run(
        self,
        spectra: NDArray[np.float32],
        lost: NDArray[np.float32],
        out: NDArray[np.float32],
    ) -> bool:
        """Write ``out`` and return True, or return False."""
        ...

    def keep_warm(self) -> None:
        """Run once for nothing."""
        ...

    def cancel(self) -> None:
        """Cancel a run in another thread, if possible."""
        ...


class Outcome(Enum):
    """Result of a submission."""

    DONE = "done"
    LATE = "late"
    """Not there at the deadline."""
    FAILED = "failed"
    """An exception, NaN, or a worker that ended."""
    ABSENT = "absent"
    """Never submitted: the network is starting, busy with a late one, or its thread has ended."""

    @property
    def usable(self) -> bool:
        """True if the result was written."""
        return self is Outcome.DONE


@dataclass(slots=True)
class NetworkCounters:
    """Counters of a network, read from outside."""

    network_runs: int = 0
    """Submissions taken."""
    network_done: int = 0
    """Results in time."""
    network_late: int = 0
    """Submissions whose result was not there at the deadline."""
    network_failed: int = 0
    """Submissions that ended in an exception, NaN or infinity."""
    network_refused: int = 0
    """Submissions not taken: starting, busy with a late one, or its thread has ended."""
    network_dropped: int = 0
    """Results after their deadline, or no longer wanted."""
    network_restarts: int = 0
    """Threads replaced because they stayed with the parent of a fork."""
    network_warm_runs: int = 0
    """Inferences made only to keep a GPU warm."""
    network_off: int = 0
    """Concealments for which the network was switched off."""

    def reset(self) -> None:
        """Set everything to 0."""
        for each in fields(self):
            setattr(self, each.name, 0)


@dataclass(slots=True)
class PreparationCounters:
    """Counters of concealments that were prepared before the loss; read from outside.

    Lost packets, or parts of packets, that the method was asked for; comfort noise alone is none.
    """

    concealed_prepared: int = 0
    """Played from what lay ready."""
    concealed_stale: int = 0
    """Fitted inside ``push``: the preparation that was asked for was of no use."""
    stale_unready: int = 0
    """Of these, that was not done in time, or failed."""
    stale_behind: int = 0
    """Of these, that was not begun: the one before was not done."""
    stale_changed: int = 0
    """Of these, that had been made from what has changed since."""
    concealed_unprepared: int = 0
    """Fitted inside ``push``: no preparation was asked for."""
    unprepared_silent: int = 0
    """Of these, behind silence that had lasted, or before anything came."""
    unprepared_paused: int = 0
    """Of these, while too few preparations were in time, or in a closed stream."""
    unprepared_inside: int = 0
    """Of these, whose gap did not begin with a packet."""
    preparations: int = 0
    """Packets after which a preparation was asked for."""
    preparations_failed: int = 0
    """Preparations that ended in an exception."""
    preparers_restarted: int = 0
    """Threads replaced because they stayed with the parent of a fork."""

    def reset(self) -> None:
        """Set everything to 0."""
        for each in fields(self):
            setattr(self, each.name, 0)


class Runner(Protocol):
    """A way to run a network from the audio thread."""

    counters: NetworkCounters
    last_error: str

    def submit(self, spectra: NDArray[np.float32], lost: NDArray[np.float32]) -> int:
        """Hand over a gap; return its ticket, :data:`NO_TICKET` if it was not taken."""
        ...

    def collect(self, ticket: int, deadline_s: float, out: NDArray[np.float32]) -> Outcome:
        """Wait for the result until the deadline; ``out`` is written only if it is done."""
        ...

    @property
    def state(self) -> str:
        """``starting``, ``ready``, ``busy``, ``hung``, ``ended`` or ``closed``."""
        ...

    def abandon(self) -> None:
        """Give up the result of the last submission."""
        ...

    def tick(self) -> bool:
        """Note a packet's time without a gap; return whether an abandoned run has failed."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Slot:
    """Memory of a submission; the runner's but for the time of a run."""

    __slots__ = ("lost", "out", "spectra")

    def __init__(self, signature: Signature) -> None:
        spectra, lost = (shape for _, shape in signature.inputs)
        self.spectra = np.zeros(spectra, np.float32)
        self.lost = np.zeros(lost, np.float32)
        self.out = np.zeros(signature.output[1], np.float32)

    def check(self, spectra: NDArray[np.float32]) -> None:
        """Raise a :class:`ConfigError` unless ``spectra`` have the declared shape."""
        if spectra.shape != self.spectra.shape:
            raise ConfigError(
                f"spectra have the shape {spectra.shape}; declared: {self.spectra.shape}"
            )


class InlineRunner:
    """Run the network in the caller's thread, without a time limit.

    Parameters
    ----------
    network : Runnable
        Opened in this thread, for ``signature``.
    signature : Signature
        Shapes of what will be submitted.
    """

    state = "ready"

    def __init__(self, network: Runnable, signature: Signature) -> None:
        self.counters = NetworkCounters()
        self.last_error = ""
        self._network = network
        self._slot = Slot(signature)
        self._serial = self._ticket = NO_TICKET
        """Of the newest submission, and of it as long as it was not collected."""
        self._sound = False
        self._failed = False
        """Whether what was abandoned failed."""

    def submit(self, spectra: NDArray[np.float32], lost: NDArray[np.float32]) -> int:
        """Run; return a ticket for the result."""
        self._slot.check(spectra)
        self.counters.network_runs += 1
        self._serial += 1
        self._ticket = self._serial
        try:
            self._sound = self._network.run(spectra, lost, self._slot.out)
        except Exception as error:
            self._sound = False
            self.last_error = in_a_line(error)
        return self._ticket

    def collect(self, ticket: int, deadline_s: float, out: NDArray[np.float32]) -> Outcome:
        """Copy the newest submission's result, once, whatever the deadline."""
        known, self._ticket = self._ticket, NO_TICKET
        if ticket == NO_TICKET or ticket != known:
            return Outcome.ABSENT
        if not self._sound:
            self.counters.network_failed += 1
            return Outcome.FAILED
        np.copyto(out, self._slot.out)
        self.counters.network_done += 1
        return Outcome.DONE

    def abandon(self) -> None:
        """Forget the newest result, but not that it failed."""
        if self._ticket != NO_TICKET and not self._sound:
            self.counters.network_failed += 1
            self._failed = True
        self._ticket = NO_TICKET

    def tick(self) -> bool:
        """As :meth:`Runner.tick`."""
        failed, self._failed = self._failed, False
        return failed

    def close(self) -> None:
        """Do nothing: there is no thread."""
