"""The example for LC3, where Debian's ``liblc3-dev`` is installed."""

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.engine.trace_files import write_trace
from tests.plc.embed.c_side import EXAMPLE, WARNINGS, recording, run

if TYPE_CHECKING:
    from plc.embed.library import Library

pytestmark = pytest.mark.system
FRAMES = 200
LOST = np.random.default_rng(5).random(FRAMES) < 0.1


@pytest.fixture(scope="module")
def program(built: "Library", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the example, compiled."""
    if not Path("/usr/include/lc3.h").is_file():
        pytest.skip("liblc3-dev is not installed")
    program = tmp_path_factory.mktemp("lc3") / "lc3_conceal"
    folder = built.library.parent
    command = ["gcc", "-O2", *WARNINGS, f"-I{folder}", str(EXAMPLE.with_name("lc3_conceal.c"))]
    command += [str(folder / "libplc.a"), "-llc3", "-lm", "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return program


def sound(rate: int, frame_ms: float) -> NDArray[np.int16]:
    """Return a chord of so many frames."""
    t = np.arange(round(FRAMES * frame_ms * rate / 1000)) / rate
    chord = np.sin(2 * np.pi * np.outer(t, (220.0, 277.2, 329.6))).sum(axis=1)
    samples: NDArray[np.int16] = np.rint(6000 * chord).astype(np.int16)
    return samples


def play(
    program: Path, folder: Path, by: str, rate: int, frame_ms: float, lost: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], str]:
    """Return what is heard, and what the program says."""
    soundfile.write(folder / "in.wav", sound(rate, frame_ms), rate)
    write_trace(folder / "lost.trace", lost)
    names = [str(folder / name) for name in ("in.wav", "lost.trace", "out.wav")]
    Path(names[-1]).unlink(missing_ok=True)  # it replaces no file
    done = run(str(program), *names, f"{frame_ms:g}", by)
    assert done.returncode == 0, done.stderr
    heard, found = soundfile.read(folder / "out.wav")
    assert found == rate
    return heard, done.stdout


@pytest.mark.parametrize("rate", [16_000, 32_000, 48_000])
@pytest.mark.parametrize("frame_ms", [10.0, 7.5])
def test_lost_frames_of_a_chord_are_concealed_better_than_by_lc3(
    program: Path, tmp_path: Path, rate: int, frame_ms: float
) -> None:
    clean = sound(rate, frame_ms) / 32768.0
    lost = np.repeat(LOST, len(clean) // FRAMES)

    def error_db(by: str) -> float:
        heard, told = play(program, tmp_path, by, rate, frame_ms, LOST)
        counted = re.match(r"(\d+) of (\d+) frames lost: [\d.]+ ms .*; stack \d+, state \d+", told)
        assert counted is not None
        assert [int(each) for each in counted.groups()] == [np.count_nonzero(LOST), FRAMES]
        of = np.sum(clean[lost] ** 2)
        return float(10.0 * np.log10(np.sum((heard - clean)[lost] ** 2) / of))

    own = error_db("lc3")
    assert error_db("plc") < own - 6.0
    assert error_db("plc2") < own - 6.0


def test_without_losses_both_are_lc3_in_its_place(program: Path, tmp_path: Path) -> None:
    none = np.zeros(FRAMES, bool)
    own, _ = play(program, tmp_path, "lc3", 48_000, 10.0, none)
    clean = sound(48_000, 10.0) / 32768.0
    assert np.sum((own - clean) ** 2) < 0.01 * np.sum(clean**2)
    for by in ("plc", "plc1", "plc3"):
        heard, _ = play(program, tmp_path, by, 48_000, 10.0, none)
        assert np.array_equal(heard, own), by


def test_what_cannot_be_coded_is_said(program: Path, tmp_path: Path) -> None:
    speech = recording("speech", 16_000)
    soundfile.write(tmp_path / "stereo.wav", np.stack([speech, speech], axis=1), 16_000)
    soundfile.write(tmp_path / "odd.wav", speech, 22_050)
    (tmp_path / "lost.trace").write_text("# of 3 frames\n010\n")
    for name, frame_ms, said in [
        ("stereo.wav", "10", "of one channel"),
        ("odd.wav", "10", "LC3 takes"),
        ("lost.trace", "10", "is no plain WAV file"),
        ("none.wav", "10", "cannot be read"),
    ]:
        names = [str(tmp_path / each) for each in (name, "lost.trace", "out.wav")]
        done = run(str(program), *names, frame_ms, "plc")
        assert done.returncode == 1
        assert said in done.stderr
    assert run(str(program)).returncode == 1
