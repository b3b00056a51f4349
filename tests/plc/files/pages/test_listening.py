"""Versions of a clip on a page: what is stored, and the pictures."""

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.files.pages import listening

SVG = "{http://www.w3.org/2000/svg}"
RATE = 8_000


def wave_of(svg: str | bytes) -> tuple[list[NDArray[np.float64]], list[tuple[float, float]]]:
    """Return a wave's lines, (ms, amplitude), and its gaps in ms, as its axes' numbers say."""
    root = ET.fromstring(svg)
    texts = root.findall(f"{SVG}text")
    assert {"time (ms)", "amplitude"} <= {each.text for each in texts}

    def scale(at: str, across: str, where: str) -> NDArray[np.float64]:
        found = [each for each in texts if each.get(across) == where]
        assert len(found) >= 2
        places = np.array([float(each.get(at) or 0) for each in found])
        return np.polyfit(places, np.array([float(each.text or "") for each in found]), 1)

    ms, amplitude = scale("x", "y", "99"), scale("y", "x", "44")
    amplitude[1] += 3.5 * amplitude[0]  # a number's baseline is below its line
    lines = []
    for each in root.findall(f"{SVG}polyline"):
        points = np.array([point.split(",") for point in (each.get("points") or "").split()], float)
        lines.append(np.stack([np.polyval(ms, points[:, 0]), np.polyval(amplitude, points[:, 1])]))
    gaps = []
    for each in root.findall(f"{SVG}rect")[1:]:
        start, width = float(each.get("x") or 0), float(each.get("width") or 0)
        gaps.append((float(np.polyval(ms, start)), float(np.polyval(ms, start + width))))
    return lines, gaps


def test_a_difference_is_stored_where_it_is_small_and_mostly_silent() -> None:
    reference = np.zeros((100, 1), np.int16)
    played = reference.copy()
    played[10:20] = 5
    stored, is_difference = listening.difference_or_whole(reference + np.int16(7), played + 7)
    assert is_difference
    np.testing.assert_array_equal(stored, played)
    assert not listening.difference_or_whole(reference, reference + np.int16(1))[1]
    reference[0], played[0] = -32768, 32767  # 17 bits
    stored, is_difference = listening.difference_or_whole(reference, played)
    assert not is_difference
    np.testing.assert_array_equal(stored, played)


def test_a_spectrogram_marks_what_was_lost() -> None:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    rate = 8_000
    signal = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    lost = np.zeros(rate, np.bool_)
    lost[4000:4800] = True
    png = listening.spectrogram_png(np.where(lost, 0.0, signal), lost, rate, loudest_db=40.0)
    pixels = np.asarray(image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    red = pixels[0, :, 0] > 200
    width = pixels.shape[1]
    assert np.flatnonzero(red).tolist() == list(range(width // 2, width * 6 // 10))
    brightness = pixels[10:].sum(axis=2)
    assert brightness[:, : width // 3].max() > 500  # the sine
    assert brightness[:, width * 53 // 100 : width * 57 // 100].max() < 60  # the hole


def gappy(
    *gaps: tuple[int, int], seconds: float = 1.0
) -> tuple[list[NDArray[np.float64]], NDArray[np.bool_]]:
    """Return a sine of 0.4, the same with silent gaps, and what is lost."""
    size = round(seconds * RATE)
    whole = 0.4 * np.sin(2 * np.pi * 100 * np.arange(size) / RATE)
    lost = np.zeros(size, np.bool_)
    for start, stop in gaps:
        lost[start:stop] = True
    return [whole, np.where(lost, 0.0, whole)], lost


def test_a_wave_shows_samples_at_their_time_and_amplitude() -> None:
    signals, lost = gappy((4000, 4160))
    whole, silenced = listening.gap_waves(signals, lost, RATE)
    (alone,), gaps = wave_of(whole)
    (behind, heard), _ = wave_of(silenced)
    np.testing.assert_array_equal(behind, alone)
    np.testing.assert_allclose(gaps, [(0.0, 20.0)], atol=0.05)
    for line, signal in ((alone, signals[0]), (heard, signals[1])):
        shown = signal[4000 - 96 : 4160 + 96]  # 12 ms at both sides
        np.testing.assert_allclose(line[0], (np.arange(shown.size) - 96) / 8, atol=0.05)
        np.testing.assert_allclose(line[1], shown, atol=0.005)


def test_a_long_wave_has_the_peaks_of_all_samples() -> None:
    signals, lost = gappy((8000, 16_000), seconds=3.0)
    signals[0][12_345] = -0.7  # a click of one sample
    ((line,), gaps) = wave_of(listening.gap_waves(signals, lost, RATE)[0])
    np.testing.assert_allclose(gaps, [(0.0, 1000.0)], atol=3.0)
    assert line[0, 0] == pytest.approx(-250.0, abs=3.0)  # a quarter of its length
    assert line[0, -1] == pytest.approx(1250.0, abs=6.0)
    assert line[1].max() == pytest.approx(0.4, abs=0.01)
    assert line[1].min() == pytest.approx(-0.7, abs=0.01)
    assert line[0, line[1].argmin()] == pytest.approx(1000 * 4345 / RATE, abs=6.0)
    assert line.shape[1] <= 600


def test_the_gap_shown_is_long_and_loud() -> None:
    signals, lost = gappy((1000, 1040), (2000, 2400), (4000, 4320), (6000, 6500))
    signals[0][5900:6600] *= 0.01  # the longest is next to silent
    for svg in listening.gap_waves(signals, lost, RATE):
        np.testing.assert_allclose(wave_of(svg)[1], [(0.0, 50.0)], atol=0.1)
    at_edge = listening.gap_waves([signals[0][:2200]] * 2, lost[:2200], RATE)
    assert wave_of(at_edge[0])[0][0][0, -1] < 25.0


def test_silence_has_a_wave_and_nothing_lost_has_none() -> None:
    lost = np.arange(800) % 400 < 100
    ((line,), gaps) = wave_of(listening.gap_waves([np.zeros(800)], lost, RATE)[0])
    assert not line[1].round(6).any()
    assert len(gaps) == 1
    assert listening.gap_waves([np.zeros(800)], np.zeros(800, np.bool_), RATE) == []


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (-12, 32, [-10, 0, 10, 20, 30]),
        (-0.5, 0.5, [-0.4, -0.2, 0, 0.2, 0.4]),
        (-250, 1250, [0, 500, 1000]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert listening._ticks(low, high) == pytest.approx(ticks)
