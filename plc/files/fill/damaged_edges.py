"""Damaged samples beside the gaps of a recording, found by linear prediction.

Who cut a packet out has often touched its neighbours: muted a sample too many, or left one at
full scale. One such sample spoils the fit to what is known and the way the fill runs into it. A
predictor fitted to the samples further inside says what the edge should be::

    |~ gap ~|x|~~~~~~~~~~~ received ~~~~~~~~~~~|xx|~ gap ~|
             ▲ predicted backwards    predicted ▲
"""

from collections.abc import Sequence
from itertools import pairwise

from plc.engine.stream.samples import Packet
from plc.files.fill.gaps import Gap, as_rows
from plc_kernels.signal.edges import LEAST_EDGE_SAMPLES, EdgeSpace, count_damaged, edge_sizes


def widen(signal: Packet, gaps: Sequence[Gap], sample_rate: int) -> list[Gap]:
    """Return the gaps with the damaged samples beside them.

    Parameters
    ----------
    signal : float32 or int16, shape (n,) or (n, channels), samples
    gaps : sequence of Gap
        In order, and apart from each other.
    sample_rate : int, in Hz
    """
    stretches = [(0, gaps[0].start), *((gap.stop, gap.end) for gap in gaps)] if gaps else []
    parts = [
        intact_part(signal, *stretch, sample_rate, (k > 0, k < len(gaps)))
        for k, stretch in enumerate(stretches)
    ]
    return [Gap(before[1], *after) for before, after in pairwise(parts)]


def intact_part(
    signal: Packet, start: int, stop: int, sample_rate: int, ends: tuple[bool, bool]
) -> tuple[int, int]:
    """Return a received stretch without damaged samples at its ends.

    Parameters
    ----------
    signal : float32 or int16, shape (n,) or (n, channels), samples
    start, stop : int, the stretch
    sample_rate : int, in Hz
    ends : (bool, bool)
        Whether a gap lies before it, and behind it.

    Returns
    -------
    (int, int)
        Start and stop; those given where nothing is damaged.
    """
    reach, order = edge_sizes(sample_rate)
    after_gap, before_gap = ends
    head, tail = signal[start : min(stop, start + reach)], signal[max(start, stop - reach) : stop]
    cut_head = _damaged(head[::-1], order) if after_gap else 0
    cut_tail = _damaged(tail, order) if before_gap else 0
    return start + cut_head, stop - cut_tail


def _damaged(signal: Packet, order: int) -> int:
    """Count the damaged samples at the end of any channel."""
    n = len(signal)
    if n < LEAST_EDGE_SAMPLES:
        return 0
    space = EdgeSpace.allocate(n, order)
    return max(count_damaged(row, order, True, space) for row in as_rows(signal))
