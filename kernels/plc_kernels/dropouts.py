"""Dropouts inside packets that arrived: sound that something on the way cut off or said again.

Three things are looked for, in all channels at once, by equality of samples alone: digital silence
and a stuck sample (a run of equal frames) that cut loud sound off, and blocks that say again what
stood 4 to 40 ms before, or up to a packet where that is longer. No later packet is waited for, so
what tells damage from rests and from tones is what stood before it: a rest does not begin at full
level, a copy begins where its source ends, and neither belongs to a pattern.

::

    line   | past: received frames          | the packet |
                             begin of a run ─┴─── end     a run may begin before the packet
           |◄──── lag ─────►| copy           |

What lasts too long was none: from then on it is let through, and for 10 s no other of its kind is
believed. In float32, sums of squares in float64.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import inlined, kernel, part

(KNOWN, KIND, LENGTH, LAG, RUN, CROWD, STILL_DOUBT, COPY_DOUBT) = range(8)
"""Words of the state: frames of the past that were received; what was going on at the packet's end,
for how many frames, and at which lag; frames of the run at the packet's end; how crowded runs were
lately, and for how long a kind is not believed, in frames."""
STATE_WORDS = 8
NOTHING, STILL, COPY = range(3)

LAG_MS = 40.0
"""Longest lag of a copy in short packets."""
MORE_MS = 5.0
"""Received sound that is kept beyond the longest lag."""
LONGEST_MS = 200.0
"""What lasts longer is a pause, or a tone."""
DOUBT_MS = 10_000.0
"""A kind is not believed for so long after that."""

# Shortest run of zeros, where it goes on at the packet's end and where it does not; of a sample
# that is stuck.
_OPEN_MS, _CLOSED_MS, _STUCK_MS = 0.5, 2.0, 2.0
# Sound right before a run, and at large; the former is at least so loud, and not far below.
_NEAR_MS, _WIDE_MS, _LEAST_WIDE_MS = 2.0, 20.0, 5.0
_LOUD_RMS, _FALL = 10 ** (-45 / 20), 10 ** (-10 / 20)
# Up to two steps of 16 bits are silence; a stuck sample is no clipped one.
_ZERO = np.float32(2.5 / 32768)
_CLIPPED = 0.9
# Runs longer than this count for the crowd, each as so much time; a crowd is a pulse wave.
_WAVE_MS, _CROWD_EACH_MS, _CROWD_MS, _CROWD_MOST_MS = 1.0, 50.0, 150.0, 400.0
# What repeats sooner is a tone. A match of so many frames is looked for this often.
_LEAST_LAG_MS = 4.0
_ALIKE, _ANCHOR_MS = 8, 4.0
_OPEN_COPY_MS, _CLOSED_COPY_MS = 2.0, 4.0
_COPY_RMS = 10 ** (-50 / 20)
# Sound between two dropouts that is no longer than this is lost, too.
_BETWEEN_MS = 1.0


@inlined
def _same(line: NDArray[np.float32], a: int, b: int) -> bool:
    """Return whether two frames are equal in all channels; NaN equals nothing."""
    same = True
    for c in range(line.shape[1]):
        same = same and line[a, c] == line[b, c]
    return same


@part
def _rms(line: NDArray[np.float32], begin: int, stop: int, channel: int) -> float:
    total = 0.0
    for i in range(begin, stop):
        total += float(line[i, channel]) * float(line[i, channel])
    return float(np.sqrt(total / max(1, stop - begin)))


@part
def _cuts(rate: int, line: NDArray[np.float32], first: int, begin: int, length: int) -> bool:
    """Return whether a run of equal frames cuts loud sound off."""
    near = int(_NEAR_MS * rate / 1000.0)
    wide = min(begin - first, int(_WIDE_MS * rate / 1000.0))
    if wide < int(_LEAST_WIDE_MS * rate / 1000.0):
        return False
    loud = False
    for c in range(line.shape[1]):
        value = abs(line[begin, c])
        rms = _rms(line, begin - near, begin, c)
        if rms >= _LOUD_RMS and rms >= _FALL * _rms(line, begin - wide, begin, c):
            loud = True
        if value > _ZERO:
            if length < int(_STUCK_MS * rate / 1000.0):
                return False
            peak = np.float32(0.0)
            for i in range(begin - wide, begin):
                peak = max(peak, abs(line[i, c]))
            if value >= _CLIPPED * peak:
                return False
    return loud


@part
def _copied(
    rate: int, line: NDArray[np.float32], first: int, longest: int, anchor: int
) -> tuple[int, int, int]:
    """Return begin, end and lag of the copy around an anchor; lag 0: there is none."""
    least = int(_LEAST_LAG_MS * rate / 1000.0)
    moving = 0
    for i in range(anchor + 1, anchor + _ALIKE):
        moving += not _same(line, i, i - 1)
    if 2 * moving < _ALIKE:
        return 0, 0, 0
    for lag in range(1, min(longest, anchor - first) + 1):
        if line[anchor, 0] != line[anchor - lag, 0]:
            continue
        alike = 0
        while alike < _ALIKE and _same(line, anchor + alike, anchor + alike - lag):
            alike += 1
        if alike < _ALIKE:
            continue
        if lag < least:
            return 0, 0, 0
        begin, stop = anchor, anchor + _ALIKE
        while begin - 1 - lag >= first and _same(line, begin - 1, begin - 1 - lag):
            begin -= 1
        while stop < line.shape[0] and _same(line, stop, stop - lag):
            stop += 1
        # What was the same all along is a tone, as far as is known.
        return (0, 0, 0) if begin - 1 - lag < first else (begin, stop, lag)
    return 0, 0, 0


@part
def _go_on(rate: int, line: NDArray[np.float32], past: int, state: NDArray[np.int64]) -> int:
    """Return where what was going on before the packet ends."""
    kind, lag, stop = state[KIND], state[LAG], past
    if kind == NOTHING:
        return past
    while stop < line.shape[0] and (
        _same(line, stop, past - 1) if kind == STILL else _same(line, stop, stop - lag)
    ):
        stop += 1
    state[LENGTH] += stop - past
    if state[LENGTH] > int(LONGEST_MS * rate / 1000.0):
        state[STILL_DOUBT if kind == STILL else COPY_DOUBT] = int(DOUBT_MS * rate / 1000.0)
        stop = past
    if stop == past or stop < line.shape[0]:
        state[KIND] = NOTHING
    return stop


@part
def _find_runs(
    rate: int,
    line: NDArray[np.float32],
    past: int,
    done: int,
    state: NDArray[np.int64],
    marked: NDArray[np.int8],
) -> None:
    """Mark the runs of equal frames that cut sound off, behind ``done``."""
    end = line.shape[0]
    begin = past - state[RUN]
    first = past - state[KNOWN]
    for i in range(past, end + 1):
        if i < end and _same(line, i, i - 1):
            continue
        length = i - begin
        if length >= int(_WAVE_MS * rate / 1000.0) and i < end:
            state[CROWD] = min(
                state[CROWD] + int(_CROWD_EACH_MS * rate / 1000.0),
                int(_CROWD_MOST_MS * rate / 1000.0),
            )
        if (
            i > done
            and length >= int((_OPEN_MS if i == end else _CLOSED_MS) * rate / 1000.0)
            and length <= int(LONGEST_MS * rate / 1000.0)
            and state[STILL_DOUBT] == 0
            and state[CROWD] <= int(_CROWD_MS * rate / 1000.0)
            and _cuts(rate, line, first, begin, length)
        ):
            marked[max(0, begin - past) : i - past] = np.int8(1)
            if i == end:
                state[KIND], state[LENGTH] = STILL, length
        if i < end:
            begin = i
    state[RUN] = min(end - begin, 2 * int(LONGEST_MS * rate / 1000.0))


@part
def _find_copies(
    rate: int,
    line: NDArray[np.float32],
    past: int,
    state: NDArray[np.int64],
    marked: NDArray[np.int8],
) -> None:
    """Mark the blocks that say again what stood before."""
    end = line.shape[0]
    first = past - state[KNOWN]
    longest = past - int(MORE_MS * rate / 1000.0)
    apart = int(_ANCHOR_MS * rate / 1000.0)
    anchor = end - _ALIKE
    while anchor >= past:
        if marked[anchor - past] == 0:
            begin, stop, lag = _copied(rate, line, first, longest, anchor)
            least = int((_OPEN_COPY_MS if stop == end else _CLOSED_COPY_MS) * rate / 1000.0)
            if lag > 0 and stop - begin >= least:
                loud = False
                for c in range(line.shape[1]):
                    loud = loud or _rms(line, begin, stop, c) >= _COPY_RMS
                if loud:
                    marked[max(0, begin - past) : stop - past] = np.int8(1)
                    if stop == end:
                        state[KIND], state[LENGTH], state[LAG] = COPY, stop - begin, lag
        anchor -= apart


@kernel
def find_dropouts(
    rate: int,
    packet: int,
    line: NDArray[np.float32],
    state: NDArray[np.int64],
    marked: NDArray[np.int8],
    parts: NDArray[np.int64],
) -> int:
    """Find what of a packet is a dropout; make it part of the past.

    Parameters
    ----------
    rate : int
        In Hz.
    packet : int
        Frames of the packet.
    line : float32, shape (past + packet, channels), read and written
        The past, :data:`MORE_MS` longer than the longest lag, and the packet.
    state : int64, shape (STATE_WORDS,), read and written
        All 0 at first.
    marked : int8, shape (packet,), written
        1 where a dropout is.
    parts : int64, shape (packet + 1,), written
        Begin and end of each dropout, counted from the packet's first frame.

    Returns
    -------
    int
        Dropouts found.
    """
    past = line.shape[0] - packet
    marked[:] = np.int8(0)
    for doubt in (STILL_DOUBT, COPY_DOUBT, CROWD):
        state[doubt] = max(0, state[doubt] - packet)
    done = _go_on(rate, line, past, state)
    marked[: done - past] = np.int8(1)
    _find_runs(rate, line, past, done, state, marked)
    if state[KIND] == NOTHING and state[COPY_DOUBT] == 0:
        _find_copies(rate, line, past, state, marked)
    between = int(_BETWEEN_MS * rate / 1000.0)
    count = 0
    for i in range(packet):
        if marked[i] == 0:
            continue
        if count > 0 and i - parts[2 * count - 1] <= between:
            parts[2 * count - 1] = i + 1
        else:
            parts[2 * count] = i
            parts[2 * count + 1] = i + 1
            count += 1
    state[KNOWN] = min(past, state[KNOWN] + packet)
    for i in range(past):
        for c in range(line.shape[1]):
            line[i, c] = line[i + packet, c]
    return count


@kernel
def skip_packet(rate: int, packet: int, state: NDArray[np.int64]) -> None:
    """Take note of a packet that did not arrive: its sound is not known.

    Parameters
    ----------
    rate : int
        In Hz.
    packet : int
        Frames of the packet.
    state : int64, shape (STATE_WORDS,), read and written
        As of :func:`find_dropouts`.
    """
    for doubt in (STILL_DOUBT, COPY_DOUBT, CROWD):
        state[doubt] = max(0, state[doubt] - packet)
    state[KNOWN] = 0
    state[RUN] = 0
    state[LENGTH] += packet
    if state[KIND] == COPY or state[LENGTH] > int(LONGEST_MS * rate / 1000.0):
        state[KIND] = NOTHING
