"""Hear a program that speaks over a WebSocket whose network stalls, and what was made up.

python examples/voice_agent.py heard.wav
python examples/voice_agent.py heard.wav --rate 24000
"""

import argparse
import asyncio
from importlib.resources import files
from pathlib import Path

import numpy as np
import soundfile
from aiohttp import ClientSession, WSMsgType, web
from numpy.typing import NDArray

from plc import PlayoutBuffer, warm_up
from plc.transport.cards.rates import RateConverter

PIECE_S, TAKE_S = 0.02, 0.01
SPEECH = web.AppKey("speech", tuple)
STALLS_S = {40: 0.15, 90: 0.3, 150: 0.1}
"""After so many pieces the network stands still so long."""


def speech_at(rate: int) -> NDArray[np.int16]:
    """Return the package's recording of speech at a rate in Hz."""
    clip = files("plc") / "data" / "speech.flac"
    speech, own_rate = soundfile.read(str(clip), dtype="int16", always_2d=True)
    if rate != own_rate:
        converted = RateConverter(own_rate, rate, 1).convert(speech / np.float32(32768))
        speech = np.rint(32767 * np.clip(converted, -1, 1)).astype(np.int16)
    samples: NDArray[np.int16] = speech
    return samples


async def speak(request: web.Request) -> web.WebSocketResponse:
    """Send speech as such programs do: int16, a piece every 20 ms, and now and then none."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    speech, rate = request.app[SPEECH]
    piece = round(PIECE_S * rate)
    await socket.send_json({"sample_rate": rate})
    due_s = free_s = asyncio.get_running_loop().time()
    for number in range(len(speech) // piece):
        due_s += PIECE_S
        free_s = max(free_s, due_s + STALLS_S.get(number, 0.0))  # what waits comes at once then
        await asyncio.sleep(free_s - asyncio.get_running_loop().time())
        await socket.send_bytes(speech[number * piece : (number + 1) * piece].tobytes())
    await socket.close()
    return socket


async def listen(url: str, target: Path) -> None:
    """Put each piece into a buffer when it comes; take what a sound card would play."""
    async with ClientSession() as session, session.ws_connect(url) as socket:
        rate = (await socket.receive_json())["sample_rate"]
        buffer = PlayoutBuffer(rate, content="speech")
        heard, marks = [], []

        async def play() -> None:
            loop, take = asyncio.get_running_loop(), round(TAKE_S * rate)
            due_s = loop.time()
            while True:
                samples, made_up = buffer.take(take)
                heard.append(samples)
                marks.append(made_up)
                due_s += TAKE_S
                await asyncio.sleep(max(due_s - loop.time(), 0.0))

        playing = asyncio.create_task(play())
        async for message in socket:
            if message.type == WSMsgType.BINARY:
                buffer.put(message.data)  # at=… where the sender says where
        await asyncio.sleep(buffer.buffered_ms / 1000.0)
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
    given = parser.parse_args()
    warm_up()  # before any sound comes
    app = web.Application()
    app[SPEECH] = speech_at(given.rate), given.rate
    app.router.add_get("/", speak)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        await listen(f"http://127.0.0.1:{runner.addresses[0][1]}/", given.target)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
