"""Score an unchanged ``opusdec`` with and without libplc inside, at the same losses.

    python bench/inside.py CLIPS --library build/libplc_inside.so

PLCMOS, PESQ and STOI of clips at 64 kb/s, of 10 and 20 % lost; and so of spandsp's calls at 8 kHz,
with PESQ for narrow band. It needs opus-tools, which draw their losses alike each time, libspandsp,
and networks as ``plc.plcm`` beside the library.
"""

import argparse
import ctypes
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from pesq import pesq

from plc_bench.base.corpus import resample
from plc_bench.scores.speech import SPEECH_RATE, pesq_wb, plcmos, stoi

CLIPS = 14
PHONE_RATE, PHONE_FRAME = 8_000, 160


def decoded(packets: Path, wanted: list[str], variables: dict[str, str]) -> np.ndarray:
    """Return what opusdec plays of a file, as speech's scores take it."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as out:
        command = ["opusdec", "--quiet", "--force-wav", *wanted, str(packets), out.name]
        subprocess.run(command, check=True, env=os.environ | variables)
        signal, rate = soundfile.read(out.name)
    return resample(signal, rate, SPEECH_RATE)


def by_telephone(library: str, sent: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return int16 of whole frames as spandsp's calls, of spandsp or of the library, play them."""
    calls, heard = ctypes.CDLL(library), sent.reshape(-1, PHONE_FRAME).copy()
    calls.plc_init.restype = ctypes.c_void_p
    memory = ctypes.create_string_buffer(4096)
    handle = ctypes.c_void_p(calls.plc_init(memory))
    for frame, is_lost in zip(heard, lost, strict=True):
        call = calls.plc_fillin if is_lost else calls.plc_rx
        call(handle, ctypes.c_void_p(frame.ctypes.data), PHONE_FRAME)
    calls.plc_release(handle)
    return heard.ravel()


def telephone_scores(library: str, clips: list[Path], share: float) -> np.ndarray:
    """Return the means of the scores at 8 kHz."""
    rows = []
    for k, clip in enumerate(clips):
        signal, rate = soundfile.read(clip, dtype="float32")
        signal = resample(signal, rate, PHONE_RATE)
        whole = signal[: len(signal) // PHONE_FRAME * PHONE_FRAME]
        sent = np.rint(32767 * whole).clip(-32768, 32767).astype(np.int16)
        lost = np.random.default_rng(k).random(len(sent) // PHONE_FRAME) < share
        lost[:10] = False
        pair = [each / 32768.0 for each in (sent, by_telephone(library, sent, lost))]
        wide = [resample(each.astype(np.float32), PHONE_RATE, SPEECH_RATE) for each in pair]
        rows.append((plcmos(wide[1]), pesq(PHONE_RATE, *pair, "nb"), stoi(*wide)))
    return np.asarray(np.mean(rows, axis=0))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--bitrate", default="64")
    given = parser.parse_args()
    clips = sorted(given.clips.glob("*.flac"))[:CLIPS]
    print("| lost | inside | PLCMOS | PESQ | STOI |\n|---|---|---|---|---|")
    for lost in ("10", "20"):
        for inside in ({}, {"LD_PRELOAD": str(given.library.resolve())}):
            rows = []
            for clip in clips:
                with tempfile.TemporaryDirectory() as folder:
                    packets = Path(folder, "clip.opus")
                    asked = ["opusenc", "--quiet", "--bitrate", given.bitrate]
                    subprocess.run([*asked, str(clip), str(packets)], check=True)
                    whole = decoded(packets, [], {})
                    heard = decoded(packets, ["--packet-loss", lost], inside)
                rows.append((plcmos(heard), pesq_wb(whole, heard), stoi(whole, heard)))
            told(f"{lost} % | {'libplc' if inside else 'Opus alone'}", np.mean(rows, axis=0))
        for library in ("libspandsp.so.2", str(given.library.resolve())):
            name = "spandsp alone" if "libspandsp" in library else "libplc for spandsp"
            told(f"{lost} % | {name}", telephone_scores(library, clips, int(lost) / 100))


def told(what: str, scores: np.ndarray) -> None:
    """Print a row."""
    text = " | ".join(f"{score:.{n}f}" for score, n in zip(scores, (2, 2, 3), strict=True))
    print(f"| {what} | {text} |", flush=True)


if __name__ == "__main__":
    main()
