"""Pieces of sound for callers: pieces in, samples out, concealed by the caller.

Of any lengths, in any order, with positions or without; the block keeps their sound, too. It has no
clock: time passes as samples are taken::

    left = samples
    while (left := left - give(block, …, left)) > 0:
        while (parts := due(block)) != NONE:
            (conceal INBOX in its place: whole, if parts is ALL, else the first rows of MISSING)
            append(block)
"""

import math

import numpy as np

from plc_kernels.build.compile import inlined, kernel, part, types
from plc_kernels.receive import layout as at
from plc_kernels.receive import line, turns
from plc_kernels.receive.layout import (
    INBOX,
    LACKS,
    MARKS,
    MISSING,
    OUTBOX,
    PARTS,
    RING,
    STRAY_SOUND,
    UNITS,
    array,
    reals,
)
from plc_kernels.receive.places import place_piece
from plc_kernels.receive.units import (
    BEGIN,
    SAMPLES,
    START,
    STOP,
    came_after_all,
    cover,
    covered,
    forget_units,
)
from plc_kernels.signal.packet import INT16_SCALE, LARGEST
from plc_kernels.stream.arrays import Block, floats, viewer

_FADE_S = 0.005
octets, shorts = viewer(types.uint8, 1), viewer(types.int16, 1)
"""Bytes, and numbers of 16 bits, at an address: ``octets(address, 0, n)``, shape (n,)."""
# In place of an address.
_OF_STRAY = 0
# What comes later than this is far from all others, and no double.
_PAST_S = 2.0
# Stretches without a hole that wait.
_APART_MOST = 4096
# A piece has no more stretches of finite samples; further ones are refused.
_MOST_RUNS = 64
# Share of units that may come too late, as RTP has it at its default safety.
_LATE_SHARE = 10.0**-2.5
# G.711, table 2a, on 16 bits: what is added to a magnitude, and the largest one.
_BIAS, _CLIP = 0x84, 32635


@kernel
def settle(
    block: Block,
    sample_rate: int,
    channels: int,
    samples: int,
    lookahead: int,
    delay_s: float,
    most_s: float,
    ahead_s: float,
) -> int:
    """Write settings, and where the arrays lie; return the size of the block in bytes.

    Parameters
    ----------
    block : int64, shape (HEADER,) at least, written
    sample_rate : int, in Hz
    channels : int
    samples, lookahead : int
        Samples of a block, and blocks by which the concealment lags.
    delay_s, most_s : float
        How long the first piece waits, and what the delay never exceeds; no more: it is fixed.
    ahead_s : float
        How far ahead of what is played pieces may come; as far as the delay is, at least.
    """
    block[at.RATE], block[at.CHANNELS], block[at.BLOCK_SAMPLES] = sample_rate, channels, samples
    block[at.LOOKAHEAD], block[at.NUMBERED], block[at.ROOM] = lookahead, 0, _APART_MOST
    block[at.MODE] = at.FIXED if most_s <= delay_s else at.FLOOR
    most_s = max(most_s, delay_s, 0.001)
    block[at.BINS] = math.ceil(most_s / at.BIN_S) + 1
    least = int(delay_s * sample_rate) + 2 * samples
    block[at.AHEAD_MOST] = max(int(ahead_s * sample_rate + 0.5), least)
    block[at.PAST_MOST] = int(_PAST_S * sample_rate)
    block[at.RING_SAMPLES] = block[at.AHEAD_MOST] + block[at.PAST_MOST]
    block[at.STRAY_ROOM] = block[at.AHEAD_MOST] * channels
    block[at.LACKS_ROOM] = (lookahead + 1) * samples
    size: int = line.lay_out(block)
    numbers = reals(block)
    numbers[at.MOST_S], numbers[at.DELAY_S], numbers[at.LATE_SHARE] = most_s, delay_s, _LATE_SHARE
    return size


