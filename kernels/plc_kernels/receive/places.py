"""Where a unit stands on the line: by its number, its stamp or position, and when it came.

Where numbers go on, units follow one another. Stamps are believed beyond that in what the pace
bears out: a pause is one if what follows it comes later, too::

    numbers   7    8    9         7    8    9         7    8              9
    stamps    7    8       9      7    8       9      7    8    9
    arrival   7    8       9      7    8    9         7    8              9
              a pause             none: 9 is moved    a pause: the line moves to 9
                                  next to 8

Stamps that are off by a small part of a unit, or by what they are rounded to, say nothing: the
units are contiguous, and what lasts is a clock, which the playing speed follows.

Pieces have no numbers. Their positions, too, are believed as far as the arrivals bear them out;
another one is a stray, and believed at its second piece (24 kHz)::

    positions   0    480   960        1920        0    480   960   9600  10080
    arrival     0    20    40         80 ms       0    20    40    60    80 ms
                1440 to 1920 is lost, or a pause  9600 is a stray, until 10080 goes on from it

A piece that begins within a small part of it, or within the grain of the positions, of the end of
the one before is contiguous.
"""

import math

import numpy as np

from plc_kernels.build.compile import inlined, part
from plc_kernels.receive import layout as at
from plc_kernels.receive.delays import aim, note, rebase
from plc_kernels.receive.layout import UNITS, array, reals
from plc_kernels.receive.turns import buffered, hurry_as_configured, pass_held, reached
from plc_kernels.receive.units import (
    PLACE,
    START,
    STOP,
    behind,
    is_missing,
    is_stray,
    jump,
    media_time,
    note_length,
    number_of,
)
from plc_kernels.stream.arrays import Block

# A transit that differs this much from the base is a jump of the sender's clock.
_STRAY_S = 3.0
# Unless it is one of the next by its number, and as near to its time by that.
_NEXT_STEPS, _NEXT_S = 3, 0.5
# For this long each unit came later than the line can wait, with nothing behind it: the line is
# moved to the units, or their ends alone would be played, or nothing at all.
_LATE_S, _LATE_UNITS = 0.1, 3
# The next number comes so much later than the line can wait, and nothing is there: it waited for a
# pause that the stamps do not tell, as those of senders that count only what they send.
_ONSET_S = 0.06
# Behind a pause of so long a clock, or the path, may have become another one: the line is moved to
# the unit that ends it, however little that is late.
_LONG_PAUSE_S = 0.5
# Stamps that advance by other than the samples are compared with the clock once both are so far
# apart, by less after a second; at once, where units come by so much, and that share, sooner than
# they say.
_APART_S, _STAMPS_S, _APART_LEAST_S = 0.25, 1.0, 0.05
_SOON_S, _SOON_SHARE = 0.06, 0.25
# A standstill of the network is over so soon after its first unit, or after one that came faster
# than those before.
_STAND_S = 0.25
# By so much sooner than any unit of the last seconds nothing comes: its stamp is wrong.
_SOONER_S = 0.002
# Times that differ by less are the same but for the rounding of sums.
_EXACT_S = 1e-6
# A piece without a number that comes so much sooner than its position says is no reordered one.
_SOON_MOST_S = 0.2
# By how much of it the numbers and the stamps of a late unit may differ.
_LATE_SHARE = 0.25
# Of a unit, what stamps may be off by; what rounding is believed to be at most; and so many units
# after which half of it is forgotten.
_OFF_SHARE, _ROUNDED_SHARE, _FORGET_UNITS = 0.125, 0.75, 64
# Thousandths of a sample that a distance of two rounded positions is off by.
_ROUNDED_TWICE = 2000


@part
def strays(block: Block, number: int, stamp: int, samples: int, now_s: float) -> bool:
    """Return whether a unit is far from its expected place."""
    rate, base_s = block[at.RATE], reals(block)[at.BASE_S]
    start, far = media_time(block, stamp), behind(block, number)
    if block[at.STAMPS_FALSE] and not is_stray(block, number):
        return False
    if -_NEXT_STEPS <= far < 0 and block[at.FOLLOWS]:
        pace_s = now_s - (block[at.FOLLOWING] - (far + 1) * samples) / rate
        if abs(pace_s - base_s) < _NEXT_S:
            return False
    transit_s = now_s - start / rate - base_s
    if abs(transit_s) > _STRAY_S and not (
        transit_s > 0.0 and _goes_on(block, start, -far, samples)
    ):
        return True
    behind_samples = block[at.STAMP] + block[at.SHIFT] - start
    if behind_samples < 0 and number_of(block, number) + block[at.NUMBER_SHIFT] <= block[at.NEWEST]:
        return True  # an earlier number with a later time: the numbers begin anew
    if not is_stray(block, number):
        return False
    # However many units were sent since: late is what lies as far behind by both.
    return far <= 0 or abs(behind_samples - far * samples) > _LATE_SHARE * behind_samples


