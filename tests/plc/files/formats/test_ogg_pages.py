"""Damaged and absent pages of Ogg leave a gap; all else stays at its place."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.files.audio import AudioReader, read_audio
from plc.files.containers import ogg
from plc.files.fill.signals import FillSettings
from plc.files.formats import ogg_pages
from plc.files.recordings import inpaint_file
from plc.files.tags.values import Tags
from plc.files.writing import AudioWriter
from plc.restore.detect.recorded import detect_file
from tests.examples import some
from tests.signals import noise, tones

SECONDS = 6


def sound(rate: int, channels: int) -> NDArray[np.float32]:
    each = [
        tones(seed, rate, SECONDS * rate) + 0.05 * noise(seed, SECONDS * rate)
        for seed in range(channels)
    ]
    return np.stack(each, axis=1).astype(np.float32)


def written(path: Path, rate: int, channels: int) -> list[tuple[int, int]]:
    """Write a sound; return where its pages of audio lie."""
    path.write_bytes(coded(path.suffix, rate, channels))
    return pages_of(path.read_bytes())[2:]


@cache
def coded(suffix: str, rate: int, channels: int) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        with AudioWriter(path, rate, channels, tags=Tags((("TITLE", "a"),))) as writer:
            writer.write(sound(rate, channels))
        return path.read_bytes()


def pages_of(data: bytes) -> list[tuple[int, int]]:
    starts = [found.start() for found in re.finditer(re.escape(ogg.MARK), data)]
    return list(zip(starts, [*starts[1:], len(data)], strict=True))


HARMS: dict[str, Callable[[bytes], bytes]] = {
    "a bit in the samples": lambda page: page[:-20] + bytes([page[-20] ^ 8]) + page[-19:],
    "a bit in the header": lambda page: page[:9] + bytes([page[9] ^ 16]) + page[10:],
    "zeros": lambda page: bytes(len(page)),
    "absent": lambda page: b"",
    "half": lambda page: page[: len(page) // 2],
    "another mark": lambda page: page[:-30] + ogg.MARK + page[-26:],
}


def recorded(
    folder: Path, suffix: str, rate: int, channels: int
) -> tuple[Path, list[tuple[int, int]], NDArray[np.float32]]:
    """Return a file, the places of its pages, and its samples."""
    path = folder / f"a{suffix}"
    pages = written(path, rate, channels)
    return path, pages, read_audio(path)[0]


def harm(path: Path, pages: list[tuple[int, int]], how: str, places: tuple[int, ...]) -> None:
    content = path.read_bytes()
    for start, stop in sorted((pages[k] for k in places), reverse=True):
        content = content[:start] + HARMS[how](content[start:stop]) + content[stop:]
    path.write_bytes(content)


def check(path: Path, truth: NDArray[np.float32], places: tuple[int, ...]) -> None:
    """Compare what is read of a damaged file with the truth."""
    found = read_audio(path)[0]
    assert len(found) == len(truth)
    lost = np.isnan(found).any(axis=1)
    runs = int(np.count_nonzero(np.diff(lost.astype(int), prepend=0) > 0))
    assert 1 <= runs <= len(places)
    error = (found - truth)[~lost]
    # Opus needs some packets more until its states are the same; Vorbis does not.
    limit = 0.0 if path.suffix == ".ogg" else 0.1
    assert np.sqrt(np.mean(error**2)) <= limit * np.sqrt(np.mean(truth**2))
    assert np.count_nonzero(lost) < 0.6 * len(truth)


CODED = [(".ogg", 44_100, 2), (".opus", 48_000, 2), (".ogg", 16_000, 1), (".opus", 16_000, 1)]


@some("how, places", [("zeros", (0,)), ("absent", (1, 2)), *((how, (2,)) for how in HARMS)], 3)
@some("suffix, rate, channels", CODED, 2)
def test_a_page_that_is_damaged_or_absent_is_nan_and_all_else_as_it_was(
    tmp_path: Path,
    suffix: str,
    rate: int,
    channels: int,
    how: str,
    places: tuple[int, ...],
    notices: list[str],
) -> None:
    path, pages, truth = recorded(tmp_path, suffix, rate, channels)
    assert len(pages) > 4
    assert ogg_pages.mend(path) is None
    harm(path, pages, how, places)
    check(path, truth, places)
    assert len(notices) == 1
    assert f"{path} is damaged: 1 place" in notices[0]


def test_pages_that_are_written_anew_begin_with_a_packet() -> None:
    sizes = [int(size) for size in np.random.default_rng(7).integers(1, 700, 900)]
    packets = [(bytes([k % 256]) * size, 960 * (k + 1)) for k, size in enumerate(sizes)]
    pages = list(ogg.pages_of(packets, 5, 2))
    assert [page.number for page in pages] == list(range(2, 2 + len(pages)))
    assert all(len(page.segments) <= ogg.SEGMENTS_MAX for page in pages)
    assert not [page for page in pages if page.flags & ogg.CONTINUED]
    found = [each.data for each in ogg_pages._packets(pages)]
    assert found == [packet for packet, _ in packets]
    assert pages[-1].position == packets[-1][1]
    (large, *rest) = ogg.pages_of([(bytes(200_000), 9), (b"b", 10)], 5, 0)
    assert not large.flags & ogg.CONTINUED
    assert [bool(page.flags & ogg.CONTINUED) for page in rest] == [True] * len(rest)
    assert [each.data for each in ogg_pages._packets([large, *rest])] == [bytes(200_000), b"b"]


def chained(content: bytes, number: int) -> bytes:
    """Return a recording as a link of a chain, under a stream number of its own."""
    pages = [page._replace(stream=page.stream ^ number) for page in ogg_pages._intact(content)]
    return b"".join(page.packed() for page in pages)


@pytest.mark.parametrize("number", [0, 1])
@some("suffix, rate, channels", CODED)
def test_recordings_behind_one_another_are_read_as_one(
    tmp_path: Path, suffix: str, rate: int, channels: int, number: int, notices: list[str]
) -> None:
    path = tmp_path / f"a{suffix}"
    pages = written(path, rate, channels)
    truth, content = read_audio(path)[0], path.read_bytes()
    bitrate = AudioReader(path).bitrate
    path.write_bytes(content + chained(content, number))
    joined = np.concatenate([truth, truth])
    np.testing.assert_array_equal(read_audio(path)[0], joined)
    with AudioReader(path) as reader:
        assert reader.samples == len(joined)
        assert reader.bitrate == pytest.approx(bitrate, rel=0.03)
    (line,) = notices
    assert "holds 2 recordings" in line
    for harmed in (0, 1):
        path.write_bytes(content)
        harm(path, pages, "absent", (2,))
        links = [path.read_bytes(), chained(content, number)]
        path.write_bytes(b"".join(links if harmed == 0 else links[::-1]))
        check(path, joined, (2,))


def test_of_recordings_behind_one_another_those_of_another_kind_are_left_out_and_told(
    tmp_path: Path, notices: list[str]
) -> None:
    paths = [tmp_path / f"{number}.ogg" for number in range(4)]
    for path, (rate, channels) in zip(
        paths, [(16_000, 1), (44_100, 1), (16_000, 2), (16_000, 1)], strict=True
    ):
        written(path, rate, channels)
    truth = read_audio(paths[0])[0]
    links = [chained(path.read_bytes(), number) for number, path in enumerate(paths)]
    paths[0].write_bytes(b"".join(links))
    np.testing.assert_array_equal(read_audio(paths[0])[0], np.concatenate([truth, truth]))
    (line,) = notices
    assert "holds 4 recordings" in line
    assert "2 of another sample rate or number of channels" in line
    notices.clear()
    headless = links[3][pages_of(links[3])[0][1] :]
    paths[0].write_bytes(links[0] + headless)
    np.testing.assert_array_equal(read_audio(paths[0])[0], truth)
    (line,) = notices
    assert "whose first page is missing" in line


@pytest.mark.parametrize("how", ["absent", "a bit in the samples"])
def test_a_damaged_page_of_flac_in_ogg_is_missing_at_its_place(
    tmp_path: Path, how: str, notices: list[str]
) -> None:
    av = pytest.importorskip("av", reason="PyAV comes with the extra media")
    path = tmp_path / "a.oga"
    signal = (tones(1, 48_000, 60 * 4_608) * 30_000).astype(np.int16)
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("flac", rate=48_000, layout="mono")
        stream.format = "s16"
        for start in range(0, len(signal), 4_608):
            block = signal[None, start : start + 4_608].copy()
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48_000, start
            container.mux(stream.encode(frame))
    truth = read_audio(path)[0]
    pages = pages_of(path.read_bytes())
    harm(path, pages, how, (len(pages) // 2,))
    found = read_audio(path)[0]
    lost = np.isnan(found[:, 0])
    assert len(found) == len(truth)
    assert 0 < np.count_nonzero(lost) < len(truth) // 2
    np.testing.assert_array_equal(found[~lost], truth[~lost])
    assert "is damaged: 1 place" in notices[0]


def test_what_is_missing_is_found_and_filled(tmp_path: Path) -> None:
    path, target = tmp_path / "a.ogg", tmp_path / "b.wav"
    pages = written(path, 16_000, 1)
    truth = read_audio(path)[0]
    harm(path, pages, "absent", (2,))
    (found,) = detect_file(path).findings
    assert found.kind == "invalid"
    inpaint_file(
        path,
        target,
        [(found.start / 16_000, found.stop / 16_000)],
        settings=FillSettings(method="ar"),
    )
    filled = read_audio(target)[0]
    assert len(filled) == len(truth)
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled[: found.start - 16], truth[: found.start - 16], atol=1e-4)
    np.testing.assert_allclose(filled[found.stop + 16 :], truth[found.stop + 16 :], atol=1e-4)


@some("suffix, rate, channels", [(".opus", 48_000, 4), *CODED])
def test_places_apart_are_gaps_of_their_own(
    tmp_path: Path, suffix: str, rate: int, channels: int, notices: list[str]
) -> None:
    path, pages, truth = recorded(tmp_path, suffix, rate, channels)
    places = (1, 3)
    harm(path, pages, "zeros", places)
    check(path, truth, places)
    assert "2 places" in notices[0]


@pytest.mark.parametrize(("suffix", "rate", "channels"), CODED[:2])
def test_a_damaged_last_page_but_one_keeps_the_end(
    tmp_path: Path, suffix: str, rate: int, channels: int
) -> None:
    path, pages, truth = recorded(tmp_path, suffix, rate, channels)
    harm(path, pages, "zeros", (len(pages) - 2,))
    check(path, truth, (0,))


@pytest.mark.parametrize(("suffix", "rate", "channels"), CODED[:2])
@pytest.mark.parametrize("cut", ["within a page", "between pages"])
def test_a_file_without_its_end_is_read_as_far_as_it_goes(
    tmp_path: Path, suffix: str, rate: int, channels: int, cut: str, notices: list[str]
) -> None:
    path, pages, truth = recorded(tmp_path, suffix, rate, channels)
    start, stop = pages[-2]
    end = start if cut == "between pages" else (start + stop) // 2
    path.write_bytes(path.read_bytes()[:end])
    found = read_audio(path)[0]
    assert 0.5 * len(truth) < len(found) < len(truth)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, truth[: len(found)])
    assert len(notices) == 1
    assert "its end may be missing" in notices[0]


@pytest.mark.parametrize(("suffix", "rate", "channels"), CODED[:2])
def test_pages_that_were_numbered_anew_are_judged_by_their_positions(
    tmp_path: Path, suffix: str, rate: int, channels: int
) -> None:
    path, _, truth = recorded(tmp_path, suffix, rate, channels)
    pages = ogg_pages._intact(path.read_bytes())
    left = [page for k, page in enumerate(pages) if k not in (4, 5)]
    data = b"".join(page._replace(number=k).packed() for k, page in enumerate(left))
    path.write_bytes(data)
    check(path, truth, (0,))


@pytest.mark.parametrize(("suffix", "rate", "channels"), CODED[:2])
def test_a_recording_of_a_running_stream_begins_where_it_begins(
    tmp_path: Path, suffix: str, rate: int, channels: int, notices: list[str]
) -> None:
    path, _, truth = recorded(tmp_path, suffix, rate, channels)
    pages = ogg_pages._intact(path.read_bytes())
    for page in pages[2:]:
        assert page.position > 0
    later = [
        page._replace(position=page.position + 3600 * 48_000, number=page.number + 5000)
        for page in pages[3:]
    ]
    path.write_bytes(b"".join(page.packed() for page in [*pages[:2], *later]))
    with AudioReader(path) as reader:
        found = np.concatenate(list(reader.stream(1000)))
    assert 0.5 * len(truth) < len(found) < len(truth)
    missing = np.isnan(found[:, 0])
    assert np.count_nonzero(missing) <= 0.05 * rate
    assert len(notices) <= 1


@pytest.mark.parametrize(("suffix", "rate", "channels"), CODED[1:2])
def test_damaged_tags_keep_no_sound_from_being_read(
    tmp_path: Path, suffix: str, rate: int, channels: int
) -> None:
    path, _, truth = recorded(tmp_path, suffix, rate, channels)
    harm(path, pages_of(path.read_bytes()), "a bit in the samples", (1,))
    np.testing.assert_array_equal(read_audio(path)[0], truth)


def test_a_file_whose_first_page_is_gone_is_refused_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    written(path, 16_000, 1)
    harm(path, pages_of(path.read_bytes()), "zeros", (0,))
    assert ogg_pages.mend(path) is None
    assert soundfile.available_formats()["OGG"]


NUMBERS: dict[str, Callable[[int], int]] = {
    "all zero": lambda number: 0,
    "every second one": lambda number: 2 * number,
    "a jump": lambda number: number + 7 * (number > 3),
}


@pytest.mark.parametrize("numbers", NUMBERS)
@some("suffix, rate, channels", CODED[:2])
def test_page_numbers_that_jump_where_no_sample_is_missing_are_not_believed(
    tmp_path: Path, numbers: str, suffix: str, rate: int, channels: int
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(coded(suffix, rate, channels))
    truth = read_audio(path)[0]
    pages = ogg_pages._intact(path.read_bytes())
    anew = [page._replace(number=NUMBERS[numbers](page.number)) for page in pages]
    path.write_bytes(b"".join(page.packed() for page in anew))
    found = read_audio(path)[0]
    assert not np.isnan(found).any()
    np.testing.assert_allclose(found, truth, atol=2e-4)
