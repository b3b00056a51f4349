"""The line: concealed blocks in, blocks out, a little faster or slower, or by whole periods.

::

    append ──▶ past │ waits to be played │ ──▶ play
                    └ LINE_AT: between two samples where it is resampled

At a whole place and the nominal speed it copies: received samples come out bit for bit.

Small errors, and a sender's clock, are followed by the speed of a resampler. Inside a dead band it
does nothing at all, so that a stream whose clock agrees comes out bit for bit; once outside it, a
proportional-integral controller takes over and learns the difference of the two clocks (its
integral), which it keeps. Of an excess that falls as fast as it is played off nothing is learnt;
where there is no difference it lets go, and ends on a whole sample. The rate never moves faster
than 200 ppm a second nor further than 3000 ppm, 5 cents: a shift in pitch that slow and small is
not heard, and as the rate changes a resampler's step, there is nothing that could click.

Where the delay is off by more, whole periods of the sound are left out or played twice
(:mod:`plc_kernels.signal.stretch`): the pitch stays. Nothing is left out that lately was needed: of
what waits, so much as was never used for half a second.
"""

import math

import numpy as np

from plc_kernels.build.compile import inlined, part
from plc_kernels.receive import layout as at
from plc_kernels.receive.delays import MARGIN_S, is_followed
from plc_kernels.receive.layout import ARRAYS, INBOX, LINE, MARKS, OUTBOX, SINC, array, reals
from plc_kernels.receive.turns import contiguous, delay_s, sum_up
from plc_kernels.signal.resample import CENTRE, PHASES, TAPS, resample, sinc_weights
from plc_kernels.signal.stretch import MOST_MS, lengthen, shorten
from plc_kernels.stream.arrays import Block, place_arrays

_MOST_STRETCH, _MOST_DRIFT, _SLEW_PER_S = 3e-3, 1e-3, 2e-4
# What is played off at such a share of the speed, at least, is no clock's.
_FALLS_SHARE = 0.75
# Time constant 10 s, damping 0.7: 500 ppm of drift move the delay by 5 ms.
_PROPORTIONAL_PER_S = 0.1
_INTEGRAL_PER_S2 = _PROPORTIONAL_PER_S**2 / 2.0
# What one late unit does to the delay is no drift: larger errors count as this one.
_LARGEST_LEARNT_S = 0.002
_SMOOTHING_S, _CALM_S = 1.0, 5.0
# A place in the line that is this near a sample, in samples, is one but for rounding.
_ROUNDED = 1e-6
# A clock closer than this is left alone again, once the delay is where it should be.
_NO_DRIFT = 1e-5
# An excess, and a lack, from this on are seen to by whole periods; so long after one comes the
# next, and sooner where the error is large.
_PERIODS_S, _LACK_S, _LACK_TICKS, _LARGE_S = 0.010, 0.005, 0.25, 0.060
_NEXT_S, _NEXT_LARGE_S = 0.060, 0.020
_SPARE_WINDOW_S = 0.25
# So much of an excess is left to the resampler: what a clock takes until it is known.
_LEFT_S = 0.005
# Correlation from which on a period is one; after a time without any, a lower one, or none where
# the error is large.
_LIKE, _LESS_LIKE, _PATIENCE_S, _AGAIN_SHARE = 0.9, 0.5, 1.0, 0.9


@part
def forget_speed(block: Block) -> None:
    """Play at the nominal speed, and know of no drift."""
    numbers = reals(block)
    numbers[at.STRETCH] = numbers[at.DRIFT] = numbers[at.ERROR_S] = numbers[at.IN_BAND_S] = 0.0
    numbers[at.CHANGED_S] = numbers[at.SPARE_SINCE_S] = -math.inf
    numbers[at.SPARE] = numbers[at.SPARE_BEFORE] = numbers[at.WAITED_S] = 0.0
    numbers[at.UNMET_SINCE_S] = math.inf
    numbers[at.ENOUGH] = _LIKE
    block[at.ENGAGED] = block[at.WANTED] = 0


