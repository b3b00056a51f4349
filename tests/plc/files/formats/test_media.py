"""Files that PyAV writes, and films whose sound is written anew."""

import gc
import io
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.errors import AudioFileError, MissingExtraError
from plc.files.audio import AudioReader, read_audio
from plc.files.fill.signals import FillSettings
from plc.files.formats import films
from plc.files.formats.ffmpeg import library
from plc.files.recordings import inpaint_file
from plc.files.tags.values import Picture, Tags
from plc.files.writing import AudioWriter, tags_of
from plc.restore.detect.recorded import detect_file
from tests.examples import some
from tests.flac_files import flac_file
from tests.signals import tones

av = pytest.importorskip("av", reason="PyAV comes with the extra media")

RATE = 44_100
SAMPLES = 60_011  # no multiple of a codec's frame
FRAMES = 30
FRAME_RATE = 25
# The second sound of a film begins this much later, in frames of AAC.
LATE = 21


def stereo(samples: int = SAMPLES) -> NDArray[np.float32]:
    return np.stack([tones(1, RATE, samples), tones(2, RATE, samples)], axis=1)


def jpeg() -> bytes:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    stream = io.BytesIO()
    image.new("RGB", (48, 32), (200, 30, 30)).save(stream, "JPEG")
    return stream.getvalue()


