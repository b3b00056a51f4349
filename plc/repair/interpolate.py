"""Interpolate a gap: the samples that the predictors of its surroundings expect.

References
----------
.. [1] A. Janssen, R. Veldhuis, L. Vries, "Adaptive interpolation of discrete-time signals that can
   be modeled as autoregressive processes", IEEE Trans. ASSP 34 (2), 1986.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.engine.methods import LADDER_METHODS
from plc.predict.ladder import Rung
from plc.repair.gaps import Gap
from plc_kernels.ar import fit_burg
from plc_kernels.toeplitz import solve_toeplitz


@dataclass(frozen=True, slots=True)
class Quality:
    """Effort spent on a gap."""

    interpolators: int
    """Predictors that are averaged."""
    rounds: int
    """Rounds of fitting and interpolating."""


QUALITIES = {"fast": Quality(0, 0), "good": Quality(3, 1), "best": Quality(5, 2)}
"""Name to effort."""

# All chosen on the validation clips at 16 kHz and 64 ms gaps; docs/design.md has the table.
_INTERPOLATORS = (
    Rung(93.75, 500.0),
    Rung(62.5, 160.0),
    Rung(43.75, 312.5),
    Rung(62.5, 500.0),
    Rung(31.25, 125.0),
)
_LEAST_ORDER = 8
# An interpolation that gets louder than its surroundings by more than this went wrong.
_OVERSHOOT = 1.5
# Longer gaps are left to the blend: what the interpolation adds is lost in the middle of them, and
# its cost and memory grow with the square of the length.
LONGEST_REFINED_GAP = 4096
"""Samples of the longest gap that ``good`` and ``best`` refine; longer ones get the draft."""


def refines(quality: str, method: str) -> bool:
    """Return whether a quality and a method interpolate gaps."""
    return QUALITIES[quality].rounds > 0 and method in LADDER_METHODS


def refinable(gap: Gap, before: int) -> bool:
    """Return whether a gap can be interpolated."""
    return gap.samples <= LONGEST_REFINED_GAP and min(before, gap.after) >= _LEAST_ORDER


def interpolate(row: NDArray[np.float32], sample_rate: int, gap: Gap, quality: Quality) -> float:
    """Replace the draft in a gap by the mean of several interpolations.

    Parameters
    ----------
    row : float32, shape (n,), written in the gap
        One channel.
    sample_rate : int
        In Hz.
    gap : Gap
        Place of the draft.
    quality : Quality
        Number of predictors and rounds.

    Returns
    -------
    float
        Disagreement of the interpolations relative to their mean, in dB; infinite if one of them
        could not be made.
    """
    doubt_db = float("inf")
    hole = slice(gap.start, gap.stop)
    for _ in range(quality.rounds):
        draft = row[hole].astype(np.float64)
        made = [
            _interpolated(row, sample_rate, gap, rung)
            for rung in _INTERPOLATORS[: quality.interpolators]
        ]
        fills = np.stack([draft if fill is None else fill for fill in made])
        row[hole] = fills.mean(axis=0)
        doubt_db = _doubt_db(fills) if all(fill is not None for fill in made) else float("inf")
    return doubt_db


def _doubt_db(fills: NDArray[np.float64]) -> float:
    """Return the disagreement of fills in dB, relative to their mean."""
    mean = fills.mean(axis=0)
    if not mean.any():
        return float("inf")
    power = max(float(fills.var(axis=0, ddof=1).sum()), float(np.finfo(np.float64).tiny))
    return float(10.0 * np.log10(power / float(mean @ mean)))


def _interpolated(
    row: NDArray[np.float32], sample_rate: int, gap: Gap, rung: Rung
) -> NDArray[np.float64] | None:
    """Interpolate a gap by the predictor of its surroundings; None if that fails."""
    context = round(rung.past_ms * sample_rate / 1000.0)
    first = max(0, gap.start - context)
    line = row[first : min(gap.end, gap.stop + context)].astype(np.float64)
    begin = gap.start - first
    length = gap.samples
    order = round(rung.order_ms * sample_rate / 1000.0)
    order = min(order, begin, line.size - begin - length, line.size // 4)
    if order < _LEAST_ORDER or not line.any():
        return None
    fill = solve_gap(line, begin, length, fit_burg(line, order))
    if fill is None or not np.abs(fill).max() <= _OVERSHOOT * np.abs(line).max():
        return None
    return fill


def solve_gap(
    line: NDArray[np.float64], begin: int, length: int, predictor: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the samples of a gap with the least squared prediction error.

    Parameters
    ----------
    line : float64, shape (n,)
        Samples; known for ``order`` of them on each side of the gap.
    begin, length : int
        First sample of the gap, and its samples.
    predictor : float64, shape (order + 1,)
        ``predictor[0] = 1``.

    Returns
    -------
    float64, shape (length,), or None
        None if rounding left the system without a solution.

    Notes
    -----
    Equations (10)-(12) of [1]_ in the module: ``B x = -z``, where ``B[i, j]`` is the
    autocorrelation of the predictor at lag ``|i - j|`` and ``z`` what the known samples add.
    """
    order = predictor.size - 1
    around = line[begin - order : begin + length + order].copy()
    around[order : order + length] = 0.0
    error = np.convolve(around, predictor)[order : order + length + order]
    known = np.correlate(error, predictor, "valid")
    correlation = np.correlate(predictor, predictor, "full")[order:]
    column = np.zeros(length)
    column[: min(length, order + 1)] = correlation[:length]
    gap = -known
    solved = solve_toeplitz(column, np.empty((length, length)), np.empty((2, length)), gap)
    return gap if solved else None
