"""Whether a list of layers that came from anywhere can be run: it stays within its memory."""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import part
from plc_kernels.network import plan as at
from plc_kernels.network.plan import BORDER, FRAME_TAPS, TAPS, RowView, view_of
from plc_kernels.network.product import (
    LANES,
    MOST_INPUTS,
    TILE_PANELS,
    TILE_ROWS,
    filled_up,
    stored_size,
)

_MOST_LAYERS, _MOST_VIEWS, _MOST_FRAMES = 256, 256, 1024
_MOST_NUMBERS = 1 << 24
"""Of the memory of a run."""
_MOST_OPERATIONS = 1 << 34
"""Of a run; more take a second and longer."""


@part
def is_sound(plan: NDArray[np.int64], weights: int) -> bool:
    """Return whether a plan reads and writes within its memory and that many weights.

    ``plan`` is int64, shape (at least HEAD,); weights are at most 2**24.
    """
    layers, views = plan[at.LAYERS], plan[at.VIEWS]
    if not (1 <= layers <= _MOST_LAYERS and at.FILLED < views <= _MOST_VIEWS):
        return False
    if plan.size != at.HEAD + at.LAYER_WORDS * layers + at.VIEW_WORDS * views:
        return False
    for k in range(plan.size):
        if not 0 <= plan[k] <= (_MOST_OPERATIONS if k == at.OPERATIONS else _MOST_NUMBERS):
            return False
    if not _are_sizes(plan):
        return False
    done = 0
    for k in range(layers):
        for word in range(at.INPUT, at.BESIDE + 1):
            if plan[at.HEAD + at.LAYER_WORDS * k + word] >= views:
                return False
        some = _operations(plan, at.HEAD + at.LAYER_WORDS * k, weights)
        done += some
        if some < 0 or done > plan[at.OPERATIONS]:
            return False
    return bool(done == plan[at.OPERATIONS])


@part
def _are_sizes(plan: NDArray[np.int64]) -> bool:
    drafts, bins, frames = plan[at.DRAFTS], plan[at.BINS], plan[at.FRAMES]
    if not (1 <= drafts <= at.MOST and 1 <= bins <= at.MOST and frames <= _MOST_FRAMES):
        return False
    context, touching = plan[at.CONTEXT], plan[at.TOUCHING]
    if context < 1 or touching < 1 or context + touching > frames:
        return False
    if plan[at.USED] > bins or not 1 <= plan[at.BANDS] <= bins or plan[at.SCRATCH] > plan[at.WORK]:
        return False
    nothing = view_of(plan, at.NONE)
    if max(max(nothing.place, nothing.rows, nothing.step), nothing.bins, nothing.channels) > 0:
        return False
    spectra, filled = view_of(plan, at.SPECTRA), view_of(plan, at.FILLED)
    if spectra.rows != drafts * frames or filled.rows != touching:
        return False
    if spectra.step != 2 * bins or filled.step != 2 * bins:
        return False
    return bool(
        _are_reals(plan, spectra)
        and _are_reals(plan, filled)
        and spectra.bins * spectra.channels == 2 * bins
        and filled.bins * filled.channels == 2 * bins
    )


@part
def _are_reals(plan: NDArray[np.int64], view: RowView) -> bool:
    """Return whether a view is of rows that lie apart within the memory."""
    count = view.bins * view.channels
    end = view.place + (view.rows - 1) * view.step + count
    return bool(view.rows >= 1 and 1 <= count <= view.step and end <= plan[at.WORK])


