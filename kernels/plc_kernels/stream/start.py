"""Make a block of memory a stream."""

import math

import numpy as np

from plc_kernels.compile import kernel
from plc_kernels.fade import write_ramp
from plc_kernels.noise import noise_windows
from plc_kernels.predict import DECAY_MS
from plc_kernels.spectra.fft import plan_fft
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.background import start_background
from plc_kernels.stream.fill_limit import start_limit
from plc_kernels.stream.layout import (
    ANSWERS,
    ARRIVED,
    AWAKE_UNTIL,
    CONCEALED_MAX_MS,
    DECAY,
    DEPTH,
    EPOCH,
    FACTORS,
    FILLING_FACTORS,
    FILLING_SAMPLES,
    FILLING_TWIDDLES,
    FILLING_WINDOWS,
    FILLS_NOISE,
    FITTED,
    FITTED_STEP,
    FRAME_SAMPLES,
    GOOD_MAX_MS,
    HISTORY_AT,
    HISTORY_FILLED,
    HISTORY_TRUSTED,
    HOP,
    HURRY_MS,
    IN_BURST,
    INTEGER,
    LADDER,
    MUSIC_RATE,
    MUSIC_RATE_SPEECH_FROM,
    N_FACTORS,
    N_FILLING_FACTORS,
    NOISE_MEAN_MS,
    NOISE_SMOOTHING,
    PACKET,
    POSITION,
    PREPARE_MS,
    PREPARED_AT,
    PUSHED,
    QUICK_RAMP,
    QUICK_RECOVERY_MS,
    RAMP,
    RATE,
    RING,
    RUNG,
    SECOND,
    SHARE_RATE,
    SHARE_S,
    SLOT,
    SLOTS,
    SMOOTHING,
    SPEECH_FROM,
    SPEECH_LOGIT,
    STATS,
    STEP,
    TIMED,
    TIMES,
    TWIDDLES,
    UNSOUND,
    WINDOWS,
    array,
    reals,
    samples_of,
    second_set,
)
from plc_kernels.stream.noise_filling import start_filling


@kernel
def open_stream(block: Block) -> None:
    """Make a block a stream before its first packet.

    Parameters
    ----------
    block : int64, shape (n,), read and written
        Laid out by :func:`~plc_kernels.stream.layout.lay_out`, of the size that it told. Time
        limits and costs of rungs, among its numbers, are the caller's to write.
    """
    rate = block[RATE]
    numbers = reals(block)
    numbers[SHARE_RATE] = -1.0 / (rate * SHARE_S)
    numbers[SMOOTHING] = -math.expm1(-1.0 / block[HOP])
    numbers[NOISE_SMOOTHING] = -math.expm1(-1000.0 / (rate * NOISE_MEAN_MS))
    numbers[DECAY] = math.exp(-1000.0 / (rate * DECAY_MS))
    least = SPEECH_FROM if rate < MUSIC_RATE else MUSIC_RATE_SPEECH_FROM
    numbers[SPEECH_LOGIT] = math.log(least / (1.0 - least))
    numbers[HURRY_MS] = numbers[PREPARE_MS] = np.inf
    write_ramp(array(block, RAMP))
    quick = array(block, QUICK_RAMP)
    quick[:] = np.float32(1.0)
    write_ramp(quick[: max(1, samples_of(rate, QUICK_RECOVERY_MS))])
    noise_windows(array(block, WINDOWS))
    block[N_FACTORS] = plan_fft(
        block[FRAME_SAMPLES],
        array(block, FACTORS),
        array(block, TWIDDLES),
    )
    if block[FILLS_NOISE]:
        noise_windows(array(block, FILLING_WINDOWS))
        block[N_FILLING_FACTORS] = plan_fft(
            block[FILLING_SAMPLES],
            array(block, FILLING_FACTORS),
            array(block, FILLING_TWIDDLES),
        )
    block[DEPTH] = 0
    forget_counts(block)
    forget_stream(block)


@kernel
def forget_counts(block: Block) -> None:
    """Set the statistics to 0."""
    block[STATS:LADDER] = 0
    block[ANSWERS] = 0
    block[UNSOUND] = 0
    block[TIMED] = 0
    array(block, TIMES)[:] = 0
    numbers = reals(block)
    numbers[GOOD_MAX_MS] = 0.0
    numbers[CONCEALED_MAX_MS] = 0.0


@kernel
def forget_stream(block: Block) -> None:
    """Make the stream as new, but for its statistics."""
    array(block, ARRIVED)[:] = 0
    block[PUSHED] = 0
    block[SLOT] = 0
    block[POSITION] = -block[SLOTS] * block[PACKET]
    array(block, RING)[:] = np.float32(0.0)
    block[HISTORY_AT] = 0
    block[HISTORY_FILLED] = 0
    block[HISTORY_TRUSTED] = 0
    block[IN_BURST] = 0
    block[INTEGER] = 0
    block[STEP] = 0
    block[RUNG] = block[LADDER + 2]
    block[FITTED] = 0
    block[FITTED_STEP] = -1
    block[EPOCH] += 1
    block[AWAKE_UNTIL] = 0
    block[PREPARED_AT] = -1
    if block[SECOND]:
        second_set(block)[PREPARED_AT] = -1
    start_limit(block)
    start_background(block)
    start_filling(block)
