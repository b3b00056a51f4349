"""The common parts of a stream's networks: words of a file, and tables and room in a block.

Grids and contours' memory have a table each, whose words follow a given first one.
"""

import numpy as np

from plc_kernels.build.compile import inlined, part
from plc_kernels.signal.contour import FEATURES, POINTS, ContourModel, ContourSpace, contour_sizes
from plc_kernels.spectra.fft import MOST_FACTORS, twiddle_count
from plc_kernels.spectra.gap import Grid, open_grid
from plc_kernels.stream import model as of
from plc_kernels.stream.arrays import (
    Block,
    BlockTable,
    doubles,
    fixed,
    float_rows,
    floats,
    view_of,
    words,
)
from plc_kernels.stream.layout import RATE

GRID_TABLE = BlockTable()
_word, _array = GRID_TABLE.word, GRID_TABLE.array
# A grid, as plc_kernels.spectra.gap.Grid has it.
GRID_SIZE = _word("Samples of a frame.")
PASSES = _word("Entries of _FACTORS in use.")
_HALF = _word("Half of a frame.")
_BINS = _word("Bins of a frame's spectrum.")
_N_TWIDDLES = _word("Numbers in a row of _TWIDDLES.")
_WINDOW = _array("Hann window of what is analysed.", np.float32, GRID_SIZE)
_DUAL = _array("Window of what is put together again.", np.float32, GRID_SIZE)
_FACTORS = _array("Factors of a frame's transform.", np.int64, fixed(MOST_FACTORS))
_TWIDDLES = _array("Table of that transform.", np.float32, fixed(2), _N_TWIDDLES)
_SCRATCH = _array("Its scratch memory.", np.float32, fixed(4), _HALF)
_FRAME = _array("Scratch: a frame.", np.float32, GRID_SIZE)
_SPECTRUM = _array("Scratch: its spectrum.", np.complex64, _BINS)
GRID_WORKED_IN = (_SCRATCH, _FRAME, _SPECTRUM)
"""Arrays of a grid that are no tables."""
_in_grid = view_of(GRID_TABLE)

SPACE_TABLE = BlockTable()
_word, _array = SPACE_TABLE.word, SPACE_TABLE.array
# The scratch memory of a contour, as plc_kernels.signal.contour.ContourSpace has it.
_LOOKED = _word("Samples of the past that are looked at, thinned out to 16 kHz and more.")
_AROUND = _word("Such samples around the place where a draft's own period is measured.")
_WIDTH = _word("Numbers of the widest layer of the network, or of its input.")
_SEEN = _array("The samples looked at last.", np.float32, _LOOKED)
_SCORE = _array("Likeness at each lag, or of each slope.", np.float32, _LOOKED)
_LAGS = _array("The samples around that place.", np.float32, _AROUND)
_FEATURES = _array("Pitch of the past, as the network takes it.", np.float32, fixed(FEATURES))
_LAYERS = _array("Two layers of the network, in turn.", np.float32, fixed(2), _WIDTH)
_in_space = view_of(SPACE_TABLE)


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
def measure_grid(header: Block, at: int, size: int) -> None:
    """Write the lengths of a grid of ``size`` samples."""
    header[at + GRID_SIZE] = size
    header[at + _HALF] = size // 2
    header[at + _BINS] = size // 2 + 1
    header[at + _N_TWIDDLES] = twiddle_count(size)


@part
def write_grid(block: Block, at: int) -> None:
    """Write a grid's tables."""
    block[at + PASSES] = open_grid(
        _in_grid(block, _WINDOW, at),
        _in_grid(block, _DUAL, at),
        _in_grid(block, _FACTORS, at),
        _in_grid(block, _TWIDDLES, at),
    )


@inlined
def grid_of(block: Block, at: int) -> Grid:
    """Return the arrays of a network's STFT grid that lie at ``at`` of a block."""
    return Grid(
        _in_grid(block, _WINDOW, at),
        _in_grid(block, _DUAL, at),
        _in_grid(block, _FACTORS, at)[: block[at + PASSES]],
        _in_grid(block, _TWIDDLES, at),
        _in_grid(block, _SCRATCH, at),
        _in_grid(block, _FRAME, at),
        _in_grid(block, _SPECTRUM, at),
    )


@inlined
def contour_past(block: Block) -> int:
    """Return the samples of the past that a contour is expected from."""
    return int(contour_sizes(block[RATE], 0)[0])


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
def measure_space(header: Block, at: int, model: int) -> None:
    """Write the lengths of a contour's scratch memory, which a network expects."""
    _, _, looked, around = contour_sizes(header[RATE], 0)
    wide, narrow = word_of(model, of.CONTOUR_WIDE), word_of(model, of.CONTOUR_NARROW)
    header[at + _LOOKED] = looked
    header[at + _AROUND] = 2 * around
    header[at + _WIDTH] = max(FEATURES, max(wide, narrow))


@inlined
def space_of(block: Block, at: int) -> ContourSpace:
    """Return a contour's scratch memory."""
    return ContourSpace(
        _in_space(block, _SEEN, at),
        _in_space(block, _SCORE, at),
        _in_space(block, _LAGS, at),
        _in_space(block, _FEATURES, at),
        _in_space(block, _LAYERS, at),
    )
