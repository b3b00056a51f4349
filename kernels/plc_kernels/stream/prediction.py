"""Linear prediction of a stream's channels: from its history, and from both sides of a gap."""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.burst import recalled_weight
from plc_kernels.compile import inlined, part
from plc_kernels.predict import (
    Bridge,
    Predictor,
    begin_prediction,
    extend_prediction,
    measure_bridge,
    meet_sides,
    turn_back,
)
from plc_kernels.rungs import HEADROOM
from plc_kernels.stream import background
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.layout import (
    BRIDGE_ROWS,
    BURST_MS,
    CHANNELS,
    COSTS,
    DECAY,
    DEPTH,
    DRAFT,
    EPOCH,
    FIT_BACKWARD,
    FIT_FORWARD,
    FIT_MIRROR,
    FIT_PAST,
    FITTED,
    FITTED_AT,
    FITTED_STEP,
    FROM_ONSETS,
    GAP,
    HISTORY_AT,
    HISTORY_FILLED,
    HISTORY_TRUSTED,
    KEY,
    LADDER,
    LEAD_IN,
    LEFT,
    LIMITS,
    LINE,
    MAX_STEPS,
    NETWORK_MS,
    ONE_FOR_ALL,
    ORDERS,
    PACKET,
    PLAYED_AT,
    PREDICTOR,
    PREPARED_AT,
    RATE,
    REALS,
    RECALL_WEIGHT,
    RECEIVED_SHARE,
    RECENT,
    REFIT,
    RING,
    RUNG,
    SECOND,
    SPEECH,
    STEADY_STEPS,
    STEP,
    TAPS,
    THROUGH,
    UNSTEADY,
    UNSTEADY_STEPS,
    WEIGHTS,
    array,
    reals,
    second_set,
    swap_places,
)

NETWORK_SHARE = 0.6
"""Of a packet's time, which a network may take at most."""
SWAPPED = (TAPS, RECENT, ORDERS, LIMITS, WEIGHTS, DRAFT, LEFT)
"""Arrays of a burst's prediction, which a prepared burst brings along."""
_PLACES = PLAYED_AT, EPOCH, GAP, HISTORY_AT, HISTORY_FILLED, HISTORY_TRUSTED, FITTED_AT, FITTED_STEP
INPUTS = np.array([*_PLACES, UNSTEADY, SPEECH, REALS + RECALL_WEIGHT], np.int16)
"""Words that a burst is made from, beside the settings, what was played, and the time that it has.

Nothing that a burst is made with may read any other: what is prepared would be another one."""


@inlined
def choose_step(block: Block) -> None:
    """Choose the rung: the first from the depth in use on that fits the time limit, or the last."""
    first = MAX_STEPS if block[UNSTEADY] else 0
    steps = block[UNSTEADY_STEPS] if block[UNSTEADY] else block[STEADY_STEPS]
    numbers = reals(block)
    step = first + steps - 1
    most_ms = HEADROOM * numbers[BURST_MS] - _network_ms(block)
    for k in range(first + block[DEPTH], first + steps):
        if numbers[COSTS + k] <= most_ms:
            step = k
            break
    block[STEP] = step
    block[RUNG] = block[LADDER + 3 * step + 2]


@inlined
def has_time(block: Block, network: int) -> bool:
    """Tell whether a lost packet has time for a network: the first, second or third of NETWORK_MS.

    Where concealments take too long (DEPTH), the rungs go first and the networks last.
    """
    numbers = reals(block)
    steps = block[UNSTEADY_STEPS] if block[UNSTEADY] else block[STEADY_STEPS]
    takes_ms = numbers[NETWORK_MS + network]
    within = takes_ms <= NETWORK_SHARE * numbers[BURST_MS] and takes_ms < np.inf
    return bool(within and block[DEPTH] < steps)


@inlined
def _network_ms(block: Block) -> float:
    """Return what the network takes that a burst would have, if it has time for one."""
    numbers = reals(block)
    network = 0 if block[SPEECH] and numbers[NETWORK_MS] > 0.0 else 1
    return float(numbers[NETWORK_MS + network]) if has_time(block, network) else 0.0


@inlined
def predictor_of(block: Block) -> Predictor:
    """Return the memory of a stream's prediction."""
    return Predictor(
        block[RATE],
        block[FROM_ONSETS] != 0,
        reals(block)[DECAY],
        array(block, FIT_FORWARD),
        array(block, FIT_BACKWARD),
        array(block, FIT_PAST),
        array(block, FIT_MIRROR),
        array(block, PREDICTOR),
        array(block, TAPS),
        array(block, RECENT),
        array(block, ORDERS),
        array(block, LIMITS),
        array(block, WEIGHTS),
        array(block, LINE),
        array(block, LEAD_IN),
        array(block, THROUGH),
    )


