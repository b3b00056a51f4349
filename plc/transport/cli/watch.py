"""Events and metrics of running streams: ``--log-json`` and ``--metrics``."""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from plc.cli.output import say

if TYPE_CHECKING:
    from plc.transport.metrics import Health, Sample
    from plc.transport.rtp.playout import Playout


class Watch:
    """Reports events and metrics of streams while they run, until closed.

    Parameters
    ----------
    metrics : str or None, address at which to serve metrics
    log_json : bool
        Whether to write every event to stderr.

    Attributes
    ----------
    note : callable
        Takes events, as :data:`plc.transport.rtp.mismatch.Note`.
    """

    def __init__(self, metrics: str | None, log_json: bool) -> None:
        from plc.transport.rtp.mismatch import Note, in_words
        from plc.transport.service.events import EventLog, StreamWatch

        self.note: Note = EventLog(sys.stderr) if log_json else in_words
        self._streams: dict[str, StreamWatch] = {}
        self._exporter = None
        if metrics is not None:
            from plc.transport.metrics import Exporter

            self._exporter = Exporter(metrics)
            say(f"plc: metrics at {self._exporter.url}", err=True)

    def begin(
        self, stream: str, playout: "Playout", collect: "Callable[[], Iterable[Sample]]"
    ) -> None:
        """Watch a stream, too; ``collect`` returns its metrics."""
        from plc.transport.service.events import StreamWatch

        self._streams = self._streams | {stream: StreamWatch(stream, playout, self.note)}
        if self._exporter is not None:
            self._exporter.add(stream, collect)

    def end(self, stream: str) -> None:
        """Watch a stream no longer."""
        self._streams = {name: each for name, each in self._streams.items() if name != stream}
        if self._exporter is not None:
            self._exporter.remove(stream)

    def serve_health(self, health: "Health") -> None:
        """Serve the answer of ``health`` beside the metrics, at ``/healthz``."""
        if self._exporter is not None:
            self._exporter.serve_health(health)

    def look(self) -> None:
        """Report the changes since the last call."""
        for stream in self._streams.values():
            stream.look()

    def close(self) -> None:
        """Stop serving metrics."""
        if self._exporter is not None:
            self._exporter.close()
