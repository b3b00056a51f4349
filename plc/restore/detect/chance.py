"""Where holes fall: damage falls anywhere, the rests and gates of a recording do not.

A gate shuts where sound is quiet, a note ends before a rest and another one begins behind it. One
hole may fall there by chance; of many, chance explains it or not. Of each hole three ranks are
taken, all against the sound around: how loud it is beside the hole, how much louder it is behind it
than before, and how much the spectrum changes across it, compared with stretches of that length
without a hole. Of damage each rank is anything from 0 to 1, and that of neighbours nearly the same.
What the sum of the ranks says against that is no chance.

Where a sound never changes, its level included, nothing ends or begins. So many holes in it that
anybody hears them were not left in by chance, either.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plc.restore.detect.findings import Finding, runs, sides_of
from plc.restore.detect.levels import SILENT_DB, bands_db

# Probability below which places of holes are no chance; fewest holes that are judged.
_LIKELY, _HOLES = 2e-3, 2
# Windows compared; hop of the windows; reach around a hole; parts they are computed in, for memory.
_WIDTH_MS, _HOP_MS, _AROUND_MS, _SPLIT = 10.0, 5.0, 2000.0, 16
# Fewest stretches to rank a hole among; length of holes that also rank among shorter stretches.
_FEWEST, _SHORTER_MS = 20, 30.0
# Shortest run of zeros left out like a hole; span of holes whose ranks are averaged.
_ZERO_MS, _NEAR_MS = 1.0, 250.0
# Shortest run of zeros that is a pause; most pauses beside which findings are never few.
_PAUSE_MS, _OWN = 5.0, 2
# Share of holes that is heard in a sound that never changes; fewest such holes; sound compared on
# either side; largest spread of the middle half of its levels.
_HEARD_SHARE, _HEARD_HOLES, _SIDE_MS, _STEADY_DB = 0.04, 5, 40.0, 0.4


def is_chosen(row: NDArray[np.float32], holes: Sequence[Finding], sample_rate: int) -> bool:
    """Return whether holes lie where sounds end and begin, beyond chance.

    Parameters
    ----------
    row : float32, shape (n,), the channel, finite
    holes : sequence of Finding, what was found there
    sample_rate : int, in Hz
    """
    if len(holes) < _HOLES:
        return False
    firsts = [0]
    for number, each in enumerate(holes):
        if each.start - holes[firsts[-1]].start >= _NEAR_MS * sample_rate / 1000:
            firsts.append(number)
    ranks = _ranks(row, holes, sample_rate)
    count = np.add.reduceat(~np.isnan(ranks), firsts, axis=1, dtype=np.int64)
    total = np.add.reduceat(np.nan_to_num(ranks), firsts, axis=1)
    return any(_chance(each) < _LIKELY for each in np.where(count, total / count.clip(1), np.nan))


def are_few(row: NDArray[np.float32], found: Sequence[Finding], sample_rate: int) -> bool:
    """Return whether places that were found are fewer and shorter than a channel's own silences.

    ``row`` and ``sample_rate`` are as for :func:`is_chosen`; all findings are given.
    """
    least = _PAUSE_MS * sample_rate / 1000
    lost = _gone(np.ones_like(row), found, sample_rate / 1000)
    silent = [(a, b) for a, b in runs(row == 0) if b - a >= least and a > 0 and b < row.size]
    own = [b - a for a, b in silent if lost[a] == lost[b]]
    longer = sum(own) > sum(each.stop - each.start for each in found)
    return longer and len(own) > max(_OWN, len(found))


def are_heard(row: NDArray[np.float32], holes: Sequence[Finding], sample_rate: int) -> bool:
    """Return whether holes are so much of a sound of one level that its maker would have heard."""
    weights = np.hanning(round(_SIDE_MS * sample_rate / 1000) + 2)[1:-1]
    both = [part for each in holes for part in sides_of(row, each, weights.size)]
    sides = [part.astype(np.float64) for part in both if part.size == weights.size]
    lost = sum(each.stop - each.start for each in holes)
    if min(len(holes), len(sides)) < _HEARD_HOLES or lost < _HEARD_SHARE * row.size:
        return False
    parts = np.stack(sides)
    power = parts**2 @ weights / np.maximum((parts != 0) @ weights, 1.0)
    return bool(np.ptp(np.quantile(10 * np.log10(power + 1e-12), (0.25, 0.75))) <= _STEADY_DB)


def _chance(ranks: NDArray[np.float64]) -> float:
    """Return the probability of a sum that is no larger; of numbers drawn from 0 to 1."""
    given = ranks[~np.isnan(ranks)]
    count, total = given.size, float(given.sum())
    if count < _HOLES:
        return 1.0
    few = count * math.log(total) - math.lgamma(count + 1)
    many = 0.5 * math.erfc((count / 2 - total) * math.sqrt(6 / count))
    return min(math.exp(min(few, 0.0)), many)


def _ranks(
    row: NDArray[np.float32], holes: Sequence[Finding], sample_rate: int
) -> NDArray[np.float64]:
    """Return three ranks of each hole, shape (3, holes): small ones are a gate's, NaN is none."""
    ms = sample_rate / 1000
    width, hop, around = (round(each * ms) for each in (_WIDTH_MS, _HOP_MS, _AROUND_MS))
    parts = np.lib.stride_tricks.sliding_window_view(row, width)
    gone = _gone(row, holes, ms)
    firsts = np.arange(0, len(parts), hop)
    split = np.array_split(firsts, _SPLIT)
    level = np.concatenate([_levels(parts[some]) for some in split])
    bands = np.concatenate([bands_db(parts[some], sample_rate) for some in split])
    sounds = (gone[firsts + width] == gone[firsts]) & (level > SILENT_DB)
    piece = np.where(sounds, gone[firsts], -1)
    ranks = np.full((3, len(holes)), np.nan)
    for number, each in enumerate(holes):
        if each.start < width or each.stop + width > row.size:
            continue
        sides = parts[[each.start - width, each.stop]]
        near = slice(max(0, each.start - around) // hop, (each.stop + around) // hop)
        heard, change = level[near][sounds[near]], bands_db(sides, sample_rate)
        before, behind = (_rank(heard, each_db) for each_db in _levels(sides))
        apart = np.abs(change[0] - change[1]).mean()
        frames = max(2, round((each.stop - each.start + width) / hop))
        least = 2 if frames * hop >= _SHORTER_MS * ms else frames
        changes = _changes(bands[near], piece[near], frames, least)
        both, rise = (before + behind) / 2, (1 - behind + before) / 2
        ranks[:, number] = both, rise, _rank(-changes, -apart)
    return ranks


def _gone(row: NDArray[np.float32], holes: Sequence[Finding], ms: float) -> NDArray[np.int32]:
    """Return how many samples are in a hole before each one, and before the end."""
    missing = np.zeros(row.size + 1, np.bool_)
    silent = [(start, stop) for start, stop in runs(row == 0) if stop - start >= _ZERO_MS * ms]
    for start, stop in (*silent, *((each.start, each.stop) for each in holes)):
        missing[start + 1 : stop + 1] = True
    return np.cumsum(missing, dtype=np.int32)


def _levels(parts: NDArray[np.float32]) -> NDArray[np.float64]:
    levels: NDArray[np.float64] = 10 * np.log10(np.square(parts, dtype=np.float64).mean(1) + 1e-12)
    return levels


def _rank(among: NDArray[np.float64], value: float) -> float:
    below = np.count_nonzero(among <= value) + 1
    return below / (among.size + 1) if among.size >= _FEWEST else np.nan


def _changes(
    bands: NDArray[np.float64], piece: NDArray[np.signedinteger], frames: int, least: int
) -> NDArray[np.float64]:
    """Return the changes within pieces of sound, over so many frames or as many as there are."""
    changes = np.empty(0)
    while changes.size < _FEWEST and frames >= least:
        on = (piece[frames:] >= 0) & (piece[frames:] == piece[:-frames])
        changes = np.abs(bands[frames:][on] - bands[:-frames][on]).mean(axis=1)
        frames = frames * 2 // 3
    return changes