def film(path: Path) -> Path:
    """Write a film with two sounds: the first begins late."""
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "A film"
        pictures = container.add_stream("mpeg4", rate=FRAME_RATE)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sounds = [container.add_stream("aac", rate=RATE, layout="stereo") for _ in range(2)]
        sounds[0].metadata["language"] = "deu"
        for place in range(FRAMES):
            image = rng.integers(0, 256, (48, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = place
            container.mux(pictures.encode(frame))
        for sound, late in zip(sounds, (LATE, 0), strict=True):
            block = np.ascontiguousarray(stereo().T)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = RATE, 1024 * late
            container.mux(sound.encode(frame))
        for stream in (pictures, *sounds):
            container.mux(stream.encode(None))
    return path


def copied(path: Path) -> dict[int, list[tuple[float, bytes]]]:
    """Return the packets of every stream but the first sound: their times and contents."""
    found: dict[int, list[tuple[float, bytes]]] = {}
    with av.open(str(path)) as container:
        ours = container.streams.audio[0].index
        for packet in container.demux():
            if packet.stream.index != ours and packet.dts is not None:
                time_s = float(packet.pts * packet.time_base)
                found.setdefault(packet.stream.index, []).append((time_s, bytes(packet)))
    return found


def begin_s(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(next(container.decode(audio=0)).time)


def error_db(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean((one - other) ** 2) / np.mean(other**2) + 1e-15))


@pytest.mark.parametrize(
    ("suffix", "subtype", "codec", "worst_db"),
    [
        (".m4a", None, "aac", -15.0),
        (".mp4", "PCM_16", "aac", -15.0),
        (".mkv", "PCM_16", "flac", -80.0),
        (".mka", "PCM_24", "flac", -120.0),
    ],
)
def test_what_pyav_writes_is_as_long_as_it_was(
    tmp_path: Path, suffix: str, subtype: str | None, codec: str, worst_db: float
) -> None:
    path = tmp_path / f"a{suffix}"
    tags = Tags((("TITLE", "Song"), ("TRACKNUMBER", "3")), (Picture(jpeg(), mime="image/jpeg"),))
    with AudioWriter(path, RATE, 2, subtype, tags=tags) as writer:
        for start in range(0, SAMPLES, 7_000):
            writer.write(stereo()[start : start + 7_000])
    with AudioReader(path) as reader:
        assert (reader.sample_rate, reader.channels, reader.codec) == (RATE, 2, codec)
        assert ("TITLE", "Song") in tags_of(reader).comments
        assert ("TRACKNUMBER", "3") in tags_of(reader).comments
        assert [picture.data for picture in tags_of(reader).pictures] == [jpeg()]
    back, _ = read_audio(path)
    assert len(back) == SAMPLES
    assert error_db(back, stereo()) < worst_db


@pytest.mark.parametrize(("source", "target"), [("mp4", "mp4"), ("mkv", "mkv"), ("mkv", "mp4")])
def test_a_films_pictures_and_other_sounds_are_copied(
    tmp_path: Path, source: str, target: str
) -> None:
    before, after = film(tmp_path / f"a.{source}"), tmp_path / f"b.{target}"
    gap = (20_000, 20_500)
    inpaint_file(
        before, after, [(gap[0] / RATE, gap[1] / RATE)], settings=FillSettings(method="zeros")
    )
    streams, kept = copied(before), copied(after)
    assert kept.keys() == streams.keys()
    for index, packets in streams.items():
        assert [data for _, data in kept[index]] == [data for _, data in packets]
        np.testing.assert_allclose(
            [time_s for time_s, _ in kept[index]], [time_s for time_s, _ in packets], atol=2e-3
        )
    with av.open(str(after)) as container:
        assert container.metadata["title"] == "A film"
        assert container.streams.audio[0].metadata["language"] == "deu"
        assert container.streams.audio[0].codec_context.name == "aac"
    # In MP4 sound that begins late has the coder's run-in before it, a frame; it keeps its time.
    lead = 1024 if target == "mp4" else 0
    assert begin_s(before) - begin_s(after) == pytest.approx(lead / RATE, abs=1e-3)
    truth, heard = read_audio(before)[0], read_audio(after)[0][lead:]
    kept_samples = np.ones(SAMPLES, np.bool_)
    kept_samples[gap[0] - 2048 : gap[1] + 2048] = False
    truth, heard = truth[:SAMPLES][kept_samples], heard[:SAMPLES][kept_samples]
    assert error_db(heard, truth) < -15.0


def pictures(path: Path) -> list[tuple[float, int]]:
    """Return times and contents of a film's pictures, as they are shown; 0 s: the sound begins."""
    with av.open(str(path)) as container:
        shown = [
            (float(frame.time), hash(frame.to_ndarray(format="rgb24").tobytes()))
            for frame in container.decode(video=0)
        ]
    begin = begin_s(path)
    return [(time_s - begin, content) for time_s, content in shown]


def moving(
    path: Path, codec: str, sound: str, tag: str = "", straight: int = 0, **options: Any
) -> Path:
    """Write a film with 70 different pictures, B pictures among them, and a sound as long.

    Where some are coded straight on at first, there are as many more, at uneven times.
    """
    count = 70 + straight
    if codec not in av.codecs_available:
        pytest.skip(f"FFmpeg was built without {codec}")
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        shown = container.add_stream(codec, rate=FRAME_RATE, options={"bf": "3", **options})
        shown.width, shown.height, shown.pix_fmt = 64, 48, "yuv420p"
        if tag:
            shown.codec_context.codec_tag = tag
        heard = container.add_stream(sound, rate=48_000, layout="mono")
        still = rng.integers(0, 256, (48, 64 + count, 3), np.uint8)
        for place in range(count):
            image = np.ascontiguousarray(still[:, place : place + 64])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = place + (place * place // 7 if straight else 0)
            if place < straight:
                frame.pict_type = av.video.frame.PictureType.P
            container.mux(shown.encode(frame))
        block = np.ascontiguousarray(tones(1, 48_000, count * 48_000 // FRAME_RATE)[None])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(heard.encode(frame))
        for stream in (shown, heard):
            container.mux(stream.encode(None))
    if codec == "libsvtav1" and hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # it makes a thread real-time
    return path


@some(
    "codec, sound, source, target",
    [
        ("libx264", "aac", "mkv", "mp4"),
        ("mpeg4", "libmp3lame", "avi", "mkv"),
        ("libx264", "aac", "mkv", "mkv"),
        ("libx264", "aac", "mp4", "mkv"),
        ("libx265", "aac", "mkv", "mp4"),
        ("libvpx-vp9", "libopus", "mkv", "webm"),
        ("libsvtav1", "libopus", "mkv", "mkv"),
    ],
    2,
)
def test_all_pictures_are_kept_at_their_times_to_the_sound(
    tmp_path: Path, codec: str, sound: str, source: str, target: str
) -> None:
    options: dict[str, Any] = {"libsvtav1": {"preset": "12"}}
    options["libx265"] = {"x265-params": "log-level=none"}
    before = moving(tmp_path / f"a.{source}", codec, sound, **options.get(codec, {}))
    after = tmp_path / f"b.{target}"
    inpaint_file(before, after, [(1.0, 1.01)], settings=FillSettings(method="zeros"))
    wanted, kept = pictures(before), pictures(after)
    assert len(wanted) == 70
    assert [content for _, content in kept] == [content for _, content in wanted]
    wanted_s, kept_s = (np.array([time_s for time_s, _ in each]) for each in (wanted, kept))
    late_s = kept_s[0] - wanted_s[0]
    if source == "avi":  # it does not say when its first picture is shown
        assert abs(late_s) < 3 / FRAME_RATE
        wanted_s = np.arange(70) / FRAME_RATE + wanted_s[0]
    else:  # in MP4 the run-in of AAC may be heard, a frame
        run_in_s = 1024 / 48_000 if target == "mp4" else 0.0
        assert min(abs(late_s), abs(late_s - run_in_s)) < 3e-3
    # Times of Matroska are of milliseconds.
    np.testing.assert_allclose(kept_s - late_s, wanted_s, atol=3e-3)


def test_hevc_that_quicktime_plays_stays_so(tmp_path: Path) -> None:
    quiet: dict[str, Any] = {"x265-params": "log-level=none"}
    before = moving(tmp_path / "a.mp4", "libx265", "aac", "hvc1", **quiet)
    settings = FillSettings(method="zeros")
    inpaint_file(before, tmp_path / "b.mov", [(1.0, 1.01)], settings=settings)
    with av.open(str(tmp_path / "b.mov")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


class _Packet:
    """A packet of pictures with a wrong time of decoding, or none."""

    def __init__(self, pts: int | None) -> None:
        self.pts, self.dts = pts, pts if pts and pts % 2 else None


def ordered(packets: list[_Packet], guessed: bool = True) -> list[_Packet]:
    order = films._Order(guessed)
    found = [each for packet in packets for each in order.take(packet)] + order.finish()
    assert found == packets
    times = [(packet.dts, packet.pts) for packet in packets]
    assert all(dts is not None and dts <= pts for dts, pts in times if pts is not None)
    assert (np.diff([dts for dts, _ in times]) > 0).all()
    return found


@given(
    gaps=st.lists(st.integers(1, 90), min_size=1, max_size=300),
    shifts=st.lists(st.integers(0, 8), min_size=300, max_size=300),
    begin=st.integers(0, 200),
    absent=st.sets(st.integers(1, 299), max_size=30),
    guessed=st.booleans(),
)
def test_pictures_are_decoded_in_order_and_before_they_are_shown(
    gaps: list[int], shifts: list[int], begin: int, absent: set[int], guessed: bool
) -> None:
    """Wherever they begin to be exchanged, and whichever do not say when they are shown."""
    shown = np.cumsum(gaps)
    # A picture is decoded up to eight places sooner or later than it is shown.
    places = np.array(shifts[: len(shown)])
    places[:begin] = 0
    decoded = shown[np.argsort(np.arange(len(shown)) + places)]
    ordered([_Packet(None if k in absent else int(pts)) for k, pts in enumerate(decoded)], guessed)


@pytest.mark.parametrize("begin", [0, 100])
def test_pictures_that_begin_to_be_exchanged_late_keep_their_times(begin: int) -> None:
    order = [*range(begin), *(begin + k + d for k in range(0, 200, 4) for d in (3, 1, 0, 2))]
    shown = [33 * k + 7 for k in order]
    found = ordered([_Packet(stamp) for stamp in shown])
    assert [packet.pts for packet in found] == shown


@some("absent", [{0}, {40, 50, 60, 201}, {204}, {1}, {90}, {40, 120}], 3)
def test_a_picture_without_a_time_is_shown_in_the_gap_that_its_neighbours_leave(
    absent: set[int],
) -> None:
    order = [0, *(1 + k + d for k in range(0, 204, 4) for d in (3, 1, 0, 2))]
    packets = [_Packet(None if k in absent else 4000 + 40 * at) for k, at in enumerate(order)]
    assert [(packet.pts or 0) - 4000 for packet in ordered(packets)] == [40 * at for at in order]


def without_times(path: Path, absent: set[int]) -> Path:
    """Take the time stamps of pictures out of a transport stream."""
    data, number = bytearray(path.read_bytes()), 0
    for at in range(0, len(data), 188):
        begin = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
        if data[at + 1] & 0x40 and data[begin : begin + 4] == b"\0\0\1\xe0":
            if number in absent:  # neither presentation nor decoding
                data[begin + 7] &= 0x3F
                stop = begin + 9 + data[begin + 8]
                data[begin + 9 : stop] = bytes([0xFF]) * (stop - begin - 9)
            number += 1
    changed = path.with_stem("without")
    changed.write_bytes(data)
    return changed


@pytest.mark.parametrize("target", ["mkv", "mp4"])
def test_a_film_of_which_some_pictures_say_no_time_is_whole(tmp_path: Path, target: str) -> None:
    before, after = moving(tmp_path / "a.ts", "libx264", "aac"), tmp_path / f"b.{target}"
    settings = FillSettings(method="zeros")
    inpaint_file(without_times(before, {0, 20, 33, 50, 69}), after, [(1, 1.01)], settings=settings)
    wanted, kept = pictures(before), pictures(after)
    assert [content for _, content in kept] == [content for _, content in wanted]
    late_s = np.array([time_s for time_s, _ in kept]) - [time_s for time_s, _ in wanted]
    assert np.count_nonzero(np.abs(late_s - np.median(late_s)) > 3e-3) <= 1
    none = without_times(before, set(range(70)))
    with pytest.raises(AudioFileError, match=r"does not say when its pictures \(h264\).*ffmpeg -i"):
        inpaint_file(none, after, [(1, 1.01)], settings=settings)


def test_a_film_whose_pictures_are_exchanged_late_is_whole(tmp_path: Path) -> None:
    before, after = tmp_path / "a.mkv", tmp_path / "b.mkv"
    moving(before, "libx264", "aac", straight=66, **{"x264-params": "b-adapt=0:scenecut=0"})
    inpaint_file(before, after, [(1, 1.01)], settings=FillSettings(method="zeros"))
    wanted, kept = pictures(before), pictures(after)
    assert [content for _, content in kept] == [content for _, content in wanted]
    np.testing.assert_allclose([at for at, _ in kept], [at for at, _ in wanted], atol=3e-3)


def test_attachments_and_subtitles_are_copied_or_told(tmp_path: Path, notices: list[str]) -> None:
    before = tmp_path / "a.mkv"
    font, words = bytes(range(256)), [b"Hello", b"world"]
    with av.open(str(before), "w") as container:
        heard = container.add_stream("aac", rate=RATE, layout="stereo")
        said = container.add_stream("ass")
        said.codec_context.extradata = b"[Script Info]\n"
        container.add_attachment("font.ttf", "application/x-truetype-font", font)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(stereo().T), format="fltp", layout="stereo"
        )
        frame.sample_rate = RATE
        container.mux(heard.encode(frame))
        for place, text in enumerate(words):
            packet = av.Packet(b"%d,0,Default,,0,0,0,," % place + text)
            packet.stream, packet.pts, packet.dts = said, 300 * place, 300 * place
            packet.time_base, packet.duration = Fraction(1, 1000), 200
            container.mux(packet)
        container.mux(heard.encode(None))
    settings = FillSettings(method="zeros")
    inpaint_file(before, tmp_path / "b.mkv", [(0.5, 0.51)], settings=settings)
    assert not any("left out" in line for line in notices)
    with av.open(str(tmp_path / "b.mkv")) as container:
        [attached] = [each for each in container.streams if each.type == "attachment"]
        assert (attached.metadata["filename"], attached.data) == ("font.ttf", font)
        [said] = container.streams.subtitles
        packets = [bytes(packet) for packet in container.demux(said) if packet.size]
    assert [packet.rsplit(b",")[-1] for packet in packets] == words
    inpaint_file(before, tmp_path / "b.mp4", [(0.5, 0.51)], settings=settings)
    [line] = [line for line in notices if "left out" in line]
    assert f"{before}: the subtitles 1 (ass), the attachment font.ttf left out" in line


def test_pictures_that_the_format_cannot_hold_are_an_error_that_names_them(tmp_path: Path) -> None:
    before = moving(tmp_path / "a.mkv", "libvpx", "libopus", bf="0")
    with pytest.raises(AudioFileError, match=r"mp4 cannot hold stream 0 of .*\(video, vp8\); .mkv"):
        inpaint_file(before, tmp_path / "b.mp4", [(1, 1.1)], settings=FillSettings(method="zeros"))
    assert not (tmp_path / "b.mp4").exists()


def test_pictures_that_avi_does_not_say_the_times_of_are_an_error_with_a_way_out(
    tmp_path: Path,
) -> None:
    before = moving(tmp_path / "a.avi", "libx264", "libmp3lame")
    with pytest.raises(AudioFileError, match=r"AVI does not say .*\(h264\).*ffmpeg -i FILE"):
        inpaint_file(before, tmp_path / "b.mkv", [(1, 1.1)], settings=FillSettings(method="zeros"))
    assert not (tmp_path / "b.mkv").exists()


def test_a_bit_rate_makes_files_smaller(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal((2 * RATE, 2)).astype(np.float32)
    for suffix in (".m4a", ".mp3"):
        sizes = []
        for bitrate in (64_000, 256_000):
            path = tmp_path / f"{bitrate}{suffix}"
            with AudioWriter(path, RATE, 2, bitrate=bitrate) as writer:
                writer.write(noise)
            sizes.append(8 * path.stat().st_size / 2)
        assert sizes == pytest.approx([64_000, 256_000], rel=0.2)


@pytest.mark.parametrize(
    ("suffix", "bitrate"), [(".wav", 64_000), (".ogg", 64_000), (".mkv", 64_000), (".mp3", 10**9)]
)
def test_a_bit_rate_that_does_not_fit_is_refused(tmp_path: Path, suffix: str, bitrate: int) -> None:
    with pytest.raises(AudioFileError, match="bit"):
        AudioWriter(tmp_path / f"a{suffix}", RATE, 2, bitrate=bitrate)
    assert not os.listdir(tmp_path)


def test_what_a_format_cannot_hold_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"\.webm cannot hold 2 channels of opus at 44100 Hz"):
        AudioWriter(tmp_path / "a.webm", RATE, 2)
    assert not os.listdir(tmp_path)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        noise = np.random.default_rng(1).standard_normal((10 * RATE, 2)).astype(np.float32)
        with (
            pytest.raises(AudioFileError, match="File too large"),
            AudioWriter(tmp_path / "a.mkv", RATE, 2) as writer,
        ):
            writer.write(noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not os.listdir(tmp_path)


def test_what_a_full_disk_left_over_reaches_no_other_file(tmp_path: Path) -> None:
    import resource

    noise = np.random.default_rng(1).standard_normal((5 * RATE, 1)).astype(np.float32)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        writer = AudioWriter(tmp_path / "a.m4a", RATE, 1)
        with pytest.raises(AudioFileError, match="File too large"):
            writer.write(noise)
        descriptor = writer._descriptor
        writer.discard()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with (tmp_path / "other").open("wb") as other:
        assert other.fileno() == descriptor  # the first free number is taken
        del writer
        gc.collect()
    assert (tmp_path / "other").stat().st_size == 0


def test_flac_that_states_no_rate_channels_or_width_at_all_is_an_error_of_ours(
    tmp_path: Path,
) -> None:
    path, signal = tmp_path / "a.flac", np.arange(2000).reshape(1000, 2)
    for telling in (True, False):
        content = bytearray(flac_file(signal, RATE, telling=telling).bytes())
        content[18:26] = bytes(8)
        path.write_bytes(bytes(content))
        if telling:  # by its frames
            np.testing.assert_array_equal(read_audio(path)[0], signal / 2.0**15)
            continue
        with pytest.raises(AudioFileError):
            read_audio(path)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[media\]"):
        AudioWriter(tmp_path / "a.m4a", RATE, 2)


def test_a_source_that_is_no_film_copies_nothing(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "a.wav", RATE, 2) as writer:
        writer.write(stereo())
    inpaint_file(
        tmp_path / "a.wav", tmp_path / "b.mkv", [(0.5, 0.51)], settings=FillSettings(method="zeros")
    )
    with av.open(str(tmp_path / "b.mkv")) as container:
        kinds: list[Any] = [stream.type for stream in container.streams]
    assert kinds == ["audio"]


# ---- packets that are damaged or missing --------------------------------------------------------


def coded(
    path: Path, codec: str, form: str, harmed: tuple[int, ...], drop: bool
) -> tuple[int, int]:
    """Write 2 s of tones; drop packets, or fill them with noise. Return length and frame size."""
    av = library()
    signal = tones(5, 48_000, 96_000).astype(np.float32)[None]
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        packets = []
        for start in range(0, signal.shape[1], 4800):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(signal[:, start : start + 4800]),
                format="fltp",
                layout="mono",
            )
            frame.sample_rate, frame.pts = 48_000, start
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for k, packet in enumerate(packets):
            if k in harmed and drop:
                continue
            kept = packet
            if k in harmed:
                kept = av.Packet(bytes(7 * k % 251 for k in range(packet.size)))
                kept.pts, kept.dts, kept.duration = packet.pts, packet.dts, packet.duration
                kept.time_base, kept.stream = packet.time_base, stream
            container.mux(kept)
    return len(packets), stream.codec_context.frame_size


CODED = [
    ("aac", "mp4", ".m4a"),
    ("aac", "matroska", ".mka"),
    ("libopus", "webm", ".webm"),
    ("libmp3lame", "matroska", ".mkv"),
    ("flac", "matroska", ".mka"),
]


@pytest.mark.parametrize(("codec", "form", "suffix"), CODED)
@some("places", [(7, 8), (-1,), (15,), (5, 14)], 2)
@pytest.mark.parametrize("drop", [False, True])
def test_packets_that_fail_or_are_missing_leave_nan_and_the_length(
    tmp_path: Path,
    codec: str,
    form: str,
    suffix: str,
    places: tuple[int, ...],
    drop: bool,
    notices: list[str],
) -> None:
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"a{suffix}"
    if codec == "libopus" and not drop:
        pytest.skip("the decoder of Opus takes any bytes")
    count, frame = coded(whole, codec, form, (), drop)
    if places == (-1,):
        if drop and form != "mp4":
            pytest.skip("nothing says that the last packet is missing")
        if codec == "flac":
            pytest.skip("the decoder of FLAC says nothing of a damaged last frame")
        places = (count - 2,) if form == "mp4" else (count - 1,)
    coded(path, codec, form, places, drop)
    truth, found = read_audio(whole)[0], read_audio(path)[0]
    # Stamps of a millisecond; the last frame may be a shorter one.
    assert abs(len(found) - len(truth)) <= (frame or 4608 if count - 1 in places else 48)
    lost = np.isnan(found[:, 0])
    assert lost.any()
    assert len(notices) == 1
    assert f"{path} is damaged" in notices[0]
    # No more than the frames, and those that overlap with them.
    assert np.count_nonzero(lost) <= 5 * len(places) * (frame or 4608)
    shared = min(len(found), len(truth))
    kept = ~lost[:shared]
    error = found[:shared][kept] - truth[:shared][kept]
    assert np.sqrt(np.mean(error**2)) < 0.05 * np.sqrt(np.mean(truth**2))


def adts(rate: int, layout: str, noisy: float = 0.0) -> bytes:
    """Return 2 s of a tone, with noise, in AAC without a container."""
    av, coded = library(), io.BytesIO()
    channels = 2 if layout == "stereo" else 1
    signal = 0.3 * np.sin(2 * np.pi * 440.0 / rate * np.arange(2 * rate))
    signal += noisy * np.random.default_rng(5).standard_normal(2 * rate)
    with av.open(coded, "w", format="adts") as container:
        stream = container.add_stream("aac", rate=rate, layout=layout)
        planes = np.tile(signal.astype(np.float32), (channels, 1))
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame) + stream.encode(None))
    return coded.getvalue()


@pytest.mark.parametrize(
    ("rate", "layout"), [(44_100, "mono"), (48_000, "stereo"), (22_050, "stereo")]
)
def test_a_stream_that_changes_its_rate_or_channels_is_read_on(
    tmp_path: Path, rate: int, layout: str, notices: list[str]
) -> None:
    path = tmp_path / "a.aac"
    path.write_bytes(adts(44_100, "stereo") + adts(rate, layout))
    found, found_rate = read_audio(path)
    assert found_rate == 44_100
    assert found.shape[1] == 2
    assert abs(len(found) - 4 * 44_100) < 3 * 2 * 1024
    levels = [np.sqrt(np.mean(part**2)) for part in (found[30_000:60_000], found[-60_000:-30_000])]
    assert levels == pytest.approx([0.3 / np.sqrt(2)] * 2, rel=0.05)
    (line,) = notices
    assert f"goes on with {rate} Hz, {layout}" in line


def frames_of_aac(path: Path) -> list[bytes]:
    """Write AAC without a container; return its frames."""
    content, frames = adts(RATE, "stereo", 0.05), []
    path.write_bytes(content)
    while content:
        size = (content[3] & 3) << 11 | content[4] << 3 | content[5] >> 5
        frames.append(content[:size])
        content = content[size:]
    return frames


HOLES: dict[str, Any] = {
    "zeros": lambda frame: bytes(len(frame)),
    "noise": lambda frame: np.random.default_rng(2).bytes(len(frame)),
    "all but its head": lambda frame: frame[7:],
}


@pytest.mark.parametrize("how", HOLES)
@some("lost", [(9, 40), (20,), (-1,)])
def test_a_frame_of_aac_of_which_bytes_are_left_is_missing_at_its_place(
    tmp_path: Path, how: str, lost: tuple[int, ...], notices: list[str]
) -> None:
    path = tmp_path / "a b.aac"
    frames = frames_of_aac(path)
    truth = read_audio(path)[0]
    assert not np.isnan(truth).any()
    for k in lost:
        frames[k] = HOLES[how](frames[k])
    path.write_bytes(b"".join(frames))
    found = read_audio(path)[0]
    missing = np.isnan(found[:, 0])
    assert len(found) == len(truth)
    assert 1024 * len(lost) <= np.count_nonzero(missing) <= 2048 * len(lost)
    assert [line for line in notices if "is damaged" in line]
    for k in lost:
        assert missing[1024 * (k % len(frames)) : 1024 * (k % len(frames) + 1)].all()
    error = found[~missing] - truth[~missing]
    assert np.sqrt(np.mean(error**2) / np.mean(truth**2)) < 0.3


def test_tags_between_frames_of_aac_are_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.aac"
    frames = frames_of_aac(path)
    tag = b"ID3\4\0\0\0\0\0\x0a" + bytes(10)
    path.write_bytes(
        tag + b"".join(frames[:20]) + tag + b"".join(frames[20:]) + b"TAG" + bytes(125)
    )
    found = read_audio(path)[0]
    assert len(found) == 1024 * len(frames)
    assert not np.isnan(found).any()


def test_that_nothing_tells_of_an_absent_frame_of_aac_is_said(
    tmp_path: Path, notices: list[str]
) -> None:
    frames = frames_of_aac(tmp_path / "a.aac")
    (tmp_path / "a.aac").write_bytes(b"".join(frames[:20] + frames[21:]))
    detect_file(tmp_path / "a.aac")
    assert "where one is absent, and no byte of it is left, nothing says so" in notices[0]


@pytest.mark.parametrize(("codec", "place"), [("flac", 5), ("ac3", 5), ("ac3", -1)])
def test_a_frame_with_a_wrong_checksum_in_a_film_is_missing(
    tmp_path: Path, codec: str, place: int
) -> None:
    path = tmp_path / "a.mka"
    with av.open(str(path), "w") as container:
        sound = container.add_stream(codec, rate=RATE, layout="stereo")
        integers = np.rint(stereo() * 32767).astype(np.int16)
        for start in range(0, SAMPLES, 1024):
            rows: NDArray[Any] = stereo()[start : start + 1024].T
            if codec == "flac":
                rows = integers[start : start + 1024].reshape(1, -1)
            kind = "s16" if codec == "flac" else "fltp"
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(rows), kind, "stereo")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    truth = read_audio(path)[0]
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    content = bytearray(path.read_bytes())
    content[content.index(packets[place]) + len(packets[place]) // 2] ^= 8
    path.write_bytes(bytes(content))
    found = read_audio(path)[0]
    missing = np.isnan(found).all(axis=1)
    assert len(found) == len(truth)
    assert missing.any()
    np.testing.assert_allclose(found[~missing], truth[~missing], atol=0.02)
