import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.errors import AudioFileError, MissingExtraError
from plc.files.audio import AUDIO_SUFFIXES, AudioReader, count_samples, read_audio
from plc.files.formats import flac_frames, mp3_frames
from plc.files.writing import WRITABLE_SUFFIXES, AudioWriter, check_target, tags_of
from tests.examples import some
from tests.signals import noise, tones

RATE = 48_000
SAMPLES = 30_011  # neither a multiple of a block nor of a codec's frame
LOSSY_TOLERANCE = 0.1  # of a codec at its default rate, relative to the signal's RMS


def stereo(samples: int = SAMPLES) -> NDArray[np.float32]:
    return np.stack([tones(1, RATE, samples), tones(2, RATE, samples)], axis=1)


def on_grid(signal: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """``signal`` rounded to what an integer of ``bits`` holds."""
    full_scale = 2.0 ** (bits - 1)
    rounded = np.rint(signal.astype(np.float64) * full_scale) / full_scale
    return rounded.astype(np.float32)


def write(path: Path, signal: NDArray[np.float32], subtype: str | None = None) -> AudioWriter:
    with AudioWriter(path, RATE, signal.shape[1], subtype) as writer:
        writer.write(signal)
    return writer


@some("block_samples", [1, 480, SAMPLES, 4096, 20_000, 100_000], 3)
def test_blocks_of_any_size_join_to_the_file(tmp_path: Path, block_samples: int) -> None:
    samples = 500 if block_samples == 1 else SAMPLES
    path = tmp_path / "a.wav"
    soundfile.write(path, stereo(samples), RATE, subtype="FLOAT")
    with AudioReader(path) as reader:
        assert (reader.sample_rate, reader.channels, reader.samples) == (RATE, 2, samples)
        blocks = list(reader.stream(block_samples))
    assert {len(block) for block in blocks[:-1]} <= {block_samples}
    assert 0 < len(blocks[-1]) <= block_samples
    np.testing.assert_array_equal(np.concatenate(blocks), stereo(samples))
    assert blocks[0].dtype == np.float32


@pytest.mark.parametrize(
    ("suffix", "subtype", "bits"),
    [
        (".wav", "PCM_U8", 8),
        (".wav", "PCM_16", 16),
        (".wav", "PCM_24", 24),
        (".flac", "PCM_S8", 8),
        (".flac", "PCM_16", 16),
        (".flac", "PCM_24", 24),
    ],
)
def test_integer_samples_pass_through_unchanged(
    tmp_path: Path, suffix: str, subtype: str, bits: int
) -> None:
    signal = on_grid(stereo(), bits)
    signal[0], signal[1] = -1.0, 1.0 - 2.0 ** (1 - bits)
    writer = write(tmp_path / f"a{suffix}", signal, subtype)
    back, _ = read_audio(tmp_path / f"a{suffix}")
    assert soundfile.info(tmp_path / f"a{suffix}").subtype == subtype
    np.testing.assert_array_equal(back, signal)
    assert writer.clipped_samples == 0


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_float_samples_pass_through_unchanged_even_beyond_full_scale(
    tmp_path: Path, subtype: str
) -> None:
    signal = 20 * stereo()
    assert write(tmp_path / "a.wav", signal, subtype).clipped_samples == 0
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], signal)


@pytest.mark.parametrize(
    ("source_subtype", "suffix", "subtype"),
    [
        (None, ".wav", "PCM_16"),
        ("VORBIS", ".wav", "PCM_16"),
        ("FLOAT", ".flac", "PCM_24"),
        ("PCM_32", ".flac", "PCM_24"),
        ("PCM_32", ".wav", "PCM_32"),
        ("PCM_16", ".ogg", "VORBIS"),
        ("PCM_16", ".opus", "OPUS"),
        ("PCM_16", ".mp3", "MPEG_LAYER_III"),
        ("PCM_S8", ".wav", "PCM_U8"),
    ],
)
def test_the_coding_is_the_source_s_or_the_nearest(
    tmp_path: Path, source_subtype: str | None, suffix: str, subtype: str
) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, stereo(), source_subtype)
    assert soundfile.info(path).subtype == subtype


