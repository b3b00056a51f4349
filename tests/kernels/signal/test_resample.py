import numpy as np
import pytest
from numba.core.runtime.nrt import rtsys

from plc_kernels.signal.resample import CENTRE, PHASES, TAPS, resample, sinc_table
from tests.examples import some
from tests.signals import noise

TABLE = sinc_table()


def test_a_whole_place_at_step_1_gives_the_line_bit_for_bit() -> None:
    line = noise(1, 2000).reshape(2, 1000)
    out = np.empty((2, 600), np.float32)
    assert resample(float(CENTRE + 7), 1.0, TABLE, line, out) == CENTRE + 607
    np.testing.assert_array_equal(out, line[:, CENTRE + 7 : CENTRE + 607])


def test_the_output_is_the_windowed_sinc_sum() -> None:
    line = noise(2, 200).reshape(1, 200)
    at, step = 40.37, 1.0021
    out = np.empty((1, 90), np.float32)
    end = resample(at, step, TABLE, line, out)
    assert end == pytest.approx(at + 90 * step, abs=1e-9)
    n = np.arange(200)
    for i in range(90):
        distance = n - (at + i * step)
        inside = np.clip(1 - (distance / (TAPS // 2)) ** 2, 0, None)
        window = np.where(np.abs(distance) < TAPS // 2, np.i0(8 * np.sqrt(inside)) / np.i0(8.0), 0)
        weights = np.sinc(distance) * window
        truth = np.sum(weights * line[0].astype(np.float64)) / weights.sum()
        assert out[0, i] == pytest.approx(truth, abs=2e-5)


@some("step", [0.997, 0.9995, 1.0, 1.0005, 1.003], 2)
@some("share_of_nyquist", [0.01, 0.3, 0.8], 3)
def test_a_sine_comes_out_as_the_sine_between_its_samples(
    step: float, share_of_nyquist: float
) -> None:
    places = 100.3 + step * np.arange(4000)
    omega = np.pi * share_of_nyquist
    line = np.sin(omega * np.arange(4200)).astype(np.float32)[None]
    out = np.empty((1, 4000), np.float32)
    resample(100.3, step, TABLE, line, out)
    error = out[0] - np.sin(omega * places)
    assert 10 * np.log10(np.mean(error**2) / 0.5) < -80.0


def test_a_line_cut_into_pieces_gives_the_same_samples() -> None:
    line = noise(3, 1200).reshape(1, 1200)
    whole = np.empty((1, 1000), np.float32)
    resample(50.25, 1.0005, TABLE, line, whole)
    parts = [np.empty((1, n), np.float32) for n in (1, 499, 250, 250)]
    at = 50.25
    for part in parts:
        at = resample(at, 1.0005, TABLE, line, part)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=2e-5)


def test_a_table_keeps_a_constant_at_every_fraction() -> None:
    assert TABLE.shape == (PHASES + 1, TAPS)
    np.testing.assert_allclose(TABLE.sum(axis=1), 1.0, atol=1e-6)


def test_resampling_allocates_nothing() -> None:
    args = (40.5, 1.0, TABLE, np.zeros((2, 600), np.float32), np.zeros((2, 480), np.float32))
    resample(*args)
    before = rtsys.get_allocation_stats().alloc
    resample(*args)
    assert rtsys.get_allocation_stats().alloc == before
