"""A stream's networks: a burst's drafts, its fill, and what of it is played.

The step asks for a fill where a stream has a network (:mod:`~plc_kernels.stream.step`), and
:func:`fill_part` is the answer; gaps whose end has arrived are those of
:mod:`~plc_kernels.stream.bridge`, and what music draws on is in
:mod:`~plc_kernels.stream.recall`. The model is blocks in memory, one after another
(:mod:`~plc_kernels.stream.model`), which many streams may read; all that is written lies in the
stream's block.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.burst import (
    ERROR_SHARE,
    LEAVE_MS,
    ONSET_MS,
    begin_fill,
    play_fill,
    take_over,
    weigh_recalled,
)
from plc_kernels.compile import inlined, kernel, part
from plc_kernels.contour import POINTS, contour_sizes, draft, follow
from plc_kernels.denormals import flush_denormals, restore_denormals
from plc_kernels.fade import write_ramp
from plc_kernels.history import newest
from plc_kernels.network.frames import run_frames
from plc_kernels.network.plan import COUNT
from plc_kernels.predict import resume_prediction
from plc_kernels.spectra.gap import EDGE_MS, INSIDE, OVERLAP, hold_answer
from plc_kernels.stream import bridge, prediction, recall
from plc_kernels.stream import model as of
from plc_kernels.stream.arrays import Block, fixed, float_rows, floats, words
from plc_kernels.stream.gap import (
    CONTEXT,
    FILE_AT,
    HORIZON,
    LINES,
    MADE,
    SAMPLES,
    START,
    analyse,
    flat_filled,
    flat_lost,
    flat_spectra,
    gap_filled,
    gap_grid,
    gap_lines,
    gap_made,
    gap_spectra,
    is_sound,
    measure_gap,
    open_gap,
    place_gap,
    synthesise,
    there,
)
from plc_kernels.stream.gap import WORKED_IN as GAP_WORKED_IN
from plc_kernels.stream.layout import (
    AFTER,
    ANSWERS,
    BRIDGE,
    BRIDGE_NET,
    CHANNELS,
    FADING,
    FILL,
    FILL_SAMPLES,
    GAP,
    HEARD_LATER,
    HEARD_SAMPLES,
    HISTORY_AT,
    HISTORY_FILLED,
    KNOWN,
    LADDER,
    LANDED,
    LATE,
    LISTENS,
    MUSIC_NET,
    MUSIC_RATE,
    NETWORK,
    NETWORK_PAST,
    NETWORK_RUNG,
    NETWORK_TABLE,
    PACKET,
    RATE,
    RECALL_WEIGHT,
    RING,
    RUNG,
    SIZE,
    SPEECH,
    SPEECH_NET,
    STEP,
    TAKEN,
    UNSOUND,
    array,
    lay_out,
    place,
    reals,
    samples_of,
    second_set,
    swap_places,
)
from plc_kernels.stream.recall import ERRORS
from plc_kernels.stream.step import BEGAN, GOES_ON, MORE, PLAYED, WANTS_BRIDGE, WANTS_FILL
from plc_kernels.stream.tables import (
    SPACE_TABLE,
    contour_of,
    contour_past,
    frame_size,
    measure_space,
    real_of,
    space_of,
    word_of,
)

_word, _array = NETWORK_TABLE.word, NETWORK_TABLE.array
# What follows from the models and the stream.
LONGEST = _word()
PREDICTED = _word()
VOICE = _word()
ENTER = _word()
LEAVE = _word()
PROMPT = _word()
WORK_SIZE = _word()
WORK_APART = _word()
"""Samples of the longest fill; those that are predicted along speech's contour
(:func:`~plc_kernels.contour.contour_sizes`), and these with what it is expected from; samples of
the crossfades; whether a burst's first packet waits for speech's network; numbers of memory for a
run of any network; and 0, or as many that whoever calls lends to each run: WORK_SIZE is 0 then."""
WORK = _array(np.float32, WORK_SIZE)
FILLS = _array(np.float32, CHANNELS, LONGEST)
ENTER_RAMP = _array(np.float32, ENTER)
LEAVE_RAMP = _array(np.float32, LEAVE)
_ROWS = NETWORK_TABLE.rows(range(WORK, NETWORK_TABLE.next))
VOICES = _array(np.float32, CHANNELS, VOICE)
POINTS_AT = _array(np.float32, CHANNELS, fixed(POINTS))
PERIODS = _array(np.float64, CHANNELS)
LAGS = _array(np.int64, CHANNELS)
SPACE = NETWORK_TABLE.include(SPACE_TABLE)
_SPEECH_ROWS = NETWORK_TABLE.rows(range(VOICES, NETWORK_TABLE.next))
# State of a burst.
SERVED = _word()
POSITION = _word()
PENDING = _word()
IMPROVED = _word()
ANSWERED = _word()
"""First of the words of the network that serves it, 0: none; samples of it that were played;
whether the network's answer is still to be taken; whether it is in the fill; and whether its
samples are made."""
NO, SOUND, NO_SOUND = range(3)
"""Of ANSWERED."""
SPEECHS_PLACE, MUSICS_PLACE = 0, 1
"""Places of the networks of bursts among the names of rungs, from NETWORK_RUNG on, and in
NETWORK_MS; bridges' is the next."""

