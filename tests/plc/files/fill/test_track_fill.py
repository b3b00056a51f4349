"""What one channel has lost is filled in it; the others leave bit for bit."""

import sys
import tracemalloc
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc import inpaint
from plc.engine.stream.samples import Packet
from plc.errors import ConfigError
from plc.files.audio import read_audio
from plc.files.fill.gaps import Stretch, Track, merge_gaps
from plc.files.fill.signals import FillSettings
from plc.files.fill.track_fill import Recording, TrackFill
from plc.files.marks import read_gaps
from plc.files.recordings import inpaint_file
from plc.restore.detect.recorded import detect_file, write_labels
from plc.restore.repair import REPAIRED, RepairSettings, run_repair
from tests.signals import tones

RATE = 16_000
SAMPLES = 4 * RATE
# Of 10 to 40 ms, at no regular places.
HOLES = [(4500 + 4700 * k + 37 * k * k, 160 + 40 * k) for k in range(12)]
GAPS = [(start, start + length) for start, length in HOLES]


def recording() -> NDArray[np.float32]:
    """Return two channels that have nothing in common."""
    return np.stack([tones(seed, RATE, SAMPLES) for seed in (3, 4)], axis=1)


def harmed(signal: NDArray[np.float32], channel: int = 0) -> NDArray[np.float32]:
    holes = signal.copy()
    for start, stop in GAPS:
        holes[start:stop, channel] = 0.0
    return holes


def gain_db(
    truth: NDArray[np.float32], before: NDArray[np.float32], after: NDArray[np.float32]
) -> float:
    """Return by how much the error fell."""
    errors = [np.sum((each - truth) ** 2) for each in (before, after)]
    return float(10 * np.log10(errors[0] / errors[1]))


