"""The background of a stream, and its content: speech or music.

Frames are cut from the received samples regardless of packets, so that the same samples in packets
of another size give the same state.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.signal.content import LOGIT, LOUD, ROW, follow_content
from plc_kernels.signal.history import copy, newest
from plc_kernels.signal.noise import POWERS, NoiseState, comfort_noise, start_noise, track_noise
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.layout import (
    BANDS,
    CONTENT_COUNTS,
    CONTENT_INPUTS,
    CONTENT_LOGS,
    CONTENT_NUMBERS,
    CONTENT_UNITS,
    FACTORS,
    FLUX,
    FRAME,
    HALF_FRAME,
    HEARD_FRAME,
    LEVELS,
    NOISE_COUNTS,
    NOISE_TAIL,
    POWER_SUM,
    RANDOM,
    RING,
    SCRATCH,
    SPECTRUM,
    TWIDDLES,
    WINDOWS,
)
from plc_kernels.stream.neighbours import likeness

# Change of the band levels between frames, in dB, averaged as below: speech is mostly above.
_UNSTEADY_DB = 3.7
# Until an eighth of a second was loud, the change of the band levels alone tells speech.
_SPEECH_DB = 4.2
_LEAST_LOUD_FRAMES = 6
# It is speech from a probability of 0.5 on, and remains it down to 0.2: losses leave few frames.
_SPEECH_LOGIT, _REMAINS_LOGIT = 0.0, float(np.log(0.2 / 0.8))
# The change is averaged over 2 s. Before anything was heard the average stands a little below the
# limit, with the weight of a few frames.
_FLUX_FRAMES = 100
_PRIOR_FRAMES = 5
_PRIOR_DB = 3.6
# An outage that lasts is no longer covered up: after 3 s the noise falls by 6 dB a second, to
# -40 dB. By then the background may be another, and a dense chord in the floor should not drone.
_NOISE_HOLD_S = 3.0
_NOISE_FALL_DB_PER_S = 6.0
_NOISE_END_DB = -40.0
# Channels whose squared correlation is above this are copies of one another.
_COPY = 0.99
# The record of rehearsals before the first one: both err by half, with the weight of ten.
_PRIOR_REHEARSALS, _PRIOR_ROOT = 10, 0.5
TOLD = 2
"""Place among the counts of the content: whether its network says speech."""


@part
def channel_state(block: Block, c: int) -> NoiseState:
    """Return a channel's memory for :mod:`plc_kernels.signal.noise`; workspace is shared."""
    return NoiseState(
        at.array(block, FACTORS)[: block[at.N_FACTORS]],
        at.array(block, TWIDDLES),
        at.array(block, SCRATCH),
        at.array(block, WINDOWS),
        at.array(block, FRAME),
        at.array(block, SPECTRUM),
        at.array(block, LEVELS)[c],
        at.array(block, BANDS)[c],
        at.array(block, NOISE_COUNTS)[c],
        at.array(block, FLUX)[c],
        at.array(block, NOISE_TAIL)[c],
        at.array(block, RANDOM)[c : c + 1],
    )


@part
def start_background(block: Block) -> None:
    """Forget the background."""
    for c in range(block[at.CHANNELS]):
        start_noise(channel_state(block, c), np.uint64(block[at.SEED]) + np.uint64(c))
    at.array(block, CONTENT_NUMBERS)[:] = 0.0
    at.array(block, CONTENT_LOGS)[:] = np.float32(0.0)
    at.array(block, CONTENT_UNITS)[:] = np.float32(0.0)
    at.array(block, CONTENT_COUNTS)[:] = 0
    numbers = at.reals(block)
    numbers[at.NOISE_S] = 0.0
    numbers[at.FLUX_DB] = _PRIOR_DB
    block[at.FLUX_FRAMES] = _PRIOR_FRAMES
    _forget_rehearsals(block)
    block[at.REHEARSED_AT] = 0
    block[at.HEARD] = 0
    block[at.MADE] = block[at.HALF_SAMPLES]


@kernel
def is_speech(block: Block) -> bool:
    """Return whether the last seconds leave little doubt that it is speech, or the user says so."""
    if block[at.CONTENT]:
        return bool(block[at.CONTENT] == at.AS_SPEECH)
    if not _knows(block):
        return bool(at.reals(block)[at.FLUX_DB] > _SPEECH_DB)
    return bool(at.array(block, CONTENT_COUNTS)[TOLD] and not block[at.NO_SPEECH])


@kernel
def is_unsteady(block: Block) -> bool:
    """Return whether the last seconds were speech, or changed as fast and may be.

    Music that changes fast is predicted better by what is for steady content (docs/notebook.md,
    "Speech or music"); below 32 kHz there is less music, and less to tell it by.
    """
    speech = is_speech(block)
    if speech or block[at.CONTENT]:
        return speech
    is_music = block[at.RATE] >= at.MUSIC_RATE and _knows(block)
    return bool(at.reals(block)[at.FLUX_DB] > _UNSTEADY_DB and not is_music)


