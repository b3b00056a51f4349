"""Files that end before what their headers promise."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc import notice
from plc.errors import AudioFileError
from plc.files.audio import read_audio
from plc.files.containers.cut import Cut, cut_of
from plc.files.formats.ffmpeg import library
from tests.signals import tones

RATE = 48_000
SAMPLES = 4 * RATE
av = pytest.importorskip("av", reason="PyAV comes with the extra media")


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(notice, "listener", lines.append)
    return lines


def coded(path: Path, codec: str, form: str, **options: str) -> bytes:
    with library().open(str(path), "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono")
        block: NDArray[np.float32] = tones(1, RATE, SAMPLES).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(block), format="fltp", layout="mono"
        )
        frame.sample_rate = RATE
        container.mux(stream.encode(frame) + stream.encode(None))
    return path.read_bytes()


def cut(path: Path, data: bytes, share: float = 0.6) -> None:
    path.write_bytes(data[: round(share * len(data))])


@pytest.mark.parametrize(
    ("codec", "form", "suffix", "options"),
    [
        ("aac", "matroska", ".mka", {}),
        ("libopus", "webm", ".webm", {}),
        ("aac", "mp4", ".m4a", {"movflags": "faststart"}),
        ("aac", "mp4", ".mp4", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"}),
    ],
)
def test_what_is_left_of_a_cut_file_is_read_and_the_cut_is_told(
    tmp_path: Path, notices: list[str], codec: str, form: str, suffix: str, options: dict[str, str]
) -> None:
    path = tmp_path / f"a{suffix}"
    data = coded(path, codec, form, **options)
    whole, _ = read_audio(path)
    assert not notices
    cut(path, data)
    left, _ = read_audio(path)
    assert 0.4 * SAMPLES < len(left) < 0.75 * SAMPLES
    both = slice(0, int(0.4 * SAMPLES))
    np.testing.assert_allclose(left[both], whole[both], atol=1e-6)
    assert any(f"{path} is cut short" in line for line in notices)


@pytest.mark.parametrize(("suffix", "form"), [(".caf", "CAF"), (".aif", "AIFF")])
def test_a_cut_file_of_samples_is_told(
    tmp_path: Path, notices: list[str], suffix: str, form: str
) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, tones(1, RATE, SAMPLES), RATE, format=form, subtype="PCM_16")
    data = path.read_bytes()
    assert cut_of(path) == Cut()
    cut(path, data)
    left, _ = read_audio(path)
    assert len(left) == pytest.approx(0.6 * SAMPLES, abs=2000)
    [line] = notices
    assert f"{path} is cut short by {len(data) - path.stat().st_size} bytes" in line


@pytest.mark.parametrize("share", [0.98, 0.5, 0.01])
def test_mp4_without_its_index_says_what_would_help(
    tmp_path: Path, notices: list[str], share: float
) -> None:
    path = tmp_path / "a.m4a"
    cut(path, coded(path, "aac", "mp4"), share)
    with pytest.raises(AudioFileError, match=r"lacks the index of MP4 \(moov\).*untrunc"):
        read_audio(path)
    assert not notices


@pytest.mark.parametrize(
    "data",
    [
        b"\x1aE\xdf\xa3" + bytes(60),
        b"\x1aE\xdf\xa3\x81\x00\x18\x53\x80\x67\x01" + b"\xff" * 7,
        b"\x1aE\xdf\xa3" + b"\xff" * 60,
        struct.pack(">I4sI4s", 8, b"ftyp", 1, b"moov") + bytes(8),
        struct.pack(">I4sI4s", 8, b"ftyp", 0, b"moov"),
        b"caff\0\1\0\0data" + b"\xff" * 8,
        b"FORM\xff\xff\xff\xffAIFF",
        b"",
    ],
)
def test_headers_that_promise_nothing_or_lie_promise_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    assert cut_of(path) == Cut()
