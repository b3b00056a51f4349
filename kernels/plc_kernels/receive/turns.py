"""Decide the kind of each block when it is due: play, conceal, hold, or skip.

What becomes of a block is decided by what of it is there, never by numbers alone:

    PLAY     the block is there
    PART     some of it is there: play that, and conceal the rest, which is any of what follows
    LOST     it is not, but units after it are: conceal it, go on
    SILENCE  the same, but the units around the hole are numbered without one: none were sent,
             or none with sound
    HOLD     nothing is there (yet): conceal, but let the line wait
    WAIT     the stream has not begun: play silence

A hold begins where the hole does. The line waits where nothing is behind the hole, as long as the
delay may grow; and where units are behind it, while the delay is below its aim: a minority of units
comes that late, and the line lacks that delay. Where it is the missing unit that ends the hold, it
is played after all and the delay has grown by what was held. Where it is one beyond, what was
missing is lost, has been concealed already, and the line moves on by as much; the delay is what it
was. So a lost unit costs no delay. The fixed mode holds only while there is less delay than it is
to have: the network has become slower; it leaves out again what the delay grew too much.

In a hole the delay is brought to its aim unheard: a pause is made longer, and what is left of any
hole that is being concealed is left out.

Whoever plays the blocks conceals what is not there of them. The line jumps only inside such a hole,
so that each jump is led into by a concealment and out of by its crossfade.
"""

import math

import numpy as np

from plc_kernels.build.compile import inlined, part
from plc_kernels.receive import layout as at
from plc_kernels.receive.delays import note_loss, rebase
from plc_kernels.receive.layout import HOLES, PARTS, UNITS, array, reals
from plc_kernels.receive.units import (
    AT,
    IS_COPY,
    OF,
    PLACE,
    SAMPLES,
    START,
    STOP,
    came_after_all,
    covered,
    drop_played,
    gather,
    make_up,
)
from plc_kernels.receive.units import is_pause as is_pause_by_numbers
from plc_kernels.stream.arrays import Block

# A delay that is longer than it may be by so much is none: a clock was set, or stood still.
_CLOCK_SET_S = 1.0
# Times that differ by less are the same but for the rounding of sums.
_EXACT_S = 1e-6
# The line goes back to pieces that alone came for so long, too late, or so many of them in part.
_GO_BACK_S, _LATE_UNITS = 0.1, 5


@part
def is_pause(block: Block, row: int) -> bool:
    """Return whether nothing was sent before a unit, given as its row.

    Numbers tell; else, that the line had waited for it, which is noted as its place.
    """
    place = array(block, UNITS)[row, PLACE]
    return is_pause_by_numbers(block, place) if block[at.NUMBERED] else place != 0


@part
def reached(block: Block) -> int:
    """Return the media time behind the samples played, or concealed while the line waits."""
    return int(block[at.POSITION] + block[at.HELD])


@part
def delay_s(block: Block, now_s: float) -> float:
    """Return the delay of a block that is due now; 0 before the first."""
    if not block[at.BEGUN]:
        return 0.0
    delay: float = now_s - block[at.POSITION] / block[at.RATE] - reals(block)[at.BASE_S]
    return delay


@part
def buffered(block: Block) -> int:
    """Return the samples from the position to the end of the newest unit."""
    if not block[at.COUNT]:
        return 0
    return int(max(0, array(block, UNITS)[block[at.COUNT] - 1, STOP] - block[at.POSITION]))


@part
def contiguous(block: Block) -> int:
    """Return the samples that are there from the position on, without a hole."""
    units = array(block, UNITS)
    here = block[at.POSITION]
    for k in range(block[at.COUNT]):
        if units[k, START] > here:
            break
        here = max(here, units[k, STOP])
    return int(here - block[at.POSITION])


@part
def hurry(block: Block, kept_s: float) -> None:
    """Let the next block cut the delay to ``kept_s``, or to its aim if that is longer."""
    block[at.HURRIES] = 1
    reals(block)[at.CUT_S] = kept_s


