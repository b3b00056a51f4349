"""Play an input on an output through the engine, in the callback of a sound card.

pip install sounddevice        # and apt-get install libportaudio2
python examples/live_callback.py --loss 0.1 --seconds 10

Packets are lost on purpose. In a program of yours a packet comes from the network, or is None when
its time to play has come without it.
"""

import argparse
import time
from typing import Any

import numpy as np
import sounddevice
from numpy.typing import NDArray

from plc import Concealer
from plc.engine.runtime.priority import Priority
from plc.engine.runtime.threads import Level, take

RATE, PACKET = 48_000, 480


def main() -> None:
    """Open both devices, and tell after a while what was concealed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", help="number or name of a device")
    parser.add_argument("--output", help="number or name of a device")
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--loss", type=float, default=0.1, help="share of the packets, 0 to 1")
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()

    rng = np.random.default_rng(0)
    # Made before the stream begins: that is when kernels are loaded and costs are measured.
    # Real-time priority, where the system grants it: of the callback's thread and of the engine's.
    with Priority(tell=print) as priority, Concealer(RATE, given.channels, PACKET) as concealer:
        raised: list[bool] = []

        def play(
            heard: NDArray[np.float32],
            played: NDArray[np.float32],
            frames: int,
            when: Any,
            status: Any,
        ) -> None:
            if not raised:
                raised.append(take(Level.AUDIO))
            # Within its time limit, without memory of its own: push may stand in a callback.
            concealer.push(None if rng.random() < given.loss else heard, out=played)

        with sounddevice.Stream(
            samplerate=RATE,
            blocksize=PACKET,
            channels=given.channels,
            dtype="float32",
            device=(given.input, given.output),
            callback=play,
        ):
            end_s = time.monotonic() + given.seconds
            while (left_s := end_s - time.monotonic()) > 0:
                time.sleep(min(1.0, left_s))
                priority.tend()
        print(concealer)


if __name__ == "__main__":
    main()
