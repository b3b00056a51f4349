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

from plc import PlayoutBuffer, warm_up
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


def coded(samples: NDArray[np.float32], encoding: str) -> bytes:
    """Return the bytes of a piece."""
    if encoding == "mulaw":
        return open_codec("pcmu", 8000, 1).encode(samples)
    return np.rint(np.clip(samples * 32768, -32768, 32767)).astype("<i2").tobytes()


async def speak(socket: ServerConnection, rate: int, encoding: str) -> None:
    """Send two sentences as such programs do, the second one when it is interrupted."""
    speech, piece = speech_at(rate), round(PIECE_S * rate)
    await socket.send(json.dumps({"sample_rate": rate, "encoding": encoding}))
    sent = 0

    async def say(samples: NDArray[np.float32], number: int) -> None:
        nonlocal sent
        loop = asyncio.get_running_loop()
        due_s = free_s = loop.time()
        for begin in range(0, len(samples) - piece + 1, piece):
            due_s, sent = due_s + PIECE_S, sent + 1
            free_s = max(free_s, due_s + STALLS_S.get(sent, 0.0))  # what waits comes at once then
            await asyncio.sleep(free_s - loop.time())
            await socket.send(json.dumps({"sentence": number}))
            await socket.send(coded(samples[begin : begin + piece], encoding))
        await socket.send(json.dumps({"ended": number}))

    first = asyncio.create_task(say(speech, 1))
    async for message in socket:
        if json.loads(message) == {"interrupt": True}:
            first.cancel()
            await say(speech[: 2 * rate], 2)


async def listen(url: str, target: Path) -> None:
    """Put each piece into a buffer when it comes; take what a sound card would play."""
    async with connect(url) as socket:
        settings = json.loads(await socket.recv())
        buffer = PlayoutBuffer(**settings, content="speech")
        rate, heard, marks = settings["sample_rate"], [], []
        wanted = 1

        async def play() -> None:
            nonlocal wanted
            loop, take = asyncio.get_running_loop(), round(TAKE_S * rate)
            due_s = loop.time()
            while True:
                samples, made_up = buffer.take(take)
                heard.append(samples)
                marks.append(made_up)
                due_s += TAKE_S
                if wanted == 1 and len(heard) >= INTERRUPTED_S / TAKE_S:
                    wanted = 2
                    buffer.clear()  # the listener has begun to speak: be silent
                    await socket.send(json.dumps({"interrupt": True}))
                await asyncio.sleep(max(due_s - loop.time(), 0.0))

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
        await asyncio.sleep(buffer.buffered_ms / 1000.0 + 0.2)
        playing.cancel()
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
    warm_up()  # before any sound comes

    async def answer(socket: ServerConnection) -> None:
        await speak(socket, given.rate, given.encoding)

    async with serve(answer, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        await listen(f"ws://127.0.0.1:{port}", given.target)


if __name__ == "__main__":
    asyncio.run(main())