@inlined
def _goes_on(block: Block, start: int, steps: int, samples: int) -> bool:
    """Return whether a unit stands where its number says, or nearer."""
    if not block[at.FOLLOWS] or steps <= 0:
        return False
    ahead = start - block[at.FOLLOWING]
    return bool(0 <= ahead <= (steps - 1) * max(samples, block[at.LENGTH]))


@part
def move_line(block: Block, stamp: int, now_s: float) -> int:
    """Shift media time so that this unit waits the target delay; return its place.

    Nothing is said by that about the sender's clock: the base starts from here.
    """
    numbers, rate = reals(block), block[at.RATE]
    block[at.LATE_ROW] = block[at.SHIFTED] = 0
    numbers[at.LATE_SINCE_S] = math.inf
    numbers[at.APART] = 0.0
    earliest = 0
    if block[at.BEGUN]:
        wait_s = now_s + numbers[at.TARGET_S] - numbers[at.PULLED_S]
        earliest = block[at.POSITION] + int(np.ceil(wait_s * rate)) - block[at.BLOCK_SAMPLES]
    due = jump(block, stamp, earliest)
    rebase(block, now_s - due / rate, now_s)
    return due


@part
def follow_pace(block: Block, stamp: int, steps: int, samples: int, now_s: float) -> None:
    """Move the line where a stamp contradicts number and pace."""
    if not block[at.FOLLOWS]:
        return
    numbers, rate = reals(block), block[at.RATE]
    start, following = media_time(block, stamp), block[at.FOLLOWING]
    ahead = start - following - (steps - 1) * samples
    shift = 0
    if steps == 1 and _is_rounding(block, ahead, samples):
        shift = ahead
        block[at.STAMPS_NOTED] = block[at.STAMPS_FALSE] = 0
    else:
        if steps == 1 or block[at.STAMPS_NOTED]:
            _note_stamps(block, steps * samples, ahead, now_s)
        if not block[at.STAMPS_FALSE]:
            # What is missing may be as long as the unit before it, or without sound.
            most = following + (steps - 1) * max(samples, block[at.LENGTH])
            ahead = start - min(max(start, following), most)
        shift = ahead if block[at.STAMPS_FALSE] else _false_samples(block, start, ahead, now_s)
    block[at.SHIFT] -= shift
    if abs(shift) > _OFF_SHARE * samples:
        block[at.SHIFTED], block[at.SHIFTED_PLACE] = shift, block[at.NEWEST] + steps
    if not block[at.BEGUN]:
        return
    place = start - shift
    late_s = now_s - place / rate - numbers[at.BASE_S] - numbers[at.TARGET_S]
    ready = buffered(block) > 0
    is_row = False
    if place < reached(block):
        is_row = _note_late(block, now_s)
    elif block[at.LATE_ROW] and (ready or late_s < -_EXACT_S):
        block[at.LATE_ROW] = 0
        numbers[at.LATE_SINCE_S] = math.inf
    # However many were lost before it: its stamp says no more than its number.
    is_onset = ahead <= shift and late_s > _ONSET_S
    is_onset |= place - following > _LONG_PAUSE_S * rate and place < reached(block)
    if (is_row or is_onset) and not ready:
        _begin_again(block, stamp, now_s)


@inlined
def _is_rounding(block: Block, ahead: int, samples: int) -> bool:
    """Return whether stamps are ahead, or behind, by no more than their rounding."""
    numbers = reals(block)
    numbers[at.APART] *= 1.0 - 1.0 / _FORGET_UNITS
    numbers[at.ROUNDED] *= 1.0 - 1.0 / (16 * _FORGET_UNITS)
    apart = numbers[at.APART] + ahead
    most = _ROUNDED_SHARE * samples
    numbers[at.ROUNDED] = max(numbers[at.ROUNDED], min(-apart, most))
    is_small = abs(ahead) <= _OFF_SHARE * samples
    if not is_small and ahead > 0 and apart > min(numbers[at.ROUNDED] + 1.0, most):
        numbers[at.APART] = 0.0
        return False
    numbers[at.APART] = max(apart, -most)
    return is_small or ahead > 0


