"""Which numbers came; lay units on the line of media time, and cut blocks from it.

*Media time* is counted in samples: a unit's stamp, unwrapped, and a shift that keeps the line whole
when the sender starts over. What stands at the position is played next::

                 played │ next block │              newest
    ──────────────────▓▓│▓▓▓▓▓▓▓▓▓▓▓▓│▓▓▓▓    ▓▓▓▓▓▓▓▓│
                        └ position           └ hole

Blocks have one length, units may have any: a block is cut from as many units as it spans. What of
it is there is never held back or left out for what is not, so that a unit of 594 samples that is
lost leaves a hole of 594 samples, wherever it lies in its blocks.

Numbers may wrap and begin anew. *Places* do neither: units with consecutive numbers have
consecutive places. For the newest numbers the log says what came::

    place          95   96   97   98   99 = newest
    log             1    2    0    2    1
                              └ missing: no pause between 95 and 99, but one between 97 and 99
"""

from plc_kernels.build.compile import inlined, part
from plc_kernels.receive import layout as at
from plc_kernels.receive.layout import (
    FREE,
    HOLES,
    LOG,
    LOG_NUMBERS,
    MOST_HOLES,
    PARTS,
    UNITS,
    array,
    reals,
)
from plc_kernels.stream.arrays import Block

AHEAD_MOST = 3000
"""RFC 3550, appendix A.1: a number further ahead is no loss, but a new beginning."""
_NO_SOUND = 2


@inlined
def near(value: int, newest: int, bits: int) -> int:
    """Return a number that wraps as the one within half a turn of the newest."""
    if bits == 0:
        return value
    half = 1 << (bits - 1)
    return newest + ((value - newest + half) & ((1 << bits) - 1)) - half


@part
def number_of(block: Block, number: int) -> int:
    """Return a number unwrapped."""
    return (
        near(number, block[at.NUMBER], block[at.NUMBER_BITS]) if block[at.KNOWS_NUMBER] else number
    )


@part
def behind(block: Block, number: int) -> int:
    """Return by how many a number lies behind the newest one; below 0: ahead."""
    return block[at.NUMBER] - number_of(block, number) if block[at.KNOWS_NUMBER] else 0


@part
def is_stray(block: Block, number: int) -> bool:
    """Return whether a number is too far from the newest one."""
    far = behind(block, number)
    return not block[at.KNOWS_NUMBER] or far > block[at.BEHIND_MOST] or far < -AHEAD_MOST


@part
def restart_numbers(block: Block, number: int) -> None:
    """Go on with another row of numbers, which begins with this one.

    A hole is left in the places, so that what is missing between the two rows never passes for a
    pause, not even when units from before ``number`` come after it.
    """
    place = 0
    if block[at.KNOWS_NUMBER]:
        place = block[at.NUMBER] + block[at.NUMBER_SHIFT] + block[at.BEHIND_MOST] + 2
    array(block, LOG)[:] = 0
    block[at.KNOWS_NUMBER] = 0
    block[at.NUMBER_SHIFT] = place - number


@part
def count(block: Block, number: int, has_sound: bool) -> bool:
    """Take a number in; return whether it is new."""
    log = array(block, LOG)
    whole = number_of(block, number)
    if not block[at.KNOWS_NUMBER]:
        block[at.KNOWS_NUMBER] = 1
        block[at.NUMBER] = block[at.OLDEST] = whole
        block[at.EXPECTED] += 1
    elif whole > block[at.NUMBER]:
        steps = whole - block[at.NUMBER]
        for k in range(min(steps, LOG_NUMBERS)):
            log[(whole - k) % LOG_NUMBERS] = 0
        block[at.EXPECTED] += steps
        block[at.NUMBER] = whole
    else:
        if block[at.NUMBER] - whole >= LOG_NUMBERS or log[whole % LOG_NUMBERS]:
            block[at.DOUBLES] += 1
            return False
        block[at.REORDERED] += 1
        # What was sent before the first that came is expected once it is known of.
        block[at.EXPECTED] += max(0, block[at.OLDEST] - whole)
        block[at.OLDEST] = min(block[at.OLDEST], whole)
    log[whole % LOG_NUMBERS] = 1 if has_sound else _NO_SOUND
    block[at.RECEIVED] += 1
    return True


@part
def is_pause(block: Block, after: int) -> bool:
    """Return whether nothing with sound was sent between the unit played last and a place."""
    return bool(block[at.KNOWS_LAST]) and is_pause_between(block, block[at.LAST], after)


