"""Rows of a gap whose end has arrived, against what they are by definition."""

import numpy as np
import pytest

from plc_kernels.signal.bridged_gap import draw_up
from tests.signals import noise

START, GAP, SAMPLES = 20, 10, 50


@pytest.mark.parametrize("known", [0, 3, SAMPLES - START - GAP, 40])
def test_each_side_stands_in_the_gap_and_what_is_known_around_it(known: int) -> None:
    ring, after, beyond = noise(1, 32), noise(2, known), noise(3, SAMPLES)
    forward, backward, bridge = noise(4, GAP + 5), noise(5, GAP + 5), noise(6, GAP)
    position = 7
    rows = np.full((3, SAMPLES), np.nan, np.float32)
    draw_up(ring, position, forward, backward, bridge, after, beyond, START, rows)
    past = np.roll(ring, -position)[-START:]
    for row, side in zip(rows, (forward, backward, bridge), strict=True):
        whole = np.concatenate([past, side[:GAP], after, beyond])
        np.testing.assert_array_equal(row, whole[:SAMPLES])
