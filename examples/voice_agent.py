"""Hear a program that speaks over a WebSocket whose network stalls, and interrupt it once.

python examples/voice_agent.py heard.wav
python examples/voice_agent.py heard.wav --rate 24000 --encoding mulaw
"""

import argparse
import asyncio
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from plc import PlayoutBuffer
from plc.transport.cards.rates import RateConverter
from plc.transport.rtp.codecs import open_codec

PIECE_S, TAKE_S = 0.02, 0.01
STALLS_S = {40: 0.15, 90: 0.3}
"""After so many pieces the network stands still so long."""
INTERRUPTED_S = 3.0
"""When the listener speaks, and the program begins its second sentence instead."""


def speech_at(rate: int) -> NDArray[np.float32]:
    """Return the package's recording of speech at a rate in Hz, shape (n, 1)."""
    clip = files("plc") / "data" / "speech.flac"
    speech, own_rate = soundfile.read(str(clip), dtype="float32", always_2d=True)
    converted: NDArray[np.float32] = speech
    if rate != own_rate:
        converted = RateConverter(own_rate, rate, 1).convert(speech)
    return converted


def of_16_bits(samples: NDArray[np.float32]) -> bytes:
    """Return samples as bytes of int16."""
    return np.rint(np.clip(samples * 32768, -32768, 32767)).astype("<i2").tobytes()


class Server:
    """A program that speaks: two sentences, the second one when it is interrupted."""

    def __init__(self, rate: int, encoding: str) -> None:
        self.speech, self.piece = speech_at(rate), round(PIECE_S * rate)
        self.sentences = {1: self.speech, 2: self.speech[: 2 * rate]}
        self.code = open_codec("pcmu", 8000, 1).encode if encoding == "mulaw" else of_16_bits
        self.sent = 0

    async def say(self, socket: ServerConnection, number: int) -> None:
        """Send a sentence in pieces, each when it is spoken; the network stands still twice."""
        samples, piece, loop = self.sentences[number], self.piece, asyncio.get_running_loop()
        due_s = free_s = loop.time()
        for begin in range(0, len(samples) - piece + 1, piece):
            due_s, self.sent = due_s + PIECE_S, self.sent + 1
            # What waits comes at once then.
            free_s = max(free_s, due_s + STALLS_S.get(self.sent, 0.0))
            await asyncio.sleep(free_s - loop.time())
            await socket.send(json.dumps({"sentence": number}))
            await socket.send(self.code(samples[begin : begin + piece]))
        await socket.send(json.dumps({"ended": number}))

    async def answer(self, socket: ServerConnection) -> None:
        """Speak to a listener."""
        first = asyncio.create_task(self.say(socket, 1))
        async for message in socket:
            if json.loads(message) == {"interrupt": True}:
                first.cancel()
                await self.say(socket, 2)


async def listen(url: str, buffer: PlayoutBuffer, rate: int, target: Path) -> None:
    """Put each piece into a buffer when it comes; take what a sound card would play."""
    heard, marks = [], []
    wanted, has_ended = 1, False

    async def play() -> None:
        nonlocal wanted
        loop, take = asyncio.get_running_loop(), round(TAKE_S * rate)
        due_s = loop.time()
        while not has_ended or buffer.buffered_ms:
            samples, made_up = buffer.take(take)
            heard.append(samples)
            marks.append(made_up)
            due_s += TAKE_S
            if wanted == 1 and len(heard) >= INTERRUPTED_S / TAKE_S:
                wanted = 2
                # So much of the sentence was heard: what came, less what waits.
                known_s = buffer.stats.received_samples / rate - buffer.buffered_ms / 1000.0
                print(f"interrupted after {known_s:.2f} s of it")
                buffer.clear()  # the listener has begun to speak: be silent
                await socket.send(json.dumps({"interrupt": True}))
            await asyncio.sleep(max(due_s - loop.time(), 0.0))

    async with connect(url) as socket:
        playing, sentence = asyncio.create_task(play()), 1
        async for message in socket:
            if isinstance(message, bytes):
                if sentence == wanted:  # what was said before the interruption is on its way yet
                    buffer.put(message)  # at=… where the sender says where
                continue
            told = json.loads(message)
            sentence = told.get("sentence", sentence)
            if told.get("ended") == wanted == 2:
                buffer.end()  # nothing is made up behind the last word
                break
        has_ended = True
        await playing
    soundfile.write(target, np.concatenate(heard), rate, "FLOAT")
    made_up = np.concatenate(marks)
    print(f"{len(made_up) / rate:.2f} s heard, {np.count_nonzero(made_up) / rate:.2f} s made up")
    print(buffer.stats)


async def main() -> None:
    """Speak and listen in one program, on this machine alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, help="WAV file of what was heard")
    parser.add_argument("--rate", type=int, default=16_000, help="of the speech, in Hz")
    parser.add_argument("--encoding", choices=["int16", "mulaw"], default="int16")
    given = parser.parse_args()
    if given.target.exists():
        parser.error(f"{given.target} exists; name a new file")
    # Before anything is connected: this compiles, once on a machine, and loads the networks.
    buffer = PlayoutBuffer(given.rate, encoding=given.encoding, content="speech")
    speaker = Server(given.rate, given.encoding)
    async with serve(speaker.answer, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        await listen(f"ws://127.0.0.1:{port}", buffer, given.rate, given.target)


if __name__ == "__main__":
    asyncio.run(main())
