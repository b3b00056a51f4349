"""Cost of a packet through the sidecar and from C: ``plc bench robust sidecar``.

``sidecar`` sends a stream's packets through ``plc serve``, one at a time, and times the round
trips, beside those of a process that only echoes as many bytes. ``c`` times ``plc_push`` from a C
program.
"""

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from plc.embed.client import Client
from plc.embed.library import build_library
from plc.embed.models import write_models
from plc.embed.served_stream import EmbeddedConfig, Flag, Format
from plc.embed.wire import HEADER
from plc.engine.samples import Packet
from plc.engine.stats import TimeHistogram, percentiles
from plc.errors import NetworkError
from plc_bench.base.corpus import find_clips, read_clip
from plc_bench.base.pace import turns
from plc_bench.base.synth import music
from plc_kernels.build.targets import X86_64, machine

_Result = TypeVar("_Result")

_START_S = 60.0
_RATE = 48_000
_SETTLE_PACKETS = 200
_SERVE = "import sys; from plc.embed.server import run_sidecar; run_sidecar(sys.argv[1])"
_ECHO = (
    "import sys; from plc_bench.robust.embedding import echo; echo(sys.argv[1], int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Times from a packet's sending to its answer's arrival, ms."""

    packets: int
    lost_packets: int
    null_ms: dict[str, float]
    """Of as many bytes to a process that echoes them."""
    received_ms: dict[str, float]
    concealed_ms: dict[str, float]
    inside_received_ms: dict[str, float]
    """Of these, inside the engine."""
    inside_concealed_ms: dict[str, float]


def round_trips(
    packets: int = 20_000,
    loss: float = 0.0,
    settings: EmbeddedConfig | None = None,
    pace: bool = False,
) -> RoundTrips:
    """Measure a stream through a sidecar in a process of its own.

    Parameters
    ----------
    packets : int
        How many.
    loss : float
        Share that is lost.
    settings : EmbeddedConfig, optional
        Of the stream; by default 48 kHz, mono, 10 ms, int16.
    pace : bool
        Send a packet in each packet's time rather than one after the other.
    """
    settings = settings or EmbeddedConfig(format=Format.INT16)
    samples = _packets(settings)
    lost = np.random.default_rng(1).random(packets) < loss
    received, concealed = TimeHistogram(), TimeHistogram()
    gap_s = settings.stream.packet_ms / 1000.0 if pace else 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plc.sock"
        with _process(path, "-c", _SERVE, str(path)):
            null = _null_round_trips(Path(folder) / "null.sock", settings, packets, gap_s)
            client = _until_there(lambda: Client(path, settings))
            for k in _numbered(packets, gap_s):
                packet = (
                    None
                    if k >= _SETTLE_PACKETS and lost[k - _SETTLE_PACKETS]
                    else samples[k % len(samples)]
                )
                began = time.perf_counter()
                _, flags = client.push(packet)
                elapsed_ms = 1e3 * (time.perf_counter() - began)
                if k >= _SETTLE_PACKETS:
                    (concealed if flags & Flag.CONCEALED else received).add(elapsed_ms)
            counters = client.stats()
            client.end()
    return RoundTrips(
        packets=packets,
        lost_packets=int(lost.sum()),
        null_ms=null,
        received_ms=percentiles(received),
        concealed_ms=percentiles(concealed),
        inside_received_ms=counters["good_time_ms"],
        inside_concealed_ms=counters["concealed_time_ms"],
    )


def _packets(settings: EmbeddedConfig) -> list[Packet]:
    signal = music(settings.stream.sample_rate, 2.0, channels=settings.stream.channels)
    count = signal.shape[0] // settings.stream.packet_samples
    signal = signal[: count * settings.stream.packet_samples].reshape(count, *settings.shape)
    if settings.format is Format.INT16:
        return list(np.rint(signal * 32767.0).astype(np.int16))
    return list(signal)


def _null_round_trips(
    path: Path, settings: EmbeddedConfig, packets: int, gap_s: float
) -> dict[str, float]:
    """Return the percentiles of round trips to a process that echoes."""
    frame = bytes(HEADER.size + settings.packet_bytes)
    memory = bytearray(len(frame))
    times = TimeHistogram()
    with _process(path, "-c", _ECHO, str(path), str(len(frame))):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with connection:
            _until_there(lambda: connection.connect(str(path)))
            for k in _numbered(packets, gap_s):
                began = time.perf_counter()
                connection.sendall(frame)
                connection.recv_into(memory, len(frame), socket.MSG_WAITALL)
                if k >= _SETTLE_PACKETS:
                    times.add(1e3 * (time.perf_counter() - began))
    return percentiles(times)


def echo(path: str, size: int) -> None:
    """Echo the bytes of one client, ``size`` at a time."""
    memory = bytearray(size)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(1)
        connection, _ = listener.accept()
        with connection:
            while connection.recv_into(memory, size, socket.MSG_WAITALL):
                connection.sendall(memory)


@contextlib.contextmanager
def _process(path: Path, *arguments: str) -> Iterator[None]:
    """Run this Python with those arguments while the context lasts."""
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL)
    try:
        _until_there(path.lstat)
        yield
    finally:
        process.terminate()
        process.wait(_START_S)