@pytest.mark.parametrize("suffix", [".ogg", ".opus", ".mp3"])
def test_a_lossy_format_comes_back_with_its_length_and_nearly_its_samples(
    tmp_path: Path, suffix: str
) -> None:
    write(tmp_path / f"a{suffix}", stereo())
    back, sample_rate = read_audio(tmp_path / f"a{suffix}")
    assert (back.shape, sample_rate) == ((SAMPLES, 2), RATE)
    assert count_samples(tmp_path / f"a{suffix}") == SAMPLES
    difference = np.sqrt(np.mean((back - stereo()) ** 2) / np.mean(stereo() ** 2))
    assert difference < LOSSY_TOLERANCE


def test_what_an_integer_format_cannot_hold_is_clipped_and_counted(tmp_path: Path) -> None:
    signal = np.array([[0.5], [1.5], [-7.0], [np.nan], [np.inf], [1.0], [-1.0]], np.float32)
    writer = write(tmp_path / "a.wav", signal, "PCM_16")
    back, _ = read_audio(tmp_path / "a.wav")
    largest = 1.0 - 2.0**-15
    assert back[:, 0].tolist() == [0.5, largest, -1.0, 0.0, largest, largest, -1.0]
    assert writer.clipped_samples == 3  # NaN was no sound


def _write_and_be_interrupted(writer: AudioWriter) -> None:
    writer.write(stereo())
    raise KeyboardInterrupt


def test_an_interrupted_run_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write(path, stereo())
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), AudioWriter(path, RATE, 2) as writer:
        _write_and_be_interrupted(writer)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_target_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    with AudioWriter(path, RATE, 2) as writer:
        writer.write(stereo())
        assert not path.exists()
    assert read_audio(path)[0].shape == (SAMPLES, 2)
    assert os.listdir(tmp_path) == ["a.flac"]


def test_a_wav_file_beyond_4_gb_is_refused_where_it_was_to_be_shorter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plc.files.writing._WAV_BYTES_MAX", 10_000)
    with (
        pytest.raises(AudioFileError, match="4 GB"),
        AudioWriter(tmp_path / "a.wav", RATE, 2, expected_samples=100) as writer,
    ):
        writer.write(stereo())
    assert not os.listdir(tmp_path)
    with AudioWriter(tmp_path / "b.wav", RATE, 2, expected_samples=SAMPLES) as writer:
        writer.write(stereo())
    assert soundfile.info(tmp_path / "b.wav").format == "RF64"
    assert read_audio(tmp_path / "b.wav")[0].shape == (SAMPLES, 2)


def test_a_missing_file_a_folder_and_an_empty_file_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    for path, message in [
        (tmp_path / "none.wav", "No such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty.wav", r"0 bytes"),
    ]:
        with pytest.raises(AudioFileError, match=message):
            AudioReader(path)


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.empty((0, 1), np.float32), RATE)
    with pytest.raises(AudioFileError, match="holds no samples"):
        AudioReader(tmp_path / "a.wav")


@some("name", ["a.txt", "a.wav", "a.raw"])
def test_text_is_no_audio(tmp_path: Path, name: str) -> None:
    pytest.importorskip("av", reason="without PyAV another error says that it might read more")
    (tmp_path / name).write_text("not a note of music\n" * 50)
    with pytest.raises(AudioFileError, match="not an audio file") as refused:
        AudioReader(tmp_path / name)
    assert "Errno" not in str(refused.value)
    assert str(refused.value).count(str(tmp_path)) == 1