@kernel
def put(block: Block, address: int, form: int, samples: int, position: int, is_placed: bool) -> int:
    """Take a piece in; return how many of its samples are new, and in time.

    Parameters
    ----------
    block : int64, shape (n,), read and written
        Memory of a receiver of pieces, here as in all functions of this module.
    address : int
        Address of its samples, channels side by side.
    form : int, FLOAT32, INT16 or MULAW
    samples : int, at least 1
    position : int
        Position of its first sample, as the sender counts; any, if it is not ``is_placed``: it
        follows the piece before.
    """
    now_s = (block[at.OUT] - block[at.LEFT]) / block[at.RATE]
    first = block[at.STRAY_NEXT] - block[at.STRAY_LENGTH]
    verdict = place_piece(block, position, is_placed, samples, now_s)
    kept = block[at.STRAY_COUNT]
    block[at.STRAY_COUNT] = 0
    if verdict == at.STRAY:
        _keep_stray(block, address, form, samples)
        return 0
    if verdict != at.JUMPED:
        return _lay(block, address, form, samples)
    taken, goes_on = 0, position == block[at.STRAY_NEXT]
    for turn in range(2):  # the stray before it, and itself, in the order of their positions
        if (turn == 0) == (first < position):
            if place_piece(block, first, True, kept, now_s) == at.ACCEPTED:
                block[at.OVERFLOW_SAMPLES] -= kept
                taken += _lay(block, _OF_STRAY, at.FLOAT32, kept)
        elif place_piece(block, position, not goes_on, samples, now_s) == at.ACCEPTED:
            taken += _lay(block, address, form, samples)
    block[at.IS_PLACED] = 1
    return taken


@part
def _sample(block: Block, address: int, form: int, k: int) -> np.float32:
    if address == _OF_STRAY:
        return np.float32(array(block, STRAY_SOUND)[k])
    if form == at.FLOAT32:
        return np.float32(floats(address, 0, k + 1)[k])
    if form == at.INT16:
        return np.float32(shorts(address, 0, k + 1)[k]) * np.float32(1.0 / INT16_SCALE)
    code = np.int64(octets(address, 0, k + 1)[k]) ^ 0xFF
    magnitude = ((((code & 15) << 3) + _BIAS) << (code >> 4 & 7)) - _BIAS
    return np.float32(-magnitude if code & 0x80 else magnitude) * np.float32(1.0 / INT16_SCALE)