@part
def _are_steps(plan: NDArray[np.int64], place: int, count: int) -> bool:
    """Return whether so many whole steps lie within the memory, one more, and their size."""
    return bool(place >= 1 and count >= 1 and place + (count + 2) // 2 <= plan[at.WORK])


@part
def _is_grid(plan: NDArray[np.int64], view: RowView, rows: int) -> bool:
    """Return whether a view is of a grid's frames in whole steps, with their borders."""
    return bool(
        view.rows == rows
        and 1 <= TAPS * view.channels <= MOST_INPUTS
        and view.step == (view.bins + 2 * BORDER) * view.channels
        and _are_steps(plan, view.place, rows * view.step)
    )


@part
def _operations(plan: NDArray[np.int64], layer: int, weights: int) -> int:
    """Return the multiply-adds of the layer at a word; -1 if it cannot be run."""
    kind, room = plan[layer + at.KIND], weights - plan[layer + at.WEIGHTS]
    x, y = view_of(plan, plan[layer + at.INPUT]), view_of(plan, plan[layer + at.OUTPUT])
    beside = view_of(plan, plan[layer + at.BESIDE])
    if kind == at.STEPS:
        fits = _are_reals(plan, x) and _are_steps(plan, y.place, x.rows * x.bins * x.channels)
        return 0 if fits else -1
    if not _are_reals(plan, y):
        return -1
    if kind == at.PRODUCT:
        return _of_product(plan, x, beside, y, room)
    if kind == at.RECURRENT or kind == at.BOTH_WAYS:
        return _of_recurrent(plan, x, y, room)
    if kind == at.CONVOLUTION:
        return _of_convolution(plan, x, beside, y, room)
    if kind == at.LEAK or kind == at.CLEAR:
        return 0
    if kind == at.FRAME_FEATURES or kind == at.BIN_FEATURES:
        return _of_features(plan, kind, y, room)
    if not _are_reals(plan, x):
        return -1
    fits = False
    if kind == at.RAISE:
        fits = x.rows == y.rows and x.channels == y.channels and (y.bins + 1) // 2 <= x.bins
    elif kind == at.ADD:
        fits = x.rows == y.rows and x.bins * x.channels == y.bins * y.channels
    elif kind == at.FRAME_FILL or kind == at.BIN_FILL:
        fits = _fill_fits(plan, kind, x, y, room)
    return 0 if fits else -1


@part
def _of_product(plan: NDArray[np.int64], x: RowView, begin: RowView, y: RowView, room: int) -> int:
    fits = (
        x.bins == y.bins == 1
        and x.rows >= y.rows >= TILE_ROWS
        and y.channels % LANES == 0
        and x.channels <= MOST_INPUTS
        and _are_steps(plan, x.place, (x.rows - 1) * x.step + x.channels)
        and stored_size(x.channels, y.channels) <= room
    )
    if begin.rows > 0:
        fits &= _are_reals(plan, begin) and begin.bins * begin.channels == y.channels
        fits &= TILE_ROWS <= begin.rows <= y.rows
    return y.rows * x.channels * y.channels if fits else -1


@part
def _of_recurrent(plan: NDArray[np.int64], x: RowView, y: RowView, room: int) -> int:
    units, gates = y.channels, filled_up(3 * y.channels)
    fits = (
        x.rows == y.rows >= TILE_ROWS
        and (x.bins == 1 or x.bins == y.bins)
        and gates >= TILE_PANELS * LANES
        and max(x.channels, units) <= MOST_INPUTS
        and _are_steps(plan, x.place, (x.rows - 1) * x.step + x.bins * x.channels)
        and y.bins * (stored_size(x.channels, gates) + stored_size(units, gates)) <= room
        and (y.rows + 1) * gates + filled_up(units) + units // 2 + 1 <= plan[at.SCRATCH]
    )
    return y.rows * y.bins * gates * (x.channels + units) if fits else -1


@part
def _of_convolution(
    plan: NDArray[np.int64], x: RowView, beside: RowView, y: RowView, room: int
) -> int:
    outputs, panels = y.channels, filled_up(y.channels)
    pairs = (TAPS * x.channels + 1) // 2 + (TAPS * beside.channels + 1) // 2
    fits = (
        _is_grid(plan, x, y.rows)
        and (y.bins == x.bins or y.bins == (x.bins + 1) // 2)
        and y.bins >= TILE_ROWS
        and outputs >= LANES
        and filled_up(FRAME_TAPS * panels * pairs // 2) + 2 * panels <= room
        and 2 * y.bins * outputs <= plan[at.SCRATCH]
    )
    if beside.rows > 0:
        fits &= _is_grid(plan, beside, y.rows) and beside.bins == y.bins
    done = y.rows * y.bins * outputs * TAPS * FRAME_TAPS * (x.channels + beside.channels)
    return done if fits else -1


@part
def _of_features(plan: NDArray[np.int64], kind: int, y: RowView, room: int) -> int:
    drafts, bins, bands = plan[at.DRAFTS], plan[at.BINS], plan[at.BANDS]
    fits, scratch = y.rows == plan[at.FRAMES], plan[at.SCRATCH]
    if kind == at.FRAME_FEATURES:
        seen = (bins + bands - 1) // bands
        fits &= y.bins == 1 and y.channels == bins + 2 * (drafts - 1) * seen + 2
        fits &= 3 * bins <= scratch
    else:
        fits &= y.bins == bins and y.channels == 3 * drafts + 1
        fits &= bins + y.rows <= room and (drafts + 2) * bins <= scratch
    return 0 if fits else -1


@part
def _fill_fits(plan: NDArray[np.int64], kind: int, x: RowView, y: RowView, room: int) -> bool:
    drafts, bins = plan[at.DRAFTS], plan[at.BINS]
    count = x.bins * x.channels
    fits = y.rows == plan[at.TOUCHING] and y.bins * y.channels == 2 * bins
    if kind == at.FRAME_FILL:
        fits &= x.rows == y.rows and count >= (drafts + 1) * bins and room >= 1
    else:
        fits &= x.rows == y.rows * bins and x.step == count == LANES and 2 * drafts + 1 <= LANES
    return bool(fits)