@part
def control(block: Block, ready: float, now_s: float) -> None:
    """Write the speed for the next block, and how many samples to leave out or to repeat.

    ``ready`` are the samples that wait behind the blocks that were pulled.
    """
    numbers, rate, samples = reals(block), block[at.RATE], block[at.BLOCK_SAMPLES]
    # Between two ticks a block is pulled up to one block before it is played; of pieces, none is.
    tick_s = samples / rate if block[at.NUMBERED] else 0.0
    waiting_s = delay_s(block, now_s) + (ready - block[at.HELD]) / rate
    numbers[at.WAITED_S] = waiting_s + block[at.LOOKAHEAD] * samples / rate
    excess_s = waiting_s - numbers[at.TARGET_S] - tick_s
    spare = contiguous(block) + ready - samples
    _note_spare(block, spare, now_s)
    block[at.WANTED] = 0
    if not block[at.NUMBERED]:
        numbers[at.LINE_BASE_S] = numbers[at.BASE_S] + waiting_s - numbers[at.TARGET_S]
        if not is_followed(block):
            numbers[at.BASE_S] = max(numbers[at.BASE_S], numbers[at.LINE_BASE_S])
            block[at.ENGAGED] = 0
            _let_go(block)
            return
    if block[at.MODE] != at.FIXED and (
        excess_s > _PERIODS_S or excess_s < -max(_LACK_S, _LACK_TICKS * tick_s)
    ):
        next_s = _NEXT_LARGE_S if abs(excess_s) > _LARGE_S else _NEXT_S
        if not 0.0 <= now_s - numbers[at.CHANGED_S] < next_s:
            block[at.WANTED] = _wanted(block, excess_s)
        unmet_s = now_s - numbers[at.UNMET_SINCE_S]
        numbers[at.ENOUGH] = _LIKE - (_LIKE - _LESS_LIKE) * min(1.0, unmet_s / _PATIENCE_S)
        if unmet_s > _PATIENCE_S and abs(excess_s) > _LARGE_S:
            numbers[at.ENOUGH] = -1.0
        if unmet_s <= _PATIENCE_S and abs(excess_s) > _PERIODS_S:
            return
    else:
        numbers[at.UNMET_SINCE_S] = now_s
    _follow(block, excess_s, samples / rate)


@inlined
def _note_spare(block: Block, spare: float, now_s: float) -> None:
    numbers = reals(block)
    if not 0.0 <= now_s - numbers[at.SPARE_SINCE_S] < _SPARE_WINDOW_S:
        numbers[at.SPARE_BEFORE], numbers[at.SPARE] = numbers[at.SPARE], spare
        numbers[at.SPARE_SINCE_S] = now_s
    numbers[at.SPARE] = min(numbers[at.SPARE], spare)


@inlined
def _wanted(block: Block, excess_s: float) -> int:
    """Return the samples to leave out at most; below 0: to repeat."""
    numbers, rate = reals(block), block[at.RATE]
    if excess_s < 0.0:
        return -int(_LARGE_S * rate)  # any period
    spare = min(numbers[at.SPARE], numbers[at.SPARE_BEFORE]) - MARGIN_S * rate
    return int(max(0.0, min((excess_s - _LEFT_S) * rate, spare)))


@part
def changed(block: Block, samples: int, now_s: float) -> None:
    """Take note of samples that were left out, below 0: repeated."""
    numbers = reals(block)
    numbers[at.CHANGED_S] = now_s
    # Where little was alike, the next period is not waited for as long again.
    again_s = _AGAIN_SHARE * _PATIENCE_S if numbers[at.ENOUGH] < _LESS_LIKE else 0.0
    numbers[at.UNMET_SINCE_S] = now_s - again_s
    numbers[at.SPARE] -= samples
    numbers[at.SPARE_BEFORE] -= samples
    if samples > 0:
        block[at.SHORTENED] += samples
    else:
        block[at.LENGTHENED] -= samples


@inlined
def _follow(block: Block, excess_s: float, elapsed_s: float) -> None:
    numbers = reals(block)
    target_s = numbers[at.TARGET_S]
    # Too much of it costs little, and is what a stream whose first units were held up begins with;
    # too little costs units.
    lack_s, most_s = max(MARGIN_S, 0.05 * target_s), max(MARGIN_S, 0.25 * target_s)
    before_s = numbers[at.ERROR_S]
    error_s = before_s + (excess_s - before_s) * min(1.0, elapsed_s / _SMOOTHING_S)
    numbers[at.ERROR_S] = error_s
    if not block[at.ENGAGED] and -lack_s <= error_s <= most_s:
        _let_go(block)
        return
    block[at.ENGAGED] = 1
    wanted = numbers[at.DRIFT] + _PROPORTIONAL_PER_S * error_s
    off_s = _FALLS_SHARE * abs(numbers[at.STRETCH] - numbers[at.DRIFT]) * elapsed_s
    is_played_off = abs(before_s) - abs(error_s) >= off_s
    if abs(wanted) < _MOST_STRETCH and not is_played_off:  # else the integral would wind up
        learnt_s = min(max(error_s, -_LARGEST_LEARNT_S), _LARGEST_LEARNT_S)
        drift = numbers[at.DRIFT] + _INTEGRAL_PER_S2 * learnt_s * elapsed_s
        numbers[at.DRIFT] = min(max(drift, -_MOST_DRIFT), _MOST_DRIFT)
    wanted = min(max(wanted, -_MOST_STRETCH), _MOST_STRETCH)
    _slew(block, wanted)
    in_band = abs(error_s) < 0.5 * lack_s and abs(numbers[at.STRETCH]) < _NO_DRIFT
    numbers[at.IN_BAND_S] = numbers[at.IN_BAND_S] + elapsed_s if in_band else 0.0
    if numbers[at.IN_BAND_S] >= _CALM_S:
        numbers[at.DRIFT] = numbers[at.IN_BAND_S] = 0.0
        block[at.ENGAGED] = 0


