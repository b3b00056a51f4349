"""Damaged samples before a loss.

Who cuts a packet out often mutes or clips a sample too many, and one such sample spoils the fit and
all that a concealment goes on from. A stream has played it before it knows of the loss, so what was
received is played as it came; the history gets what the samples before it predict.
"""

from plc_kernels.compile import inlined, part
from plc_kernels.edges import (
    LEAST_EDGE_SAMPLES,
    EdgeSpace,
    count_damaged,
    edge_sizes,
    is_extreme,
    mend_end,
)
from plc_kernels.history import newest
from plc_kernels.stream.layout import (
    CHANNELS,
    EDGE_FIT,
    EDGE_LINE,
    EDGE_ROWS,
    HISTORY_AT,
    HISTORY_FILLED,
    PAST,
    RATE,
    RING,
    Block,
    double_rows,
    doubles,
    float_rows,
)


@inlined
def mend(block: Block) -> None:
    """Mend the history's end, after a received part, where it is damaged."""
    if block[HISTORY_FILLED] < LEAST_EDGE_SAMPLES:
        return
    ring = float_rows(block, RING, (block[CHANNELS], block[PAST]))
    last = (block[HISTORY_AT] if block[HISTORY_AT] else ring.shape[1]) - 1
    for c in range(ring.shape[0]):
        if is_extreme(ring[c, last]):
            _mend_channel(block, c)


@part
def _mend_channel(block: Block, c: int) -> None:
    looked, order = edge_sizes(block[RATE])
    rows = float_rows(block, EDGE_ROWS, (3, looked))
    space = EdgeSpace(
        rows[1:],
        double_rows(block, EDGE_FIT, (3, order + 1)),
        doubles(block, EDGE_LINE, looked),
    )
    x = rows[0, : min(looked, block[HISTORY_FILLED])]
    ring = float_rows(block, RING, (block[CHANNELS], block[PAST]))[c]
    newest(ring, block[HISTORY_AT], x)
    count = count_damaged(x, order, False, space)
    if not count:
        return
    mend_end(x, count, order, space)
    for i in range(count):
        at = block[HISTORY_AT] - count + i
        ring[at if at >= 0 else at + ring.size] = x[x.size - count + i]
