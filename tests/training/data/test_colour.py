"""Colours: filters of minimum phase, as deep as asked for."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_training.data.colour import coloured


def responses(depth_db: float, count: int = 500) -> NDArray[np.float32]:
    """Return the impulse responses of so many filters, an impulse standing 1000 samples in."""
    impulse = np.zeros((count, 1, 2000), np.float32)
    impulse[..., 1000] = 1.0
    return coloured(impulse, depth_db, np.random.default_rng(0))[:, 0]


@pytest.mark.parametrize("depth_db", [3.0, 6.0])
def test_depth(depth_db: float) -> None:
    gains_db = 20.0 * np.log10(np.abs(np.fft.rfft(responses(depth_db))))
    assert gains_db.std() == pytest.approx(depth_db, rel=0.1)
    assert abs(gains_db.mean()) < 0.2 * depth_db


def test_nothing_comes_before_its_cause_and_little_long_after() -> None:
    made = responses(6.0)
    assert np.abs(made[:, :1000]).max() < 1e-6
    early = (made[:, 1000:1064] ** 2).sum(axis=1)
    late = (made[:, 1064:] ** 2).sum(axis=1)
    assert np.quantile(late / early, 0.99) < 1e-2


def test_each_segment_has_its_own_filter_and_all_its_lines_the_same() -> None:
    lines = np.random.default_rng(1).standard_normal((3, 1, 800)).astype(np.float32)
    made = coloured(np.repeat(lines, 2, axis=1), 6.0, np.random.default_rng(2))
    np.testing.assert_allclose(made[:, 0], made[:, 1], atol=1e-6)
    ratios = np.fft.rfft(made[:, 0]) / np.fft.rfft(lines[:, 0])
    assert np.abs(ratios[0] - ratios[1]).max() > 0.1
    assert made.dtype == np.float32
