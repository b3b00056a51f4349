"""A network's gap in a stream's block: its sizes, its rows, their spectra, and samples again.

What :class:`plc.networks.spectra.GapSpectra` is for streams in Python. Each network of a stream has
a set of the words below; the first of the set says which network is meant.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import inlined, part
from plc_kernels.spectra.gap import (
    EDGE_MS,
    INSIDE,
    OVERLAP,
    Grid,
    analyse_rows,
    mark_gap,
    synthesise_gap,
)
from plc_kernels.stream import model as of
from plc_kernels.stream.layout import (
    CHANNELS,
    RATE,
    Block,
    float_blocks,
    float_rows,
    floats,
    place,
    samples_of,
)
from plc_kernels.stream.tables import (
    GRID_WORDS,
    frame_size,
    grid_of,
    place_grid,
    real_of,
    word_of,
    write_grid,
)

# Sizes that follow from the model and the rate.
(
    FILE_AT,
    DRAFTS,
    BINS,
    FRAMES,
    CONTEXT,
    TOUCHING,
    SIZE,
    START,
    SAMPLES,
    HORIZON,
    PASSES,
) = range(11)
"""Place of the network in the file, -1: none; rows of a channel; bins, frames, those of context
before the gap, and those that touch it; samples of a frame; the gap's first sample in a row, a
row's samples, and those of the longest gap; and passes of the transform."""
# Where arrays lie.
LINES, SPECTRA, FILLED, LOST, RAMP, LINE, MADE, GRID = range(11, 19)
GAP_WORDS = GRID + GRID_WORDS
"""Words of a set."""


@inlined
def there(block: Block, net: int) -> bool:
    """Return whether a stream has a network."""
    return bool(block[net + FILE_AT] >= 0)


@part
def measure_gap(header: Block, net: int, model: int, touching: int) -> None:
    """Write the sizes of a network's gap.

    Parameters
    ----------
    header : int64, shape (HEADER,), read and written
        With the settings.
    net : int
        First of the network's words.
    model : int
        Address of its block in memory.
    touching : int
        Frames that touch the gap.
    """
    rate = header[RATE]
    size = frame_size(model, rate)
    hop = size // OVERLAP
    header[net + DRAFTS] = word_of(model, of.DRAFTS)
    header[net + BINS] = word_of(model, of.BINS)
    header[net + FRAMES] = word_of(model, of.FRAMES)
    header[net + CONTEXT] = word_of(model, of.CONTEXT)
    header[net + TOUCHING] = touching
    header[net + SIZE] = size
    header[net + START] = (header[net + CONTEXT] + INSIDE) * hop
    header[net + SAMPLES] = (header[net + FRAMES] - 1) * hop + size
    header[net + HORIZON] = samples_of(rate, real_of(model, of.HORIZON_MS))


@part
def place_gap(header: Block, net: int) -> None:
    """Give the arrays of a network's gap their places."""
    channels, horizon = header[CHANNELS], header[net + HORIZON]
    rows, spectrum = channels * header[net + DRAFTS], 2 * header[net + BINS]
    place(header, net + LINES, 4 * rows * header[net + SAMPLES])
    place(header, net + SPECTRA, 4 * rows * spectrum * header[net + FRAMES])
    place(header, net + FILLED, 4 * channels * spectrum * header[net + TOUCHING])
    place(header, net + LOST, 4 * channels * header[net + FRAMES])
    place(header, net + RAMP, 4 * horizon)
    place(header, net + LINE, 4 * horizon)
    place(header, net + MADE, 4 * channels * horizon)
    place_grid(header, net + GRID, header[net + SIZE])


@part
def open_gap(block: Block, net: int, both: bool) -> None:
    """Write the tables of a network's gap, for the longest one; ``both`` as for :func:`mark`."""
    block[net + PASSES] = write_grid(block, net + GRID, block[net + SIZE])
    mark(block, net, block[net + HORIZON], both)


