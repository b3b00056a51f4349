"""Passages and prediction joined: against what that is by definition."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.signal.passages import LAG_ROW, LINE_ROW, ROWS, innovation_share
from plc_kernels.signal.predict import Predictor, error_power, extend_prediction, go_on, rehearse
from plc_kernels.signal.recall import (
    Search,
    forget,
    join,
    join_passages,
    listen,
    recall,
    recall_sizes,
)
from tests.examples import some
from tests.kernels.memory import assert_allocates_nothing, recall_space
from tests.signals import noise

RATE, ORDER, AHEAD = 8000, 8, 40
TAPS = 0.1 * noise(1, ORDER).astype(float)
LIMIT = 3.0


def work() -> NDArray[np.float64]:
    return np.zeros(ORDER + 64)


def predictor(
    x: NDArray[np.float32], taps: NDArray[np.float64] = TAPS, from_onsets: bool = False
) -> Predictor:
    """Return the memory of a channel's prediction by some coefficients, behind ``x``."""
    made = Predictor.allocate(RATE, 1, 80, taps.size, 0, from_onsets)
    made.taps[0], made.recent[0] = taps, x[-taps.size :]
    made.orders[0], made.limits[0] = taps.size, LIMIT
    return made


def scratch() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what a rehearsal is made in, and what was played."""
    return np.zeros(80, np.float32), np.zeros(ORDER + 280, np.float32)


def search() -> Search:
    rows, lags = np.full((2, ROWS * LINE_ROW), np.nan, np.float32), ROWS * LAG_ROW
    fresh = Search(
        np.full(4, np.nan), rows[0], rows[1], np.full(lags, np.nan, np.float32), np.zeros(1, int)
    )
    forget(RATE, fresh)
    return fresh


def heard(x: NDArray[np.float32], packet: int) -> tuple[Search, NDArray[np.float32]]:
    """Return a search that listened to ``x``, and the ring that holds it."""
    found, room = search(), recall_space(RATE)
    for begin in range(0, x.size, packet):
        listen(RATE, room, found, x[begin : begin + packet])
    ring = np.zeros(int(recall_sizes(RATE)[1]), np.float32)
    ring[: x.size] = x
    return found, ring


@pytest.mark.parametrize("packet", [80, 333, 20_000])
def test_what_was_played_before_is_summed_with_what_followed(packet: int) -> None:
    bar = noise(2, 4000)
    x = np.tile(bar, 5)[:17_000]
    found, ring = heard(x, packet)
    known = 640
    out = np.full(known + AHEAD, np.nan, np.float32)
    peak = recall(RATE, known, recall_space(RATE), found, ring, x.size, x.size, out)
    truth = np.tile(bar, 5)[17_000 - known : 17_000 + AHEAD]
    assert np.mean((out - truth) ** 2) < 0.02 * np.mean(truth**2)
    assert np.abs(out).max() <= peak <= np.abs(bar).max()


def test_there_are_no_passages_of_little_or_of_silence() -> None:
    out = np.zeros(700, np.float32)
    for x in (noise(3, 900), np.zeros(20_000, np.float32)):
        found, ring = heard(x, 80)
        assert recall(RATE, 640, recall_space(RATE), found, ring, x.size, x.size, out) == -1.0


def test_a_search_that_listens_for_long_keeps_its_last_seconds() -> None:
    room, found = recall_space(RATE), search()
    lags = int(recall_sizes(RATE)[2])
    for second in range(30):
        listen(RATE, room, found, noise(second, RATE))
        assert lags <= found.end[0] <= ROWS * LINE_ROW
    assert np.isfinite(found.correlation).all()


@pytest.mark.parametrize(("gain", "peak"), [(0.0, 1.0), (0.7, 9.0), (1.0, 0.1)])
def test_a_joined_line_is_prediction_of_what_the_other_does_not_explain(
    gain: float, peak: float
) -> None:
    known, beside = noise(4, 60), noise(5, 100 + AHEAD)
    p, out = predictor(known), np.zeros(AHEAD, np.float32)
    join(p, 0, beside, peak, gain, out)
    limit = max(LIMIT, peak)
    assert p.limits[0] == limit
    rest, left = known[-ORDER:] - gain * beside[100 - ORDER : 100], np.zeros(AHEAD, np.float32)
    go_on(TAPS, LIMIT, rest.astype(float), work(), left)
    expected = np.clip(left + gain * beside[100:], -limit, limit)
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_a_rehearsal_predicts_the_newest_samples() -> None:
    known, made = noise(6, ORDER + 20), np.zeros(20, np.float32)
    error = rehearse(predictor(known), 0, known, made)
    expected = np.zeros(20, np.float32)
    go_on(TAPS, LIMIT, known[:ORDER].astype(float), work(), expected)
    np.testing.assert_array_equal(made, expected)
    assert error == error_power(expected, known[ORDER:], 0)


def test_an_onset_is_no_error_of_the_rehearsal() -> None:
    # 1 kHz repeats after 40 samples, and began so many samples ago.
    made = np.zeros(80, np.float32)
    for since in (81, 100, 119, 160, 300):
        known = 1e-4 * noise(8, 440)
        known[-since:] += np.sin(0.25 * np.pi * np.arange(since)).astype(np.float32)
        across, behind = (
            rehearse(predictor(known, np.eye(1, 40)[0], onsets), 0, known, made)
            for onsets in (False, True)
        )
        assert behind < 1e-6
        assert (across > 0.01) == (since < 120)


def after(line: NDArray[np.float32], n: int, taps: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return what a predictor makes of the last samples of a line."""
    made = np.zeros(n, np.float32)
    go_on(taps, LIMIT, line[line.size - n - ORDER : line.size - n].astype(float), work(), made)
    return made


