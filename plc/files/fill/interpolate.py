"""Interpolate a gap: the samples that the predictors of its surroundings expect.

References
----------
.. [1] A. Janssen, R. Veldhuis, L. Vries, "Adaptive interpolation of discrete-time signals that can
   be modeled as autoregressive processes", IEEE Trans. ASSP 34 (2), 1986.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.ladder import Rung
from plc.engine.predict.sides import dithered
from plc.engine.stream.methods import LADDER_METHODS
from plc.files.fill.gaps import Gap
from plc_kernels.signal.ar import fit_burg
from plc_kernels.signal.toeplitz import solve_toeplitz


@dataclass(frozen=True, slots=True)
class Quality:
    """Effort spent on a gap."""

    interpolators: int
    """Predictors that are averaged where a gap is not short."""
    rounds: int
    """Rounds of fitting and interpolating."""


QUALITIES = {"fast": Quality(0, 0), "good": Quality(3, 1), "best": Quality(5, 2)}
"""Name to effort."""

# All chosen on the validation clips at 16 kHz and 64 ms gaps; docs/notebook.md has the table.
_INTERPOLATORS = (
    Rung(93.75, 500.0),
    Rung(62.5, 160.0),
    Rung(43.75, 312.5),
    Rung(62.5, 500.0),
    Rung(31.25, 125.0),
)
# Of gaps up to the length below; chosen on the validation clips at 48 kHz, gaps of 5 to 50 ms. The
# fourth is near that of Janssen's method as published, at 48 kHz.
_SHORT_INTERPOLATORS = (
    Rung(62.5, 160.0),
    Rung(43.75, 312.5),
    Rung(42.7, 170.0),
    Rung(21.3, 85.0),
    Rung(10.7, 42.7),
)
_SHORT_MS = 25.0
# Known samples that are interpolated, too: how far from the gap on either side, and for how long.
_REHEARSED_AT_MS = (1.0, 12.0)
_REHEARSED_MS = 10.0
# An error below this share of what was rehearsed is rounding.
_ROUNDING = 1e-12
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


@dataclass(frozen=True, slots=True)
class Predictor:
    """A predictor fitted to ``row[first:stop]``, around a gap."""

    first: int
    stop: int
    lags: NDArray[np.float64]
    """Autocorrelation of its coefficients, shape (2 * order + 1,), the middle at lag 0."""
    loudest: float
    """Largest sample that it may interpolate."""

    def fill(self, row: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float64] | None:
        """Interpolate ``row[start:stop]``; None if that fails, or is too near an end."""
        order = self.lags.size // 2
        if min(start - self.first, self.stop - stop) < order:
            return None
        around = row[start - order : stop + order].astype(np.float64)
        fill = solve_gap(around, self.lags)
        return None if fill is None or not np.abs(fill).max() <= self.loudest else fill


def interpolate(row: NDArray[np.float32], sample_rate: int, gap: Gap, quality: Quality) -> float:
    """Replace the draft in a gap by the mean of several interpolations.

    In a short gap each predictor is fitted with the mean of the fills before its own in the gap;
    the better it interpolates known samples nearby, the more its fill weighs.

    Parameters
    ----------
    row : float32, shape (n,), written in the gap, one channel
    sample_rate : int, in Hz
    gap : Gap, place of the draft
    quality : Quality
        Rounds, and the number of predictors where the gap is not short.

    Returns
    -------
    float
        Disagreement of the interpolations relative to their mean, in dB; infinite if one of them
        could not be made.
    """
    short = gap.samples <= round(_SHORT_MS * sample_rate / 1000.0)
    rungs = _SHORT_INTERPOLATORS if short else _INTERPOLATORS[: quality.interpolators]
    doubt_db = float("inf")
    hole = slice(gap.start, gap.stop)
    for _ in range(quality.rounds):
        draft = row[hole].astype(np.float64)
        made: list[tuple[Predictor, NDArray[np.float64]]] = []
        for rung in rungs:
            predictor = fitted(row, sample_rate, gap, rung)
            fill = None if predictor is None else predictor.fill(row, gap.start, gap.stop)
            if predictor is not None and fill is not None:
                made.append((predictor, fill))
                if short:
                    row[hole] = np.mean([fill for _, fill in made], axis=0)
        fills = np.stack([fill for _, fill in made] + [draft] * (len(rungs) - len(made)))
        weights = np.full(len(rungs), 1.0 / len(rungs))
        if short and len(made) == len(rungs):
            weights = _weights(row, sample_rate, gap, [predictor for predictor, _ in made])
        row[hole] = weights @ fills
        doubt_db = _doubt_db(fills, weights) if len(made) == len(rungs) else float("inf")
    return doubt_db


def _doubt_db(fills: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the disagreement of fills in dB, relative to their weighted mean."""
    mean = weights @ fills
    if not mean.any():
        return float("inf")
    # Of equal weights this is the unbiased variance; it vanishes where one has all the weight.
    count = len(fills)
    variance = float(weights @ ((fills - mean) ** 2).sum(axis=1)) * count / (count - 1)
    power = max(variance, float(np.finfo(np.float64).tiny))
    return float(10.0 * np.log10(power / float(mean @ mean)))


