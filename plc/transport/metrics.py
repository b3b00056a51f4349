"""Metrics of the streams for Prometheus: ``--metrics :9464``.

Each metric is a row of a table below: its name, type, meaning, and how it is read. The names are
those of W3C's *Identifiers for WebRTC's Statistics API* [1]_ where it has one, written as
Prometheus writes names: in small letters, with ``plc_`` in front, the unit behind and, for
counters, ``_total``. Each metric has a label ``stream``. Durations are histograms, which can be
summed over streams and machines; ``/healthz`` says whether the program works.

The audio path does no work for the metrics: a scrape reads, in a thread of its own, counters that
exist anyway. Connections cannot delay the audio: see :mod:`plc.transport.service.page_server`.

.. [1] https://www.w3.org/TR/webrtc-stats/#inboundrtpstats-dict*
"""

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from plc.engine.stream.stats import TimeHistogram
from plc.extras import needed
from plc.jsonable import to_json
from plc.transport.rtp.multicast import in_url
from plc.transport.rtp.playout import Playout
from plc.transport.rtp.srtp import SrtpReceiver, merged
from plc.transport.rtp.udp import Endpoint, parse_endpoint
from plc.transport.service.page_server import PageServer

if TYPE_CHECKING:
    from plc.transport.live.live import Live
    from plc.transport.relay.relayed import StreamRelay

_OPENMETRICS = "application/openmetrics-text"
# A page is served again for this long; a scraper comes every few seconds.
_KEPT_S = 1.0
# Work on a page at once, and the pause after it.
_PIECE_S = 0.0002
_REST_S = 0.001

# What takes a share of a packet, and what is a delay; in s.
_SHORT_S = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1)
_LONG_S = (1e-3, 2.5e-3, 5e-3, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)

Health = Callable[[], tuple[bool, dict[str, Any]]]
"""Returns whether the program works, and what more is to be said of it."""
Kind = Literal["counter", "gauge", "histogram"]
Values = Iterable[tuple[tuple[str, ...], float]]
"""Values of a metric with labels of its own: the labels' values, and the number."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: its name, meaning, and how it is read."""

    name: str
    """Without ``plc_`` and ``_total``."""
    read: Callable[[Any], Any]
    """Returns the number of a source, or :data:`Values` if there are labels; None: there is none.

    Of a histogram, :class:`Buckets` in place of each number.
    """
    help: str
    labels: tuple[str, ...] = ()
    """Besides ``stream``."""
    kind: Kind = "counter"

    def samples(self, stream: str, source: Any) -> Iterator["Sample"]:
        """Yield the present values of a source."""
        value = self.read(source)
        if value is None:
            return
        for labels, number in value if self.labels else [((), value)]:
            yield Sample(self, (stream, *labels), number)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one metric."""

    metric: Metric
    labels: tuple[str, ...]
    """Values of ``stream`` and of the metric's own labels."""
    value: Any
    """A number, or :class:`Buckets`."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Durations counted up to each bound."""

    counts: list[tuple[str, int]]
    """By the bound in s, as text; the last is infinite."""
    sum_s: float


def buckets_of(times: TimeHistogram, bounds_s: tuple[float, ...]) -> Buckets:
    """Return the durations by bound.

    Counts are right to 2.4 % of a bound, the sum to 1.2 %.
    """
    described = times.as_dict()
    first_ms, in_decade = described["first_ms"], described["buckets_per_decade"]
    ends = [round(in_decade * math.log10(1000.0 * bound / first_ms)) for bound in bounds_s]
    counts, sum_ms = [0] * (len(ends) + 1), 0.0
    for place, count in described["counts"].items():
        counts[bisect_right(ends, place)] += count
        sum_ms += count * first_ms * 10.0 ** ((place + 0.5) / in_decade)
    labels = [f"{bound:g}" for bound in bounds_s] + ["+Inf"]
    return Buckets(list(zip(labels, accumulate(counts), strict=True)), sum_ms / 1000.0)


