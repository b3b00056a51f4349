"""Score an unchanged ``opusdec`` with and without libplc inside, at the same losses.

    python bench/inside.py CLIPS --library build/libplc_inside.so

PLCMOS, PESQ and STOI of clips at 64 kb/s, of 10 and 20 % lost. It needs opus-tools; ``opusdec``
draws its losses alike each time.
"""

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from plc_bench.base.corpus import resample
from plc_bench.scores.speech import SPEECH_RATE, pesq_wb, plcmos, stoi

CLIPS = 14


def decoded(packets: Path, wanted: list[str], variables: dict[str, str]) -> np.ndarray:
    """Return what opusdec plays of a file, as speech's scores take it."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as out:
        command = ["opusdec", "--quiet", "--force-wav", *wanted, str(packets), out.name]
        subprocess.run(command, check=True, env=os.environ | variables)
        signal, rate = soundfile.read(out.name)
    return resample(signal, rate, SPEECH_RATE)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--bitrate", default="64")
    given = parser.parse_args()
    print("| lost | inside | PLCMOS | PESQ | STOI |\n|---|---|---|---|---|")
    for lost in ("10", "20"):
        for inside in ({}, {"LD_PRELOAD": str(given.library.resolve())}):
            rows = []
            for clip in sorted(given.clips.glob("*.flac"))[:CLIPS]:
                with tempfile.TemporaryDirectory() as folder:
                    packets = Path(folder, "clip.opus")
                    asked = ["opusenc", "--quiet", "--bitrate", given.bitrate]
                    subprocess.run([*asked, str(clip), str(packets)], check=True)
                    whole = decoded(packets, [], {})
                    heard = decoded(packets, ["--packet-loss", lost], inside)
                rows.append((plcmos(heard), pesq_wb(whole, heard), stoi(whole, heard)))
            scores = np.mean(rows, axis=0)
            text = " | ".join(f"{score:.{n}f}" for score, n in zip(scores, (2, 2, 3), strict=True))
            print(f"| {lost} % | {'libplc' if inside else 'Opus alone'} | {text} |", flush=True)


if __name__ == "__main__":
    main()
