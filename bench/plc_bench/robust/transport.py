"""How many streams the relay carries: ``plc bench robust relay-load`` and ``relay-cost``.

``load`` relays many streams in real time and counts late packets; ``cost`` times a packet.
"""

import multiprocessing
import resource
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import count, islice
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np

from plc import StreamConfig, children
from plc.ending import stopped_by
from plc.engine.loss import GilbertElliott, LossSource
from plc.programs.demo import clip_audio
from plc.transport.relay.relay import Relay, run_relay
from plc.transport.relay.relayed import RelayConfig
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.packets import RtpPacket, build_rtp
from plc.transport.rtp.udp import Endpoint, UdpPort
from plc_bench.base.pace import turns

# Ticks before a stream plays, and its concealer knows it.
_BEGIN = 150
# Processes of a relay in real time, and the share of its packets that is lost.
_WORKERS, _LOSS = 2, 0.05
# A sender is there within this time.
_START_S = 60.0


def cost(
    streams: int = 32, seconds: float = 5.0, loss: float = 0.05, method: str = "auto"
) -> dict[str, Any]:
    """Relay streams in simulated time, none prepared, and time both ends in this thread.

    Returns
    -------
    dict
        ``receive_us`` and ``send_us``: processor time of a packet, without the loop that waits
        for packets; sending has the jitter buffer, the concealment and the socket.
    """
    with ExitStack() as opened:
        sink = UdpPort(Endpoint("127.0.0.1", 0))
        opened.callback(sink.close)
        stream = StreamConfig(method=method, prepare="never")
        receiver = ReceiverConfig(stream=stream)
        config = RelayConfig(listen=sink.endpoint, to=sink.endpoint, receiver=receiver)
        relay = Relay([replace(config, listen=Endpoint("127.0.0.1", 0))] * streams)
        opened.callback(relay.close)
        receive_us, send_us = _timed(relay, sink, streams, round(100 * seconds), loss)
    settings = {"streams": streams, "method": method, "loss": loss}
    return {**settings, "receive_us": receive_us, "send_us": send_us}


def _timed(
    relay: Relay, sink: UdpPort, streams: int, ticks: int, loss: float
) -> tuple[float, float]:
    """Return the processor time of a packet at both ends, in us."""
    spent_s = np.zeros(2)
    for k, at, packet in islice(_packets(streams, loss), (ticks + _BEGIN) * streams):
        port, now_s = relay.ports[at], (k + at / streams) / 100
        if packet is not None:
            sink.send(packet, ("127.0.0.1", port.endpoint.port))
        began_s = time.thread_time()
        for datagram, source in port.arrived():
            relay.receive(at, datagram, source, now_s)
        received_s = time.thread_time()
        relay.advance(now_s)
        if k >= _BEGIN:
            spent_s += received_s - began_s, time.thread_time() - received_s
    receive_us, send_us = (1e6 * spent_s / (ticks * streams)).tolist()
    return receive_us, send_us


def load(streams: int = 64, seconds: float = 10.0, method: str = "auto") -> dict[str, Any]:
    """Relay mono streams of 48 kHz L16, 10 ms packets, 5 % lost; a process sends them.

    Returns
    -------
    dict
        ``late_share``: of the packets sent, more than a packet length after they were due;
        ``by_networks``: of the concealed samples; ``cpu_s_per_s``: cores that the workers used,
        with their start.
    """
    with ExitStack() as opened:
        here = Endpoint("127.0.0.1", 0)
        sink, *inputs = (opened.enter_context(closing(UdpPort(here))) for _ in range(streams + 1))
        listens = [port.endpoint for port in inputs]
        for port in inputs:
            port.close()
        receiver = ReceiverConfig(stream=StreamConfig(method=method))
        configs = [RelayConfig(listen=at, to=sink.endpoint, receiver=receiver) for at in listens]
        context = multiprocessing.get_context("spawn")
        with children.undisturbed():
            ready = context.Event()
            sender = context.Process(target=_send_all, args=(listens, ready), daemon=True)
            sender.start()
        opened.callback(children.end, [sender])
        ready.wait(_START_S)
        reports = run_relay(configs, workers=_WORKERS, duration_s=seconds)
        if number := stopped_by():  # before its time: this is no measurement
            raise SystemExit(128 + number)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
    sent = sum(report["relay"]["packets_sent"] for report in reports)
    late = sum(report["relay"]["late_packets_sent"] for report in reports)
    expected = sum(report["jitter_buffer"]["packets_expected"] for report in reports)
    lost = sum(report["jitter_buffer"]["lost_packets"] for report in reports)
    rungs = [report["concealment"]["rung_samples"] for report in reports]
    by_networks = sum(n for each in rungs for name, n in each.items() if "network" in name)
    return {
        "streams": streams,
        "workers": _WORKERS,
        "seconds": seconds,
        "packets_sent": sent,
        "late_share": late / max(1, sent),
        "lateness_p99_ms": max(report["relay"]["lateness_ms"]["p99"] for report in reports),
        "lost_share": lost / max(1, expected),
        "by_networks": by_networks / max(1, sum(sum(each.values()) for each in rungs)),
        "cpu_s_per_s": (used.ru_utime + used.ru_stime) / seconds,
    }


def _packets(streams: int, loss: float) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield tick, stream and packet of each, without end: speech or music; None: it is lost."""
    codec = L16(48_000, 1)
    clips = [_payloads(codec, name) for name in ("music", "speech")]
    sources = _sources(streams, loss)
    for k in count():
        for at, source in enumerate(sources):
            clip = clips[at % len(clips)]
            head = RtpPacket(96, k % 2**16, 480 * k % 2**32, 1, clip[(k + 37 * at) % len(clip)])
            lost = source is not None and source.take(1)[0]
            yield k, at, None if lost else build_rtp(head)


def _sources(streams: int, loss: float) -> list[LossSource | None]:
    return [GilbertElliott(loss).source(seed) if loss else None for seed in range(streams)]


def _payloads(codec: L16, name: str) -> list[bytes]:
    """Return a clip of the package in packets of 10 ms."""
    signal, rate = clip_audio(name)
    at = np.arange(signal.size * 48_000 // rate) * rate / 48_000
    rows = np.interp(at, np.arange(signal.size), signal)[: at.size // 480 * 480].reshape(-1, 480)
    return [codec.encode(row[:, None]) for row in rows.astype(np.float32)]


def _send_all(listens: Sequence[Endpoint], ready: Event) -> None:
    """Send to every stream, one after another in each packet's time, until ended."""
    every = turns(0.01 / len(listens), time.monotonic)
    ready.set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for _, (_, at, packet) in zip(every, _packets(len(listens), _LOSS), strict=False):
            if packet is not None:
                out.sendto(packet, (listens[at].host, listens[at].port))
