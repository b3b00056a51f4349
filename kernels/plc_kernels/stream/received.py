"""Samples that arrived: played as they came, at first crossfaded out of a concealment.

Who cuts a packet out often mutes or clips a sample too many, and one such sample spoils the fit and
all that a concealment goes on from. A stream has played it before it knows of the loss, so what was
received is played as it came; the history gets what the samples before it predict.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, part
from plc_kernels.signal.content import LEVEL, ROW
from plc_kernels.signal.edges import (
    LEAST_EDGE_SAMPLES,
    EdgeSpace,
    count_damaged,
    is_extreme,
    mend_end,
)
from plc_kernels.signal.fade import crossfade
from plc_kernels.signal.history import append, copy, newest
from plc_kernels.signal.predict import relative_error
from plc_kernels.stream import background, fill_limit, queue
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block, float_rows
from plc_kernels.stream.extend import predictor_of
from plc_kernels.stream.layout import (
    BRIDGE_ROWS,
    CONTENT_COUNTS,
    CONTENT_INPUTS,
    EDGE_FIT,
    EDGE_LINE,
    EDGE_ROWS,
    FILL,
    PLAYING,
    QUICK_RAMP,
    RAMP,
    RING,
    array,
)
from plc_kernels.stream.noise import fade

# Where the concealment differs from the received samples by more than this share of their energy,
# a long crossfade only spoils received samples. Not in unsteady content (docs/notebook.md).
_APART = 0.1
# A rehearsal foretells 20 ms, thinned to 4 kHz, as music is and as speech is: by 30 ms from 150 ms
# (less where less is kept, down to 75 ms), and by 10 ms from 25 ms; if the last frame was at most
# 20 dB below the loudest. Once the record is settled, one in four seconds is enough; one that
# overrules is of fewer, or speech behind music would be taken for music for a minute.
_THINNED_HZ, _TRUTH = 4000, 80
_KNOWN, _LEAST_KNOWN, _KNOWN_PER_ORDER = 600, 300, 5
_SHORT_KNOWN, _SHORT_ORDER = 100, 40
_EVERY_S, _SETTLED_EVERY_S = 0.32, 4.0
_MOST_REHEARSALS, _MOST_OVERRULING = 40, 20
# It is no speech where the former is 2 dB better, or errs by less than 0.38; and remains none down
# to half of that, or up to 0.42 (docs/notebook.md, "Speech or music").
_BETTER, _REMAINS_BETTER = 10.0 ** (2.0 / 20.0), 10.0 ** (1.0 / 20.0)
_FORETOLD, _REMAINS_FORETOLD = 0.38, 0.42


@part
def play_received(block: Block) -> None:
    """Play a part as it came."""
    begin, stop = block[at.PART_BEGIN], block[at.PART_STOP]
    received = queue.slot_rows(block, block[at.SLOT])
    rows = array(block, PLAYING)
    for c in range(rows.shape[0]):
        copy(received[c, begin:stop], rows[c, begin:stop])
    learn(block)


@part
def recover(block: Block) -> None:
    """Crossfade from the continued concealment to the first received samples."""
    channels, begin, stop = block[at.CHANNELS], block[at.PART_BEGIN], block[at.PART_STOP]
    n = block[at.FILL_SAMPLES]
    recovered = block[at.RECOVERED]
    tail = float_rows(block, FILL, (channels, n))
    fade(block, tail)
    # A packet that came late ends the gap before its bridge: the rest of that leads in.
    bridged, rows = block[at.BRIDGED], array(block, BRIDGE_ROWS)
    left = min(block[at.BRIDGE] - bridged, n)
    for c in range(channels):
        copy(rows[c, bridged : bridged + left], tail[c, :left])
    block[at.BRIDGED] += left
    fill_limit.hold(block, block[at.PLAYED_AT], tail)
    received = queue.slot_rows(block, block[at.SLOT])
    if recovered == 0:
        steady = not background.is_unsteady(block)
        for c in range(channels):
            block[at.QUICK + c] = steady and _apart(tail[c], received[c, begin : begin + n])
    playing = array(block, PLAYING)
    for c in range(channels):
        copy(received[c, begin:stop], playing[c, begin:stop])
        if not block[at.KEPT] >> c & 1:
            ramp = array(block, QUICK_RAMP) if block[at.QUICK + c] else array(block, RAMP)
            crossfade(received[c, begin : begin + n], ramp[recovered : recovered + n], tail[c])
            copy(tail[c], playing[c, begin : begin + n])
    block[at.RECOVERED] += n
    block[at.CROSSFADED_SAMPLES] += n
    if block[at.RECOVERED] == block[at.RAMP_SAMPLES]:
        block[at.IN_BURST] = 0


@inlined
def _apart(continued: NDArray[np.float32], received: NDArray[np.float32]) -> bool:
    """Return whether a concealment differs much from received samples, shape (n,)."""
    error = 0.0
    energy = 0.0
    for i in range(received.size):
        difference = continued[i] - received[i]
        error += difference * difference
        energy += received[i] * received[i]
    return error > _APART * energy


@part
def learn(block: Block) -> None:
    """Learn from a received part that lies in PLAYING."""
    begin, stop = block[at.PART_BEGIN], block[at.PART_STOP]
    background.listen(block, queue.slot_rows(block, block[at.SLOT]), begin, stop)
    remember(block, 1)
    _mend(block)
    _rehearse(block)


@part
def remember(block: Block, trusted: int) -> None:
    """Take the part in PLAYING into the history."""
    append(
        array(block, PLAYING),
        block[at.PART_BEGIN],
        block[at.PART_STOP],
        trusted,
        array(block, RING),
        block[at.HISTORY_AT : at.HISTORY_AT + 3],
    )


@inlined
def _mend(block: Block) -> None:
    """Mend the history's end, after a received part, where it is damaged."""
    if block[at.HISTORY_FILLED] < LEAST_EDGE_SAMPLES:
        return
    ring = array(block, RING)
    last = (block[at.HISTORY_AT] if block[at.HISTORY_AT] else ring.shape[1]) - 1
    for c in range(ring.shape[0]):
        if is_extreme(ring[c, last]):
            _mend_channel(block, c)


