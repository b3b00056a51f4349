"""Noise in a stream's bursts: of their bands, and the background that they fade into.

The bands' (:mod:`plc_kernels.signal.noise_filling`) comes between what fills a burst and the fade.
Speech gets none: its fills are let go after 20 ms.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, part
from plc_kernels.signal.fade import burst_gain, fade_into
from plc_kernels.signal.history import copy, newest
from plc_kernels.signal.noise import first_random, recent_levels
from plc_kernels.signal.noise_filling import (
    BEGIN_MS,
    FULL_MS,
    Filling,
    aim_at,
    fill_noise,
    first_frame,
)
from plc_kernels.stream import background, fill_limit
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block, float_rows, floats
from plc_kernels.stream.layout import (
    FILLING_FACTORS,
    FILLING_FRAME,
    FILLING_LEVELS,
    FILLING_NOISE,
    FILLING_PAST,
    FILLING_RANDOM,
    FILLING_SCRATCH,
    FILLING_SPECTRUM,
    FILLING_TWIDDLES,
    FILLING_WINDOWS,
    GAIN,
    NOISE,
    POWER_SUM,
    RING,
)


@inlined
def _filling(block: Block, c: int) -> Filling:
    return Filling(
        at.array(block, FILLING_WINDOWS),
        at.array(block, FILLING_FACTORS)[: block[at.N_FILLING_FACTORS]],
        at.array(block, FILLING_TWIDDLES),
        at.array(block, FILLING_SCRATCH),
        at.array(block, FILLING_FRAME),
        at.array(block, FILLING_SPECTRUM),
        at.array(block, FILLING_PAST)[c],
        at.array(block, FILLING_NOISE)[c],
        at.array(block, FILLING_LEVELS)[c],
        at.array(block, FILLING_RANDOM),
    )


@part
def start_filling(block: Block) -> None:
    """Begin the random numbers of a new stream."""
    if block[at.FILLS_NOISE]:
        at.array(block, FILLING_RANDOM)[0] = first_random(np.uint64(block[at.SEED]))


@part
def begin_filling(block: Block) -> None:
    """Begin the bands' noise of a burst."""
    block[at.FILLING_AGE] = 0
    if not block[at.FILLS_NOISE]:
        return
    past, ring = at.array(block, FILLING_PAST), at.array(block, RING)
    for c in range(block[at.CHANNELS]):
        newest(ring[c], block[at.HISTORY_AT], past[c])


@part
def _fill_bands(block: Block, fill: NDArray[np.float32]) -> None:
    """Keep the level of the bands of a burst's next samples: float32, shape (channels, n)."""
    if not block[at.FILLS_NOISE] or block[at.UNSTEADY] or block[at.SPEECH]:
        return
    rate, age = block[at.RATE], block[at.FILLING_AGE]
    block[at.FILLING_AGE] += fill.shape[1]
    begin, full = at.samples_of(rate, BEGIN_MS), at.samples_of(rate, FULL_MS)
    first = first_frame(begin, block[at.FILLING_SAMPLES])
    random = at.array(block, FILLING_RANDOM)
    drawn = random[0]
    for c in range(fill.shape[0]):
        filling = _filling(block, c)
        if age <= first < age + fill.shape[1]:
            recent = at.array(block, POWER_SUM)[: block[at.FRAME_BINS]]
            recent_levels(background.channel_state(block, c), recent)
            aim_at(rate, recent, filling)
        # Channels that are alike stay so.
        random[0] = drawn
        fill_noise(age, begin, full, filling, fill[c])


@part
def fade(block: Block, fill: NDArray[np.float32]) -> bool:
    """Keep the level of the burst's next samples, or fade them, as its age asks.

    Return whether to trust them.
    """
    n = fill.shape[1]
    age = block[at.AGE]
    faded = has_faded(block)
    if not faded:
        _fill_bands(block, fill)
    block[at.AGE] += n
    if block[at.AGE] <= block[at.HOLD]:
        return True
    noise = float_rows(block, NOISE, (fill.shape[0], n))
    background.make_noise(block, noise)
    fill_limit.limit_noise(block, block[at.PLAYED_AT], noise)
    if faded:
        for c in range(fill.shape[0]):
            copy(noise[c], fill[c])
        return False
    gain = floats(block, GAIN, n)
    burst_gain(age, block[at.HOLD], block[at.FADE_SAMPLES], gain)
    for c in range(fill.shape[0]):
        fade_into(noise[c], gain, fill[c])
    return False


@inlined
def has_faded(block: Block) -> bool:
    """Return whether only the background is left of the burst."""
    return bool(block[at.AGE] >= block[at.HOLD] + block[at.FADE_SAMPLES])