@inlined
def _keep_stray(block: Block, address: int, form: int, samples: int) -> None:
    """Keep a piece whose position is far from all others."""
    sound, channels = array(block, STRAY_SOUND), block[at.CHANNELS]
    block[at.OVERFLOW_SAMPLES] += samples
    block[at.STRAY_COUNT] = min(samples, block[at.STRAY_ROOM] // channels)
    for k in range(block[at.STRAY_COUNT] * channels):
        sound[k] = _sample(block, address, form, k)


@part
def _lay(block: Block, address: int, form: int, samples: int) -> int:
    """Write the sound of a piece into the ring; return how many samples are new."""
    start, channels, units = block[at.GIVEN_START], block[at.CHANNELS], array(block, UNITS)
    here = block[at.POSITION] if block[at.BEGUN] else start
    if block[at.COUNT] and (block[at.LAID_LATE] or not block[at.BEGUN]):
        here = units[0, START]
    count = min(samples, max(0, block[at.AHEAD_MOST] + min(here - start, 0)))
    block[at.OVERFLOW_SAMPLES] += samples - count
    if block[at.FOLLOWING] == start + samples:
        is_full = count == 0 and block[at.COUNT]
        block[at.FOLLOWING] = units[block[at.COUNT] - 1, STOP] if is_full else start + count
    taken, runs, begin = 0, 0, 0
    while begin < count:
        stop = begin
        while stop < count and _is_sound(block, address, form, stop * channels):
            stop += 1
        if stop == begin:
            block[at.REFUSED_SAMPLES] += 1
            begin += 1
            continue
        runs += 1
        if runs > _MOST_RUNS:
            block[at.REFUSED_SAMPLES] += stop - begin
        else:
            taken += _lay_run(block, address, form, start, begin, stop)
        begin = stop
    block[at.TAKEN_SAMPLES] += taken
    return taken


@inlined
def _is_sound(block: Block, address: int, form: int, k: int) -> bool:
    """Return whether all channels of a sample are finite, and no louder than sound is."""
    sound = True
    for c in range(block[at.CHANNELS]):
        sound &= bool(math.fabs(_sample(block, address, form, k + c)) < LARGEST)
    return sound


@inlined
def _lay_run(block: Block, address: int, form: int, start: int, begin: int, stop: int) -> int:
    """Write samples of a piece that begins at ``start`` into the ring; return how many are new."""
    new = _cover(block, start + begin, stop - begin)
    if new < 0:
        block[at.OVERFLOW_SAMPLES] += stop - begin
        return 0
    ring, room, channels = array(block, RING), block[at.RING_SAMPLES], block[at.CHANNELS]
    cell = block[at.GIVEN_START] % room
    for i in range(block[at.GIVEN_START] - start, stop):
        for c in range(channels):
            ring[cell, c] = _sample(block, address, form, i * channels + c)
        cell = cell + 1 if cell + 1 < room else 0
    return new


@inlined
def _cover(block: Block, start: int, samples: int) -> int:
    """Take in samples at a media time; return how many are new, and wait to be played.

    Others are doubles, or late. GIVEN_START is where those begin that are to be kept. Below 0:
    there is no room for them.
    """
    stop = start + samples
    waits_for_it = block[at.STARVED] > 0 and stop == block[at.FOLLOWING]
    if block[at.BEGUN] and start < block[at.POSITION] and not waits_for_it:
        begin = min(stop, block[at.POSITION])
        block[at.DOUBLE_SAMPLES] += begin - start - came_after_all(block, start, begin)
        start = begin
    elif start >= block[at.POSITION]:
        block[at.LATE_ROW] = 0
    block[at.GIVEN_START] = start
    new = 0
    if start < stop:
        doubles, late = covered(block, start, stop), 0
        if block[at.BEGUN] and start < block[at.POSITION]:
            behind = min(stop, block[at.POSITION])
            late = behind - start - covered(block, start, behind)
        new = -1
        if cover(block, start, stop):
            block[at.DOUBLE_SAMPLES] += doubles
            block[at.LAID_LATE] += late
            new = stop - start - doubles
    return new


@kernel
def clear(block: Block) -> None:
    """Drop all waiting samples, faded out; the next piece begins anew, at once if it may."""
    outbox, begin = array(block, OUTBOX), block[at.BLOCK_SAMPLES] - block[at.LEFT]
    for c in range(block[at.CHANNELS]):
        for i in range(block[at.LEFT]):
            share = max(0.0, 1.0 - i / (_FADE_S * block[at.RATE]))
            outbox[c, begin + i] *= np.float32(share)
    turns.settle_pause(block)
    forget_units(block)
    line.drop_waiting(block)
    block[at.BEGUN] = block[at.FOLLOWS] = block[at.IS_STRAY] = block[at.LATE_ROW] = 0
    block[at.ENDED] = block[at.STRAY_COUNT] = block[at.LAID_LATE] = 0
    block[at.STALE] = block[at.IN_CONCEALER]
    array(block, LACKS)[:] = 0
    block[at.AT_ONCE] = block[at.MODE] != at.FIXED


@kernel
def end(block: Block) -> None:
    """Let silence follow the waiting samples, until a piece comes."""
    block[at.ENDED] = 1


@kernel
def due(block: Block) -> int:
    """Go on until a block is to be concealed, or played.

    Returns
    -------
    int
        NONE: the next block is in OUTBOX. Else INBOX holds the block that is to be concealed and
        appended: ALL of it is missing, or so many parts, the first rows of MISSING.
    """
    while line.go_on(block, block[at.OUT] / block[at.RATE]) != at.READY:
        now_s = (block[at.OUT] + line.ready(block)) / block[at.RATE]
        is_waiting = turns.take_turn(block, now_s) == at.WAIT
        if is_waiting and block[at.IN_CONCEALER] == 0:
            block[at.HEARD] = block[at.OUT]
            line.append_silence(block, turns.until_due(block, now_s))
            continue
        # For blocks of silence it gives the last ones that it holds back.
        block[at.IN_CONCEALER] = block[at.IN_CONCEALER] - 1 if is_waiting else block[at.LOOKAHEAD]
        return _fill_inbox(block)
    block[at.OUT] += block[at.BLOCK_SAMPLES]
    block[at.LEFT] = block[at.BLOCK_SAMPLES]
    return at.NONE


@kernel
def known_behind(block: Block, samples: int) -> int:
    """Return how many stretches are known of the samples behind the block that is due.

    Of each, a row of PARTS: its place in the sound of RING, samples and distance from the block's
    end, all in samples.
    """
    rows = turns.look_behind(block, samples)
    parts, room = array(block, PARTS), block[at.RING_SAMPLES]
    for row in range(rows):
        parts[row, BEGIN] %= room
        over = parts[row, BEGIN] + parts[row, SAMPLES] - room
        if over > 0:  # the rest is at the ring's begin
            parts[row, SAMPLES] -= over
    return rows


@kernel
def append(block: Block) -> None:
    """Append the block of INBOX, concealed, to the line."""
    if block[at.STALE] > 0:
        block[at.STALE] -= 1
        inbox, marks = array(block, INBOX), array(block, MARKS)
        for i in range(block[at.BLOCK_SAMPLES]):
            marks[i] = 0
            for c in range(block[at.CHANNELS]):
                inbox[i, c] = np.float32(0.0)
    line.append_block(block)


@inlined
def _fill_inbox(block: Block) -> int:
    """Write the block that is due; return the number of its missing parts, or ALL."""
    inbox, parts, ring = array(block, INBOX), array(block, PARTS), array(block, RING)
    lacks, marks, missing = array(block, LACKS), array(block, MARKS), array(block, MISSING)
    samples, room, channels = block[at.BLOCK_SAMPLES], block[at.RING_SAMPLES], block[at.CHANNELS]
    newest = block[at.LACKS_ROOM] - samples
    for i in range(newest):
        lacks[i] = lacks[i + samples]
    for i in range(samples):
        lacks[newest + i] = 1 if block[at.BEGUN] else 0
        for c in range(channels):  # behind the end is silence
            inbox[i, c] = np.float32(0.0)
    for row in range(block[at.PARTS_COUNT]):
        cell, first = parts[row, 1] % room, parts[row, 3]
        for i in range(first, first + parts[row, 2]):
            for c in range(channels):
                inbox[i, c] = ring[cell, c]
            lacks[newest + i] = 0
            cell = cell + 1 if cell + 1 < room else 0
    count, before = 0, 0
    for i in range(samples):
        marks[i] = lacks[i]
        if lacks[newest + i] and not before:
            missing[count, 0] = i
            count += 1
        if lacks[newest + i]:
            missing[count - 1, 1] = i + 1
        before = lacks[newest + i]
    is_all = count == 1 and missing[0, 1] - missing[0, 0] == samples
    if not is_all or not block[at.COUNT]:
        block[at.HEARD] = block[at.OUT]
    return at.ALL if is_all else count


@kernel
def give(block: Block, address: int, form: int, marks: int, samples: int) -> int:
    """Write samples of OUTBOX to an address; return how many there were.

    Parameters
    ----------
    address : int
        Address of room for ``samples`` of each channel, side by side.
    form : int, FLOAT32, INT16 or MULAW
    marks : int
        Address of a byte for each sample: 1 where it was made up; 0: no such bytes.
    """
    count, channels = min(samples, block[at.LEFT]), block[at.CHANNELS]
    outbox, begin = array(block, OUTBOX), block[at.BLOCK_SAMPLES] - block[at.LEFT]
    for i in range(count):
        for c in range(channels):
            k, value = i * channels + c, outbox[c, begin + i]
            if form == at.FLOAT32:
                floats(address, 0, k + 1)[k] = value
                continue
            whole = int(min(max(np.rint(value * np.float32(INT16_SCALE)), -32768.0), 32767.0))
            if form == at.INT16:
                shorts(address, 0, k + 1)[k] = whole
            else:
                octets(address, 0, k + 1)[k] = _mu_law(whole)
        if marks != 0:
            octets(marks, 0, i + 1)[i] = 1 if outbox[channels, begin + i] > 0.5 else 0
    block[at.LEFT] -= count
    return int(count)


@inlined
def _mu_law(value: int) -> int:
    """Return the code of a sample of 16 bits (ITU-T G.711, table 2a)."""
    magnitude = min(abs(value), _CLIP) + _BIAS
    exponent = 7
    while exponent > 0 and magnitude < 0x80 << exponent:
        exponent -= 1
    sign = 0x80 if value < 0 else 0
    return (sign | exponent << 4 | (magnitude >> exponent + 3 & 15)) ^ 0xFF


KERNELS = (append, clear, due, end, give, known_behind, put, settle)
"""All that callers use, beside those of :mod:`~plc_kernels.receive.entry`."""
