"""Fills of one channel from the same gap's samples of another channel.

Where another channel is received in the gap and alike, it tells most of what is lost. A short
filter leads from it to the damaged channel: least squares over what is received of both around the
gap, after the damaged channel's own predictor has whitened both [1]_. What the filter does not
explain is a signal with the same gap, and is filled as any other is::

    lost channel = filtered guide + rest        rest: |~~~~~~|  fill  |~~~~~~|

Gaps of known samples on both sides are filled both ways. Where the guide does not make that clearly
better the gap keeps its own fill; elsewhere the two are weighed by their errors.

References
----------
.. [1] L. Ljung, "System Identification: Theory for the User", 2nd ed., 1999, section 10.1.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from plc.files.fill.gaps import Gap
from plc_kernels.signal.ar import fit_burg

_CONTEXT_S = 0.5
# Of the filter, on either side of its middle; and of the predictor that whitens.
_TAPS, _ORDER = 16, 32
# Received samples for each tap of the filter.
_SAMPLES_OF_A_TAP = 20
# Ridge of the least squares, relative to the guide's power.
_RIDGE = 1e-6
# How far from the gap known ones are filled, and for how long.
_REHEARSED_AT_MS, _REHEARSED_MS, _LEAST_KNOWN_MS = 30.0, 25.0, 10.0
# The guide is followed where its error is below this share of the other.
_CLEARLY = 0.8
# Of the power of what cannot be predicted: a guide that leaves more is of no use.
_UNLIKE = 0.8

_Line = NDArray[np.float32]
Fill = Callable[[_Line, Gap], None]
"""Fills a gap of one channel."""


class Guides(NamedTuple):
    """Other channels beside a signal."""

    rows: NDArray[np.float32]
    """float32, shape (guides, n)."""
    known: NDArray[np.bool_]
    """bool, shape (guides, n): what of it was received."""


def follow(
    row: _Line,
    received: NDArray[np.bool_],
    guides: Guides,
    sample_rate: int,
    gap: Gap,
    fill: Fill,
    rehearse: Fill,
) -> None:
    """Improve the fill of a gap by another channel.

    Of those received there, it is the one that tells most.

    Parameters
    ----------
    row : float32, shape (n,), written in the gap
        The damaged channel, with its own fill.
    received : bool, shape (n,), what of it was received
    guides : Guides, other channels
    sample_rate : int, in Hz
    gap : Gap, place of the fill
    fill, rehearse : callable
        Fill a gap by what is around it in the same channel: the one, and known samples, faster.
    """
    explained = None
    for guide, known in zip(*guides, strict=True):
        if not known[gap.start : gap.stop].all():
            continue
        first, stop = _known_around(known, sample_rate, gap)
        part = slice(first, stop)
        hole = Gap(gap.start - first, gap.stop - first, stop - first)
        own = received[part].copy()
        own[hole.start : hole.stop] = False
        found = _explained(row[part], guide[part], own)
        if found and (explained is None or found[0] < explained[0]):
            explained = (*found, part, hole, own)
    if explained is None or explained[0] > _UNLIKE:
        return
    _, model, part, hole, own = explained
    line = row[part]
    rest = line - model
    weight = _weight(line, rest, own, sample_rate, hole, rehearse)
    if not weight:
        return
    rest[hole.start : hole.stop] = 0.0
    fill(rest, hole)
    guided = rest + model
    place = slice(*hole.span)
    line[place] += weight * (guided[place] - line[place])


def _known_around(known: NDArray[np.bool_], sample_rate: int, gap: Gap) -> tuple[int, int]:
    context = round(_CONTEXT_S * sample_rate)
    first, stop = max(0, gap.start - context), min(gap.end, gap.stop + context)
    before = np.flatnonzero(~known[first : gap.start])
    behind = np.flatnonzero(~known[gap.stop : stop])
    first += int(before[-1]) + 1 if before.size else 0
    return first, gap.stop + int(behind[0]) if behind.size else stop


def _explained(line: _Line, guide: _Line, own: NDArray[np.bool_]) -> tuple[float, _Line] | None:
    """Return the part of a line that a guide explains.

    Before it, the share of power that it does not explain; None if too little is known.
    """
    if line.size < 4 * _ORDER or not line[own].any() or not guide.any():
        return None
    if not (np.isfinite(guide).all() and np.isfinite(line).all()):
        return None
    predictor = fit_burg(line, _ORDER)
    error, guiding = (np.convolve(each, predictor, "valid") for each in (line, guide))
    # An error is of samples received, all of those that it comes from.
    usable = sliding_window_view(own, _ORDER + 1).all(axis=1)
    taps = 2 * _TAPS + 1
    if np.count_nonzero(usable) < _SAMPLES_OF_A_TAP * taps:
        return None
    shifted = sliding_window_view(np.pad(guiding, _TAPS), taps)[usable]
    wanted = error[usable]
    power = float(wanted @ wanted)
    # Not by BLAS: for a narrow product its threads wait for each other 30 times as long.
    matrix = np.einsum("ij,ik->jk", shifted, shifted)
    ridge = _RIDGE * float(np.trace(matrix)) / taps
    if not (power > 0.0 and ridge > 0.0):
        return None
    response = np.linalg.solve(matrix + ridge * np.eye(taps), shifted.T @ wanted)
    left = wanted - shifted @ response
    model = np.correlate(np.pad(guide.astype(np.float64), _TAPS), response, "valid")
    return float(left @ left) / power, model.astype(np.float32)


def _weight(
    line: _Line, rest: _Line, own: NDArray[np.bool_], sample_rate: int, hole: Gap, fill: Fill
) -> float:
    """Weigh the guided fill by known samples beside the gap; 0 where it is not clearly better."""
    length = min(hole.samples, round(_REHEARSED_MS * sample_rate / 1000.0))
    apart, margin = (round(ms * sample_rate / 1000.0) for ms in (_REHEARSED_AT_MS, _LEAST_KNOWN_MS))
    errors = np.zeros(2)
    for start in (hole.start - apart - length, hole.stop + apart):
        place = Gap(start, start + length, line.size)
        if start < margin or place.after < margin or not own[start : place.stop].all():
            continue
        for k, signal in enumerate((line, rest)):
            tried = signal.copy()
            tried[start : place.stop] = 0.0
            fill(tried, place)
            errors[k] += float(np.sum((tried - signal)[start : place.stop] ** 2, dtype=np.float64))
    plain, guided = errors
    if not (plain > 0.0 and guided < _CLEARLY * plain):
        return 0.0
    return 1.0 / (1.0 + float(guided / plain) ** 2)