def test_without_pyav_an_unknown_file_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(noise(0).tobytes())
    with pytest.raises(MissingExtraError, match=r"pip install .*\[media\]"):
        AudioReader(tmp_path / "a.m4a")


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac"])
@some("share", [0.3, 0.9])
def test_a_file_cut_short_is_read_to_its_end_and_said_so(
    tmp_path: Path, suffix: str, share: float, notices: list[str]
) -> None:
    whole, cut = tmp_path / f"a.{suffix}", tmp_path / f"cut.{suffix}"
    signal = np.tile(stereo(), (5, 1))
    soundfile.write(whole, signal, RATE)
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    found = read_audio(cut)[0]
    kept = found[~np.isnan(found[:, 0])]
    assert (share - 0.1) * len(signal) < len(kept) <= len(signal)
    np.testing.assert_allclose(kept, signal[: len(kept)], atol=1e-4)
    assert any("cut" in line and str(cut) in line for line in notices)


# ---- headers of WAV files that are not so -------------------------------------------------------


def mangled(path: Path, **sizes: int) -> Path:
    """Write a WAV file; replace its sizes (riff, data) by others."""
    soundfile.write(path, stereo(), RATE, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    place = {"riff": 4, "data": content.index(b"data") + 4}
    for name, size in sizes.items():
        content[place[name] : place[name] + 4] = struct.pack("<I", size)
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"data": 0}, 1),
        ({"data": 0, "riff": 0}, 1),
        ({"data": 0xFFFFFFFF, "riff": 0xFFFFFFFF}, 1),  # as into a pipe
        ({"data": 0x7FFFF000, "riff": 0x7FFFF024}, 1),
        ({"data": 4 * SAMPLES + 1}, 0),
        ({"data": 4 * SAMPLES + 36}, 0),
        ({"data": 4 * SAMPLES + 50_000, "riff": 4 * SAMPLES + 50_036}, 1),
        ({"riff": 0}, 0),
        ({"riff": 0xFFFFFFFF}, 0),
        ({"riff": 4 * SAMPLES + 1000}, 0),
        ({"riff": 100}, 0),
    ],
)
def test_wav_files_are_read_to_the_end_whatever_their_sizes_say(
    tmp_path: Path, sizes: dict[str, int], said: int, notices: list[str]
) -> None:
    found, _ = read_audio(mangled(tmp_path / "a.wav", **sizes))
    np.testing.assert_allclose(found, stereo(), atol=1e-4)
    assert len(notices) == said, notices


@pytest.mark.parametrize(
    ("behind", "said"),
    [(b"", 1), (b"LIST\x04\0\0\0INFO", 0), (bytes(1 << 16), 0)],
    ids=["audio", "a chunk and audio", "zeros and audio"],
)
def test_audio_behind_the_length_of_a_header_is_left_out_and_said_so(
    tmp_path: Path, behind: bytes, said: int, notices: list[str]
) -> None:
    path = tmp_path / "a.wav"
    signal = np.tile(stereo(), (3, 1))
    soundfile.write(path, signal, RATE, subtype="PCM_16")
    content = path.read_bytes()
    start = content.index(b"data") + 8
    kept = content[: start - 4] + struct.pack("<I", 4000) + content[start : start + 4000]
    path.write_bytes(kept + behind + content[start + 4000 :])
    np.testing.assert_allclose(read_audio(path)[0], signal[:1000], atol=1e-4)
    assert len(notices) == said, notices
    assert all("header states 0.021 s" in line for line in notices)