@kernel
def interrupt(block: Block) -> None:
    """Drop a half-filled frame; measure no change across a loss."""
    block[at.HEARD] = 0
    at.array(block, CONTENT_COUNTS)[ROW] = 0


@kernel
def listen(block: Block, rows: NDArray[np.float32], begin: int, stop: int) -> None:
    """Learn from received samples.

    They are those of ``rows``, float32, shape (channels, n), from ``begin`` on, before ``stop``.
    """
    at.reals(block)[at.NOISE_S] = 0.0
    size = block[at.FRAME_SAMPLES]
    frame = at.array(block, HEARD_FRAME)
    done = begin
    while done < stop:
        fill = block[at.HEARD]
        take = min(size - fill, stop - done)
        for c in range(rows.shape[0]):
            copy(rows[c, done : done + take], frame[c, fill : fill + take])
        block[at.HEARD] += take
        done += take
        if block[at.HEARD] == size:
            block[at.HEARD] = 0
            _analyse(block, frame)


@inlined
def _analyse(block: Block, frame: NDArray[np.float32]) -> None:
    powers = at.array(block, POWER_SUM)
    powers[:] = np.float32(0.0)
    flux_db = -1.0
    for c in range(frame.shape[0]):
        state = channel_state(block, c)
        copy(frame[c], state.frame)
        track_noise(state)
        flux_db = max(flux_db, float(state.flux[0]))
        power = state.levels[POWERS]
        for k in range(power.size):
            powers[k] += power[k]
    if not block[at.CONTENT]:
        follow_content(
            powers,
            at.array(block, CONTENT_NUMBERS),
            at.array(block, CONTENT_LOGS),
            at.array(block, CONTENT_COUNTS),
            at.array(block, CONTENT_INPUTS),
            at.array(block, CONTENT_UNITS),
        )
    if flux_db >= 0.0:
        numbers = at.reals(block)
        block[at.FLUX_FRAMES] = min(block[at.FLUX_FRAMES] + 1, _FLUX_FRAMES)
        numbers[at.FLUX_DB] += (flux_db - numbers[at.FLUX_DB]) / block[at.FLUX_FRAMES]
    _tell(block)


@kernel
def make_noise(block: Block, out: NDArray[np.float32]) -> None:
    """Write comfort noise that continues the noise made before: float32, shape (channels, n)."""
    half = block[at.HALF_SAMPLES]
    noise = at.array(block, HALF_FRAME)
    done = 0
    while done < out.shape[1]:
        if block[at.MADE] == half:
            _make_half_frame(block, noise)
        made = block[at.MADE]
        take = min(half - made, out.shape[1] - done)
        for c in range(out.shape[0]):
            copy(noise[c, made : made + take], out[c, done : done + take])
        block[at.MADE] += take
        done += take


@inlined
def _knows(block: Block) -> bool:
    return bool(at.array(block, CONTENT_COUNTS)[LOUD] >= _LEAST_LOUD_FRAMES)


@inlined
def _tell(block: Block) -> None:
    """Classify the content after a frame; speech is given up late."""
    if _knows(block):
        told = at.array(block, CONTENT_COUNTS)
        before = told[TOLD]
        least = _REMAINS_LOGIT if before else _SPEECH_LOGIT
        told[TOLD] = 1 if at.array(block, CONTENT_NUMBERS)[LOGIT] > least else 0
        if told[TOLD] > before:
            _forget_rehearsals(block)  # they were of what played before


@inlined
def _forget_rehearsals(block: Block) -> None:
    at.reals(block)[at.RECORD : at.RECORD + 2] = _PRIOR_ROOT
    block[at.REHEARSALS] = _PRIOR_REHEARSALS
    block[at.NO_SPEECH] = 0


@inlined
def _make_half_frame(block: Block, noise: NDArray[np.float32]) -> None:
    block[at.MADE] = 0
    numbers = at.reals(block)
    fall_db = _NOISE_FALL_DB_PER_S * max(0.0, numbers[at.NOISE_S] - _NOISE_HOLD_S)
    level = 10.0 ** (max(-fall_db, _NOISE_END_DB) / 20.0)
    numbers[at.NOISE_S] += noise.shape[1] / block[at.RATE]
    # Channels that are copies of one another stay so: they draw the same numbers.
    random = at.array(block, RANDOM)
    for c in range(noise.shape[0]):
        newest(at.array(block, RING)[c], block[at.HISTORY_AT], noise[c])
    for c in range(noise.shape[0] - 1, -1, -1):
        gain = 0.0
        for d in range(c - 1, -1, -1):
            alike, by = likeness(noise[d], noise[c])
            if alike > _COPY:
                random[c], gain = random[d], by
        comfort_noise(level, channel_state(block, c), noise[c])
        for i in range(noise.shape[1] if gain < 0.0 else 0):
            noise[c, i] = -noise[c, i]
