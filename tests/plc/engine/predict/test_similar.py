"""Passages like a gap's surroundings: found where they are, and never made of the gap itself."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.engine.predict.similar import find_passages
from tests.signals import noise, tones

RATE = 5_000
GAP, MATCH, MARGIN = 300, 200, 400
START = 12_000


def looped() -> NDArray[np.float32]:
    return np.tile(noise(1, 5_000), 5)


def holed(x: NDArray[np.float32], start: int = START) -> NDArray[np.float32]:
    y = x.copy()
    y[start : start + GAP] = 7.0
    return y


def found(x: NDArray[np.float32], start: int = START) -> NDArray[np.float32] | None:
    return line_of(x, start, start + GAP, MARGIN, RATE)


def line_of(
    x: NDArray[np.float32], start: int, stop: int, margin: int, rate: int
) -> NDArray[np.float32] | None:
    """Return what passages have for a gap and ``margin`` samples on either side."""
    passages = find_passages(x, start, stop, rate)
    return None if passages is None else passages.line(x, start - margin, stop + margin)


def test_what_comes_back_is_found() -> None:
    x = looped()
    line = found(holed(x))
    assert line is not None
    truth = x[START - MARGIN : START + GAP + MARGIN]
    # Short of the ridge's share, and of what else is a little like it.
    error = line - truth
    assert np.dot(error, error) < 0.02 * np.dot(truth, truth)


def test_a_passage_may_be_louder_and_upside_down() -> None:
    x = noise(2, 20_000)
    x[3_000 : 3_000 + GAP + 2 * MARGIN] = -3.0 * x[START - MARGIN : START + GAP + MARGIN]
    line = found(holed(x))
    assert line is not None
    truth = x[START - MARGIN : START + GAP + MARGIN]
    assert np.corrcoef(line, truth)[0, 1] > 0.95


def test_several_passages_are_better_than_one() -> None:
    """Each repetition has noise of its own, which their sum has less of."""
    x = looped() + 0.5 * noise(3, 25_000)
    line = found(holed(x))
    assert line is not None
    hole = slice(MARGIN, MARGIN + GAP)
    clean = looped()[START : START + GAP]
    one = x[START - 5_000 : START - 5_000 + GAP]
    assert np.mean((line[hole] - clean) ** 2) < 0.7 * np.mean((one - clean) ** 2)


def test_the_gap_is_not_looked_at() -> None:
    x = looped() + 0.1 * noise(4, 25_000)
    loud = holed(x)
    loud[START : START + GAP] = -1e6 * noise(5, GAP)
    quiet, other = found(holed(x)), found(loud)
    assert quiet is not None
    assert other is not None
    hole = slice(MARGIN, MARGIN + GAP)
    np.testing.assert_allclose(quiet[hole], other[hole], atol=1e-4)


def test_the_best_place_is_that_of_a_plain_correlation() -> None:
    x = tones(6, 8_000, 6_000)
    x[1_000 : 1_000 + GAP + 2 * MATCH] = x[4_000 - MATCH : 4_000 + GAP + MATCH]
    around = np.r_[0:MATCH, MATCH + GAP : GAP + 2 * MATCH]
    wanted = x[4_000 - MATCH + around].astype(np.float64)
    scores = []
    for begin in range(x.size - GAP - 2 * MATCH + 1):
        passage = x[begin + around].astype(np.float64)
        overlaps = begin < 4_000 + GAP and begin + GAP + 2 * MATCH > 4_000
        norm = np.linalg.norm(passage) * np.linalg.norm(wanted)
        scores.append(0.0 if overlaps else abs(passage @ wanted) / norm)
    assert int(np.argmax(scores)) == 1_000
    line = found(holed(x, 4_000), 4_000)
    assert line is not None
    truth = x[4_000 - MARGIN : 4_000 + GAP + MARGIN]
    assert np.corrcoef(line[MARGIN:-MARGIN], truth[MARGIN:-MARGIN])[0, 1] > 0.98


@pytest.mark.parametrize("start", [0, MATCH - 1, 25_000 - GAP - MATCH + 1])
def test_with_too_little_known_there_is_none(start: int) -> None:
    assert found(holed(looped(), start), start) is None


def test_in_a_signal_that_is_all_surroundings_there_is_none() -> None:
    x = noise(7, GAP + 2 * MATCH + 50)
    assert found(holed(x, MATCH + 20), MATCH + 20) is None


def test_in_little_more_than_the_surroundings_there_is_none() -> None:
    x = looped()[: RATE // 2 + GAP - 1]
    assert found(holed(x, 1_000), 1_000) is None
    assert found(holed(looped()[: RATE // 2 + GAP], 1_000), 1_000) is not None


def test_in_silence_there_is_none_or_silence() -> None:
    line = found(np.zeros(25_000, np.float32))
    assert line is None or not line.any()


def test_beyond_the_signal_stands_silence() -> None:
    x = looped()
    line = line_of(holed(x, 600), 600, 600 + GAP, 1_000, RATE)
    assert line is not None
    assert line.shape == (GAP + 2_000,)
    assert np.isfinite(line).all()


@pytest.mark.parametrize("offset", range(5))
def test_at_a_high_rate_passages_are_found_to_the_sample(offset: int) -> None:
    rate, gap = 48_000, 1_024
    start = 40_000 + offset
    x = np.repeat(noise(8, 30_000), 2)  # band-limited a little, as signals of that rate are
    came = 10_001
    width = gap + 2 * 2_500
    x[came : came + width] = x[start - 2_500 : start - 2_500 + width]
    seen = x.copy()
    seen[start : start + gap] = 0.0
    line = line_of(seen, start, start + gap, 500, rate)
    assert line is not None
    truth = x[start - 500 : start + gap + 500]
    assert np.corrcoef(line, truth)[0, 1] > 0.95
