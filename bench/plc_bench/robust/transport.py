"""Effect of the relay on a stream, and how many it carries: ``plc bench robust relay-load``.

``quality`` sends a recording through the impairment and the relay, in simulated time, and compares
the output with the engine offline on the same losses. ``load`` relays many streams in real time and
counts late packets.
"""

import math
import multiprocessing
import resource
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import count, islice
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc import StreamConfig, children, conceal
from plc.ending import stopped_by
from plc.engine.loss import GilbertElliott, LossSource
from plc.files.audio import AudioReader
from plc.files.distances import nmse_db
from plc.programs.demo import clip_audio
from plc.transport.relay.relay import Relay, run_relay
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.impair import ImpairConfig, Impairment
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.packets import RtpPacket, build_rtp, parse_rtp
from plc.transport.rtp.udp import Endpoint, UdpPort
from plc_bench.base.pace import turns

_SOURCE = ("192.0.2.1", 5004)
# Ticks before a stream plays, and its concealer knows it.
_BEGIN = 150
# A sender is there within this time.
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Quality:
    """Error through the relay, and of the engine on the same losses."""

    seconds: float
    lost_packets: int
    nmse_db: float
    """Over the lost samples; silence has 0 dB."""
    offline_nmse_db: float
    missing_samples: int
    """Of the stream's length, that were not sent."""
    delay_p50_ms: float
    delay_max_ms: float
    stretch_ppm: float


