"""A burst along a network's fill: the draft, then the network's answer, then prediction.

::

    draft ──╮ 1 ms           ╭── last 5 ms of the horizon
    fill    ╰────────────────╯────── the draft goes on, then linear prediction
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel, rounded_part
from plc_kernels.signal.fade import crossfade
from plc_kernels.signal.history import copy

LEAVE_MS = 5.0
"""At the end of the horizon the fill returns to the draft within this time."""
ONSET_MS = 10.0
"""A network that no packet waits for takes over no earlier: until here a long prediction is as
good, and the network is trained from here on."""
ERROR_SHARE = 0.1
"""No bin of a fill that was rehearsed departs from its draft by more than this share of the power
that the draft's error has in a bin: chosen on validation clips (docs/notebook.md)."""
# Where less than the first share of the last half second was received, passages of the past are
# concealment for the most part. They and what the network makes of them then weigh less, and
# nothing below the second share.
_ALL_RECEIVED_SHARE, _NONE_RECEIVED_SHARE = 0.6, 0.45


@kernel
def begin_fill(
    lines: NDArray[np.float32], begin: int, horizon: int, fill: NDArray[np.float32]
) -> None:
    """Copy the last draft, which is played until the network answers.

    Parameters
    ----------
    lines : float32, shape (channels * drafts, samples)
        Every channel's drafts, the one that the network improves on last.
    begin : int, the gap's first sample in them
    horizon : int, samples that the network fills
    fill : float32, shape (channels, n), its first ``horizon`` columns written
    """
    drafts = lines.shape[0] // fill.shape[0]
    for c in range(fill.shape[0]):
        copy(lines[(c + 1) * drafts - 1, begin:], fill[c, :horizon])


@kernel
def recalled_weight(received_share: float) -> float:
    """Return the weight of passages where that share of the last half second was received."""
    return float(_weight(received_share))


@rounded_part
def _weight(received_share: float) -> float:
    span = _ALL_RECEIVED_SHARE - _NONE_RECEIVED_SHARE
    return min(max((received_share - _NONE_RECEIVED_SHARE) / span, 0.0), 1.0)


@kernel
def take_over(
    lines: NDArray[np.float32],
    begin: int,
    now: int,
    enter: NDArray[np.float32],
    leave: NDArray[np.float32],
    made: NDArray[np.float32],
    fill: NDArray[np.float32],
) -> None:
    """Crossfade a burst from its draft to the network's fill.

    Parameters
    ----------
    lines, begin : as for :func:`begin_fill`
    now : int, samples of the burst that were played
    enter, leave : float32, shape (n,) and (m,)
        Ramps of both crossfades; at the gap's beginning a fill is the draft already.
    made : float32, shape (channels, horizon), read and written
    fill : float32, shape (channels, n), n >= horizon, read and written
    """
    channels, horizon = made.shape
    drafts = lines.shape[0] // channels
    last, first = min(leave.size, horizon), min(enter.size, horizon - now)
    for c in range(channels):
        draft = lines[(c + 1) * drafts - 1, begin + horizon - last : begin + horizon]
        crossfade(draft, leave[leave.size - last :], made[c, horizon - last :])
        if now:
            crossfade(made[c, now : now + first], enter[:first], fill[c, now : now + first])
            copy(made[c, now + first :], fill[c, now + first : horizon])
        else:
            copy(made[c], fill[c, :horizon])


@kernel
def play_fill(
    fill: NDArray[np.float32],
    draft: NDArray[np.float32],
    position: int,
    out: NDArray[np.float32],
) -> int:
    """Write a channel's next samples of a burst; return how many there were of fill and draft.

    Parameters
    ----------
    fill : float32, shape (horizon,)
    draft : float32, shape (n,)
        The last draft from the gap's beginning on, which goes on behind the fill.
    position : int, samples of the burst that were played
    out : float32, shape (m,), written as far as the draft goes
    """
    stop = min(max(draft.size - position, 0), out.size)
    for i in range(stop):
        at = position + i
        out[i] = fill[at] if at < fill.size else draft[at]
    return stop
