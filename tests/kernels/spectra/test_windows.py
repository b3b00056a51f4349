import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from plc_kernels.spectra.windows import (
    WINDOWS,
    dual_window,
    gaussian_gamma,
    grid_window_samples,
    window,
)
from tests.examples import some


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_peaks_at_its_centre_and_is_symmetric_about_it(name: str) -> None:
    shape = window(name, 512)
    assert shape[256] == pytest.approx(1)
    np.testing.assert_allclose(shape[1:], shape[:0:-1], atol=1e-12)


def test_hann_equals_its_definition() -> None:
    np.testing.assert_allclose(window("hann", 320), np.sin(np.pi * np.arange(320) / 320) ** 2)


def test_an_unknown_window_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="supported: hann"):
        window("kaiser", 512)


@pytest.mark.parametrize("name", WINDOWS)
@some("length", [160, 882])
def test_the_gaussian_of_the_published_gamma_is_nearly_the_nearest(name: str, length: int) -> None:
    t = np.arange(length) - length / 2

    def misfit(gamma: float) -> float:
        return float(np.sum((np.exp(-np.pi * t**2 / gamma) - window(name, length)) ** 2))

    nearest = minimize_scalar(misfit, bounds=(1e-3 * length**2, 2 * length**2)).x
    assert nearest == pytest.approx(gaussian_gamma(name, length), rel=0.02)


@pytest.mark.parametrize(("name", "length", "hop"), [("hann", 512, 128), ("gauss", 441, 100)])
def test_the_dual_inverts_the_frame_operator(name: str, length: int, hop: int) -> None:
    # The operator as a matrix on a signal long enough to forget its ends.
    shape = window(name, length)
    samples = 6 * length
    operator = np.zeros(samples)
    for start in range(-length, samples, hop):
        i = np.arange(max(0, start), min(samples, start + length))
        operator[i] += shape[i - start] ** 2
    start = -length + hop * -(-3 * length // hop)
    expected = shape / operator[start : start + length]
    np.testing.assert_allclose(dual_window(shape, hop), expected, rtol=1e-12)


@pytest.mark.parametrize("hop", [512, 600])
def test_a_hop_that_leaves_samples_uncovered_is_refused(hop: int) -> None:
    with pytest.raises(ValueError, match="uncovered"):
        dual_window(window("hann", 512), hop)


@pytest.mark.parametrize(
    ("sample_rate", "samples"),
    [(8000, 160), (16000, 320), (32000, 640), (44100, 880), (48000, 960), (192000, 3840)],
)
def test_the_grid_has_the_same_frequencies_at_each_rate(sample_rate: int, samples: int) -> None:
    assert grid_window_samples(sample_rate) == samples
    assert sample_rate / samples == pytest.approx(50, rel=0.003)
