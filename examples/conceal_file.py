"""Play a recording packet by packet, as a receiver does, with some of the packets lost.

python examples/conceal_file.py clean.wav heard.wav --loss 0.1
"""

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile

from plc import Concealer

PACKET_MS = 10


def main() -> None:
    """Read a file, lose packets of it, conceal them, and write what is heard."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--loss", type=float, default=0.1, help="share of the packets, 0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.target.exists():
        parser.error(f"{given.target} exists; name a new file")

    # soundfile reads float64 by default: ask for float32.
    signal, rate = soundfile.read(given.source, dtype="float32", always_2d=True)
    n = rate * PACKET_MS // 1000
    packets = signal[: len(signal) // n * n].reshape(-1, n, signal.shape[1])
    lost = np.random.default_rng(given.seed).random(len(packets)) < given.loss

    heard = np.empty_like(packets)
    settings = {"sample_rate": rate, "channels": signal.shape[1], "packet_samples": n}
    with Concealer(**settings, budget_ms=float("inf")) as concealer:  # a file can wait
        for k, packet in enumerate(packets):
            concealer.push(None if lost[k] else packet, out=heard[k])
        print(concealer)
        print(json.dumps(concealer.stats.w3c()))
    soundfile.write(given.target, heard.reshape(-1, signal.shape[1]), rate)


if __name__ == "__main__":
    main()
