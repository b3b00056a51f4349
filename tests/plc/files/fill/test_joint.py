from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from plc import inpaint
from plc.files.fill import signals
from plc.files.fill.gaps import merge_gaps
from plc.files.fill.joint import _solved, grouped
from plc.files.fill.signals import FillSettings
from plc.files.recordings import inpaint_file
from plc_kernels.signal.ar import fit_burg
from tests.signals import glide, nmse_db, tones

RATE = 44_100


def lost_at(x: NDArray[np.float32], places: NDArray[np.int64]) -> list[tuple[int, int]]:
    return [gap.span for gap in merge_gaps([(int(i), int(i) + 1) for i in places], x.size)]


def patterns() -> dict[str, NDArray[np.int64]]:
    """Return what is lost of 15 ms."""
    every = np.arange(30_000, 30_000 + 662)
    half = np.random.default_rng(5).random(every.size) < 0.5
    return {"second": every[::2], "two of three": every[every % 3 > 0], "half": every[half]}


@pytest.mark.parametrize("pattern", list(patterns()))
@pytest.mark.parametrize("make", [tones, glide])
def test_isolated_lost_samples_are_filled_better_than_by_a_cubic(
    make: Callable[[int, int, int], NDArray[np.float32]], pattern: str
) -> None:
    x = make(3, RATE, 60_000)
    places = patterns()[pattern]
    damaged = x.copy()
    damaged[places] = 0.0
    filled = inpaint(damaged, lost_at(x, places), sample_rate=RATE, model="ar")
    known = np.setdiff1d(np.arange(x.size), places)
    np.testing.assert_array_equal(filled[known], x[known])
    cubic = CubicSpline(known, x[known])(places)
    assert nmse_db(filled[places], x[places]) < nmse_db(cubic, x[places])


def test_gaps_solved_together_are_the_least_squares_solution() -> None:
    x = glide(4, RATE, 600)
    places = np.array([200, 202, 204, 205, 209, 230, 231, 240])
    predictor = fit_burg(x, 32)
    rows = np.zeros((105, x.size))
    for i in range(105):
        rows[i, 200 - 32 + i : 201 + i] = predictor[::-1]
    known = x.astype(np.float64)
    known[places] = 0.0
    expected = np.linalg.lstsq(rows[:, places], -rows @ known, rcond=None)[0]
    found = _solved(x, places, np.correlate(predictor, predictor, "full"))
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_only_short_gaps_close_together_are_a_group() -> None:
    spans = [(100, 101), (102, 103), (160, 161), (400, 401), (402, 900), (904, 905)]
    gaps = merge_gaps(spans, 2000)
    groups = [[gap.span for gap in group] for group in grouped(gaps, RATE, "good", "auto")]
    assert groups == [spans[:3], *([span] for span in spans[3:])]
    assert all(len(group) == 1 for group in grouped(gaps, RATE, "fast", "auto"))
    packets = merge_gaps([(480, 600), (720, 840)], 2000)
    assert len(grouped(packets, 48_000, "good", "auto")) == 2


@pytest.mark.parametrize(("start", "stop"), [(0, 20), (980, 1000), (0, 1000)])
def test_a_group_at_the_ends_of_a_recording_is_filled(start: int, stop: int) -> None:
    x = tones(2, RATE, 1000)
    places = np.arange(start, stop, 2)
    filled = inpaint(x, lost_at(x, places), sample_rate=RATE, model="ar")
    assert nmse_db(filled[places], x[places]) < -10.0


def test_a_file_is_filled_like_an_array(tmp_path: Path) -> None:
    x = tones(3, RATE, 60_000)
    places = patterns()["second"]
    soundfile.write(tmp_path / "in.wav", x, RATE, subtype="FLOAT")
    gaps = [*lost_at(x, places), (45_000, 45_400)]
    seconds = [(start / RATE, stop / RATE) for start, stop in gaps]
    report = inpaint_file(
        tmp_path / "in.wav", tmp_path / "out.wav", seconds, settings=FillSettings(model="ar")
    )
    assert report.gaps == tuple(gaps)
    assert report.refined_gaps == len(gaps)
    filled = soundfile.read(tmp_path / "out.wav", dtype="float32")[0]
    np.testing.assert_allclose(filled, inpaint(x, gaps, sample_rate=RATE, model="ar"), atol=1e-6)


def test_single_lost_samples_are_interpolated_without_prediction_and_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a gap of one sample is predicted")

    monkeypatch.setattr(signals, "_fill", refuse)
    x = tones(3, RATE, 60_000) + 0.3 * glide(4, RATE, 60_000)
    places = np.arange(5_000, 55_000, 997)
    damaged = x.copy()
    damaged[places] = 0.0
    filled = inpaint(damaged, lost_at(x, places), sample_rate=RATE)
    assert nmse_db(filled[places], x[places]) < -30.0
    with pytest.raises(AssertionError):
        inpaint(damaged, [(30_000, 30_010)], sample_rate=RATE)
