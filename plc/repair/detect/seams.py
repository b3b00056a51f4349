"""Seams: where a machine cut a sound that went on, and joined it again.

A buffer that overruns says a block again, leaves one out, or puts a little silence between two. On
both sides of the seam is one sound, of one level and one spectrum, and the wave jumps there as it
does nowhere around: predictors miss one sample there, forwards and backwards, by more than any
other. A beat, a sign or a gate begins or ends a sound, and cuts out more of it. So a seam is
damage, however regularly seams come.

A block that a buffer said again was put in: the wave jumps where it begins, and goes on behind it
as if nothing had been. A stutter that was made on purpose takes the place of what it covers, and
ends in a jump, too; so does a packet that is played in place of a lost one, but that is shorter.
"""

import numpy as np
from numpy.typing import NDArray

from plc.repair.detect.clicks import Errors
from plc.repair.detect.findings import Candidate
from plc.repair.detect.levels import change_db

# Longest block said again, and longest silence: a buffer's, not a note's or a rest's.
_LONGEST_MS = {"repeat": 100.0, "silence": 22.0, "click": 3.0}
# Longest block that takes the place of another one: a packet's.
_REPLACED_MS = 45.0
# What is compared on both sides, and how far its level and spectrum may differ.
_SIDE_MS, _LEVEL_DB, _SPECTRUM_DB = 12.0, 10.0, 9.5
# Of a side, so much may be zero.
_ZERO = 0.25
# A jump is so many times the largest error from there to there beside it, and that of 16 bits.
_JUMP, _NEAR_MS, _FAR_MS, _LEAST = 1.5, 0.8, 12.0, 3e-5
# Samples by which an edge may be off.
_OFF = 2


def is_seam(row: NDArray[np.float32], each: Candidate, sample_rate: int, errors: Errors) -> bool:
    """Return whether a place is a seam of one sound.

    Parameters
    ----------
    row : float32, shape (n,)
        The channel, finite.
    each : Candidate
        What was found there.
    sample_rate : int
        In Hz.
    errors : Errors
        From :func:`plc.repair.detect.clicks.residual`.
    """
    ms = sample_rate / 1000
    length = each.stop - each.start
    if length > _LONGEST_MS.get(each.kind, 0.0) * ms:
        return False
    if not _is_one_sound(row, each.start, each.stop, sample_rate):
        return False
    if each.kind == "silence":
        return True
    jumps = jumps_at(errors, each, sample_rate)
    if each.kind == "repeat":
        ends_in_one = jumps[1] >= _JUMP
        return jumps[0] >= _JUMP and (not ends_in_one or length <= _REPLACED_MS * ms)
    return min(jumps) >= _JUMP


def jumps_at(errors: Errors, each: Candidate, sample_rate: int) -> tuple[float, float]:
    """Return how far the wave jumps at both ends of a place.

    Relative to the largest error outside of it. A jump is missed from either side; the attack of a
    stroke from one.

    Parameters
    ----------
    errors : Errors
        From :func:`plc.repair.detect.clicks.residual`.
    each : Candidate
        The place.
    sample_rate : int
        In Hz.
    """
    forward, backward = errors
    turned = backward[::-1], forward[::-1]
    size = forward.size
    return (
        _jump(errors, each.start, sample_rate),
        _jump(turned, size - each.stop, sample_rate),
    )


def _jump(errors: Errors, place: int, sample_rate: int) -> float:
    """Return the error at a place, relative to that before it."""
    near, far = (round(ms * sample_rate / 1000) for ms in (_NEAR_MS, _FAR_MS))
    jumps = []
    for number, error in enumerate(errors):
        before = np.abs(error[max(0, place - far) : max(0, place - near)])
        at = np.abs(error[max(0, place - number - _OFF) : place - number + _OFF + 1])
        if not before.size or not at.size:
            return 0.0
        jumps.append(float(at.max()) / max(float(before.max()), _LEAST))
    return min(jumps)


def _is_one_sound(row: NDArray[np.float32], start: int, stop: int, sample_rate: int) -> bool:
    """Return whether the sound before a place goes on behind it."""
    side = round(_SIDE_MS * sample_rate / 1000)
    if start < side or stop + side > row.size:
        return False
    sides = row[start - side : start], row[stop : stop + side]
    if max(float(np.mean(each == 0)) for each in sides) > _ZERO:
        return False
    power = [float(np.mean(np.square(each, dtype=np.float64))) + 1e-12 for each in sides]
    level_db = abs(10 * np.log10(power[0] / power[1]))
    return bool(level_db <= _LEVEL_DB and change_db(*sides, sample_rate) <= _SPECTRUM_DB)
