"""A network's gap in a stream's block: its sizes, its rows, their spectra, and samples again.

What :class:`plc.engine.networks.gap_spectra.GapSpectra` is for files. Each network of a stream has
a set of the words below; the first of the set says which network is meant.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, part
from plc_kernels.network.layers import run_network
from plc_kernels.spectra.gap import (
    EDGE_MS,
    INSIDE,
    OVERLAP,
    analyse_rows,
    mark_gap,
    synthesise_gap,
)
from plc_kernels.stream import layout as at
from plc_kernels.stream import model as of
from plc_kernels.stream import tables
from plc_kernels.stream.arrays import Block, BlockTable, fixed, floats, view_of, words
from plc_kernels.stream.layout import place, samples_of

NETS = {"speech": at.SPEECH_NET, "music": at.MUSIC_NET, "speech, bridged": at.BRIDGE_NET}
"""By content, in the order of their names among those of rungs: their first words."""

_table = BlockTable(stop=at.NET_WORDS)
_word, _array = _table.word, _table.array

# Sizes that follow from the model and the rate.
FILE_AT = _word("Place of the network in the models' file, in bytes; -1: there is none.")
DRAFTS = _word("Drafts of a channel.")
BINS = _word("Bins that the network sees of a frame.")
FRAMES = _word("Frames of a row.")
CONTEXT = _word("Frames of context before the gap.")
TOUCHING = _word("Frames that touch the gap.")
START = _word("First sample of the gap in a row.")
SAMPLES = _word("Samples of a row.")
HORIZON = _word("Samples of the longest gap.")
FILLS = _word("Channels, each of which gets a fill.")
ROWS = _word("Drafts of all channels.")
LINES = _array("Drafts in time, with the past before.", np.float32, ROWS, SAMPLES)
SPECTRA = _array("Their spectra: real, imaginary.", np.float32, ROWS, fixed(2), BINS, FRAMES)
FILLED = _array("The network's answer: spectra.", np.float32, FILLS, fixed(2), BINS, TOUCHING)
LOST = _array("Share of each frame that the gap is.", np.float32, FILLS, FRAMES)
RAMP = _array("Weight of the answer over the draft.", np.float32, HORIZON)
LINE = _array("Scratch: a channel of the answer in time.", np.float32, HORIZON)
MADE = _array("Samples made of the answer.", np.float32, FILLS, HORIZON)
GRID = _table.include(tables.GRID_TABLE)
SIZE = GRID + tables.GRID_SIZE
"""Samples of a frame."""
WORKED_IN = (SPECTRA, FILLED, LINE, *(GRID + word for word in tables.GRID_WORKED_IN))
"""Arrays that hold nothing from one answer to the next."""
_ROWS = _table.rows(_table.arrays)
array_of = view_of(_table)
"""``array_of(block, LINES, net)``: an array of a network."""
for _net in (at.SPEECH_NET, at.MUSIC_NET, at.BRIDGE_NET):
    at.TABLE.include(_table, _net)


@inlined
def there(block: Block, net: int) -> bool:
    """Return whether a stream has a network."""
    return bool(block[net + FILE_AT] >= 0)


@inlined
def network_of(block: Block, net: int, model: int) -> int:
    """Return the address of a network in the models' file at an address."""
    return int(model + block[net + FILE_AT])


@inlined
def operations_of(model: int, header: Block, net: int) -> int:
    """Return the multiply-adds of a run; 0 for a network that is not there."""
    if not there(header, net):
        return 0
    return tables.word_of(network_of(header, net, model), of.OPERATIONS)


@part
def measure_gap(header: Block, net: int, model: int) -> None:
    """Write the sizes of a network's gap.

    ``header``, int64, shape (HEADER,), has the settings; ``net`` is the first of the network's
    words, and ``model`` the address of its block.
    """
    rate = header[at.RATE]
    size = tables.frame_size(model, rate)
    hop = size // OVERLAP
    header[net + DRAFTS] = tables.word_of(model, of.DRAFTS)
    header[net + BINS] = tables.word_of(model, of.BINS)
    header[net + FRAMES] = tables.word_of(model, of.FRAMES)
    header[net + CONTEXT] = tables.word_of(model, of.CONTEXT)
    header[net + TOUCHING] = tables.word_of(model, of.TOUCHING)
    tables.measure_grid(header, net + GRID, size)
    header[net + FILLS] = header[at.CHANNELS]
    header[net + ROWS] = header[at.CHANNELS] * header[net + DRAFTS]
    header[net + START] = (header[net + CONTEXT] + INSIDE) * hop
    header[net + SAMPLES] = (header[net + FRAMES] - 1) * hop + size
    header[net + HORIZON] = samples_of(rate, tables.real_of(model, of.HORIZON_MS))


@part
def place_gap(header: Block, net: int) -> None:
    """Give the arrays of a network's gap their places."""
    place(header, net, _ROWS)


@part
def open_gap(block: Block, net: int, both: bool) -> None:
    """Write the tables of a network's gap, for the longest one; ``both`` as for :func:`mark`."""
    tables.write_grid(block, net + GRID)
    mark(block, net, block[net + HORIZON], both)


@inlined
def mark(block: Block, net: int, gap: int, both: bool) -> None:
    """Say how long the gap is, and whether its end is known, too."""
    mark_gap(
        block[net + SIZE],
        block[net + START],
        gap,
        EDGE_MS * block[at.RATE] / 1000.0,
        both,
        array_of(block, LOST, net),
        array_of(block, RAMP, net),
    )


@part
def analyse(block: Block, net: int) -> None:
    """Make the spectra of the rows."""
    analyse_rows(
        tables.grid_of(block, net + GRID),
        array_of(block, LINES, net),
        array_of(block, SPECTRA, net),
    )


@part
def run(block: Block, net: int, model: int, work: NDArray[np.float32]) -> None:
    """Run the network at an address; write its answer, and GIVEN: whether that is finite."""
    lost = array_of(block, LOST, net)
    answer = floats(block, net + FILLED, array_of(block, FILLED, net).size)
    run_network(
        words(model + tables.word_of(model, of.PLAN_AT), 0, tables.word_of(model, of.N_PLAN)),
        floats(
            model + tables.word_of(model, of.WEIGHTS_AT), 0, tables.word_of(model, of.N_WEIGHTS)
        ),
        floats(block, net + SPECTRA, array_of(block, SPECTRA, net).size),
        floats(block, net + LOST, lost.size),
        work,
        answer,
    )
    sound = True
    for i in range(answer.size):
        sound &= bool(np.isfinite(answer[i]))
    block[at.GIVEN] = sound


@part
def synthesise(block: Block, net: int, gap: int) -> None:
    """Make the gap's samples of the answer: the first ``gap`` columns of MADE."""
    synthesise_gap(
        tables.grid_of(block, net + GRID),
        array_of(block, LINES, net),
        array_of(block, SPECTRA, net),
        block[net + CONTEXT],
        array_of(block, FILLED, net),
        gap,
        array_of(block, RAMP, net),
        array_of(block, LINE, net),
        array_of(block, MADE, net),
    )