def _numbered(packets: int, gap_s: float) -> Iterator[int]:
    """Count packets up, those to settle included, one each ``gap_s`` seconds."""
    for k, _ in zip(range(packets + _SETTLE_PACKETS), turns(gap_s), strict=False):
        yield k


def _until_there(attempt: Callable[[], _Result]) -> _Result:
    """Return the result of ``attempt`` once it raises no network error."""
    end_s = time.monotonic() + _START_S
    while True:
        try:
            return attempt()
        except (OSError, NetworkError):
            if time.monotonic() > end_s:
                raise
            time.sleep(0.02)


def push_from_c(
    packets: int,
    lost_every: int,
    sizes: tuple[int, ...] = (64, 480),
    prepare: bool = False,
    share: float = 0.0,
    clips: tuple[Path, ...] = (),
) -> dict[str, dict[str, object]]:
    """Time ``plc_push`` in a C program, in µs.

    Parameters
    ----------
    packets : int
        How many of each size: 48 kHz, mono, float32.
    lost_every : int
        Period of the lost packets; 0: none.
    sizes : tuple of int
        Samples of a packet.
    prepare : bool
        Whether ``plc_prepare`` is called after each, untimed.
    share : float
        Most of a packet's duration that a lost one may take (``work_limit``); 0: no limit.
    clips : tuple of Path
        Audio files or folders to push, with the network for speech; none: two tones, without it.

    Returns
    -------
    dict
        By size and type of processor, such as ``"64, x86-64-v3"``.
    """
    with tempfile.TemporaryDirectory() as folder:
        built = build_library(folder)
        program = Path(folder) / "push_cost"
        source = Path(__file__).parent / "push_cost.c"
        compiler = ["cc", "-O2", "-D_GNU_SOURCE", str(source), "-o", str(program), "-lm"]
        subprocess.run([*compiler, *built.flags.split()], check=True)
        more = [str(int(prepare)), str(share)]
        if clips:
            sound = Path(folder) / "sound.f32"
            parts = [read_clip(clip, _RATE).signal[:, 0] for clip in find_clips(clips)]
            np.concatenate(parts).astype(np.float32).tofile(sound)
            model = next(path for path in write_models(Path(folder)) if path.stem == "speech")
            more += [str(sound), str(model)]
        levels = (2, 3, 4) if machine() == X86_64 else (0,)
        reports: dict[str, dict[str, object]] = {}
        for size, level in itertools.product(sizes, levels):
            command = [str(program), str(packets), str(lost_every), str(size), str(level)]
            command += more
            done = subprocess.run(command, capture_output=True, text=True, check=not level)
            if done.returncode == 0:  # else this processor is not of the type
                report = json.loads(done.stdout)
                reports[f"{size}, {report.pop('processor')}"] = report
        return reports
