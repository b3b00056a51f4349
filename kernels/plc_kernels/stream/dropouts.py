"""The search for dropouts of a stream, for Python and C.

Its memory is a piece of its own beside the step's block: words that say where its arrays lie, then
the arrays of :func:`plc_kernels.dropouts.find_dropouts`.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import kernel
from plc_kernels.dropouts import LAG_MS, MORE_MS, STATE_WORDS, find_dropouts, skip_packet
from plc_kernels.packet import unpack_float32, unpack_int16
from plc_kernels.stream.layout import (
    Block,
    byte_rows,
    float_rows,
    integer_rows,
    samples_of,
    word_rows,
    words,
)

(RATE, CHANNELS, PACKET, PAST, SIZE, LINES, STATES, MARKED, PARTS) = range(9)
"""Words of the memory: Hz; channels; samples of a packet and of what is kept before it; bytes in
all; then the offset of each array in bytes."""
HEAD = 16
"""Words before the arrays."""


@kernel
def lay_out_search(settings: NDArray[np.int64], head: Block) -> int:
    """Write where things lie; return the size of the memory in bytes.

    Parameters
    ----------
    settings : int64
        That :func:`plc_kernels.stream.entry.prepare` found in range.
    head : int64, shape (HEAD,) at least, written
    """
    rate, channels, packet = settings[0], settings[1], settings[2]
    past = samples_of(rate, max(LAG_MS, 1000.0 * packet / rate) + MORE_MS)
    head[RATE], head[CHANNELS], head[PACKET], head[PAST] = rate, channels, packet, past
    size = 8 * HEAD
    head[STATES] = size
    size += 8 * channels * STATE_WORDS
    head[PARTS] = size
    size += 8 * (packet + 1)
    head[LINES] = size
    size += 4 * channels * (past + packet)
    head[MARKED] = size
    head[SIZE] = (size + channels * packet + 7) // 8 * 8
    return int(head[SIZE])


@kernel
def search(memory: Block, packet: int, integer: bool) -> int:
    """Find the dropouts of a packet; return how many there are.

    Parameters
    ----------
    memory : int64, read and written
        All 0 behind the words of :func:`lay_out_search` at first. The begin and end of each dropout
        are at ``PARTS``, the begin with the channels (:data:`~plc_kernels.packet.CHANNELS_AT`).
    packet : int
        Address of the packet, shape (packet_samples, channels).
    integer : bool
        Whether it is int16, not float32.
    """
    channels, n, past = memory[CHANNELS], memory[PACKET], memory[PAST]
    lines = float_rows(memory, LINES, (channels, past + n))
    if integer:
        unpack_int16(integer_rows(packet, 0, (n, channels)), 0, n, lines[:, past:])
    else:
        unpack_float32(float_rows(packet, 0, (n, channels)), 0, n, lines[:, past:])
    return int(
        find_dropouts(
            memory[RATE],
            n,
            lines,
            word_rows(memory, STATES, (channels, STATE_WORDS)),
            byte_rows(memory, MARKED, (channels, n)),
            words(memory, PARTS, n + 1),
        )
    )


@kernel
def search_nothing(memory: Block) -> None:
    """Take note of a packet that did not arrive as a whole.

    Parameters
    ----------
    memory : int64, read and written
        As of :func:`search`.
    """
    states = word_rows(memory, STATES, (memory[CHANNELS], STATE_WORDS))
    skip_packet(memory[RATE], memory[PACKET], states)


@kernel
def forget_search(memory: Block) -> None:
    """Make the search as new.

    Parameters
    ----------
    memory : int64, read and written
        As of :func:`search`.
    """
    word_rows(memory, STATES, (memory[CHANNELS], STATE_WORDS))[:] = 0