@part
def hurry_as_configured(block: Block) -> None:
    """Hurry down to the delay that the mode allows; only a fixed one cannot grow."""
    hurry(block, 0.0 if block[at.MODE] == at.FIXED else reals(block)[at.MOST_S])


@part
def leave_out(block: Block, samples: int) -> None:
    """Go on behind that many samples, for which there is no time."""
    if block[at.BEGUN]:
        block[at.POSITION] += samples
        block[at.SKIPPED] += samples
        drop_played(block)


@part
def rest(block: Block, samples: int) -> None:
    """Go on over samples of a pause that has become silent, of which nothing is there."""
    make_up(block, block[at.POSITION], block[at.POSITION] + samples, at.HOLD)
    block[at.POSITION] += samples
    block[at.STARVED] += samples
    numbers = reals(block)
    numbers[at.PULLED_S] += samples / block[at.RATE]
    sum_up(block, samples)


@part
def sum_up(block: Block, samples: int) -> None:
    """Count samples that were played, with their delay."""
    numbers = reals(block)
    numbers[at.DELAYED] += max(0.0, numbers[at.WAITED_S]) * samples
    numbers[at.AIMED] += numbers[at.TARGET_S] * samples
    block[at.EMITTED] += samples


@part
def until_due(block: Block, now_s: float) -> int:
    """Return the samples of silence before the first block may be due, a block at most.

    With a fixed delay a block: what is pulled before its tick would never be there in time.
    """
    samples, is_fixed = block[at.BLOCK_SAMPLES], block[at.MODE] == at.FIXED
    if block[at.NUMBERED] or not block[at.COUNT] or block[at.BEGUN] or is_fixed:
        return int(samples)
    numbers, rate = reals(block), block[at.RATE]
    due_s = array(block, UNITS)[0, START] / rate + numbers[at.BASE_S] + numbers[at.TARGET_S]
    return int(max(1, min(samples, np.rint((due_s - now_s) * rate))))


@part
def look_behind(block: Block, samples: int) -> int:
    """Collect the parts of units behind the block pulled last; return their number.

    None where there is no hole in that block nor in the next one; where the line waits; and behind
    a pause: what came then does not go on from before it.
    """
    is_whole = not block[at.LACKED] and contiguous(block) >= block[at.BLOCK_SAMPLES]
    block[at.PARTS_COUNT] = 0
    if not block[at.BEGUN] or block[at.HELD] or is_whole:
        return 0
    units, position = array(block, UNITS), block[at.POSITION]
    for k in range(block[at.COUNT]):
        if units[k, STOP] > position:
            if units[k, START] <= position or not is_pause(block, k):
                gather(block, samples)
            break
    return int(block[at.PARTS_COUNT])


@part
def settle_pause(block: Block) -> None:
    """Count a stall at the end as unsent: nothing follows it."""
    block[at.POSITION] += block[at.HELD]
    block[at.IS_PLACED] = 0
    _count_stall(block)


@part
def pass_held(block: Block) -> None:
    """Count held samples as lost, and go on behind them."""
    held = block[at.HELD]
    block[at.LATE_SAMPLES] -= held
    make_up(block, block[at.POSITION], block[at.POSITION] + held, at.HOLD)
    block[at.POSITION] += held
    block[at.STARVED] += held
    block[at.HELD] = 0


@part
def take_turn(block: Block, now_s: float) -> int:
    """Decide the block that is due and return its kind; PARTS says which units it has."""
    numbers = reals(block)
    block[at.PARTS_COUNT] = 0
    numbers[at.PULLED_S] = now_s
    if not block[at.BEGUN] and not _begin(block, now_s):
        return at.WAIT
    excess = _overdue(block, now_s)
    if excess > 0:
        return _skip(block, excess)
    if _is_late_alone(block):
        if _goes_back(block, now_s):
            return at.WAIT
        return _pass_block(block, now_s)
    _drop_late(block, block[at.LAID_LATE])
    drop_played(block)
    if block[at.COUNT] and (block[at.HELD] or block[at.STARVED]):
        _settle(block, now_s)
    turn = _pass_block(block, now_s)
    if not block[at.NUMBERED]:
        drop_played(block)  # what remains before the position came too late
    return turn


