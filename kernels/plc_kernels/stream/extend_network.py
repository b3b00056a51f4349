"""A burst that a network serves: drafts, the network's answer, and the fill of both.

Music's drafts are in :mod:`~plc_kernels.stream.extend_music`.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, part
from plc_kernels.signal.bridged_gap import LATE_MS
from plc_kernels.signal.burst import (
    ERROR_SHARE,
    ONSET_MS,
    begin_fill,
    play_fill,
    take_over,
)
from plc_kernels.signal.contour import POINTS, contour_sizes, draft, follow
from plc_kernels.signal.history import copy, newest
from plc_kernels.signal.predict import resume_prediction
from plc_kernels.spectra.gap import hold_answer
from plc_kernels.stream import bridge, extend, extend_music
from plc_kernels.stream import gap as gaps
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block, fixed
from plc_kernels.stream.extend_music import ERRORS
from plc_kernels.stream.gap import FILLED, LINES, MADE, SPECTRA
from plc_kernels.stream.layout import RING, THROUGH
from plc_kernels.stream.tables import (
    SPACE_TABLE,
    contour_of,
    contour_past,
    grid_of,
    measure_space,
    space_of,
)

_word, _array = at.NETWORK_TABLE.word, at.NETWORK_TABLE.array
# What follows from the models and the stream.
LONGEST = _word("Samples of the longest fill of a burst.")
PREDICTED = _word("Samples that are predicted to be bent along speech's contour.")
VOICE = _word("The same, and the past from which the contour is expected.")
ENTER = _word("Samples of the crossfade into a network's fill.")
LEAVE = _word("Samples of the crossfade from its end to the draft.")
PROMPT = _word("Whether a burst's first packet waits for speech's network.")
WORK_SIZE = _word("Numbers that a run of any of the networks works in; 0: WORK_APART says so.")
WORK_APART = _word("The same, of streams whose caller lends that memory to each run; else 0.")
WORK = _array("Scratch of a network's run.", np.float32, WORK_SIZE)
FILLS = _array("The burst's fill: draft, then network.", np.float32, at.CHANNELS, LONGEST)
ENTER_RAMP = _array("Weight of the network's fill where it begins.", np.float32, ENTER)
LEAVE_RAMP = _array("Weight of the draft where that ends.", np.float32, LEAVE)
ROWS = at.NETWORK_TABLE.rows(range(WORK, at.NETWORK_TABLE.next))
VOICES = _array("Past and prediction, not bent yet.", np.float32, at.CHANNELS, VOICE)
POINTS_AT = _array("The contour that is expected.", np.float32, at.CHANNELS, fixed(POINTS))
PERIODS = _array("Pitch period where the past ends, in samples; 0: none.", np.float64, at.CHANNELS)
LAGS = _array("Lag at which the past resembles its end, in samples.", np.int64, at.CHANNELS)
SPACE = at.NETWORK_TABLE.include(SPACE_TABLE)
SPEECH_ROWS = at.NETWORK_TABLE.rows(range(VOICES, at.NETWORK_TABLE.next))
# State of a burst.
SERVED = _word("First of the words of the network that serves the burst; 0: none does.")
POSITION = _word("Samples of the burst that were played.")
PENDING = _word("Whether the network's answer is still to be taken.")
IMPROVED = _word("Whether the answer is in the fill.")
ANSWERED = _word("NO, SOUND or NO_SOUND: whether samples of the answer are made.")
NO, SOUND, NO_SOUND = range(3)
"""Of ANSWERED."""

SWAPPED = (
    FILLS,
    at.SPEECH_NET + LINES,
    at.SPEECH_NET + MADE,
    at.MUSIC_NET + LINES,
    at.MUSIC_NET + MADE,
)
"""Arrays of a burst, where they are there, which a prepared one brings along."""
WORKED_IN = (
    WORK,
    *range(VOICES, SERVED),
    *(net + word for net in (at.SPEECH_NET, at.MUSIC_NET) for word in gaps.WORKED_IN),
    *extend_music.WORKED_IN,
    *bridge.WORKED_IN,
)
"""Arrays that the networks of bursts and what is around them work in."""

PROMPT_PACKET_MS = 5.0
"""From MUSIC_RATE on the first packet waits for the network only if it is as long as that."""


@part
def measure_burst(header: Block, net: int, model: int) -> None:
    """Write the sizes of a network of bursts."""
    gaps.measure_gap(header, net, model)
    header[LONGEST] = max(header[LONGEST], header[net + gaps.HORIZON])


@part
def measure_speech(model: int, header: Block) -> int:
    """Write the sizes of the network for speech; return the samples of history that it reads."""
    rate = header[at.RATE]
    measure_burst(header, at.SPEECH_NET, model)
    start = header[at.SPEECH_NET + gaps.START]
    known, predicted, _, _ = contour_sizes(rate, header[at.SPEECH_NET + gaps.SAMPLES] - start)
    header[PREDICTED] = predicted
    header[VOICE] = known + predicted
    measure_space(header, SPACE, model)
    short = header[at.PACKET] < rate * PROMPT_PACKET_MS / 1000.0
    header[PROMPT] = not (rate >= at.MUSIC_RATE and short)
    return max(int(start), known)


@inlined
def _choose_net(block: Block) -> int:
    """Return the first word of the network that continues the past; 0: none."""
    net = at.SPEECH_NET if block[at.SPEECH] and gaps.there(block, at.SPEECH_NET) else at.MUSIC_NET
    if not gaps.there(block, net) or block[at.HISTORY_FILLED] < block[net + gaps.START]:
        return 0
    if net == at.MUSIC_NET and (at.reals(block)[at.RECALL_WEIGHT] == 0.0 or block[at.HEARD_LATER]):
        return 0
    if not extend.has_time(block, int(net == at.MUSIC_NET)):
        return 0
    bridged = block[at.GAP] > 0 and bridge.serves(block, block[at.GAP])
    return 0 if bridged else net


@part
def begin(block: Block, model: int) -> None:
    """Draft a burst that prediction has begun, and make the rows of its network."""
    block[POSITION] = 0
    block[PENDING] = 0
    block[IMPROVED] = 0
    block[ANSWERED] = NO
    block[bridge.BRIDGED_BY] = 0
    late = at.samples_of(block[at.RATE], LATE_MS)
    block[at.LATE] = late if bridge.takes_part(block) else 0
    net = block[SERVED] = _choose_net(block)
    if net == 0:
        return
    if net == at.MUSIC_NET:
        extend_music.write_drafts(block, at.reals(block)[at.RECALL_WEIGHT])
    else:
        _draft_speech(block, gaps.network_of(block, net, model))
    begin_fill(
        gaps.array_of(block, LINES, net),
        block[net + gaps.START],
        block[net + gaps.HORIZON],
        at.array(block, FILLS),
    )
    block[PENDING] = 1
    if block[at.OUTSIDE]:
        gaps.analyse(block, net)
    elif is_prompt(block):
        answer(block, model)
        if block[SERVED] == at.SPEECH_NET:
            improve(block)


@inlined
def is_prompt(block: Block) -> bool:
    """Return whether a burst's first packet waits for its network; music's serves 10 ms later."""
    is_long = block[at.PACKET] > at.samples_of(block[at.RATE], ONSET_MS)
    return bool(block[PROMPT] if block[SERVED] == at.SPEECH_NET else is_long)


@part
def _draft_speech(block: Block, model: int) -> None:
    """Write the past and both drafts; prediction goes on from the end of the last."""
    channels, start, rate = block[at.CHANNELS], block[at.SPEECH_NET + gaps.START], block[at.RATE]
    lines, space = gaps.array_of(block, LINES, at.SPEECH_NET), space_of(block, SPACE)
    ring = at.array(block, RING)
    known = contour_past(block)
    voices = at.array(block, VOICES)
    points = at.array(block, POINTS_AT)
    periods, lags = at.array(block, PERIODS), at.array(block, LAGS)
    for c in range(channels):
        past = lines[2 * c + 1, :start]
        newest(ring[c], block[at.HISTORY_AT], past)
        copy(past, lines[2 * c, :start])
    follow(
        rate, contour_of(model), space, ring, block[at.HISTORY_AT], voices, points, periods, lags
    )
    for c in range(channels):
        extend.extend_channel(block, c, voices[c, known:])
    draft(rate, space, voices, points, periods, lags, start, lines)
    end = known + block[at.SPEECH_NET + gaps.SAMPLES] - start
    for c in range(channels):
        resume_prediction(extend.predictor_of(block), c, voices[c, :end])


@inlined
def take_prepared(block: Block) -> None:
    """Begin a burst as it was prepared."""
    for word in SWAPPED:
        if block[word]:
            at.swap_places(block, word)
    second = at.second_set(block)
    copy(second[SERVED:], block[SERVED : ANSWERED + 1])
    block[at.LATE] = second[at.LATE]
    block[bridge.BRIDGED_BY] = second[bridge.BRIDGED_BY]
    block[at.ANSWERS] += second[bridge.BRIDGED_BY]
    if block[ANSWERED] != NO and not block[PENDING]:
        _count_answer(block)


@part
def answer(block: Block, model: int) -> None:
    """Run the network; make samples of its answer."""
    net = block[SERVED]
    gaps.analyse(block, net)
    gaps.run(block, net, gaps.network_of(block, net, model), at.array(block, WORK))
    hear_answer(block)


@part
def hear_answer(block: Block) -> None:
    """Make samples of a network's answer, if there is one (GIVEN)."""
    net = block[SERVED]
    block[ANSWERED] = NO_SOUND
    if not block[at.GIVEN]:
        return
    if net == at.MUSIC_NET:
        hold_answer(
            grid_of(block, net + gaps.GRID),
            gaps.array_of(block, SPECTRA, net),
            block[net + gaps.CONTEXT],
            at.array(block, ERRORS),
            ERROR_SHARE,
            at.reals(block)[at.RECALL_WEIGHT],
            gaps.array_of(block, FILLED, net),
        )
    gaps.synthesise(block, net, block[net + gaps.HORIZON])
    block[ANSWERED] = SOUND


