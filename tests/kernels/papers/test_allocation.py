"""Kernels of papers borrow every array; see ``tests/kernels/test_allocation.py``."""

from collections.abc import Callable

import numpy as np
import pytest

from plc_kernels.papers.nsgt import Nsgt, band_centres_hz, insgt, nsgt
from plc_kernels.papers.rtpghi import RtpghiState, adopt, advance_causal, advance_centred
from tests.kernels.memory import assert_allocates_nothing
from tests.signals import noise

X = noise(1, 2000)
MAGNITUDE = np.linspace(1, 2, 257, dtype=np.float32)
PHASE = np.zeros(257, np.float32)
RT = RtpghiState.allocate(257)
FRAME = 16819.0, 256.0, 128, 512
RT_STATE = RT.logs, RT.time_gradient, RT.random, RT.gradient, RT.arrival, RT.phase
BANDS = Nsgt.allocate(band_centres_hz("erb", 20, 100.0, 7000.0), 16_000, X.size)
BAND_TABLES = BANDS.factors, BANDS.twiddles, BANDS.band_factors, BANDS.band_twiddles
BAND_MEMORY = (
    *(BANDS.scratch, BANDS.spectrum, BANDS.padded),
    *(BANDS.band_scratch, BANDS.band_spectra, BANDS.band_samples),
)
COEFFICIENTS = np.ones(BANDS.coefficients, np.complex128)

CALLS: list[tuple[Callable[..., object], tuple[object, ...]]] = [
    (adopt, (MAGNITUDE, PHASE, 1, 16819.0, 128, 512, RT.logs, RT.phase, RT.time_gradient)),
    (advance_centred, (MAGNITUDE, *FRAME, 1e-6, *RT_STATE)),
    (advance_causal, (MAGNITUDE, *FRAME, 1e-6, *RT_STATE)),
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
