from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc import detect, inpaint
from plc.restore.detect import alternate
from plc.restore.detect.recorded import detect_file, write_labels
from tests.examples import some
from tests.signals import glide, nmse_db, noise, sine, tones

RATE = 44_100
START, STOP = 60_000, 60_662


def recording() -> NDArray[np.float32]:
    x = tones(3, RATE, 120_000, 0.05) + glide(4, RATE, 120_000)
    return np.asarray(np.rint(x * 32768) / 32768, np.float32)


def thinned(x: NDArray[np.float32], lost: str, held: bool) -> NDArray[np.int64]:
    """Lose samples of ``x`` and return which."""
    every = np.arange(START, STOP)
    patterns = {"second": every[::2], "third": every[::3], "two of three": every[every % 3 > 0]}
    places = patterns[lost]
    for place in places:
        x[place] = x[place - 1] if held else 0.0
    return places


@pytest.mark.parametrize("held", [False, True])
@some("lost", ["second", "two of three", "third"], 2)
def test_single_samples_that_are_lost_in_turn_are_one_finding(lost: str, held: bool) -> None:
    x = recording()
    sound = x.copy()
    places = thinned(x, lost, held)
    findings = detect(x, sample_rate=RATE)
    assert [each.kind for each in findings] == ["alternate"]
    assert findings[0].start >= START - 3
    assert findings[0].stop <= STOP + 3
    found = np.concatenate([np.arange(*gap) for gap in findings[0].gaps])
    assert np.isin(places, found).mean() > 0.98
    assert np.isin(found, places).mean() > 0.98
    filled = inpaint(x, findings[0].gaps, sample_rate=RATE, model="ar")
    assert nmse_db(filled[START:STOP], sound[START:STOP]) < -25.0


def test_the_place_is_that_in_the_whole_of_a_long_recording() -> None:
    x = np.concatenate([glide(9, RATE, 20 * RATE), recording()])
    places = 20 * RATE + thinned(x[20 * RATE :], "second", False)
    found = [each for each in detect(x, sample_rate=RATE) if each.kind == "alternate"]
    gaps = found[0].gaps
    assert len(found) == 1
    assert set(gaps) == {(int(place), int(place) + 1) for place in places}


def test_a_file_is_filled_and_labelled_where_samples_are_lost(tmp_path: Path) -> None:
    x = recording()
    places = thinned(x, "second", False)
    soundfile.write(tmp_path / "x.wav", x, RATE, subtype="FLOAT")
    report = detect_file(tmp_path / "x.wav")
    assert [round(start * RATE) for start, *_ in report.gaps_s] == places.tolist()
    write_labels(tmp_path / "x.txt", report)
    assert len((tmp_path / "x.txt").read_text().splitlines()) == places.size


def test_channels_are_one_finding_where_the_same_samples_are_lost() -> None:
    left, right = recording(), recording() * np.float32(0.5)
    thinned(left, "second", False)
    thinned(right, "second", False)
    findings = detect(np.stack([left, right], axis=1), sample_rate=RATE)
    assert [each.channels for each in findings] == [(0, 1)]


@some("rate", [8_000, 44_100])
def test_recordings_that_hold_samples_or_zeros_are_no_damage(rate: int) -> None:
    n = 3 * rate
    x = 1.5 * (tones(1, rate, n) + glide(2, rate, n))
    burst = sine(rate / 4, rate, n) * (np.arange(n) % rate < rate // 60)
    kinds = {
        "whole": x,
        "held by two": np.repeat(x[::2], 2)[:n],
        "held by four": np.repeat(x[::4], 4)[:n],
        "zeros between": np.where(np.arange(n) % 2, 0.0, x),
        "a quarter of the rate": burst,
        "8 bits": np.rint(x * 128) / 128,
        "4 bits": np.rint(x * 8) / 8,
        "quiet": np.rint(1e-4 * x * 32768) / 32768,
        "slope of half a step": np.floor(np.arange(n) / 2) % 1000 / 32768,
        "square": 0.3 * np.sign(sine(110.0, rate, n)),
        "signs": 0.3 * np.sign(noise(4, n)),
        "silence": np.zeros(n),
    }
    for kind, signal in kinds.items():
        sampled = (np.rint(signal * 32767) / 32768).astype(np.float32)
        assert alternate.find(sampled, rate) == [], kind
