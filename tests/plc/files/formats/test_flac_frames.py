"""FLAC files of every kind are read whole, and what is damaged in them stays at its place."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.engine.loss import TraceLosses
from plc.errors import AudioFileError
from plc.files.audio import AudioReader, read_audio
from plc.files.fill.signals import FillSettings
from plc.files.marks import read_gaps
from plc.files.recordings import inpaint_file
from plc.files.streamed import conceal_file, lose_file
from plc.restore.detect.recorded import detect_file, write_labels
from plc.restore.repair import RepairSettings, run_repair
from tests.examples import some
from tests.flac_files import FlacFile, Integers, flac_file

RATE = 48_000
MANY = (512, 1000, 256, 777, 1024)
"""Samples of the frames of a file whose frames are of many sizes."""


def sound(samples: int = 6000, channels: int = 2, bits: int = 16) -> Integers:
    rng = np.random.default_rng(1)
    phase = 2 * np.pi * np.outer(np.arange(samples), 300 + 100 * np.arange(channels)) / RATE
    signal = 0.3 * np.sin(phase) + 0.01 * rng.standard_normal((samples, channels))
    integers: Integers = np.rint(signal * 2 ** (bits - 1)).astype(np.int64)
    return integers


def as_read(signal: Integers, bits: int = 16) -> NDArray[np.float32]:
    return (signal / 2.0 ** (bits - 1)).astype(np.float32)


def harmed(made: FlacFile, *frames: int) -> bytes:
    """Return a file with a bit of some frames turned over."""
    content = [bytearray(frame) for frame in made.frames]
    for k in frames:
        content[k][40] ^= 8
    return made.header + b"".join(content)


def without(made: FlacFile, *frames: int) -> bytes:
    kept = [frame for k, frame in enumerate(made.frames) if k not in frames]
    return made.header + b"".join(kept)


KINDS: dict[str, dict[str, Any]] = {
    "one size": {},
    "many sizes, samples counted, unmarked": {
        "blocks": MANY,
        "numbers": "samples",
        "marked": False,
    },
    "many sizes, frames counted": {"blocks": MANY},
    "nothing counted, length unknown": {"numbers": "nothing", "samples": 0},
    "fewer samples stated, many sizes": {"samples": 2500, "blocks": MANY},
    "2^36 - 1 samples stated": {"samples": (1 << 36) - 1},
    "24 bits stated": {"bits_told": 24},
    "middle and side": {"stereo": "mid-side", "subframe": "fixed"},
    "many sizes, samples counted": {"blocks": MANY, "numbers": "samples"},
    "many sizes, frames counted, marked": {"blocks": MANY, "marked": True},
    "one size, samples counted, unmarked": {"numbers": "samples", "marked": False},
    "nothing counted": {"numbers": "nothing"},
    "cut out of a longer one": {"first": 100},
    "cut out of a longer one, length unknown": {"first": 100, "samples": 0},
    "length unknown": {"samples": 0},
    "fewer samples stated": {"samples": 2500},
    "99 samples stated": {"samples": 99},
    "more samples stated": {"samples": 6500},
    "many more samples stated": {"samples": 10**6},
    "smaller frames stated": {"least": 192, "most": 192},
    "larger frames stated": {"least": 4096, "most": 4096},
    "small frames of many sizes stated": {"least": 16, "most": 100},
    "a wrong checksum": {"md5": 77},
    "20 bits stated": {"bits_told": 20},
    "another rate stated": {"rate_told": 44_100},
    "one channel stated": {"channels_told": 1},
    "nothing stated in frames": {"telling": False},
    "tiny frames": {"blocks": 16},
    "one frame": {"blocks": 6000},
    "left and side": {"stereo": "left-side", "subframe": "fixed"},
    "side and right": {"stereo": "side-right", "subframe": "fixed"},
}


@some("kind", KINDS, 8)
@some("before, behind", [(b"ID3\3\0\0\0\0\1\0" + bytes(128), b"TAG" * 43), (b"", b"")])
def test_a_whole_file_is_read_as_it_was_written(
    tmp_path: Path, kind: str, before: bytes, behind: bytes
) -> None:
    signal = sound(1500 if kind == "tiny frames" else 6000)
    path = tmp_path / "a b.flac"
    path.write_bytes(before + flac_file(signal, RATE, **KINDS[kind]).bytes() + behind)
    with AudioReader(path) as reader:
        assert (reader.sample_rate, reader.channels, reader.subtype) == (RATE, 2, "PCM_16")
        assert reader.samples == len(signal)
        found = np.concatenate(list(reader.stream(1000)))
    np.testing.assert_array_equal(found, as_read(signal))


@some("bits", [15, 24, 32, *range(4, 15), *range(16, 24)], 3)
@some("channels", [2, 1, 6])
@pytest.mark.parametrize(("subframe", "telling"), [("verbatim", False), ("fixed", True)])
def test_samples_of_any_depth_are_read_and_damage_is_seen(
    tmp_path: Path, bits: int, channels: int, subframe: str, telling: bool
) -> None:
    if bits == 32:
        pytest.importorskip("av", reason="PyAV comes with the extra media")
    signal = sound(1500, channels, bits)
    subframe = "verbatim" if bits == 32 else subframe
    made = flac_file(signal, RATE, bits, subframe=subframe, telling=telling)
    path = tmp_path / "a.flac"
    path.write_bytes(made.bytes())
    np.testing.assert_array_equal(read_audio(path)[0], as_read(signal, bits))
    path.write_bytes(harmed(made, 3))
    missing = np.flatnonzero(np.isnan(read_audio(path)[0]).all(axis=1))
    # FFmpeg, which reads 32 bits, passes over the next frame, too.
    stop = made.starts[5 if bits == 32 else 4]
    np.testing.assert_array_equal(missing, np.arange(made.starts[3], stop))


def test_frames_of_one_value_are_read(tmp_path: Path) -> None:
    signal = np.repeat(np.arange(-5, 5)[:, None], 256, axis=0)
    (tmp_path / "a.flac").write_bytes(flac_file(signal, RATE, subframe="constant").bytes())
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac")[0], as_read(signal))


@pytest.mark.skipif(shutil.which("flac") is None, reason="the program flac is not installed")
@pytest.mark.parametrize("kind", ["one size", "many sizes, frames counted", "middle and side"])
def test_the_files_made_here_are_those_that_the_reference_decoder_reads(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "a.flac").write_bytes(flac_file(sound(), RATE, **KINDS[kind]).bytes())
    raw = "--force-raw-format", "--endian=little", "--sign=signed"
    told = subprocess.run(
        ["flac", "-dcs", *raw, tmp_path / "a.flac"], capture_output=True, check=True
    )
    np.testing.assert_array_equal(np.frombuffer(told.stdout, "<i2").reshape(-1, 2), sound())


@some("kind", KINDS, 8)
@some("frames", [(3, 5), (0,), (3,)])
def test_frames_that_cannot_be_decoded_are_missing_at_their_place(
    tmp_path: Path, kind: str, frames: tuple[int, ...]
) -> None:
    signal = sound()
    made = flac_file(signal, RATE, **KINDS[kind])
    frames = tuple(k for k in frames if k < len(made.frames) - 1)
    path = tmp_path / "a.flac"
    path.write_bytes(harmed(made, *frames))
    lost = np.zeros(len(signal), np.bool_)
    for k in frames:
        lost[made.starts[k] : made.starts[k + 1]] = True
    if lost.all() or not frames:
        return
    found = read_audio(path)[0]
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), lost)
    np.testing.assert_array_equal(found[~lost], as_read(signal)[~lost])


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"blocks": MANY},
        {"blocks": MANY, "numbers": "samples"},
        {"numbers": "samples", "marked": False},
        {"samples": 0},
        {"samples": 3000},
    ],
)
def test_a_frame_that_is_absent_keeps_its_place(tmp_path: Path, told: dict[str, Any]) -> None:
    signal = sound()
    made = flac_file(signal, RATE, **told)
    path = tmp_path / "a.flac"
    path.write_bytes(without(made, 4))
    found = read_audio(path)[0]
    lost = np.zeros(len(signal), np.bool_)
    lost[made.starts[4] : made.starts[5]] = True
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), lost)
    np.testing.assert_array_equal(found[~lost], as_read(signal)[~lost])


@pytest.mark.parametrize(("samples", "told"), [(2500, "0.052"), (6500, "0.135")])
def test_a_header_that_states_another_length_is_told(
    tmp_path: Path, samples: int, told: str, notices: list[str]
) -> None:
    (tmp_path / "a.flac").write_bytes(flac_file(sound(), RATE, samples=samples).bytes())
    read_audio(tmp_path / "a.flac")
    (line,) = notices
    assert f"its header states {told} s, its frames hold 0.125 s: these are read" in line


def test_a_file_whose_end_was_cut_off_is_told_to_be_damaged(
    tmp_path: Path, notices: list[str]
) -> None:
    made = flac_file(sound(), RATE)
    (tmp_path / "a.flac").write_bytes(without(made, len(made.frames) - 1))
    found = read_audio(tmp_path / "a.flac")[0]
    assert np.flatnonzero(np.isnan(found[:, 0])).tolist() == list(range(*made.starts[-2:]))
    assert "is damaged: 1 place" in notices[0]


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (RATE, 1), (RATE, 3)])
def test_what_changes_on_the_way_is_read_to_its_end(
    tmp_path: Path, rate: int, channels: int, notices: list[str]
) -> None:
    pytest.importorskip("av", reason="PyAV comes with the extra media")
    first = flac_file(sound(4096), RATE)
    second = flac_file(sound(4096, channels), rate, first=len(first.frames))
    (tmp_path / "a.flac").write_bytes(first.bytes() + b"".join(second.frames))
    found = read_audio(tmp_path / "a.flac")[0]
    assert len(found) == pytest.approx(4096 + 4096 * RATE / rate, abs=64)
    assert not np.isnan(found).any()
    assert f"goes on with {rate} Hz" in notices[0]


def test_deeper_samples_on_the_way_are_read(tmp_path: Path) -> None:
    first = flac_file(sound(4096), RATE, samples=6144)
    second = flac_file(sound(2048, 2, 24), RATE, 24, first=len(first.frames))
    (tmp_path / "a.flac").write_bytes(first.bytes() + b"".join(second.frames))
    wanted = np.concatenate([as_read(sound(4096)), as_read(sound(2048, 2, 24), 24)])
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac")[0], wanted)


# ---- what cannot be decoded is a gap ---------------------------------------------------------


def long_one() -> tuple[Integers, FlacFile]:
    signal = sound(RATE // 2)
    return signal, flac_file(signal, RATE, blocks=2048)


@some("suffix", [".flac", ".wav"])
@some("gap_s", [(0.01, 0.012), (0.2, 0.215), (0.3, 0.31), (0.09, 0.1)], 2)
def test_what_could_not_be_decoded_is_filled_wherever_the_gap_is(
    tmp_path: Path, suffix: str, gap_s: tuple[float, float]
) -> None:
    signal, made = long_one()
    source, target = tmp_path / "a.flac", tmp_path / f"b{suffix}"
    source.write_bytes(harmed(made, 5))
    report = inpaint_file(source, target, [gap_s], settings=FillSettings(quality="fast"))
    lost = slice(*made.starts[5:7])
    gap = slice(*(round(RATE * each) for each in gap_s))
    assert any(a <= lost.start and lost.stop <= b for a, b in report.gaps)
    assert any(a <= gap.start and gap.stop <= b for a, b in report.gaps)
    assert report.clipped_samples == 0
    filled = soundfile.read(target, dtype="float32")[0]
    assert np.sqrt(np.mean(filled[lost] ** 2)) > 0.05
    kept = np.delete(np.arange(len(signal)), np.r_[tuple(slice(*each) for each in report.gaps)])
    np.testing.assert_array_equal(filled[kept], as_read(signal)[kept])


def test_packets_that_cannot_be_decoded_are_concealed_and_lost(tmp_path: Path) -> None:
    _, made = long_one()
    source = tmp_path / "a.flac"
    source.write_bytes(harmed(made, 5))
    lost = np.zeros(50, np.bool_)
    lost[made.starts[5] // 480 : -(-made.starts[6] // 480)] = True
    report = conceal_file(source, tmp_path / "b.flac", TraceLosses(np.zeros(50, np.bool_)))
    assert (report.stats["invalid_packets"], report.clipped_samples) == (lost.sum(), 0)
    told = lose_file(source, tmp_path / "c.flac", TraceLosses(np.zeros(50, np.bool_)))
    assert (told.lost_packets, told.clipped_samples) == (lost.sum(), 0)
    kept = soundfile.read(tmp_path / "c.flac", dtype="float32")[0].reshape(50, 480, 2)
    np.testing.assert_array_equal((kept == 0).all(axis=(1, 2)), lost)


@pytest.mark.parametrize("work", ["inpaint", "conceal", "detect"])
@some("harm", ["a bit of each frame", "zeros"])
def test_a_file_of_which_nothing_decodes_is_an_error_in_words(
    tmp_path: Path, work: str, harm: str
) -> None:
    made = flac_file(sound(), RATE)
    source, target = tmp_path / "a.flac", tmp_path / "b.flac"
    every = range(len(made.frames))
    content = harmed(made, *every) if harm != "zeros" else made.header + bytes(20_000)
    source.write_bytes(content)
    how: dict[str, Callable[[], object]] = {
        "inpaint": lambda: inpaint_file(source, target, [(0.01, 0.02)]),
        "conceal": lambda: conceal_file(source, target, TraceLosses(np.zeros(13, np.bool_))),
        "detect": lambda: detect_file(source),
    }
    with pytest.raises(AudioFileError, match=r"nothing in it can be decoded|damaged after about 0"):
        how[work]()
    assert not target.exists()


@pytest.mark.parametrize("kind", ["flac", "ogg", "wav"])
def test_what_mostly_cannot_be_decoded_is_filled_only_where_somebody_names_it(
    tmp_path: Path, kind: str
) -> None:
    signal, made = long_one()
    source, target, labels = (tmp_path / f"a.{each}" for each in (kind, "out.wav", "txt"))
    heard = as_read(np.tile(signal, (10, 1)))
    if kind == "flac":
        source.write_bytes(harmed(made, *range(1, len(made.frames))))
    elif kind == "ogg":
        soundfile.write(source, heard, RATE)
        content = bytearray(source.read_bytes())
        places = slice(5000, -len(content) // 4, 200)
        content[places] = bytes(len(content[places]))
        source.write_bytes(content)
    else:  # here a program wrote where samples are missing
        heard[RATE : 4 * RATE] = np.nan
        soundfile.write(source, heard, RATE, subtype="FLOAT")
    fast = FillSettings(quality="fast")
    found = detect_file(source)
    write_labels(labels, found)
    if kind != "wav":
        words = r"\(\d\d %\) of it cannot be decoded; .* plc detect --labels FILE, .* --gaps FILE"
        with pytest.raises(AudioFileError, match=words):
            inpaint_file(source, target, [(0.001, 0.002)], settings=fast)
        with pytest.raises(AudioFileError, match=words):
            found.gaps_s  # noqa: B018
        assert not target.exists()
        done = run_repair(str(source), str(tmp_path / "out"), RepairSettings(quality="fast"))
        assert "cannot be decoded" in done.outcomes[0].reason
    report = inpaint_file(source, target, read_gaps(labels), settings=fast)
    assert np.isfinite(read_audio(target)[0]).all()
    assert sum(stop - start for start, stop in report.gaps) > report.samples / 2
