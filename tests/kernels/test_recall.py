"""Passages and prediction joined: against what that is by definition."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.passages import LAG_ROW, LINE_ROW, ROWS, innovation_share
from plc_kernels.predict import error_power, go_on
from plc_kernels.recall import (
    RecallSpace,
    Search,
    forget,
    join,
    listen,
    recall,
    recall_sizes,
    rehearse,
    trust,
)
from tests.kernels.test_allocation import assert_allocates_nothing
from tests.signals import noise

RATE, ORDER, AHEAD = 8000, 8, 40
TAPS = 0.1 * noise(1, ORDER).astype(float)
LIMIT = 3.0


def work() -> NDArray[np.float64]:
    return np.zeros(ORDER + 64)


def search() -> Search:
    rows, lags = np.full((2, ROWS * LINE_ROW), np.nan, np.float32), ROWS * LAG_ROW
    fresh = Search(
        np.full(4, np.nan), rows[0], rows[1], np.full(lags, np.nan, np.float32), np.zeros(1, int)
    )
    forget(RATE, fresh)
    return fresh


def heard(x: NDArray[np.float32], packet: int) -> tuple[Search, NDArray[np.float32]]:
    """Return a search that listened to ``x``, and the ring that holds it."""
    found, room = search(), RecallSpace.allocate(RATE)
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
    peak = recall(RATE, known, RecallSpace.allocate(RATE), found, ring, x.size, x.size, out)
    truth = np.tile(bar, 5)[17_000 - known : 17_000 + AHEAD]
    assert np.mean((out - truth) ** 2) < 0.02 * np.mean(truth**2)
    assert np.abs(out).max() <= peak <= np.abs(bar).max()


def test_there_are_no_passages_of_little_or_of_silence() -> None:
    out = np.zeros(700, np.float32)
    for x in (noise(3, 900), np.zeros(20_000, np.float32)):
        found, ring = heard(x, 80)
        assert (
            recall(RATE, 640, RecallSpace.allocate(RATE), found, ring, x.size, x.size, out) == -1.0
        )


def test_a_search_that_listens_for_long_keeps_its_last_seconds() -> None:
    room, found = RecallSpace.allocate(RATE), search()
    lags = int(recall_sizes(RATE)[2])
    for second in range(30):
        listen(RATE, room, found, noise(second, RATE))
        assert lags <= found.end[0] <= ROWS * LINE_ROW
    assert np.isfinite(found.correlation).all()


@pytest.mark.parametrize(("weight", "peak"), [(0.0, 1.0), (0.7, 9.0), (1.0, 0.1)])
def test_a_joined_line_is_prediction_of_what_the_other_does_not_explain(
    weight: float, peak: float
) -> None:
    known, beside = noise(4, 60), noise(5, 100 + AHEAD)
    recent = known[-ORDER:].astype(float)
    out = np.zeros(AHEAD, np.float32)
    limit = join(TAPS, LIMIT, recent, known, beside, peak, weight, work(), out)
    assert limit == max(LIMIT, peak)
    share = weight * innovation_share(TAPS, known, beside[40:100], 8)
    rest, left = known[-ORDER:] - share * beside[100 - ORDER : 100], np.zeros(AHEAD, np.float32)
    go_on(TAPS, LIMIT, rest.astype(float), work(), left)
    expected = np.clip(left + share * beside[100:], -limit, limit)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    np.testing.assert_array_equal(recent, out[-ORDER:])


def test_after_a_short_line_the_past_is_still_seen() -> None:
    known = noise(4, 60)
    recent, out = known[-ORDER:].astype(float), np.zeros(3, np.float32)
    join(TAPS, LIMIT, recent, known, noise(5, 103), 1.0, 0.5, work(), out)
    np.testing.assert_array_equal(recent, np.append(known[-ORDER + 3 :], out))


def test_a_rehearsal_predicts_the_newest_samples() -> None:
    known, made, before = noise(6, ORDER + 20), np.zeros(20, np.float32), np.zeros(ORDER)
    error = rehearse(0, TAPS, LIMIT, known, before, work(), made)
    expected = np.zeros(20, np.float32)
    go_on(TAPS, LIMIT, known[:ORDER].astype(float), work(), expected)
    np.testing.assert_array_equal(made, expected)
    assert error == error_power(expected, known[ORDER:], 0)


def test_an_onset_is_no_error_of_the_rehearsal() -> None:
    # 1 kHz repeats after 40 samples, and began so many samples ago.
    taps, made, before = np.eye(1, 40)[0], np.zeros(80, np.float32), np.zeros(40)
    for since in (81, 100, 119, 160, 300):
        known = 1e-4 * noise(8, 440)
        known[-since:] += np.sin(0.25 * np.pi * np.arange(since)).astype(np.float32)
        across, behind = (
            rehearse(rate, taps, LIMIT, known, before, np.zeros(104), made) for rate in (0, RATE)
        )
        assert behind < 1e-6
        assert (across > 0.01) == (since < 120)


@pytest.mark.parametrize(
    ("error", "own", "weight"), [(4.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 3.0, 0.5)]
)
def test_passages_that_stay_further_away_weigh_less(
    error: float, own: float, weight: float
) -> None:
    newest = noise(7, 16)
    recalled = newest + np.float32(np.sqrt(own))
    assert trust(error, recalled, newest) == pytest.approx(weight, rel=1e-5)
    assert trust(0.0, newest, newest) == 0.0


def test_nothing_is_allocated() -> None:
    room, found, x = RecallSpace.allocate(RATE), search(), noise(8, 480)
    ring, out = np.resize(x, 64_000), np.zeros(700, np.float32)
    assert_allocates_nothing(forget, (RATE, found))
    assert_allocates_nothing(listen, (RATE, room, found, x))
    assert_allocates_nothing(recall, (RATE, 640, room, found, ring, 0, 64_000, out))
    assert_allocates_nothing(trust, (0.1, x, x))
    recent = np.zeros(ORDER)
    assert_allocates_nothing(rehearse, (RATE, TAPS, LIMIT, x[:28], recent, work(), x[:20].copy()))
    beside = out[:100]
    assert_allocates_nothing(join, (TAPS, LIMIT, recent, x[:60], beside, 1.0, 0.5, work(), x[:20]))
