"""The background of a stream, and its content: speech or music.

Frames are cut from the received samples regardless of packets, so that the same samples in packets
of another size give the same state.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.signal.content import LEVEL, LOGIT, LOUD, ROW, follow_content
from plc_kernels.signal.history import copy, newest
from plc_kernels.signal.noise import POWERS, NoiseState, comfort_noise, start_noise, track_noise
from plc_kernels.signal.predict import try_out
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
    FIT_BACKWARD,
    FIT_FORWARD,
    FIT_MIRROR,
    FIT_PAST,
    FLUX,
    FRAME,
    HALF_FRAME,
    HEARD_FRAME,
    LEVELS,
    LINE,
    NOISE_COUNTS,
    NOISE_TAIL,
    POWER_SUM,
    PREDICTOR,
    RANDOM,
    RING,
    SCRATCH,
    SPECTRUM,
    TWIDDLES,
    WINDOWS,
)

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
# A rehearsal foretells 20 ms, thinned to 4 kHz, as music is and as speech is: by 30 ms from 150 ms
# (less where less is kept, down to 75 ms), and by 10 ms from 25 ms; if the last frame was at most
# 20 dB below the loudest. Once the record is settled, one in four seconds is enough.
_THINNED_HZ, _TRUTH = 4000, 80
_KNOWN, _LEAST_KNOWN, _KNOWN_PER_ORDER = 600, 300, 5
_SHORT_KNOWN, _SHORT_ORDER = 100, 40
_APART_S, _SETTLED_APART_S = 0.32, 4.0
# The record before the first rehearsal: both err by half, with the weight of ten.
_PRIOR_REHEARSALS, _MOST_REHEARSALS, _PRIOR_ROOT = 10, 40, 0.5
# It is no speech where the former is 1.3 dB better, or errs by less than 0.45; and remains none
# down to half of that, or up to 0.5 (docs/notebook.md, "Speech or music").
_BETTER, _REMAINS_BETTER = 10.0 ** (1.3 / 20.0), 10.0 ** (0.65 / 20.0)
_FORETOLD, _REMAINS_FORETOLD = 0.45, 0.5
# Place among the counts of the content: whether it is speech.
_TOLD = 2


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
    numbers[at.RECORD : at.RECORD + 2] = _PRIOR_ROOT
    block[at.REHEARSALS] = _PRIOR_REHEARSALS
    block[at.REHEARSED_AT] = block[at.NO_SPEECH] = 0
    block[at.HEARD] = 0
    block[at.MADE] = block[at.HALF_SAMPLES]


@kernel
def is_speech(block: Block) -> bool:
    """Return whether the last seconds leave little doubt that it is speech, or the user says so."""
    if block[at.CONTENT]:
        return bool(block[at.CONTENT] == at.AS_SPEECH)
    if not _knows(block):
        return bool(at.reals(block)[at.FLUX_DB] > _SPEECH_DB)
    return bool(at.array(block, CONTENT_COUNTS)[_TOLD] and not block[at.NO_SPEECH])


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

    Parameters
    ----------
    block : the stream's
    rows : float32, shape (channels, n)
    begin, stop : int
        The first of them, and the one after the last.
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


@part
def rehearse(block: Block) -> None:
    """Compare both predictions on the last received samples, if it is time.

    In streams that content's network takes for speech, from MUSIC_RATE on; the record may overrule
    it. Rehearsals take their samples from the history, and work in the memory of fits.
    """
    counts = at.array(block, CONTENT_COUNTS)
    if not counts[_TOLD] or counts[ROW] < 2 or block[at.PLAYED_AT] < block[at.REHEARSED_AT]:
        return
    rate = block[at.RATE]
    stride = int(np.rint(rate / _THINNED_HZ))
    kept = min(block[at.HISTORY_TRUSTED], block[at.FIT_SAMPLES]) // stride - _TRUTH - 1
    size = min(kept, _KNOWN, _KNOWN_PER_ORDER * block[at.MOST_ORDER])
    loud = at.array(block, CONTENT_INPUTS)[LEVEL] > np.float32(0.0)
    if rate < at.MUSIC_RATE or size < _LEAST_KNOWN or not loud:
        return
    past = at.array(block, FIT_PAST)[: (size + _TRUTH + 1) * stride]
    work = at.array(block, FIT_FORWARD)
    x = work[work.size - size - _TRUTH :]
    x[:] = np.float32(0.0)
    for row in at.array(block, RING):
        newest(row, block[at.HISTORY_AT], past)
        _thin(past, stride, x)
    settled = block[at.REHEARSALS] == _MOST_REHEARSALS
    block[at.REHEARSALS] += not settled
    apart_s = _SETTLED_APART_S if settled else _APART_S
    block[at.REHEARSED_AT] = block[at.PLAYED_AT] + int(apart_s * rate)
    numbers = at.reals(block)
    for k in range(2):
        order = _SHORT_ORDER if k else size // _KNOWN_PER_ORDER
        root = try_out(
            order,
            x[size - _SHORT_KNOWN if k else 0 : size],
            x[size:],
            work,
            at.array(block, FIT_BACKWARD),
            at.array(block, FIT_MIRROR),
            at.array(block, PREDICTOR),
            at.array(block, LINE),
        )
        numbers[at.RECORD + k] += (root - numbers[at.RECORD + k]) / block[at.REHEARSALS]
    better = _REMAINS_BETTER if block[at.NO_SPEECH] else _BETTER
    foretold = _REMAINS_FORETOLD if block[at.NO_SPEECH] else _FORETOLD
    steady, unsteady = numbers[at.RECORD], numbers[at.RECORD + 1]
    block[at.NO_SPEECH] = unsteady > better * steady or steady < foretold


@inlined
def _thin(past: NDArray[np.float32], stride: int, out: NDArray[np.float32]) -> None:
    """Add the mean of every two ``stride`` samples, weighed as a triangle."""
    for i in range(out.size + 1):
        piece = past[i * stride : (i + 1) * stride]
        rising = whole = np.float32(0.0)
        for j in range(piece.size):
            whole += piece[j]
            rising += np.float32(j + 1) * piece[j]
        if i < out.size:
            out[i] += rising
        if i > 0:
            out[i - 1] += np.float32(stride) * whole - rising


@kernel
def make_noise(block: Block, out: NDArray[np.float32]) -> None:
    """Write comfort noise that continues the noise made before.

    Parameters
    ----------
    block : the stream's
    out : float32, shape (channels, n), written
    """
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
    """Return whether enough was heard to tell speech from music."""
    return bool(at.array(block, CONTENT_COUNTS)[LOUD] >= _LEAST_LOUD_FRAMES)


@inlined
def _tell(block: Block) -> None:
    """Classify the content after a frame; speech is given up late."""
    if _knows(block):
        told = at.array(block, CONTENT_COUNTS)
        least = _REMAINS_LOGIT if told[_TOLD] else _SPEECH_LOGIT
        told[_TOLD] = 1 if at.array(block, CONTENT_NUMBERS)[LOGIT] > least else 0


@inlined
def _make_half_frame(block: Block, noise: NDArray[np.float32]) -> None:
    block[at.MADE] = 0
    numbers = at.reals(block)
    fall_db = _NOISE_FALL_DB_PER_S * max(0.0, numbers[at.NOISE_S] - _NOISE_HOLD_S)
    level = 10.0 ** (max(-fall_db, _NOISE_END_DB) / 20.0)
    numbers[at.NOISE_S] += noise.shape[1] / block[at.RATE]
    for c in range(noise.shape[0]):
        comfort_noise(level, channel_state(block, c), noise[c])