@part
def _slew(block: Block, wanted: float) -> None:
    """Move the speed towards one, no faster than nobody hears."""
    step = _SLEW_PER_S * block[at.BLOCK_SAMPLES] / block[at.RATE]
    change = wanted - reals(block)[at.STRETCH]
    reals(block)[at.STRETCH] += min(max(change, -step), step)


@part
def _let_go(block: Block) -> None:
    """Bring the speed to the nominal one, so that it ends on a whole sample."""
    numbers, samples = reals(block), block[at.BLOCK_SAMPLES]
    place = numbers[at.LINE_AT] + samples * numbers[at.STRETCH]  # behind the next block
    ahead = (np.rint(place) - place) / samples
    step = _SLEW_PER_S * samples / block[at.RATE]
    if max(abs(ahead), abs(numbers[at.STRETCH])) > step:
        _slew(block, math.copysign(math.sqrt(abs(ahead) * step), ahead))
    else:
        numbers[at.STRETCH] = ahead if abs(ahead) * samples > _ROUNDED else 0.0


_FILLS, _LEAVES_OUT, _FILLS_AGAIN = range(3)
# What was waiting is faded out when it is dropped.
_FADE_S = 0.005


@part
def lay_out(block: Block) -> int:
    """Write where the arrays lie, given the settings; return the size of the block in bytes."""
    window = int(np.ceil(MOST_MS * block[at.RATE] / 1000.0))
    block[at.WINDOW], block[at.PAST] = window, max(CENTRE, window)
    block[at.LINE_ROOM] = block[at.PAST] + 4 * block[at.BLOCK_SAMPLES] + 2 * TAPS + 4 * window
    block[at.ROWS] = block[at.CHANNELS] + 1
    block[at.SINC_ROWS], block[at.SINC_TAPS] = PHASES + 1, TAPS
    block[at.REALS_AT] = 8 * at.REALS
    block[at.SIZE] = place_arrays(block, 0, ARRAYS, 8 * at.HEADER)
    return int(block[at.SIZE])


@part
def forget_line(block: Block) -> None:
    """Empty the line: no sample waits to be played."""
    block[at.FILLED] = block[at.PAST]
    block[at.PHASE] = _FILLS
    reals(block)[at.LINE_AT] = float(block[at.PAST])
    _silence(block, 0, block[at.LINE_ROOM])
    sinc_weights(array(block, SINC))


@part
def ready(block: Block) -> float:
    """Return the samples that wait to be played."""
    waits: float = block[at.FILLED] - reals(block)[at.LINE_AT]
    return waits


@part
def append_silence(block: Block, samples: int) -> None:
    """Append silence, as much as there is room for."""
    samples = min(samples, block[at.LINE_ROOM] - block[at.FILLED])
    _silence(block, block[at.FILLED], block[at.FILLED] + samples)
    block[at.FILLED] += samples


@part
def _silence(block: Block, begin: int, stop: int) -> None:
    line = array(block, LINE)
    for c in range(block[at.ROWS]):
        for i in range(begin, stop):
            line[c, i] = np.float32(0.0)


@part
def append_block(block: Block) -> None:
    """Append the block of INBOX and MARKS."""
    line, inbox, marks = array(block, LINE), array(block, INBOX), array(block, MARKS)
    samples, channels, filled = block[at.BLOCK_SAMPLES], block[at.CHANNELS], block[at.FILLED]
    if filled + samples > block[at.LINE_ROOM]:
        return
    for c in range(channels):
        for i in range(samples):
            line[c, filled + i] = inbox[i, c]
    for i in range(samples):
        line[channels, filled + i] = np.float32(marks[i] != 0)
    block[at.FILLED] = filled + samples


