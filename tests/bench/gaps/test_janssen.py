"""Janssen's interpolation against the least squares it stands for."""

import numpy as np

from plc_bench.gaps import janssen
from plc_kernels.signal.ar import ArWorkspace, burg
from tests.signals import noise, tones


def test_the_predictor_is_that_of_the_kernels() -> None:
    x = (tones(3, 8000, 1200) + noise(3, 1200, 0.05)).astype(np.float32)
    workspace = ArWorkspace.allocate(x.size, 20)
    predictor = np.zeros(21)
    burg(20, x, workspace.forward, workspace.backward, workspace.mirror, predictor)
    ours = janssen.burg(x.astype(np.float64), 20)
    np.testing.assert_allclose(ours, predictor, atol=1e-4)
    assert not janssen.burg(np.zeros(50), 4)[1:].any()


def test_one_round_leaves_the_least_prediction_error() -> None:
    x = (tones(1, 8000, 900) + noise(2, 900, 0.02)).astype(np.float32)
    order, gap = 24, slice(430, 455)
    filled = janssen.interpolate(x, (gap.start, gap.stop), order, side=400, iterations=1)
    line = x[30:855].astype(np.float64)
    missing = np.arange(400, 425)
    line[missing] = 0.0
    predictor = janssen.burg(line, order)
    # The prediction errors of all samples, with zeros beyond both ends, as a matrix.
    errors = np.zeros((line.size + order, line.size))
    for k, tap in enumerate(predictor):
        errors[np.arange(line.size) + k, np.arange(line.size)] = tap
    best = np.linalg.lstsq(errors[:, missing], -errors @ line, rcond=None)[0]
    np.testing.assert_allclose(filled[gap], best, atol=1e-5)
    np.testing.assert_array_equal(np.delete(filled, np.r_[gap]), np.delete(x, np.r_[gap]))


def test_more_rounds_bring_tones_back() -> None:
    x = tones(4, 16_000, 8000)
    gap = slice(4000, 4320)
    damaged = x.copy()
    damaged[gap] = 0.0
    filled = janssen.interpolate(damaged, (gap.start, gap.stop), 128, side=2048, iterations=5)
    error = np.square(filled[gap] - x[gap]).sum() / np.square(x[gap]).sum()
    assert 10 * np.log10(error) < -30.0


def test_a_gap_at_the_edge_and_silence_are_filled() -> None:
    x = tones(5, 8000, 500)
    assert np.isfinite(janssen.interpolate(x, (0, 40))).all()
    assert np.isfinite(janssen.interpolate(x, (460, 500))).all()
    assert not janssen.interpolate(np.zeros(500, np.float32), (100, 140)).any()
