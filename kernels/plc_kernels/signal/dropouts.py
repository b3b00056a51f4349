"""Dropouts inside packets that arrived: sound that something on the way cut off or said again.

Three things are looked for in each channel, by equality of samples alone: digital silence and a
stuck sample (a run of equal samples) that cut loud sound off, and blocks that say again what stood
4 to 40 ms before, or up to a packet where that is longer. No later packet is waited for, so what
tells damage from rests and from tones is what stood before it: a rest does not begin at full level,
a copy begins where its source ends, and neither belongs to a pattern.

::

    line   | past: received samples         | the packet |
                             begin of a run ─┴─── end     a run may begin before the packet
           |◄──── lag ─────►| copy           |

Short runs of zeros that end in the packet are judged by the jumps at both their ends. A run louder
than all before it is a dropout where a jump leads into it, and it is longer than clipped sound
stays at its limit. What lasts too long was none: from then on it is let through, and for 10 s no
other of its kind is believed. In float32, sums of squares in float64.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel, part
from plc_kernels.signal.level import largest
from plc_kernels.signal.packet import CHANNELS_AT

(KNOWN, KIND, LENGTH, LAG, RUN, CROWD, STILL_DOUBT, COPY_DOUBT) = range(8)
"""Words of a channel's state: samples of the past that were received; what was going on at the
packet's end, for how many samples, and at which lag; samples of the run at the packet's end; how
crowded runs were lately, and for how long a kind is not believed, in samples."""
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
# A louder run: shortest, and the jump into it over the largest step of the moving sound before, or
# the mean step where it is longer than clipped sound stays; or so much louder than what it follows.
_LOUD_RUN_MS, _LONG_RUN_MS, _LOUD_JUMP, _LOUDER = 4.0, 8.0, 2.0, 8.0
# Runs of zeros from so many samples on, where the jumps at both ends are so much of the mean step.
_SHORT_RUN, _SHORT_JUMP, _MOVING_MS = 5, 2.0, 2.0
# Runs longer than this count for the crowd, each as so much time; a crowd is a pulse wave.
_WAVE_MS, _CROWD_EACH_MS, _CROWD_MS, _CROWD_MOST_MS = 1.0, 50.0, 150.0, 400.0
# What repeats sooner is a tone. A match of so many frames is looked for this often.
_LEAST_LAG_MS = 4.0
_ALIKE, _ANCHOR_MS = 8, 4.0
_OPEN_COPY_MS, _CLOSED_COPY_MS = 2.0, 4.0
_COPY_RMS = 10 ** (-50 / 20)
# Sound between two dropouts that is no longer than this is lost, too.
_BETWEEN_MS = 1.0


@part
def _rms(row: NDArray[np.float32], begin: int, stop: int) -> float:
    total = 0.0
    for i in range(begin, stop):
        total += float(row[i]) * float(row[i])
    return float(np.sqrt(total / max(1, stop - begin)))


@part
def _steps(row: NDArray[np.float32], begin: int, stop: int) -> tuple[bool, float, float]:
    moving, total, most = 0, 0.0, 0.0
    for i in range(begin + 1, stop):
        size = float(abs(row[i] - row[i - 1]))
        moving += size > 0.0
        total += size
        most = max(most, size)
    return 2 * moving >= stop - begin, total / max(1, stop - begin - 1), most


@part
def _cuts(rate: int, row: NDArray[np.float32], first: int, begin: int, length: int) -> bool:
    """Return whether a run of equal samples cuts loud sound off."""
    near = int(_NEAR_MS * rate / 1000.0)
    wide = min(begin - first, int(_WIDE_MS * rate / 1000.0))
    least = int(_LEAST_WIDE_MS * rate / 1000.0)
    if wide < least:
        return False
    value = abs(row[begin])
    rms = _rms(row, begin - near, begin)
    loud = rms >= _LOUD_RMS and rms >= _FALL * _rms(row, begin - wide, begin)
    if value <= _ZERO:
        return loud
    if length < int(_STUCK_MS * rate / 1000.0):
        return False
    if value < _CLIPPED * largest(row[begin - wide : begin]):
        return loud
    if length < int(_LOUD_RUN_MS * rate / 1000.0):
        return False
    moving, mean, most = _steps(row, begin - least, begin)
    jump = float(abs(row[begin] - row[begin - 1]))
    if length < int(_LONG_RUN_MS * rate / 1000.0):
        return moving and jump > _LOUD_JUMP * most
    return (moving and jump > _LOUD_JUMP * mean) or value > _LOUDER * rms


@part
def _bitten(rate: int, row: NDArray[np.float32], first: int, begin: int, stop: int) -> bool:
    wide = int(_MOVING_MS * rate / 1000.0)
    if stop - begin < _SHORT_RUN or begin - first < wide or abs(row[begin]) > _ZERO:
        return False
    moving, mean, _ = _steps(row, begin - wide, begin)
    jumps = float(abs(row[begin] - row[begin - 1])) + float(abs(row[stop] - row[stop - 1]))
    loud = _rms(row, begin - wide, begin) >= _LOUD_RMS
    return loud and moving and jumps > _SHORT_JUMP * mean


@part
def _copied(
    rate: int, row: NDArray[np.float32], first: int, longest: int, anchor: int
) -> tuple[int, int, int]:
    """Return begin, end and lag of the copy at an anchor; lag 0 without one."""
    least = int(_LEAST_LAG_MS * rate / 1000.0)
    moving = 0
    for i in range(anchor + 1, anchor + _ALIKE):
        moving += row[i] != row[i - 1]
    if 2 * moving < _ALIKE:
        return 0, 0, 0
    for lag in range(1, min(longest, anchor - first) + 1):
        if row[anchor] != row[anchor - lag]:
            continue
        alike = 0
        while alike < _ALIKE and row[anchor + alike] == row[anchor + alike - lag]:
            alike += 1
        if alike < _ALIKE:
            continue
        if lag < least:
            return 0, 0, 0
        begin, stop = anchor, anchor + _ALIKE
        while begin - 1 - lag >= first and row[begin - 1] == row[begin - 1 - lag]:
            begin -= 1
        while stop < row.size and row[stop] == row[stop - lag]:
            stop += 1
        # What was the same all along is a tone, as far as is known.
        return (0, 0, 0) if begin - 1 - lag < first else (begin, stop, lag)
    return 0, 0, 0


@part
def _go_on(rate: int, row: NDArray[np.float32], past: int, state: NDArray[np.int64]) -> int:
    """Return the end, in the packet, of a dropout that began before it."""
    kind, lag, stop = state[KIND], state[LAG], past
    if kind == NOTHING:
        return past
    while stop < row.size and row[stop] == (row[past - 1] if kind == STILL else row[stop - lag]):
        stop += 1
    state[LENGTH] += stop - past
    if state[LENGTH] > int(LONGEST_MS * rate / 1000.0):
        state[STILL_DOUBT if kind == STILL else COPY_DOUBT] = int(DOUBT_MS * rate / 1000.0)
        stop = past
    if stop == past or stop < row.size:
        state[KIND] = NOTHING
    return stop


@part
def _find_runs(
    rate: int,
    row: NDArray[np.float32],
    past: int,
    done: int,
    state: NDArray[np.int64],
    marked: NDArray[np.int8],
) -> None:
    end = row.size
    begin = past - state[RUN]
    first = past - state[KNOWN]
    for i in range(past, end + 1):
        if i < end and row[i] == row[i - 1]:
            continue
        length = i - begin
        bitten = False
        if i > done and i < end and length < int(_CLOSED_MS * rate / 1000.0):
            bitten = _bitten(rate, row, first, begin, i)
        if bitten:
            marked[max(0, begin - past) : i - past] = np.int8(1)
        elif length >= int(_WAVE_MS * rate / 1000.0) and i < end:
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
            and _cuts(rate, row, first, begin, length)
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
    row: NDArray[np.float32],
    past: int,
    state: NDArray[np.int64],
    marked: NDArray[np.int8],
) -> None:
    end = row.size
    first = past - state[KNOWN]
    longest = past - int(MORE_MS * rate / 1000.0)
    apart = int(_ANCHOR_MS * rate / 1000.0)
    anchor = end - _ALIKE
    while anchor >= past:
        if marked[anchor - past] == 0:
            begin, stop, lag = _copied(rate, row, first, longest, anchor)
            least = int((_OPEN_COPY_MS if stop == end else _CLOSED_COPY_MS) * rate / 1000.0)
            if lag > 0 and stop - begin >= least and _rms(row, begin, stop) >= _COPY_RMS:
                marked[max(0, begin - past) : stop - past] = np.int8(1)
                if stop == end:
                    state[KIND], state[LENGTH], state[LAG] = COPY, stop - begin, lag
        anchor -= apart


@part
def _mark(
    rate: int,
    past: int,
    row: NDArray[np.float32],
    state: NDArray[np.int64],
    marked: NDArray[np.int8],
) -> None:
    """Mark the dropouts of a channel; make the packet part of its past."""
    packet = row.size - past
    marked[:] = np.int8(0)
    for doubt in (STILL_DOUBT, COPY_DOUBT, CROWD):
        state[doubt] = max(0, state[doubt] - packet)
    done = _go_on(rate, row, past, state)
    marked[: done - past] = np.int8(1)
    _find_runs(rate, row, past, done, state, marked)
    if state[KIND] == NOTHING and state[COPY_DOUBT] == 0:
        _find_copies(rate, row, past, state, marked)
    state[KNOWN] = min(past, state[KNOWN] + packet)
    for i in range(past):
        row[i] = row[i + packet]


@part
def _merge(between: int, marked: NDArray[np.int8], parts: NDArray[np.int64]) -> int:
    """Write the dropouts of all channels as parts; return how many there are."""
    count = 0
    for i in range(marked.shape[1]):
        lost = 0
        for c in range(marked.shape[0]):
            lost |= int(marked[c, i]) << c
        if lost == 0:
            continue
        if count > 0 and i - parts[2 * count - 1] <= between:
            parts[2 * count - 2] |= lost << CHANNELS_AT
        else:
            parts[2 * count] = i | lost << CHANNELS_AT
            count += 1
        parts[2 * count - 1] = i + 1
    everything = ((1 << marked.shape[0]) - 1) << CHANNELS_AT
    for k in range(count):
        if parts[2 * k] & everything == everything:
            parts[2 * k] &= ~everything
    return count


@kernel
def find_dropouts(
    rate: int,
    packet: int,
    lines: NDArray[np.float32],
    states: NDArray[np.int64],
    marked: NDArray[np.int8],
    parts: NDArray[np.int64],
) -> int:
    """Find the dropouts of a packet, and return their number; add the packet to the past.

    Parameters
    ----------
    rate : int, in Hz
    packet : int, samples of the packet
    lines : float32, shape (channels, past + packet), read and written
        The past, :data:`MORE_MS` longer than the longest lag, and the packet.
    states : int64, shape (channels, STATE_WORDS), read and written, all 0 at first
    marked : int8, shape (channels, packet), written, 1 where a dropout is
    parts : int64, shape (packet + 1,), written
        Begin and end of each dropout, counted from the packet's first sample; the begin says of
        which channels, as :data:`~plc_kernels.signal.packet.CHANNELS_AT` tells. Dropouts up to 1 ms
        apart are one, in all channels that have a part in it.
    """
    past = lines.shape[1] - packet
    for c in range(lines.shape[0]):
        _mark(rate, past, lines[c], states[c], marked[c])
    return _merge(int(_BETWEEN_MS * rate / 1000.0), marked, parts)


@kernel
def skip_packet(rate: int, packet: int, states: NDArray[np.int64]) -> None:
    """Take note of a packet that did not arrive: its sound is not known.

    Parameters are as of :func:`find_dropouts`.
    """
    for c in range(states.shape[0]):
        state = states[c]
        for doubt in (STILL_DOUBT, COPY_DOUBT, CROWD):
            state[doubt] = max(0, state[doubt] - packet)
        state[KNOWN] = 0
        state[RUN] = 0
        state[LENGTH] += packet
        if state[KIND] == COPY or state[LENGTH] > int(LONGEST_MS * rate / 1000.0):
            state[KIND] = NOTHING
