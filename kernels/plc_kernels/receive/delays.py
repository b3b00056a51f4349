"""The delay of units: how much they are held up, and the delay to aim for.

*Transit* is when a unit arrived minus when its first sample stands in the stream, both in seconds.
Its zero means nothing, as the two clocks have nothing in common; its least value of the last
seconds, the *base*, is that of a unit that nothing held up. What another unit's transit has above
the base is how much it was held up: its jitter::

    transit ─┐    *              *
             │  *     * *  *        *   quantile of the jitter ─▶ target delay
    base ────┴──────*─────────*───────
                                        time

The distribution of the jitter is kept; a quantile of it is the delay to aim for. The base is taken
over 4 s, so that two clocks that differ by 500 ppm blur it by 2 ms at most, and it follows them for
ever; over half a second where it rises evenly, as that of a slow sender; over a second where that
one sends in bursts.
"""

import math

from plc_kernels.build.compile import inlined, part
from plc_kernels.receive import layout as at
from plc_kernels.receive.layout import BIN_S, JITTER, LOW_S, LOWS, SEEN, array, reals
from plc_kernels.stream.arrays import Block

# The base is the least of so many windows. The sender is slow where it rises from one to the next,
# or from two to the next two, three times by as much and by about the same; it is that of the
# newest, or of the two newest, then.
_WINDOW_S = 0.5
_RISES, _RISE_LEAST_S, _RISE_SHARE, _RISE_UNITS = 3, 0.002, 0.3, 5
# A sender whose base moves by more from window to window has no pace: he sends what there is.
_PACED_S = 0.075
# What is left over for the receiver's own timing.
MARGIN_S = 0.002
# Units after which the distribution, rather than a first guess, may be the aim: as many as hold one
# late one, within these limits.
_ENOUGH_LEAST, _ENOUGH_MOST = 50, 500
# Units between two looks at the distribution, once there are enough.
_LOOK_EVERY = 16
# The aim is lowered after this long without a unit that would have missed the lower one.
_CALM_S = 5.0
_LARGEST_WEIGHT = 1e12
# Of a delay that no unit had for so long the distribution forgets all, where by it so many units,
# over the root of the share that may come too late, should have had it: the network has become
# another one. A pause counts as a second of it at most.
_FORGOTTEN_S, _FORGOTTEN_UNITS, _PAUSE_S = 8.0, 0.1, 1.0
# While so much is lost, the delay is long enough for one unit behind a hole, and for two; less of
# it ends that (docs/benchmarks.md has what a unit is worth). Losses are counted for so long.
_ONE_FROM, _ONE_UNTIL, _TWO_FROM, _TWO_UNTIL = 0.03, 0.02, 0.3, 0.2
_LOSS_S = 2.5
# While so much is lost, copies are waited for; so many are few; and with each unit that comes, what
# is known of them counts less.
_COPIES_FROM, _FEW_COPIES, _COPY_FORGETS = 0.001, 5, 0.98
# Who lets so many units come too late wants the least delay, whatever it costs.
_LEAST_DELAY_SHARE = 0.09
# Of the jitter's distribution: a unit behind a hole is there in four of five cases.
_UNUSUAL_SHARE = 0.2


@part
def forget_delays(block: Block) -> None:
    """Know nothing of the transit again."""
    numbers = reals(block)
    array(block, JITTER)[:] = 0.0
    numbers[at.WEIGHT] = 1.0
    numbers[at.TOTAL] = numbers[at.QUANTILE_S] = numbers[at.COARSE_S] = numbers[at.STALL_S] = 0.0
    numbers[at.WINDOW_S] = numbers[at.CALM_SINCE_S] = numbers[at.NOTED_S] = -math.inf
    numbers[at.UNITS_S] = 0.0
    numbers[at.BASE_S] = math.inf
    numbers[at.LINE_BASE_S] = numbers[at.PACE_S] = -math.inf
    numbers[at.PACE_S + 1] = math.inf
    numbers[at.USUAL_S] = numbers[at.LOSS] = numbers[at.COPIED] = numbers[at.COPY_S] = 0.0
    numbers[at.COPY_NEAR_S] = numbers[at.COPY_NEAR_S + 1] = 0.0
    block[at.WAITS_BEHIND] = block[at.COPY_OF] = block[at.COPIES_OF] = 0
    block[at.NOTED] = block[at.SINCE_LOOK] = block[at.WINDOW_UNITS] = 0
    block[at.LOWS_COUNT] = block[at.BASE_LOWS] = block[at.WHOLE_LOWS] = 0
    aim(block)