@part
def _note_late(block: Block, now_s: float) -> bool:
    """Take note of one more unit that came too late; return whether to move the line."""
    numbers = reals(block)
    numbers[at.LATE_SINCE_S] = min(numbers[at.LATE_SINCE_S], now_s)
    block[at.LATE_ROW] += 1
    lasted_s = now_s - numbers[at.LATE_SINCE_S]
    return bool(block[at.LATE_ROW] >= _LATE_UNITS and lasted_s >= _LATE_S)


@inlined
def _note_stamps(block: Block, samples: int, ahead: int, now_s: float) -> None:
    """Take in the next unit of those whose stamps advance by more, or by less, than samples."""
    numbers = reals(block)
    if ahead == 0:
        block[at.STAMPS_NOTED] = block[at.STAMPS_FALSE] = 0
    elif not block[at.STAMPS_NOTED] or now_s < numbers[at.STAMPS_SINCE_S]:
        _begin_stamps(block, now_s)
    else:
        block[at.STAMPS_SAMPLES] += samples
        block[at.STAMPS_AHEAD] += ahead
        if _judge_stamps(block, now_s - numbers[at.STAMPS_SINCE_S]):
            _begin_stamps(block, now_s)


@part
def _begin_stamps(block: Block, now_s: float) -> None:
    block[at.STAMPS_NOTED] = 1
    reals(block)[at.STAMPS_SINCE_S] = now_s
    block[at.STAMPS_SAMPLES] = block[at.STAMPS_AHEAD] = block[at.STAMPS_SOON] = 0


@part
def _judge_stamps(block: Block, lasted_s: float) -> bool:
    """Compare stamps and samples with the clock; return whether they are apart.

    Late units prove nothing, early ones do.
    """
    rate = block[at.RATE]
    sampled_s = block[at.STAMPS_SAMPLES] / rate
    stamped_s = sampled_s + block[at.STAMPS_AHEAD] / rate
    if lasted_s < (1.0 - _SOON_SHARE) * stamped_s - _SOON_S:
        block[at.STAMPS_SOON] = block[at.STAMPS_FALSE] = 1
    elif block[at.STAMPS_SOON]:
        block[at.STAMPS_FALSE] = 1
    least_s = _APART_S if lasted_s < _STAMPS_S else _APART_LEAST_S
    if abs(block[at.STAMPS_AHEAD]) < least_s * rate:
        return False
    if not block[at.STAMPS_SOON]:
        if abs(lasted_s - sampled_s) < abs(lasted_s - stamped_s):
            block[at.STAMPS_FALSE] = 1
        elif stamped_s >= (1.0 - _SOON_SHARE) * lasted_s:
            block[at.STAMPS_FALSE] = 0
    return True


@part
def _false_samples(block: Block, start: int, ahead: int, now_s: float) -> int:
    """Return how many samples too many a stamp says."""
    if ahead == 0:
        return 0
    numbers, rate = reals(block), block[at.RATE]
    pace_s = now_s - (start - ahead) / rate - numbers[at.BASE_S]
    if ahead < 0:
        return ahead if pace_s >= -_SOONER_S or -ahead > _STRAY_S * rate else 0
    sooner_s = ahead / rate - pace_s
    if sooner_s <= _SOONER_S:
        return 0
    # A pause is as long as the pace says; none, if the unit is in time next to the last.
    return ahead if pace_s <= numbers[at.TARGET_S] else int(np.ceil(sooner_s * rate))


@inlined
def _begin_again(block: Block, stamp: int, now_s: float) -> None:
    """Move the line to a unit that came late, and see on."""
    numbers, rate = reals(block), block[at.RATE]
    pass_held(block)
    before = media_time(block, stamp)
    base_s = numbers[at.ONSET_BASE_S] if block[at.ONSET] else numbers[at.BASE_S]
    moved = move_line(block, stamp, now_s)
    transit_s = now_s - moved / rate
    block[at.ONSET] = 1
    numbers[at.ONSET_BASE_S] = base_s - (moved - before) / rate
    numbers[at.ONSET_S] = numbers[at.ONSET_LEAST_S] = transit_s
    numbers[at.ONSET_UNTIL_S] = now_s + _STAND_S


@part
def judge_onset(block: Block, transit_s: float, now_s: float) -> None:
    """Go back to the delay before if the network stood still."""
    numbers = reals(block)
    if transit_s <= numbers[at.ONSET_BASE_S] + numbers[at.TARGET_S]:
        rebase(block, numbers[at.ONSET_BASE_S], now_s)
        numbers[at.STALL_S] = numbers[at.ONSET_S] - numbers[at.BASE_S]
        note(block, numbers[at.ONSET_S], now_s)
        hurry_as_configured(block)
        block[at.ONSET] = 0
    elif transit_s < numbers[at.ONSET_LEAST_S] - _SOONER_S:
        # What was held up comes in faster than it was sent, and has not all come yet.
        numbers[at.ONSET_LEAST_S], numbers[at.ONSET_UNTIL_S] = transit_s, now_s + _STAND_S
    elif not 0.0 <= numbers[at.ONSET_UNTIL_S] - now_s <= _STAND_S:
        block[at.ONSET] = 0
        if numbers[at.ONSET_S] - numbers[at.ONSET_LEAST_S] > _ONSET_S:
            hurry_as_configured(block)


