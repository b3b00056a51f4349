"""Files made to cost a reader hours, memory, or more than a typed error."""

import contextlib
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from plc.errors import PlcError
from plc.files.audio import AudioReader
from plc.files.containers import riff
from plc.files.formats import mp3_frames
from plc.files.writing import tags_of

RATE = 16_000
WAVE = b"RIFF\0\0\0\0WAVE"
FORM = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
# MPEG 2, 24 kHz, mono: frames of 24 bytes, and of 480.
SMALL = b"\xff\xf3\x14\xc4" + bytes(20)
LARGE = b"\xff\xf3\xe4\xc4" + bytes(476)
MUTATIONS = 60
LONG = 5 << 30


@pytest.mark.parametrize(
    "chunk",
    [b"abcd\0\0\0\0", b"abcd\1\0\0\0", b"abcd\1\0\0\0\0" + bytes(60)],
    ids=["empty", "overlapping", "apart"],
)
def test_chunks_without_end_are_walked_to_an_end(tmp_path: Path, chunk: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(WAVE + chunk * 5000)
    with path.open("rb") as file:
        assert sum(1 for _ in riff.walk(file, "little")) <= 2000
        assert riff.layout(file) is None


def test_a_format_of_many_megabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    size = 1 << 28
    with path.open("wb") as file:
        file.write(WAVE + struct.pack("<4sI", b"fmt ", size) + FORM[8:])
        file.seek(20 + size)
        file.write(struct.pack("<4sI", b"data", 16) + bytes(16))
    with path.open("rb") as file:
        assert riff.layout(file) is None


class _Counted(list[Any]):
    """Counts the items that are looked at, those of slices too."""

    looks = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.looks += len(found) if isinstance(key, slice) else 1
        return found


def test_many_holes_in_mp3_cost_no_more_than_their_number() -> None:
    data = (SMALL * 4 + bytes(13)) * 1000 + SMALL * 4
    frames = _Counted(mp3_frames._frames(data, 0, data[:4]))
    assert len(frames) >= 3000
    assert mp3_frames._mended(data, 0, frames) is not None
    assert frames.looks < 20 * len(frames)


def test_a_hole_in_mp3_does_not_grow_beyond_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    content = SMALL * 1000 + LARGE + bytes(500_000) + LARGE * 3
    path.write_bytes(content)
    mended = mp3_frames.mend(path)
    assert mended is not None
    assert len(mended.data) < 1.5 * len(content)


def test_marks_that_begin_no_frame_are_passed_over_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    size = mp3_frames._size

    def counted(*heads: Any) -> Any:
        looks.append(1)
        return size(*heads)

    monkeypatch.setattr(mp3_frames, "_size", counted)
    path = tmp_path / "a.mp3"
    path.write_bytes(b"\xff" * 100_000)
    assert mp3_frames.mend(path) is None
    assert len(looks) < 100


def _mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with bytes changed, cut out, doubled, or set to extremes."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 12))):
        # Headers lie at the beginning of a file.
        reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
        at = int(rng.integers(reach))
        size = int(rng.integers(1, 9))
        piece = rng.choice([b"\0", b"\xff", b"\x80", rng.bytes(1)]) * size
        how = int(rng.integers(4))
        if how == 0:
            data[at : at + size] = piece
        elif how == 1:
            del data[at : at + int(rng.integers(1, 2000))]
        elif how == 2:
            data[at:at] = data[at : at + int(rng.integers(1, 2000))]
        else:
            data[at:at] = piece
    return bytes(data) or b"\0"


@pytest.mark.parametrize(
    ("suffix", "container", "subtype"),
    [
        (".wav", "WAV", "PCM_16"),
        (".wav", "RF64", "PCM_24"),
        (".aiff", "AIFF", "PCM_16"),
        (".flac", "FLAC", "PCM_16"),
        (".mp3", "MP3", "MPEG_LAYER_III"),
        (".ogg", "OGG", "VORBIS"),
    ],
)
def test_damaged_files_are_samples_or_a_typed_error(
    tmp_path: Path, suffix: str, container: str, subtype: str
) -> None:
    rng = np.random.default_rng(42)
    path = tmp_path / f"a{suffix}"
    signal = 0.1 * rng.standard_normal(RATE)
    soundfile.write(path, signal, RATE, format=container, subtype=subtype)
    content = path.read_bytes()
    for _ in range(MUTATIONS):
        path.write_bytes(_mutated(content, rng))
        with contextlib.suppress(PlcError), AudioReader(path) as reader:
            tags_of(reader)
            held = sum(len(block) for block in reader.stream(4096))
            assert held <= max(600 * reader.sample_rate, 10 * len(content)) + 10 * len(signal)


@pytest.mark.parametrize("size", [1, 8])
def test_no_header_of_flac_promises_more_than_ten_minutes_of_nothing(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(1).standard_normal(RATE), RATE)
    content = path.read_bytes()
    for at in range(8, 42):
        for byte in (b"\0", b"\x7f", b"\xff"):
            path.write_bytes(content[:at] + byte * size + content[at + size :])
            with contextlib.suppress(PlcError), AudioReader(path) as reader:
                assert (reader.samples or 0) <= 600 * reader.sample_rate + RATE
                assert sum(map(len, reader.stream(65_536))) > 0


def _sparse(path: Path, form: bytes, size: int, told: int, long: int | None) -> None:
    """Write a file of more than 4 GB that takes no room: all of its audio is a hole."""
    sizes = b"" if long is None else struct.pack("<4sIQQQI", b"ds64", 28, size, long, long // 2, 0)
    with path.open("wb") as file:
        file.write(form + struct.pack("<I", told) + b"WAVE" + sizes + FORM)
        file.write(struct.pack("<4sI", b"data", told))
        file.truncate(file.tell() + size)


@pytest.mark.skipif(os.name != "posix", reason="holes of files take no room")
@pytest.mark.parametrize(
    ("form", "told", "long"),
    [
        (b"RIFF", LONG - 2**32, None),
        (b"RIFF", 0xFFFFFFFF, None),
        (b"RIFF", 0, None),
        (b"RF64", 0xFFFFFFFF, LONG),
        (b"RF64", 0xFFFFFFFF, 0),
        (b"RF64", 0xFFFFFFFF, 2**63),
        (b"RF64", 0xFFFFFFFF, 2**64 - 1),
    ],
    ids=["wrapped", "not known", "never written", "RF64", "RF64 of 0", "too long", "all bits"],
)
def test_audio_beyond_4_gb_is_read_to_its_end(
    tmp_path: Path, form: bytes, told: int, long: int | None
) -> None:
    path = tmp_path / "a.wav"
    _sparse(path, form, LONG, told, long)
    with AudioReader(path) as reader:
        assert reader.samples == LONG // 2
        assert len(next(reader.stream(1000))) == 1000