@pytest.mark.parametrize("between", [b"", b"LIST\x04\0\0\0INFO"])
def test_audio_in_a_second_chunk_is_left_out_and_said_so(
    tmp_path: Path, between: bytes, notices: list[str]
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, stereo(), RATE, subtype="PCM_16")
    samples = path.read_bytes()[-4 * SAMPLES :]
    second = b"data" + struct.pack("<I", len(samples) // 2) + samples[: len(samples) // 2]
    path.write_bytes(path.read_bytes() + between + second)
    np.testing.assert_allclose(read_audio(path)[0], stereo(), atol=1e-4)
    assert len(notices) == 1, notices
    assert f"audio of {SAMPLES / RATE / 2:.3f} s in another chunk" in notices[0]


@pytest.mark.parametrize("is_first", [True, False])
def test_an_empty_chunk_beside_that_of_the_audio_says_nothing(
    tmp_path: Path, is_first: bool, notices: list[str]
) -> None:
    path, empty = tmp_path / "a.wav", b"data" + bytes(4)
    soundfile.write(path, stereo(), RATE, subtype="PCM_16")
    content = path.read_bytes()
    at = content.index(b"data") if is_first else len(content)
    path.write_bytes(content[:at] + empty + content[at:])
    np.testing.assert_allclose(read_audio(path)[0], stereo(), atol=1e-4)
    assert notices == []


def test_a_chunk_of_audio_behind_an_empty_one_may_be_cut_short(
    tmp_path: Path, notices: list[str]
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.tile(stereo(), (9, 1)), RATE, subtype="PCM_16")
    content = path.read_bytes()
    at, kept = content.index(b"data"), 4 * SAMPLES
    empty = b"data" + bytes(4) + b"LIST\x04\0\0\0INFO"
    path.write_bytes(content[:at] + empty + content[at : at + 8 + kept])
    np.testing.assert_allclose(read_audio(path)[0], stereo(), atol=1e-4)
    assert len(notices) == 1, notices
    assert "cut short" in notices[0]


def test_an_empty_chunk_of_audio_before_others_holds_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, stereo()[:0], RATE, subtype="PCM_16")
    path.write_bytes(path.read_bytes() + b"LIST\x0c\0\0\0INFOINAM\0\0\0\0")
    with pytest.raises(AudioFileError, match="no samples"):
        read_audio(path)


def test_a_chunk_without_its_byte_of_padding_hides_no_audio(tmp_path: Path) -> None:
    path = mangled(tmp_path / "a.wav")
    content = path.read_bytes()
    place = content.index(b"data")
    odd = b"note\x05\0\0\0hello"
    path.write_bytes(content[:place] + odd + content[place:])
    np.testing.assert_allclose(read_audio(path)[0], stereo(), atol=1e-4)
    with AudioReader(path) as reader:
        assert (b"note", b"hello") in tags_of(reader).chunks


# ---- damaged frames of FLAC ---------------------------------------------------------------------


def flac(path: Path, signal: NDArray[np.float64], subtype: str = "PCM_16") -> flac_frames.Frames:
    soundfile.write(path, signal, RATE, subtype=subtype)
    found = flac_frames.search(path)
    assert found is not None
    assert found.complete
    return found