@part
def is_pause_between(block: Block, before: int, after: int) -> bool:
    """Return whether nothing with sound was sent between two places."""
    if after <= before:
        return False
    log = array(block, LOG)
    shift = block[at.NUMBER_SHIFT]
    for place in range(before + 1, after):
        whole = place - shift
        if block[at.NUMBER] - whole >= LOG_NUMBERS or log[whole % LOG_NUMBERS] != _NO_SOUND:
            return False
    return True


# Columns of UNITS, of PARTS and of HOLES.
START, STOP, PLACE, HANDLE, IS_COPY = range(5)
OF, BEGIN, SAMPLES, AT = range(4)
_KIND = 2


@part
def forget_units(block: Block) -> None:
    """Forget all units, and all holes."""
    free = array(block, FREE)
    room = block[at.ROOM]
    for k in range(room):
        free[k] = room - 1 - k
    block[at.FREE_COUNT] = room
    block[at.COUNT] = block[at.PARTS_COUNT] = 0
    array(block, HOLES)[:] = 0


@part
def covered(block: Block, start: int, stop: int) -> int:
    """Return how many samples of a stretch are there."""
    units, there = array(block, UNITS), 0
    for k in range(block[at.COUNT]):
        there += max(0, min(stop, units[k, STOP]) - max(start, units[k, START]))
    return int(there)


@part
def cover(block: Block, start: int, stop: int) -> bool:
    """Note that the samples of a piece are there, joined with those next to them.

    Return whether there is room. HANDLE is the media time of a joined unit's begin.
    """
    units = array(block, UNITS)
    count, first = block[at.COUNT], 0
    while first < count and units[first, STOP] < start:
        first += 1
    last = first
    while last < count and units[last, START] <= stop:
        start, stop = min(start, units[last, START]), max(stop, units[last, STOP])
        last += 1
    moves = 1 - (last - first)
    if moves > 0 and count == block[at.ROOM]:
        return False
    _move_units(block, last, moves)
    units[first, START], units[first, STOP], units[first, HANDLE] = start, stop, start
    if moves > 0:
        units[first, PLACE] = units[first, IS_COPY] = 0
    return True


@part
def _move_units(block: Block, first: int, by: int) -> None:
    units, count = array(block, UNITS), block[at.COUNT]
    for k in range(count - first):
        row = count - 1 - k if by > 0 else first + k
        for column in range(5):
            units[row + by, column] = units[row, column]
    block[at.COUNT] = count + by


@part
def media_time(block: Block, stamp: int) -> int:
    """Return the media time of a stamp, or of a position, without taking it in."""
    whole = near(stamp, block[at.STAMP], block[at.STAMP_BITS]) if block[at.KNOWS_STAMP] else stamp
    return int(whole + block[at.SHIFT])


@part
def note_length(block: Block, samples: int) -> None:
    """Note how far the last unit that a block needs begins behind the block, at most."""
    a, b = block[at.BLOCK_SAMPLES], samples
    while b:
        a, b = b, a % b
    block[at.UNIT] = a
    reals(block)[at.COARSE_S] = (block[at.BLOCK_SAMPLES] - a) / block[at.RATE]


@part
def note_stamp(block: Block, stamp: int, samples: int) -> int:
    """Take in where a unit begins, and its length; return its media time."""
    note_length(block, samples)
    start = media_time(block, stamp)
    whole = start - block[at.SHIFT]
    if not block[at.KNOWS_STAMP] or whole > block[at.STAMP]:
        block[at.KNOWS_STAMP] = 1
        block[at.STAMP] = whole
    return start


@part
def jump(block: Block, stamp: int, earliest: int) -> int:
    """Place a stamp behind the units held, not before ``earliest``; return where it is.

    That is whole blocks from the position: units then fill blocks as they did before. Between the
    two is a hole, so that the one fades into the other.
    """
    units = array(block, UNITS)
    due = earliest
    if block[at.COUNT]:
        due = max(due, units[block[at.COUNT] - 1, STOP] + 1)
    due += (block[at.POSITION] - due) % block[at.BLOCK_SAMPLES]
    block[at.KNOWS_STAMP] = 1
    block[at.STAMP] = stamp
    block[at.SHIFT] = due - stamp
    return int(due)