@some("rings", [False, True], 2)
@some("ahead", [40, 100])
@some("weight", [1.0, 0.6, 0.0], 3)
def test_passages_are_joined_as_far_as_they_come_near_to_what_was_played(
    weight: float, ahead: int, rings: bool
) -> None:
    taps = np.append([1.6, -0.998], np.zeros(ORDER - 2)) if rings else TAPS
    played, known, start = noise(4, 640), 600, 40
    beside = np.append(played[-known:], noise(5, ahead)) + noise(6, known + ahead, 0.3)
    p, other = predictor(played, taps), predictor(played, taps)
    rows = np.zeros((2, start + ahead), np.float32)
    error = join_passages(p, 0, *scratch(), played, 0, beside, known, 2.0, weight, rows)
    n, line = RATE // 100, played[-ORDER - round(0.035 * RATE) :]
    made, out = np.zeros(n, np.float32), np.zeros(ahead, np.float32)
    assert error == rehearse(other, 0, line, made)
    own = np.mean((beside[known - n : known] - played[-n:]) ** 2)
    shared = innovation_share(taps, line, beside[known - line.size : known], 8)
    expected = shared * min(3.0 * error**2 / (error**2 + 2 * own**2), 1.0)
    n = min(n, ahead)
    made = made[made.size - n :]
    beyond = beside[known - n : known] - after(beside[:known], n, taps)
    coming = np.sum((beside[known : known + n] - after(beside[: known + n], n, taps)) ** 2)
    gain = np.sum((played[-n:] - made) * beyond) + coming * expected
    gain /= np.sum(beyond**2) + coming
    loud = np.sum(beside[known : known + n] ** 2)
    assert (coming > 4.0 * loud) == rings
    gain *= min(4.0 * loud / coming, 1.0) ** 2
    assert 0.0 < gain < 1.0
    join(other, 0, beside, 2.0, weight * gain, out)
    np.testing.assert_allclose(rows[1, start:], out, atol=1e-5)
    np.testing.assert_array_equal(p.recent[0], rows[1, -ORDER:])
    np.testing.assert_array_equal(rows[0], beside[known - start :])
    assert p.limits[0] == other.limits[0]


def test_without_passages_both_drafts_are_prediction() -> None:
    x, rows = noise(4, 640), np.repeat(noise(1, 40 + AHEAD)[None], 2, axis=0)
    p, alone, out = predictor(x), predictor(x), np.zeros(AHEAD, np.float32)
    join_passages(p, 0, *scratch(), x, 0, noise(5, 600 + AHEAD), 600, -1.0, 1.0, rows)
    extend_prediction(alone, 0, out)
    np.testing.assert_array_equal(rows[:, 40:], [out, out])
    np.testing.assert_array_equal(p.recent, alone.recent)


def test_nothing_is_allocated() -> None:
    room, found, x = recall_space(RATE), search(), noise(8, 480)
    ring, out = np.resize(x, 64_000), np.zeros(700, np.float32)
    assert_allocates_nothing(forget, (RATE, found))
    assert_allocates_nothing(listen, (RATE, room, found, x))
    assert_allocates_nothing(recall, (RATE, 640, room, found, ring, 0, 64_000, out))
    assert_allocates_nothing(rehearse, (predictor(x), 0, x[:28], x[:20].copy()))
    beside = out[:100]
    assert_allocates_nothing(join, (predictor(x), 0, beside, 1.0, 0.5, x[:20].copy()))
    drafts = beside[None].repeat(2, axis=0)
    joined = predictor(x), 0, *scratch(), x, 0, out[:640], 600
    assert_allocates_nothing(join_passages, (*joined, 1.0, 0.5, drafts))
