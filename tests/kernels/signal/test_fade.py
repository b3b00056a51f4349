import numpy as np
import pytest

from plc_kernels.signal.fade import burst_gain, crossfade, crossfade_ramp, fade_into, mix_by_error
from tests.signals import noise


def test_a_crossfade_is_the_weighted_mean() -> None:
    incoming, playing = noise(1, 100), noise(2, 100)
    ramp = np.linspace(0, 1, 100, dtype=np.float32)
    out = playing.copy()
    crossfade(incoming, ramp, out)
    np.testing.assert_allclose(out, (1 - ramp) * playing + ramp * incoming, atol=1e-7)


@pytest.mark.parametrize("samples", [1, 2, 120, 441])
def test_a_ramp_rises_and_is_symmetric(samples: int) -> None:
    ramp = crossfade_ramp(samples)
    assert ramp.shape == (samples,)
    assert (np.diff(ramp) > 0).all()
    np.testing.assert_allclose(ramp + ramp[::-1], 1.0, atol=1e-6)


def test_the_burst_gain_is_the_same_however_it_is_cut() -> None:
    whole = np.empty(1000, np.float32)
    assert burst_gain(0, 300, 500, whole) == 0.0
    parts = [np.empty(n, np.float32) for n in (7, 293, 1, 499, 200)]
    at = 0
    for part in parts:
        burst_gain(at, 300, 500, part)
        at += part.size
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole[:301] == 1.0).all()
    assert (whole[800:] == 0.0).all()
    i = np.arange(300, 800)
    np.testing.assert_allclose(whole[300:800], 0.5 + 0.5 * np.cos(np.pi * (i - 300) / 500), 1e-5)


def test_fading_into_noise_keeps_the_power() -> None:
    draft, background = noise(1, 200_000), noise(2, 200_000)
    gain = np.linspace(1, 0, 200_000, dtype=np.float32)
    out = draft.copy()
    fade_into(background, gain, out)
    for part in np.split(out, 10):
        assert abs(np.std(part) - 0.1) < 0.003
    np.testing.assert_allclose(
        out, gain * draft + np.sqrt(1 - gain.astype(np.float64) ** 2) * background, atol=1e-6
    )


@pytest.mark.parametrize(("forward_error", "backward_error"), [(1.0, 1.0), (0.3, 2.0), (0.0, 0.0)])
def test_the_better_prediction_gets_more_of_the_gap(
    forward_error: float, backward_error: float
) -> None:
    forward, backward = noise(1, 100), noise(2, 100)
    out = forward.copy()
    mix_by_error(forward_error, backward_error, backward[::-1].copy(), out)
    place = (np.arange(100) + 0.5) / 100
    rising = (forward_error or 1.0) * place
    share = rising / (rising + (backward_error or 1.0) * (1 - place))
    np.testing.assert_allclose(out, (1 - share) * forward + share * backward, atol=1e-6)


def test_a_prediction_without_error_gets_all_of_the_gap() -> None:
    forward, backward = noise(1, 100), noise(2, 100)
    out = forward.copy()
    mix_by_error(0.0, 1.0, backward, out)
    np.testing.assert_allclose(out, forward, atol=1e-6)
