"""Effect of the relay on a stream, and how many it carries: ``plc bench relay``.

``quality`` sends a recording through the impairment and the relay, in simulated time, and compares
the output with the engine offline on the same losses. ``load`` relays many streams in real time and
counts late packets.
"""

import math
import resource
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc import StreamConfig, conceal
from plc.apps.relay import run_relay
from plc.apps.relay_stream import RelayConfig, StreamRelay
from plc.audio.files import AudioReader
from plc.audio.loss import GilbertElliott
from plc.audio.quality import nmse_db
from plc.rtp.codecs import L16
from plc.rtp.config import ReceiverConfig
from plc.rtp.delay import DelayConfig, DelayMode
from plc.rtp.impair import ImpairConfig, Impairment
from plc.rtp.packetizer import Packetizer
from plc.rtp.packets import RtpPacket, build_rtp, parse_rtp
from plc.rtp.udp import Endpoint, UdpPort
from plc_bench.base.pace import turns

_SOURCE = ("192.0.2.1", 5004)


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
    cpu_s_per_s: float
    """Of the workers: 1 is a core."""


def load(streams: int = 64, workers: int = 2, seconds: float = 10.0, loss: float = 0.05) -> Load:
    """Relay mono streams of 48 kHz L16, 10 ms packets, with losses."""
    sink = UdpPort(Endpoint("127.0.0.1", 0))
    ports = [UdpPort(Endpoint("127.0.0.1", 0)) for _ in range(streams)]
    listens = [port.endpoint for port in ports]
    for port in ports:
        port.close()
    configs = [RelayConfig(listen=listen, to=sink.endpoint) for listen in listens]
    stopping = threading.Event()
    sender = threading.Thread(target=_send_all, args=(listens, loss, stopping), daemon=True)
    sender.start()
    reports = run_relay(configs, workers=workers, duration_s=seconds)
    stopping.set()
    sender.join()
    sink.close()
    used = resource.getrusage(resource.RUSAGE_CHILDREN if workers > 1 else resource.RUSAGE_SELF)
    sent = sum(report["relay"]["packets_sent"] for report in reports)
    late = sum(report["relay"]["late_packets_sent"] for report in reports)
    expected = sum(report["jitter_buffer"]["packets_expected"] for report in reports)
    lost = sum(report["jitter_buffer"]["lost_packets"] for report in reports)
    return Load(
        streams=streams,
        workers=workers,
        seconds=seconds,
        packets_sent=sent,
        late_share=late / max(1, sent),
        lateness_p99_ms=max(report["relay"]["lateness_ms"]["p99"] for report in reports),
        lost_share=lost / max(1, expected),
        cpu_s_per_s=(used.ru_utime + used.ru_stime) / seconds,
    )


def _send_all(listens: Sequence[Endpoint], loss: float, stopping: threading.Event) -> None:
    """Send a tone with noise to every stream until told to stop."""
    rng = np.random.default_rng(0)
    t = np.arange(48_000) / 48_000
    tone = 0.2 * np.sin(2 * np.pi * 440 * t) + 0.01 * rng.standard_normal(t.size)
    codec = L16(48_000, 1)
    payloads = [codec.encode(part[:, None]) for part in tone.astype(np.float32).reshape(-1, 480)]
    sources = [GilbertElliott(loss).source(seed) for seed in range(len(listens))]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for k, _ in enumerate(turns(0.01, time.monotonic)):
            if stopping.is_set():
                return
            head = RtpPacket(96, k % 2**16, 480 * k % 2**32, 1, payloads[k % 100])
            packet = build_rtp(head)
            for source, listen in zip(sources, listens, strict=True):
                if not source.take(1)[0]:
                    out.sendto(packet, (listen.host, listen.port))


def quality_of_file(file: Path, seconds: float) -> Quality:
    """Return :func:`quality` of a file's first channel, repeated to fill ``seconds``."""
    with AudioReader(file) as reader:
        rate = reader.sample_rate
        samples = np.concatenate(list(reader.stream(rate)))[:, 0]
    signal = np.resize(samples, round(seconds * rate))
    # Fixed, so that the two can be laid over each other sample for sample.
    return quality(signal, rate, delay=DelayConfig(mode=DelayMode.FIXED, delay_ms=60.0))