SWAPPED = (FILLS, SPEECH_NET + LINES, SPEECH_NET + MADE, MUSIC_NET + LINES, MUSIC_NET + MADE)
"""Arrays of a burst, where they are there, which a prepared one brings along."""
WORKED_IN = (
    WORK,
    *range(VOICES, SERVED),
    *(net + word for net in (SPEECH_NET, MUSIC_NET) for word in GAP_WORKED_IN),
    *recall.WORKED_IN,
)
"""Arrays that the networks of bursts and what is around them work in."""

_NETS = (SPEECH_NET, MUSIC_NET, BRIDGE_NET)
# A file may come from anywhere: no network of a stream sees more.
_MOST_S = 4
BESIDE_RUN = 0.25
"""What a network's drafts and spectra take beside its run, as a share of that."""
PROMPT_PACKET_MS = 5.0
"""From MUSIC_RATE on the first packet waits for the network only if it is as long as that."""


@part
def choose(model: int, size: int, header: Block) -> bool:
    """Choose those of a file's networks that are for a stream; return whether one is for its rate.

    Parameters
    ----------
    model : int
        Address of the block of a network, or of several that follow one another; all are sound
        (:mod:`~plc_kernels.stream.model_file`).
    size : int
        Bytes of all; 0: one block.
    header : int64, shape (HEADER,), read and written
        With the settings.
    """
    rate = header[RATE]
    for net in _NETS:
        header[net + FILE_AT] = -1
    found = False
    at = 0
    while True:
        one = model + at
        if word_of(one, of.MAGIC_AT) != of.MAGIC:
            return False
        if _fits(one, rate):
            found = True
            serves = word_of(one, of.CONTENT)
            if serves == of.SPEECH and not there(header, SPEECH_NET):
                header[SPEECH_NET + FILE_AT] = at
            elif serves == of.MUSIC and not there(header, MUSIC_NET):
                header[MUSIC_NET + FILE_AT] = at
            elif serves == of.SPEECH_BRIDGES and bridge.fits(one, header):
                header[BRIDGE_NET + FILE_AT] = at
        at += word_of(one, of.BYTES)
        if at >= size:
            return found


@inlined
def _fits(model: int, rate: int) -> bool:
    """Tell whether a network is for a rate, and its gap within its frames there."""
    size = frame_size(model, rate)
    hop = size // OVERLAP
    samples = (word_of(model, of.FRAMES) - 1) * hop + size
    horizon = samples_of(rate, real_of(model, of.HORIZON_MS))
    start = (word_of(model, of.CONTEXT) + INSIDE) * hop
    own = word_of(model, of.LOWEST_RATE) <= rate <= word_of(model, of.HIGHEST_RATE)
    return bool(own and 1 <= horizon <= samples - start and samples <= _MOST_S * rate)


