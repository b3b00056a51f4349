"""Tags from file to file, by way of our own code and of FFmpeg's."""

import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from plc import notice
from plc.engine.loss import GilbertElliott
from plc.errors import AudioFileError
from plc.files import writing
from plc.files.audio import AudioReader, read_audio
from plc.files.fill.signals import FillSettings
from plc.files.recordings import inpaint_file
from plc.files.streamed import conceal_file, lose_file
from plc.files.tags.carried import read_tags
from plc.files.tags.id3 import build, parse
from plc.files.tags.values import Picture, Tags
from plc.files.writing import AudioWriter
from tests.examples import some
from tests.signals import tones

RATE = 48_000
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
# Larger than a page of Ogg, 65 025 bytes, so that pages are numbered anew.
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 500
TAGS = Tags(
    comments=(
        ("TITLE", "Ein Stück"),
        ("ARTIST", "one"),
        ("ARTIST", "two"),
        ("DATE", "2020"),
        ("COMMENT", "as it was"),
        ("MOOD", "odd=true"),
    ),
    pictures=(Picture(PNG, 3, "image/png", "front", (16, 8, 24, 0)),),
)


def write(path: Path, tags: Tags | None = None, subtype: str | None = None) -> Path:
    signal = np.stack([tones(1, RATE, RATE), tones(2, RATE, RATE)], axis=1)
    with AudioWriter(path, RATE, 2, subtype, tags=tags) as writer:
        writer.write(signal)
    return path


def tags_of(path: Path) -> Tags:
    with AudioReader(path) as reader:
        return writing.tags_of(reader)


@pytest.mark.parametrize("source", SUFFIXES)
@pytest.mark.parametrize("target", SUFFIXES)
def test_comments_and_pictures_pass_between_all_formats(
    tmp_path: Path, source: str, target: str
) -> None:
    first = write(tmp_path / f"a{source}", TAGS)
    second = write(tmp_path / f"b{target}", tags_of(first))
    found = tags_of(second)
    assert sorted(set(found.comments)) == sorted(TAGS.comments)
    (picture,) = found.pictures
    assert (picture.data, picture.kind, picture.description) == (PNG, 3, "front")
    # The audio is what it is without tags, sample for sample.
    bare = write(tmp_path / f"c{target}")
    np.testing.assert_array_equal(read_audio(second)[0], read_audio(bare)[0])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_reader_finds_them_and_the_audio(tmp_path: Path, suffix: str) -> None:
    av = pytest.importorskip("av")
    path = write(tmp_path / f"a{suffix}", TAGS)
    with av.open(str(path)) as file:
        said = {k.lower(): v for k, v in {**file.streams[0].metadata, **file.metadata}.items()}
        assert said["title"] == "Ein Stück"
        assert said["mood"] == "odd=true"
        (cover,) = file.streams.video
        assert bytes(next(file.demux(cover))) == PNG
    with av.open(str(path)) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
    assert samples == pytest.approx(RATE, abs=3000)  # codecs fill their last frame


def bext(history: bytes = b"A=PCM,F=48000,W=16,M=stereo,T=recorder\r\n") -> bytes:
    texts = (b"A concert", b"Recorder 7", b"REF0001", b"2024-05-06", b"07:08:09")
    head = b"".join(t.ljust(n, b"\0") for t, n in zip(texts, (256, 32, 32, 10, 8), strict=True))
    return (head + struct.pack("<QH", 123_456_789_012, 1)).ljust(602, b"\0") + history


def with_chunks(path: Path, chunks: list[tuple[bytes, bytes]]) -> Path:
    """Put chunks before the audio of a WAV file."""
    data = path.read_bytes()
    packed = b"".join(
        struct.pack("<4sI", name, len(c)) + c + b"\0" * (len(c) % 2) for name, c in chunks
    )
    whole = data[:12] + packed + data[12:]
    path.write_bytes(whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:])
    return path


CHUNKS = [
    (b"bext", bext()),
    (b"LIST", b"INFO" + b"INAM" + struct.pack("<I", 6) + b"Title\0"),
    (b"iXML", b"<BWFXML/>\0"),
    (b"cue ", struct.pack("<IIIIIII", 1, 1, 480, 0x61746164, 0, 0, 480)),
    (b"odd ", b"abc"),
]
# They are of the samples as they were.
SUMS = [(b"MD5 ", bytes(16)), (b"levl", bytes(120))]