@inlined
def next_to(block: Block, place: int, start: int, samples: int) -> int:
    """Return where a reordered unit stands: next to a neighbour by its number that is there.

    Its stamp may be of before the line was moved.
    """
    units = array(block, UNITS)
    if place < block[at.SHIFTED_PLACE]:
        off = block[at.FOLLOWING] + (place - block[at.NEWEST] - 1) * samples - start
        if abs(off - block[at.SHIFTED]) < abs(off):
            start += block[at.SHIFTED]
    for k in range(block[at.COUNT]):
        if units[k, PLACE] == place + 1:
            off = units[k, START] - start - samples
        elif units[k, PLACE] == place - 1:
            off = units[k, STOP] - start
        else:
            continue
        if abs(off) <= _OFF_SHARE * samples:
            return int(start + off)
    return start


@part
def place_piece(block: Block, position: int, is_placed: bool, samples: int, now_s: float) -> int:
    """Say where a piece stands, and take note of when it came; return the outcome.

    GIVEN_START is the media time of an accepted one. After JUMPED the stray before it, and then it,
    are to be placed again.
    """
    block[at.ENDED] = 0
    if not block[at.FOLLOWS]:
        block[at.FOLLOWS] = 1
        start = jump(block, position, block[at.POSITION])
        rebase(block, now_s - start / block[at.RATE], now_s)
        block[at.FOLLOWING], block[at.GRAIN], block[at.ONSET] = start, 0, 0
        _take_in(block, start, samples, is_placed, now_s)
        return at.ACCEPTED
    if not is_placed:
        position = block[at.FOLLOWING] - block[at.SHIFT]
        if block[at.HELD] + block[at.STARVED] > 0 and buffered(block) == 0:
            # It ends a pause, as far as anybody knows: nothing held it up.
            rebase(block, now_s - block[at.FOLLOWING] / block[at.RATE], now_s)
    elif _is_far(block, media_time(block, position), samples) or not _bears_out(
        block, position, samples, now_s
    ):
        return _hear_stray(block, position, samples, now_s)
    block[at.IS_STRAY] = 0
    start = media_time(block, position)
    if start < block[at.FOLLOWING]:
        start = _beside(block, start, samples)
    if start + samples <= block[at.FOLLOWING] and _is_row_of_late(block, start, samples, now_s):
        block[at.SHIFT] += max(block[at.FOLLOWING], block[at.POSITION]) - start
        block[at.JUMPS] += 1
        start = media_time(block, position)
    _take_in(block, start, samples, is_placed, now_s)
    return at.ACCEPTED


@inlined
def _take_in(block: Block, start: int, samples: int, is_placed: bool, now_s: float) -> None:
    numbers = reals(block)
    block[at.GIVEN_START] = start
    note_length(block, samples)
    if block[at.MODE] == at.FIXED:
        aim(block)
    transit_s, stop = now_s - start / block[at.RATE], start + samples
    is_wanted = stop > block[at.FOLLOWING] or is_missing(block, start, stop)
    if stop > block[at.FOLLOWING]:
        block[at.FOLLOWING], block[at.LENGTH] = stop, samples
        block[at.IS_PLACED] = is_placed
    # Of the length of a stall that the line does not wait for nothing is learnt, nor by doubles.
    if is_wanted and transit_s - numbers[at.BASE_S] <= numbers[at.MOST_S]:
        note(block, transit_s, now_s)


@inlined
def _is_far(block: Block, start: int, samples: int) -> bool:
    """Return whether a piece would stand too far from the played samples, and not next to one."""
    near = _OFF_SHARE * samples
    if block[at.STARVED]:  # the first that come behind a stall may be out of turn
        near = max(near, _SOON_MOST_S * block[at.RATE])
    if abs(start - block[at.FOLLOWING]) <= near:
        return False
    here = block[at.POSITION]
    if not block[at.BEGUN] and block[at.COUNT]:
        here = array(block, UNITS)[0, START]
    return not -block[at.PAST_MOST] <= start + samples - here <= block[at.AHEAD_MOST]


