"""Events as lines of JSON: one object a line, with ``time`` (UTC) and ``event``.

The audio path counts and says nothing. What is noted here is either done by another thread (a
device that is opened, or lost), or seen in the counters by whoever looks at them once a second
(:class:`StreamWatch`): so a stream costs the same whether it is logged or not.
"""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from plc.jsonable import plain
from plc.transport.rtp.mismatch import Note
from plc.transport.rtp.playout import Playout


def _now() -> datetime:
    return datetime.now(UTC)


class EventLog:
    """Writes events as lines of JSON.

    Parameters
    ----------
    stream : text file
        Where to; what cannot be written (a full disk, a closed pipe) is counted and given up.
    now : callable, returns the time of day
    """

    def __init__(self, stream: TextIO, now: Callable[[], datetime] = _now) -> None:
        self._stream = stream
        self._now = now
        self._lock = threading.Lock()
        self.dropped = 0

    def __call__(self, event: str, **particulars: Any) -> None:
        """Write an event."""
        at = self._now().isoformat(timespec="milliseconds")
        line = json.dumps(plain({"time": at, "event": event} | particulars), allow_nan=False)
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                self.dropped += 1


class StreamWatch:
    """Derives the events of a stream from its counters.

    Events: ``stream_begun``, ``source_changed``, ``outage`` (only concealment for a second) and
    ``outage_ended``, and ``concealed``, at most once a call, with what was concealed since the
    last one.
    """

    def __init__(self, stream: str, playout: Playout, note: Note) -> None:
        self._stream = stream
        self._playout = playout
        self._note = note
        self._begun = False
        self._out = False
        self._last = dict.fromkeys(self._counters(), 0)

    def _counters(self) -> dict[str, int]:
        concealment, received = self._playout.concealment, self._playout.received
        return {
            "bursts": concealment.concealment_events,
            "concealed_samples": concealment.concealed_samples,
            "played_samples": concealment.total_samples_received,
            "lost_packets": received.lost_packets,
            "late_packets": received.late_packets,
            "deadline_misses": concealment.deadline_misses,
            "source_changes": received.source_changes,
        }

    def look(self) -> None:
        """Compare the counters with the last look, and note the changes."""
        before, now = self._last, self._counters()
        self._last = now
        if self._playout.buffer.receiver.begun and not self._begun:
            self._begun = True
            self._note("stream_begun", stream=self._stream)
        if now["source_changes"] > before["source_changes"]:
            self._note("source_changed", stream=self._stream)
        concealed = now["concealed_samples"] - before["concealed_samples"]
        played = now["played_samples"] - before["played_samples"]
        out = 0 < played == concealed
        if out != self._out and played:
            self._out = out
            self._note("outage" if out else "outage_ended", stream=self._stream)
        if concealed and not out:
            changed = {name: now[name] - before[name] for name in now if name != "source_changes"}
            self._note("concealed", stream=self._stream, **changed)
