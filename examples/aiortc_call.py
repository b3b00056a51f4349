"""Call from one peer to another with aiortc, over a network that loses packets, and record it.

pip install -c constraints.txt -e ".[cpu,rtp]"
python examples/aiortc_call.py speech.wav heard.wav --loss 0.1

Both peers are in this program. Where the callee takes the track, ConcealedTrack stands around it.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection
from aiortc.contrib.media import MediaPlayer, MediaRecorder

from plc.embed.aiortc import ConcealedTrack


class LossyTrack(MediaStreamTrack):
    """A track of which some frames never come, as after losses on the way."""

    kind = "audio"

    def __init__(self, track: MediaStreamTrack, loss: float) -> None:
        super().__init__()
        self._track = track
        self._loss = loss
        self._rng = np.random.default_rng(0)

    async def recv(self) -> Any:
        """Return the next frame that is not lost."""
        frame = await self._track.recv()
        while self._rng.random() < self._loss:
            frame = await self._track.recv()
        return frame


async def call(source: Path, target: Path, loss: float, seconds: float) -> None:
    """Send a file from the caller to the callee, and record what the callee hears."""
    here = RTCConfiguration(iceServers=[])  # nobody else need be asked for the way
    caller, callee = RTCPeerConnection(here), RTCPeerConnection(here)
    player, recorder = MediaPlayer(str(source)), MediaRecorder(str(target))
    if player.audio is None:
        raise SystemExit(f"{source} has no sound")
    concealed = []

    @callee.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        concealed.append(ConcealedTrack(LossyTrack(track, loss)))
        recorder.addTrack(concealed[0])

    caller.addTrack(player.audio)
    await caller.setLocalDescription(await caller.createOffer())
    await callee.setRemoteDescription(caller.localDescription)
    await callee.setLocalDescription(await callee.createAnswer())
    await caller.setRemoteDescription(callee.localDescription)
    await recorder.start()
    await asyncio.sleep(seconds)
    await recorder.stop()
    await caller.close()
    await callee.close()
    print(concealed[0].stats)


def main() -> None:
    """Read the arguments and call."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--loss", type=float, default=0.1, help="share of the frames, 0 to 1")
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    if given.target.exists():
        parser.error(f"{given.target} exists; name a new file")
    asyncio.run(call(given.source, given.target, given.loss, given.seconds))


if __name__ == "__main__":
    main()
