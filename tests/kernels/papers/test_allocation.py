"""Kernels of papers borrow every array; see ``tests/kernels/test_allocation.py``."""

from collections.abc import Callable

import numpy as np
import pytest

from plc_kernels.papers.nsgt import Nsgt, insgt, nsgt
from plc_kernels.spectra.scales import band_centres_hz
from tests.kernels.memory import assert_allocates_nothing
from tests.signals import noise

X = noise(1, 2000)
BANDS = Nsgt.allocate(band_centres_hz("erb", 20, 100.0, 7000.0), 16_000, X.size)
BAND_TABLES = BANDS.factors, BANDS.twiddles, BANDS.band_factors, BANDS.band_twiddles
BAND_MEMORY = (
    *(BANDS.scratch, BANDS.spectrum, BANDS.padded),
    *(BANDS.band_scratch, BANDS.band_spectra, BANDS.band_samples),
)
COEFFICIENTS = np.ones(BANDS.coefficients, np.complex128)

CALLS: list[tuple[Callable[..., object], tuple[object, ...]]] = [
    (
        nsgt,
        (
            *(X.astype(float), BANDS.bands, BANDS.windows, *BAND_TABLES),
            *(*BAND_MEMORY, COEFFICIENTS.copy()),
        ),
    ),
    (
        insgt,
        (
            *(COEFFICIENTS, BANDS.bands, BANDS.duals, *BAND_TABLES),
            *(*BAND_MEMORY, np.empty(X.size)),
        ),
    ),
]


@pytest.mark.parametrize(
    ("kernel", "args"), CALLS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_kernel_allocates_nothing(
    kernel: Callable[..., object], args: tuple[object, ...]
) -> None:
    assert_allocates_nothing(kernel, args)
