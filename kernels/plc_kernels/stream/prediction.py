"""Linear prediction of a stream's channels: from its history, and from both sides of a gap."""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.ar import burg
from plc_kernels.compile import inlined, part
from plc_kernels.fade import mix_by_error
from plc_kernels.history import newest
from plc_kernels.predict import (
    ALONE,
    LEAST_KNOWN,
    LEAST_PAST_SAMPLES,
    SAMPLES_PER_COEFFICIENT,
    error_power,
    go_on,
    set_out,
    set_out_again,
    sound_begins,
)
from plc_kernels.rungs import HEADROOM
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.layout import (
    BRIDGE_ROWS,
    BURST_MS,
    CHANNELS,
    CHUNK,
    COSTS,
    DECAY,
    DEPTH,
    DRAFT,
    FIT_BACKWARD,
    FIT_FORWARD,
    FIT_MIRROR,
    FIT_PAST,
    FITTED,
    FITTED_AT,
    FITTED_STEP,
    FROM_ONSETS,
    HISTORY_AT,
    HISTORY_FILLED,
    HISTORY_TRUSTED,
    LADDER,
    LEAD_IN,
    LEFT,
    LIMITS,
    LINE,
    MAX_STEPS,
    MEET,
    NETWORK_MS,
    ORDERS,
    PACKET,
    PLAYED_AT,
    PREDICTOR,
    PREPARED_AT,
    RATE,
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
    array,
    reals,
    second_set,
    swap_places,
)

NETWORK_SHARE = 0.6
"""Of a packet's time, which a network may take at most."""
SWAPPED = (TAPS, RECENT, ORDERS, LIMITS, DRAFT, LEFT)
"""Arrays of a burst's prediction, which a prepared burst brings along."""


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
    return bool(takes_ms <= NETWORK_SHARE * numbers[BURST_MS] and block[DEPTH] < steps)


@inlined
def _network_ms(block: Block) -> float:
    """Return what the network takes that a burst would have, if it has time for one."""
    numbers = reals(block)
    network = 0 if block[SPEECH] and numbers[NETWORK_MS] > 0.0 else 1
    return float(numbers[NETWORK_MS + network]) if has_time(block, network) else 0.0


@inlined
def _fit(block: Block, order: int, x: NDArray[np.float32]) -> int:
    """Fit the predictor to samples; return the stages."""
    return burg(
        order,
        x,
        array(block, FIT_FORWARD),
        array(block, FIT_BACKWARD),
        array(block, FIT_MIRROR),
        array(block, PREDICTOR),
    )


@inlined
def set_out_from(block: Block, c: int, x: NDArray[np.float32], backwards: int, stages: int) -> None:
    """Set a channel out from samples with the predictor that was fitted last."""
    order, limit = set_out(
        x,
        backwards,
        stages,
        array(block, PREDICTOR),
        reals(block)[DECAY],
        array(block, TAPS)[c],
        array(block, RECENT)[c],
    )
    array(block, ORDERS)[c] = order
    array(block, LIMITS)[c] = limit