@part
def aim(block: Block) -> None:
    """Write the delay to aim for."""
    numbers = reals(block)
    if block[at.MODE] == at.FIXED:
        numbers[at.TARGET_S] = numbers[at.DELAY_S]
        if not block[at.NUMBERED]:  # short pieces wait for their whole block besides
            numbers[at.TARGET_S] += numbers[at.COARSE_S]
        return
    jitter_s = numbers[at.QUANTILE_S]
    if block[at.NOTED] < min(max(1.0 / numbers[at.LATE_SHARE], _ENOUGH_LEAST), _ENOUGH_MOST):
        jitter_s = max(jitter_s, numbers[at.GUESS_S])
    wanted_s = jitter_s + MARGIN_S + numbers[at.COARSE_S]
    if block[at.MODE] != at.FLOOR:
        wanted_s += numbers[at.DELAY_S]
    elif numbers[at.QUANTILE_S] > BIN_S:
        wanted_s = max(wanted_s, numbers[at.DELAY_S])
    else:
        wanted_s = numbers[at.DELAY_S]
    lost_s = _while_lost(block)
    if lost_s > 0.0:
        wanted_s = max(wanted_s, lost_s + numbers[at.USUAL_S] + MARGIN_S + numbers[at.COARSE_S])
    numbers[at.TARGET_S] = min(wanted_s, numbers[at.MOST_S])


@inlined
def _while_lost(block: Block) -> float:
    """Return the seconds in which sound behind a hole comes, or a copy; 0: nothing is lost."""
    numbers = reals(block)
    if numbers[at.LATE_SHARE] > _LEAST_DELAY_SHARE:
        return 0.0
    waits_s = block[at.WAITS_BEHIND] * block[at.LENGTH] / block[at.RATE]
    if numbers[at.LOSS] + numbers[at.COPIED] > _COPIES_FROM:
        waits_s = max(waits_s, numbers[at.COPY_S])
    return float(waits_s)


@part
def note_loss(block: Block, samples: int, lost: int, copied: int) -> None:
    """Take in how many of the next samples were lost, or came as a copy alone."""
    numbers, most = reals(block), _LOSS_S * block[at.RATE]
    kept = max(0.0, 1.0 - samples / most)
    numbers[at.LOSS] = kept * numbers[at.LOSS] + lost / most
    numbers[at.COPIED] = kept * numbers[at.COPIED] + copied / most
    loss, waits = numbers[at.LOSS], block[at.WAITS_BEHIND]
    if loss >= _TWO_FROM or (waits == 2 and loss >= _TWO_UNTIL):
        block[at.WAITS_BEHIND] = 2
    elif loss >= _ONE_FROM or (waits and loss >= _ONE_UNTIL):
        block[at.WAITS_BEHIND] = 1
    else:
        block[at.WAITS_BEHIND] = 0


@part
def note_copy(block: Block, number: int, offset: int) -> None:
    """Take in that a unit carries a copy of an earlier one, ``offset`` samples before it.

    Of few copies the farthest counts, which few losses in a row need; of many, the nearest.
    """
    numbers, copy_s = reals(block), offset / block[at.RATE]
    if number != block[at.COPY_OF]:
        few = block[at.COPIES_OF] <= _FEW_COPIES
        numbers[at.COPY_S] = max(numbers[at.COPY_S], numbers[at.COPY_NEAR_S + int(few)])
        block[at.COPY_OF], block[at.COPIES_OF] = number, 0
        numbers[at.COPY_NEAR_S], numbers[at.COPY_NEAR_S + 1] = copy_s, copy_s
    block[at.COPIES_OF] += 1
    numbers[at.COPY_NEAR_S] = min(numbers[at.COPY_NEAR_S], copy_s)
    numbers[at.COPY_NEAR_S + 1] = max(numbers[at.COPY_NEAR_S + 1], copy_s)