@inlined
def network_of(block: Block, net: int, model: int) -> int:
    """Return the address of a network in the models' file at an address."""
    return int(model + block[net + FILE_AT])


@inlined
def _operations(model: int, header: Block, net: int) -> int:
    """Return the multiply-adds of a run; 0 for a network that is not there."""
    return word_of(network_of(header, net, model), of.OPERATIONS) if there(header, net) else 0


@inlined
def _dearest(model: int, header: Block) -> int:
    dearest = SPEECH_NET
    for net in _NETS:
        if _operations(model, header, net) > _operations(model, header, dearest):
            dearest = net
    return dearest


@part
def leave_out(model: int, header: Block) -> None:
    """Take the dearest network of those that were chosen out again."""
    header[_dearest(model, header) + FILE_AT] = -1
    measure(model, header)


@part
def operations(model: int, header: Block) -> int:
    """Return the multiply-adds of the dearest run: a packet has one."""
    return _operations(model, header, _dearest(model, header))


@part
def measure(model: int, header: Block) -> None:
    """Write what the networks take that were chosen.

    Parameters
    ----------
    model : int
        Address of the file.
    header : int64, shape (HEADER,), read and written
        With the settings.
    """
    past = work = 0
    for net in _NETS:
        if there(header, net):
            work = max(work, word_of(network_of(header, net, model), of.WORK))
    header[WORK_APART] = work if header[WORK_APART] else 0
    header[WORK_SIZE] = work - header[WORK_APART]
    header[LONGEST] = 0
    if there(header, SPEECH_NET):
        past = _measure_speech(network_of(header, SPEECH_NET, model), header)
    if there(header, MUSIC_NET):
        _measure_burst(header, MUSIC_NET, network_of(header, MUSIC_NET, model))
        past = max(past, recall.measure(header))
    if there(header, BRIDGE_NET):
        past = max(past, bridge.measure(network_of(header, BRIDGE_NET, model), header))
    header[HEARD_LATER] = header[HEARD_LATER] and there(header, MUSIC_NET)
    header[LISTENS] = there(header, MUSIC_NET) and not header[HEARD_LATER]
    header[HEARD_SAMPLES] = past if there(header, SPEECH_NET) else np.iinfo(np.int64).max
    header[ENTER] = samples_of(header[RATE], EDGE_MS)
    header[LEAVE] = samples_of(header[RATE], LEAVE_MS)
    header[NETWORK] = past > 0
    header[NETWORK_PAST] = past


@part
def _measure_burst(header: Block, net: int, model: int) -> None:
    touching = word_of(model, of.FRAMES) - word_of(model, of.CONTEXT)
    measure_gap(header, net, model, touching)
    header[LONGEST] = max(header[LONGEST], header[net + HORIZON])


@part
def _measure_speech(model: int, header: Block) -> int:
    """Write what the network for speech takes; return the samples of history that it reads."""
    rate = header[RATE]
    _measure_burst(header, SPEECH_NET, model)
    start = header[SPEECH_NET + START]
    known, predicted, _, _ = contour_sizes(rate, header[SPEECH_NET + SAMPLES] - start)
    header[PREDICTED] = predicted
    header[VOICE] = known + predicted
    measure_space(header, SPACE, model)
    short = header[PACKET] < rate * PROMPT_PACKET_MS / 1000.0
    header[PROMPT] = not (rate >= MUSIC_RATE and short)
    return max(int(start), known)


@inlined
def drafted(header: Block, unsteady: bool) -> tuple[int, int]:
    """Return what a lost packet's drafts take beside its samples.

    Parameters
    ----------
    header : int64, shape (HEADER,)
    unsteady : bool
        Whether what is lost changes fast, as speech does.

    Returns
    -------
    (int, int)
        Samples to predict, and multiply-adds of the search for passages.
    """
    ahead = searched = 0
    if there(header, MUSIC_NET) and not (unsteady and there(header, SPEECH_NET)):
        ahead = header[MUSIC_NET + SAMPLES] - header[MUSIC_NET + START]
        searched = recall.operations(header)
    if unsteady and there(header, SPEECH_NET):
        ahead = header[PREDICTED]
    if unsteady and there(header, BRIDGE_NET):
        ahead = max(ahead, bridge.predicted(header))
    return ahead, searched