@inlined
def _begin(block: Block, now_s: float) -> bool:
    """Return whether the first block is due, and go to its place."""
    if not block[at.COUNT]:
        return False
    numbers, rate = reals(block), block[at.RATE]
    first = array(block, UNITS)[0, START]
    due_s = first / rate + numbers[at.BASE_S] + numbers[at.TARGET_S]
    behind = (now_s - due_s) * rate
    if behind < -_EXACT_S * rate and not block[at.AT_ONCE]:
        return False
    samples = block[at.BLOCK_SAMPLES]
    block[at.POSITION] = first
    if block[at.NUMBERED]:
        left_out = int(max(0.0, behind)) // samples * samples
        block[at.SKIPPED] += covered(block, first, first + left_out)
        block[at.POSITION] += left_out
    block[at.BEGUN], block[at.AT_ONCE] = 1, 0
    return True


@inlined
def _is_late_alone(block: Block) -> bool:
    """Return whether the line may go back to pieces that came too late.

    These are all that came, or go on without a hole into what is in time; the delay may then grow.
    """
    units, count, position = array(block, UNITS), block[at.COUNT], block[at.POSITION]
    if block[at.NUMBERED] or not block[at.STARVED] or not count or units[0, START] >= position:
        return False
    if units[count - 1, STOP] <= position:
        return True
    for k in range(count):
        if units[k, START] < position < units[k, STOP]:
            block[at.LATE_ROW] += block[at.IS_PLACED]  # else their ends alone would be played
            if block[at.MODE] != at.FIXED or block[at.LATE_ROW] >= _LATE_UNITS:
                return True
        came_after_all(block, units[k, START], min(units[k, STOP], position))
    reals(block)[at.LATE_SINCE_S] = math.inf
    return False


@inlined
def _goes_back(block: Block, now_s: float) -> bool:
    """Return whether the line goes back to pieces without which it went on."""
    numbers, units = reals(block), array(block, UNITS)
    numbers[at.LATE_SINCE_S] = min(numbers[at.LATE_SINCE_S], now_s)
    waits = block[at.IS_PLACED] and units[block[at.COUNT] - 1, STOP] <= block[at.POSITION]
    if waits and now_s - numbers[at.LATE_SINCE_S] < _GO_BACK_S:
        return False
    while units[0, STOP] <= block[at.POSITION] < units[block[at.COUNT] - 1, STOP]:
        stop = block[at.POSITION]
        _drop_late(block, units[0, STOP] - units[0, START])
        block[at.POSITION] = units[0, STOP]
        drop_played(block)
        block[at.POSITION] = stop
    block[at.LAID_LATE] = 0
    _count_stall(block)
    before_s = numbers[at.ONSET_BASE_S] if block[at.ONSET] else math.inf
    numbers[at.LATE_SINCE_S], numbers[at.ONSET_BASE_S] = math.inf, min(before_s, numbers[at.BASE_S])
    block[at.BEGUN], block[at.ONSET], block[at.LATE_ROW] = 0, block[at.IS_PLACED], 0
    block[at.AT_ONCE] = block[at.MODE] != at.FIXED
    rebase(block, now_s - units[0, START] / block[at.RATE], now_s)
    return True


@inlined
def _drop_late(block: Block, samples: int) -> None:
    """Count samples of pieces that came too late as not received."""
    block[at.TAKEN_SAMPLES] -= samples
    block[at.LAID_LATE] -= samples


@part
def _count_stall(block: Block) -> None:
    """Count a stall as late, or as unsent where the sender was silent."""
    stalled = block[at.HELD] + block[at.STARVED]
    block[at.LATE_SAMPLES] -= block[at.HELD]
    block[at.LOST_SAMPLES] -= block[at.STARVED]
    block[at.LATE_SAMPLES if block[at.IS_PLACED] else at.UNSENT] += stalled
    block[at.HELD] = block[at.STARVED] = 0
    array(block, HOLES)[:] = 0


