import numpy as np
import pytest
from numpy.typing import NDArray

from plc.predict.history import History
from plc.predict.lpc import ORDER, PAST_SAMPLES, LpcFiller
from plc_kernels.ar import fit_burg
from tests.signals import glide, tones

SAMPLE_RATE = 16_000
GAP = 1024


def remembered(*signals: NDArray[np.float32]) -> History:
    history = History(len(signals), 8192)
    history.append(np.stack(signals), True)
    return history


def predicted(x: NDArray[np.float32], order: int, samples: int) -> NDArray[np.float64]:
    """Continue ``x`` by the predictor of Burg's method, sample by sample."""
    predictor = fit_burg(x, order)
    line = [float(each) for each in x[-order:]]
    for _ in range(samples):
        line.append(-float(np.dot(predictor[1:], line[: -order - 1 : -1])))
    return np.array(line[order:])


def published(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """Fill a gap as section 3.5 of the paper says: 1000 coefficients from 2048 samples a side."""
    forward = predicted(before[-2048:], 1000, GAP)
    backward = predicted(after[:2048][::-1], 1000, GAP)[::-1]
    share = np.cos(0.5 * np.pi * (np.arange(GAP) + 0.5) / GAP) ** 2
    return share * forward + (1 - share) * backward


def bridged(
    made_by: LpcFiller, before: NDArray[np.float32], after: NDArray[np.float32]
) -> NDArray[np.float32]:
    history = remembered(*before)
    made_by.begin(history)
    out = np.empty((before.shape[0], GAP), np.float32)
    made_by.bridge(history, after, out)
    return out


def test_the_settings_are_the_papers() -> None:
    assert (ORDER, PAST_SAMPLES) == (1000, 2048)


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_a_gap_is_filled_as_the_paper_says(sample_rate: int) -> None:
    x = np.stack([tones(1, sample_rate, 9000), glide(2, sample_rate, 9000)])
    before, after = x[:, :4000], x[:, 4000 + GAP :]
    expected = np.stack([published(b, a) for b, a in zip(before, after, strict=True)])
    found = bridged(LpcFiller(sample_rate, 2, 320), before, after)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_without_a_far_side_it_is_the_forward_half() -> None:
    x = tones(1, SAMPLE_RATE, 4000)
    made_by = LpcFiller(SAMPLE_RATE, 1, 320)
    made_by.begin(remembered(x))
    out = np.empty((1, GAP), np.float32)
    made_by.extend(out[:, :300])
    made_by.extend(out[:, 300:])
    np.testing.assert_allclose(out[0], predicted(x[-2048:], 1000, GAP), atol=2e-5)


def test_a_shorter_far_side_is_fitted_at_a_lower_order() -> None:
    x = tones(1, SAMPLE_RATE, 8000)[None]
    after = x[:, 4000 + GAP :][:, :600]
    found = bridged(LpcFiller(SAMPLE_RATE, 1, 320), x[:, :4000], after)
    error_db = 10 * np.log10(
        np.sum((found - x[:, 4000 : 4000 + GAP]) ** 2) / np.sum(x[:, 4000 : 4000 + GAP] ** 2)
    )
    assert error_db < -3.0
    # It ends where the far side begins.
    assert abs(found[0, -1] - after[0, 0]) < np.abs(np.diff(x)).max() * 1.5


@pytest.mark.parametrize("known", [600, 3000])
def test_one_gap_is_not_shaped_by_the_last(known: int) -> None:
    x = tones(1, SAMPLE_RATE, 8000)[None]
    y = glide(2, SAMPLE_RATE, 8000)[None]
    after = y[:, 4000 + GAP :][:, :known]
    made_by = LpcFiller(SAMPLE_RATE, 1, 320)
    bridged(made_by, x[:, :4000], x[:, 4000 + GAP :])
    found = bridged(made_by, y[:, :4000], after)
    made_by.reset()
    for other in (made_by, LpcFiller(SAMPLE_RATE, 1, 320)):
        np.testing.assert_array_equal(bridged(other, y[:, :4000], after), found)