Collect = Callable[[], Iterable[Sample]]


def _counts(of: str, **texts: str) -> list[Metric]:
    return [Metric(name, attrgetter(f"{of}.{name}"), text) for name, text in texts.items()]


def _gauge(
    name: str, read: Callable[[Any], Any], text: str, labels: tuple[str, ...] = ()
) -> Metric:
    return Metric(name, read, text, labels, "gauge")


def _times(name: str, path: str, bounds_s: tuple[float, ...], text: str) -> Metric:
    read = attrgetter(path)
    return Metric(name, lambda source: buckets_of(read(source), bounds_s), text, (), "histogram")


def _devices(path: str) -> Callable[["Live"], Values]:
    read = attrgetter(path)
    return lambda live: [((port.direction,), read(port)) for port in live.ports]


def _discarded(playout: Playout) -> int:
    return playout.received.late_packets + playout.received.overflow_packets


def _malformed(playout: Playout) -> int:
    return sum(dict(playout.stats.malformed_packets).values())


def _rungs(playout: Playout) -> Values:
    return [((rung,), samples) for rung, samples in dict(playout.concealment.rung_samples).items()]


def _push_times(playout: Playout) -> list[tuple[tuple[str, ...], Buckets]]:
    stats = playout.concealment
    times = {"received": stats.good_time, "concealed": stats.concealed_time}
    return [((kind,), buckets_of(each, _SHORT_S)) for kind, each in times.items()]


def _peer(name: str) -> Callable[["StreamRelay"], float | None]:
    """Return a reader of an attribute of the last receiver report."""

    def read(relay: "StreamRelay") -> float | None:
        peer = None if relay.reports is None else relay.reports.peer
        return None if peer is None else getattr(peer, name)

    return read


def _jitter(relay: "StreamRelay") -> float | None:
    return None if relay.reports is None else relay.reports.jitter_s


def _srtp(receivers: list[SrtpReceiver]) -> Values | None:
    """Return SRTP's counters by outcome; None where there is no key."""
    counts = merged(receivers)
    if counts is None:
        return None
    return [((name.removesuffix("_packets"),), count) for name, count in counts.items()]


def _paths(name: str) -> Callable[["StreamRelay"], Values]:
    return lambda relay: [
        ((str(number),), getattr(path.stats, name)) for number, path in enumerate(relay.paths, 1)
    ]


PLAYOUT_METRICS = (
    *_counts(
        "received",
        packets_received="RTP packets, without duplicates",
        duplicate_packets="packets received again",
        redundant_packets="packets taken from redundancy",
        source_changes="senders that took over or restarted",
    ),
    _gauge("packets_lost", attrgetter("received.lost_packets"), "packets expected, not received"),
    Metric("packets_discarded", _discarded, "packets too late, or beyond a full buffer"),
    *_counts(
        "stats",
        unknown_packets="packets of another payload type",
        undecodable_packets="packets that cannot be decoded",
    ),
    Metric("malformed_packets", _malformed, "datagrams that are not RTP"),
    Metric("samples_received", attrgetter("concealment.total_samples_received"), "samples played"),
    *_counts(
        "concealment",
        concealed_samples="samples concealed",
        silent_concealed_samples="concealed samples of comfort noise alone",
        concealment_events="bursts concealed",
        detected_dropouts="blocks with a dropout (--detect-dropouts)",
        rung_changes="changes of the rung, by time or network",
        deadline_misses="concealments over their time limit",
    ),
    *(
        Metric(name, attrgetter(f"received.{own}"), text)
        for name, own, text in (
            ("inserted_samples_for_deceleration", "inserted_samples", "inserted to play slower"),
            ("removed_samples_for_acceleration", "removed_samples", "removed to play faster"),
            ("jitter_buffer_delay_seconds", "waited_s", "seconds waited, of all samples"),
            ("jitter_buffer_target_delay_seconds", "aimed_s", "the same, of the target delay"),
            ("jitter_buffer_emitted_count", "emitted_samples", "samples of these two sums"),
        )
    ),
    Metric("rung_samples", _rungs, "concealed samples by rung", ("rung",)),
    Metric("push_seconds", _push_times, "concealer's time for a packet", ("packet",), "histogram"),
    _gauge("delay_seconds", lambda p: max(0.0, p.delay_s), "delay of the last block"),
    _gauge("target_delay_seconds", attrgetter("buffer.receiver.target_s"), "target delay"),
    _gauge("stretch_ratio", lambda p: p.buffer.receiver.step - 1.0, "share of faster playing"),
)
"""Of a :class:`~plc.transport.rtp.playout.Playout`: ``plc relay`` and ``plc live``."""