@part
def note(block: Block, transit_s: float, now_s: float) -> None:
    """Take in the transit of a unit that arrived now."""
    numbers, bins = reals(block), array(block, JITTER)
    _note_base(block, transit_s, now_s)
    held_up_s = max(0.0, transit_s - numbers[at.BASE_S])
    numbers[at.UNITS_S] += min(abs(now_s - numbers[at.NOTED_S]), _PAUSE_S)
    numbers[at.NOTED_S] = now_s
    place = min(int(held_up_s / BIN_S), bins.size - 1)
    bins[place] += numbers[at.WEIGHT]
    array(block, SEEN)[place] = numbers[at.UNITS_S]
    numbers[at.TOTAL] += numbers[at.WEIGHT]
    # Three times the units that hold one late one: the quantile's tail is then settled.
    numbers[at.WEIGHT] /= 1.0 - min(1.0 / 300.0, numbers[at.LATE_SHARE] / 3.0)
    numbers[at.COPY_S] *= _COPY_FORGETS
    block[at.NOTED] += 1
    block[at.SINCE_LOOK] += 1
    is_beyond = held_up_s > numbers[at.TARGET_S]
    if block[at.NOTED] < _ENOUGH_LEAST or block[at.SINCE_LOOK] >= _LOOK_EVERY or is_beyond:
        look(block, now_s)
    else:
        aim(block)


@part
def rebase(block: Block, base_s: float, now_s: float) -> None:
    """Take this for the base: the line was moved, or the stream begins anew."""
    numbers = reals(block)
    numbers[at.BASE_S] = numbers[LOW_S] = numbers[at.LINE_BASE_S] = base_s
    block[at.LOWS_COUNT] = block[at.BASE_LOWS] = 1
    block[at.WHOLE_LOWS] = 0
    numbers[at.PACE_S], numbers[at.PACE_S + 1] = -math.inf, math.inf
    numbers[at.WINDOW_S] = now_s
    block[at.WINDOW_UNITS] = 0
    # Later only if the clock was set back.
    numbers[at.CALM_SINCE_S] = min(numbers[at.CALM_SINCE_S], now_s)


@part
def is_paced(block: Block) -> bool:
    """Return whether units come at a steady pace, as the last two whole windows say."""
    numbers = reals(block)
    return bool(abs(numbers[at.PACE_S] - numbers[at.PACE_S + 1]) <= _PACED_S)


@inlined
def _note_base(block: Block, transit_s: float, now_s: float) -> None:
    numbers = reals(block)
    age_s = now_s - numbers[at.WINDOW_S]
    if age_s >= _WINDOW_S:
        numbers[at.PACE_S] = numbers[at.PACE_S + 1] if age_s < 2.0 * _WINDOW_S else -math.inf
        numbers[at.PACE_S + 1] = numbers[LOW_S + block[at.LOWS_COUNT] - 1]
        _end_window(block, age_s)
        if block[at.LOWS_COUNT] == LOWS:
            for k in range(LOWS - 1):
                numbers[LOW_S + k] = numbers[LOW_S + k + 1]
            block[at.LOWS_COUNT] -= 1
        numbers[LOW_S + block[at.LOWS_COUNT]] = transit_s
        block[at.LOWS_COUNT] += 1
        block[at.BASE_LOWS] = min(block[at.BASE_LOWS] + 1, LOWS)
        numbers[at.WINDOW_S] = now_s
        block[at.WINDOW_UNITS] = 0
    newest = LOW_S + block[at.LOWS_COUNT] - 1
    numbers[newest] = min(numbers[newest], transit_s)
    block[at.WINDOW_UNITS] += 1
    numbers[at.BASE_S] = _least(block, block[at.LOWS_COUNT], block[at.BASE_LOWS])
    if not block[at.NUMBERED] and not is_followed(block):
        numbers[at.BASE_S] = max(numbers[at.BASE_S], numbers[at.LINE_BASE_S])


@part
def is_followed(block: Block) -> bool:
    """Return whether the delay is brought to its aim: the sender has a pace, not far ahead."""
    numbers = reals(block)
    # Who comes no sooner than before a stall is not ahead.
    least_s = _least(block, block[at.LOWS_COUNT], block[at.BASE_LOWS])
    is_back = block[at.ONSET] and least_s >= numbers[at.ONSET_BASE_S] - _PACED_S
    is_near = numbers[at.LINE_BASE_S] - least_s <= numbers[at.MOST_S]
    return is_paced(block) and bool(is_back or is_near)


@part
def _least(block: Block, stop: int, count: int) -> float:
    """Return the least transit of so many windows before that one."""
    least_s = math.inf
    for k in range(stop - count, stop):
        least_s = min(least_s, reals(block)[LOW_S + k])
    return least_s