HARMS: dict[str, Callable[[bytes], bytes]] = {
    "a bit in the samples": lambda frame: frame[:40] + bytes([frame[40] ^ 8]) + frame[41:],
    "a bit in the header": lambda frame: frame[:2] + bytes([frame[2] ^ 16]) + frame[3:],
    "zeros": lambda frame: bytes(len(frame)),
    "zeros at the end": lambda frame: frame[:60] + bytes(len(frame) - 60),
    "absent": lambda frame: b"",
    "half": lambda frame: frame[: len(frame) // 2],
    "noise behind": lambda frame: frame[: len(frame) // 2] + bytes(range(256)) * 9,
}


@pytest.mark.parametrize("harm", HARMS)
@some("places", [(2, 7, 8), (0,), (1,), (4, 5), (11,)])
@some("subtype", ["PCM_16", "PCM_24"])
def test_damaged_frames_of_flac_are_nan_and_all_others_exact(
    tmp_path: Path, harm: str, places: tuple[int, ...], subtype: str, notices: list[str]
) -> None:
    rng = np.random.default_rng(3)
    signal = rng.uniform(-0.5, 0.5, (12 * 4096 - 700, 2))
    path = tmp_path / "a.flac"
    found = flac(path, signal, subtype)
    truth = read_audio(path)[0]
    assert len(found.frames) == 12
    content = path.read_bytes()
    ends = [frame.at for frame in found.frames[1:]] + [len(content)]
    lost = np.zeros(len(truth), np.bool_)
    for k in reversed(places):
        frame = found.frames[k]
        harmed = HARMS[harm](content[frame.at : ends[k]])
        content = content[: frame.at] + harmed + content[ends[k] :]
        lost[frame.start : frame.stop] = True
    path.write_bytes(content)
    read = read_audio(path)[0]
    assert len(read) == len(truth)
    np.testing.assert_array_equal(np.isnan(read).any(axis=1), lost)
    np.testing.assert_array_equal(read[~lost], truth[~lost])
    runs = int(np.count_nonzero(np.diff(np.concatenate([[0], lost])) > 0))
    assert len(notices) == 1
    assert f"{runs} place" in notices[0]
    assert f"{1000 * np.count_nonzero(lost) / RATE:.1f} ms" in notices[0]


def test_targets_that_cannot_be_written_are_refused_beforehand(tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    write(source, stereo())
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "link.wav").symlink_to(source)
    os.mkfifo(tmp_path / "pipe.wav")
    for target, message in [
        (tmp_path / "b.aac", r"\.wav, \.flac, \.ogg, \.opus, \.mp3"),
        (tmp_path / "b", "none"),
        (tmp_path / "folder.wav", "is a folder"),
        (tmp_path / "pipe.wav", "is a pipe or a device; name a file, or - for stdout"),
        (tmp_path / "no" / "b.wav", "make it first"),
        (source, "source itself"),
        (tmp_path / "link.wav", "source itself"),
    ]:
        with pytest.raises(AudioFileError, match=message):
            check_target(target, source)
    assert len(read_audio(source)[0]) == SAMPLES


@pytest.mark.parametrize(
    ("suffix", "sample_rate", "channels"),
    [
        (".opus", 44_100, 1),
        (".mp3", 96_000, 2),
        (".mp3", RATE, 3),
        (".flac", RATE, 9),
        (".flac", 768_000, 1),
    ],
)
def test_what_a_format_cannot_hold_names_those_that_can(
    tmp_path: Path, suffix: str, sample_rate: int, channels: int
) -> None:
    held = r"\.wav holds any rate and number of channels, \.flac up to 655350 Hz and 8 channels"
    with pytest.raises(AudioFileError, match=held):
        AudioWriter(tmp_path / f"a{suffix}", sample_rate, channels)
    assert not os.listdir(tmp_path)
    with AudioWriter(tmp_path / "a.wav", sample_rate, channels) as writer:
        writer.write(np.zeros((9, channels), np.float32))
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.samplerate, info.channels, info.frames) == (sample_rate, channels, 9)


def test_recordings_that_are_written_are_found_in_folders() -> None:
    assert set(WRITABLE_SUFFIXES) <= AUDIO_SUFFIXES


@some("suffix", sorted(WRITABLE_SUFFIXES, key=lambda each: each not in (".ogg", ".opus")), 2)
def test_minutes_written_at_once_are_written(tmp_path: Path, suffix: str) -> None:
    signal = np.tile(noise(1, 48_000), 60)[:, None]
    write(tmp_path / f"a{suffix}", signal)
    assert count_samples(tmp_path / f"a{suffix}") == len(signal)


@pytest.mark.parametrize(
    ("suffix", "codec", "tolerance"),
    [("m4a", "aac", 0.2), ("mka", "flac", 1e-4), ("webm", "libopus", 0.2)],
)
def test_pyav_reads_what_libsndfile_does_not(
    tmp_path: Path, suffix: str, codec: str, tolerance: float
) -> None:
    av = pytest.importorskip("av", reason="PyAV comes with the extra media")
    path = tmp_path / f"a.{suffix}"
    integers = np.rint(stereo() * 32767).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout="stereo")
        for start in range(0, SAMPLES, 1024):
            packed = np.ascontiguousarray(integers[start : start + 1024]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with AudioReader(path) as reader:
        assert (reader.sample_rate, reader.channels, reader.subtype) == (RATE, 2, None)
        back = np.concatenate(list(reader.stream(1000)))
    assert abs(len(back) - SAMPLES) <= 1024  # of AAC the end is known to a frame only
    assert count_samples(path) == len(back)
    difference = back[:SAMPLES] - stereo()[: len(back)]
    assert np.sqrt(np.mean(difference**2) / np.mean(stereo() ** 2)) < tolerance


def test_a_header_of_flac_that_its_frames_belie_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    flac(path, stereo().astype(np.float64))
    truth = read_audio(path)[0]
    content = bytearray(path.read_bytes())
    content[15:23] = b"\x7f" * 8  # of the smallest and largest frame, rate, channels, length
    path.write_bytes(bytes(content))
    np.testing.assert_array_equal(read_audio(path)[0], truth)


@pytest.mark.parametrize("lost", ["deleted", "inserted"])
@some("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"], 2)
@some("depth", [16, 24])
@some("channels", [2, 1])
def test_bytes_that_are_shifted_by_one_are_told_as_such(
    tmp_path: Path, lost: str, subtype: str, depth: int, channels: int
) -> None:
    signal = on_grid(0.3 * stereo(4 * RATE)[:, :channels], depth)
    path = tmp_path / "a b.wav"
    soundfile.write(path, signal, RATE, subtype)
    np.testing.assert_array_equal(read_audio(path)[0].shape, signal.shape)
    content = path.read_bytes()
    begin = content.index(b"data") + 8
    middle = begin + (len(content) - begin) // 2 + 1
    rest = content[middle + 1 :] if lost == "deleted" else b"\x33" + content[middle:]
    path.write_bytes(content[:middle] + rest)
    with pytest.raises(AudioFileError, match="bytes are shifted") as told:
        read_audio(path)
    assert float(str(told.value).split("about ")[1].split()[0]) == pytest.approx(2.0, abs=0.7)


