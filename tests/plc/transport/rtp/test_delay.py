"""The delay aimed for, and the rate that keeps it."""

import math

import numpy as np
import pytest

from plc.errors import ConfigError
from plc.transport.rtp.delay import DelayConfig, DelayEstimator, DelayMode, DriftControl

PACKET_S = 0.02


def fed(config: DelayConfig, transits: np.ndarray, start_s: float = 0.0) -> DelayEstimator:
    estimator = DelayEstimator(config)
    for k, transit_s in enumerate(transits):
        estimator.note(float(transit_s), start_s + k * PACKET_S)
    return estimator


@pytest.mark.parametrize("safety", [0.0, 0.3, 0.5, 0.8])
def test_the_aim_is_the_quantile_of_the_jitter_that_safety_asks_for(safety: float) -> None:
    jitter_s = np.random.default_rng(1).exponential(0.01, 20_000)
    config = DelayConfig(safety=safety)
    quantile_s = np.quantile(jitter_s, 1 - config.late_share)
    # 1 ms of bins, 2 ms of margin; the newest packets weigh most, and the aim falls reluctantly.
    assert 0.85 * quantile_s < fed(config, jitter_s).target_s < 1.6 * quantile_s + 0.003


def test_a_safer_aim_is_a_longer_one() -> None:
    jitter_s = np.random.default_rng(2).exponential(0.01, 5000)
    aims = [fed(DelayConfig(safety=s), jitter_s).target_s for s in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert aims == sorted(aims)
    assert aims[0] < 0.5 * aims[-1]


def test_the_aim_rises_at_once_and_falls_only_after_a_while() -> None:
    rng = np.random.default_rng(3)
    estimator = fed(DelayConfig(safety=0.0), rng.uniform(0, 0.01, 1000))
    calm_s = estimator.target_s
    at = 20.0
    for k in range(100):
        estimator.note(float(rng.uniform(0, 0.08)), at + k * PACKET_S)
    assert estimator.target_s > 0.04
    raised_s = estimator.target_s
    at += 2.0
    for k in range(100):
        estimator.note(float(rng.uniform(0, 0.01)), at + k * PACKET_S)
    assert estimator.target_s >= raised_s
    at += 2.0
    for k in range(3000):
        estimator.note(float(rng.uniform(0, 0.01)), at + k * PACKET_S)
    assert estimator.target_s <= calm_s + 0.002


def test_the_base_follows_a_clock_that_drifts() -> None:
    k = np.arange(100_000)
    for ppm in (-500, 500):
        drift_s = ppm * 1e-6 * k * PACKET_S
        estimator = fed(DelayConfig(), drift_s)
        assert abs(estimator.base_s - drift_s[-1]) < 0.0021
        assert estimator.target_s < 0.007


def test_modes_differ_in_what_they_add() -> None:
    jitter_s = np.random.default_rng(4).uniform(0, 0.03, 2000)
    adaptive = fed(DelayConfig(), jitter_s).target_s
    headroom = fed(DelayConfig(mode=DelayMode.HEADROOM, delay_ms=15), jitter_s).target_s
    fixed = fed(DelayConfig(mode=DelayMode.FIXED, delay_ms=15), jitter_s).target_s
    assert headroom == pytest.approx(adaptive + 0.015)
    assert fixed == 0.015


def test_the_aim_keeps_to_the_largest_delay() -> None:
    jitter_s = np.random.default_rng(5).uniform(0, 0.5, 2000)
    assert fed(DelayConfig(max_delay_ms=80), jitter_s).target_s == 0.08


def test_before_anything_is_known_a_guess_is_aimed_for() -> None:
    assert DelayEstimator(DelayConfig(safety=0.0)).target_s == pytest.approx(0.012)
    assert DelayEstimator(DelayConfig(safety=1.0)).target_s == pytest.approx(0.082)
    assert DelayEstimator(DelayConfig()).base_s == math.inf


@pytest.mark.parametrize(
    "settings",
    [{"safety": -0.1}, {"safety": 1.1}, {"delay_ms": -1}, {"delay_ms": 300}, {"max_delay_ms": 0}],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        DelayConfig(**settings)  # type: ignore[arg-type]  # one of several floats


# ---- drift --------------------------------------------------------------------------------------


def regulated(
    ppm: float, seconds: float, excess_s: float = 0.0, tick_s: float = 0.01
) -> tuple[DriftControl, np.ndarray, np.ndarray]:
    """Close the loop: the delay falls by what is played faster and grows by the drift."""
    control = DriftControl()
    excess, stretch = [], []
    for _ in range(round(seconds / tick_s)):
        excess_s += (ppm * 1e-6 - control.update(excess_s, (0.002, 0.008), tick_s)) * tick_s
        excess.append(excess_s)
        stretch.append(control.stretch)
    return control, np.array(excess), np.array(stretch)


@pytest.mark.parametrize("ppm", [-500, -50, 50, 500])
def test_a_drift_is_learnt_and_the_delay_brought_to_its_aim(ppm: float) -> None:
    control, excess, stretch = regulated(ppm, 600)
    assert np.abs(excess).max() < 0.008 + 0.006
    assert np.abs(excess[-1000:]).max() < 1e-4
    assert control.drift == pytest.approx(ppm * 1e-6, abs=2e-6)
    assert stretch[-1] == pytest.approx(ppm * 1e-6, abs=2e-6)


def test_within_the_dead_band_nothing_is_done() -> None:
    for excess_s in (-0.0019, 0.0079):
        _, _, stretch = regulated(0, 100, excess_s)
        assert not stretch.any()


def test_an_excess_without_drift_is_played_off_and_the_rate_is_nominal_again() -> None:
    control, excess, stretch = regulated(0, 400, 0.05)
    assert not control.engaged
    assert stretch[-1] == 0.0
    assert abs(excess[-1]) < 0.002


def test_the_rate_never_moves_fast_nor_far() -> None:
    _, _, stretch = regulated(500, 300, 0.2)
    assert np.abs(stretch).max() <= DriftControl.MAX_STRETCH
    # 200 ppm a second: a cent in 3 s.
    assert np.abs(np.diff(stretch)[:-2000]).max() <= 2.001e-6
