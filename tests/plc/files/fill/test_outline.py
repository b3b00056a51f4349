"""Outlines of recordings: places that resemble a gap's surroundings."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.files.fill.outline import Outline
from tests.signals import noise

RATE = 16_000
HOP = 160
PERIOD_HOPS = 230
PERIOD = PERIOD_HOPS * HOP


def cut(signal: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    """Yield blocks of shape (n, channels)."""
    for start in range(0, len(signal), size):
        yield signal.reshape(len(signal), -1)[start : start + size]


def steps(seed: int, samples: int) -> NDArray[np.float32]:
    """Return noise in four bands whose levels change every 100 ms."""
    rng = np.random.default_rng(seed)
    frames = noise(seed, samples).reshape(-1, 1600)
    spectra = np.fft.rfft(frames)
    for row in spectra:
        for band in np.array_split(row, 4):
            band *= 10.0 ** rng.uniform(-1.0, 0.5)
    return np.fft.irfft(spectra, 1600).astype(np.float32).ravel()


def test_what_repeats_is_found_where_it_repeats() -> None:
    x = np.tile(steps(1, 23 * 1600), 3)
    gap = PERIOD + 20_000, PERIOD + 26_000
    x[slice(*gap)] = 0.7
    outline = Outline(RATE, cut(x, 5000), [gap])
    (first, likeness), (second, _), *others = outline.places(gap, 1600, 20)
    assert {first, second} == {-PERIOD, PERIOD}
    assert likeness == pytest.approx(1.0, abs=1e-3)
    assert all(0.0 < other < 0.9 for _, other in others)
    assert (outline.hop, outline.samples) == (HOP, x.size)


def test_the_likeness_is_the_cosine_of_deviations() -> None:
    x = steps(2, 60 * 1600)
    gap = 40_000, 46_000
    outline = Outline(RATE, [x[:, None]], [gap])
    window, frames = 960, (x.size - 960) // HOP + 1
    shape = np.hanning(window)
    edges = np.unique(np.round(np.geomspace(80.0, 7200.0, 49) * window / RATE).astype(int))
    spectra = [
        np.fft.rfft(shape / shape.sum() * x[k * HOP : k * HOP + window]) for k in range(frames)
    ]
    power = np.add.reduceat(np.abs(spectra)[:, : edges[-1]] ** 2, edges[:-1], axis=1)
    level = 10.0 * np.log10(power / np.diff(edges) + 1e-10)
    starts = np.arange(frames) * HOP
    known = (starts + window <= gap[0]) | (starts >= gap[1])
    level = np.maximum(level, level[known].max() - 50.0)
    level = np.where(known[:, None], level - level[known].mean(axis=0), 0.0)
    last, behind = (gap[0] - window) // HOP, -(-gap[1] // HOP)
    sides = np.arange(last, last - 100, -1), np.arange(behind, min(frames, behind + 100))
    for shift, likeness in outline.places(gap, 500, 5):
        expected = []
        for rows in sides:
            there = rows + shift // HOP
            usable = (there >= 0) & (there < frames)
            usable[usable] &= known[there[usable]]
            weight = np.exp(-np.arange(rows.size) / 40.0)[usable]
            a, b = level[rows[usable]], level[there[usable]]
            powers = (weight @ (each**2).sum(axis=1) for each in (a, b))
            scale, least = np.sqrt(np.prod(list(powers))), weight.sum() * a.shape[1]
            expected.append((weight @ (a * b).sum(axis=1) + least) / (scale + least))
        assert likeness == pytest.approx(min(expected), abs=0.01)


def test_places_are_known_as_a_whole() -> None:
    x = np.tile(steps(3, 23 * 1600), 4)
    gaps = [(PERIOD + 20_000, PERIOD + 26_000), (3 * PERIOD + 19_000, 3 * PERIOD + 19_400)]
    outline = Outline(RATE, cut(x, 16_000), gaps)
    places = [shift for shift, _ in outline.places(gaps[0], 1600, 30)]
    assert set(places[:2]) == {-PERIOD, PERIOD}
    for shift in places:
        start, stop = gaps[0][0] + shift - 1600, gaps[0][1] + shift + 1600
        assert start >= 0
        assert stop <= x.size
        assert all(stop <= begun or start >= ended for begun, ended in gaps)


def test_what_is_not_finite_is_unknown() -> None:
    x = np.tile(steps(4, 23 * 1600), 3)
    gap = PERIOD + 20_000, PERIOD + 26_000
    x[slice(*gap)] = np.nan
    x[2 * PERIOD + 27_000 : 2 * PERIOD + 27_100] = np.inf
    outline = Outline(RATE, cut(x, 4000), [gap])
    (place, likeness), *_ = outline.places(gap, 1600, 2)
    assert place == -PERIOD
    assert np.isfinite(likeness)


def test_blocks_and_channels_make_no_difference() -> None:
    x = np.tile(steps(5, 23 * 1600), 2)
    gap = 20_000, 26_000
    expected = Outline(RATE, [x[:, None]], [gap]).places(gap, 1600, 8)
    both = np.stack([x, -x], axis=1)
    for given in (cut(x, 777), cut(both, 9000)):
        found = Outline(RATE, given, [gap]).places(gap, 1600, 8)
        assert [place for place, _ in found] == [place for place, _ in expected]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("samples", [1, 900, 5000])
def test_a_recording_too_short_has_no_places(samples: int) -> None:
    gap = 0, samples
    assert Outline(RATE, [noise(6, samples)[:, None]], [gap]).places(gap, 100, 5) == []
    assert Outline(RATE, [], []).samples == 0