@part
def add_places(header: Block) -> None:
    """Give the arrays of the networks their places, behind those of the stream."""
    place(header, 0, _ROWS)
    if there(header, SPEECH_NET):
        place_gap(header, SPEECH_NET)
        place(header, 0, _SPEECH_ROWS)
    if there(header, MUSIC_NET):
        place_gap(header, MUSIC_NET)
        recall.add_places(header)
    if there(header, BRIDGE_NET):
        bridge.add_places(header)


@kernel
def choose_networks(model: int, size: int, header: Block) -> bool:
    """Choose the networks of a stream (:func:`choose`), and write what they take."""
    if not choose(model, size, header):
        return False
    measure(model, header)
    return True


@kernel
def cost_of(model: int, header: Block, net: int) -> int:
    """Return the multiply-adds of a network's run and of what is around it, of all channels.

    Parameters
    ----------
    model : int
        Address of the networks' blocks.
    header : int64, shape (HEADER,)
        Of a stream that has them.
    net : int
        First of the network's words.
    """
    searched = recall.operations(header) if net == MUSIC_NET and there(header, net) else 0
    run = (1.0 + BESIDE_RUN) * _operations(model, header, net)
    return int(header[CHANNELS] * (run + searched))


@kernel
def lay_out_network(model: int, header: Block) -> int:
    """Lay out a stream with networks; return the size of its block.

    Parameters
    ----------
    model : int
        Address of the networks' blocks.
    header : int64, shape (HEADER,), read and written
        As :func:`~plc_kernels.stream.layout.lay_out` takes it, with NETWORK_RUNG and what
        :func:`choose_networks` wrote; networks whose FILE_AT is below 0 since are left out.
    """
    measure(model, header)
    lay_out(header)
    add_places(header)
    return int(header[SIZE])


@kernel
def open_network(block: Block) -> None:
    """Write the tables of a stream's networks."""
    for net in _NETS:
        if there(block, net):
            open_gap(block, net, net == BRIDGE_NET)
    write_ramp(array(block, ENTER_RAMP))
    write_ramp(array(block, LEAVE_RAMP))


@inlined
def _choose_net(block: Block) -> int:
    """Return the first word of the network that continues the past; 0: none."""
    net = SPEECH_NET if block[SPEECH] and there(block, SPEECH_NET) else MUSIC_NET
    if not there(block, net) or block[HISTORY_FILLED] < block[net + START]:
        return 0
    if net == MUSIC_NET and (reals(block)[RECALL_WEIGHT] == 0.0 or block[HEARD_LATER]):
        return 0
    if not prediction.has_time(block, MUSICS_PLACE if net == MUSIC_NET else SPEECHS_PLACE):
        return 0
    bridged = block[GAP] > 0 and bridge.serves(block, block[GAP])
    return 0 if bridged else net


@part
def _begin(block: Block, model: int) -> None:
    """Draft a burst that prediction has begun, and have the network improve on the draft."""
    block[POSITION] = 0
    block[PENDING] = 0
    block[IMPROVED] = 0
    block[ANSWERED] = NO
    block[bridge.BRIDGED_BY] = 0
    block[LATE] = bridge.late_samples(block)
    net = block[SERVED] = _choose_net(block)
    if net == 0:
        return
    if net == MUSIC_NET:
        recall.write_drafts(block, reals(block)[RECALL_WEIGHT])
    else:
        _draft_speech(block, network_of(block, net, model))
    begin_fill(gap_lines(block, net), block[net + START], block[net + HORIZON], array(block, FILLS))
    block[PENDING] = 1
    if net == SPEECH_NET and block[PROMPT]:
        _improve(block, model)


