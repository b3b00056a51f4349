"""Interpolate gaps that lie close together, as one least-squares system.

Where every other sample is lost, what is known between two gaps is too little to predict from. But
the samples of all of them that leave the least prediction error solve one system: the known
ones beside each are part of it, however few they are. The system is that of a gap over the whole
stretch (:mod:`plc.files.fill.interpolate`), without the rows and columns of what is known. It is no
Toeplitz system any more, but has a band as wide as the predictor: a solution takes the lost samples
times its square (:func:`~plc_kernels.signal.toeplitz.solve_toeplitz_at`).

Four predictors are fitted to the stretch with a draft in it, which is a straight line between known
samples at first. Their fills are weighed by how well each interpolates the same pattern of losses
beside the stretch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.ladder import Rung
from plc.files.fill.gaps import Gap
from plc.files.fill.interpolate import QUALITIES, Quality, fitted, refinable, refines
from plc_kernels.signal.toeplitz import solve_toeplitz_at

# Chosen on the validation clips at 44.1 kHz, of 15 ms every second or third sample, two of three,
# or half of them at random lost.
_RUNGS = (Rung(0.75, 15.0), Rung(1.5, 30.0), Rung(3.0, 60.0), Rung(9.0, 150.0))
# Gaps with less between them are one system; of a system, the most lost samples.
_APART_MS, _SYSTEM_SAMPLES = 1.5, 1024
# What is interpolated so better than by prediction and networks: single clipped or lost samples.
_TINY_MS = 0.1
# A longer stretch is several.
_LONGEST_S = 10.0
_REHEARSED_MS, _REHEARSED_AT_MS = 10.0, 1.0
# An error below this share of what was rehearsed is rounding; a fill louder than what is around by
# more than this went wrong.
_ROUNDING, _OVERSHOOT = 1e-12, 1.5

_Lags = NDArray[np.float64]


def grouped(gaps: Sequence[Gap], sample_rate: int, quality: str, method: str) -> list[list[Gap]]:
    """Return gaps in groups that are filled together.

    Parameters
    ----------
    gaps : sequence of Gap, in order
    sample_rate : int, in Hz
    quality, method : str
        As of :func:`plc.inpaint`; those that interpolate nothing fill each gap by itself.
    """
    near, longest = (round(s * sample_rate) for s in (_APART_MS / 1000.0, _LONGEST_S))
    together = refines(quality, method)
    groups: list[list[Gap]] = []
    for gap in gaps:
        last = groups[-1] if groups else None
        if (
            together
            and last
            and gap.start - last[-1].stop < near
            and gap.stop - last[0].start <= longest
            and gap.samples < near
            and last[0].samples < near
        ):
            last.append(gap)
        else:
            groups.append([gap])
    return groups


def is_system(group: Sequence[Gap], sample_rate: int, quality: str, method: str) -> bool:
    """Return whether a group of :func:`grouped` is one system: several gaps, or a tiny one."""
    gap = group[0]
    tiny = gap.samples <= max(1, _TINY_MS * sample_rate / 1000) and refines(quality, method)
    return len(group) > 1 or (tiny and refinable(gap, gap.start))


def interpolate_together(
    row: NDArray[np.float32], sample_rate: int, gaps: Sequence[Gap], quality: str
) -> None:
    """Fill the gaps of a group.

    Parameters
    ----------
    row : float32, shape (n,), written in the gaps, one channel
    sample_rate : int, in Hz
    gaps : sequence of Gap, as :func:`is_system` says
    quality : str
        One of :data:`~plc.files.fill.interpolate.QUALITIES`.
    """
    places = np.concatenate([np.arange(*gap.span) for gap in gaps])
    stretch = np.arange(max(0, gaps[0].start - 1), min(gaps[-1].stop + 1, gaps[-1].end))
    known = np.setdiff1d(stretch, places)
    if known.size:
        row[places] = np.interp(places, known, row[known])
    for first in range(0, places.size, _SYSTEM_SAMPLES):
        part = places[first : first + _SYSTEM_SAMPLES]
        _fill(row[: gaps[-1].end], sample_rate, part, QUALITIES[quality])


def _fill(
    row: NDArray[np.float32], sample_rate: int, places: NDArray[np.int64], quality: Quality
) -> None:
    """Replace the draft at ``places`` by the weighted mean of several interpolations."""
    stretch = Gap(int(places[0]), int(places[-1]) + 1, row.size)
    for _ in range(quality.rounds + 1):
        made: list[tuple[_Lags, NDArray[np.float64]]] = []
        for rung in _RUNGS:
            predictor = fitted(row, sample_rate, stretch, rung)
            fill = None if predictor is None else _solved(row, places, predictor.lags)
            if predictor is not None and fill is not None:
                made.append((predictor.lags, fill))
                row[places] = np.mean([fill for _, fill in made], axis=0)
        if not made:
            return
        weights = _weights(row, sample_rate, places, [lags for lags, _ in made])
        row[places] = weights @ np.stack([fill for _, fill in made])


def _solved(
    row: NDArray[np.float32], places: NDArray[np.int64], lags: _Lags
) -> NDArray[np.float64] | None:
    """Return the samples at these places with the least prediction error; None if that fails."""
    order = lags.size // 2
    first = int(places[0]) - order
    around = row[first : int(places[-1]) + 1 + order].astype(np.float64)
    loudest = _OVERSHOOT * float(np.abs(around).max())
    around[places - first] = 0.0
    fill: NDArray[np.float64] = -np.correlate(around, lags, "valid")[places - places[0]]
    if not solve_toeplitz_at(lags[order:], places, np.empty((fill.size, fill.size)), fill):
        return None
    return fill if np.abs(fill).max() <= loudest else None


def _weights(
    row: NDArray[np.float32],
    sample_rate: int,
    places: NDArray[np.int64],
    predictors: Sequence[_Lags],
) -> NDArray[np.float64]:
    """Weigh predictors by their errors on known samples of the same pattern."""
    pattern = places - places[0]
    pattern = pattern[pattern < max(2.0, _REHEARSED_MS * sample_rate / 1000.0)]
    apart = round(_REHEARSED_AT_MS * sample_rate / 1000.0)
    errors = np.full(len(predictors), _ROUNDING)
    for start in (int(places[0]) - apart - int(pattern[-1]), int(places[-1]) + apart):
        rehearsed = start + pattern
        order = max(lags.size for lags in predictors) // 2
        if start < order or int(rehearsed[-1]) + 1 + order > row.size:
            continue
        known = row[rehearsed].astype(np.float64)
        fills = [_solved(row, rehearsed, lags) for lags in predictors]
        power = float(known @ known)
        if power > 0.0 and not any(fill is None for fill in fills):
            errors += np.array([np.sum((fill - known) ** 2) for fill in fills]) / power
    weights: NDArray[np.float64] = (errors.min() / errors) ** 2.0
    weights /= weights.sum()
    return weights
