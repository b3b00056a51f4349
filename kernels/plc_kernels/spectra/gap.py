"""Spectra of a gap for a network, and samples from its answer: frames of four hops on flat arrays.

What the arrays mean stands in :mod:`plc.engine.networks.gap_spectra`; rows are those of all
channels, one draft after the other.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel, rounded_part
from plc_kernels.spectra.fft import plan_fft
from plc_kernels.spectra.stft import analyse_frames, synthesise_frames

OVERLAP = 4
"""Hops of a frame."""
INSIDE = OVERLAP - 1
"""Frames that begin before the gap and touch it."""
EDGE_MS = 1.0
"""Time in which the fill takes over from the draft at an edge of the gap."""
_LEAST_POWER = 1e-30


class Grid(NamedTuple):
    """Tables and scratch memory of frames of ``size`` samples.

    ``window``, ``dual`` (size,); ``factors`` (passes,) and ``twiddles`` (2, n) of the transform;
    the rest is scratch: ``scratch`` (4, size / 2), ``frame`` (size,), ``spectrum`` (size / 2 + 1,).
    """

    window: NDArray[np.float32]
    dual: NDArray[np.float32]
    factors: NDArray[np.int64]
    twiddles: NDArray[np.float32]
    scratch: NDArray[np.float32]
    frame: NDArray[np.float32]
    spectrum: NDArray[np.complex64]


@kernel
def open_grid(
    window: NDArray[np.float32],
    dual: NDArray[np.float32],
    factors: NDArray[np.int64],
    twiddles: NDArray[np.float32],
) -> int:
    """Write the tables of a grid: Hann's window; return the passes of the transform.

    Parameters
    ----------
    window, dual : float32, shape (size,), written, the size is a multiple of 4
    factors : int64, shape (MOST_FACTORS,), written
    twiddles : float32, shape (2, twiddle_count(size)), written
    """
    size = window.size
    # The squares of windows a quarter apart add up to 1.5, whatever the sample.
    for i in range(size):
        value = 0.5 + 0.5 * math.cos(2.0 * math.pi * (i - size / 2) / size)
        window[i] = value
        dual[i] = value / 1.5
    return plan_fft(size, factors, twiddles)


@kernel
def mark_gap(
    size: int,
    begin: int,
    gap: int,
    edge: float,
    both: bool,
    lost: NDArray[np.float32],
    ramp: NDArray[np.float32],
) -> None:
    """Write which share of each frame a gap is, and the weight of a fill over the draft.

    Parameters
    ----------
    size : int, samples of a frame
    begin, gap : int
        The gap's first sample in a row, and its samples.
    edge : float, samples within which the fill takes over
    both : bool
        Whether it does so at the gap's end, too.
    lost : float32, shape (channels, frames), written
    ramp : float32, shape (n,), its first ``gap`` written
    """
    for t in range(lost.shape[1]):
        first = t * (size // OVERLAP)
        inside = min(first + size, begin + gap) - max(first, begin)
        share = max(inside, 0) / size
        for c in range(lost.shape[0]):
            lost[c, t] = share
    for i in range(gap):
        place = min(i, gap - 1 - i) if both else i
        ramp[i] = min((place + 0.5) / edge, 1.0)


@kernel
def analyse_rows(grid: Grid, rows: NDArray[np.float32], spectra: NDArray[np.float32]) -> None:
    """Write the spectra of rows; frames in which two in a row are equal are analysed once.

    Rows are float32, shape (rows, samples), and spectra float32, shape (rows, 2, bins, frames).
    """
    hop = grid.window.size // OVERLAP
    for r in range(rows.shape[0]):
        equal = 0
        while r > 0 and equal < rows.shape[1] and rows[r, equal] == rows[r - 1, equal]:
            equal += 1
        known = min(max(equal // hop - INSIDE, 0), spectra.shape[3])
        for part in range(2):
            for k in range(spectra.shape[2]):
                for t in range(known):
                    spectra[r, part, k, t] = spectra[r - 1, part, k, t]
        analyse_frames(
            rows[r],
            known * hop,
            grid.window,
            hop,
            grid.factors,
            grid.twiddles,
            grid.scratch,
            grid.frame,
            grid.spectrum,
            spectra[r, :, :, known:],
        )


@kernel
def hold_answer(
    grid: Grid,
    spectra: NDArray[np.float32],
    context: int,
    errors: NDArray[np.float64],
    share: float,
    weight: float,
    filled: NDArray[np.float32],
) -> None:
    """Keep a network's answer near the last draft, bin by bin.

    Parameters
    ----------
    grid : Grid
    spectra : float32, shape (channels * drafts, 2, bins, frames)
    context : int, frames before those that touch the gap
    errors : float64, shape (channels,)
        Mean square of the draft's error, per sample.
    share : float
        Share of the mean power of that error in a bin, by which it may depart at most.
    weight : float
        Weight of what departs, 0 to 1.
    filled : float32, shape (channels, 2, bins, touching), read and written
    """
    energy = 0.0
    for i in range(grid.window.size):
        energy += float(grid.window[i]) * float(grid.window[i])
    drafts = spectra.shape[0] // filled.shape[0]
    for c in range(filled.shape[0]):
        own = spectra[(c + 1) * drafts - 1]
        most = np.float32(max(share * errors[c] * energy, _LEAST_POWER))
        for k in range(filled.shape[2]):
            stop = context + filled.shape[3]
            re, im = own[0, k, context:stop], own[1, k, context:stop]
            _hold(re, im, most, np.float32(weight), filled[c, 0, k], filled[c, 1, k])


@rounded_part
def _hold(
    re: NDArray[np.float32],
    im: NDArray[np.float32],
    most: np.float32,
    weight: np.float32,
    filled_re: NDArray[np.float32],
    filled_im: NDArray[np.float32],
) -> None:
    for t in range(re.size):
        apart_re, apart_im = filled_re[t] - re[t], filled_im[t] - im[t]
        power = apart_re * apart_re + apart_im * apart_im
        gain = weight * np.sqrt(most / max(power, most))
        filled_re[t] = apart_re * gain + re[t]
        filled_im[t] = apart_im * gain + im[t]


@kernel
def synthesise_gap(
    grid: Grid,
    rows: NDArray[np.float32],
    spectra: NDArray[np.float32],
    context: int,
    filled: NDArray[np.float32],
    gap: int,
    ramp: NDArray[np.float32],
    line: NDArray[np.float32],
    made: NDArray[np.float32],
) -> None:
    """Write a gap's samples from a network's answer.

    Parameters
    ----------
    grid : Grid
    rows : float32, shape (channels * drafts, samples)
    spectra : float32, shape (channels * drafts, 2, bins, frames), those of the rows
    context : int, frames before those that touch the gap
    filled : float32, shape (channels, 2, bins, touching)
    gap : int, its samples
    ramp : float32, shape (n,)
        Weight of the fill over the last draft, from :func:`mark_gap`.
    line : float32, shape (n,), written, scratch memory
    made : float32, shape (channels, n), its first ``gap`` columns written
    """
    hop = grid.window.size // OVERLAP
    begin = (context + INSIDE) * hop
    drafts = rows.shape[0] // made.shape[0]
    for c in range(made.shape[0]):
        draft, own = rows[(c + 1) * drafts - 1], spectra[(c + 1) * drafts - 1]
        synthesise_frames(
            filled[c],
            own[:, :, context : context + filled.shape[3]],
            grid.dual,
            hop,
            grid.factors,
            grid.twiddles,
            grid.scratch,
            grid.frame,
            grid.spectrum,
            line[:gap],
        )
        _blend(draft[begin : begin + gap], line, ramp, made[c])


@rounded_part
def _blend(
    draft: NDArray[np.float32],
    line: NDArray[np.float32],
    ramp: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    for i in range(draft.size):
        out[i] = draft[i] + ramp[i] * line[i]
