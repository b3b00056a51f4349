import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc.errors import AudioFileError, ConfigError
from plc.files.marks import channel_mark, names_beside, parse_gap, read_gaps, read_mask

RATE = 8_000


@pytest.mark.parametrize("text", [f"0.1:{'9' * 400}", f"{'9' * 400}:{'9' * 401}"])
def test_a_gap_beyond_all_numbers_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(ConfigError, match="too large a number; expected START:STOP") as told:
        parse_gap(text)
    assert len(str(told.value)) < 120


@pytest.mark.parametrize("text", ["1.25", "a:b", "1:2:3", "-1:2", "2:1", "1:1", "", "1e3:2e3"])
def test_a_malformed_gap_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="START:STOP"):
        parse_gap(text)


def test_gaps_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "gaps.txt"
    path.write_text("# start:stop\n1.250:1.314\n\n .5 : 0.6  # short\n")
    assert read_gaps(path) == [(1.25, 1.314), (0.5, 0.6)]
    path.write_text("1:2\n3;4\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_gaps(path)
    path.write_text("# nothing\n")
    with pytest.raises(ConfigError, match="holds no gaps"):
        read_gaps(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_gaps(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("text", "gap_s"),
    [
        ("1.25:1.5", (1.25, 1.5)),
        ("1.25-1.5", (1.25, 1.5)),
        ("1:02.5-1:03", (62.5, 63.0)),
        ("1:00:02.5 - 1:00:03.25", (3602.5, 3603.25)),
        ("0:59.9-60.1", (59.9, 60.1)),
        ("1250ms-1.5s", (1.25, 1.5)),
        ("10000smp-10001smp", (1.25, 1.250125)),
    ],
)
def test_a_place_is_written_in_many_ways(text: str, gap_s: tuple[float, float]) -> None:
    assert parse_gap(text, RATE) == pytest.approx(gap_s, abs=1e-12)


@pytest.mark.parametrize("text", ["1:60-1:61", "1:2:3:4-5", "1:-2", "1:99:00-2:00:00", "1..2-3"])
def test_a_clock_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected START:STOP"):
        parse_gap(text, RATE)


def test_samples_without_their_rate_are_refused() -> None:
    with pytest.raises(ConfigError, match="sample rate"):
        parse_gap("1smp-2smp")


def test_a_label_track_of_audacity_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("0.500000\t0.600000\tclick\n\\\t100.0\t2000.0\n1,25\t1,5\t#3\n2\t3\n")
    assert read_gaps(path) == [(0.5, 0.6), (1.25, 1.5), (2.0, 3.0)]
    # Texts may hold what ends a line elsewhere than in files of lines.
    path.write_text(
        "\ufeff0.5\t0.6\tone\u2028two\x0bthree\r\n2\t3\t\x85", encoding="utf-8", newline=""
    )
    assert read_gaps(path) == [(0.5, 0.6), (2.0, 3.0)]
    for line, said in [
        ("0.5\t0.5\tnote\n", "line 1: the label 'note' at 0.5 s is a point"),
        ("0.6\t0.5\tx\n", "is not a stretch"),
        ("a\tb\tx\n", "is not a label"),
        ("nan\t1\t\n", "is not a stretch"),
    ]:
        path.write_text(line)
        with pytest.raises(ConfigError, match=said):
            read_gaps(path)


@pytest.mark.parametrize("suffix", [".npy", ".wav"])
def test_a_mask_marks_every_sample(tmp_path: Path, suffix: str) -> None:
    mask = np.zeros(200_001, np.bool_)
    gaps = [(0, 3), (65_530, 65_540), (131_072, 131_073), (200_000, 200_001)]
    for start, stop in gaps:
        mask[start:stop] = True
    path = tmp_path / f"mask{suffix}"
    if suffix == ".npy":
        np.save(path, mask)
    else:
        sides = np.stack([0.0 * mask, -0.5 * mask], axis=1)
        soundfile.write(path, sides, RATE, subtype="PCM_16")
    assert read_mask(path, mask.size) == [(*gap, ()) for gap in gaps]
    with pytest.raises(ConfigError, match="has 200001 samples, the recording 5"):
        read_mask(path, 5)


@pytest.mark.parametrize("suffix", [".npy", ".wav"])
def test_a_mask_of_several_channels_marks_each(tmp_path: Path, suffix: str) -> None:
    mask = np.zeros((150_001, 2), np.bool_)
    gaps = [(0, 3, (0,)), (65_530, 65_540, (0,)), (65_535, 65_537, (1,)), (150_000, 150_001, (1,))]
    for start, stop, where in gaps:
        mask[start:stop, where] = True
    path = tmp_path / f"mask{suffix}"
    if suffix == ".npy":
        np.save(path, mask)
    else:
        soundfile.write(path, 0.5 * mask, RATE, subtype="PCM_16")
    assert sorted(read_mask(path, len(mask), 2)) == gaps
    with pytest.raises(ConfigError, match=r"shape \(samples,\) or \(samples, 3\)|has 2 channels"):
        read_mask(path, len(mask), 3)


def test_a_mask_of_one_channel_is_of_all(tmp_path: Path) -> None:
    path = tmp_path / "mask.wav"
    soundfile.write(path, np.r_[np.zeros(10), 0.5 * np.ones(5)], RATE, subtype="PCM_16")
    assert read_mask(path, 15, 2) == [(10, 15, ())]


@pytest.mark.parametrize(
    ("text", "channels"),
    [("1.25:1.5[1]", (0,)), ("1.25-1.5 [2, 1]", (0, 1)), ("1250ms-1.5s [64]", (63,))],
)
def test_a_gap_names_its_channels_from_one_on(
    tmp_path: Path, text: str, channels: tuple[int, ...]
) -> None:
    assert parse_gap(text) == (1.25, 1.5, channels)
    path = tmp_path / "gaps.txt"
    label = f"1.25\t1.5\tsilence 1.00 {channel_mark(channels)}"
    path.write_text(f"{text} # here\n{label}\n2:3\n")
    assert read_gaps(path) == [(1.25, 1.5, channels), (1.25, 1.5, channels), (2.0, 3.0)]


@pytest.mark.parametrize("text", ["1:2[0]", "1:2[]", "1:2[a]", "1:2[1", "[1]", "1:2[1][2]"])
def test_a_gap_of_no_channel_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"counted from 1|expected START:STOP"):
        parse_gap(text)


def test_a_mask_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.npy"
    archive = io.BytesIO()
    np.savez(archive, mask=np.ones(10, np.bool_))
    unclosed = b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 117 + b"\n"
    for content in (b"no array", archive.getvalue(), b"PK\x03\x04", unclosed):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="cannot read the mask"):
            read_mask(path, 10)
    np.save(path, np.zeros((10, 2), np.bool_))
    with pytest.raises(ConfigError, match=r"expected bool, shape \(samples,\)"):
        read_mask(path, 10)
    np.save(path, np.zeros(10, np.bool_))
    with pytest.raises(ConfigError, match="marks nothing"):
        read_mask(path, 10)
    np.save(path, np.zeros(0, np.bool_))
    with pytest.raises(ConfigError, match="has 0 samples"):
        read_mask(path, 10)
    with pytest.raises(AudioFileError, match="cannot read"):
        read_mask(tmp_path / "none.wav", 10)


@pytest.mark.parametrize("stem", ["n" * 250, "é" * 125])
def test_labels_of_a_name_as_long_as_a_disk_takes_are_written_and_read(
    tmp_path: Path, stem: str
) -> None:
    assert names_beside("side/a.wav") == ("side/a.wav.txt", "side/a.txt")
    own, shared = names_beside(f"side/{stem}.wav")
    assert own == shared == f"side/{stem}.txt"
    (tmp_path / "side").mkdir()
    (tmp_path / own).write_text("")
    assert names_beside(f"side/{stem}.wav", ".png")[0] == f"side/{stem}.png"
