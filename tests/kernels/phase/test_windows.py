import numpy as np
import pytest

from plc_kernels.phase.windows import (
    WINDOWS,
    dual_window,
    fitted_gamma,
    gaussian_gamma,
    grid_window_samples,
    window,
)


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
@pytest.mark.parametrize("length", [160, 882])
def test_the_fitted_gamma_is_near_the_published_one(name: str, length: int) -> None:
    published = gaussian_gamma(name, length)
    assert fitted_gamma(7.0 * window(name, length)) == pytest.approx(published, rel=0.02)


def test_the_fitted_gamma_of_a_gaussian_is_its_own() -> None:
    t = np.arange(400) - 200
    bell = np.exp(-np.pi * t**2 / 12345.0)
    assert fitted_gamma(bell) == pytest.approx(12345.0, rel=1e-4)


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