SRTP_METRICS = (
    Metric("srtp_packets", _srtp, "packets opened, or why refused (`--key-file`)", ("outcome",)),
)
"""Of the :class:`~plc.transport.rtp.srtp.SrtpReceiver` of a stream's paths."""

RELAY_METRICS = (
    *_counts(
        "stats",
        datagrams_received="datagrams received",
        refused_datagrams="datagrams of other senders",
        capped_datagrams="datagrams above --packets-per-s",
        packets_sent="packets sent",
        late_packets_sent="packets sent a packet late or more",
        skipped_packets="packets left out: asleep, or no time",
        hurried_packets="packets made cheaply: little time",
        unwritten_samples="samples that a disk did not take",
    ),
    _times("late_seconds", "stats.lateness", _SHORT_S, "time from due to sent, of packets sent"),
    _times("sent_delay_seconds", "stats.delay", _LONG_S, "delay that the relay added"),
    Metric("path_packets", _paths("packets"), "packets of a path (ST 2022-7)", ("path",)),
    Metric(
        "path_first_packets", _paths("first_packets"), "of these, first by that path", ("path",)
    ),
    _gauge("received_jitter_seconds", _jitter, "jitter as RTCP states it (--rtcp)"),
    _gauge("remote_fraction_lost", _peer("lost_ratio"), "share lost by the receiver (--rtcp)"),
    _gauge("remote_jitter_seconds", _peer("jitter_s"), "jitter at the receiver (--rtcp)"),
    _gauge("remote_round_trip_seconds", _peer("round_trip_s"), "to the receiver and back (--rtcp)"),
)
"""Of a :class:`~plc.transport.relay.relayed.StreamRelay`."""

LIVE_METRICS = (
    *_counts(
        "engine.stats",
        starved_samples="silence played for late blocks",
        unheard_blocks="blocks made without an output",
        absent_packets="packets concealed while the input was away",
    ),
    _gauge("concealing", lambda live: live.engine.playout.conceals, "0 while switched off by key"),
    _times("played_delay_seconds", "engine.stats.delay", _LONG_S, "delay from input to output"),
    _times("step_seconds", "engine.stats.step_time", _SHORT_S, "time that a block took to make"),
    _gauge("reserve_seconds", attrgetter("engine.sink.reserve_s"), "audio ready for the output"),
    *(
        Metric(f"device_{name}", _devices(f"stats.{own}"), text, ("direction",))
        for name, own, text in (
            ("losses", "losses", "device losses"),
            ("xruns", "breaks", "breaks reported by the device"),
            ("missed_samples", "missed_samples", "samples without room, or not ready in time"),
        )
    ),
    _gauge(
        "device_open",
        lambda live: [((port.direction,), port.stream is not None) for port in live.ports],
        "1 while the device is open",
        ("direction",),
    ),
)
"""Of a :class:`~plc.transport.live.live.Live` and its devices."""