@part
def insert(block: Block, start: int, stop: int, place: int, is_copy: bool) -> int:
    """Put a unit onto the line, where it takes the place of a copy; return the outcome.

    GIVEN is the handle of an accepted one.
    """
    units = array(block, UNITS)
    count = block[at.COUNT]
    k = count
    while k > 0 and units[k - 1, START] >= start:
        k -= 1
    if k < count and units[k, START] == start:
        if is_copy or not units[k, IS_COPY]:
            return at.DUPLICATE
        units[k, STOP], units[k, PLACE], units[k, IS_COPY] = stop, place, 0
        _give(block, units[k, HANDLE], place, start)
        return at.ACCEPTED
    is_covered = k > 0 and units[k - 1, STOP] > start
    is_covered |= k < count and units[k, START] < stop
    if is_copy and is_covered:
        return at.DUPLICATE
    if not block[at.FREE_COUNT]:
        return at.OVERFLOW
    _move_units(block, k, 1)
    block[at.FREE_COUNT] -= 1
    handle = array(block, FREE)[block[at.FREE_COUNT]]
    units[k, START], units[k, STOP], units[k, PLACE] = start, stop, place
    units[k, HANDLE], units[k, IS_COPY] = handle, is_copy
    _give(block, handle, place, start)
    return at.ACCEPTED


@inlined
def _give(block: Block, handle: int, place: int, start: int) -> None:
    block[at.GIVEN], block[at.GIVEN_PLACE], block[at.GIVEN_START] = handle, place, start


@part
def gather(block: Block, samples: int) -> int:
    """Collect the parts of the next samples; return the row of the first unit behind them.

    -1: there is none.
    """
    units, parts = array(block, UNITS), array(block, PARTS)
    here = block[at.POSITION]
    stop = here + samples
    block[at.PARTS_COUNT] = 0
    for k in range(block[at.COUNT]):
        begin = max(units[k, START], here)
        if begin >= stop:
            return k
        if units[k, STOP] <= here:
            continue
        here = min(units[k, STOP], stop)
        row = block[at.PARTS_COUNT]
        if row == parts.shape[0]:
            break
        parts[row, OF], parts[row, BEGIN] = k, begin - units[k, START] * block[at.NUMBERED]
        parts[row, SAMPLES], parts[row, AT] = here - begin, begin - block[at.POSITION]
        block[at.PARTS_COUNT] = row + 1
    return -1


@part
def drop_played(block: Block) -> None:
    """Forget the units that end before the position; note the last of them as played."""
    units, free = array(block, UNITS), array(block, FREE)
    count, stale = block[at.COUNT], 0
    while stale < count and units[stale, STOP] <= block[at.POSITION]:
        if block[at.NUMBERED]:
            free[block[at.FREE_COUNT]] = units[stale, HANDLE]
            block[at.FREE_COUNT] += 1
        stale += 1
    if not stale:
        return
    block[at.KNOWS_LAST], block[at.LAST] = 1, units[stale - 1, PLACE]
    _move_units(block, stale, -stale)


@inlined
def counter_of(kind: int) -> int:
    """Return the counter of a kind of hole."""
    return at.UNSENT if kind == at.SILENCE else at.LOST_SAMPLES


@part
def make_up(block: Block, start: int, stop: int, kind: int) -> None:
    """Count a stretch of the line that is made up, and remember it.

    HOLD is the kind of one that was lost, as far as is known, while nothing was behind it.
    """
    if stop <= start:
        return
    block[counter_of(kind)] += stop - start
    _remember(block, start, stop, kind)


@part
def came_after_all(block: Block, start: int, stop: int) -> int:
    """Count samples that were made up for a unit as late: the unit has come. Return how many."""
    holes, total = array(block, HOLES), 0
    for row in range(MOST_HOLES):
        first, last = max(start, holes[row, START]), min(stop, holes[row, STOP])
        if first >= last:
            continue
        kind = holes[row, _KIND]
        counter = counter_of(kind)
        moved = min(last - first, block[counter])
        total += moved
        block[counter] -= moved
        block[at.LATE_SAMPLES] += moved
        if kind == at.HOLD:
            block[at.STARVED] -= min(moved, block[at.STARVED])
        end, holes[row, STOP] = holes[row, STOP], first
        if end > last:
            _remember(block, last, end, kind)
    return total


@part
def is_missing(block: Block, start: int, stop: int) -> bool:
    """Return whether some of a stretch was made up, or is not there."""
    holes = array(block, HOLES)
    for row in range(MOST_HOLES):
        if max(start, holes[row, START]) < min(stop, holes[row, STOP]):
            return True
    start = max(start, block[at.POSITION]) if block[at.BEGUN] else start
    return stop > start and covered(block, start, stop) < stop - start


@part
def _remember(block: Block, start: int, stop: int, kind: int) -> None:
    holes = array(block, HOLES)
    row = block[at.HOLES_COUNT] % MOST_HOLES
    holes[row, START], holes[row, STOP], holes[row, _KIND] = start, stop, kind
    block[at.HOLES_COUNT] += 1
