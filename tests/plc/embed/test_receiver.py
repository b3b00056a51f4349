"""The receiver of libplc: what ``plc.PlayoutBuffer`` plays, in C."""

import ctypes
import dataclasses
import math
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc import PlayoutBuffer
from plc.transport.rtp.codecs import open_codec
from tests.plc.embed.c_side import EXAMPLE, TOLERANCE, compiled, recording, run
from tests.signals import voice

if TYPE_CHECKING:
    from plc.embed.library import Library

FLOAT32, INT16, MULAW = 1, 2, 3
FOLLOWS = -(2**63)


class Options(ctypes.Structure):
    """``plc_options``."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("struct_size", "sample_rate", "channels")),
        *((name, ctypes.c_uint32) for name in ("packet_samples", "format", "lookahead")),
        *((name, ctypes.c_uint32) for name in ("rung", "processor")),
        ("seed", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("fill", "user", "model")),
        ("work_limit", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("detect_dropouts", "prepare", "content", "zero")),
    )


class Delays(ctypes.Structure):
    """``plc_receiver_options``."""

    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in ("struct_size", "delay_ms", "most_delay_ms", "most_ahead_ms")
    )


class Counters(ctypes.Structure):
    """``plc_receiver_counters``."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("struct_size", "zero")),
        *(
            (f"{name}_samples", ctypes.c_uint64)
            for name in ("received", "duplicate", "late", "lost", "unsent", "refused", "overflow")
        ),
        *((name, ctypes.c_uint64) for name in ("jumps", "waiting_samples")),
    )


