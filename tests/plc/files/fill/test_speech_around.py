"""Telling speech from music around a gap."""

from importlib.resources import files

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.engine.loss import GilbertElliott
from plc.files.fill.signal_background import LISTEN_S, speech_around
from tests.signals import tones

RATE = 16_000


def clip(name: str, sample_rate: int) -> NDArray[np.float32]:
    """Return a clip of the package."""
    path = str(files("plc") / "data" / f"{name}.flac")
    signal, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate == sample_rate:
        return np.ascontiguousarray(signal[:, 0], np.float32)
    soxr = pytest.importorskip("soxr")
    resampled: NDArray[np.float32] = soxr.resample(signal[:, 0], rate, sample_rate)
    return resampled


def told(
    row: NDArray[np.float32], received: NDArray[np.bool_], start: int, sample_rate: int
) -> float:
    """Return the share of speech around a gap of 64 ms."""
    gap = start, start + round(0.064 * sample_rate)
    heard = received.copy()
    heard[slice(*gap)] = False
    return speech_around(row, heard, gap, sample_rate)


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 16_000, 48_000])
@pytest.mark.parametrize(("name", "share"), [("music", 0.0), ("speech", 1.0)])
@pytest.mark.parametrize("lost", [0.0, 0.5])
def test_a_voice_is_told_from_music(name: str, share: float, lost: float, sample_rate: int) -> None:
    signal = clip(name, sample_rate)
    packet = sample_rate // 50
    trace = GilbertElliott(lost, 2.0).trace(-(-signal.size // packet), 3)
    received = np.repeat(~trace, packet)[: signal.size]
    places = range(sample_rate, signal.size - sample_rate, sample_rate // 2)
    shares = [told(signal, received, at, sample_rate) for at in places]
    assert np.abs(np.array(shares) - share).mean() < 0.02


@pytest.mark.parametrize("sample_rate", [16_000, 48_000])
@pytest.mark.parametrize(("name", "share"), [("music", 0.0), ("speech", 1.0)])
@pytest.mark.parametrize("lowest_hz", [0.0, 300.0])
def test_a_call_of_a_narrow_band_is_told_from_its_music_on_hold(
    name: str, share: float, lowest_hz: float, sample_rate: int
) -> None:
    """Its samples may have any rate by the time that they come here."""
    signal = clip(name, sample_rate)
    spectrum, hz = np.fft.rfft(signal), np.fft.rfftfreq(signal.size, 1.0 / sample_rate)
    spectrum[(hz < lowest_hz) | (hz > 3400.0)] = 0.0
    narrow = np.fft.irfft(spectrum, signal.size).astype(np.float32)
    everything = np.ones(signal.size, np.bool_)
    places = range(sample_rate, signal.size - sample_rate, sample_rate)
    shares = [told(narrow, everything, at, sample_rate) for at in places]
    assert np.abs(np.array(shares) - share).mean() < 0.02


def test_what_is_lost_is_not_heard_nor_what_is_far_away() -> None:
    voice, organ = clip("speech", RATE), tones(7, RATE, 20 * RATE)
    received = np.zeros(organ.size, np.bool_)
    at = organ.size // 2
    received[at - 2 * RATE : at + 2 * RATE] = True
    row = organ.copy()
    row[at - 2 * RATE : at + 2 * RATE] = voice[: 4 * RATE]
    assert told(row, received, at, RATE) == 1.0
    loud = row.copy()
    loud[~received] = np.nan
    assert told(loud, received, at, RATE) == 1.0
    far = round((LISTEN_S + 0.1) * RATE)
    row[:] = organ
    row[: at - far], row[at + far :] = np.nan, np.nan
    assert told(row, np.ones(row.size, np.bool_), at, RATE) == 0.0


@pytest.mark.parametrize("sample_rate", [8_000, 48_000, 768_000])
def test_what_is_short_or_silent_tells_nothing(sample_rate: int) -> None:
    frame = sample_rate // 50
    noise = np.random.default_rng(0).standard_normal(4 * frame).astype(np.float32)
    gap = 2 * frame, 2 * frame + 8
    received = np.ones(noise.size, np.bool_)
    assert speech_around(np.zeros_like(noise), received, gap, sample_rate) == 0.5
    received[::frame] = False
    assert speech_around(noise, received, gap, sample_rate) == 0.5


def test_the_level_does_not_change_what_is_heard() -> None:
    voice = clip("speech", RATE)
    everything = np.ones(voice.size, np.bool_)
    at = 3 * RATE
    for scale in (1e-3, 1.0, 30.0):
        assert told(np.float32(scale) * voice, everything, at, RATE) == 1.0


def test_the_extremes_stay_shares() -> None:
    click = np.zeros(RATE, np.float32)
    click[RATE // 4] = 1.0
    square = np.tile(np.array([1.0, -1.0], np.float32), RATE // 2)
    received = np.ones(RATE, np.bool_)
    for row in (click, square, 1e-30 * square, 1e18 * square):
        assert 0.0 <= told(row.astype(np.float32), received, RATE // 2, RATE) <= 1.0