@pytest.mark.parametrize("command", ["conceal", "lose", "inpaint"])
def test_the_chunks_of_a_broadcast_wav_are_kept_to_the_byte(tmp_path: Path, command: str) -> None:
    source = with_chunks(write(tmp_path / "a.wav"), SUMS + CHUNKS)
    target = tmp_path / "b.wav"
    if command == "inpaint":
        inpaint_file(
            source, target, [(0.5, 0.51)], settings=FillSettings(quality="fast", model="ar")
        )
    else:
        make = conceal_file if command == "conceal" else lose_file
        make(source, target, GilbertElliott(0.1).source(1))
    assert list(tags_of(target).chunks) == CHUNKS
    data = target.read_bytes()
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    assert soundfile.info(target).frames == RATE


def test_what_a_broadcast_wav_says_of_its_origin_reaches_flac(tmp_path: Path) -> None:
    source = with_chunks(write(tmp_path / "a.wav"), CHUNKS)
    found = dict(tags_of(write(tmp_path / "b.flac", tags_of(source))).comments)
    assert found["TITLE"] == "Title"
    assert found["DESCRIPTION"] == "A concert"
    assert found["ORIGINATION_DATE"] == "2024-05-06"
    assert found["TIME_REFERENCE"] == "123456789012"
    assert found["CODING_HISTORY"].startswith("A=PCM")


