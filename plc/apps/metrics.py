"""What streams count, for Prometheus: ``--metrics :9464``.

The names are those of W3C's *Identifiers for WebRTC's Statistics API* [1]_ where it has one, with
``plc_`` before it and, for counters, Prometheus' ``_total`` behind; others are in Prometheus' own
style. Each has a label ``stream``.

=============================================  ====================================================
``plc_packetsReceived_total``                  RTP packets, duplicates not among them
``plc_packetsLost``                            expected and not received (less again if one comes)
``plc_packetsDiscarded_total``                 come too late, or when the buffer was full
``plc_duplicate_packets_total``                come again
``plc_redundant_packets_total``                taken from the redundancy of later ones
``plc_totalSamplesReceived_total``             samples played, received or concealed
``plc_concealedSamples_total``                 samples made up for lost ones
``plc_silentConcealedSamples_total``           of these, comfort noise alone
``plc_concealmentEvents_total``                bursts concealed
``plc_insertedSamplesForDeceleration_total``   by playing slower
``plc_removedSamplesForAcceleration_total``    by playing faster
``plc_jitterBufferDelay_total``                waited by all samples played, together, s
``plc_jitterBufferTargetDelay_total``          the same, of the delay aimed for
``plc_jitterBufferEmittedCount_total``         samples that the two above are over
=============================================  ====================================================

Nothing is counted for this: a scrape reads, in a thread of its own, integers that are there anyway.
What connects cannot hold the audio up: see :mod:`plc.apps.page_server`.

.. [1] https://www.w3.org/TR/webrtc-stats/#inboundrtpstats-dict*
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from plc.apps.page_server import PageServer
from plc.errors import MissingExtraError
from plc.rtp.playout import Playout
from plc.rtp.udp import Endpoint, parse_endpoint

if TYPE_CHECKING:
    from plc.apps.live import Live
    from plc.apps.relay import StreamRelay

_OPENMETRICS = "application/openmetrics-text"
# A page is served again for this long; a scraper comes every few seconds.
_KEPT_S = 1.0
# What is done of a page at once, and the pause after it.
_PIECE_S = 0.0002
_REST_S = 0.001


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one metric."""

    name: str
    """Without ``plc_`` and ``_total``."""
    value: float
    help: str
    labels: dict[str, str]
    counts: bool = True
    """Whether it only ever grows."""


Collect = Callable[[], Iterable[Sample]]


def playout_samples(stream: str, playout: Playout) -> Iterator[Sample]:
    """Yield what a stream's jitter buffer and concealer have counted."""
    received, concealed, played = playout.received, playout.concealment, playout.stats
    label = {"stream": stream}
    counts: list[tuple[str, float, str]] = [
        ("packetsReceived", received.packets_received, "RTP packets without duplicates"),
        (
            "packetsDiscarded",
            received.late_packets + received.overflow_packets,
            "packets that came too late, or when the buffer was full",
        ),
        ("duplicate_packets", received.duplicate_packets, "packets that came again"),
        ("redundant_packets", received.redundant_packets, "packets taken from redundancy"),
        (
            "totalSamplesReceived",
            concealed.total_samples_received,
            "samples played, received or concealed",
        ),
        ("concealedSamples", concealed.concealed_samples, "samples made up for lost ones"),
        (
            "silentConcealedSamples",
            concealed.silent_concealed_samples,
            "concealed samples that were comfort noise alone",
        ),
        ("concealmentEvents", concealed.concealment_events, "bursts concealed"),
        (
            "insertedSamplesForDeceleration",
            played.inserted_samples,
            "samples inserted by playing slower",
        ),
        (
            "removedSamplesForAcceleration",
            played.removed_samples,
            "samples removed by playing faster",
        ),
        (
            "jitterBufferDelay",
            played.waited_s,
            "seconds that all samples played waited, together",
        ),
        (
            "jitterBufferTargetDelay",
            played.aimed_s,
            "the same, of the delay aimed for",
        ),
        ("jitterBufferEmittedCount", played.emitted_samples, "samples of jitterBufferDelay"),
        (
            "deadline_misses",
            concealed.deadline_misses,
            "concealments that took longer than their time",
        ),
        (
            "rung_changes",
            concealed.rung_changes,
            "steps on the ladder, for want of time or a network",
        ),
        ("source_changes", received.source_changes, "senders that took over or started anew"),
        ("unknown_packets", played.unknown_packets, "packets of another payload type"),
        ("undecodable_packets", played.undecodable_packets, "packets that could not be decoded"),
        (
            "malformed_packets",
            sum(dict(played.malformed_packets).values()),
            "datagrams that were no RTP",
        ),
    ]
    for name, value, text in counts:
        yield Sample(name, value, text, label)
    for rung, value in dict(concealed.rung_samples).items():
        yield Sample(
            "rung_samples",
            value,
            "concealed samples by the rung that made them",
            label | {"rung": rung},
        )
    gauges = [
        ("packetsLost", received.lost_packets, "packets expected and not received"),
        ("delay_seconds", max(0.0, playout.delay_s), "what the last block waited"),
        ("target_delay_seconds", playout.buffer.delays.target_s, "delay aimed for"),
        ("stretch_ratio", playout.stretch, "share by which the stream is played faster"),
    ]
    for name, number, text in gauges:
        yield Sample(name, number, text, label, counts=False)
    for what, times in (("received", concealed.good_time), ("concealed", concealed.concealed_time)):
        for percent in (50.0, 99.0, 99.9):
            yield Sample(
                "push_seconds",
                times.percentile_ms(percent) / 1000.0,
                "time that the concealer took for a packet, since the start",
                label | {"packet": what, "quantile": f"{percent / 100.0:g}"},
                counts=False,
            )