def written(path: Path, signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Write 16 bits; return what they hold."""
    soundfile.write(path, signal, RATE, subtype="PCM_16")
    return read_audio(path)[0]


def test_holes_of_one_channel_are_found_and_filled_in_it_alone(tmp_path: Path) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    truth = written(target, recording())
    holes = written(source, harmed(recording()))
    report = detect_file(source)
    assert {gap[2:] for gap in report.gaps_s} == {((0,),)}
    done = inpaint_file(source, target, report.gaps_s, settings=FillSettings(method="ar"))
    filled = read_audio(target)[0]
    np.testing.assert_array_equal(filled[:, 1], truth[:, 1])
    assert gain_db(truth[:, 0], holes[:, 0], filled[:, 0]) >= 8.0
    assert len(done.gaps) == len(done.holes) == len(GAPS)
    assert {hole.channels for hole in done.holes} == {(0,)}


def test_labels_say_which_channels_and_are_read_so(tmp_path: Path) -> None:
    source, labels = tmp_path / "a.wav", tmp_path / "a.txt"
    signal = harmed(recording())
    signal[10_000:10_400] = 0.0
    written(source, signal)
    report = detect_file(source)
    write_labels(labels, report)
    texts = [line.split("\t")[2] for line in labels.read_text().splitlines()]
    assert sum(text.endswith(" [1]") for text in texts) == len(GAPS)
    assert sum("[" not in text for text in texts) == 1
    for read, found in zip(read_gaps(labels), report.gaps_s, strict=True):
        assert read[:2] == pytest.approx(found[:2], abs=1e-6)
        assert read[2:] == found[2:]


def test_an_archive_is_repaired_by_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "plc.files.cluster.in_processes",
        lambda work, items, jobs, name: ((k, work(item)) for k, item in enumerate(items)),
    )
    source, target = tmp_path / "tapes", tmp_path / "out"
    source.mkdir()
    truth = written(tmp_path / "a.wav", recording())
    holes = written(source / "a.wav", harmed(recording(), channel=1))
    report = run_repair(str(source), str(target), settings=RepairSettings(method="ar"))
    [outcome] = report.outcomes
    assert (outcome.state, len(outcome.gaps)) == (REPAIRED, len(GAPS))
    filled = read_audio(target / "a.wav")[0]
    np.testing.assert_array_equal(filled[:, 0], truth[:, 0])
    assert gain_db(truth[:, 1], holes[:, 1], filled[:, 1]) >= 8.0


def test_each_channel_is_filled_as_a_recording_of_its_own(tmp_path: Path) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    signal = recording()
    soundfile.write(source, signal, RATE, subtype="FLOAT")
    own = {0: [(8000, 8320), (9000, 9160)], 1: [(8200, 8600), (40_000, 40_300)]}
    gaps_s: list[Stretch] = [
        (start / RATE, stop / RATE, (channel,))
        for channel, gaps in own.items()
        for start, stop in gaps
    ]
    report = inpaint_file(source, target, gaps_s, settings=FillSettings(method="ar"))
    assert report.gaps == ((8000, 8600), (9000, 9160), (40_000, 40_300))
    assert report.holes == (
        (8000, 8320, (0,)),
        (8200, 8600, (1,)),
        (9000, 9160, (0,)),
        (40_000, 40_300, (1,)),
    )
    filled = read_audio(target)[0]
    given = [(start, stop, (channel,)) for channel, gaps in own.items() for start, stop in gaps]
    by_array = inpaint(signal, given, sample_rate=RATE, method="ar")
    np.testing.assert_array_equal(filled, by_array)
    for channel, gaps in own.items():
        alone = inpaint(signal[:, channel], gaps, sample_rate=RATE, method="ar")
        np.testing.assert_array_equal(filled[:, channel], alone)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_a_mask_of_each_channel_fills_what_it_marks(dtype: type) -> None:
    signal: Packet = (recording() * (32_767 if dtype is np.int16 else 1)).astype(dtype)
    mask = np.zeros(signal.shape, np.bool_)
    mask[8000:8320, 1] = mask[20_000:20_160] = True
    seen: list[tuple[int, int]] = []
    filled = inpaint(
        signal, mask, sample_rate=RATE, method="ar", progress=lambda *done: seen.append(done)
    )
    np.testing.assert_array_equal(filled[~mask], signal[~mask])
    assert np.all(np.any(filled != signal, axis=0))
    gaps = [(20_000, 20_160), (8000, 8320, (1,))]
    np.testing.assert_array_equal(inpaint(signal, gaps, sample_rate=RATE, method="ar"), filled)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_gaps_of_all_channels_are_filled_as_ever() -> None:
    signal = recording()
    spans = [(8000, 8320), (20_000, 20_160)]
    expected = inpaint(signal, spans, sample_rate=RATE, method="ar")
    both = [(start, stop, (1, 0)) for start, stop in spans]
    np.testing.assert_array_equal(inpaint(signal, both, sample_rate=RATE, method="ar"), expected)


@pytest.mark.parametrize("channels", [(2,), (-1,), (0, 5)])
def test_a_channel_that_is_not_there_is_refused(tmp_path: Path, channels: tuple[int, ...]) -> None:
    signal = recording()
    with pytest.raises(ConfigError, match="the recording has 2"):
        inpaint(signal, [(8000, 8320, channels)], sample_rate=RATE)
    soundfile.write(tmp_path / "a.wav", signal, RATE)
    with pytest.raises(ConfigError, match="the recording has 2"):
        inpaint_file(tmp_path / "a.wav", tmp_path / "b.wav", [(0.5, 0.52, channels)])
    with pytest.raises(ConfigError, match="such as"):
        inpaint(signal, [(8000, 8320, 0)], sample_rate=RATE)


def test_memory_grows_with_the_number_of_gaps_not_with_its_square() -> None:
    count, apart = 4000, RATE // 10
    spans = [(k * apart, k * apart + 160) for k in range(1, count + 1)]
    samples = (count + 2) * apart
    track = Track((0,), merge_gaps(spans, samples))
    how = Recording(source="", sample_rate=RATE, samples=samples, settings=FillSettings())
    tracemalloc.start()
    try:
        groups = list(TrackFill(track, [track], how).groups())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, groups)) == count
    assert peak < 1000 * count


def test_the_work_grows_with_the_number_of_gaps_not_with_its_square(tmp_path: Path) -> None:
    def calls(samples: int) -> int:
        """Return the calls that it takes to fill every third sample, each by itself."""
        signal = recording()[:samples, :1]
        signal[::3] = np.nan
        soundfile.write(tmp_path / "a.wav", signal, RATE, subtype="FLOAT")
        counted = 0

        def count(_: FrameType, event: str, __: object) -> None:
            nonlocal counted
            counted += event == "call"

        sys.setprofile(count)
        try:
            how = FillSettings(quality="fast")
            inpaint_file(tmp_path / "a.wav", tmp_path / "b.wav", [(0.0, 0.001)], settings=how)
        finally:
            sys.setprofile(None)
        return counted

    calls(300)  # what is imported and compiled once
    assert calls(6000) < 2.2 * calls(3000)
