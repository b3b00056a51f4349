from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc.errors import AudioFileError, ConfigError
from plc_bench.base.corpus import clip_seed, find_clips, find_named_clips, read_clip
from tests.signals import sine


def write(path: Path, sample_rate: int = 16_000, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = sine(440.0, sample_rate, sample_rate // 4)
    soundfile.write(path, np.stack([tone] * channels, axis=1), sample_rate)
    return path


def test_clips_are_found_at_any_depth_in_the_order_of_their_names(tmp_path: Path) -> None:
    b = write(tmp_path / "b.flac")
    a = write(tmp_path / "deep" / "er" / "a.wav")
    c = write(tmp_path / "another" / "c.ogg")
    (tmp_path / "notes.txt").write_text("no audio")
    assert find_clips([tmp_path]) == [a, b, c]
    assert find_clips([tmp_path, tmp_path / "deep", b]) == [a, b, c]


def test_stereo_versions_stay_out_unless_named(tmp_path: Path) -> None:
    mono = write(tmp_path / "piece.flac")
    stereo = write(tmp_path / "stereo_piece.flac", channels=2)
    assert find_clips([tmp_path]) == [mono]
    assert find_clips([stereo]) == [stereo]


def test_a_manifest_names_clips_beside_itself(tmp_path: Path) -> None:
    clip = write(tmp_path / "music" / "a.flac")
    write(tmp_path / "music" / "unlisted.flac")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,domain\nmusic/a.flac,music\n")
    assert find_clips([manifest]) == [clip]


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no audio in"):
        find_clips([tmp_path])
    with pytest.raises(ConfigError, match="does not exist"):
        find_clips([tmp_path / "absent"])


def test_a_clip_keeps_its_samples_and_channels(tmp_path: Path) -> None:
    recording = read_clip(write(tmp_path / "a.wav", channels=2))
    assert recording.sample_rate == 16_000
    assert recording.signal.shape == (4000, 2)
    assert recording.signal.dtype == np.float32
    np.testing.assert_allclose(recording.signal[:, 1], sine(440.0, 16_000, 4000), atol=2**-15)


def test_a_resampled_sine_is_the_sine_at_the_new_rate(tmp_path: Path) -> None:
    pytest.importorskip("soxr", reason="soxr is not installed")
    recording = read_clip(write(tmp_path / "a.wav", 48_000), 16_000)
    assert recording.sample_rate == 16_000
    middle = slice(1000, 3000)
    np.testing.assert_allclose(
        recording.signal[middle, 0], sine(440.0, 16_000, 4000)[middle], atol=1e-4
    )


def test_files_without_audio_or_with_nan_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF but no more")
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 1)), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(10, np.nan), 16_000, subtype="FLOAT")
    for name, said in (("broken", "cannot read"), ("empty", "no samples"), ("nan", "not finite")):
        with pytest.raises(AudioFileError, match=said):
            read_clip(tmp_path / f"{name}.wav")


def test_a_clips_seed_is_the_same_everywhere() -> None:
    assert clip_seed("piano.flac") == 0x524591F9
    assert clip_seed("piano.flac") != clip_seed("violin.flac")
    assert clip_seed("piano.flac", 1) != clip_seed("piano.flac")


def test_clips_are_named_by_their_path_and_know_their_domain(tmp_path: Path) -> None:
    for name in ("music/test/a.wav", "voices/a.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    named = find_named_clips([tmp_path])
    assert [(clip.name, clip.domain) for clip in named] == [
        ("music/test/a.wav", "music"),
        ("voices/a.wav", "voices"),
    ]
    (only,) = find_named_clips([tmp_path / "music" / "test"])
    assert (only.name, only.domain) == ("a.wav", "music")
    manifest = tmp_path / "clips.csv"
    manifest.write_text("path,domain\nmusic/test/a.wav,instruments\nvoices/a.wav,\n")
    assert [clip.domain for clip in find_named_clips([manifest])] == ["instruments", "voices"]


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.wav").touch()
    with pytest.raises(ConfigError, match=r"two clips are named a\.wav"):
        find_named_clips([tmp_path / "one", tmp_path / "two"])
    assert len(find_named_clips([tmp_path / "one", tmp_path / "one" / "a.wav"])) == 1


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a,b\n1,2\n", b""])
def test_a_file_that_is_no_manifest_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes(content)
    with pytest.raises(ConfigError, match=r"manifest\.csv"):
        find_named_clips([manifest])
