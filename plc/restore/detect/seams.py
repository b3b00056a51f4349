"""Seams: where a machine cut a sound that went on, and joined it again.

A buffer that overruns says a block again, leaves one out, or puts a little silence between two. On
both sides of the seam is one sound, of one level and one spectrum, and the wave jumps there as it
does nowhere around: predictors miss one sample there, forwards and backwards, by more than any
other. A beat, a sign or a gate begins or ends a sound, and cuts out more of it. So a seam is
damage, however regularly seams come.

A silence of one packet, or of a sound card's buffer, is a seam, too. Longer ones may be rests;
where one sound stands on both sides of one, it goes on through it.

A block that a buffer said again was put in: the wave jumps where it begins, and goes on behind it
as if nothing had been. A stutter that was made on purpose takes the place of what it covers, and
ends in a jump, too; so does a packet that is played in place of a lost one, but that is shorter.
"""

import numpy as np
from numpy.typing import NDArray

from plc.restore.detect.clicks import Errors
from plc.restore.detect.dips import foretold
from plc.restore.detect.findings import Finding
from plc.restore.detect.levels import change_db

# Longest block said again, and longest silence: a buffer's, not a note's or a rest's.
_LONGEST_MS = {"repeat": 100.0, "silence": 22.0, "click": 3.0}
# Packets that longer silences may be, besides buffers of 2^n samples; tolerance of their length.
_PACKETS_MS, _PACKET_OFF_MS = (30.0, 40.0, 60.0), 0.5
# Longest block, a packet's, that may replace another one.
_REPLACED_MS = 45.0
# Sound compared on either side; largest difference of levels; largest difference of spectra.
_SIDE_MS, _LEVEL_DB, _SPECTRUM_DB = 12.0, 10.0, 9.5
LONG_MS = 65.0
"""Longer holes may be rests."""
# Sound beside longer holes; largest difference of its levels; largest difference of its spectra.
_LONG_SIDE_MS, _LONG_LEVEL_DB, _LONG_SPECTRUM_DB = 25.0, 6.0, 7.5
# Largest share of a side that is zero; least error at a jump over the largest before; nearest error
# before a jump; farthest error before a jump; least of these errors: 16-bit noise.
_ZERO = 0.25
_JUMP, _NEAR_MS, _FAR_MS, _LEAST = 1.25, 0.8, 12.0, 3e-5
# Samples an edge may be off by; order of a predictor across a click; past that it is fitted to;
# sound that it foretells; distance of other places compared; their number.
_OFF = 2
_ORDER_MS, _PAST_MS, _FUTURE_MS, _APART_MS, _PLACES = 1.5, 25.0, 0.5, 2.0, 8
# Least prediction error at a seam over the sound; least error over the largest at other places.
_MISSED_DB, _MORE_DB = -9.0, 3.0


def is_seam(row: NDArray[np.float32], each: Finding, sample_rate: int, errors: Errors) -> bool:
    """Return whether a place is a seam of one sound.

    Parameters
    ----------
    row : float32, shape (n,), the channel, finite
    each : Finding, what was found there
    sample_rate : int, in Hz
    errors : Errors, from :func:`plc.restore.detect.clicks.residual`
    """
    ms = sample_rate / 1000
    samples = each.stop - each.start
    length_ms = samples / ms
    packet = min(abs(length_ms - each_ms) for each_ms in _PACKETS_MS) <= _PACKET_OFF_MS
    packet |= length_ms < LONG_MS and abs(samples - 2 ** round(np.log2(samples))) <= 1
    if length_ms > _LONGEST_MS.get(each.kind, 0.0) and not (each.kind == "silence" and packet):
        return False
    if not _is_one_sound(row, each.start, each.stop, sample_rate):
        return False
    if each.kind == "silence":
        return True
    if each.kind == "repeat":
        begins = jumps_at(errors, each, sample_rate)[0] >= _JUMP
        return begins and not is_stutter(each, sample_rate, errors)
    return _leaps(row, each.start, each.stop, sample_rate) and _leaps(
        row[::-1], row.size - each.stop, row.size - each.start, sample_rate
    )


