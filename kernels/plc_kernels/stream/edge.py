"""Damaged samples before a loss.

Who cuts a packet out often mutes or clips a sample too many, and one such sample spoils the fit and
all that a concealment goes on from. A stream has played it before it knows of the loss, so what was
received is played as it came; the history gets what the samples before it predict.
"""

from plc_kernels.build.compile import inlined, part
from plc_kernels.signal.edges import (
    LEAST_EDGE_SAMPLES,
    EdgeSpace,
    count_damaged,
    is_extreme,
    mend_end,
)
from plc_kernels.signal.history import newest
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.layout import EDGE_FIT, EDGE_LINE, EDGE_ROWS, RING, array


@inlined
def mend(block: Block) -> None:
    """Mend the history's end, after a received part, where it is damaged."""
    if block[at.HISTORY_FILLED] < LEAST_EDGE_SAMPLES:
        return
    ring = array(block, RING)
    last = (block[at.HISTORY_AT] if block[at.HISTORY_AT] else ring.shape[1]) - 1
    for c in range(ring.shape[0]):
        if is_extreme(ring[c, last]):
            _mend_channel(block, c)


@part
def _mend_channel(block: Block, c: int) -> None:
    rows, order = array(block, EDGE_ROWS), block[at.EDGE_NUMBERS] - 1
    space = EdgeSpace(rows[1:], array(block, EDGE_FIT), array(block, EDGE_LINE))
    x = rows[0, : min(rows.shape[1], block[at.HISTORY_FILLED])]
    ring = array(block, RING)[c]
    newest(ring, block[at.HISTORY_AT], x)
    count = count_damaged(x, order, False, space)
    if not count:
        return
    mend_end(x, count, order, space)
    for i in range(count):
        k = block[at.HISTORY_AT] - count + i
        ring[k if k >= 0 else k + ring.size] = x[x.size - count + i]
