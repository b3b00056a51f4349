"""aiortc's tracks, concealed."""

import asyncio
import math
import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.errors import ConfigError, MissingExtraError, PacketError
from tests.signals import sine, tones

pytest.importorskip("aiortc")
pytest.importorskip("av")

import aiortc
import av
from aiortc.mediastreams import MediaStreamError

from plc import conceal
from plc.embed.aiortc import ConcealedTrack, samples_of

RATE, FRAME = 48_000, 960


class Script(aiortc.MediaStreamTrack):
    """A track of given frames."""

    kind = "audio"

    def __init__(self, frames: Sequence[Any]) -> None:
        super().__init__()
        self._frames = list(frames)

    async def recv(self) -> Any:
        if not self._frames:
            raise MediaStreamError
        return self._frames.pop(0)


def frame(
    samples: NDArray[Any],
    pts: int | None,
    form: str = "s16",
    layout: str = "mono",
    rate: int = RATE,
) -> Any:
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=form, layout=layout)
    made.sample_rate, made.pts, made.time_base = rate, pts, Fraction(1, rate)
    return made


def signal(samples: int = 100 * FRAME) -> NDArray[np.int16]:
    return np.rint(20_000 * tones(1, RATE, samples)).astype(np.int16)


def frames_of(whole: NDArray[np.int16], first: int = 0, size: int = FRAME) -> list[Any]:
    return [
        frame(whole[None, begin : begin + size], first + begin)
        for begin in range(0, len(whole), size)
    ]


async def receive(track: ConcealedTrack) -> list[Any]:
    received = []
    while True:
        try:
            received.append(await track.recv())
        except MediaStreamError:
            return received


def heard(frames: Sequence[Any], **settings: Any) -> tuple[list[Any], ConcealedTrack]:
    values: dict[str, Any] = {"model": "ar", "budget_ms": float("inf")} | settings
    track = ConcealedTrack(Script(frames), **values)
    return asyncio.run(receive(track)), track


def line_of(frames: Sequence[Any]) -> NDArray[Any]:
    for before, after in pairwise(frames):
        assert after.pts == before.pts + before.samples
        assert after.samples == before.samples
    return np.concatenate([each.to_ndarray().reshape(-1) for each in frames])


def test_a_track_without_gaps_passes_sample_for_sample() -> None:
    whole = signal()
    out, track = heard(frames_of(whole, first=12_345))
    assert np.array_equal(line_of(out), whole)
    assert out[0].pts == 12_345
    assert out[0].time_base == Fraction(1, RATE)
    assert out[0].format.name == "s16"
    assert track.readyState == "ended"


def test_frames_that_are_missing_are_made_up() -> None:
    whole = signal()
    lost = {20, 21, 50, 77}
    kept = [each for number, each in enumerate(frames_of(whole)) if number not in lost]
    out, track = heard(kept)
    line = line_of(out)
    assert len(line) == len(whole)
    assert track.stats.lost_packets == 4
    for number in range(100):
        part = slice(number * FRAME, (number + 1) * FRAME)
        if number in lost:
            error = line[part].astype(float) - whole[part]
            assert np.linalg.norm(error) < 0.5 * np.linalg.norm(whole[part].astype(float))
        elif number - 1 not in lost:
            assert np.array_equal(line[part], whole[part])


def test_a_known_end_of_the_gap_makes_it_better_and_is_flushed() -> None:
    whole = signal()
    kept = [each for number, each in enumerate(frames_of(whole)) if number % 10 != 5]
    errors = []
    for lookahead in (0, 1):
        out, track = heard(kept, lookahead=lookahead)
        line = line_of(out)
        assert len(line) == len(whole)
        assert track.stats.bridged_samples == 10 * FRAME  # the frame behind the gap tells of it
        errors.append(np.linalg.norm(line.astype(float) - whole))
    trace = np.arange(len(whole) // FRAME) % 10 == 5
    blind = conceal(whole, trace, sample_rate=48_000, packet_samples=FRAME)
    assert max(errors) < 0.9 * np.linalg.norm(blind.astype(float) - whole)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 2e6])
