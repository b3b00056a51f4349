"""The receiver for its callers: units in, blocks out.

Which source is heard is decided in front of it (:mod:`plc.transport.rtp.sources`). Sound is kept,
decoded and concealed by the caller, who asks what to do next::

    while play(block, now_s) == PULL:
        if pull(block, now_s) != WAIT:
            (write INBOX and MARKS, as PARTS says, and what is missing concealed)
            append(block)
    (OUTBOX is the block to play)
"""

import math

import numpy as np

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.receive import layout as at
from plc_kernels.receive import line, turns
from plc_kernels.receive.delays import forget_delays, look, note, note_copy
from plc_kernels.receive.layout import LACKS, LOG, PARTS, UNITS, array, reals
from plc_kernels.receive.places import (
    follow_pace,
    judge_onset,
    move_line,
    next_to,
    strays,
)
from plc_kernels.receive.units import (
    HANDLE,
    OF,
    PLACE,
    behind,
    came_after_all,
    count,
    forget_units,
    insert,
    is_pause_between,
    is_stray,
    media_time,
    note_stamp,
    number_of,
    restart_numbers,
)
from plc_kernels.stream.arrays import Block


@kernel
def lay_out(block: Block) -> int:
    """Write where the arrays lie; return the size of the block in bytes.

    ``block``, int64, shape (HEADER,) at least, has the settings.
    """
    return int(line.lay_out(block))


@kernel
def forget(block: Block) -> None:
    """Make a timeline that was laid out as new, but for its settings and counters."""
    for word in range(at.FIRST_OF_STATE, at.EXPECTED):
        block[word] = 0
    forget_units(block)
    forget_delays(block)
    line.forget_speed(block)
    line.forget_line(block)
    array(block, LOG)[:] = 0
    array(block, LACKS)[:] = 0
    block[at.UNIT] = block[at.BLOCK_SAMPLES]
    numbers = reals(block)
    numbers[at.LATE_SINCE_S] = math.inf
    numbers[at.PULLED_S] = numbers[at.APART] = numbers[at.ROUNDED] = 0.0


@kernel
def begin_row(block: Block, number: int, stamp: int, now_s: float) -> None:
    """Let numbers and stamps begin anew with a unit, which :func:`take` takes next."""
    block[at.FOLLOWS] = 0
    restart_numbers(block, number)
    move_line(block, stamp, now_s)


@kernel
def arrive(block: Block, number: int, stamp: int, samples: int, now_s: float) -> int:
    """Lay a unit onto the line, as :func:`take` does, if it goes on with those before.

    Return ACCEPTED, DUPLICATE, LATE, OVERFLOW, APART (then it was not taken) or DOUBTFUL.
    """
    if strays(block, number, stamp, samples, now_s):
        return at.APART
    numbers = reals(block)
    held_up_s = now_s - media_time(block, stamp) / block[at.RATE] - numbers[at.BASE_S]
    may_be_late = held_up_s <= numbers[at.MOST_S] or behind(block, number) < 0
    numbers[at.HELD_UP_S] = held_up_s
    verdict = _take(block, number, stamp, samples, now_s)
    return at.DOUBTFUL if verdict == at.LATE and not may_be_late else verdict


@kernel
def take(block: Block, number: int, stamp: int, samples: int, now_s: float) -> int:
    """Lay a unit onto the line, wherever it stands.

    Parameters
    ----------
    block : int64, shape (n,), read and written
        Memory of a timeline, here as in all functions of this module.
    number : int
        Number of the unit, as the sender counts units.
    stamp : int
        Media time of its first sample, as the sender counts samples.
    samples : int
        Its length, at least 1.
    now_s : float, when it arrived

    Returns
    -------
    int
        ACCEPTED, DUPLICATE, LATE or OVERFLOW. GIVEN is the handle of an accepted one, below ROOM;
        it is free again once the unit has been played.
    """
    return _take(block, number, stamp, samples, now_s)


@part
def _take(block: Block, number: int, stamp: int, samples: int, now_s: float) -> int:
    steps = -behind(block, number)
    place = number_of(block, number) + block[at.NUMBER_SHIFT]
    if not count(block, number, True):
        if block[at.PATHS] > 1:
            _note_slower_path(block, stamp, now_s)
        return at.DUPLICATE
    if steps > 0:
        follow_pace(block, stamp, steps, samples, now_s)
    start = note_stamp(block, stamp, samples)
    if block[at.FOLLOWS] and place < block[at.NEWEST]:
        if block[at.STAMPS_FALSE]:
            start = block[at.FOLLOWING] + (place - block[at.NEWEST] - 1) * samples
        else:
            start = next_to(block, place, start, samples)
    stop = start + samples
    if not block[at.FOLLOWS] or place > block[at.NEWEST]:
        block[at.FOLLOWS], block[at.FOLLOWING] = 1, stop
        block[at.LENGTH], block[at.NEWEST] = samples, place
    _note_transit(block, place, now_s - start / block[at.RATE], now_s)
    if block[at.BEGUN]:
        if start < block[at.POSITION]:
            came_after_all(block, start, stop)
        if stop <= block[at.POSITION]:
            block[at.LATE_UNITS] += 1
            return at.LATE
        block[at.MERGED] += start < block[at.POSITION]
    verdict = insert(block, start, stop, place, False)
    block[at.DOUBLES] += verdict == at.DUPLICATE
    block[at.OVERFLOWN] += verdict == at.OVERFLOW
    return verdict