@part
def drop_waiting(block: Block) -> None:
    """Fade out the waiting samples, and let silence follow."""
    line = array(block, LINE)
    begin = int(np.ceil(reals(block)[at.LINE_AT]))
    fade = int(_FADE_S * block[at.RATE])
    for c in range(block[at.ROWS]):
        for i in range(begin, block[at.FILLED]):
            share = max(0.0, 1.0 - (i - begin) / fade)
            line[c, i] *= np.float32(share)


@inlined
def _is_copied(block: Block, step: float) -> bool:
    place = reals(block)[at.LINE_AT]
    return step == 1.0 and place == math.floor(place)


@inlined
def _lacks(block: Block, step: float) -> bool:
    last = math.floor(reals(block)[at.LINE_AT] + (block[at.BLOCK_SAMPLES] - 1) * step)
    return bool(block[at.FILLED] < last + 1 + (0 if _is_copied(block, step) else TAPS // 2))


@inlined
def _change(block: Block, now_s: float) -> None:
    """Leave out a period, or play one twice, as WANTED says."""
    numbers, line = reals(block), array(block, LINE)
    begin, filled, most = int(numbers[at.LINE_AT]), block[at.FILLED], block[at.WANTED]
    enough = numbers[at.ENOUGH]
    if most > 0:
        samples = shorten(line, begin, filled, block[at.RATE], most, enough)
    else:
        most = min(-most, filled - begin)
        if filled + block[at.WINDOW] > block[at.LINE_ROOM]:
            return
        samples = -lengthen(line, begin, filled, block[at.RATE], most, enough)
    if samples != 0:
        block[at.FILLED] -= samples
        changed(block, samples, now_s)


@part
def go_on(block: Block, now_s: float) -> int:
    """Play the next block, or ask for one to be pulled; return READY or PULL."""
    numbers = reals(block)
    step = 1.0 + numbers[at.STRETCH]
    if block[at.PHASE] == _FILLS:
        if _lacks(block, step):
            return at.PULL
        # Only now: what is pulled may lead over a jump, and the delay before it is never played.
        block[at.WANTED] = 0
        if block[at.BEGUN]:
            control(block, ready(block), now_s)
        block[at.PHASE] = _LEAVES_OUT if block[at.WANTED] != 0 else _FILLS_AGAIN
    if block[at.PHASE] == _LEAVES_OUT:
        lacks = block[at.FILLED] < math.floor(numbers[at.LINE_AT]) + 2 * block[at.WINDOW] + 1
        if block[at.WANTED] > 0 and lacks:
            if contiguous(block) >= block[at.BLOCK_SAMPLES]:
                return at.PULL
        else:
            _change(block, now_s)
        block[at.PHASE] = _FILLS_AGAIN
    if _lacks(block, step):
        return at.PULL
    _play(block, step)
    if block[at.BEGUN]:
        faster = (step - 1.0) * block[at.BLOCK_SAMPLES]
        numbers[at.REMOVED] += max(0.0, faster)
        numbers[at.INSERTED] += max(0.0, -faster)
        sum_up(block, block[at.BLOCK_SAMPLES])
    block[at.PHASE] = _FILLS
    return at.READY


@inlined
def _play(block: Block, step: float) -> None:
    """Play a block at a speed, and forget the samples that are no longer needed."""
    numbers, line, played = reals(block), array(block, LINE), array(block, OUTBOX)
    if _is_copied(block, step):
        begin, samples = int(numbers[at.LINE_AT]), block[at.BLOCK_SAMPLES]
        for c in range(block[at.ROWS]):
            for i in range(samples):
                played[c, i] = line[c, begin + i]
        numbers[at.LINE_AT] += samples
    else:
        place = resample(numbers[at.LINE_AT], step, array(block, SINC), line, played)
        whole = np.rint(place)
        numbers[at.LINE_AT] = whole if abs(place - whole) < _ROUNDED else place
    stale = math.floor(numbers[at.LINE_AT]) - block[at.PAST]
    for c in range(block[at.ROWS]):
        for i in range(block[at.FILLED] - stale):
            line[c, i] = line[c, i + stale]
    block[at.FILLED] -= stale
    numbers[at.LINE_AT] -= stale


@part
def lead_in(block: Block, now_s: float) -> None:
    """Delay the first block until its delay has passed.

    It was pulled at the first tick that was due; the silence in front of it makes up for what the
    tick came early or late.
    """
    silence = (reals(block)[at.TARGET_S] - delay_s(block, now_s)) * block[at.RATE]
    append_silence(block, min(max(int(np.rint(silence)), 0), block[at.BLOCK_SAMPLES]))
