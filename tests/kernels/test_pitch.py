import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc_kernels.pitch import best_lag
from tests.signals import noise

LAG_MIN, LAG_MAX, TEMPLATE_SAMPLES = 32, 320, 160
FLOAT32_RTOL = 2e-4


def scores_by_definition(history: NDArray[np.float32]) -> NDArray[np.float64]:
    """Every lag's normalised correlation, in float64 and without a loop over samples."""
    x = history.astype(np.float64)
    template = x[-TEMPLATE_SAMPLES:]
    pasts = np.array([x[-TEMPLATE_SAMPLES - lag : -lag] for lag in range(LAG_MIN, LAG_MAX + 1)])
    energy = (pasts**2).sum(axis=1) * (template**2).sum()
    scores: NDArray[np.float64] = pasts @ template / np.sqrt(energy + 1e-9)
    return scores


def lag_and_scores(history: NDArray[np.float32]) -> tuple[int, NDArray[np.float32]]:
    score = np.empty(LAG_MAX - LAG_MIN + 1, np.float32)
    return best_lag(history, TEMPLATE_SAMPLES, LAG_MIN, score), score


@given(seed=st.integers(0, 2**32 - 1))
def test_scores_equal_the_definition(seed: int) -> None:
    _, score = lag_and_scores(noise(seed))
    np.testing.assert_allclose(
        score, scores_by_definition(noise(seed)), rtol=FLOAT32_RTOL, atol=FLOAT32_RTOL
    )


@pytest.mark.parametrize("period", [40, 147, 320])
def test_a_periodic_signal_gives_its_period(period: int) -> None:
    lag, _ = lag_and_scores(np.resize(noise(7)[:period], 480))
    assert lag == period


def test_silence_scores_zero_everywhere() -> None:
    _, score = lag_and_scores(np.zeros(480, np.float32))
    assert not score.any()
