"""Conceal what is missing of the frames that an AudioStream of livekit hands out (tested: 1.2.1).

LiveKit itself conceals what the network lost. It does not where a program is too slow for its
stream (a queue of ``capacity`` frames drops the oldest), or sends frames on by a worse way.

pip install livekit==1.2.1
plc lose speech.wav lossy.wav --loss 5% --packet-ms 20    # writes lossy.trace, too
python examples/livekit_room.py speech.wav lossy.trace heard.wav    # without a server
"""

import argparse
import asyncio
import logging
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from livekit import rtc

from plc import PacketError, PlayoutBuffer, warm_up
from plc.engine.trace_files import read_trace

PIECE_S, JITTER_S, TAKE_S = 0.02, 0.03, 0.01


class Stamps(rtc.FrameProcessor[rtc.AudioFrame]):  # type: ignore[misc]  # Any without livekit
    """Write where each frame stands, before a queue may drop it."""

    enabled = True
    _at = 0

    def _process(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
        frame.userdata["at"] = self._at
        self._at += frame.samples_per_channel
        return frame

    def _close(self) -> None:
        pass


class Steady:
    """Take frames when they come, and give as many samples as are due.

    ``made_up_samples`` in the ``userdata`` of a frame that is given says how much of it is made up.
    ``buffer.clear()`` is for interruptions: silence follows within 5 ms.
    """

    def __init__(self, rate: int, channels: int = 1) -> None:
        self.buffer = PlayoutBuffer(rate, channels, content="speech")
        self._format, self._has_warned = (rate, channels), False

    def put(self, frame: rtc.AudioFrame) -> None:
        """Take a frame; it stands where its stamp says, or behind the one before."""
        try:
            if (found := (frame.sample_rate, frame.num_channels)) != self._format:
                raise PacketError(f"Hz, channels: {found}, not {self._format}; ask AudioStream")
            self.buffer.put(frame.data, at=frame.userdata.get("at"))
        except PacketError as error:
            if not self._has_warned:
                logging.warning("a frame is left out, as others like it: %s", error)
            self._has_warned = True

    def take(self, samples: int) -> rtc.AudioFrame:
        """Return the next samples to play, or to publish by ``AudioSource.capture_frame``."""
        played, made_up = self.buffer.take(samples)
        sound = np.rint(np.clip(played * 32768, -32768, 32767)).astype("<i2").tobytes()
        told: dict[str, Any] = {"made_up_samples": int(np.count_nonzero(made_up))}
        return rtc.AudioFrame(sound, *self._format, samples, userdata=told)


async def main() -> None:
    """Play a recording on a track, lose and delay frames of its stream; write what is heard."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs=3, metavar=("SOURCE", "TRACE", "TARGET"))
    source, trace, target = parser.parse_args().files
    if Path(target).exists():
        parser.error(f"{target} exists; name a new file")
    speech, rate = soundfile.read(source, dtype="int16", always_2d=True)
    channels, piece, lost = speech.shape[1], round(PIECE_S * rate), read_trace(trace)
    loop, late = asyncio.get_running_loop(), np.random.default_rng(0)
    steady, heard = Steady(rate, channels), []
    warm_up()
    microphone = rtc.AudioSource(rate, channels)
    track = rtc.LocalAudioTrack.create_audio_track("speech", microphone)
    stream = rtc.AudioStream(  # in a room: in its event track_subscribed, of the track that it has
        track, None, 0, rate, channels, round(1000 * PIECE_S), noise_cancellation=Stamps()
    )

    async def hear() -> None:
        async for event in stream:
            k = event.frame.userdata["at"] // piece
            if k >= len(lost) or not lost[k]:
                loop.call_later(late.uniform(0.0, JITTER_S), steady.put, event.frame)

    async def play() -> None:
        begin_s = loop.time()
        for k in count(1):
            heard.append(steady.take(round(TAKE_S * rate)))
            await asyncio.sleep(max(begin_s + k * TAKE_S - loop.time(), 0.0))

    tasks = [asyncio.create_task(hear()), asyncio.create_task(play())]
    for begin in range(0, len(speech), piece):
        sound = speech[begin : begin + piece]
        await microphone.capture_frame(rtc.AudioFrame(sound.tobytes(), rate, channels, len(sound)))
    await microphone.wait_for_playout()
    await asyncio.sleep(0.3)
    for task in tasks:
        task.cancel()
    await stream.aclose()
    sound = b"".join(bytes(frame.data.cast("B")) for frame in heard).ljust(speech.nbytes, b"\0")
    soundfile.write(target, np.frombuffer(sound, "<i2").reshape(-1, channels), rate)
    print(f"{sum(frame.userdata['made_up_samples'] for frame in heard) / rate:.2f} s made up")


if __name__ == "__main__":
    asyncio.run(main())
