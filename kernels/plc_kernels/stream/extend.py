"""A burst's samples: linear prediction of each channel from its history."""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, part
from plc_kernels.signal.burst import recalled_weight
from plc_kernels.signal.history import copy
from plc_kernels.signal.predict import (
    Predictor,
    begin_prediction,
    extend_prediction,
)
from plc_kernels.signal.rungs import HEADROOM
from plc_kernels.stream import background
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.layout import (
    AFTER,
    BRIDGE_ROWS,
    DRAFT,
    FIT_BACKWARD,
    FIT_FORWARD,
    FIT_MIRROR,
    FIT_PAST,
    LEAD_IN,
    LEFT,
    LIMITS,
    LINE,
    ORDERS,
    PREDICTOR,
    RECENT,
    RING,
    TAPS,
    THROUGH,
    WEIGHTS,
)

NETWORK_SHARE = 0.6
"""Share of a packet's time that a network may take at most."""
SWAPPED = (TAPS, RECENT, ORDERS, LIMITS, WEIGHTS, DRAFT, LEFT, AFTER, BRIDGE_ROWS)
"""Arrays of a burst's prediction, which a prepared burst brings along."""
_PLACES = (
    at.PLAYED_AT,
    at.EPOCH,
    at.GAP,
    at.HISTORY_AT,
    at.HISTORY_FILLED,
    at.HISTORY_TRUSTED,
    at.FITTED_AT,
    at.FITTED_STEP,
)
INPUTS = np.array([*_PLACES, at.UNSTEADY, at.SPEECH, at.REALS + at.RECALL_WEIGHT], np.int16)
"""Words that a burst is made from, beside the settings, what was played, and the time that it has.

Nothing that a burst is made with may read any other: what is prepared would be another one."""


@inlined
def choose_step(block: Block) -> None:
    """Choose the rung: the first from the depth in use on that fits the time limit, or the last."""
    first = at.MAX_STEPS if block[at.UNSTEADY] else 0
    steps = block[at.UNSTEADY_STEPS] if block[at.UNSTEADY] else block[at.STEADY_STEPS]
    numbers = at.reals(block)
    step = first + steps - 1
    most_ms = HEADROOM * numbers[at.BURST_MS] - _network_ms(block)
    for k in range(first + block[at.DEPTH], first + steps):
        if numbers[at.COSTS + k] <= most_ms:
            step = k
            break
    block[at.STEP] = step
    block[at.RUNG] = block[at.LADDER + 3 * step + 2]


@inlined
def has_time(block: Block, network: int) -> bool:
    """Return whether a lost packet has time for a network, one of the three of NETWORK_MS.

    Where concealments take too long (DEPTH), the rungs go first and the networks last.
    """
    numbers = at.reals(block)
    steps = block[at.UNSTEADY_STEPS] if block[at.UNSTEADY] else block[at.STEADY_STEPS]
    takes_ms = numbers[at.NETWORK_MS + network]
    within = takes_ms <= NETWORK_SHARE * numbers[at.BURST_MS] and takes_ms < np.inf
    return bool(within and block[at.DEPTH] < steps)


@inlined
def _network_ms(block: Block) -> float:
    """Return the milliseconds that a burst's network takes; 0 if there is no time for it."""
    numbers = at.reals(block)
    network = 0 if block[at.SPEECH] and numbers[at.NETWORK_MS] > 0.0 else 1
    return float(numbers[at.NETWORK_MS + network]) if has_time(block, network) else 0.0


@inlined
def predictor_of(block: Block) -> Predictor:
    """Return the memory of a stream's prediction."""
    return Predictor(
        block[at.RATE],
        block[at.FROM_ONSETS] != 0,
        at.reals(block)[at.DECAY],
        at.array(block, FIT_FORWARD),
        at.array(block, FIT_BACKWARD),
        at.array(block, FIT_PAST),
        at.array(block, FIT_MIRROR),
        at.array(block, PREDICTOR),
        at.array(block, TAPS),
        at.array(block, RECENT),
        at.array(block, ORDERS),
        at.array(block, LIMITS),
        at.array(block, WEIGHTS),
        at.array(block, LINE),
        at.array(block, LEAD_IN),
        at.array(block, THROUGH),
    )


