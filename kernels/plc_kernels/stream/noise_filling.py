"""Noise filling in a stream's bursts: :mod:`plc_kernels.noise_filling` on its block.

It comes between what fills a burst and the fade. Speech gets none: its fills are let go after
20 ms.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import inlined, part
from plc_kernels.history import newest
from plc_kernels.noise import first_random, recent_levels
from plc_kernels.noise_filling import (
    BEGIN_MS,
    FULL_MS,
    LEVEL_ROWS,
    Filling,
    aim_at,
    fill_noise,
    first_frame,
)
from plc_kernels.stream.background import channel_state
from plc_kernels.stream.layout import (
    CHANNELS,
    FILLING_AGE,
    FILLING_FACTORS,
    FILLING_FRAME,
    FILLING_LEVELS,
    FILLING_NOISE,
    FILLING_PAST,
    FILLING_RANDOM,
    FILLING_SAMPLES,
    FILLING_SCRATCH,
    FILLING_SPECTRUM,
    FILLING_TWIDDLES,
    FILLING_WINDOWS,
    FILLS_NOISE,
    FRAME_SAMPLES,
    HISTORY_AT,
    N_FILLING_FACTORS,
    N_FILLING_TWIDDLES,
    PAST,
    POWER_SUM,
    RATE,
    RING,
    SEED,
    SPEECH,
    UNSTEADY,
    Block,
    complexes,
    float_rows,
    floats,
    samples_of,
    unsigned,
    words,
)


@inlined
def _filling(block: Block, c: int) -> Filling:
    """Return a channel's memory; workspace is shared."""
    channels, n = block[CHANNELS], block[FILLING_SAMPLES]
    bins = n // 2 + 1
    rows = c * LEVEL_ROWS
    return Filling(
        float_rows(block, FILLING_WINDOWS, (2, n)),
        words(block, FILLING_FACTORS, block[N_FILLING_FACTORS]),
        float_rows(block, FILLING_TWIDDLES, (2, block[N_FILLING_TWIDDLES])),
        float_rows(block, FILLING_SCRATCH, (4, n // 2)),
        floats(block, FILLING_FRAME, n),
        complexes(block, FILLING_SPECTRUM, bins),
        float_rows(block, FILLING_PAST, (channels, n))[c],
        float_rows(block, FILLING_NOISE, (channels, n))[c],
        float_rows(block, FILLING_LEVELS, (channels * LEVEL_ROWS, bins))[rows : rows + LEVEL_ROWS],
        unsigned(block, FILLING_RANDOM, 1),
    )


@part
def start_filling(block: Block) -> None:
    """Begin the random numbers of a new stream."""
    if block[FILLS_NOISE]:
        unsigned(block, FILLING_RANDOM, 1)[0] = first_random(np.uint64(block[SEED]))


@part
def begin_filling(block: Block) -> None:
    """Begin a burst."""
    block[FILLING_AGE] = 0
    if not block[FILLS_NOISE]:
        return
    channels = block[CHANNELS]
    past = float_rows(block, FILLING_PAST, (channels, block[FILLING_SAMPLES]))
    ring = float_rows(block, RING, (channels, block[PAST]))
    for c in range(channels):
        newest(ring[c], block[HISTORY_AT], past[c])


@part
def fill_noises(block: Block, fill: NDArray[np.float32]) -> None:
    """Keep the level of the bands of a burst's next samples.

    Parameters
    ----------
    block
        Of the stream.
    fill : float32, shape (channels, n), read and written
    """
    if not block[FILLS_NOISE] or block[UNSTEADY] or block[SPEECH]:
        return
    rate, age = block[RATE], block[FILLING_AGE]
    block[FILLING_AGE] += fill.shape[1]
    begin, full = samples_of(rate, BEGIN_MS), samples_of(rate, FULL_MS)
    first = first_frame(begin, block[FILLING_SAMPLES])
    random = unsigned(block, FILLING_RANDOM, 1)
    drawn = random[0]
    for c in range(fill.shape[0]):
        filling = _filling(block, c)
        if age <= first < age + fill.shape[1]:
            recent = floats(block, POWER_SUM, block[FRAME_SAMPLES] // 2 + 1)
            recent_levels(channel_state(block, c), recent)
            aim_at(rate, recent, filling)
        # Channels that are alike stay so.
        random[0] = drawn
        fill_noise(age, begin, full, filling, fill[c])
