"""Make a block of memory a stream, and count the time for its packets.

The counts are histograms with logarithmic bins.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel
from plc_kernels.signal.fade import write_ramp
from plc_kernels.signal.noise import noise_windows
from plc_kernels.signal.predict import DECAY_MS
from plc_kernels.spectra.fft import plan_fft
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.background import start_background
from plc_kernels.stream.fill_limit import start_limit
from plc_kernels.stream.layout import (
    ARRIVED,
    FACTORS,
    FILLING_FACTORS,
    FILLING_TWIDDLES,
    FILLING_WINDOWS,
    QUICK_RAMP,
    RAMP,
    RING,
    TIMES,
    TWIDDLES,
    WINDOWS,
)
from plc_kernels.stream.noise import start_filling

BINS_PER_DECADE = 100
"""A percentile is right to 2.4 %."""
FIRST_MS = 1e-5
"""Begin of the first bin; the last ends at 100 s."""
_FIRST_LOG = math.log10(FIRST_MS)

GOOD, CONCEALED = 1, 2
"""What TIMED says of the packet whose duration SPENT_MS is; 0: there is none."""


@kernel
def open_stream(block: Block) -> None:
    """Make a block a stream before its first packet.

    ``block``, int64, shape (n,), was laid out by :func:`~plc_kernels.stream.layout.lay_out`, and is
    of the size that it told. Time limits and costs of rungs, among its numbers, are the caller's to
    write.
    """
    rate = block[at.RATE]
    numbers = at.reals(block)
    numbers[at.SHARE_RATE] = -1.0 / (rate * at.SHARE_S)
    numbers[at.SMOOTHING] = -math.expm1(-1.0 / block[at.HOP])
    numbers[at.NOISE_SMOOTHING] = -math.expm1(-1000.0 / (rate * at.NOISE_MEAN_MS))
    numbers[at.DECAY] = math.exp(-1000.0 / (rate * DECAY_MS))
    numbers[at.HURRY_MS] = numbers[at.PREPARE_MS] = np.inf
    write_ramp(at.array(block, RAMP))
    quick = at.array(block, QUICK_RAMP)
    quick[:] = np.float32(1.0)
    write_ramp(quick[: max(1, at.samples_of(rate, at.QUICK_RECOVERY_MS))])
    noise_windows(at.array(block, WINDOWS))
    block[at.N_FACTORS] = plan_fft(
        block[at.FRAME_SAMPLES],
        at.array(block, FACTORS),
        at.array(block, TWIDDLES),
    )
    if block[at.FILLS_NOISE]:
        noise_windows(at.array(block, FILLING_WINDOWS))
        block[at.N_FILLING_FACTORS] = plan_fft(
            block[at.FILLING_SAMPLES],
            at.array(block, FILLING_FACTORS),
            at.array(block, FILLING_TWIDDLES),
        )
    block[at.DEPTH] = 0
    forget_counts(block)
    forget_stream(block)


@kernel
def forget_counts(block: Block) -> None:
    """Set the statistics to 0."""
    block[at.STATS : at.LADDER] = 0
    block[at.ANSWERS] = 0
    block[at.UNSOUND] = 0
    block[at.TIMED] = 0
    at.array(block, TIMES)[:] = 0
    numbers = at.reals(block)
    numbers[at.GOOD_MAX_MS] = 0.0
    numbers[at.CONCEALED_MAX_MS] = 0.0


@kernel
def forget_stream(block: Block) -> None:
    """Make the stream as new, but for its statistics."""
    at.array(block, ARRIVED)[:] = 0
    block[at.PUSHED] = 0
    block[at.SLOT] = 0
    block[at.POSITION] = -(block[at.LOOKAHEAD] + 1) * block[at.PACKET]
    at.array(block, RING)[:] = np.float32(0.0)
    block[at.HISTORY_AT] = 0
    block[at.HISTORY_FILLED] = 0
    block[at.HISTORY_TRUSTED] = 0
    block[at.IN_BURST] = 0
    block[at.INTEGER] = 0
    block[at.STEP] = 0
    block[at.RUNG] = block[at.LADDER + 2]
    block[at.FITTED] = 0
    block[at.FITTED_STEP] = -1
    block[at.EPOCH] += 1
    block[at.AWAKE_UNTIL] = 0
    block[at.PREPARED_AT] = -1
    if block[at.SECOND]:
        at.second_set(block)[at.PREPARED_AT] = -1
    start_limit(block)
    start_background(block)
    start_filling(block)


@kernel
def count_time(duration_ms: float, bins: NDArray[np.int64], most: NDArray[np.float64]) -> None:
    """Count one duration; NaN counts as the shortest.

    ``bins`` are int64, shape (TIME_BINS,); ``most``, float64, shape (1,), the longest one in ms.
    """
    if not math.isfinite(duration_ms):
        duration_ms = 0.0
    # The difference of logarithms: a quotient of what a broken clock says may overflow.
    decades = math.log10(max(duration_ms, FIRST_MS)) - _FIRST_LOG
    bins[min(int(BINS_PER_DECADE * decades), at.TIME_BINS - 1)] += 1
    most[0] = max(most[0], duration_ms)


@kernel
def note_time(block: Block) -> None:
    """Count the duration that the caller wrote of the last packet."""
    if block[at.TIMED] == 0:
        return
    concealed = block[at.TIMED] == CONCEALED
    block[at.TIMED] = 0
    numbers = at.reals(block)
    bins = at.array(block, TIMES)[1 if concealed else 0]
    most = at.CONCEALED_MAX_MS if concealed else at.GOOD_MAX_MS
    count_time(numbers[at.SPENT_MS], bins, numbers[most : most + 1])