@inlined
def _count_answer(block: Block) -> None:
    if block[at.OUTSIDE]:
        return
    block[at.ANSWERS] += 1
    block[at.UNSOUND] += block[ANSWERED] == NO_SOUND


@part
def improve(block: Block) -> None:
    """Crossfade from the draft to the network's answer, unless that is no sound."""
    net = block[SERVED]
    block[PENDING] = 0
    _count_answer(block)
    if block[ANSWERED] == NO_SOUND:
        return
    take_over(
        gaps.array_of(block, LINES, net),
        block[net + gaps.START],
        block[POSITION],
        at.array(block, ENTER_RAMP),
        at.array(block, LEAVE_RAMP),
        gaps.array_of(block, MADE, net),
        at.array(block, FILLS),
    )
    block[IMPROVED] = 1


@inlined
def is_due(block: Block) -> bool:
    """Return whether a burst takes the answer now, for which its first packet did not wait."""
    net = block[SERVED]
    if not net or not block[PENDING] or block[POSITION] < at.samples_of(block[at.RATE], ONSET_MS):
        return False
    if block[POSITION] >= block[net + gaps.HORIZON]:
        block[PENDING] = 0
    return bool(block[PENDING])


@part
def extend_channel(block: Block, c: int, out: NDArray[np.float32]) -> None:
    """Write a channel's next samples: of the fill, of the draft, then of extend."""
    done = 0
    net = block[SERVED]
    if net:
        lines = gaps.array_of(block, LINES, net)
        row = lines[(c + 1) * (lines.shape[0] // block[at.CHANNELS]) - 1]
        fill = at.array(block, FILLS)[c, : block[net + gaps.HORIZON]]
        done = play_fill(fill, row[block[net + gaps.START] :], block[POSITION], out)
    if done < out.size:
        extend.extend_channel(block, c, out[done:])


@part
def make_bridge(block: Block, model: int) -> bool:
    """Bridge a gap whose end has come, with the fill as its near side.

    Return whether the rows of the network for bridges are there, which its answer is to improve.
    """
    own = gaps.network_of(block, at.BRIDGE_NET, model)
    channels, gap = block[at.CHANNELS], block[at.BRIDGE]
    if block[at.FADING]:  # what the burst began with would go on at full level
        block[SERVED] = 0
        extend.begin(block)
    through = at.array(block, THROUGH)
    sides = bridge.sides_of(block)
    n = gap + sides.meet
    # What was played of a burst is not in step with what follows.
    along = n > gap and block[at.GAP] > 0 and bridge.serves(block, gap)
    if along:
        bridge.go_through(block, own, gap, n)
    else:
        for c in range(channels):
            extend_channel(block, c, through[c, :n])
        block[POSITION] += n
    if bridge.takes_part(block):
        block[at.LANDED] = bridge.land_drafted(block, sides, along)
    else:
        block[at.LANDED] = bridge.land(block, sides)
    if not block[at.LANDED]:
        return False
    block[SERVED] = 0
    if not bridge.serves(block, gap):
        return False
    bridge.write_drafts(block, gap)
    if not block[at.OUTSIDE]:
        bridge.run(block, own, at.array(block, WORK))
        bridge.take(block, gap)
    return True


@part
def try_out(block: Block, model: int) -> int:
    """Draft and improve a burst's first packet from any history, so that a caller may time it.

    Return the multiply-adds of the network's run.
    """
    block[at.SPEECH] = gaps.there(block, at.SPEECH_NET)
    at.reals(block)[at.RECALL_WEIGHT] = 1.0
    begin(block, model)
    if not block[PENDING]:
        return 0
    if block[ANSWERED] == NO:
        answer(block, model)
    improve(block)
    return gaps.operations_of(model, block, block[SERVED])


@part
def prepare_burst(block: Block, model: int) -> bool:
    """Do all of a burst that prediction has begun; return whether prediction alone plays it.

    The network's answer is ready for the packet that takes it, which is the first or a later one.
    """
    if block[at.HEARD_LATER]:
        extend_music.catch_up(block)
        block[at.HEARD_LATER] = 0
    begin(block, model)
    if block[at.GAP]:
        make_bridge(block, model)
        return False
    if block[PENDING] and block[ANSWERED] == NO and not block[at.OUTSIDE]:
        answer(block, model)
    return not block[SERVED]


@part
def hear_prepared(block: Block) -> None:
    """Make the samples of a burst that was prepared, of an answer from outside (GIVEN)."""
    if not block[PENDING]:
        return
    hear_answer(block)
    if block[SERVED] == at.SPEECH_NET and block[PROMPT]:
        improve(block)