@part
def begin(block: Block) -> None:
    """Fit every channel's predictor to the newest samples."""
    choose_step(block)
    block[at.FITTED] = 1
    step = at.LADDER + 3 * block[at.STEP]
    # The fit of a voice is stale after 20 ms (docs/notebook.md, "A rung for servers").
    until = block[at.FITTED_AT] + (0 if block[at.UNSTEADY] else block[at.REFIT])
    again = block[at.FITTED_STEP] == block[at.STEP] and block[at.PLAYED_AT] < until
    if block[at.SECOND]:
        at.array(block, LEFT)[:] = 0
    begin_prediction(
        predictor_of(block),
        at.array(block, RING),
        block[at.HISTORY_AT : at.HISTORY_TRUSTED + 1],
        block[step],
        block[step + 1],
        block[at.UNSTEADY] != 0,
        again,
    )
    if not again:
        block[at.FITTED_STEP] = block[at.STEP]
        block[at.FITTED_AT] = block[at.PLAYED_AT]


@part
def gather(block: Block) -> None:
    """Set the inputs of a new burst, and write them to its key."""
    block[at.UNSTEADY] = background.is_unsteady(block)
    block[at.SPEECH] = background.is_speech(block) or block[at.ONE_FOR_ALL]
    numbers = at.reals(block)
    numbers[at.RECALL_WEIGHT] = recalled_weight(numbers[at.RECEIVED_SHARE])
    for k in range(INPUTS.size):
        block[at.KEY + k] = block[INPUTS[k]]


@inlined
def take_prepared(block: Block) -> bool:
    """Begin a burst with the one prepared from equal inputs; return whether there is one."""
    if not block[at.SECOND] or block[at.PREPARED_AT] != block[at.PLAYED_AT]:
        return False
    second = at.second_set(block)
    for k in range(at.KEY, at.KEY + INPUTS.size):
        if second[k] != block[k]:
            return False
    for word in SWAPPED:
        at.swap_places(block, word)
    block[at.PREPARED_AT] = -1
    block[at.STEP] = second[at.STEP]
    block[at.RUNG] = second[at.RUNG]
    for word in (at.BRIDGE, at.KNOWN, at.LANDED):  # 0 where it is no bridge
        block[word] = second[word]
    block[at.FITTED] = 0
    block[at.FITTED_AT] = second[at.FITTED_AT]
    block[at.FITTED_STEP] = second[at.FITTED_STEP]
    return True


@part
def draft_packet(block: Block) -> None:
    """Predict a packet beforehand."""
    extend(block, at.array(block, DRAFT))
    at.array(block, LEFT)[:] = block[at.PACKET]


@inlined
def _take_drafted(block: Block, c: int, out: NDArray[np.float32]) -> int:
    """Write the samples left of a drafted packet, as many as fit; return their number."""
    left = at.array(block, LEFT)
    taken = min(left[c], out.size)
    draft = at.array(block, DRAFT)[c, block[at.PACKET] - left[c] :]
    copy(draft, out[:taken])
    left[c] -= taken
    return int(taken)


@part
def extend_channel(block: Block, c: int, out: NDArray[np.float32]) -> None:
    """Write the predicted next samples of a channel."""
    done = _take_drafted(block, c, out) if block[at.SECOND] else 0
    if done == out.size:
        return
    extend_prediction(predictor_of(block), c, out[done:])


@part
def extend(block: Block, out: NDArray[np.float32]) -> None:
    """Write the predicted next samples, shape (channels, n)."""
    for c in range(out.shape[0]):
        extend_channel(block, c, out[c])