@part
def try_out(block: Block, model: int) -> int:
    """Do what a burst's first packet takes, whatever was played, so that a caller may time it.

    Return the multiply-adds of the network's run.
    """
    block[SPEECH] = there(block, SPEECH_NET)
    reals(block)[RECALL_WEIGHT] = 1.0
    _begin(block, model)
    if not block[PENDING]:
        return 0
    _improve(block, model)
    return _operations(model, block, block[SERVED])


@part
def _draft_speech(block: Block, model: int) -> None:
    """Write the past and both drafts; prediction goes on from the end of the last."""
    channels, start, rate = block[CHANNELS], block[SPEECH_NET + START], block[RATE]
    lines, space = gap_lines(block, SPEECH_NET), space_of(block, SPACE)
    ring = array(block, RING)
    known = contour_past(block)
    voices = array(block, VOICES)
    points = array(block, POINTS_AT)
    periods, lags = array(block, PERIODS), array(block, LAGS)
    for c in range(channels):
        past = lines[2 * c + 1, :start]
        newest(ring[c], block[HISTORY_AT], past)
        lines[2 * c, :start] = past
    follow(rate, contour_of(model), space, ring, block[HISTORY_AT], voices, points, periods, lags)
    for c in range(channels):
        prediction.extend_channel(block, c, voices[c, known:])
    draft(rate, space, voices, points, periods, lags, start, lines)
    end = known + block[SPEECH_NET + SAMPLES] - start
    for c in range(channels):
        resume_prediction(prediction.predictor_of(block), c, voices[c, :end])


@inlined
def _take_prepared(block: Block) -> None:
    """Begin a burst as it was prepared."""
    for word in SWAPPED:
        if block[word]:
            swap_places(block, word)
    block[SERVED : ANSWERED + 1] = second_set(block)[SERVED : ANSWERED + 1]
    if block[ANSWERED] != NO and not block[PENDING]:
        _count_answer(block)


@part
def prepare_burst(block: Block, model: int) -> bool:
    """Do all of a burst that prediction has begun; return whether prediction alone plays it.

    The network's answer is ready for the packet that takes it, which is the first or a later one.
    """
    if block[HEARD_LATER]:
        recall.catch_up(block)
        block[HEARD_LATER] = 0
    _begin(block, model)
    if block[PENDING]:
        _answer(block, model)
    return not block[SERVED]


@part
def _answer(block: Block, model: int) -> None:
    """Run the network; make samples of what it makes of the draft."""
    net = block[SERVED]
    block[ANSWERED] = NO_SOUND
    analyse(block, net)
    own = network_of(block, net, model)
    run_frames(
        words(own + word_of(own, of.PLAN_AT), 0, COUNT),
        floats(own + word_of(own, of.WEIGHTS_AT), 0, word_of(own, of.N_WEIGHTS)),
        flat_spectra(block, net),
        flat_lost(block, net),
        array(block, WORK),
        flat_filled(block, net),
    )
    if not is_sound(block, net):
        return
    if net == MUSIC_NET:
        hold_answer(
            gap_grid(block, net),
            gap_spectra(block, net),
            block[net + CONTEXT],
            array(block, ERRORS),
            ERROR_SHARE,
            gap_filled(block, net),
        )
    synthesise(block, net, block[net + HORIZON])
    if net == MUSIC_NET:
        weight = reals(block)[RECALL_WEIGHT]
        weigh_recalled(gap_lines(block, net), block[net + START], weight, gap_made(block, net))
    block[ANSWERED] = SOUND


@inlined
def _count_answer(block: Block) -> None:
    block[ANSWERS] += 1
    block[UNSOUND] += block[ANSWERED] == NO_SOUND


@part
def _improve(block: Block, model: int) -> None:
    """Crossfade from the draft to the network's answer, unless that is no sound."""
    net = block[SERVED]
    block[PENDING] = 0
    if block[ANSWERED] == NO:
        _answer(block, model)
    _count_answer(block)
    if block[ANSWERED] == NO_SOUND:
        return
    take_over(
        gap_lines(block, net),
        block[net + START],
        block[POSITION],
        array(block, ENTER_RAMP),
        array(block, LEAVE_RAMP),
        gap_made(block, net),
        array(block, FILLS),
    )
    block[IMPROVED] = 1