def quality(
    signal: NDArray[np.float32],
    sample_rate: int,
    *,
    loss: float = 0.1,
    jitter_ms: float = 30.0,
    packet_ms: float = 10.0,
    delay: DelayConfig,
    seed: int = 1,
) -> Quality:
    """Send ``signal``, float32, shape (n,), through the relay in simulated time."""
    block = round(sample_rate * packet_ms / 1000.0)
    whole = signal[: signal.size // block * block]
    sent = (np.rint(whole * 32767) / 32768).astype(np.float32)
    codec = L16(sample_rate, 1)
    packetizer = Packetizer(codec, ssrc=1)
    impairment = Impairment(ImpairConfig(loss=loss, jitter_ms=jitter_ms), seed)
    stream = StreamConfig(sample_rate=sample_rate, packet_samples=block, budget_ms=math.inf)
    config = RelayConfig(
        listen=Endpoint("127.0.0.1", 0),
        to=Endpoint("127.0.0.1", 9),
        receiver=ReceiverConfig(stream=stream, delay=delay),
        seed=0,
    )
    relay = StreamRelay(config)
    packets = sent.size // block
    trace = np.ones(packets, np.bool_)
    played: list[NDArray[np.float32]] = []
    for tick in range(packets + math.ceil(delay.max_delay_ms / packet_ms) + 2):
        now_s = tick * block / sample_rate
        if tick < packets:
            samples = sent[tick * block : (tick + 1) * block, None]
            impairment.put(packetizer.pack(samples), now_s)
        while impairment.next_s <= now_s:
            at_s = impairment.next_s
            for datagram in impairment.due(at_s):
                packet = parse_rtp(datagram)
                assert isinstance(packet, RtpPacket)
                trace[packet.sequence] = False
                relay.receive(datagram, _SOURCE, at_s)
        while relay.next_s <= now_s:
            heard = relay.play(now_s)
            if heard is not None:
                played.append(heard[:, 0].copy())
    out = np.concatenate(played)
    offline = conceal(sent[:, None], trace, sample_rate=sample_rate, packet_samples=block)[:, 0]
    first = int(np.flatnonzero(~trace)[0]) * block
    begin = _find(out, sent[first:]) - first
    where = np.repeat(trace, block)
    where[:first] = False
    heard_whole = np.zeros_like(sent)
    there = out[max(begin, 0) :][: sent.size]
    heard_whole[: there.size] = there
    times = relay.report()["relay"]["delay_ms"]
    return Quality(
        seconds=sent.size / sample_rate,
        lost_packets=int(trace.sum()),
        nmse_db=nmse_db(sent, heard_whole, where),
        offline_nmse_db=nmse_db(sent, offline.astype(np.float32), where),
        missing_samples=max(0, sent.size - there.size),
        delay_p50_ms=times["p50"],
        delay_max_ms=times["max"],
        stretch_ppm=1e6 * relay.playout.stretch,
    )


def _find(out: NDArray[np.float32], head: NDArray[np.float32]) -> int:
    """Return the offset in ``out`` of the first audible part of ``head``."""
    at = int(np.flatnonzero(np.abs(head) > 1e-3)[0])
    wanted = head[at : at + 64]
    for place in np.flatnonzero(out[: out.size - 64] == wanted[0]):
        if np.array_equal(out[place : place + 64], wanted):
            return int(place) - at
    raise AssertionError("the recording's first samples were not played")


@dataclass(frozen=True, slots=True)
class Load:
    """Many streams in real time."""

    streams: int
    workers: int
    seconds: float
    packets_sent: int
    late_share: float
    """Sent more than a packet length after they were due."""
    lateness_p99_ms: float
    lost_share: float
    by_networks: float
    """Share of the concealed samples."""
    cpu_s_per_s: float
    """Of the workers, with their start: 1 is a core."""


@dataclass(frozen=True, slots=True)
class TransportCost:
    """Processor time of a relayed packet in us, without the loop that waits for packets."""

    streams: int
    method: str
    loss: float
    receive_us: float
    send_us: float
    """With the jitter buffer, the concealment and the socket."""


def cost(
    streams: int = 32, seconds: float = 5.0, loss: float = 0.05, method: str = "auto"
) -> TransportCost:
    """Relay streams in simulated time, none prepared, and time both ends in this thread."""
    with ExitStack() as opened:
        sink = UdpPort(Endpoint("127.0.0.1", 0))
        opened.callback(sink.close)
        stream = StreamConfig(method=method, prepare="never")
        receiver = ReceiverConfig(stream=stream)
        config = RelayConfig(listen=sink.endpoint, to=sink.endpoint, receiver=receiver)
        relay = Relay([replace(config, listen=Endpoint("127.0.0.1", 0))] * streams)
        opened.callback(relay.close)
        receive_us, send_us = _timed(relay, sink, streams, round(100 * seconds), loss)
    return TransportCost(streams, method, loss, receive_us, send_us)


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


def load(
    streams: int = 64,
    workers: int = 2,
    seconds: float = 10.0,
    loss: float = 0.05,
    method: str = "auto",
) -> Load:
    """Relay mono streams of 48 kHz L16, 10 ms packets, with losses; a process sends them."""
    _sources(streams, loss)  # refuses a share before anything is begun
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
            sender = context.Process(target=_send_all, args=(listens, loss, ready), daemon=True)
            sender.start()
        opened.callback(children.end, [sender])
        ready.wait(_START_S)
        reports = run_relay(configs, workers=workers, duration_s=seconds)
        if number := stopped_by():  # before its time: this is no measurement
            raise SystemExit(128 + number)
        used = resource.getrusage(resource.RUSAGE_CHILDREN if workers > 1 else resource.RUSAGE_SELF)
    sent = sum(report["relay"]["packets_sent"] for report in reports)
    late = sum(report["relay"]["late_packets_sent"] for report in reports)
    expected = sum(report["jitter_buffer"]["packets_expected"] for report in reports)
    lost = sum(report["jitter_buffer"]["lost_packets"] for report in reports)
    rungs = [report["concealment"]["rung_samples"] for report in reports]
    by_networks = sum(n for each in rungs for name, n in each.items() if "network" in name)
    return Load(
        streams=streams,
        workers=workers,
        seconds=seconds,
        packets_sent=sent,
        late_share=late / max(1, sent),
        lateness_p99_ms=max(report["relay"]["lateness_ms"]["p99"] for report in reports),
        lost_share=lost / max(1, expected),
        by_networks=by_networks / max(1, sum(sum(each.values()) for each in rungs)),
        cpu_s_per_s=(used.ru_utime + used.ru_stime) / seconds,
    )


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
    """Return the loss source of each stream's packets."""
    return [GilbertElliott(loss).source(seed) if loss else None for seed in range(streams)]


def _payloads(codec: L16, name: str) -> list[bytes]:
    """Return a clip of the package in packets of 10 ms."""
    signal, rate = clip_audio(name)
    at = np.arange(signal.size * 48_000 // rate) * rate / 48_000
    rows = np.interp(at, np.arange(signal.size), signal)[: at.size // 480 * 480].reshape(-1, 480)
    return [codec.encode(row[:, None]) for row in rows.astype(np.float32)]


def _send_all(listens: Sequence[Endpoint], loss: float, ready: Event) -> None:
    """Send to every stream, one after another in each packet's time, until ended."""
    every = turns(0.01 / len(listens), time.monotonic)
    ready.set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for _, (_, at, packet) in zip(every, _packets(len(listens), loss), strict=False):
            if packet is not None:
                out.sendto(packet, (listens[at].host, listens[at].port))


def quality_of_file(file: Path, seconds: float) -> Quality:
    """Return :func:`quality` of a file's first channel, repeated to fill ``seconds``."""
    with AudioReader(file) as reader:
        rate = reader.sample_rate
        samples = np.concatenate(list(reader.stream(rate)))[:, 0]
    signal = np.resize(samples, round(seconds * rate))
    # Fixed, so that the two can be laid over each other sample for sample.
    return quality(signal, rate, delay=DelayConfig(mode=DelayMode.FIXED, delay_ms=60.0))
