"""What each method makes of one signal and trace is what it made before.

A difference is no error by itself: make_golden.py says how to accept one that was meant.
"""

import json
from collections.abc import Callable

import numpy as np
import pytest

from tests.plc.make_golden import GOLDEN, POINTS, Case, makers

# Fast-math reorders sums, and machines differ in how wide they add: of samples near 0.1.
RTOL, ATOL = 1e-3, 1e-4
NMSE_ATOL_DB = 0.01

MAKERS = dict(makers())
EXPECTED: dict[str, Case] = json.loads(GOLDEN.read_text())


def test_every_case_is_pinned() -> None:
    assert list(EXPECTED) == list(MAKERS)


@pytest.mark.parametrize(("name", "make"), MAKERS.items(), ids=MAKERS)
def test_the_output_is_what_it_was(name: str, make: Callable[[], Case]) -> None:
    found, expected = make(), EXPECTED[name]
    samples = expected["samples"]
    assert isinstance(samples, list)
    assert len(samples) == POINTS
    np.testing.assert_allclose(found["samples"], samples, rtol=RTOL, atol=ATOL)
    assert found["rms"] == pytest.approx(expected["rms"], rel=RTOL, abs=ATOL)
    assert found["nmse_db"] == pytest.approx(expected["nmse_db"], abs=NMSE_ATOL_DB)
