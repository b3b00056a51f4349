"""The search for dropouts of a stream, for Python and C.

Its memory is a piece of its own beside the step's block: words that say where its arrays lie, then
the arrays of :func:`plc_kernels.signal.dropouts.find_dropouts`.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel
from plc_kernels.signal.dropouts import LAG_MS, MORE_MS, STATE_WORDS, find_dropouts, skip_packet
from plc_kernels.signal.packet import unpack_float32, unpack_int16
from plc_kernels.stream.arrays import (
    Block,
    BlockTable,
    fixed,
    float_rows,
    integer_rows,
    place_arrays,
    view_of,
)
from plc_kernels.stream.layout import samples_of

_table = BlockTable()
_word, _array = _table.word, _table.array
RATE = _word("Sample rate in Hz.")
CHANNELS = _word("Number of channels.")
PACKET = _word("Samples of a packet.")
PAST = _word("Samples that are kept before it.")
SIZE = _word("Bytes of the memory.")
_LINE = _word("Samples of a line: PAST + PACKET.")
_MOST = _word("The most dropouts of a packet, and one more.")
STATES = _array("State of each channel: `signal.dropouts`.", np.int64, CHANNELS, fixed(STATE_WORDS))
PARTS = _array("Begin and end of each dropout found.", np.int64, _MOST)
LINES = _array("The past, and the packet.", np.float32, CHANNELS, _LINE)
MARKED = _array("1 for a sample of a dropout.", np.int8, CHANNELS, PACKET)
_ROWS = _table.rows(_table.arrays)
HEAD = 16
"""Words before the arrays."""
_array_of = view_of(_table)


@kernel
def lay_out_search(settings: NDArray[np.int64], head: Block) -> int:
    """Write where things lie; return the size of the memory in bytes.

    ``settings``, int64, are some that :func:`plc_kernels.stream.entry.prepare` found in range;
    ``head`` is int64, shape (HEAD,) at least.
    """
    rate, channels, packet = settings[0], settings[1], settings[2]
    past = samples_of(rate, max(LAG_MS, 1000.0 * packet / rate) + MORE_MS)
    head[RATE], head[CHANNELS], head[PACKET], head[PAST] = rate, channels, packet, past
    head[_LINE], head[_MOST] = past + packet, packet + 1
    head[SIZE] = place_arrays(head, 0, _ROWS, 8 * HEAD)
    return int(head[SIZE])


@kernel
def search(memory: Block, packet: int, integer: bool) -> int:
    """Find the dropouts of a packet; return how many there are.

    Parameters
    ----------
    memory : int64, read and written
        All 0 behind the words of :func:`lay_out_search` at first. The begin and end of each dropout
        are at ``PARTS``, the begin with the channels
        (:data:`~plc_kernels.signal.packet.CHANNELS_AT`).
    packet : int
        Address of the packet, shape (packet_samples, channels).
    integer : bool
        Whether it is int16, not float32.
    """
    channels, n, past = memory[CHANNELS], memory[PACKET], memory[PAST]
    lines = _array_of(memory, LINES)
    if integer:
        unpack_int16(integer_rows(packet, 0, (n, channels)), 0, n, lines[:, past:])
    else:
        unpack_float32(float_rows(packet, 0, (n, channels)), 0, n, lines[:, past:])
    return int(
        find_dropouts(
            memory[RATE],
            n,
            lines,
            _array_of(memory, STATES),
            _array_of(memory, MARKED),
            _array_of(memory, PARTS),
        )
    )


@kernel
def search_nothing(memory: Block) -> None:
    """Take note, in the memory of :func:`search`, of a packet that did not arrive as a whole."""
    skip_packet(memory[RATE], memory[PACKET], _array_of(memory, STATES))


@kernel
def forget_search(memory: Block) -> None:
    """Make the search as new: ``memory``, int64, is as of :func:`search`."""
    _array_of(memory, STATES)[:] = 0
