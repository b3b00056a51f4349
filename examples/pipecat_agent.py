"""Conceal speech that a bad network brings to a pipeline of pipecat-ai (tested: 1.14.0).

pip install pipecat-ai==1.14.0    # in an environment of its own
plc lose speech.wav lossy.wav --loss 5% --packet-ms 20    # writes lossy.trace, too
python examples/pipecat_agent.py speech.wav lossy.trace heard.wav
"""

import argparse
import asyncio
from itertools import count
from pathlib import Path

import numpy as np
import pipecat.frames.frames as pipecat
import soundfile
from loguru import logger
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from plc import PacketError, PlayoutBuffer, warm_up
from plc.engine.trace_files import read_trace

PIECE_S, JITTER_S = 0.02, 0.03


class Concealed(FrameProcessor):  # type: ignore[misc]  # Any without pipecat
    """Take frames of sound when they come; push one each 20 ms, with what is missing made up.

    A frame stands where its ``pts`` says, or behind the one before. Metadata of those pushed have
    ``made_up_samples``. Of ``kind`` InputAudioRawFrame none is dropped by an interruption.
    """

    def __init__(self, rate: int, channels: int, kind: type = pipecat.TTSAudioRawFrame) -> None:
        super().__init__()
        self.buffer = PlayoutBuffer(rate, channels, content="speech")
        self._format, self._kind = (rate, channels), kind
        self._is_speaking = self._has_warned = False

    async def process_frame(self, frame: pipecat.Frame, direction: FrameDirection) -> None:
        """Take a frame."""
        await super().process_frame(frame, direction)
        if isinstance(frame, self._kind) and direction == FrameDirection.DOWNSTREAM:
            self._take(frame)
            return
        is_cleared = self._kind is not pipecat.InputAudioRawFrame
        if isinstance(frame, pipecat.InterruptionFrame) and is_cleared:
            self.buffer.clear()  # silence within 5 ms
            self._is_speaking = False
        elif isinstance(frame, pipecat.TTSStoppedFrame | pipecat.EndFrame):
            self.buffer.end()  # nothing is made up behind the last word
            while self.buffer.buffered_ms > 0.0:
                await asyncio.sleep(PIECE_S)
            self._is_speaking = False
        if isinstance(frame, pipecat.EndFrame | pipecat.CancelFrame):
            await self.cancel_task(self._playing)
        await self.push_frame(frame, direction)
        if isinstance(frame, pipecat.StartFrame):
            self._playing: asyncio.Task[None] = self.create_task(self._play())

    def _take(self, frame: pipecat.AudioRawFrame) -> None:
        try:
            if (found := (frame.sample_rate, frame.num_channels)) != self._format:
                raise PacketError(f"Hz, channels: {found}, not {self._format}; resample before it")
            self.buffer.put(frame.audio, at_s=None if frame.pts is None else frame.pts / 1e9)
            self._is_speaking = True
        except PacketError as error:
            if not self._has_warned:
                logger.warning(f"{frame.name} is left out, as others like it: {error}")
            self._has_warned = True

    async def _play(self) -> None:
        """Push what is due, as a sound card would ask for it."""
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        for k in count(1):
            samples, made_up = self.buffer.take(round(PIECE_S * self._format[0]))
            if self._is_speaking or samples.any():
                sound = np.rint(np.clip(samples * 32768, -32768, 32767)).astype("<i2").tobytes()
                frame = self._kind(sound, *self._format)
                frame.metadata["made_up_samples"] = int(np.count_nonzero(made_up))
                await self.push_frame(frame)
            await asyncio.sleep(max(begin_s + k * PIECE_S - loop.time(), 0.0))


async def main() -> None:
    """Send a recording through a pipeline, with pieces lost and late; write what is heard."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs=3, metavar=("SOURCE", "TRACE", "TARGET"))
    source, trace, target = parser.parse_args().files
    if Path(target).exists():
        parser.error(f"{target} exists; name a new file")
    speech, rate = soundfile.read(source, dtype="int16", always_2d=True)
    channels, piece, lost = speech.shape[1], round(PIECE_S * rate), read_trace(trace)
    late_s = np.random.default_rng(0).uniform(0.0, JITTER_S, len(lost))
    heard: list[pipecat.AudioRawFrame] = []
    warm_up()
    worker = PipelineWorker(Pipeline([Concealed(rate, channels)]), enable_rtvi=False)
    worker.set_reached_downstream_filter((pipecat.TTSAudioRawFrame,))
    worker.add_event_handler("on_frame_reached_downstream", lambda _, frame: heard.append(frame))

    async def speak(*_: object) -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        for at_s, k in sorted((k * PIECE_S + late_s[k], k) for k in np.flatnonzero(~lost)):
            await asyncio.sleep(max(begin_s + at_s - loop.time(), 0.0))
            frame = pipecat.TTSAudioRawFrame(speech[k * piece :][:piece].tobytes(), rate, channels)
            frame.pts = round(k * PIECE_S * 1e9)
            await worker.queue_frame(frame)
        await worker.queue_frames([pipecat.TTSStoppedFrame(), pipecat.EndFrame()])

    worker.add_event_handler("on_pipeline_started", speak)
    runner = WorkerRunner()
    await runner.add_workers(worker)
    await runner.run()
    sound = b"".join(frame.audio for frame in heard).ljust(speech.nbytes, b"\0")
    soundfile.write(target, np.frombuffer(sound, "<i2").reshape(-1, channels), rate)
    print(f"{sum(frame.metadata['made_up_samples'] for frame in heard) / rate:.2f} s made up")


if __name__ == "__main__":
    asyncio.run(main())