@inlined
def _hear_stray(block: Block, position: int, samples: int, now_s: float) -> int:
    """Believe a far position at the second piece that is near it, ahead or behind."""
    first = block[at.STRAY_NEXT] - block[at.STRAY_LENGTH]
    between = max(position - block[at.STRAY_NEXT], first - position - samples)
    is_near = position != first and between <= _SOON_MOST_S * block[at.RATE]
    if not (block[at.IS_STRAY] and is_near):
        block[at.IS_STRAY], block[at.STRAY_LENGTH] = 1, samples
        block[at.STRAY_NEXT] = position + samples
        return at.STRAY
    block[at.IS_STRAY] = 0
    block[at.JUMPS] += 1
    start = max(block[at.FOLLOWING], block[at.POSITION])
    block[at.STAMP], block[at.GRAIN] = min(first, position), 0
    block[at.SHIFT] = start - block[at.STAMP]
    if buffered(block) == 0:
        rebase(block, now_s - start / block[at.RATE], now_s)
    return at.JUMPED


@inlined
def _learn_grain(block: Block, position: int) -> None:
    """Take note of the greatest common divisor of all distances of positions.

    Whole milliseconds are taken as such, which at some rates are no whole samples.
    """
    rate, apart = block[at.RATE], 1000 * abs(position - block[at.STAMP])
    whole = (apart + rate // 2) // rate * rate
    a, b = block[at.GRAIN], whole if abs(whole - apart) <= _ROUNDED_TWICE else apart
    while b:
        a, b = b, a % b
    block[at.GRAIN] = a
    block[at.STAMP] = position


@inlined
def _bears_out(block: Block, position: int, samples: int, now_s: float) -> bool:
    """Move the line to a rounded position; return whether the pace bears the position out."""
    numbers, most = reals(block), _ROUNDED_SHARE * samples
    before = block[at.GRAIN], block[at.STAMP]
    _learn_grain(block, position)
    start = media_time(block, position)
    ahead = off = start - block[at.FOLLOWING]
    # What exact positions of such pieces have in common anyway is no rounding.
    is_exact = 1000 * samples % max(block[at.GRAIN], 1) == 0 and numbers[at.ROUNDED] < 1.0
    grain = math.ceil(block[at.GRAIN] / 1000.0)
    grain = 0 if grain > most or is_exact else grain
    numbers[at.APART] *= 1.0 - 1.0 / _FORGET_UNITS
    numbers[at.ROUNDED] *= 1.0 - 1.0 / _FORGET_UNITS
    apart = numbers[at.APART] + off
    is_next = abs(off) <= _OFF_SHARE * samples or max(abs(off), abs(apart)) <= grain
    if grain > 0 and not is_next and block[at.LENGTH] == samples:
        # Whole pieces lie between, or it comes out of turn.
        off -= int(np.rint(apart / samples)) * samples
        apart = numbers[at.APART] + off
    is_rounded = is_next or max(abs(off), abs(apart)) <= grain
    # Who is so far ahead of the time is not judged by it.
    in_time = now_s - block[at.FOLLOWING] / block[at.RATE] >= numbers[at.BASE_S] - _SOON_MOST_S
    is_judged = ahead > 0 and in_time and not is_next
    if is_judged and _false_samples(block, start, ahead, now_s) > _SOON_MOST_S * block[at.RATE]:
        block[at.GRAIN], block[at.STAMP] = before
        return False
    if is_rounded:
        numbers[at.ROUNDED] = max(numbers[at.ROUNDED], float(abs(off)))
        numbers[at.APART] = max(-most, min(apart, most))
        block[at.SHIFT] -= off
    return True


@inlined
def _beside(block: Block, start: int, samples: int) -> int:
    """Return where a piece out of turn stands: next to one that is there, if it is near."""
    units, near = array(block, UNITS), reals(block)[at.ROUNDED]
    for k in range(block[at.COUNT]):
        before, behind = units[k, STOP] - start, units[k, START] - start - samples
        if abs(before) <= near:
            return int(start + before)
        if abs(behind) <= near:
            return int(start + behind)
    return start


@inlined
def _is_row_of_late(block: Block, start: int, samples: int, now_s: float) -> bool:
    """Return whether pieces in a row, behind all others, came too late, with nothing else there."""
    is_next = start == block[at.LATE_NEXT]
    block[at.LATE_NEXT] = start + samples
    if not block[at.BEGUN] or start + samples > block[at.POSITION] or buffered(block) > 0:
        block[at.LATE_ROW] = 0
        return False
    if not is_next:
        block[at.LATE_ROW] = 0
        reals(block)[at.LATE_SINCE_S] = now_s
    return _note_late(block, now_s)
