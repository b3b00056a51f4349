"""Passages that sound alike, beside plain NumPy."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.signal.passages import (
    LAG_ROW,
    LINE_ROW,
    ROWS,
    add_passages,
    best_lags,
    flattened_at,
    follow_lags,
    innovation_share,
    refine_lags,
    thin_flattened,
    weigh_passages,
)
from tests.signals import noise

FLATTEN = 0.95
RIDGE = 0.05
FLOAT32_RTOL = 2e-4


def flattened(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return a signal with its spectrum flattened, along the last axis; it began with silence."""
    x = np.asarray(x, np.float64)
    before = np.concatenate([np.zeros((*x.shape[:-1], 1)), x[..., :-1]], axis=-1)
    return x - FLATTEN * before


def ring_of(x: NDArray[np.float32], size: int) -> tuple[NDArray[np.float32], int]:
    """Return a ring that was written a signal, and where its next sample will stand."""
    ring = np.zeros(size, np.float32)
    for i in range(x.size):
        ring[i % size] = x[i]
    return ring, x.size % size


@pytest.mark.parametrize("stride", [1, 4, 11])
def test_a_signal_is_thinned_alike_whatever_the_packets(stride: int) -> None:
    x = noise(0, 700)
    state = np.zeros(4)
    thinned: list[NDArray[np.float32]] = []
    for begin, stop in ((0, 100), (100, 103), (103, 640), (640, 700)):
        out = np.full(700, np.nan, np.float32)
        count = thin_flattened(x, begin, stop, stride, state, out)
        assert np.isnan(out[count:]).all()
        thinned.append(out[:count])
    triangle = np.concatenate([np.arange(stride), np.arange(stride, 0, -1)])
    smooth = np.convolve(flattened(x), triangle / stride**2)
    whole = smooth[stride - 1 : 700 : stride]
    np.testing.assert_allclose(np.concatenate(thinned), whole, rtol=FLOAT32_RTOL, atol=1e-7)


def in_order(rows: NDArray[np.float32], row: int) -> NDArray[np.float32]:
    """Return what stands in rows of so many elements."""
    return rows.reshape(ROWS, row).T.ravel()


