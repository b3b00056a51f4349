"""How much a stream prepares: as much as is ready in time, and as the processor has time for."""

from dataclasses import dataclass

from plc.engine.runtime.worker import Counters

PREPARE_SHARE = 0.6
"""Share of a packet's duration that a preparation may take where it is bounded."""
# Of about so many preparations this share has to be ready in time: below the first the next is
# cheaper, above the second, after a while, as dear as before. That while doubles where it fails.
_KEPT_MEMORY = 32
_LOW, _HIGH = 0.85, 0.95
_CALM_MS = 1000.0
_MOST_CALM_MS = 16_000.0
# What comes faster than this share of real time is not judged for so long: after a stall of the
# thread its packets come in a row, and what is late then says nothing about later.
_EARLY = 0.5
_STALL_MS = 2000.0
# Each step down takes so much off the time for prediction.
_STEP = 0.7
_STEPS = 5
# At the lowest step less than this share is a waste of time: there is a pause, and each time a
# longer one until most are in time again.
_LEAST_KEPT = 0.3
_PAUSE_MS, _MOST_PAUSE_MS = 1000.0, 60_000.0


@dataclass(slots=True)
class PreparationCounters(Counters):
    """Counters of concealments that were prepared before the loss.

    A part of a packet counts as a packet; packets of comfort noise alone are not counted.
    """

    concealed_prepared: int = 0
    """Played from what lay ready."""
    concealed_stale: int = 0
    """Fitted inside ``push``: the preparation that was asked for was of no use."""
    stale_unready: int = 0
    """Stale, as the preparation was late, or failed."""
    stale_behind: int = 0
    """Stale, as the preparation before it was late."""
    stale_changed: int = 0
    """Stale, as an input changed after the preparation."""
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


class PreparationPace:
    """Steps down and up by how many preparations were ready in time.

    There are steps and pauses only if it is ``bounded``. A packet lasts ``packet_ms``; prediction
    has the time ``top_ms`` at the first step below the top, before it is made less.
    """

    def __init__(self, bounded: bool, packet_ms: float, top_ms: float) -> None:
        self._bounded = bounded
        self._packet_ms = packet_ms
        self._top_ms = top_ms
        self.reset()

    def reset(self) -> None:
        """Return to the top."""
        self.depth = 0
        self._kept = 1.0
        self._calm_ms = 0.0
        self._patience_ms = _CALM_MS
        self._climbed = False
        self.pause_ms = 0.0
        self._next_pause_ms = _PAUSE_MS
        self._early_ms = 0.0

    def follow(self, kept: bool, had_ms: float) -> None:
        """Hear whether a preparation was ready, and the time that it had."""
        if not self._bounded:
            return
        if kept:
            self._early_ms = 0.0
        elif had_ms < _EARLY * self._packet_ms and self._early_ms < _STALL_MS:
            self._early_ms += self._packet_ms
            return
        self._kept += (kept - self._kept) / _KEPT_MEMORY
        self._calm_ms += self._packet_ms
        if self._kept < _LOW and self.depth < _STEPS:
            if self._climbed:  # what was tried last has failed
                self._patience_ms = min(2.0 * self._patience_ms, _MOST_CALM_MS)
            self._step_to(self.depth + 1)
        elif self._kept < _LEAST_KEPT:
            self.pause_ms = self._next_pause_ms
            self._next_pause_ms = min(2.0 * self._next_pause_ms, _MOST_PAUSE_MS)
            self._kept = _LOW
        elif self._kept > _HIGH and self._calm_ms > self._patience_ms:
            self._next_pause_ms = _PAUSE_MS
            if self._climbed:
                self._patience_ms = max(0.5 * self._patience_ms, _CALM_MS)
            self._step_to(max(self.depth - 1, 0))

    def _step_to(self, depth: int) -> None:
        self._climbed = depth < self.depth
        self.depth = depth
        self._kept = _HIGH
        self._calm_ms = 0.0

    def pass_packet(self) -> None:
        """Advance the stream's time by a packet."""
        self.pause_ms = max(0.0, self.pause_ms - self._packet_ms)

    @property
    def most_ms(self) -> float:
        """Time for a preparation; ``inf``: all that it may take."""
        return self._top_ms * _STEP**self.depth if self.depth else float("inf")