def relay_samples(stream: str, relay: "StreamRelay") -> Iterator[Sample]:
    """Yield what a stream through the relay has counted."""
    yield from playout_samples(stream, relay.playout)
    stats, label = relay.stats, {"stream": stream}
    counts = [
        ("datagrams_received", stats.datagrams_received, "datagrams that came in"),
        ("refused_datagrams", stats.refused_datagrams, "not from the source that counts"),
        ("capped_datagrams", stats.capped_datagrams, "too many in a second"),
        ("packetsSent", stats.packets_sent, "packets sent on"),
        ("late_packets_sent", stats.late_packets_sent, "sent over a packet's length too late"),
        ("skipped_packets", stats.skipped_packets, "not sent, the machine slept"),
        ("unwritten_samples", stats.unwritten_samples, "not in the recording, its disk failed"),
    ]
    for name, value, text in counts:
        yield Sample(name, value, text, label)


def live_samples(stream: str, live: "Live") -> Iterator[Sample]:
    """Yield what a live stream and its devices have counted."""
    stats, label = live.engine.stats, {"stream": stream}
    counts = [
        ("starved_samples", stats.starved_samples, "silence, as nothing was ready for the output"),
        ("unheard_blocks", stats.unheard_blocks, "blocks made while there was no output"),
        ("absent_packets", stats.absent_packets, "packets that an input gave none of while away"),
    ]
    for name, value, text in counts:
        yield Sample(name, value, text, label)
    yield Sample(
        "reserve_seconds",
        live.engine.sink.reserve_s,
        "what is kept ready for the output",
        label,
        counts=False,
    )
    for port in live.ports:
        port_stats, where = port.stats, label | {"direction": port.direction}
        yield Sample("device_losses", port_stats.losses, "times the device went away", where)
        yield Sample("device_xruns", port_stats.breaks, "breaks that the device reports", where)
        yield Sample(
            "device_missed_samples",
            port_stats.missed_samples,
            "samples that found no room, or were not there in time",
            where,
        )
        yield Sample("device_open", port.stream is not None, "1 if it is open", where, counts=False)


class Exporter:
    """A web server for Prometheus, in a thread of its own.

    The page is made at most once a second, in short pieces with pauses between them: Python runs
    one thread at a time, and the audio's would wait for this one.

    Parameters
    ----------
    address : str
        ``HOST:PORT``; ``:PORT`` and ``PORT`` are those of 127.0.0.1, port 0 takes any.

    Raises
    ------
    ConfigError
        If that is no address.
    MissingExtraError
        If prometheus-client is not installed.
    NetworkError
        If the port is taken.
    """

    def __init__(self, address: str) -> None:
        try:
            import prometheus_client
            from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
        except ImportError as error:
            raise MissingExtraError(
                "--metrics needs prometheus-client: pip install 'plc-engine[rtp]'"
            ) from error
        self._families: Any = {True: CounterMetricFamily, False: GaugeMetricFamily}
        choose = prometheus_client.exposition.choose_encoder
        self._networks = {kind: choose(kind) for kind in ("", _OPENMETRICS)}
        self._collects: list[Collect] = []
        self._pages: dict[str, tuple[float, bytes]] = {}
        self._rested_s = 0.0
        self._server = PageServer(metrics_endpoint(address), self._page)
        self.endpoint = self._server.endpoint

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = self.endpoint.host
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.endpoint.port}/metrics"

    def add(self, collect: Collect) -> None:
        """Serve also what ``collect`` returns, when asked; it runs in another thread."""
        self._collects.append(collect)
        self._pages.clear()

    def _page(self, accept: str) -> tuple[str, bytes]:
        """Return the page in one of two formats, as it was less than a second ago."""
        wanted = _OPENMETRICS if _OPENMETRICS in accept else ""
        encode, kind = self._networks[wanted]
        made_s, page = self._pages.get(wanted, (-math.inf, b""))
        if time.monotonic() - made_s >= _KEPT_S:
            page = encode(self)
            self._pages[wanted] = time.monotonic(), page
        return kind, page

    def collect(self) -> Iterator[Any]:
        """Yield all samples, those of one name together."""
        families: dict[str, Any] = {}
        for collect in list(self._collects):
            for sample in collect():
                family = families.get(sample.name)
                if family is None:
                    family = families[sample.name] = self._families[sample.counts](
                        f"plc_{sample.name}", sample.help, labels=list(sample.labels)
                    )
                family.add_metric(list(sample.labels.values()), sample.value)
                self._rest()
        for family in families.values():
            yield family
            self._rest()

    def _rest(self) -> None:
        """Let others run, if this thread has done so for a while."""
        if time.monotonic() - self._rested_s > _PIECE_S:
            time.sleep(_REST_S)
            self._rested_s = time.monotonic()

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.close()


def metrics_endpoint(text: str) -> Endpoint:
    """Return where metrics are served: on this machine only, unless an address is given."""
    port = text.removeprefix(":")
    whole = f"127.0.0.1:{port}" if port.isdecimal() else text
    return parse_endpoint(whole, "[HOST]:PORT, such as :9464")