@inlined
def _overdue(block: Block, now_s: float) -> int:
    """Return the samples to leave out rather than to bear the delay.

    They are no more than are there, unless it is so long that a clock was set or stood still. Of
    pieces none are: TCP loses none.
    """
    if not block[at.NUMBERED]:
        return 0
    numbers, rate = reals(block), block[at.RATE]
    block_s = block[at.BLOCK_SAMPLES] / rate
    kept_s, limit_s = numbers[at.TARGET_S], numbers[at.MOST_S] + 2.0 * block_s
    if block[at.HURRIES]:
        kept_s = max(kept_s, numbers[at.CUT_S])
        limit_s = kept_s + block_s
        block[at.HURRIES] = 0
    if delay_s(block, now_s) <= limit_s:
        return 0
    excess = int((delay_s(block, now_s) - kept_s) * rate)
    return excess if excess > _CLOCK_SET_S * rate else min(excess, buffered(block))


@inlined
def _skip(block: Block, excess: int) -> int:
    """Skip the excess delay; conceal this block across the jump."""
    samples = block[at.BLOCK_SAMPLES]
    blocks = max(1, excess // samples)
    make_up(block, block[at.POSITION], block[at.POSITION] + samples, at.LOST)
    block[at.SKIPPED] += (blocks - 1) * samples
    block[at.POSITION] += blocks * samples
    block[at.HELD] = block[at.STARVED] = 0
    drop_played(block)
    return at.LOST


@part
def _may_wait(block: Block, now_s: float, is_behind: bool) -> bool:
    """Return whether the line may wait for missing units.

    ``is_behind``: units behind the hole have come.
    """
    numbers, waits_s = reals(block), delay_s(block, now_s)
    if is_behind:  # up to a block too long: what is too long is left out unheard, or by periods
        return bool(block[at.MODE] != at.FIXED and waits_s < numbers[at.TARGET_S] - _EXACT_S)
    limit_s = numbers[at.TARGET_S] if block[at.MODE] == at.FIXED else numbers[at.MOST_S]
    return bool(waits_s + block[at.BLOCK_SAMPLES] / block[at.RATE] <= limit_s)


@inlined
def _settle(block: Block, now_s: float) -> None:
    """Count samples that were concealed while no unit was there by their kind."""
    units = array(block, UNITS)
    position, held = block[at.POSITION], block[at.HELD]
    gap = max(0, units[0, START] - position)
    starved = block[at.STARVED]
    room = max(0, units[0, START] - position + starved)
    if not block[at.NUMBERED] and (2 * room >= held + starved or not block[at.IS_PLACED]):
        units[0, PLACE] = 1  # who leaves room has sent nothing, who goes on was late
    pause = is_pause(block, 0)
    if gap > 0 and held > 0 and not pause and _may_wait(block, now_s, True):
        return  # units behind the hole have come, but the line waits for those in it
    filled = min(held, gap)
    block[at.POSITION] += filled
    block[at.LATE_SAMPLES] -= filled
    if pause and gap + starved > 0:
        make_up(block, position, position + filled, at.SILENCE)
        block[at.UNSENT] += starved
        block[at.LOST_SAMPLES] -= starved
    else:
        make_up(block, position, position + filled, at.LOST)
        note_loss(block, 0, filled, 0)
    if held > filled and pause and not block[at.NUMBERED]:
        block[at.LATE_SAMPLES] -= held - filled
        block[at.UNSENT] += held - filled
    elif held > filled:
        _settle_late(block, held - filled, now_s)
    block[at.HELD] = block[at.STARVED] = 0


@inlined
def _settle_late(block: Block, held: int, now_s: float) -> None:
    """Keep the delay that a late unit caused, but for the excess over a fixed one.

    Whole units are left out, so that blocks still begin where units begin.
    """
    left_out = 0
    if block[at.MODE] == at.FIXED:
        excess = (delay_s(block, now_s) - reals(block)[at.TARGET_S]) * block[at.RATE]
        left_out = min(max(0, int(excess)), held) // block[at.UNIT] * block[at.UNIT]
    block[at.POSITION] += left_out
    drop_played(block)
    block[at.MERGED] += left_out < held


@inlined
def _pass_block(block: Block, now_s: float) -> int:
    """Go on over a block, hole by hole; at one that the line may wait for, wait."""
    _shorten_hole(block, now_s)
    behind = gather(block, block[at.BLOCK_SAMPLES])
    units, parts = array(block, UNITS), array(block, PARTS)
    samples, count = block[at.BLOCK_SAMPLES], block[at.PARTS_COUNT]
    position, here, turn = block[at.POSITION], 0, at.PLAY
    lost = copied = 0
    for row in range(count + 1):
        is_end = row == count
        if is_end and here == samples:
            break
        follower = behind if is_end else parts[row, OF]
        begin = samples if is_end else parts[row, AT]
        if begin > here:
            if follower < 0 and block[at.ENDED]:
                block[at.POSITION] += here
                block[at.BEGUN] = block[at.ENDED] = block[at.FOLLOWS] = 0
                drop_played(block)
                return at.PART if row else at.WAIT
            turn = _hole_kind(block, follower, now_s)
            if turn == at.HOLD:
                block[at.HELD] += samples - here
                block[at.LATE_SAMPLES] += samples - here
                block[at.PARTS_COUNT] = row
                samples = here
                break
            if turn == at.SILENCE and _may_wait(block, now_s, True):
                # The delay is too short: the pause is where it grows unheard.
                block[at.UNSENT] += samples - here
                block[at.PARTS_COUNT] = row
                samples = here
                break
            if follower < 0:
                block[at.STARVED] += begin - here
            elif turn == at.LOST:
                lost += begin - here
            make_up(block, position + here, position + begin, at.HOLD if follower < 0 else turn)
        if is_end:
            break
        here = begin + parts[row, SAMPLES]
        copied += parts[row, SAMPLES] if units[parts[row, OF], IS_COPY] else 0
        block[at.KNOWS_LAST], block[at.LAST] = 1, units[parts[row, OF], PLACE]
        block[at.PLAYED] += parts[row, SAMPLES]
    note_loss(block, samples, lost, copied)
    block[at.POSITION] += samples
    block[at.LACKED] = turn != at.PLAY
    block[at.IN_HOLE] = turn != at.PLAY and (
        not block[at.PARTS_COUNT] or here < block[at.BLOCK_SAMPLES]
    )
    return at.PART if block[at.PARTS_COUNT] and turn != at.PLAY else turn


@inlined
def _shorten_hole(block: Block, now_s: float) -> None:
    """Leave out the rest of a concealed hole, as far as the delay is too long."""
    if not block[at.IN_HOLE] or not block[at.COUNT] or block[at.HELD] or block[at.MODE] == at.FIXED:
        return
    rate = block[at.RATE]
    units, position = array(block, UNITS), block[at.POSITION]
    gap = units[0, START] - position
    excess_s = delay_s(block, now_s) - reals(block)[at.TARGET_S]
    if block[at.NUMBERED]:
        excess_s -= block[at.BLOCK_SAMPLES] / rate
    left_out = min(gap, int(excess_s * rate))
    if left_out <= 0:
        return
    if not is_pause(block, 0):
        block[at.SKIPPED] += left_out
    block[at.POSITION] += left_out


@inlined
def _hole_kind(block: Block, follower: int, now_s: float) -> int:
    """Return the kind of a hole before a unit, given as its row; -1: nothing is behind it."""
    if follower < 0:
        return at.HOLD if _may_wait(block, now_s, False) else at.LOST
    if is_pause(block, follower):
        return at.SILENCE
    return at.HOLD if _may_wait(block, now_s, True) else at.LOST
