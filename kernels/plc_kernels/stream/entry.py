"""The step for callers that have addresses and no arrays: C and WebAssembly.

Prediction is the step's own, at the rungs from a first one on, whatever they cost.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.signal.predict import BESIDE_FIT, BESIDE_ORDER, is_long, rehearsed_samples
from plc_kernels.signal.rungs import STEADY_MS, UNSTEADY_MS, order_of, past_samples
from plc_kernels.stream import extend, extend_network, networks
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.gap import FILE_AT, there
from plc_kernels.stream.layout import FILL, RING, array, lay_out, reach_of, reals
from plc_kernels.stream.preparation import BESIDE, add_second, open_second
from plc_kernels.stream.start import forget_counts, forget_stream, open_stream

SETTINGS = 16
"""Words of the settings."""
_MAX_PACKET_MS = 120
_MAX_LOOKAHEAD_MS = 2000
_PAST_MS = np.array(STEADY_MS + UNSTEADY_MS)
_COSTS = _PAST_MS[:, 0] * _PAST_MS[:, 1]
"""Orders times pasts of the rungs: what a fit takes is in proportion to that."""
# In multiply-adds of a network that take as long: of a fit for each coefficient and sample, and of
# a prediction likewise.
_FIT_WORK, _PREDICTION_WORK = 8, 4
_CALIBRATION = 100_000_000
# Among the names of rungs, behind the steps of both ladders.
_NOISE_PLACE = 2 * at.MAX_STEPS
NETWORK_PLACE = _NOISE_PLACE + 1
_RUNGS = len(STEADY_MS)
_ALL_RUNGS = len(_PAST_MS)


@kernel
def prepare(settings: NDArray[np.int64], header: Block) -> int:
    """Check settings and lay the block out; return its size, 0 if one is out of range.

    Parameters
    ----------
    settings : int64, shape (SETTINGS,)
        Sample rate in Hz, channels, samples of a packet, packets of lookahead, seed, first rung of
        the ladders, 1 if drafts are shown, the address of networks' blocks
        (:mod:`~plc_kernels.stream.model`) or 0, the most that a lost packet may take, in
        multiply-adds of a network, or 0 for no limit, whether bursts are prepared
        (:mod:`~plc_kernels.stream.preparation`): 0, 1 between pushes, 2 beside them, too; the
        bytes of the networks' blocks where there are several; and the layout's CONTENT; the rest
        is 0.
    header : int64, shape (HEADER,), written

    Returns
    -------
    int, bytes
    """
    rate, channels, packet, lookahead = settings[0], settings[1], settings[2], settings[3]
    first, seam, model, limit = settings[5], settings[6], settings[7], settings[8]
    if not at.MIN_SAMPLE_RATE <= rate <= at.MAX_SAMPLE_RATE or not 1 <= channels <= at.MAX_CHANNELS:
        return 0
    most = (_MAX_PACKET_MS * rate + 999) // 1000
    if packet < min(32, rate // 1000) or packet > most:
        return 0
    deepest = max(1, _MAX_LOOKAHEAD_MS * rate // (1000 * packet))
    if lookahead < 0 or lookahead > deepest or first < 0 or first >= _RUNGS:
        return 0
    if seam < 0 or seam > 1 or limit < 0 or settings[9] < 0 or settings[9] > BESIDE:
        return 0
    if settings[11] < 0 or settings[11] > at.AS_SPEECH:
        return 0
    header[:] = 0
    header[at.RATE] = rate
    header[at.CHANNELS] = channels
    header[at.PACKET] = packet
    header[at.LOOKAHEAD] = lookahead
    header[at.SEED] = settings[4]
    header[at.FIRST_RUNG] = first
    header[at.SEAM] = seam
    header[at.FROM_ONSETS] = 1
    header[at.CONTENT] = settings[11]
    header[at.FILLS_NOISE] = header[at.CONTENT] != at.AS_SPEECH
    taken = 0
    if model:
        if not networks.choose(model, settings[10], header):
            return 0
        _leave_out_untold(header)
        networks.measure(model, header)
        header[at.NETWORK_RUNG] = NETWORK_PLACE
        taken = networks.work(model, header)
        while (
            limit
            and taken
            and (taken + _work(header, _ALL_RUNGS - 1) > limit or _work(header, _RUNGS - 1) > limit)
        ):
            networks.leave_out(model, header)
            taken = networks.work(model, header)
    while first < _RUNGS - 1 and limit and _work(header, first) > limit:
        first += 1
    header[at.STEADY_STEPS] = _write_ladder(rate, first, _RUNGS, header, at.LADDER, 0)
    unsteady = _RUNGS
    while unsteady < _ALL_RUNGS - 1 and (
        _COSTS[unsteady] > _COSTS[first] or (limit and taken + _work(header, unsteady) > limit)
    ):
        unsteady += 1
    place = at.LADDER + 3 * at.MAX_STEPS
    header[at.UNSTEADY_STEPS] = _write_ladder(
        rate, unsteady, _ALL_RUNGS, header, place, at.MAX_STEPS
    )
    header[at.NOISE_RUNG] = _NOISE_PLACE
    lay_out(header)
    if header[at.NETWORK]:
        networks.add_places(header)
    if settings[9] and not lookahead:
        add_second(header, settings[9])
    return int(header[at.SIZE])


@inlined
def _leave_out_untold(header: Block) -> None:
    """Take out the networks that are not for the content that the user named.

    Music's serves speech, too, where it is the only one.
    """
    if header[at.CONTENT] == at.AS_MUSIC:
        header[at.SPEECH_NET + FILE_AT] = header[at.BRIDGE_NET + FILE_AT] = -1
    elif header[at.CONTENT] == at.AS_SPEECH and there(header, at.SPEECH_NET):
        header[at.MUSIC_NET + FILE_AT] = -1


@part
def _work(header: Block, rung: int) -> int:
    rate, packet = header[at.RATE], header[at.PACKET]
    past = past_samples(_PAST_MS[rung, 1], rate)
    order = order_of(_PAST_MS[rung, 0], _PAST_MS[rung, 1], rate)
    fitted, predicted, searched = past, packet, 0
    if header[at.NETWORK]:
        ahead, searched = networks.drafted(header, rung >= _RUNGS)
        predicted += ahead
    if header[at.LOOKAHEAD]:
        reach = min(header[at.LOOKAHEAD] * packet, reach_of(rate, packet))
        fitted += past + 2 * reach
        predicted += 2 * reach
    return _work_of(header, order, past, fitted, predicted) + int(header[at.CHANNELS] * searched)


@inlined
def _work_of(header: Block, order: int, past: int, fitted: int, predicted: int) -> int:
    """Return the work of fitting a predictor to samples and of predicting others.

    The one beside it is fitted to ``past`` alone, and both are rehearsed.
    """
    beside, also = 0.0, 0.0
    if is_long(header[at.RATE], order):
        beside = BESIDE_FIT * past
        also = BESIDE_ORDER * predicted + (1.0 + BESIDE_ORDER) * rehearsed_samples(header[at.RATE])
    work = _FIT_WORK * (fitted + beside) + _PREDICTION_WORK * (predicted + also)
    return int(header[at.CHANNELS] * order * work)


@part
def _write_ladder(rate: int, first: int, end: int, header: Block, place: int, name: int) -> int:
    steps = 0
    for k in range(first, end):
        past = past_samples(_PAST_MS[k, 1], rate)
        order = order_of(_PAST_MS[k, 0], _PAST_MS[k, 1], rate)
        row = place + 3 * steps
        if steps > 0 and header[row - 3] == order and header[row - 2] == past:
            continue  # the limits make several rungs one
        header[row] = order
        header[row + 1] = past
        header[row + 2] = name + steps
        steps += 1
    return steps


@kernel
def open_block(settings: NDArray[np.int64], block: Block) -> None:
    """Make a stream of a block of the size that :func:`prepare` returned.

    ``settings``, int64, shape (SETTINGS,), are those that it found in range; ``block`` is int64,
    shape (n,).
    """
    prepare(settings, block[: at.HEADER])
    numbers = reals(block)
    numbers[:] = 0.0
    numbers[at.LIMIT_MS] = np.inf
    numbers[at.COSTS :] = 0.0
    open_stream(block)
    if block[at.NETWORK]:
        networks.open_network(block)
    if block[at.SECOND]:
        open_second(block, settings[9])


@kernel
def calibrate(block: Block, model: int) -> int:
    """Conceal noise as a burst's first packets are concealed, and make the stream as new.

    Returned is the work done, in multiply-adds of a network: at least 100 million. A caller times
    it to know how much a processor does in a time, for the limit of :func:`prepare`. ``model`` is
    the address of the stream's network's block; not read where it has none.
    """
    channels, packet = block[at.CHANNELS], block[at.PACKET]
    ring = array(block, RING)
    fill = array(block, FILL)
    done = 0
    while done < _CALIBRATION:
        reset(block)
        noise = 1
        for c in range(channels):
            for i in range(block[at.PAST]):
                noise = (noise * 1103515245 + 12345) & 0x7FFFFFFF  # ISO C's example of rand()
                ring[c, i] = noise / 2.0**31 - 0.5
        block[at.HISTORY_FILLED] = block[at.HISTORY_TRUSTED] = block[at.PAST]
        extend.begin(block)
        extend.extend(block, fill)
        step = at.LADDER + 3 * block[at.STEP]
        predicted = packet
        if block[at.NETWORK]:
            ran = extend_network.try_out(block, model)
            ahead, searched = networks.drafted(block, block[at.SPEECH] != 0)
            predicted += ahead
            done += int(channels * ((1.0 + networks.BESIDE_RUN) * ran + searched))
        done += _work_of(block, block[step], block[step + 1], block[step + 1], predicted)
    reset(block)
    return int(done)


@kernel
def reset(block: Block) -> None:
    """Make a stream as new: history, background and statistics."""
    forget_counts(block)
    forget_stream(block)
