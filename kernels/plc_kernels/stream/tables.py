"""What the networks of a stream have in common: words of a file, and tables and room in a block.

Arrays that belong together have places in words one after another, the first of which is told.
"""

import numpy as np

from plc_kernels.compile import inlined, part
from plc_kernels.contour import FEATURES, POINTS, ContourModel, ContourSpace, contour_sizes
from plc_kernels.spectra.fft import MOST_FACTORS, twiddle_count
from plc_kernels.spectra.gap import Grid, open_grid
from plc_kernels.stream import model as of
from plc_kernels.stream.layout import (
    RATE,
    Block,
    complexes,
    doubles,
    float_rows,
    floats,
    place,
    words,
)

GRID_WORDS, GRID_TABLES = 7, 4
"""Places of a grid's arrays, as :class:`~plc_kernels.spectra.gap.Grid` has them, and how many of
these are tables; the others are worked in."""
SPACE_WORDS = 5
"""The same of :class:`~plc_kernels.contour.ContourSpace`."""


@inlined
def word_of(model: int, word: int) -> int:
    """Return a word of a network's file at an address."""
    return int(words(model, 0, of.WORDS)[word])


@inlined
def real_of(model: int, word: int) -> float:
    """Return a word of a file that is a float64."""
    return float(doubles(model, 0, of.WORDS)[word])


@inlined
def frame_size(model: int, rate: int) -> int:
    """Return the samples of a network's frames."""
    return 4 * int(np.rint(rate / (4.0 * real_of(model, of.BIN_HZ))))


@part
def place_grid(header: Block, at: int, size: int) -> None:
    """Give a grid's arrays their places."""
    place(header, at, 4 * size)
    place(header, at + 1, 4 * size)
    place(header, at + 2, 8 * MOST_FACTORS)
    place(header, at + 3, 4 * 2 * twiddle_count(size))
    place(header, at + 4, 4 * 4 * (size // 2))
    place(header, at + 5, 4 * size)
    place(header, at + 6, 8 * (size // 2 + 1))


@part
def write_grid(block: Block, at: int, size: int) -> int:
    """Write a grid's tables; return the passes of its transform."""
    passes: int = open_grid(
        floats(block, at, size),
        floats(block, at + 1, size),
        words(block, at + 2, MOST_FACTORS),
        float_rows(block, at + 3, (2, twiddle_count(size))),
    )
    return passes


@inlined
def grid_of(block: Block, at: int, size: int, passes: int) -> Grid:
    """Return a grid of ``size`` samples."""
    return Grid(
        floats(block, at, size),
        floats(block, at + 1, size),
        words(block, at + 2, passes),
        float_rows(block, at + 3, (2, twiddle_count(size))),
        float_rows(block, at + 4, (4, size // 2)),
        floats(block, at + 5, size),
        complexes(block, at + 6, size // 2 + 1),
    )


@inlined
def contour_past(block: Block) -> int:
    """Return the samples of the past that a contour is expected from."""
    return int(contour_sizes(block[RATE], 0)[0])


@inlined
def contour_width(model: int) -> int:
    """Return the width of the layers that expect a contour, and of their input."""
    wide, narrow = word_of(model, of.CONTOUR_WIDE), word_of(model, of.CONTOUR_NARROW)
    return max(FEATURES, max(wide, narrow))


@inlined
def contour_of(model: int) -> ContourModel:
    """Return a file's network that expects a contour."""
    wide, narrow = word_of(model, of.CONTOUR_WIDE), word_of(model, of.CONTOUR_NARROW)
    at = of.CONTOUR_AT
    return ContourModel(
        floats(model + word_of(model, at), 0, FEATURES),
        floats(model + word_of(model, at + 1), 0, FEATURES),
        float_rows(model + word_of(model, at + 2), 0, (wide, FEATURES)),
        floats(model + word_of(model, at + 3), 0, wide),
        float_rows(model + word_of(model, at + 4), 0, (narrow, wide)),
        floats(model + word_of(model, at + 5), 0, narrow),
        float_rows(model + word_of(model, at + 6), 0, (POINTS, narrow)),
        floats(model + word_of(model, at + 7), 0, POINTS),
    )


@part
def place_space(header: Block, at: int, looked: int, around: int, width: int) -> None:
    """Give a contour's scratch memory its places."""
    place(header, at, 4 * looked)
    place(header, at + 1, 4 * looked)
    place(header, at + 2, 4 * 2 * around)
    place(header, at + 3, 4 * FEATURES)
    place(header, at + 4, 4 * 2 * width)


@inlined
def space_of(block: Block, at: int, looked: int, around: int, width: int) -> ContourSpace:
    """Return a contour's scratch memory."""
    return ContourSpace(
        floats(block, at, looked),
        floats(block, at + 1, looked),
        floats(block, at + 2, 2 * around),
        floats(block, at + 3, FEATURES),
        float_rows(block, at + 4, (2, width)),
    )