def fitted(row: NDArray[np.float32], sample_rate: int, gap: Gap, rung: Rung) -> Predictor | None:
    """Fit a predictor to a gap and its surroundings; None if they are too few, or silent."""
    context = round(rung.past_ms * sample_rate / 1000.0)
    first, stop = max(0, gap.start - context), min(gap.end, gap.stop + context)
    line = row[first:stop]
    order = round(rung.order_ms * sample_rate / 1000.0)
    order = min(order, gap.start - first, stop - gap.stop, line.size // 4)
    if order < _LEAST_ORDER or not line.any():
        return None
    loudest = _OVERSHOOT * float(np.abs(line).max())
    predictor = fit_burg(dithered(line), order)
    return Predictor(first, stop, np.correlate(predictor, predictor, "full"), loudest)


def _weights(
    row: NDArray[np.float32], sample_rate: int, gap: Gap, predictors: list[Predictor]
) -> NDArray[np.float64]:
    """Weigh predictors by their errors on known samples beside a gap."""
    length = min(gap.samples, round(_REHEARSED_MS * sample_rate / 1000.0))
    errors = np.full(len(predictors), _ROUNDING)
    for distance_ms in _REHEARSED_AT_MS:
        distance = round(distance_ms * sample_rate / 1000.0)
        for start in (gap.start - distance - length, gap.stop + distance):
            stop = start + length
            made = [predictor.fill(row, start, stop) for predictor in predictors]
            fills = [fill for fill in made if fill is not None]
            known = row[max(0, start) : stop].astype(np.float64)
            power = float(known @ known)
            if power > 0.0 and len(fills) == len(predictors):
                errors += ((np.stack(fills) - known) ** 2).sum(axis=1) / power
    weights: NDArray[np.float64] = (errors.min() / errors) ** 2.0
    weights /= weights.sum()
    return weights


def solve_gap(around: NDArray[np.float64], lags: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the samples of a gap with the least squared prediction error; None if there are none.

    Parameters
    ----------
    around : float64, shape (order + n + order,), the gap, and what is known beside it
    lags : float64, shape (2 * order + 1,)
        Autocorrelation of a predictor whose first coefficient is 1, the middle at lag 0.

    Notes
    -----
    Equations (10)-(12) of [1]_: ``B x = -z``, where ``B[i, j]`` is the autocorrelation at lag
    ``|i - j|`` and ``z`` what the known samples add. Rounding may leave it without a solution.
    """
    order = lags.size // 2
    length = around.size - 2 * order
    known = around.copy()
    known[order : order + length] = 0.0
    gap = -np.correlate(known, lags, "valid")
    column = np.zeros(length)
    column[: order + 1] = lags[order : order + length]
    solved = solve_toeplitz(column, np.empty((length, length)), np.empty((2, length)), gap)
    return gap if solved else None