@inlined
def mark(block: Block, net: int, gap: int, both: bool) -> None:
    """Say how long the gap is, and whether its end is known, too."""
    mark_gap(
        block[net + SIZE],
        block[net + START],
        gap,
        EDGE_MS * block[RATE] / 1000.0,
        both,
        float_rows(block, net + LOST, (block[CHANNELS], block[net + FRAMES])),
        floats(block, net + RAMP, block[net + HORIZON]),
    )


@inlined
def gap_grid(block: Block, net: int) -> Grid:
    """Return the grid of a network's frames."""
    return grid_of(block, net + GRID, block[net + SIZE], block[net + PASSES])


@inlined
def gap_lines(block: Block, net: int) -> NDArray[np.float32]:
    """Return the drafts, shape (channels * drafts, samples)."""
    count = block[CHANNELS] * block[net + DRAFTS]
    rows: NDArray[np.float32] = float_rows(block, net + LINES, (count, block[net + SAMPLES]))
    return rows


@inlined
def gap_spectra(block: Block, net: int) -> NDArray[np.float32]:
    """Return the drafts' spectra, shape (channels * drafts, 2, bins, frames)."""
    count = block[CHANNELS] * block[net + DRAFTS]
    bins, frames = block[net + BINS], block[net + FRAMES]
    rows: NDArray[np.float32] = float_blocks(block, net + SPECTRA, (count, 2, bins, frames))
    return rows


@inlined
def gap_filled(block: Block, net: int) -> NDArray[np.float32]:
    """Return the network's answer, shape (channels, 2, bins, touching)."""
    shape = (block[CHANNELS], 2, block[net + BINS], block[net + TOUCHING])
    rows: NDArray[np.float32] = float_blocks(block, net + FILLED, shape)
    return rows


@inlined
def gap_made(block: Block, net: int) -> NDArray[np.float32]:
    """Return what was made of the answer, shape (channels, horizon)."""
    shape = (block[CHANNELS], block[net + HORIZON])
    rows: NDArray[np.float32] = float_rows(block, net + MADE, shape)
    return rows


@inlined
def flat_spectra(block: Block, net: int) -> NDArray[np.float32]:
    """Return the drafts' spectra as one row, for a network."""
    count = block[CHANNELS] * block[net + DRAFTS] * block[net + FRAMES]
    row: NDArray[np.float32] = floats(block, net + SPECTRA, 2 * block[net + BINS] * count)
    return row


@inlined
def flat_lost(block: Block, net: int) -> NDArray[np.float32]:
    """Return each frame's share in the gap as one row, for a network."""
    row: NDArray[np.float32] = floats(block, net + LOST, block[CHANNELS] * block[net + FRAMES])
    return row


@inlined
def flat_filled(block: Block, net: int) -> NDArray[np.float32]:
    """Return the network's answer as one row."""
    count = block[CHANNELS] * block[net + TOUCHING]
    row: NDArray[np.float32] = floats(block, net + FILLED, 2 * block[net + BINS] * count)
    return row


@part
def analyse(block: Block, net: int) -> None:
    """Make the spectra of the rows."""
    analyse_rows(gap_grid(block, net), gap_lines(block, net), gap_spectra(block, net))


@part
def is_sound(block: Block, net: int) -> bool:
    """Return whether the network's answer is finite."""
    answer = flat_filled(block, net)
    sound = True
    for i in range(answer.size):
        sound &= bool(np.isfinite(answer[i]))
    return sound


@part
def synthesise(block: Block, net: int, gap: int) -> None:
    """Make the gap's samples of the answer: the first ``gap`` columns of :func:`gap_made`."""
    synthesise_gap(
        gap_grid(block, net),
        gap_lines(block, net),
        block[net + CONTEXT],
        gap_filled(block, net),
        gap,
        floats(block, net + RAMP, block[net + HORIZON]),
        floats(block, net + LINE, block[net + HORIZON]),
        gap_made(block, net),
    )