class InC:
    """A receiver of libplc with the methods of a :class:`~plc.PlayoutBuffer`."""

    def __init__(self, built: "Library", form: int, given: dict[str, Any]) -> None:
        self.library = ctypes.CDLL(str(built.library))
        for name in ("plc_receive", "plc_play", "plc_receiver_size"):
            getattr(self.library, name).restype = ctypes.c_int64
        options = Options()
        self.library.plc_options_init_sized(ctypes.byref(options), ctypes.sizeof(Options))
        rate, self.channels = given["sample_rate"], given["channels"]
        options.sample_rate, options.channels, options.format = rate, self.channels, form
        options.packet_samples = round(given["packet_ms"] * rate / 1000)
        options.lookahead = given["lookahead"]
        options.prepare = given.get("prepare", 0)
        times = (int(given[name]) for name in ("delay_ms", "max_delay_ms", "most_ahead_s"))
        delay, most, ahead = times
        delays = Delays(ctypes.sizeof(Delays), delay, most, 1000 * ahead)
        self.receiver = ctypes.c_void_p()
        code = self.library.plc_receiver_open(
            ctypes.byref(self.receiver), ctypes.byref(options), ctypes.byref(delays)
        )
        assert code == 0
        self.dtype = {FLOAT32: np.float32, INT16: np.int16, MULAW: np.uint8}[form]

    def put(self, samples: np.ndarray, at: int | None) -> int:
        samples = np.ascontiguousarray(samples)
        count = ctypes.c_size_t(samples.size // self.channels)
        place = ctypes.c_int64(FOLLOWS if at is None else at)
        data = ctypes.c_void_p(samples.ctypes.data)
        return int(self.library.plc_receive(self.receiver, data, count, place))

    def take(self, samples: int, marked: bool = True) -> tuple[np.ndarray, np.ndarray]:
        played = np.zeros((samples, self.channels), self.dtype)
        marks = np.zeros(samples, np.uint8)
        made_up = self.library.plc_play(
            self.receiver,
            ctypes.c_void_p(played.ctypes.data),
            ctypes.c_size_t(samples),
            ctypes.c_void_p(marks.ctypes.data if marked else None),
        )
        assert made_up == marks.sum() or not marked
        return played, marks != 0

    def prepare(self) -> int:
        return int(self.library.plc_receiver_prepare(self.receiver))

    def end(self) -> None:
        assert self.library.plc_receiver_end(self.receiver) == 0

    def clear(self) -> None:
        assert self.library.plc_receiver_clear(self.receiver) == 0

    @property
    def stats(self) -> dict[str, int]:
        counters = Counters(struct_size=ctypes.sizeof(Counters))
        assert self.library.plc_receiver_stats(self.receiver, ctypes.byref(counters)) == 0
        names = [field[0] for field in Counters._fields_[2:]]
        return {name: getattr(counters, name) for name in names}

    def close(self) -> None:
        assert self.library.plc_receiver_close(self.receiver) == 0


SETTINGS: list[dict[str, Any]] = [
    {"sample_rate": 16_000, "channels": 1, "packet_ms": 10.0, "lookahead": 0, "delay_ms": 40.0},
    {"sample_rate": 48_000, "channels": 2, "packet_ms": 10.0, "lookahead": 1, "delay_ms": 60.0},
    {"sample_rate": 8_000, "channels": 1, "packet_ms": 20.0, "lookahead": 0, "delay_ms": 20.0},
]


def schedule(seed: int, rate: int, length: int) -> list[tuple[float, int, int, int | None]]:
    """Return pieces as they come: when, begin, stop and position."""
    rng = np.random.default_rng(seed)
    offset = int(rng.integers(-(2**40), 2**40))
    pieces: list[tuple[float, int, int, int | None]] = []
    begin, stall = 0, 0.0
    while begin < length:
        stop = min(length, begin + int(rng.integers(1, rate // 20)))
        if rng.random() < 0.02:
            stall = begin / rate + rng.uniform(0.1, 1.5)
        arrival = max(begin / rate + rng.exponential(0.01), stall)
        if rng.random() > 0.05:
            position = offset + begin + (int(rng.integers(-9, 9)) if seed % 3 == 0 else 0)
            if rng.random() < 0.01:
                position += int(rng.integers(-(2**33), 2**33))
            pieces.append((arrival, begin, stop, position if seed % 4 else None))
        if rng.random() < 0.03:
            pieces.append((arrival + rng.uniform(0.0, 0.3), begin, stop, offset + begin))
        begin = stop
    return sorted(pieces, key=lambda piece: piece[0])


@pytest.mark.system
@pytest.mark.parametrize("form", [FLOAT32, INT16, MULAW])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("most_ms", [0.0, 400.0])
def test_c_plays_what_python_plays_whatever_comes_and_when(
    built: "Library", settings: dict[str, Any], form: int, most_ms: float
) -> None:
    given = {**settings, "max_delay_ms": most_ms, "most_ahead_s": 3.0}
    rate, channels = given["sample_rate"], given["channels"]
    signal = np.stack([recording("speech", 48_000)[:: 48_000 // rate]] * channels, axis=1) * 0.5
    whole = np.asarray(signal[: 2 * rate], np.float32)
    for seed in range(6):
        rng = np.random.default_rng(100 + seed)
        encoding: Literal["int16", "mulaw"] = "mulaw" if form == MULAW else "int16"
        ours = PlayoutBuffer(**given, encoding=encoding, method="ar", budget_ms=math.inf)
        theirs = InC(built, form, given)
        pieces, taken = schedule(seed, rate, len(whole)), 0
        while taken < 3 * rate:
            while pieces and pieces[0][0] <= taken / rate:
                _, begin, stop, position = pieces.pop(0)
                piece = whole[begin:stop].copy()
                if rng.random() < 0.05:
                    piece[rng.integers(len(piece))] = math.nan
                if form == MULAW:
                    coded = np.frombuffer(rng.bytes(piece.size), np.uint8)
                    assert ours.put(coded.tobytes(), position) == theirs.put(coded, position)
                    continue
                if form == INT16:
                    piece = np.nan_to_num(piece * 32767).astype(np.int16)
                assert ours.put(piece, position) == theirs.put(piece, position)
            for call in ("end", "clear"):
                if rng.random() < 0.002:
                    getattr(ours, call)()
                    getattr(theirs, call)()
            count = int(rng.integers(1, rate // 50))
            if form == FLOAT32:
                expected, marks = ours.take(count)
                played, made_up = theirs.take(count)
                assert np.array_equal(marks, made_up)
            else:
                shape = count, channels
                data, marks = ours.take_bytes(count)
                expected = np.frombuffer(data, theirs.dtype).reshape(shape)
                played, made_up = theirs.take(count)
                assert np.array_equal(marks, made_up)
            atol, rtol = 5 * TOLERANCE, 0.0  # sums have another order, and seconds add up
            if form == INT16:
                atol *= 2**15
            elif form == MULAW:  # whose steps are a 16th
                law = open_codec("pcmu", rate, channels)
                played, expected = (
                    np.asarray(law.decode(each.tobytes())) for each in (played, expected)
                )
                rtol = 0.07
            np.testing.assert_allclose(np.float64(played), expected, atol=atol, rtol=rtol)
            taken += count
        counted = theirs.stats
        assert counted.pop("waiting_samples") == round(ours.buffered_ms * rate / 1000)
        assert counted == dataclasses.asdict(ours.stats)
        theirs.close()


DISTURBANCES: dict[str, Callable[[int, float], float]] = {
    "none": lambda k, at_s: at_s,
    "delays of 0 to 150 ms": lambda k, at_s: at_s + 0.15 * (k * 7919 % 101 / 100),
    "a way that is 150 ms longer": lambda k, at_s: at_s + 0.15,
    "one in 40 is late by 150 ms": lambda k, at_s: at_s + 0.15 * (k % 40 == 7),
    "a stall each 2 s": lambda k, at_s: max(at_s, at_s // 2.0 * 2.0 + 0.3),
}


def waiting_ms(receiver: "PlayoutBuffer | InC", kind: str) -> NDArray[np.float64]:
    """Return what waits at each block of 10 ms; pieces are disturbed from 5 to 15 s."""
    times = 0.01 * np.arange(3000)
    comes = [DISTURBANCES[kind if 5.0 <= t < 15.0 else "none"](k, t) for k, t in enumerate(times)]
    comes = [come_s + 0.002 * (k % 3) for k, come_s in enumerate(comes)]
    order = np.argsort(comes, kind="stable").tolist()
    spoken = np.tile(voice(16_000, 2.0, 140.0, 0.3), 15)[:, None]
    waiting = []
    for tick in range(2900):
        while order and comes[order[0]] <= 0.01 * tick:
            k = order.pop(0)
            receiver.put(spoken[160 * k : 160 * k + 160], 160 * k)
        receiver.take(160)
        if isinstance(receiver, PlayoutBuffer):
            waiting.append(receiver.buffered_ms)
        else:
            waiting.append(receiver.stats["waiting_samples"] / 16.0)
    return np.array(waiting)


@pytest.mark.system
@pytest.mark.parametrize("door", ["Python", "C"])
@pytest.mark.parametrize("kind", [kind for kind in DISTURBANCES if kind != "none"])
def test_ten_seconds_behind_a_disturbance_the_delay_is_as_without(
    built: "Library", kind: str, door: str
) -> None:
    given = {**SETTINGS[0], "max_delay_ms": 400.0, "most_ahead_s": 3.0}
    calm, disturbed = (
        waiting_ms(
            PlayoutBuffer(**given, method="ar", prepare="never")
            if door == "Python"
            else InC(built, FLOAT32, given),
            each,
        )
        for each in ("none", kind)
    )
    assert disturbed[500:1600].max() > 100.0
    assert disturbed[2500:].max() <= calm[2500:].max() + 10.0


@pytest.mark.system
def test_a_receiver_prepares_with_what_waits(built: "Library") -> None:
    given = {**SETTINGS[0], "max_delay_ms": 0.0, "most_ahead_s": 3.0}
    plain = InC(built, FLOAT32, given)
    prepared = InC(built, FLOAT32, given | {"prepare": 1})
    signal = np.asarray(recording("speech", 48_000)[::3], np.float32)[:, None]
    ready = lost = 0
    apart = power = 0.0
    for k in range(len(signal) // 160):
        for each in (plain, prepared):
            if k % 10:
                each.put(signal[160 * k : 160 * k + 160], 160 * k)
        was_ready = prepared.prepare() == 1
        (first, marks), (second, _) = plain.take(160), prepared.take(160)
        # What comes between the preparation and the loss is not in the bridge.
        apart += float(np.sum((first - second) ** 2))
        power += float(np.sum(first**2)) * marks.all()
        if marks.all() and k > 20:
            ready, lost = ready + was_ready, lost + 1
    assert lost >= 20
    assert ready >= 0.9 * lost
    assert apart < 0.05 * power
    assert plain.prepare() == 0  # options.prepare is 0
    for each in (plain, prepared):
        each.close()
    assert plain.library.plc_receiver_prepare(None) < 0


@pytest.mark.system
@pytest.mark.parametrize(("codec", "rate"), [("l16", 16_000), ("pcmu", 8_000)])
def test_the_example_is_a_receiver_of_rtp(
    built: "Library", tmp_path: Path, codec: str, rate: int
) -> None:
    receives_rtp([compiled(EXAMPLE.with_name("receiver.c"), built)], tmp_path, codec, rate)


def receives_rtp(
    receiver: list[str | Path], tmp_path: Path, codec: str, rate: int, **variables: str
) -> None:
    """Send packets to the example, and look into what it writes."""
    coding, samples = open_codec(codec, rate, 1), rate // 50
    signal = np.asarray(recording("speech", 48_000)[:: 48_000 // rate][: 100 * samples], np.float32)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    wav = tmp_path / "heard.wav"
    command = [*receiver, str(port), wav, "--codec", codec, "--rate", str(rate)]
    running = subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, env=os.environ | variables
    )
    while f":{port:04X} " not in Path("/proc/net/udp").read_text():  # Wine needs a while
        assert running.poll() is None
        time.sleep(0.05)
    first, wait = 2**32 - 5000, time.monotonic()  # the stamps wrap
    there = "127.0.0.1", port

    def packet(k: int, ssrc: int) -> bytes:
        payload = coding.encode(signal[k * samples : (k + 1) * samples, None])
        stamp = ((first if ssrc else 9) + k * samples) % 2**32
        head = bytes([0x80, coding.payload_type]) + k.to_bytes(2) + stamp.to_bytes(4)
        return head + ssrc.to_bytes(4) + payload

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(packet(50, 0), there)  # a stray; another source has the port
        for k in range(100):
            if k in (20, 21):
                sender.sendto(packet(k, 3), there)
            if k == 60:  # the sender begins anew, as another source
                wait += 0.3
                time.sleep(0.3)
            if k % 10 != 7:
                sender.sendto(packet(k, 1 + k // 60), there)
                sender.sendto(b"\x80\xc8" + bytes(26), there)  # RTCP, not taken
            time.sleep(max(0.0, wait + 0.02 * (k + 1) - time.monotonic()))
    told = running.communicate(timeout=30)[1]
    assert running.returncode == 0
    assert float(re.findall(r"received ([\d.]+) s", told)[0]) == pytest.approx(1.8, abs=0.01)
    heard, played_at = soundfile.read(wav)
    assert played_at == rate
    assert len(heard) / rate == pytest.approx(2.2, abs=0.4)
    came = coding.decode(coding.encode(signal[:, None]))
    assert came is not None
    part = came[40 * samples : 47 * samples, 0]  # between two losses: there as it was sent
    found = np.argmax(np.correlate(heard, part, "valid"))
    np.testing.assert_allclose(
        heard[found + samples : found + 6 * samples], part[samples:-samples], atol=1e-4
    )
    again = run(*command, **variables)
    assert again.returncode == 1
    assert "is there already" in again.stderr