@pytest.mark.parametrize("suffix", [".flac", ".ogg"])
def test_comments_of_an_older_coding_are_kept(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", Tags((("TITLE", "Ein St|ck"),)))
    path.write_bytes(path.read_bytes().replace(b"St|ck", "Stück".encode("latin-1")))
    assert read_tags(path).comments == (("TITLE", "Ein Stück"),)


def test_flac_behind_a_tag_of_id3_has_its_own_tags(tmp_path: Path) -> None:
    flac = write(tmp_path / "a.flac", TAGS).read_bytes()
    path = tmp_path / "b.flac"
    path.write_bytes(build(Tags((("TITLE", "another"),))) + flac)
    found = tags_of(path)
    assert (found.comments, found.pictures) == (TAGS.comments, TAGS.pictures)
    path.write_bytes(build(TAGS) + write(tmp_path / "c.flac").read_bytes())
    assert ("TITLE", "Ein Stück") in tags_of(path).comments


def test_blocks_of_other_programs_stay_in_flac(tmp_path: Path) -> None:
    lead_out = struct.pack(">QB", RATE, 255) + bytes(27)
    cue_sheet = bytes(395) + b"\x01" + lead_out
    blocks = ((2, b"riff" + bytes(20)), (5, cue_sheet))
    source = write(tmp_path / "a.flac", Tags(comments=(("Title", "t"),), blocks=blocks))
    found = tags_of(write(tmp_path / "b.flac", tags_of(source)))
    assert found.blocks == blocks
    assert found.comments == (("Title", "t"),)


def test_an_mp3_keeps_its_tag_to_the_byte(tmp_path: Path) -> None:
    frame = b"TIT2" + struct.pack(">IH", 6, 0) + b"\x00Title"
    private = b"PRIV" + struct.pack(">IH", 7, 0) + b"owner\0x"
    body = frame + private + bytes(40)
    tag = b"ID3\x03\0\0" + bytes((0, 0, 0, len(body))) + body
    bare = write(tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(tag + bare)
    found = tags_of(write(tmp_path / "b.mp3", tags_of(tmp_path / "a.mp3")))
    assert found.id3 == tag
    assert found.comments == (("TITLE", "Title"),)


def test_what_pyav_reads_keeps_its_tags(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=RATE, layout="mono")
        file.metadata.update({"title": "Titel", "track": "3"})
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    found = dict(tags_of(path).comments)
    assert (found["TITLE"], found["TRACKNUMBER"]) == ("Titel", "3")
    assert "MAJOR_BRAND" not in found


def test_a_long_file_beyond_4_gb_keeps_its_chunks_as_rf64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    monkeypatch.setattr(writing, "_WAV_BYTES_MAX", 1000)
    with AudioWriter(path, RATE, 2, expected_samples=480, tags=Tags(chunks=tuple(CHUNKS))) as w:
        w.write(np.zeros((480, 2), np.float32))
    data = path.read_bytes()
    assert data[:4] == b"RF64"
    assert struct.unpack_from("<Q", data, 20)[0] == len(data) - 8
    assert list(tags_of(path).chunks) == CHUNKS


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_tags_are_left_out_and_told(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(notice, "listener", told.append)
    data = write(tmp_path / f"a{suffix}", TAGS).read_bytes()
    path = tmp_path / f"b{suffix}"
    size = {".wav": -1, ".mp3": 30, ".flac": 30}.get(suffix, 500)
    path.write_bytes(data[:size])
    assert read_tags(path).pictures == ()
    assert len(told) == 1
    assert "are damaged and left out" in told[0]


@given(
    st.sampled_from(SUFFIXES),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_whatever_stands_in_a_file_its_tags_raise_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    changes: list[tuple[float, int]],
    cut: float,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "tags"
    folder.mkdir(exist_ok=True)
    good = folder / f"good{suffix}"
    if not good.exists():
        small = Tags(TAGS.comments, (Picture(PNG[:300], 3, "image/png"),), chunks=())
        write(good, small)
    data = bytearray(good.read_bytes())
    reach = min(len(data), 2000)
    for place, value in changes:
        data[round(place * (reach - 1))] = value
    odd = folder / f"odd{suffix}"
    odd.write_bytes(data[: max(1, round(cut * len(data)))])
    found = read_tags(odd)
    # What was found can be written to any other format.
    for other in (".wav", ".flac", ".ogg", ".mp3"):
        with AudioWriter(folder / f"out{other}", RATE, 1, tags=found) as writer:
            writer.write(np.zeros((480, 1), np.float32))


def test_a_wav_header_of_no_bits_a_sample_is_refused_in_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", subtype="PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"fmt ")
    struct.pack_into("<HH", data, at + 8 + 12, 0, 0)  # bytes a sample, bits a sample
    path.write_bytes(data)
    with pytest.raises(AudioFileError, match=r"a\.wav"):
        AudioReader(path)


# ---- damaged and hostile tags: what is whole is kept, in little time --------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", name, len(data)) + data + b"\0" * (len(data) % 2)


BEXT = chunk(b"bext", b"a field recording".ljust(602, b"\0"))
CUE = chunk(b"cue ", struct.pack("<I", 0))
INFO = chunk(b"LIST", b"INFO" + chunk(b"INAM", b"Rain\0"))


def behind(path: Path, tail: bytes) -> Path:
    """Append bytes to a WAV file; its RIFF size counts them."""
    content = write(path).read_bytes() + tail
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    return path


@some("stray", [b"\0", b"x", b"\xff\0\0", b"junk?", bytes(9)], 2)
@some("place", range(3), 2)
def test_chunks_beside_a_stray_byte_are_kept(tmp_path: Path, stray: bytes, place: int) -> None:
    chunks = [BEXT, CUE, INFO]
    path = behind(tmp_path / "a.wav", b"".join([*chunks[:place], stray, *chunks[place:]]))
    assert [name for name, _ in tags_of(path).chunks] == [b"bext", b"cue ", b"LIST"]
    inpaint_file(path, tmp_path / "b.wav", [(0.1, 0.11)])
    assert tags_of(tmp_path / "b.wav").chunks == tags_of(path).chunks


def test_a_chunk_cut_short_is_left_out_alone_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(notice, "listener", told.append)
    path = behind(tmp_path / "a.wav", BEXT + CUE + INFO[:-6])
    assert [name for name, _ in tags_of(path).chunks] == [b"bext", b"cue "]
    assert len(told) == 1
    assert "LIST" in told[0]
    assert "a.wav" in told[0]


def test_zeros_behind_a_wav_file_are_no_chunks(tmp_path: Path) -> None:
    path = behind(tmp_path / "a.wav", INFO)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + (1 << 24))
    tracemalloc.start()
    chunks = tags_of(path).chunks
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()
    assert [name for name, _ in chunks] == [b"LIST"]


def test_a_large_cover_in_ogg_takes_time_by_its_size_alone(tmp_path: Path) -> None:
    cover = Picture(PNG[:8] + bytes(12 << 20), mime="image/png")
    begin_s = time.process_time()
    first = write(tmp_path / "a.ogg", Tags(pictures=(cover,)))
    assert tags_of(first).pictures[0].data == cover.data
    # Quadratic, it was over a minute.
    assert time.process_time() - begin_s < 20


@some("description", [b"a\0b", b"\0", b"", b"abc", b"ab\0"], 2)
def test_an_id3_description_of_odd_length_harms_no_other_frame(description: bytes) -> None:
    data = b"\x01image/png\0\x03" + description
    frames = [("TIT2", b"\x03Rain"), ("APIC", data), ("TALB", b"\x03Tin")]
    body = b"".join(
        name.encode() + struct.pack(">I", len(data)) + b"\0\0" + data for name, data in frames
    )
    tag = b"ID3\x04\0\0" + bytes([0, 0, 0, len(body)]) + body
    assert parse(tag).comments == (("TITLE", "Rain"), ("ALBUM", "Tin"))


def test_an_ogg_file_of_nothing_but_a_mark_has_no_tags(tmp_path: Path) -> None:
    for length in (4, 10, 27):
        (tmp_path / "a.ogg").write_bytes(b"OggS".ljust(length, b"\0"))
        assert not read_tags(tmp_path / "a.ogg")
    (tmp_path / "a.ogg").write_bytes(b"OggS")
    assert not read_tags(tmp_path / "a.ogg")