@inlined
def _go_on(block: Block, model: int) -> None:
    """Take the answer of a network that the burst's first packet did not wait for."""
    net = block[SERVED]
    if net and block[PENDING] and block[POSITION] >= samples_of(block[RATE], ONSET_MS):
        if block[POSITION] >= block[net + HORIZON]:
            block[PENDING] = 0
        else:
            _improve(block, model)


@part
def _extend(block: Block, c: int, out: NDArray[np.float32]) -> None:
    """Write a channel's next samples: of the fill, of the draft, then of prediction."""
    done = 0
    net = block[SERVED]
    if net:
        lines = gap_lines(block, net)
        row = lines[(c + 1) * (lines.shape[0] // block[CHANNELS]) - 1]
        fill = array(block, FILLS)[c, : block[net + HORIZON]]
        done = play_fill(fill, row[block[net + START] :], block[POSITION], out)
    if done < out.size:
        prediction.extend_channel(block, c, out[done:])


@part
def _bridge(block: Block, model: int) -> None:
    """Bridge a gap whose end has come, with the fill as its near side."""
    own = network_of(block, BRIDGE_NET, model)
    channels, gap = block[CHANNELS], block[BRIDGE]
    if block[FADING]:  # what the burst began with would go on at full level
        block[SERVED] = 0
        prediction.begin(block)
    through = prediction.through_rows(block)
    sides = prediction.bridge_of(block, block[KNOWN], gap)
    n = gap + sides.meet
    # What was played of a burst is not in step with what follows.
    along = n > gap and block[GAP] > 0 and bridge.serves(block, gap)
    if along:
        bridge.go_through(block, own, gap, n)
    else:
        for c in range(channels):
            _extend(block, c, through[c, :n])
        block[POSITION] += n
    if bridge.takes_part(block):
        block[LANDED] = bridge.land(block, sides, along)
    else:
        after = array(block, AFTER)
        block[LANDED] = prediction.land(block, sides, after)
    if block[LANDED]:
        block[SERVED] = 0
        if bridge.serves(block, gap):
            bridge.improve(block, own, gap, array(block, WORK))


@kernel
def fill_part(block: Block, model: int, flags: int) -> None:
    """Fill the part that the step asks for, or hear what was played.

    Without a network in the block leave it as it is.

    Parameters
    ----------
    block
        Of the stream.
    model : int
        Address of its networks' blocks.
    flags : int
        What the step answered.
    """
    if not block[NETWORK]:
        return
    before = flush_denormals()
    if block[LISTENS] and flags & PLAYED:
        recall.hear(block)
    elif flags & MORE:
        _fill(block, model, flags)
    restore_denormals(before)


@inlined
def _fill(block: Block, model: int, flags: int) -> None:
    if flags & BEGAN and block[TAKEN]:
        _take_prepared(block)
    elif flags & BEGAN:
        _begin(block, model)
    if flags & GOES_ON:
        _go_on(block, model)
    if flags & WANTS_BRIDGE:
        _bridge(block, model)
    if flags & WANTS_FILL:
        n = block[FILL_SAMPLES]
        rows = float_rows(block, FILL, (block[CHANNELS], n))
        for c in range(rows.shape[0]):
            _extend(block, c, rows[c])
        block[POSITION] += n
    net = block[SERVED]
    improved = net > 0 and block[IMPROVED] and block[POSITION] <= block[net + HORIZON]
    if block[bridge.BRIDGED_BY]:
        block[RUNG] = block[NETWORK_RUNG] + bridge.PLACE
    elif improved:
        block[RUNG] = block[NETWORK_RUNG] + (MUSICS_PLACE if net == MUSIC_NET else SPEECHS_PLACE)
    else:
        block[RUNG] = block[LADDER + 3 * block[STEP] + 2]
