import importlib.util

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.errors import MissingExtraError
from plc_bench.scores import frechet, registry
from tests.signals import sine, tones

RATE = 22_050

needs_network = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("basic_pitch", "onnxruntime", "soxr"))),
    reason="basic-pitch, onnxruntime or soxr is not installed",
)


def vectors(seed: int, count: int, size: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, size)) @ rng.standard_normal((size, size)) + rng.random(size)


def test_the_distance_is_that_of_its_definition() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    a, b = vectors(1, 200, 6), vectors(2, 150, 6)
    apart = a.mean(axis=0) - b.mean(axis=0)
    both = np.cov(a.T), np.cov(b.T)
    cross = linalg.sqrtm(both[0] @ both[1]).real
    wanted = apart @ apart + np.trace(both[0] + both[1] - 2 * cross)
    assert frechet.frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)
    assert frechet.frechet_distance(a, b) == pytest.approx(frechet.frechet_distance(b, a))


def test_a_set_is_at_no_distance_from_itself_even_where_it_is_flat() -> None:
    flat = vectors(3, 40, 8)
    flat[:, 4:] = 0.0
    few = vectors(4, 5, 8)  # fewer vectors than dimensions
    for each in (flat, few):
        assert frechet.frechet_distance(each, each) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(frechet.frechet_distance(few[:1], few))


@needs_network
def test_a_note_sounds_on_its_key_from_when_it_begins() -> None:
    begin = 2 * RATE
    signal = sine(440.0, RATE, 4 * RATE, 0.3)
    signal[:begin] = 0.0
    frames = frechet.note_frames(signal[:, None], RATE)
    assert frames.shape == (-(-4 * RATE // 256), 176)
    key, first = 48, begin // 256  # A4; keys begin at A0
    assert frames[first + 5 : -5, key].mean() > 0.5 > 0.3 > frames[: first - 5, key].max()
    assert abs(int(frames[:, 88 + key].argmax()) - first) <= 3


@needs_network
def test_a_hole_is_worse_than_a_concealment_and_nothing_is_perfect() -> None:
    whole = tones(5, RATE, 3 * RATE)[:, None]
    lost = np.repeat(np.arange(300) % 10 == 4, RATE // 100)
    holes, quieter = whole.copy(), whole.copy()
    holes[: lost.size][lost] = 0.0
    quieter[: lost.size][lost] *= 0.7
    distance = registry.METRICS["fad"].score
    both = [distance(whole, each, lost, RATE) for each in (whole, quieter, holes)]
    assert both[0] == pytest.approx(0.0, abs=1e-6)
    assert both[0] < both[1] < both[2]


def test_without_the_network_the_command_that_brings_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps basic-pitch"):
        frechet._model()