@inlined
def _note_slower_path(block: Block, stamp: int, now_s: float) -> None:
    """Take in the transit of a double: should the faster path lose a unit, it must be in time."""
    transit_s, numbers = now_s - media_time(block, stamp) / block[at.RATE], reals(block)
    numbers[at.STALL_S] = max(numbers[at.STALL_S], transit_s - numbers[at.BASE_S])
    note(block, transit_s, now_s)
    if not block[at.BEGUN]:
        look(block, now_s)


@inlined
def _note_transit(block: Block, place: int, transit_s: float, now_s: float) -> None:
    numbers = reals(block)
    is_useless = transit_s - numbers[at.BASE_S] > numbers[at.MOST_S]
    if place == block[at.NEWEST] or not is_useless:
        note(block, transit_s, now_s)
    if block[at.ONSET]:
        judge_onset(block, transit_s, now_s)


@kernel
def pass_over(block: Block, number: int) -> bool:
    """Note a unit of the same row of numbers without sound, which else would pass for a loss.

    Return whether the number is one of the row.
    """
    if is_stray(block, number):
        return False
    count(block, number, False)
    return True


@kernel
def take_copy(block: Block, number: int, stamp: int, offset: int, samples: int) -> int:
    """Lay a copy of an earlier, missing unit onto the line; return the outcome.

    ``number`` and ``stamp`` are of the unit that carries it, already accepted, ``offset`` samples
    behind the earlier one, whose length ``samples`` is.
    """
    start = media_time(block, stamp) - offset
    steps = max(1, int(np.rint(offset / samples)))
    place = number_of(block, number) + block[at.NUMBER_SHIFT] - steps
    note_copy(block, number, offset)
    if start + samples <= block[at.POSITION]:
        return at.LATE
    verdict = insert(block, start, start + samples, place, True)
    block[at.OVERFLOWN] += verdict == at.OVERFLOW
    block[at.COPIES] += verdict == at.ACCEPTED
    return verdict


@kernel
def clear(block: Block) -> None:
    """Forget the units that wait; those that come go on behind them."""
    forget_units(block)


@kernel
def pull(block: Block, now_s: float) -> int:
    """Decide the block that is due; return PLAY, PART, LOST, SILENCE, HOLD or WAIT.

    The first PARTS_COUNT rows of PARTS say of which units it is made. WAIT: silence was appended.
    """
    begun = block[at.BEGUN]
    turn = turns.take_turn(block, now_s)
    parts, units = array(block, PARTS), array(block, UNITS)
    for row in range(block[at.PARTS_COUNT]):
        parts[row, OF] = units[parts[row, OF], HANDLE]
    if turn == at.WAIT:
        line.append_silence(block, turns.until_due(block, now_s))
    elif not begun:
        line.lead_in(block, now_s)
    return turn


@kernel
def known_behind(block: Block, samples: int) -> int:
    """Return how many units are known of the samples behind the block pulled last.

    The first rows of PARTS say which, as for :func:`pull`, at what distance from the block's end.
    """
    rows, parts, units = turns.look_behind(block, samples), array(block, PARTS), array(block, UNITS)
    for row in range(rows):
        parts[row, OF] = units[parts[row, OF], HANDLE]
    return rows


@kernel
def append(block: Block) -> None:
    """Append the block of INBOX and MARKS to the line."""
    line.append_block(block)


@kernel
def play(block: Block, now_s: float) -> int:
    """Play the next block, which OUTBOX is then; return READY, or PULL if one is to be pulled."""
    return line.go_on(block, now_s)


@kernel
def hurry(block: Block) -> None:
    """Let the next block cut the excess delay after a standstill."""
    turns.hurry(block, 0.0)


@kernel
def leave_out(block: Block, samples: int) -> None:
    """Go on behind so many samples, whole blocks, for which nobody has time."""
    turns.leave_out(block, samples)


@kernel
def rest(block: Block, samples: int) -> None:
    """Go on over so many samples, whole blocks, of which nothing is there."""
    turns.rest(block, samples)


@kernel
def waiting(block: Block) -> int:
    """Return the samples from the next block to the newest unit's end; of pieces, all that wait."""
    samples = turns.buffered(block)
    if block[at.RING_SAMPLES] and block[at.BEGUN]:
        samples += int(line.ready(block)) + block[at.LEFT]
    return samples


@kernel
def ready(block: Block) -> float:
    """Return the samples of the line that wait to be played."""
    return line.ready(block)


@kernel
def stands_alone(block: Block, before: int, place: int) -> bool:
    """Return whether a pause lies between the places of two units, and no unit behind them."""
    count, units = block[at.COUNT], array(block, UNITS)
    return is_pause_between(block, before, place) and (
        count == 0 or bool(units[count - 1, PLACE] == place)
    )


KERNELS = (
    append,
    arrive,
    begin_row,
    clear,
    forget,
    hurry,
    known_behind,
    lay_out,
    leave_out,
    pass_over,
    play,
    pull,
    ready,
    rest,
    stands_alone,
    take,
    take_copy,
    waiting,
)
"""All that callers use."""
