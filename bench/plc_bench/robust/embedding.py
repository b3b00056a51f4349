"""What a packet costs a program that calls the engine from outside, and whether bytes can break it.

``python -m plc_bench.robust.embedding sidecar`` sends a stream's packets through ``plc serve``, one
at a time, and times the round trips; beside it, those of a process that only sends back what it
gets. ``python -m plc_bench.robust.embedding c`` times ``plc_push`` from a C program.
``python -m plc_bench.robust.embedding fuzz`` gives the sidecar's parser random and damaged frames.
"""

import argparse
import contextlib
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plc.embed.client import Client
from plc.embed.library import build_library
from plc.embed.server import Conversation
from plc.embed.stream import EmbeddedConfig, Flag, Format
from plc.embed.wire import (
    HEADER,
    LOST,
    FrameReader,
    Kind,
    WireError,
    pack,
    pack_hello,
    parse_error,
    parse_hello,
    parse_ready,
)
from plc.engine.config import StreamConfig
from plc.engine.samples import Packet
from plc.engine.stats import TimeHistogram, percentiles
from plc.errors import MissingExtraError, NetworkError
from plc.jsonable import to_json
from plc_bench.base.synth import music

_START_S = 60.0
_SETTLE_PACKETS = 200
_SERVE = "import sys; from plc.embed.server import run_sidecar; run_sidecar(sys.argv[1])"


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Times from a packet's sending to its answer's arrival, ms."""

    packets: int
    lost_packets: int
    null_ms: dict[str, float]
    """Of as many bytes to a process that only sends them back."""
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
            client = _connect(path, settings)
            due_s = time.perf_counter()
            for k in range(packets + _SETTLE_PACKETS):
                while time.perf_counter() < due_s:
                    time.sleep(max(0.0, due_s - time.perf_counter()))
                due_s += gap_s
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
    """Return the percentiles of round trips of the same bytes to a process that echoes them."""
    frame = bytes(HEADER.size + settings.packet_bytes)
    memory = bytearray(len(frame))
    times = TimeHistogram()
    with _process(path, "-m", "plc_bench.robust.embedding", "echo", str(path), str(len(frame))):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with connection:
            _until_there(lambda: connection.connect(str(path)))
            due_s = time.perf_counter()
            for k in range(packets + _SETTLE_PACKETS):
                while time.perf_counter() < due_s:
                    time.sleep(max(0.0, due_s - time.perf_counter()))
                due_s += gap_s
                began = time.perf_counter()
                connection.sendall(frame)
                connection.recv_into(memory, len(frame), socket.MSG_WAITALL)
                if k >= _SETTLE_PACKETS:
                    times.add(1e3 * (time.perf_counter() - began))
    return percentiles(times)


def echo(path: str, size: int) -> None:
    """Send back what one client sends, ``size`` bytes at a time."""
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
    """Run this Python with those arguments for as long as the context lasts."""
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL)
    try:
        _until_there(path.lstat)
        yield
    finally:
        process.terminate()
        process.wait(_START_S)


def _until_there(attempt: object) -> None:
    """Call ``attempt`` until it does not raise an OSError."""
    assert callable(attempt)
    end_s = time.monotonic() + _START_S
    while True:
        try:
            attempt()
            return
        except OSError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.02)


def _connect(path: Path, settings: EmbeddedConfig) -> Client:
    end_s = time.monotonic() + _START_S
    while True:
        try:
            return Client(path, settings)
        except NetworkError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.02)


def push_from_c(packets: int, lost_every: int, model: str) -> str:
    """Return as JSON what ``plc_push`` costs a C program, built for that; times in ms.

    Parameters
    ----------
    packets : int
        Of 480 samples, 48 kHz, mono, int16.
    lost_every : int
        One of so many is lost; 0: none.
    model : str
        As for :class:`~plc.Concealer`.
    """
    with tempfile.TemporaryDirectory() as folder:
        built = build_library(folder)
        program = Path(folder) / "push_cost"
        source = Path(__file__).parent / "push_cost.c"
        compiler = ["cc", "-O2", "-D_GNU_SOURCE", str(source), "-o", str(program)]
        subprocess.run([*compiler, *built.flags.split()], check=True)
        command = [str(program), str(packets), str(lost_every), model]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """What became of random conversations."""

    inputs: int
    """Pieces of bytes that were given."""
    conversations: int
    answers: int
    refused: int
    """Conversations that ended in an ERROR."""
    seconds: float
    growth_mb: float
    """Of the resident memory, after the first tenth."""


def fuzz(inputs: int, seed: int = 0) -> Fuzzed:
    """Give conversations random, damaged and cut frames; any exception is a fault of ours.

    Parameters
    ----------
    inputs : int
        Pieces of bytes, of whatever lengths.
    seed : int
        Of what is drawn.
    """
    rng = random.Random(seed)
    stream = StreamConfig(sample_rate=8000, packet_samples=80, method="repeat", model="ar")
    settings = EmbeddedConfig(stream=stream)
    began = time.monotonic()
    conversations = answers = refused = given = 0
    first_mb = 0.0
    while given < inputs:
        conversation = Conversation()
        conversations += 1
        pieces = rng.randrange(1, 200)
        for piece in _hostile(rng, settings, pieces):
            given += 1
            data = memoryview(piece)
            while data and not conversation.done:
                room = conversation.reader.room()
                count = min(len(room), len(data))
                room[:count] = data[:count]
                conversation.reader.came(count)
                data = data[count:]
                while (answer := conversation.answer()) is not None:
                    answers += 1
                    refused += answer[4] == Kind.ERROR
            if conversation.done:
                break
        conversation.close()
        if not first_mb and given > inputs // 10:
            first_mb = _resident_mb()
    return Fuzzed(
        inputs=given,
        conversations=conversations,
        answers=answers,
        refused=refused,
        seconds=round(time.monotonic() - began, 1),
        growth_mb=round(_resident_mb() - first_mb, 1),
    )


def parse_anything(data: bytes) -> None:
    """Give bytes, cut as the first of them says, to every parser of the protocol."""
    reader = FrameReader(64)
    rest = memoryview(data)
    with contextlib.suppress(WireError):
        while rest:
            room = reader.room()
            count = min(len(room), len(rest), 1 + data[0] % 40)
            room[:count] = rest[:count]
            reader.came(count)
            rest = rest[count:]
            while (frame := reader.next()) is not None:
                _PARSERS.get(frame.kind, bytes)(frame.payload)
    with contextlib.suppress(WireError):
        parse_hello(b"PLC1" + data)


_PARSERS: dict[Kind, Callable[[memoryview], object]] = {
    Kind.HELLO: parse_hello,
    Kind.READY: parse_ready,
    Kind.ERROR: parse_error,
}


def fuzz_by_coverage(inputs: int, seed: int) -> None:
    """Let atheris look for bytes that :func:`parse_anything` does not bear; end the process.

    Parameters
    ----------
    inputs, seed : int
        How many, and of what is drawn.

    Raises
    ------
    MissingExtraError
        If atheris is not installed.
    """
    try:
        import atheris
    except ImportError as error:
        raise MissingExtraError("this needs atheris; pip install atheris") from error
    for function in (FrameReader.next, parse_hello, parse_ready, parse_error):
        atheris.instrument_func(function)
    options = [sys.argv[0], f"-runs={inputs}", f"-seed={seed}", "-max_len=300"]
    atheris.Setup(options, parse_anything)
    atheris.Fuzz()


def _hostile(rng: random.Random, settings: EmbeddedConfig, count: int) -> Iterator[bytes]:
    """Yield bytes of a conversation, most of them sound, cut and damaged here and there."""
    damage = rng.choice((0.0, 0.0, 0.002, 0.05, 0.5))
    yield _damaged(rng, pack_hello(settings), damage)
    for _ in range(count):
        kind = rng.choices(("push", "lost", "ask", "other", "noise"), (50, 20, 2, 0.2, 0.2))[0]
        if kind == "push":
            frame = pack(
                Kind.PUSH, rng.randbytes(settings.packet_bytes), sequence=rng.getrandbits(32)
            )
        elif kind == "lost":
            frame = pack(Kind.PUSH, flags=LOST)
        elif kind == "ask":
            frame = pack(Kind.ASK)
        elif kind == "other":
            frame = pack(rng.choice(tuple(Kind)), rng.randbytes(rng.randrange(700)))
        else:
            frame = rng.randbytes(rng.randrange(1, 400))
        frame = _damaged(rng, frame, damage)
        cut = rng.randrange(len(frame) + 1) if rng.random() < 0.3 else 0
        if cut:
            yield frame[:cut]
        yield frame[cut:]


def _damaged(rng: random.Random, frame: bytes, share: float) -> bytes:
    if rng.random() >= share:
        return frame
    damaged = bytearray(frame)
    for _ in range(rng.randrange(1, 4)):
        damaged[rng.randrange(min(len(damaged), 48))] = rng.randrange(256)
    return bytes(damaged[: rng.randrange(1, len(damaged) + 1)] if rng.random() < 0.3 else damaged)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Run what the arguments ask for, and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    sidecar = commands.add_parser("sidecar")
    sidecar.add_argument("--packets", type=int, default=20_000)
    sidecar.add_argument("--loss", type=float, default=0.0)
    sidecar.add_argument("--model", default="auto")
    sidecar.add_argument("--pace", action="store_true", help="in each packet's own time")
    pushing = commands.add_parser("c")
    pushing.add_argument("--packets", type=int, default=20_000)
    pushing.add_argument("--lost-every", type=int, default=10)
    pushing.add_argument("--model", default="auto")
    fuzzing = commands.add_parser("fuzz")
    fuzzing.add_argument("--inputs", type=int, default=1_000_000)
    fuzzing.add_argument("--seed", type=int, default=0)
    fuzzing.add_argument("--atheris", action="store_true", help="the parsers alone, by coverage")
    echoing = commands.add_parser("echo")
    echoing.add_argument("path")
    echoing.add_argument("size", type=int)
    given = parser.parse_args()
    if given.command == "echo":
        echo(given.path, given.size)
    elif given.command == "c":
        print(push_from_c(given.packets, given.lost_every, given.model), end="")
    elif given.command == "fuzz" and given.atheris:
        fuzz_by_coverage(given.inputs, given.seed)
    elif given.command == "fuzz":
        print(to_json(fuzz(given.inputs, given.seed)))
    else:
        stream = StreamConfig(model=given.model)
        settings = EmbeddedConfig(stream=stream, format=Format.INT16)
        print(to_json(round_trips(given.packets, given.loss, settings, given.pace)))


if __name__ == "__main__":
    main()