class Followed:
    """The correlation of every lag of a line, and its powers."""

    def __init__(
        self, line: NDArray[np.float32], lags: int, decay: float, blocks: tuple[int, ...]
    ) -> None:
        self.lags = lags
        self.end = lags
        heard = np.zeros(ROWS * LINE_ROW, np.float32)
        self.power = np.zeros_like(heard)
        self.correlation = np.zeros(ROWS * LAG_ROW, np.float32)
        weights = np.full(max(blocks) + 3 * ROWS, np.nan, np.float32)
        for count in blocks:
            fresh = line[self.end - lags :][:count]
            where = (self.end, lags, decay)
            follow_lags(fresh, count, *where, heard, self.power, weights, self.correlation)
            self.end += count
        assert self.end == lags + line.size
        np.testing.assert_array_equal(in_order(heard, LINE_ROW)[lags : self.end], line)
        assert not self.correlation.reshape(ROWS, LAG_ROW)[:, lags // ROWS :].any()

    def best(self, least: int, most: int) -> tuple[int, NDArray[np.int64], NDArray[np.float32]]:
        """Return how many lags were found, these, and their scores."""
        found, scores = np.zeros(24, np.int64), np.zeros(24, np.float32)
        every = np.full(ROWS * LAG_ROW, np.nan, np.float32)
        where = (self.lags, self.end - 1, least, most)
        count = best_lags(self.correlation, self.power, *where, every, found, scores)
        return count, found, scores


@pytest.mark.parametrize("blocks", [(3000,), (40,) * 75, (1, 2, 997, 2000), (63,) * 47 + (39,)])
def test_correlations_are_those_of_the_definition(blocks: tuple[int, ...]) -> None:
    lags, decay = 2500, 0.99
    line = noise(2, 3000)
    followed = Followed(line, lags, decay, blocks)
    correlation = in_order(followed.correlation, LAG_ROW)
    power = in_order(followed.power, LINE_ROW)
    padded = np.concatenate([np.zeros(lags), line.astype(np.float64)])
    weights = decay ** np.arange(3000)[::-1]
    for lag in (1, 2, 3, 4, 5, 100, 1234, 2498, 2499, 2500):
        products = padded[lags:] * padded[lags - lag : padded.size - lag]
        assert correlation[lags - lag] == pytest.approx(weights @ products, rel=1e-3, abs=2e-4)
    for last in (0, 10, 2999):
        energies = decay ** np.arange(last + 1)[::-1] * line[: last + 1].astype(np.float64) ** 2
        assert power[lags + last] == pytest.approx(energies.sum(), rel=1e-4)


@pytest.mark.parametrize("length", [3000, 3001, 3002, 3003])
def test_the_best_lags_are_those_of_a_sorted_list(length: int) -> None:
    lags, decay, least, most = 2500, 0.99, 102, 2399
    line = noise(3, length)
    line[-300:] = line[-1500:-1200] - 0.5 * line[-2300:-2000]  # lags of 1200 and 2000
    followed = Followed(line, lags, decay, (length,))
    count, found, scores = followed.best(least, most)
    assert count == 24
    assert found[0] == 1200
    assert found[1] == 2000
    correlation = in_order(followed.correlation, LAG_ROW)
    power = in_order(followed.power, LINE_ROW)[: followed.end]
    tried = np.arange(2396, 104, -1)  # whole columns: element 0 is of lag 2500
    value = correlation[lags - tried].astype(np.float64)
    heard = power[power.size - 1 - tried].astype(np.float64)
    score = value**2 / heard / float(power[-1])
    tops = np.sort(score.reshape(-1, ROWS).max(axis=1))[::-1][:24]
    np.testing.assert_allclose(scores, tops, rtol=1e-4)
    np.testing.assert_allclose(score[2396 - found], scores, rtol=1e-4)


def test_silence_resembles_nothing() -> None:
    line = np.zeros(3000, np.float32)
    assert Followed(line, 2500, 0.99, (3000,)).best(100, 2400)[0] == 0
    line[-40:] = noise(4, 40)
    assert Followed(line, 2500, 0.99, (3000,)).best(100, 2400)[0] == 0


def test_no_lags_are_none() -> None:
    assert Followed(noise(5, 3000), 2500, 0.99, (3000,)).best(101, 99)[0] == 0


@pytest.mark.parametrize("end", [300, 500, 517, 1000])
def test_a_ring_is_flattened_across_its_end(end: int) -> None:
    x = noise(5, 1000)
    ring, _ = ring_of(x, 1000)
    wanted = flattened(np.concatenate([x, x]))[1000 + end - 400 : 1000 + end]
    out = np.zeros(400, np.float32)
    flattened_at(ring, end, out)
    np.testing.assert_allclose(out, wanted, rtol=FLOAT32_RTOL, atol=1e-6)


@pytest.mark.parametrize("written", [5000, 6200, 7777])
def test_lags_are_put_right_to_the_sample(written: int) -> None:
    x = noise(7, written)
    x[-700:] = x[-700 - 3217 : -3217]
    ring, position = ring_of(x, 5000)
    for slack in (1, 12):
        lags = np.array([3217 - slack, 3217, 3217 + slack, 2000])
        around = np.zeros(600 + 2 * slack, np.float32)
        refine_lags(ring, position, slack, np.zeros(600, np.float32), around, lags)
        assert lags[:3].tolist() == [3217] * 3
        assert abs(lags[3] - 2000) <= slack


def test_passages_of_silence_stay_where_they_are() -> None:
    x = np.zeros(4000, np.float32)
    x[-600:] = noise(9, 600)
    ring, position = ring_of(x, 4000)
    lags = np.array([2000])
    refine_lags(ring, position, 12, np.zeros(500, np.float32), np.zeros(524, np.float32), lags)
    assert abs(lags[0] - 2000) <= 12


def test_shares_are_those_of_least_squares() -> None:
    n, found = 400, 6
    x = noise(10, 6000)
    lags = np.array([700, 1500, 1504, 2500, 3100, 4000])
    x[-n - 1 :] += 0.8 * x[-n - 1 - 1500 : -1500] - 0.3 * x[-n - 1 - 3100 : -3100]
    x[-n - 1 - 2500 : -2500] *= 0.3  # more than 6 dB below: it has no share
    ring, position = ring_of(x, 5200)
    shares = np.zeros(8)
    scratch = (np.zeros(n, np.float32), np.zeros((8, n), np.float32), np.zeros((8, 8)))
    weigh_passages(ring, position, lags, *scratch, shares)
    y = flattened(x)
    loud = [0, 1, 2, 4, 5]
    rows = np.stack([y[y.size - n - lag : y.size - lag] for lag in lags[loud]])
    normal = rows @ rows.T
    normal += np.diag(RIDGE * normal.diagonal() + 1e-12)
    wanted = np.linalg.solve(normal, rows @ y[-n:])
    np.testing.assert_allclose(shares[:found][loud], wanted, rtol=1e-3, atol=1e-4)
    assert shares[3] == 0.0
    assert not shares[found:].any()


@pytest.mark.parametrize("written", [4000, 4800, 5003])
def test_passages_are_added_across_the_end_of_the_ring(written: int) -> None:
    x = noise(20, written)
    ring, position = ring_of(x, 4000)
    lags, past, gap = np.array([500, 2900, 700, 3100]), 300, 200
    shares = np.array([0.5, -1.0, 0.0, 2.0])
    out, peak = np.full(past + gap, np.nan, np.float32), np.zeros(1, np.float32)
    add_passages(ring, position, lags, shares, past, peak, out)
    heard = [x[written - lag - past : written - lag + gap] for lag in lags]
    wanted = sum(share * line for share, line in zip(shares, heard, strict=True))
    np.testing.assert_allclose(out, wanted, rtol=FLOAT32_RTOL, atol=1e-6)
    assert peak[0] == np.abs([heard[0], heard[1], heard[3]]).max()


@pytest.mark.parametrize("every", [1, 8])
def test_the_share_is_that_of_the_innovations(every: int) -> None:
    taps = np.array([0.1, -0.5, 1.2])
    line, other = noise(30, 600), noise(31, 600)
    innovations = [
        np.array([x[i] - taps @ x[i - 3 : i] for i in range(3, 600, every)])
        for x in (line.astype(np.float64), other.astype(np.float64))
    ]
    share = float(innovations[0] @ innovations[1] / (innovations[1] @ innovations[1]))
    found = innovation_share(taps, line, other, every)
    quieter = min(innovations[0].std() / innovations[1].std(), 1.0)
    wanted = (min(max(share, 0.0), 1.0) * quieter) ** 0.5
    assert found == pytest.approx(wanted, abs=5e-4)
    mixed = (0.4 * other + 0.01 * line).astype(np.float32)
    # All that is there, but quieter: the share itself, no root.
    assert innovation_share(taps, mixed, other, every) == pytest.approx(0.4, abs=0.02)
    assert innovation_share(taps, -mixed, other, every) == 0.0
    assert innovation_share(taps, 3.0 * mixed, other, every) == 1.0
    assert innovation_share(taps, line, np.zeros_like(line), every) == 0.0
    assert innovation_share(taps, line[:3], other[:3], every) == 0.0