@pytest.mark.parametrize("kind", ["noise", "8 bits", "one bit", "quiet", "square", "offset"])
@some("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_sound_like_noise_is_not_taken_for_shifted_bytes(
    tmp_path: Path, kind: str, subtype: str
) -> None:
    rng = np.random.default_rng(6)
    loud = rng.uniform(-1.0, 1.0, (2 * RATE, 2))
    period = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)[:, None]
    signal = {
        "noise": loud,
        "8 bits": np.rint(loud * 127) / 128,
        "one bit": 0.9 * np.sign(loud),
        "quiet": loud / 9000,
        "square": 0.99 * np.sign(period),
        "offset": 0.0038 + 0.0035 * period,
    }[kind]
    soundfile.write(tmp_path / "a.wav", signal, RATE, subtype)
    assert len(read_audio(tmp_path / "a.wav")[0]) == 2 * RATE


# ---- damaged frames of MP3 ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@some("channels", [2, 1])
@some("lost", [(9, 40), (1,), (20,), (20, 21, 22)], 2)
def test_frames_of_zeros_in_mp3_leave_nan_and_all_others_at_their_place(
    tmp_path: Path,
    mode: str,
    channels: int,
    lost: tuple[int, ...],
    notices: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    signal = stereo(60 * 1152)[:, :channels]
    path = tmp_path / "a.mp3"
    soundfile.write(path, signal, RATE, format="MP3", bitrate_mode=mode, compression_level=0.5)
    truth = read_audio(path)[0]
    assert mp3_frames.mend(path) is None
    content = bytearray(path.read_bytes())
    frames = mp3_frames._frames(bytes(content), 0, bytes(content[:4]))
    for k in lost:
        content[frames[k].at : frames[k].at + frames[k].size] = bytes(frames[k].size)
    path.write_bytes(bytes(content))
    found = read_audio(path)[0]
    missing = np.isnan(found[:, 0])
    assert len(found) == len(truth)
    np.testing.assert_allclose(found[~missing], truth[~missing], atol=2e-4)
    assert len(lost) * 1152 // 2 <= np.count_nonzero(missing) <= 8 * len(lost) * 1152
    assert len(notices) == 1
    assert "is damaged" in notices[0]
    assert capfd.readouterr().err == ""


@some("rate", [22_050, RATE])
@pytest.mark.parametrize("tagged", [False, True])
def test_the_first_frames_of_an_mp3_cut_out_of_a_longer_one_are_missed_as_their_bytes_are(
    tmp_path: Path, rate: int, tagged: bool, notices: list[str]
) -> None:
    path = tmp_path / "a.mp3"
    signal = stereo(60 * 1152)[:, :1]
    soundfile.write(path, signal, rate, format="MP3", bitrate_mode="CONSTANT")
    content, truth = path.read_bytes(), read_audio(path)[0]
    frames = mp3_frames._frames(content, 0, content[:4])
    first = 20 + next(
        k for k, frame in enumerate(frames[20:]) if mp3_frames._bytes_before(content, frame)
    )
    path.write_bytes(TAG * tagged + content[frames[first].at :])
    found = read_audio(path)[0]
    missing = int(np.flatnonzero(~np.isnan(found[:, 0]))[0])
    assert 2 * 576 <= missing <= 9 * 576
    assert not np.isnan(found[missing:]).any()
    head = content[:4]
    place = first * mp3_frames._samples(head) - mp3_frames._offset(content, frames[0], head)
    truth = truth[place:]
    np.testing.assert_allclose(found[missing : len(truth)], truth[missing:], atol=2e-4)
    assert "is damaged: 1 place" in notices[0]


def swinging_mp3(path: Path, mode: str) -> tuple[bytes, list[Any], NDArray[np.float32]]:
    """Write an MP3 file with a rest in its middle; return its bytes, frames and samples."""
    signal = stereo(60 * 1152)[:, :1].copy()
    signal[25 * 1152 : 40 * 1152] = 0.0
    soundfile.write(path, signal, RATE, format="MP3", bitrate_mode=mode, compression_level=0.1)
    content = path.read_bytes()
    return content, mp3_frames._frames(content, 0, content[:4]), read_audio(path)[0]


@some("mode", ["VARIABLE", "AVERAGE"])
@some(
    "lost",
    [("small", 10), (10, 45, "small"), ("last",), ("small",), (10, "small"), ("last", 10)],
    3,
)
def test_small_frames_of_mp3_beside_large_ones_and_the_last_one_are_missed(
    tmp_path: Path,
    mode: str,
    lost: tuple[int | str, ...],
    notices: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "a.mp3"
    content, frames, truth = swinging_mp3(path, mode)
    least = min(range(5, 55), key=lambda k: frames[k].size)
    assert frames[least].size < sum(frame.size for frame in frames) / len(frames) / 2
    damaged = bytearray(content)
    for name in lost:
        frame = frames[name if isinstance(name, int) else {"small": least, "last": -1}[name]]
        damaged[frame.at : frame.at + frame.size] = bytes(frame.size)
    path.write_bytes(bytes(damaged))
    found = read_audio(path)[0]
    missing = np.isnan(found[:, 0])
    assert len(found) == len(truth)
    assert np.count_nonzero(missing) >= 256
    np.testing.assert_allclose(found[~missing], truth[~missing], atol=2e-4)
    assert len(notices) == 1
    assert "is damaged" in notices[0]
    assert capfd.readouterr().err == ""


TAG = b"ID3\3\0\0\0\0\x1f\x00" + bytes(0x1F * 128)
NOISE = np.random.default_rng(3).bytes(3000)


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".opus"])
@some("level", [0.5, 0.0, 0.9])
def test_a_lossy_file_is_read_block_by_block_as_at_once(
    tmp_path: Path, suffix: str, level: float
) -> None:
    rate, path = 48_000, tmp_path / f"a{suffix}"
    # Soft and loud in turn: the coder saves bytes for what follows.
    loud = np.repeat(np.random.default_rng(4).uniform(0.02, 1.0, 60), rate // 10)
    signal = (loud * tones(3, rate, loud.size)).astype(np.float32)
    kind = "MP3" if suffix == ".mp3" else "OGG"
    subtype = {".mp3": "MPEG_LAYER_III", ".ogg": "VORBIS", ".opus": "OPUS"}[suffix]
    given: Any = {"bitrate_mode": "VARIABLE"} if suffix == ".mp3" else {}
    with soundfile.SoundFile(
        path, "w", rate, 1, subtype, format=kind, compression_level=level, **given
    ) as file:
        for start in range(0, signal.size, 2**15):
            file.write(signal[start : start + 2**15])
    at_once = soundfile.read(path, dtype="float32", always_2d=True)[0]
    np.testing.assert_array_equal(read_audio(path)[0], at_once)


@some("mode", ["VARIABLE", "CONSTANT"])
@some(
    "where, what",
    [
        ("middle", TAG),
        ("middle", NOISE[:500]),
        ("end", NOISE),
        ("end", bytes(3000)),
        ("end", b"TAG" + bytes(125)),
        ("begin", bytes(4096)),
    ],
    3,
)
def test_what_is_no_frame_between_those_of_mp3_is_passed_over(
    tmp_path: Path, mode: str, where: str, what: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    if mode == "CONSTANT" and what is not TAG and where != "end":
        pytest.skip("without the coder's count it may have been frames")
    path = tmp_path / "a.mp3"
    content, frames, truth = swinging_mp3(path, mode)
    at = {"begin": 0, "middle": frames[20].at, "end": len(content)}[where]
    path.write_bytes(content[:at] + what + content[at:])
    np.testing.assert_allclose(read_audio(path)[0], truth, atol=2e-4)
    assert capfd.readouterr().err == ""


@some("flip", range(16, 256, 48), 2)
def test_a_wrong_bit_rate_in_a_header_of_mp3_costs_no_more_than_its_frame(
    tmp_path: Path, flip: int, notices: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.mp3"
    content, frames, truth = swinging_mp3(path, "VARIABLE")
    damaged = bytearray(content)
    damaged[frames[20].at + 2] ^= flip
    path.write_bytes(bytes(damaged))
    found = read_audio(path)[0]
    missing = np.isnan(found[:, 0])
    assert len(found) == len(truth)
    assert np.count_nonzero(missing) <= 9 * 1152
    assert bool(notices) == bool(missing.any())
    np.testing.assert_allclose(found[~missing], truth[~missing], atol=2e-4)
    assert capfd.readouterr().err == ""


def test_mp3_files_joined_to_one_are_read_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    content, _, truth = swinging_mp3(path, "VARIABLE")
    path.write_bytes(content + b"TAG" + bytes(125) + TAG + content)
    found = read_audio(path)[0]
    assert 0 <= len(found) - 2 * len(truth) < 4 * 1152
    np.testing.assert_allclose(found[: len(truth) - 1152], truth[:-1152], atol=2e-4)


def test_an_mp3_file_that_was_cut_says_so(tmp_path: Path, notices: list[str]) -> None:
    path = tmp_path / "a.mp3"
    content, frames, _ = swinging_mp3(path, "VARIABLE")
    path.write_bytes(content[: frames[15].at + 40])
    read_audio(path)
    assert any("is cut short" in line for line in notices)
