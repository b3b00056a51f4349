"""Regular recurrence: beats and signs have it, accidents do not.

A period is one at which places have another place behind them. Accidents have that by chance: so
many places in a second, times the width within which two count as a period apart. What chance does
not explain, by the binomial distribution and all periods that are tried, is regular.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

# Places weighed together; places that a period may span; fewest that recur, one more on beats.
_TOGETHER, _AHEAD, _FEWEST = 24, 8, 4
# Most beats from a place to the next; rounds in which a tempo is fitted.
_BEATS, _FITS = 16, 3
# Probability, in all places together, below which recurrence is no chance.
_LIKELY = 2e-4


def regular(
    times_s: NDArray[np.float64], width_s: float, shortest_s: float, longest_s: float
) -> NDArray[np.bool_]:
    """Return which places recur regularly.

    Parameters
    ----------
    times_s : float64, shape (n,), in order
    width_s : float
        Distances within this of each other are one. Lost packets lie on a grid, so that it must
        not be below the length of theirs.
    shortest_s, longest_s : float, periods that count
    """
    return _together(times_s, _FEWEST, partial(_recurring, width_s, shortest_s, longest_s))


def _together(
    times_s: NDArray[np.float64],
    fewest: int,
    find: Callable[[NDArray[np.float64], float], NDArray[np.bool_]],
) -> NDArray[np.bool_]:
    """Return which places are found in parts of all, which overlap by half.

    ``find`` is given a part, and what chance explains in it where all parts are tried.
    """
    found = np.zeros(times_s.size, np.bool_)
    step = _TOGETHER // 2
    firsts = range(0, max(1, times_s.size - step), step)
    for first in firsts:
        part = slice(first, first + _TOGETHER)
        if times_s[part].size >= fewest:
            found[part] |= find(times_s[part], _LIKELY / len(firsts))
    return found


def _recurring(
    width_s: float, shortest_s: float, longest_s: float, times_s: NDArray[np.float64], limit: float
) -> NDArray[np.bool_]:
    found = np.zeros(times_s.size, np.bool_)
    apart = np.concatenate(
        [times_s[k:] - times_s[:-k] for k in range(1, min(_AHEAD, times_s.size))]
    )
    periods = apart[(apart >= shortest_s) & (apart <= longest_s)]
    span = float(times_s[-1] - times_s[0])
    if not periods.size:
        return found
    chance = -math.expm1(-(times_s.size - 1) / span * width_s)
    aims = times_s[None, :] + periods[:, None]
    near = np.clip(np.searchsorted(times_s, aims), 1, times_s.size - 1)
    nearest = np.minimum(np.abs(times_s[near] - aims), np.abs(times_s[near - 1] - aims))
    hits = nearest <= width_s / 2
    inside = (aims <= times_s[-1] + width_s / 2).sum(axis=1)
    for period, row, of, hit in zip(periods, hits, inside, hits.sum(axis=1), strict=True):
        # The distance that the period was taken from says nothing.
        if hit >= 3 and periods.size * _tail(int(hit) - 1, int(of) - 1, chance) < limit:
            found |= row
            behind = np.abs(times_s[None, :] - times_s[row][:, None] - period) <= width_s / 2
            found |= behind.any(axis=0)
    return found


def on_beats(
    times_s: NDArray[np.float64], width_s: float, beats_s: tuple[float, float], grid_s: float = 0.0
) -> NDArray[np.bool_]:
    """Return which places lie on the beats of one tempo, however many beats are left out.

    Parameters
    ----------
    times_s, width_s : as for :func:`regular`
    beats_s : (float, float), the shortest and the longest beat
    grid_s : float, a grid that the places lie on, beats or not; 0 for none
    """
    find = partial(_on_beat, width_s, beats_s, max(width_s, grid_s))
    return _together(times_s, _FEWEST + 1, find)


def _on_beat(
    width_s: float,
    beats_s: tuple[float, float],
    grid_s: float,
    times_s: NDArray[np.float64],
    limit: float,
) -> NDArray[np.bool_]:
    best = np.zeros(times_s.size, np.bool_)
    beats = np.diff(times_s)[:, None] / np.arange(1, _BEATS + 1)
    beats = np.unique(beats[(beats >= beats_s[0]) & (beats <= beats_s[1])])
    for beat_s in beats:
        hits, numbers, fitted_s = _fitted(times_s, float(beat_s), width_s)
        if hits.sum() <= max(_FEWEST, int(best.sum())):
            continue
        whole_s = fitted_s * math.gcd(*np.diff(numbers[hits]).tolist())
        # Phase and tempo are fitted to two of the places.
        chance = beats.size * _tail(
            int(hits.sum()) - 2, times_s.size - 2, min(1.0, grid_s / fitted_s)
        )
        if whole_s <= beats_s[1] and chance < limit:
            best = hits
    return best


def _fitted(
    times_s: NDArray[np.float64], beat_s: float, width_s: float
) -> tuple[NDArray[np.bool_], NDArray[np.int64], float]:
    """Return the places on a tempo that is fitted to them, their beats, and the tempo."""
    turns = times_s / beat_s
    phase = float(np.angle(np.exp(2j * np.pi * turns).mean()) / (2 * np.pi))
    for _ in range(_FITS):
        numbers = np.rint(turns - phase).astype(np.int64)
        hits = np.abs(times_s - (numbers + phase) * beat_s) <= width_s / 2
        if np.unique(numbers[hits]).size < 2:
            break
        beat_s, first_s = np.polyfit(numbers[hits], times_s[hits], 1).tolist()
        phase = first_s / beat_s
        turns = times_s / beat_s
    return hits, numbers, float(beat_s)


def _tail(hits: int, of: int, chance: float) -> float:
    """Return the probability of this number of hits, and of more."""
    return math.fsum(
        math.comb(of, k) * chance**k * (1.0 - chance) ** (of - k) for k in range(hits, of + 1)
    )