def relay_samples(stream: str, relay: "StreamRelay") -> Iterator[Sample]:
    """Yield the counters of a stream through the relay."""
    srtp = SRTP_METRICS, relay.srtp_receivers
    return _samples(stream, (PLAYOUT_METRICS, relay.playout), srtp, (RELAY_METRICS, relay))


def live_samples(stream: str, live: "Live") -> Iterator[Sample]:
    """Yield the counters of a live stream and its devices."""
    srtp = SRTP_METRICS, live.engine.srtp_receivers
    return _samples(stream, (PLAYOUT_METRICS, live.engine.playout), srtp, (LIVE_METRICS, live))


def _samples(stream: str, *tables: tuple[Iterable[Metric], Any]) -> Iterator[Sample]:
    for metrics, source in tables:
        for metric in metrics:
            yield from metric.samples(stream, source)


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
        with needed("--metrics needs prometheus-client", "rtp"):
            import prometheus_client
            from prometheus_client import core
        self._families: dict[Kind, Any] = {
            "counter": core.CounterMetricFamily,
            "gauge": core.GaugeMetricFamily,
            "histogram": core.HistogramMetricFamily,
        }
        choose = prometheus_client.exposition.choose_encoder
        self._encoders = {kind: choose(kind) for kind in ("", _OPENMETRICS)}
        self._collects: dict[str, Collect] = {}
        self._health: Health = lambda: (False, {"status": "starting"})
        self._pages: dict[str, tuple[float, bytes]] = {}
        self._rested_s = 0.0
        pages = {"/metrics": self._page, "/healthz": self._health_page, "/": self._page}
        self._server = PageServer(metrics_endpoint(address), pages)
        self.endpoint = self._server.endpoint

    @property
    def url(self) -> str:
        """Address for a browser on this machine."""
        host = self.endpoint.host
        here = in_url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host))
        return f"http://{here}:{self.endpoint.port}/metrics"

    def add(self, stream: str, collect: Collect) -> None:
        """Serve a stream's metrics too; ``collect`` runs in another thread."""
        self._collects = self._collects | {stream: collect}
        self._pages.clear()

    def remove(self, stream: str) -> None:
        """Serve a stream's samples no longer."""
        self._collects = {name: each for name, each in self._collects.items() if name != stream}
        self._pages.clear()

    def serve_health(self, health: Health) -> None:
        """Serve the answer of ``health`` at ``/healthz``."""
        self._health = health

    def _health_page(self, _accept: str) -> tuple[int, str, bytes]:
        works, said = self._health()
        return 200 if works else 503, "application/json", to_json(said).encode() + b"\n"

    def _page(self, accept: str) -> tuple[int, str, bytes]:
        """Return the page, at most a second old, in either format."""
        wanted = _OPENMETRICS if _OPENMETRICS in accept else ""
        encode, kind = self._encoders[wanted]
        made_s, page = self._pages.get(wanted, (-math.inf, b""))
        if time.monotonic() - made_s >= _KEPT_S:
            page = encode(self)
            self._pages[wanted] = time.monotonic(), page
        return 200, kind, page

    def collect(self) -> Iterator[Any]:
        """Yield all samples, one name after another."""
        families: dict[str, Any] = {}
        for collect in self._collects.values():
            for sample in collect():
                metric = sample.metric
                family = families.get(metric.name)
                if family is None:
                    family = families[metric.name] = self._families[metric.kind](
                        f"plc_{metric.name}", metric.help, labels=["stream", *metric.labels]
                    )
                if isinstance(sample.value, Buckets):
                    family.add_metric(sample.labels, sample.value.counts, sample.value.sum_s)
                else:
                    family.add_metric(sample.labels, sample.value)
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


def metrics_endpoint(text: str) -> Endpoint:
    """Return where metrics are served: on this machine only, unless an address is given."""
    port = text.removeprefix(":")
    whole = f"127.0.0.1:{port}" if port.isdecimal() else text
    return parse_endpoint(whole, "[HOST]:PORT, such as :9464")
