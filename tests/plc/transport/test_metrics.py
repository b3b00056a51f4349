"""What Prometheus is told."""

import json
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from plc.errors import ConfigError, MissingExtraError, NetworkError
from plc.transport.live.live import Live
from plc.transport.metrics import (
    LIVE_METRICS,
    PLAYOUT_METRICS,
    RELAY_METRICS,
    SRTP_METRICS,
    Exporter,
    Sample,
    live_samples,
    relay_samples,
)
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.playout import Playout
from plc.transport.rtp.rtcp import Peer
from plc.transport.rtp.srtp import SrtpKey, SrtpSender
from plc.transport.rtp.udp import Endpoint
from tests.plc.configs import changed, playout_of
from tests.plc.transport.live.test_live import CONFIG, Bench
from tests.plc.transport.programs import plc
from tests.plc.transport.streams import BLOCK, RATE, fixed, packets_of
from tests.signals import tones

pytest.importorskip("prometheus_client")


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    with closing(Exporter("127.0.0.1:0")) as opened:
        yield opened


def scrape(exporter: Exporter) -> str:
    with urllib.request.urlopen(exporter.url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def value(text: str, name: str, **labels: str) -> float:
    inside = ",".join(f'{key}="{text_}"' for key, text_ in sorted(labels.items()))
    found = re.search(rf"^plc_{name}\{{{re.escape(inside)}\}} (\S+)$", text, re.MULTILINE)
    assert found, f"no {name} {labels} in {text}"
    return float(found[1])


def played(lost: set[int], late: set[int]) -> Playout:
    """Return a playout after 200 packets, of which some are lost and some come too late."""
    delay = fixed(20.0)
    playout = playout_of(L16(RATE, 1), BLOCK, delay, model="ar", budget_ms=float("inf"))
    datagrams = packets_of(tones(1, RATE, 200 * BLOCK))
    for number in range(205):
        now_s = number * BLOCK / RATE
        if number < 200 and number not in lost | late:
            playout.put(datagrams[number], now_s)
        if number - 10 in late:
            playout.put(datagrams[number - 10], now_s)
        playout.tick(now_s)
    return playout


def playout_samples(stream: str, playout: Playout) -> Iterator[Sample]:
    for metric in PLAYOUT_METRICS:
        yield from metric.samples(stream, playout)


def test_a_stream_is_counted_by_the_names_of_webrtc(exporter: Exporter) -> None:
    playout = played(lost={50, 51, 120}, late={90})
    exporter.add("here", lambda: playout_samples("here", playout))
    text = scrape(exporter)
    at = {"stream": "here"}
    assert value(text, "packets_received_total", **at) == 197
    assert value(text, "packets_lost", **at) == 3
    assert value(text, "packets_discarded_total", **at) == 1
    concealed = playout.concealment
    assert value(text, "concealed_samples_total", **at) == concealed.concealed_samples >= 640
    assert value(text, "concealment_events_total", **at) == concealed.concealment_events >= 3
    assert value(text, "samples_received_total", **at) == concealed.total_samples_received
    emitted = value(text, "jitter_buffer_emitted_count_total", **at)
    waited_s = value(text, "jitter_buffer_delay_seconds_total", **at)
    assert 0.02 <= waited_s / emitted < 0.04
    assert value(text, "jitter_buffer_target_delay_seconds_total", **at) / emitted == pytest.approx(
        0.02
    )
    rungs = re.findall(r'^plc_rung_samples_total\{rung="[^"]*",.*\} (\S+)$', text, re.MULTILINE)
    assert sum(map(float, rungs)) == concealed.concealed_samples
    lost = value(text, "push_seconds_count", **at, packet="concealed")
    assert lost >= 4
    assert value(text, "push_seconds_bucket", **at, packet="concealed", le="+Inf") == lost
    assert 0.0 < value(text, "push_seconds_sum", **at, packet="concealed") < 10.0


def test_several_streams_share_a_metric_and_differ_by_their_label(exporter: Exporter) -> None:
    streams = {"a": played(set(), set()), "b": played({10}, set())}
    for name, playout in streams.items():
        exporter.add(name, partial(playout_samples, name, playout))
    text = scrape(exporter)
    assert text.count("# TYPE plc_packets_lost gauge") == 1
    assert value(text, "packets_lost", stream="a") == 0
    assert value(text, "packets_lost", stream="b") == 1
    assert text.count("# HELP plc_concealed_samples_total") == 1


def test_an_address_that_is_taken_or_none_is_refused(exporter: Exporter) -> None:
    with pytest.raises(NetworkError, match="take another port"):
        Exporter(f"127.0.0.1:{exporter.endpoint.port}")
    with pytest.raises(ConfigError, match=r"is not an endpoint; expected \[HOST\]:PORT"):
        Exporter("nonsense")


def test_without_the_library_its_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[rtp\]"):
        Exporter(":0")


@pytest.mark.realtime
def test_a_relay_serves_what_it_counts_and_logs_what_happens() -> None:
    relay = plc(
        *("relay", "--listen", "udp://127.0.0.1:0", "--to", "udp://127.0.0.1:9"),
        *("--sample-rate", RATE, "--model", "ar"),
        *("--metrics", "127.0.0.1:0", "--log-json", "--json"),
    )
    try:
        assert relay.stderr is not None
        url, port = "", 0
        while not (url and port):
            line = relay.stderr.readline()
            assert line, "ended early"
            url = url or line.partition("metrics at ")[2].strip()
            found = re.search(r"127\.0\.0\.1:(\d+) ->", line)
            port = port or (int(found[1]) if found else 0)
        packetizer = Packetizer(L16(RATE, 1), ssrc=1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(40):
                datagram = packetizer.pack(np.zeros((BLOCK, 1), np.float32))
                if number != 20:
                    sender.sendto(datagram, ("127.0.0.1", port))
        stream, text, deadline_s = f"udp://127.0.0.1:{port}", "", time.monotonic() + 30.0
        while 'packets_received_total{stream="' + stream + '"} 39' not in text:
            assert time.monotonic() < deadline_s, text
            with urllib.request.urlopen(url, timeout=10) as answer:
                text = answer.read().decode()
        assert value(text, "packets_lost", stream=stream) == 1
        assert value(text, "datagrams_received_total", stream=stream) == 39
        relay.send_signal(signal.SIGTERM)
        out, errors = relay.communicate(timeout=30)
    finally:
        relay.kill()
        relay.communicate()
    assert relay.returncode == 0, errors
    assert json.loads(out)[0]["relay"]["datagrams_received"] == 39
    events = [json.loads(line)["event"] for line in errors.splitlines()]
    assert "stream_begun" in events


def test_packets_that_srtp_opens_and_refuses_are_counted_by_outcome(exporter: Exporter) -> None:
    pytest.importorskip("pylibsrtp", reason="pylibsrtp is not installed")
    key = SrtpKey(bytes(30))
    config = RelayConfig(listen=Endpoint("127.0.0.1", 0), to=Endpoint("127.0.0.1", 9))
    relay = StreamRelay(
        changed(config, sample_rate=RATE, packet_samples=BLOCK, model="ar", key=key)
    )
    packetizer, sender = Packetizer(L16(RATE, 1), ssrc=1), SrtpSender(key)
    for _ in range(5):
        plain = packetizer.pack(np.zeros((BLOCK, 1), np.float32))
        sealed = sender.seal(plain) or b""
        for datagram in (plain, plain, sealed, sealed, sealed[:9]):
            relay.receive(datagram, ("192.0.2.1", 4000), 0.0)
    exporter.add("here", lambda: relay_samples("here", relay))
    text = scrape(exporter)
    counts = {"opened": 5, "forged": 10, "replayed": 5, "malformed": 5, "excess": 0}
    for outcome, count in counts.items():
        assert value(text, "srtp_packets_total", outcome=outcome, stream="here") == count


def test_every_metric_is_served_and_the_documented_table_is_theirs() -> None:
    bench = Bench(CONFIG)
    bench.run(0.5)
    live = Live(bench.engine, bench.backend, bench.ports)
    config = RelayConfig(listen=Endpoint("127.0.0.1", 0), to=Endpoint("127.0.0.1", 9))
    key = SrtpKey(bytes(30))
    relay = StreamRelay(changed(config, model="ar", rtcp=True, key=key, packet_samples=240))
    assert relay.reports is not None
    relay.reports.peer = Peer(0.25, 3, 0.001, 0.02)
    samples = [*live_samples("a", live), *relay_samples("b", relay)]
    served = {sample.metric for sample in samples}
    rows = ["| metric | type | of | meaning |", "|---|---|---|---|"]
    tables = {
        "both": PLAYOUT_METRICS + SRTP_METRICS,
        "`relay`": RELAY_METRICS,
        "`live`": LIVE_METRICS,
    }
    for where, metrics in tables.items():
        for metric in metrics:
            assert metric in served
            name = f"plc_{metric.name}" + ("_total" if metric.kind == "counter" else "")
            labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
            rows.append(f"| `{name}{labels}` | {metric.kind} | {where} | {metric.help} |")
    text = (Path(__file__).parents[3] / "docs" / "live.md").read_text()
    table = text[text.index("| metric | type |") : text.index("\nThe mean delay is")]
    assert table.splitlines() == rows, "\n".join(rows)
