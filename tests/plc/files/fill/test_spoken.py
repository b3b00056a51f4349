"""Gaps of speech in files, filled by the networks of streams."""

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc import conceal, inpaint
from plc.engine.models.catalogue import models_folder
from plc.engine.spans import gaps_of
from plc.engine.stream.samples import Packet
from plc.files.fill.networks import open_gap_filler
from plc.files.fill.spoken import SpokenGaps

RATE = 16_000
PACKET = 160


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    """Four seconds of speech at 16 kHz."""
    signal, rate = soundfile.read(models_folder().parent / "speech.flac", dtype="float32")
    assert (rate, signal.ndim) == (RATE, 1)
    return np.asarray(signal[: 4 * RATE])


def error_db(signal: NDArray[np.float32], filled: Packet) -> float:
    """Return the error of all fills relative to the whole signal."""
    return float(10 * np.log10(np.sum((filled - signal) ** 2) / np.sum(signal**2)))


def test_a_file_is_filled_better_than_a_stream_that_waits(speech: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(5)
    lost = rng.random(speech.size // PACKET) < 0.2
    lost[:50] = False
    damaged = speech.copy()
    damaged[np.repeat(lost, PACKET)] = 0.0
    filled = inpaint(damaged, gaps_of(lost, PACKET), sample_rate=RATE)
    waited = conceal(
        damaged, lost, sample_rate=RATE, packet_samples=PACKET, lookahead=2, budget_ms=float("inf")
    )
    assert error_db(speech, filled) < error_db(speech, waited)
    alone = inpaint(damaged, gaps_of(lost, PACKET), sample_rate=RATE, model="ar")
    assert error_db(speech, filled) < error_db(speech, alone) - 1.0


def test_short_gaps_of_speech_need_no_other_draft(speech: NDArray[np.float32]) -> None:
    start, stop = 2 * RATE, 2 * RATE + 2 * PACKET
    refiner = open_gap_filler("auto", "auto", RATE)
    spoken = SpokenGaps(RATE)
    made = spoken.fill(speech, start, stop, speech.size)
    assert refiner is not None
    assert made is not None
    row = speech.copy()
    row[start:stop] = 0.0
    assert refiner.fill_speech(row, start, stop, row.size, 1.0)
    np.testing.assert_array_equal(row[start:stop], made)
    assert not refiner.fill_speech(row, start, stop, row.size, 0.9)


def test_the_fill_depends_on_nothing_in_the_gap_nor_on_gaps_before(
    speech: NDArray[np.float32],
) -> None:
    start, stop = 2 * RATE, 2 * RATE + 900
    spoken = SpokenGaps(RATE)
    first = spoken.fill(speech, start, stop, speech.size)
    assert first is not None
    kept = first.copy()
    assert spoken.fill(speech, start + 4000, stop + 4000, speech.size) is not None
    hidden = speech.copy()
    hidden[start:stop] = 1.0
    again = spoken.fill(hidden, start, stop, speech.size)
    assert again is not None
    np.testing.assert_array_equal(again, kept)


@pytest.mark.parametrize(
    ("gap", "end"), [((300, 500), RATE), ((8000, 10_300), RATE), ((8000, 8160), 8170)]
)
def test_where_too_little_is_known_there_is_no_fill(
    speech: NDArray[np.float32], gap: tuple[int, int], end: int
) -> None:
    spoken = SpokenGaps(RATE)
    assert spoken.fill(speech, *gap, end) is None


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_at_every_rate_gaps_are_nearer_to_the_truth_than_silence(
    speech: NDArray[np.float32], rate: int
) -> None:
    soxr = pytest.importorskip("soxr")
    x = soxr.resample(speech, RATE, rate).astype(np.float32)
    spoken = SpokenGaps(rate)
    error = power = 0.0
    for start in range(rate, 3 * rate, rate // 4):
        stop = start + rate // 50
        made = spoken.fill(x, start, stop, x.size)
        assert made is not None
        error += float(np.sum((made - x[start:stop]) ** 2))
        power += float(np.sum(x[start:stop] ** 2))
    assert 10.0 * np.log10(error / power) < -4.0
