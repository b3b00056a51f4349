"""The examples for voice agents run in the packages that they are for, where these are installed.

``pip install pipecat-ai==1.14.0 livekit==1.2.1`` in an environment of its own: they want older
versions of others than ``constraints.txt``.
"""

import asyncio
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.engine.trace_files import read_trace, write_trace
from plc.programs.demo import clip_audio
from tests.test_examples import EXAMPLES, run

PIECE_S = 0.02
pytestmark = [
    pytest.mark.realtime,
    pytest.mark.filterwarnings("ignore"),  # of packages that are not this one's
]


def example(name: str) -> ModuleType:
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def speech(tmp_path: Path) -> tuple[Path, Path, NDArray[np.int16]]:
    """Return 3 s of speech in a file, a trace of its pieces of 20 ms, and the samples."""
    signal, rate = clip_audio("speech")
    samples = np.rint(signal[: 3 * rate] * 32768).astype(np.int16)
    soundfile.write(tmp_path / "speech.wav", samples, rate)
    lost = np.random.default_rng(3).random(len(samples) * 50 // rate) < 0.05
    write_trace(tmp_path / "lost.trace", lost)
    return tmp_path / "speech.wav", tmp_path / "lost.trace", samples


def check_heard(speech: tuple[Path, Path, NDArray[np.int16]], heard: Path) -> None:
    """Check that what came is heard bit for bit, but where a crossfade follows a loss."""
    _, trace, sent = speech
    played, rate = soundfile.read(heard, dtype="int16")
    lost, piece, whole = read_trace(trace), round(PIECE_S * rate), played.tobytes()
    came = [k for k in range(1, len(lost)) if not lost[k] and not lost[k - 1]]
    found = sum(sent[k * piece : (k + 1) * piece].tobytes() in whole for k in came)
    assert found > 0.8 * len(came)  # a busy machine is late


def test_pipecat_hears_what_came_and_says_what_was_made_up(
    speech: tuple[Path, Path, NDArray[np.int16]], tmp_path: Path
) -> None:
    pytest.importorskip("pipecat", reason="pip install pipecat-ai==1.14.0, in its own environment")
    heard = tmp_path / "heard.wav"
    told = run(sys.executable, EXAMPLES / "pipecat_agent.py", *speech[:2], heard)
    lost_s = np.count_nonzero(read_trace(speech[1])) * PIECE_S
    assert float(told.split()[0]) == pytest.approx(lost_s, abs=0.3)
    check_heard(speech, heard)


class Pipecat:
    """Pipecat's own utilities of tests, with a processor of the example."""

    def __init__(self) -> None:
        pytest.importorskip("pipecat", reason="pip install pipecat-ai==1.14.0")
        self.example = example("pipecat_agent")
        self.frames: Any = importlib.import_module("pipecat.frames.frames")
        self.utils: Any = importlib.import_module("pipecat.tests.utils")

    def sound(
        self, samples: NDArray[np.int16], pts_s: float | None = None, kind: str = "TTSAudioRawFrame"
    ) -> Any:
        """Return a frame of 16 kHz."""
        frame = getattr(self.frames, kind)(samples.tobytes(), 16_000, 1)
        frame.pts = None if pts_s is None else round(pts_s * 1e9)
        return frame

    def play(self, frames: list[Any], kind: str = "TTSAudioRawFrame") -> list[Any]:
        """Return what comes out of a pipeline of frames and pauses; a number is a pause in s."""
        processor = self.example.Concealed(16_000, 1, getattr(self.frames, kind))
        sent = [self.utils.SleepFrame(each) if isinstance(each, float) else each for each in frames]
        down, _ = asyncio.run(
            asyncio.wait_for(self.utils.run_test(processor, frames_to_send=sent), 20.0)
        )
        return list(down)

    def heard(self, down: list[Any]) -> NDArray[np.int16]:
        """Return the sound of frames."""
        audio = [each.audio for each in down if isinstance(each, self.frames.AudioRawFrame)]
        return np.frombuffer(b"".join(audio), np.int16)


def noise(seconds: float) -> NDArray[np.int16]:
    """Return noise of 16 kHz."""
    size = round(16_000 * seconds)
    return np.random.default_rng(1).integers(-9000, 9000, size).astype(np.int16)


def test_an_interruption_clears_what_an_agent_says_and_not_what_it_hears() -> None:
    pipecat = Pipecat()
    for kind, least, most in [("TTSAudioRawFrame", 0.0, 0.4), ("InputAudioRawFrame", 0.9, 1.1)]:
        frames = [pipecat.sound(noise(1.0), 0.0, kind), 0.2, pipecat.frames.InterruptionFrame()]
        down = pipecat.play([*frames, 0.2], kind)
        loud = np.count_nonzero(pipecat.heard(down)) / 16_000
        assert least < loud < most, kind
        assert any(isinstance(each, pipecat.frames.InterruptionFrame) for each in down)


def test_a_sentence_ends_with_its_last_word_before_the_frame_that_says_so() -> None:
    pipecat = Pipecat()
    down = pipecat.play([pipecat.sound(noise(0.3)), pipecat.frames.TTSStoppedFrame(), 0.1])
    assert isinstance(down[-1], pipecat.frames.TTSStoppedFrame)
    assert not any(each.metadata["made_up_samples"] for each in down[:-1])
    assert np.array_equal(np.trim_zeros(pipecat.heard(down)), np.trim_zeros(noise(0.3)))


def test_hostile_frames_are_left_out() -> None:
    pipecat = Pipecat()
    told: list[str] = []
    pipecat.example.logger.add(told.append, level="WARNING")
    sound, zeros = noise(0.4), np.zeros(320, np.int16)
    pieces = [pipecat.sound(sound[k : k + 320], k / 16_000) for k in range(0, 6400, 320)]
    other = pipecat.frames.TTSAudioRawFrame(zeros.tobytes(), 8000, 2)
    odd = pipecat.sound(sound[1600:1920], 0.1)
    odd.audio = odd.audio[:-1]
    far = pipecat.sound(zeros, 1e30)
    down = pipecat.play([pieces[0], other, *pieces[1:], pieces[3], pieces[5], odd, far, other])
    heard = np.trim_zeros(pipecat.heard(down))
    assert np.array_equal(heard, np.trim_zeros(sound))
    assert sum("resample before it" in each for each in told) == 1


def livekit() -> tuple[Any, ModuleType]:
    """Return LiveKit's types, and the example as a module."""
    pytest.importorskip("livekit.rtc", reason="pip install livekit==1.2.1")
    return importlib.import_module("livekit.rtc"), example("livekit_room")


def test_livekit_hears_what_came_and_says_what_was_made_up(
    speech: tuple[Path, Path, NDArray[np.int16]], tmp_path: Path
) -> None:
    livekit()
    heard = tmp_path / "heard.wav"
    told = run(sys.executable, EXAMPLES / "livekit_room.py", *speech[:2], heard)
    lost_s = np.count_nonzero(read_trace(speech[1])) * PIECE_S
    assert float(told.split()[0]) == pytest.approx(lost_s, abs=0.3)
    check_heard(speech, heard)


def test_what_a_full_queue_of_livekit_drops_is_made_up_in_its_place() -> None:
    rtc, room = livekit()
    sound = noise(1.0)

    async def main() -> tuple[int, int]:
        source = rtc.AudioSource(16_000, 1)
        track = rtc.LocalAudioTrack.create_audio_track("noise", source)
        stamps, steady = room.Stamps(), room.Steady(16_000)
        stream = rtc.AudioStream(track, None, 5, 16_000, noise_cancellation=stamps)
        await source.capture_frame(rtc.AudioFrame(sound.tobytes(), 16_000, 1, len(sound)))
        end = holes = taken = made_up = 0
        async for event in stream:
            begin = event.frame.userdata["at"]
            holes, end = holes + begin - end, begin + event.frame.samples_per_channel
            steady.put(event.frame)
            if begin <= 4800 < end:
                await asyncio.sleep(0.3)  # a busy program, but for its sound card
            due = 160 * round(100 * end / 16_000) if begin < 12_800 else 19_200
            made_up += steady.take(due - taken).userdata["made_up_samples"]
            taken = due
            if begin >= 12_800:
                break
        await stream.aclose()
        return holes, made_up

    holes, made_up = asyncio.run(asyncio.wait_for(main(), 20.0))
    assert holes > 1600
    assert made_up >= holes


def test_hostile_frames_of_livekit_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    rtc, room = livekit()
    sound, steady = noise(0.4), room.Steady(16_000)

    def frame(begin: int, at: object) -> Any:
        piece = sound[begin : begin + 320].tobytes()
        return rtc.AudioFrame(piece, 16_000, 1, 320, userdata={"at": at})

    for begin in range(0, 6400, 320):
        steady.put(frame(begin, begin))
        steady.put(frame(begin, begin))  # twice
        steady.put(frame(begin, "there"))
        steady.put(rtc.AudioFrame(bytes(640), 8000, 2, 160))
    steady.buffer.end()
    heard = np.concatenate([np.asarray(steady.take(160).data) for _ in range(50)])
    assert np.array_equal(np.trim_zeros(heard), np.trim_zeros(sound))
    assert len(caplog.messages) == 1
    assert "left out" in caplog.text


def test_a_cleared_stream_of_livekit_is_silent_until_the_next_frame() -> None:
    rtc, room = livekit()
    steady = room.Steady(16_000)
    steady.put(rtc.AudioFrame(noise(1.0).tobytes(), 16_000, 1, 16_000))
    for _ in range(20):
        steady.take(160)
    steady.buffer.clear()
    assert not np.any(np.concatenate([steady.take(160).data for _ in range(20)])[160:])
    steady.put(rtc.AudioFrame(noise(0.1).tobytes(), 16_000, 1, 1600))
    assert np.any(np.concatenate([steady.take(160).data for _ in range(20)]))