def test_a_frame_behind_a_gap_that_is_no_sound_is_made_up_too(wrong: float) -> None:
    whole = np.asarray(tones(1, RATE, 40 * FRAME), np.float32)
    whole[21 * FRAME + 7] = wrong
    frames = [
        frame(whole[None, begin : begin + FRAME], begin, "flt")
        for begin in range(0, len(whole), FRAME)
    ]
    del frames[20]
    out, track = heard(frames)
    line = line_of(out)
    assert len(line) == len(whole)
    assert np.abs(line).max() < 1.5
    assert track.stats.lost_packets == track.stats.invalid_packets == 1
    np.testing.assert_array_equal(line[: 20 * FRAME], whole[: 20 * FRAME])
    np.testing.assert_array_equal(line[24 * FRAME :], whole[24 * FRAME :])


@pytest.mark.parametrize("size", [480, 1105, 160, 4096])
def test_frames_of_any_length_are_put_in_line(size: int) -> None:
    whole = signal(size * 40)
    frames = frames_of(whole, size=size)
    del frames[20]
    out, track = heard(frames)
    line = line_of(out)
    grain = size if 120 <= size <= 2880 else FRAME
    assert out[0].samples == grain
    assert len(line) == len(whole) // grain * grain
    before = 20 * size // grain * grain
    assert np.array_equal(line[:before], whole[:before])
    after = (21 * size // grain + 2) * grain
    assert np.array_equal(line[after:], whole[after : len(line)])
    assert track.stats.lost_packets in range(size // grain, size // grain + 3)


def test_lengths_that_change_lose_nothing() -> None:
    whole = signal(60 * 480)
    frames = frames_of(whole[: 20 * 480], size=480)
    frames += frames_of(whole[20 * 480 :], first=20 * 480, size=960)
    out, track = heard(frames)
    assert np.array_equal(line_of(out), whole)
    assert track.stats.lost_packets == 0


def test_time_stamps_rounded_to_a_millisecond_leave_no_gaps() -> None:
    whole = signal(100 * 1024)
    frames = frames_of(whole, size=1024)
    for each in frames:
        each.pts, each.time_base = round(each.pts * 1000 / RATE), Fraction(1, 1000)
    out, track = heard(frames)
    assert np.array_equal(line_of(out), whole[: len(out) * 1024])
    assert track.stats.lost_packets == 0


def test_what_comes_again_or_too_late_is_left_out() -> None:
    whole = signal()
    frames = frames_of(whole)
    frames.insert(30, frames_of(whole)[29])
    frames.insert(60, frames_of(whole)[40])
    out, track = heard(frames)
    assert np.array_equal(line_of(out), whole)
    assert track.late_frames == 2


def test_a_jump_is_a_new_beginning() -> None:
    whole = signal()
    frames = frames_of(whole[: 50 * FRAME]) + frames_of(whole[50 * FRAME :], first=10_000_000)
    frames += frames_of(whole[: 10 * FRAME], first=77)
    out, track = heard(frames)
    assert [each.pts for each in out[48:52]] == [48 * FRAME, 49 * FRAME, 10_000_000, 10_000_960]
    assert out[100].pts == 77
    assert track.restarts == 2
    assert track.stats.lost_packets == 0


def test_another_format_in_the_middle_is_followed() -> None:
    mono = signal(10 * FRAME)
    stereo = np.repeat(sine(440.0, 16_000, 3200)[:, None], 2, axis=1)
    frames = frames_of(mono)
    for begin in range(0, 3200, 320):
        part = stereo[begin : begin + 320].reshape(1, -1)
        frames.append(frame(part, begin, "flt", "stereo", 16_000))
    del frames[15]
    out, track = heard(frames)
    assert np.array_equal(line_of(out[:10]), mono)
    assert (out[10].sample_rate, out[10].layout.name, out[10].format.name) == (
        16_000,
        "stereo",
        "flt",
    )
    line = line_of(out[10:])
    assert len(line) == 6400
    assert np.abs(line - stereo.reshape(-1)).max() < 0.05  # a sine goes on
    assert track.restarts == 1


@pytest.mark.parametrize("form", ["u8", "s16", "s16p", "s32", "s32p", "flt", "fltp", "dbl", "dblp"])
def test_every_sample_format_is_read(form: str) -> None:
    wanted = np.stack([sine(500.0, RATE, 480), sine(700.0, RATE, 480)])
    kind = form.removesuffix("p")
    scale = {"u8": 128, "s16": 2**15, "s32": 2**31, "flt": 1, "dbl": 1}[kind]
    dtype = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}[kind]
    values = (wanted.astype(float) * scale + (128 if kind == "u8" else 0)).astype(dtype)
    packed = values if form.endswith("p") else values.T.reshape(1, -1)
    read = samples_of(frame(packed, 0, form, "stereo"))
    assert read.shape == (480, 2)
    full = 32768.0 if read.dtype == np.int16 else 1.0
    assert np.abs(read / full - wanted.T).max() < (0.01 if kind == "u8" else 1e-4)


def test_what_is_no_audio_is_refused() -> None:
    class Video(Script):
        kind = "video"

    with pytest.raises(ConfigError, match="one of video"):
        ConcealedTrack(Video([]))
    with pytest.raises(ConfigError, match="max_gap_s is 0"):
        ConcealedTrack(Script([]), max_gap_s=0.0)
    with pytest.raises(ConfigError, match="budget_ms is -1"):
        ConcealedTrack(Script([]), budget_ms=-1.0)
    with pytest.raises(PacketError, match="decoded audio frames"):
        heard([av.Packet(b"encoded")])


def test_without_the_library_its_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiortc.mediastreams", None)
    monkeypatch.delitem(sys.modules, "plc.embed.aiortc")
    with pytest.raises(MissingExtraError, match=r"pip install .*\[rtp\]"):
        __import__("plc.embed.aiortc")


class Tone(aiortc.AudioStreamTrack):
    """A tone in real time."""

    async def recv(self) -> Any:
        made: Any = await super().recv()  # silence, 20 ms at 8 kHz, when it is due
        t = (made.pts + np.arange(made.samples)) / made.sample_rate
        tone = np.rint(10_000 * np.sin(2 * np.pi * 440.0 * t)).astype(np.int16)
        sent = frame(tone[None], made.pts, rate=made.sample_rate)
        sent.time_base = made.time_base
        return sent


async def call(frames: int, loss: float) -> tuple[list[Any], ConcealedTrack, int]:
    """Let two peers on this machine talk; return what one hears while packets are lost.

    The last number is how many were lost before the last frame heard.
    """
    alone = aiortc.RTCConfiguration(iceServers=[])
    caller, callee = aiortc.RTCPeerConnection(alone), aiortc.RTCPeerConnection(alone)
    try:
        arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        callee.on("track", arrived.set_result)
        caller.addTrack(Tone())
        await caller.setLocalDescription(await caller.createOffer())
        await callee.setRemoteDescription(caller.localDescription)
        await callee.setLocalDescription(await callee.createAnswer())
        await caller.setRemoteDescription(callee.localDescription)
        receiver = callee.getReceivers()[0]
        handle, rng = receiver._handle_rtp_packet, np.random.default_rng(1)
        lost: list[int] = []
        first: list[int] = []

        async def lose(packet: Any, arrival_time_ms: int) -> None:
            first[:] = first or [packet.timestamp]
            number = (packet.timestamp - first[0]) % 2**32 // FRAME
            if rng.random() < loss and number > 20:
                lost.append(number)
                return
            await handle(packet, arrival_time_ms)

        receiver._handle_rtp_packet = lose  # type: ignore[method-assign]
        track = ConcealedTrack(await arrived, model="ar", budget_ms=float("inf"))
        heard = [await track.recv() for _ in range(frames)]
        return heard, track, sum(number < frames for number in lost)
    finally:
        await caller.close()
        await callee.close()


@pytest.mark.realtime
def test_two_peers_with_a_tenth_lost_hear_the_whole_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It leaves the loopback out otherwise, and there may be nothing else.
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    out, track, lost = asyncio.run(call(200, 0.1))
    line = line_of(out).reshape(-1, 2)[:, 0].astype(float)
    assert len(line) == 200 * FRAME
    assert lost >= 8
    assert track.stats.packets >= 200
    assert track.stats.lost_packets >= lost
    spectrum = np.abs(np.fft.rfft(line * np.hanning(line.size)))
    assert np.argmax(spectrum) * RATE / line.size == pytest.approx(440.0, abs=1.0)
