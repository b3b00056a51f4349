"""Bit rates that codings have, and what a file gets."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.errors import AudioFileError
from plc.files.audio import AudioReader
from plc.files.formats import bitrates
from plc.files.writing import AudioWriter
from tests.examples import examples, some

CODINGS = ("MPEG_LAYER_III", "OPUS", "aac", "ac3", "mp3", "opus", "eac3", "VORBIS")
SECONDS = 4


def noise(sample_rate: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (0.1 * rng.standard_normal((SECONDS * sample_rate, channels))).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "sample_rate", "channels", "bitrate", "nearest"),
    [
        ("a.mp3", 48_000, 2, 999_000, "320k"),
        ("a.mp3", 48_000, 2, 150_000, "160k"),
        ("a.mp3", 22_050, 1, 320_000, "160k"),
        ("a.mp3", 8_000, 1, 160_000, "64k"),
        ("a.mp3", 48_000, 2, 8_000, "32k"),
        ("a.opus", 48_000, 1, 300_000, "256k"),
        ("a.opus", 48_000, 2, 6_000, "12k"),
        ("a.m4a", 48_000, 1, 999_000, "216k"),
        ("a.m4a", 48_000, 1, 6_000, "16k"),
    ],
)
def test_a_bit_rate_that_a_coding_has_not_is_refused_and_the_nearest_told(
    tmp_path: Path, name: str, sample_rate: int, channels: int, bitrate: int, nearest: str
) -> None:
    if name.endswith(".m4a"):
        pytest.importorskip("av")
    with pytest.raises(AudioFileError, match=f"the nearest is {nearest}"):
        AudioWriter(tmp_path / name, sample_rate, channels, bitrate=bitrate)
    assert not list(tmp_path.iterdir())


@some(
    "name, sample_rate, channels, bitrate",
    [
        ("a.mp3", 48_000, 2, 32_000),
        ("a.mp3", 48_000, 2, 320_000),
        ("a.mp3", 22_050, 1, 8_000),
        ("a.mp3", 8_000, 1, 64_000),
        ("a.opus", 48_000, 1, 256_000),
        ("a.m4a", 48_000, 1, 16_000),
        ("a.m4a", 48_000, 1, 216_000),
        ("a.m4a", 8_000, 1, 36_000),
    ],
    4,
)
def test_the_lowest_and_the_highest_bit_rate_are_what_a_file_gets(
    tmp_path: Path, name: str, sample_rate: int, channels: int, bitrate: int
) -> None:
    if name.endswith(".m4a"):
        pytest.importorskip("av")
    path = tmp_path / name
    with AudioWriter(path, sample_rate, channels, bitrate=bitrate) as writer:
        writer.write(noise(sample_rate, channels))
    with AudioReader(path) as reader:
        assert reader.bitrate == pytest.approx(bitrate, rel=0.1)


@examples(200)
@given(
    st.sampled_from(CODINGS),
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000]),
    st.integers(1, 8),
    st.integers(1, 10**9),
)
def test_what_is_nearest_is_a_bit_rate_of_the_coding(
    coding: str, sample_rate: int, channels: int, bitrate: int
) -> None:
    found = bitrates.nearest(coding, sample_rate, channels, bitrate)
    assert bitrates.nearest(coding, sample_rate, channels, found) == found
    least = bitrates.least_of(coding, sample_rate, channels, bitrate)
    assert bitrates.nearest(coding, sample_rate, channels, least) == least


def test_a_recording_of_a_higher_rate_than_its_result_can_have_gets_the_highest() -> None:
    assert bitrates.least_of("MPEG_LAYER_III", 8_000, 1, 160_000) == 64_000
    assert bitrates.least_of("opus", 48_000, 2, 640_000) == 512_000
    assert bitrates.least_of("aac", 48_000, 1, 320_000) == 216_000
    assert bitrates.least_of("MPEG_LAYER_III", 48_000, 2, 127_000) == 128_000