def goes_on(row: NDArray[np.float32], each: Finding, sample_rate: int) -> bool:
    """Return whether the sound before a hole goes on behind it: of a long one, nearly the same."""
    if each.stop - each.start < LONG_MS * sample_rate / 1000:
        return _is_one_sound(row, each.start, each.stop, sample_rate)
    limits = _LONG_SIDE_MS, _LONG_LEVEL_DB, _LONG_SPECTRUM_DB
    silent = each.kind == "silence" and not row[each.start : each.stop].any()
    return silent and _is_one_sound(row, each.start, each.stop, sample_rate, limits)


def is_stutter(each: Finding, sample_rate: int, errors: Errors) -> bool:
    """Return whether a block said again takes the place of more than a packet."""
    long = each.kind == "repeat" and each.stop - each.start > _REPLACED_MS * sample_rate / 1000
    return long and jumps_at(errors, each, sample_rate)[1] >= _JUMP


def jumps_at(errors: Errors, each: Finding, sample_rate: int) -> tuple[float, float]:
    """Return how far the wave jumps at both ends of a place.

    Relative to the largest error outside of it. A jump is missed from either side; the attack of a
    stroke from one.
    """
    forward, backward = errors
    turned, behind = (backward[::-1], forward[::-1]), forward.size - each.stop
    return _jump(errors, each.start, sample_rate), _jump(turned, behind, sample_rate)


def _jump(errors: Errors, place: int, sample_rate: int) -> float:
    near, far = (round(ms * sample_rate / 1000) for ms in (_NEAR_MS, _FAR_MS))
    jumps = []
    for number, error in enumerate(errors):
        before = np.abs(error[max(0, place - far) : max(0, place - near)])
        at = np.abs(error[max(0, place - number - _OFF) : place - number + _OFF + 1])
        if not before.size or not at.size:
            return 0.0
        jumps.append(float(at.max()) / max(float(before.max()), _LEAST))
    return min(jumps)


def _is_one_sound(
    row: NDArray[np.float32],
    start: int,
    stop: int,
    sample_rate: int,
    limits: tuple[float, float, float] = (_SIDE_MS, _LEVEL_DB, _SPECTRUM_DB),
) -> bool:
    side_ms, most_db, most_change_db = limits
    side = round(side_ms * sample_rate / 1000)
    if start < side or stop + side > row.size:
        return False
    sides = row[start - side : start], row[stop : stop + side]
    if max(float(np.mean(each == 0)) for each in sides) > _ZERO:
        return False
    power = [float(np.mean(np.square(each, dtype=np.float64))) + 1e-12 for each in sides]
    level_db = abs(10 * np.log10(power[0] / power[1]))
    return bool(level_db <= most_db and change_db(*sides, sample_rate) <= most_change_db)


def _leaps(row: NDArray[np.float32], place: int, behind: int, sample_rate: int) -> bool:
    """Return whether the sound before ``place`` foretells nothing ``behind`` it.

    It must foretell as much elsewhere in the same past. An impulse that was added to a sound leaves
    what comes behind it as it was foretold; where a block was left out, other sound comes.
    """
    skip, apart = behind - place, round(_APART_MS * sample_rate / 1000)
    missed = _missed_db(row, place, skip, sample_rate)
    places = range(place - skip - apart, place - skip - (_PLACES + 1) * apart, -apart)
    usual = [_missed_db(row, each, skip, sample_rate) for each in places]
    return missed >= max(_MISSED_DB, max(usual) + _MORE_DB)


def _missed_db(row: NDArray[np.float32], place: int, skip: int, sample_rate: int) -> float:
    ms = sample_rate / 1000
    past = row[max(0, place - round(_PAST_MS * ms)) : max(0, place)].astype(np.float64)
    order, samples = round(_ORDER_MS * ms), max(8, round(_FUTURE_MS * ms))
    if past.size < 3 * order or not past.any() or place + skip + samples > row.size:
        return 0.0
    came = row[place + skip : place + skip + samples].astype(np.float64)
    error = foretold(past, order, skip + samples)[skip:] - came
    return float(10 * np.log10((error @ error + 1e-9) / (came @ came + 1e-9)))