@part
def begin(block: Block) -> None:
    """Fit every channel's predictor to the newest samples."""
    choose_step(block)
    block[FITTED] = 1
    step = LADDER + 3 * block[STEP]
    # The fit of a voice is stale after 20 ms (docs/notebook.md, "A rung for servers").
    until = block[FITTED_AT] + (0 if block[UNSTEADY] else block[REFIT])
    again = block[FITTED_STEP] == block[STEP] and block[PLAYED_AT] < until
    if block[SECOND]:
        array(block, LEFT)[:] = 0
    begin_prediction(
        predictor_of(block),
        array(block, RING),
        block[HISTORY_AT : HISTORY_TRUSTED + 1],
        block[step],
        block[step + 1],
        block[UNSTEADY] != 0,
        again,
    )
    if not again:
        block[FITTED_STEP] = block[STEP]
        block[FITTED_AT] = block[PLAYED_AT]


@part
def gather(block: Block) -> None:
    """Decide what a burst that begins is made from, and write all of it to its key."""
    block[UNSTEADY] = background.is_unsteady(block)
    block[SPEECH] = background.is_speech(block) or block[ONE_FOR_ALL]
    numbers = reals(block)
    numbers[RECALL_WEIGHT] = recalled_weight(numbers[RECEIVED_SHARE])
    for k in range(INPUTS.size):
        block[KEY + k] = block[INPUTS[k]]


@inlined
def take_prepared(block: Block) -> bool:
    """Begin a burst with what was prepared for it, from equal inputs; return whether there is."""
    if not block[SECOND] or block[PREPARED_AT] != block[PLAYED_AT]:
        return False
    second = second_set(block)
    for k in range(KEY, KEY + INPUTS.size):
        if second[k] != block[k]:
            return False
    for word in SWAPPED:
        swap_places(block, word)
    block[PREPARED_AT] = -1
    block[STEP] = second[STEP]
    block[RUNG] = second[RUNG]
    block[FITTED] = 0
    block[FITTED_AT] = second[FITTED_AT]
    block[FITTED_STEP] = second[FITTED_STEP]
    return True


@part
def draft_packet(block: Block) -> None:
    """Predict a packet beforehand."""
    extend(block, array(block, DRAFT))
    array(block, LEFT)[:] = block[PACKET]


@inlined
def _take_drafted(block: Block, c: int, out: NDArray[np.float32]) -> int:
    """Write what is left of a drafted packet; return its samples."""
    left = array(block, LEFT)
    taken = min(left[c], out.size)
    draft = array(block, DRAFT)[c, block[PACKET] - left[c] :]
    for i in range(taken):
        out[i] = draft[i]
    left[c] -= taken
    return int(taken)


@part
def extend_channel(block: Block, c: int, out: NDArray[np.float32]) -> None:
    """Write the predicted next samples of a channel."""
    done = _take_drafted(block, c, out) if block[SECOND] else 0
    if done == out.size:
        return
    extend_prediction(predictor_of(block), c, out[done:])


@part
def extend(block: Block, out: NDArray[np.float32]) -> None:
    """Write the predicted next samples, shape (channels, n)."""
    for c in range(out.shape[0]):
        extend_channel(block, c, out[c])


@inlined
def through_rows(block: Block) -> NDArray[np.float32]:
    """Return what a gap's near side goes on with, shape (channels, n): through it and beyond."""
    return array(block, THROUGH)


@part
def bridge_of(block: Block, known: int, gap: int) -> Bridge:
    """Return what a bridge is fitted on, for samples known behind a gap and those to fill."""
    step = LADDER + 3 * block[STEP]
    return measure_bridge(
        block[RATE], block[step], block[step + 1], block[HISTORY_FILLED], known, gap
    )


@part
def turn_channel_back(block: Block, c: int, bridge: Bridge, after: NDArray[np.float32]) -> int:
    """Set a channel out as :func:`~plc_kernels.predict.turn_back` does."""
    ring = array(block, RING)[c]
    block[FITTED] = 1
    block[FITTED_STEP] = -1
    return turn_back(predictor_of(block), c, bridge, ring, block[HISTORY_AT], after)


@part
def begin_bridge(block: Block, gap: int) -> NDArray[np.float32]:
    """Return the rows of a bridge, shape (channels, REACH), with the near side's prediction."""
    channels = block[CHANNELS]
    through = through_rows(block)
    rows: NDArray[np.float32] = array(block, BRIDGE_ROWS)
    for c in range(channels):
        rows[c, :gap] = through[c, :gap]
    return rows


@part
def land(block: Block, bridge: Bridge, after: NDArray[np.float32]) -> bool:
    """Blend the near side, in :func:`through_rows`, with a prediction back from the far side.

    The bridge becomes the first ``gap`` samples of BRIDGE_ROWS. Return whether it ends where
    ``after`` begins, shape (channels, m); if not, too little of that was known.
    """
    rows = begin_bridge(block, bridge.gap)
    if bridge.order == 0:
        return False
    p = predictor_of(block)
    for c in range(block[CHANNELS]):
        turn_channel_back(block, c, bridge, after[c])
        extend_prediction(p, c, p.lead_in[: bridge.gap + bridge.meet])
        meet_sides(p, c, bridge, rows[c, : bridge.gap])
    return True
