"""A gap whose end has arrived, drawn up for a network.

::

forward     |~~ played ~~|-- from the past ----|~~ arrived ~~|-- predicted --|
backward    |~~ played ~~|-- from what follows-|~~ arrived ~~|-- predicted --|
bridge      |~~ played ~~|-- both, blended ----|~~ arrived ~~|-- predicted --|
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import kernel
from plc_kernels.history import newest

LATE_MS = 1000.0
"""Until so long into the fade of a burst, and into the noise behind it, a network for bridges helps
the received samples in: chosen on validation clips (docs/notebook.md)."""


@kernel
def draw_up(
    ring: NDArray[np.float32],
    position: int,
    forward: NDArray[np.float32],
    backward: NDArray[np.float32],
    bridge: NDArray[np.float32],
    after: NDArray[np.float32],
    beyond: NDArray[np.float32],
    start: int,
    rows: NDArray[np.float32],
) -> None:
    """Write a channel's rows of a gap.

    Parameters
    ----------
    ring : float32, shape (capacity,)
        What was played.
    position : int
        Where its next sample will stand.
    forward, backward : float32, shape (at least gap,)
        Each side continued through the gap, in the signal's direction.
    bridge : float32, shape (gap,)
        Both sides blended.
    after : float32, shape (n,)
        What arrived right behind the gap.
    beyond : float32, shape (at least samples - start - gap - n,)
        What is predicted behind that.
    start : int
        The gap's first sample in a row.
    rows : float32, shape (3, samples), written
    """
    stop = start + bridge.size
    until = min(stop + after.size, rows.shape[1])
    past = rows[0, :start]
    newest(ring, position, past)
    rows[1, :start] = past
    rows[2, :start] = past
    rows[0, start:stop] = forward[: bridge.size]
    rows[1, start:stop] = backward[: bridge.size]
    rows[2, start:stop] = bridge
    for d in range(rows.shape[0]):
        rows[d, stop:until] = after[: until - stop]
        rows[d, until:] = beyond[: rows.shape[1] - until]
