"""A gap whose end has arrived, drawn up for a network.

::

forward     |~~ played ~~|-- from the past ----|~~ arrived ~~|-- predicted --|
backward    |~~ played ~~|-- from what follows-|~~ arrived ~~|-- predicted --|
bridge      |~~ played ~~|-- both, blended ----|~~ arrived ~~|-- predicted --|
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel
from plc_kernels.signal.contour import ContourSpace, CrossingSpace, bend_along, contour_sizes, turn
from plc_kernels.signal.history import copy, newest
from plc_kernels.signal.predict import Bridge, Predictor, extend_prediction

LATE_MS = 1000.0
"""Until so long into the fade of a burst, and into the noise behind it, a network for bridges helps
the received samples in: chosen on validation clips (docs/notebook.md)."""


@kernel
def lead_in_along(
    p: Predictor,
    c: int,
    bridge: Bridge,
    space: ContourSpace,
    crossing: CrossingSpace,
    line: NDArray[np.float32],
    period: float,
    points: NDArray[np.float32],
) -> None:
    """Write how a channel's far side leads back into a gap, along the contour through it.

    Parameters
    ----------
    p : Predictor
        As :func:`~plc_kernels.signal.predict.turn_back` left it; its ``lead_in`` is written.
    c, bridge
        The channel, and what that was given.
    space, crossing, period, points
        As for :func:`~plc_kernels.signal.contour.cross`; without a period there is no contour.
    line : float32, shape (past + n,), written
        Samples that a contour is expected from, and those that are predicted.
    """
    out = p.lead_in[: bridge.gap + bridge.meet]
    if period == 0.0:
        extend_prediction(p, c, out)
        return
    known = min(bridge.known, contour_sizes(p.rate, 0)[0])
    begin = bridge.past + bridge.gap
    line = line[: known + contour_sizes(p.rate, out.size)[1]]
    for i in range(known):
        line[i] = p.past[begin + known - 1 - i]
    extend_prediction(p, c, line[known:])
    period *= math.exp(turn(points, 1000.0 * bridge.gap / p.rate, crossing.turned))
    bend_along(p.rate, space, line, known, period, crossing.turned, out)


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
    ring : float32, shape (capacity,), what was played
    position : int, where its next sample will stand
    forward, backward : float32, shape (at least gap,)
        Each side continued through the gap, in the signal's direction.
    bridge : float32, shape (gap,), both sides blended
    after : float32, shape (n,), what arrived right behind the gap
    beyond : float32, shape (at least samples - start - gap - n,), what is predicted behind that
    start : int, the gap's first sample in a row
    rows : float32, shape (3, samples), written
    """
    stop = start + bridge.size
    until = min(stop + after.size, rows.shape[1])
    past = rows[0, :start]
    newest(ring, position, past)
    copy(past, rows[1, :start])
    copy(past, rows[2, :start])
    copy(forward, rows[0, start:stop])
    copy(backward, rows[1, start:stop])
    copy(bridge, rows[2, start:stop])
    for d in range(rows.shape[0]):
        copy(after, rows[d, stop:until])
        copy(beyond, rows[d, until:])
