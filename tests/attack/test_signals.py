"""Signals to commands at any moment: the right status, no complaint, and nothing left behind.

A moment is counted from when the program hears signals; before that the system ends it. A signal
that finds a program in its last moments, its work done, may be too late for its status.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.processes import environment, hear_signals
from tests.signals import noise, tones

psutil = pytest.importorskip("psutil")

RATE = 16_000
ENDS_S = 20.0
LATE_S = 0.1
COMPLAINTS = ("Traceback", "Exception ignored", "EOFError", "KeyboardInterrupt", "leaked")
TRAINING = ("--domain", "music", "--accelerator", "cpu")
HERE = "udp://127.0.0.1:0"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="there is no /proc of Linux"
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command and how it may end."""

    words: tuple[str, ...]
    within_s: float
    """Moments are drawn up to it."""
    graceful: bool = False
    """Whether a first signal lets it finish what is under way; a second one then ends it."""
    empty_caches: bool = False


def relay(*more: str) -> tuple[str, ...]:
    ends = [("--listen", HERE, "--to", name) for name in ("a.wav", "b.wav")]
    return ("relay", "--codec", "l16", *more, *ends[0], *ends[1])


COMMANDS = {
    "models": Command(("models", "--json"), 0.6),
    "doctor": Command(("doctor", "--json"), 4.0),
    "latency": Command(("bench", "latency", "--seconds", "4", "--runs", "2"), 12.0),
    "server": Command(("bench", "streams", "server"), 6.0),
    "quality": Command(("bench", "quality", "clips", "--methods", "zeros,ar", "--jobs", "2"), 6.0),
    "bench relay": Command(("bench", "robust", "relay-load", "--streams", "4"), 8.0),
    "conceal": Command(("conceal", "long.wav", "out.wav", "--loss", "10%"), 3.0),
    "inpaint": Command(("inpaint", "long.wav", "out.flac", "--gap", "1.0:1.1"), 3.0),
    "detect": Command(("detect", "long.wav"), 3.0),
    "repair": Command(("repair", "clips", "--out", "repaired", "--jobs", "2"), 6.0),
    "relay": Command(relay(), 3.0, graceful=True),
    "workers": Command(relay("--workers", "2"), 5.0, graceful=True),
    "web": Command(("web", "--port", "0"), 3.0, graceful=True),
    "demo": Command(("demo", "--out", "shown"), 8.0),
    "compiling": Command(("demo", "--out", "shown"), 25.0, empty_caches=True),
    "train": Command(
        ("train", "tiny", "--data", "clips", "--out", "run", *TRAINING),
        12.0,
    ),
}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of recordings, damaged."""
    folder = tmp_path_factory.mktemp("signals")
    (folder / "clips").mkdir()
    for number in range(4):
        clip = tones(number, RATE, 6 * RATE)
        clip[2 * RATE : 2 * RATE + 400] = 0.0
        soundfile.write(folder / "clips" / f"{number}.wav", clip, RATE, subtype="PCM_16")
    long = np.tile(0.1 * noise(1, 10 * RATE), 30)
    soundfile.write(folder / "long.wav", long, RATE, subtype="PCM_16")
    return folder


def hears(pid: int) -> bool:
    """Tell whether a process has a handler for SIGTERM."""
    text = Path(f"/proc/{pid}/status").read_text()
    caught = int(text.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def session(number: int) -> list[int]:
    """Return the processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == number and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def holds(condition: Callable[[], bool], within_s: float) -> bool:
    end_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.005)
    return True


def strike(command: Command, material: Path, folder: Path, number: int, after_s: float) -> str:
    """Send a signal to a command at a moment; return what was wrong, if anything."""
    folder.mkdir()
    for name in ("clips", "long.wav"):
        (folder / name).symlink_to(material / name)
    variables = environment()
    if command.empty_caches:
        variables |= {name: str(folder / "cache") for name in ("PLC_CACHE_DIR", "NUMBA_CACHE_DIR")}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "plc", *command.words],
            env=variables,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
            preexec_fn=hear_signals,
        )
    try:
        assert holds(lambda: hears(process.pid) or process.poll() is not None, 60.0)
        time.sleep(after_s)
        if process.poll() is not None:
            return ""
        sent_s = time.monotonic()
        # A terminal's go to all that it runs.
        os.killpg(process.pid, number) if number != signal.SIGTERM else os.kill(process.pid, number)
        try:
            status = process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            return "goes on"
        took_s = time.monotonic() - sent_s
        wrong = []
        allowed = {128 + number, -number} | ({0, 1} if command.graceful else set())
        if status not in allowed and not (status == 0 and took_s < LATE_S):
            wrong.append(f"status {status} after {took_s:.3f} s")
        if not holds(lambda: not session(process.pid), 5.0):
            names = [" ".join(psutil.Process(each).cmdline()) for each in session(process.pid)]
            wrong.append(f"left {names}")
        text = (folder / "said").read_text()
        wrong += [text for complaint in COMPLAINTS if complaint in text][:1]
        wrong += [f"left {path}" for path in folder.rglob("*.part*")]
        return "; ".join(wrong)
    finally:
        for each in session(process.pid):
            os.kill(each, signal.SIGKILL)
        process.wait()


def strikes(
    name: str, material: Path, tmp_path: Path, count: int, number: signal.Signals
) -> list[str]:
    """Return what went wrong at so many moments."""
    draw = random.Random(f"{name} {number.name}")
    found = []
    for k in range(count):
        after_s = COMMANDS[name].within_s * draw.random()
        wrong = strike(COMMANDS[name], material, tmp_path / f"{k}", number, after_s)
        if wrong:
            found.append(f"{number.name} after {after_s:.3f} s: {wrong}")
    return found


@pytest.mark.parametrize("name", ["models", "workers", "repair"])
def test_a_signal_at_a_few_moments_ends_a_command_cleanly(
    material: Path, tmp_path: Path, name: str
) -> None:
    for number in SIGNALS:
        folder = tmp_path / number.name
        folder.mkdir()
        assert not strikes(name, material, folder, 1, number)


@pytest.mark.deep
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_at_any_moment_ends_a_command_cleanly(
    material: Path, tmp_path: Path, name: str, number: signal.Signals
) -> None:
    count = int(os.environ.get("PLC_STRIKES", "25"))
    found = strikes(name, material, tmp_path, count, number)
    assert not found, "\n".join(found)