@part
def _mend_channel(block: Block, c: int) -> None:
    rows, order = array(block, EDGE_ROWS), block[at.EDGE_NUMBERS] - 1
    space = EdgeSpace(rows[1:], array(block, EDGE_FIT), array(block, EDGE_LINE))
    x = rows[0, : min(rows.shape[1], block[at.HISTORY_FILLED])]
    ring = array(block, RING)[c]
    newest(ring, block[at.HISTORY_AT], x)
    count = count_damaged(x, order, False, space)
    if not count:
        return
    mend_end(x, count, order, space)
    for i in range(count):
        k = block[at.HISTORY_AT] - count + i
        ring[k if k >= 0 else k + ring.size] = x[x.size - count + i]


@part
def _rehearse(block: Block) -> None:
    """Compare both predictions on the last received samples, if it is time.

    In streams that content's network takes for speech, from MUSIC_RATE on; the record may overrule
    it. Rehearsals take their samples from the history, and work in the memory of fits.
    """
    counts = array(block, CONTENT_COUNTS)
    if (
        not counts[background.TOLD]
        or counts[ROW] < 2
        or block[at.PLAYED_AT] < block[at.REHEARSED_AT]
    ):
        return
    rate = block[at.RATE]
    stride = int(np.rint(rate / _THINNED_HZ))
    kept = min(block[at.HISTORY_TRUSTED], block[at.FIT_SAMPLES]) // stride - _TRUTH - 1
    size = min(kept, _KNOWN, _KNOWN_PER_ORDER * block[at.MOST_ORDER])
    loud = array(block, CONTENT_INPUTS)[LEVEL] > np.float32(0.0)
    if rate < at.MUSIC_RATE or size < _LEAST_KNOWN or not loud:
        return
    p = predictor_of(block)
    past = p.past[: (size + _TRUTH + 1) * stride]
    x = p.forward[p.forward.size - size - _TRUTH :]
    x[:] = np.float32(0.0)
    for row in array(block, RING):
        newest(row, block[at.HISTORY_AT], past)
        _thin(past, stride, x)
    settled = block[at.REHEARSALS] == _MOST_REHEARSALS
    most = _MOST_OVERRULING if block[at.NO_SPEECH] else _MOST_REHEARSALS
    block[at.REHEARSALS] = min(block[at.REHEARSALS] + 1, most)
    every_s = _SETTLED_EVERY_S if settled else _EVERY_S
    block[at.REHEARSED_AT] = block[at.PLAYED_AT] + int(every_s * rate)
    numbers = at.reals(block)
    for k in range(2):
        order = _SHORT_ORDER if k else size // _KNOWN_PER_ORDER
        known = x[size - _SHORT_KNOWN : size] if k else x[:size]
        root = relative_error(p, order, known, x[size:])
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