@part
def _fit_from_onset(block: Block, c: int, order: int, x: NDArray[np.float32]) -> None:
    """Fit a channel's predictor to its newest samples, and set it out from them."""
    sound = x[sound_begins(block[RATE], x) if block[FROM_ONSETS] else 0 :]
    if sound.size < x.size:
        order = min(order, sound.size // SAMPLES_PER_COEFFICIENT)
    stages = _fit(block, order, sound) if sound.size >= LEAST_PAST_SAMPLES else 0
    set_out_from(block, c, sound, 0, stages)


@part
def begin(block: Block) -> None:
    """Fit every channel's predictor to the newest samples."""
    choose_step(block)
    block[FITTED] = 1
    step = LADDER + 3 * block[STEP]
    order, wanted = block[step], block[step + 1]
    past = min(wanted, block[HISTORY_FILLED])
    if block[UNSTEADY] and LEAST_PAST_SAMPLES <= block[HISTORY_TRUSTED] < past:
        # A fade or comfort noise says nothing about a voice; tones ring on behind it.
        past = block[HISTORY_TRUSTED]
    if past < wanted:
        order = min(order, past // SAMPLES_PER_COEFFICIENT)
    ring = array(block, RING)
    x = array(block, FIT_PAST)[:past]
    orders = array(block, ORDERS)
    # The fit of a voice is stale after 20 ms (docs/notebook.md, "A rung for servers").
    until = block[FITTED_AT] + (0 if block[UNSTEADY] else block[REFIT])
    again = block[FITTED_STEP] == block[STEP] and block[PLAYED_AT] < until
    for c in range(ring.shape[0]):
        newest(ring[c], block[HISTORY_AT], x)
        if block[SECOND]:
            array(block, LEFT)[c] = 0
        if again and 1 < orders[c] <= past:
            recent = array(block, RECENT)[c]
            set_out_again(x, recent[: orders[c]])
        else:
            _fit_from_onset(block, c, order, x)
    if not again:
        block[FITTED_STEP] = block[STEP]
        block[FITTED_AT] = block[PLAYED_AT]


@inlined
def take_prepared(block: Block) -> bool:
    """Begin a burst with the prediction that was prepared for it; return whether there is one."""
    if not block[SECOND] or block[PREPARED_AT] != block[PLAYED_AT]:
        return False
    second = second_set(block)
    if second[UNSTEADY] != block[UNSTEADY] or second[SPEECH] != block[SPEECH]:
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
    order = array(block, ORDERS)[c]
    go_on(
        array(block, TAPS)[c, :order],
        array(block, LIMITS)[c],
        array(block, RECENT)[c, :order],
        array(block, LINE)[: order + CHUNK],
        out[done:],
    )


@part
def extend(block: Block, out: NDArray[np.float32]) -> None:
    """Write the predicted next samples.

    Parameters
    ----------
    block
        Of the stream.
    out : float32, shape (channels, n), written
    """
    for c in range(out.shape[0]):
        extend_channel(block, c, out[c])


@inlined
def through_rows(block: Block) -> NDArray[np.float32]:
    """Return what a gap's near side goes on with, shape (channels, n): through it and beyond."""
    return array(block, THROUGH)


@part
def bridgeable(block: Block, known: int, gap: int) -> tuple[int, int, int]:
    """Return what a bridge is fitted on.

    Parameters
    ----------
    block
        Of the stream.
    known : int
        Samples known behind the gap.
    gap : int
        Samples to fill.

    Returns
    -------
    (int, int, int)
        Samples before the gap, and behind it; and the order, 0 if too little is known.
    """
    step = LADDER + 3 * block[STEP]
    wanted = block[step + 1]
    known, past = min(known, wanted), min(wanted, block[HISTORY_FILLED])
    order = min(block[step], known, (past + gap + known) // SAMPLES_PER_COEFFICIENT)
    if known < LEAST_KNOWN or order < 2:
        order = 0
    return past, known, order


@inlined
def _met(block: Block, past: int, known: int) -> int:
    """Return the samples on either side of a gap that both predictions are compared with."""
    return int(min(block[MEET], past, known))


@part
def samples_ahead(block: Block, known: int, gap: int) -> int:
    """Return the samples of :func:`through_rows` that a bridge takes.

    These are no more than the gap where too little is known behind it for one; arguments are those
    of :func:`bridgeable`.
    """
    past, known, order = bridgeable(block, known, gap)
    return gap + _met(block, past, known) if order > 0 else gap


@part
def turn_back(block: Block, c: int, after: NDArray[np.float32], known: int, gap: int) -> int:
    """Set a channel out backwards from behind a gap; return the stages of its fit.

    It is fitted on the far side alone if that is long enough, else on both sides at once, the
    forward prediction standing in for the gap.

    Parameters
    ----------
    block
        Of the stream, with :func:`samples_ahead` samples of :func:`through_rows`.
    c : int
        The channel.
    after : float32, shape (at least known,)
        What follows the gap.
    known, gap : int
        As for :func:`bridgeable`, which tells an order.
    """
    past, known, order = bridgeable(block, known, gap)
    x = array(block, FIT_PAST)[: past + gap + known]
    newest(array(block, RING)[c], block[HISTORY_AT], x[:past])
    through = through_rows(block)[c]
    far_side = x[past + gap :]
    for i in range(gap):
        x[past + i] = through[i]
    for i in range(known):
        far_side[i] = after[i]
    # The predictor of a stationary signal serves in both directions.
    stages = _fit(block, order, far_side if known >= ALONE * order else x)
    block[FITTED] = 1
    set_out_from(block, c, far_side, 1, stages)
    return stages


@inlined
def far_side_row(block: Block, known: int, gap: int) -> NDArray[np.float32]:
    """Return the samples behind the gap that :func:`turn_back` looked at, shape (known,)."""
    past, known, _ = bridgeable(block, known, gap)
    return array(block, FIT_PAST)[past + gap : past + gap + known]


@inlined
def lead_in_row(block: Block, n: int) -> NDArray[np.float32]:
    """Return what leads back into a gap, shape (n,): through it and beyond, in reverse."""
    return array(block, LEAD_IN)[:n]


@part
def meet_sides(block: Block, c: int, known: int, gap: int) -> None:
    """Blend both predictions of a channel, weighted by how well they meet the other side.

    Both run on for 5 ms beyond the gap: what leads in from the far side stands in
    :func:`lead_in_row`, and what :func:`turn_back` was fitted on where that left it.
    """
    past, known, _ = bridgeable(block, known, gap)
    meet = _met(block, past, known)
    x = array(block, FIT_PAST)
    lead_in = lead_in_row(block, gap + meet)
    through = through_rows(block)[c]
    far_side = x[past + gap : past + gap + meet]
    forward_error = error_power(through[gap : gap + meet], far_side, 0)
    backward_error = error_power(lead_in[gap:], x[past - meet : past], 1)
    bridge = array(block, BRIDGE_ROWS)[c, :gap]
    mix_by_error(forward_error, backward_error, lead_in[:gap], bridge)


@part
def begin_bridge(block: Block, gap: int) -> None:
    """Write the near side's prediction to BRIDGE_ROWS."""
    through, bridge = through_rows(block), array(block, BRIDGE_ROWS)
    for c in range(block[CHANNELS]):
        bridge[c, :gap] = through[c, :gap]


@part
def land(block: Block, after: NDArray[np.float32], known: int, gap: int) -> bool:
    """Blend the continued past with a prediction back from the far side.

    The bridge becomes the first ``gap`` samples of BRIDGE_ROWS.

    Parameters
    ----------
    block
        Of the stream, with :func:`samples_ahead` samples of :func:`through_rows`.
    after : float32, shape (channels, m)
        What follows the gap.
    known, gap : int
        As for :func:`bridgeable`.

    Returns
    -------
    bool
        Whether it ends where ``after`` begins; if not, too little of that was known.
    """
    begin_bridge(block, gap)
    _, _, order = bridgeable(block, known, gap)
    if order == 0:
        return False
    block[FITTED_STEP] = -1
    lead_in = lead_in_row(block, samples_ahead(block, known, gap))
    for c in range(block[CHANNELS]):
        turn_back(block, c, after[c], known, gap)
        extend_channel(block, c, lead_in)
        meet_sides(block, c, known, gap)
    return True