@inlined
def _end_window(block: Block, age_s: float) -> None:
    """Leave the windows that are of no use any more out of the base."""
    if age_s >= _WINDOW_S * LOWS:
        block[at.LOWS_COUNT] = block[at.BASE_LOWS] = 0
    if not block[at.LOWS_COUNT] or block[at.WINDOW_UNITS] < _RISE_UNITS:
        block[at.WHOLE_LOWS] = 0
        return
    block[at.WHOLE_LOWS] = min(block[at.WHOLE_LOWS] + 1, block[at.LOWS_COUNT])
    for width in range(1, LOWS // (_RISES + 1) + 1):
        if block[at.BASE_LOWS] > width and _rises(block, width):
            block[at.BASE_LOWS] = width


@inlined
def _rises(block: Block, width: int) -> bool:
    """Return whether the least transit of so many windows rose evenly."""
    stop = block[at.LOWS_COUNT]
    if block[at.WHOLE_LOWS] < (_RISES + 1) * width:
        return False
    least_s, most_s = math.inf, -math.inf
    for _ in range(_RISES):
        rise_s = _least(block, stop, width) - _least(block, stop - width, width)
        least_s, most_s = min(least_s, rise_s), max(most_s, rise_s)
        stop -= width
    return bool(least_s >= max(_RISE_LEAST_S * width, _RISE_SHARE * most_s))


@part
def look(block: Block, now_s: float) -> None:
    """Move the aim: up at once, down only where it is far too high and has been for a while.

    One late unit of few moves nothing, unless it is of a stall, or the next is like it.
    """
    numbers, bins = reals(block), array(block, JITTER)
    block[at.SINCE_LOOK] = 0
    if numbers[at.WEIGHT] > _LARGEST_WEIGHT:
        for k in range(bins.size):
            bins[k] /= numbers[at.WEIGHT]
        numbers[at.TOTAL] /= numbers[at.WEIGHT]
        numbers[at.WEIGHT] = 1.0
    _forget_old(block)
    numbers[at.USUAL_S] = BIN_S * (_place_of(block, _UNUSUAL_SHARE * numbers[at.TOTAL]) + 1)
    late = numbers[at.LATE_SHARE] * numbers[at.TOTAL]
    place = _place_of(block, late)
    if late < numbers[at.WEIGHT] and BIN_S * place > numbers[at.STALL_S]:
        next_place = _place_of(block, numbers[at.WEIGHT])
        if BIN_S * (place - next_place) > block[at.LENGTH] / block[at.RATE] + 2.0 * MARGIN_S:
            place = next_place
    quantile_s = BIN_S * (place + 1)
    if quantile_s > 0.8 * numbers[at.QUANTILE_S] - MARGIN_S:
        numbers[at.CALM_SINCE_S] = now_s
        numbers[at.QUANTILE_S] = max(numbers[at.QUANTILE_S], quantile_s)
    elif now_s - numbers[at.CALM_SINCE_S] >= _CALM_S:
        numbers[at.CALM_SINCE_S] = now_s
        numbers[at.QUANTILE_S] = quantile_s
    aim(block)


@inlined
def _forget_old(block: Block) -> None:
    """Forget delays that no unit had lately, if many had them before."""
    numbers, bins, seen = reals(block), array(block, JITTER), array(block, SEEN)
    place, beyond = bins.size - 1, 0.0
    while place > 0 and numbers[at.UNITS_S] - seen[place] > _FORGOTTEN_S:
        beyond += bins[place]
        place -= 1
    units = _FORGOTTEN_S * block[at.RATE] / block[at.LENGTH]
    if beyond * units * math.sqrt(numbers[at.LATE_SHARE]) > _FORGOTTEN_UNITS * numbers[at.TOTAL]:
        while place + 1 < bins.size:
            place += 1
            numbers[at.TOTAL] -= bins[place]
            bins[place] = 0.0
        numbers[at.CALM_SINCE_S] = -math.inf


@part
def _place_of(block: Block, late: float) -> int:
    """Return the bin above which that much of the distribution lies."""
    # From the late end: few of many bins are looked at, and small sums stay exact.
    bins = array(block, JITTER)
    place = bins.size - 1
    beyond = bins[place]
    while place > 0 and beyond <= late * (1.0 + 1e-12):
        place -= 1
        beyond += bins[place]
    return int(place)
