"""A stream's networks: a burst's drafts, its fill, and the samples played.

The step asks for a fill where a stream has a network (:mod:`~plc_kernels.stream.step`), and
:func:`fill_part` is the answer; gaps whose end has arrived are those of
:mod:`~plc_kernels.stream.bridge_fills`, and music's drafts are in
:mod:`~plc_kernels.stream.music_drafts`. The model is blocks in memory, one after another
(:mod:`~plc_kernels.stream.model`), which many streams may read; all that is written lies in the
stream's block.

A network's forward pass is computed here, or OUTSIDE: :func:`fill_part` then ends early, with the
rows of the network ASKED in its SPECTRA and LOST, and is called again to go on::

    drafts, spectra ─▶ SUBMIT: run it meanwhile ─▶ part played from the draft ─▶ … next packet
                  └──▶ WAIT: its answer is due, to FILLED, with GIVEN ─▶ samples ─▶ part played
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.build.denormals import flush_denormals, restore_denormals
from plc_kernels.signal.burst import (
    ERROR_SHARE,
    LEAVE_MS,
    ONSET_MS,
    begin_fill,
    play_fill,
    take_over,
)
from plc_kernels.signal.contour import POINTS, contour_sizes, draft, follow
from plc_kernels.signal.fade import write_ramp
from plc_kernels.signal.history import newest
from plc_kernels.signal.predict import resume_prediction
from plc_kernels.signal.recall import LEAST_LAG_MS
from plc_kernels.spectra.gap import EDGE_MS, INSIDE, OVERLAP, hold_answer
from plc_kernels.stream import bridge_fills, music_drafts, prediction
from plc_kernels.stream import gap as gaps
from plc_kernels.stream import layout as at
from plc_kernels.stream import model as of
from plc_kernels.stream.arrays import Block, fixed, float_rows
from plc_kernels.stream.layout import AFTER, FILL, RING
from plc_kernels.stream.music_drafts import ERRORS
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
_ROWS = at.NETWORK_TABLE.rows(range(WORK, at.NETWORK_TABLE.next))
VOICES = _array("Past and prediction, not bent yet.", np.float32, at.CHANNELS, VOICE)
POINTS_AT = _array("The contour that is expected.", np.float32, at.CHANNELS, fixed(POINTS))
PERIODS = _array("Pitch period where the past ends, in samples; 0: none.", np.float64, at.CHANNELS)
LAGS = _array("Lag at which the past resembles its end, in samples.", np.int64, at.CHANNELS)
SPACE = at.NETWORK_TABLE.include(SPACE_TABLE)
_SPEECH_ROWS = at.NETWORK_TABLE.rows(range(VOICES, at.NETWORK_TABLE.next))
# State of a burst.
SERVED = _word("First of the words of the network that serves the burst; 0: none does.")
POSITION = _word("Samples of the burst that were played.")
PENDING = _word("Whether the network's answer is still to be taken.")
IMPROVED = _word("Whether the answer is in the fill.")
ANSWERED = _word("NO, SOUND or NO_SOUND: whether samples of the answer are made.")
NO, SOUND, NO_SOUND = range(3)
"""Of ANSWERED."""
DONE, SUBMIT, WAIT = range(3)
"""Answers of :func:`fill_part`."""
_SUBMITTED, _HEARS_BURST, _HEARS_BRIDGE = 1, 2, 3
"""Of PHASE."""
SPEECHS_PLACE, MUSICS_PLACE = 0, 1
"""Places of the networks of bursts among the names of rungs, from NETWORK_RUNG on, and in
NETWORK_MS; bridges' is the next."""

SWAPPED = (
    FILLS,
    at.SPEECH_NET + gaps.LINES,
    at.SPEECH_NET + gaps.MADE,
    at.MUSIC_NET + gaps.LINES,
    at.MUSIC_NET + gaps.MADE,
)
"""Arrays of a burst, where they are there, which a prepared one brings along."""
WORKED_IN = (
    WORK,
    *range(VOICES, SERVED),
    *(net + word for net in (at.SPEECH_NET, at.MUSIC_NET) for word in gaps.WORKED_IN),
    *music_drafts.WORKED_IN,
)
"""Arrays that the networks of bursts and what is around them work in."""

_NETS = (at.SPEECH_NET, at.MUSIC_NET, at.BRIDGE_NET)
# A file may come from anywhere: no network of a stream sees more.
_MOST_S = 4
BESIDE_RUN = 0.25
"""What a network's drafts and spectra take beside its run, as a share of that."""
PROMPT_PACKET_MS = 5.0
"""From MUSIC_RATE on the first packet waits for the network only if it is as long as that."""


@part
def choose(model: int, size: int, header: Block) -> bool:
    """Choose a file's networks for a stream; return whether one is for its rate.

    Parameters
    ----------
    model : int
        Address of the block of a network, or of several that follow one another; all are sound
        (:mod:`~plc_kernels.stream.model_file`).
    size : int
        Bytes of all; 0: one block.
    header : int64, shape (HEADER,), read and written, with the settings
    """
    rate = header[at.RATE]
    for net in _NETS:
        header[net + gaps.FILE_AT] = -1
    found = False
    begin = 0
    while True:
        one = model + begin
        if word_of(one, of.MAGIC_AT) != of.MAGIC:
            return False
        if _fits(one, rate):
            found = True
            serves = word_of(one, of.CONTENT)
            if serves == of.SPEECH and not gaps.there(header, at.SPEECH_NET):
                header[at.SPEECH_NET + gaps.FILE_AT] = begin
            elif serves == of.MUSIC and not gaps.there(header, at.MUSIC_NET):
                header[at.MUSIC_NET + gaps.FILE_AT] = begin
            elif serves == of.SPEECH_BRIDGES and bridge_fills.fits(one, header):
                header[at.BRIDGE_NET + gaps.FILE_AT] = begin
        begin += word_of(one, of.BYTES)
        if begin >= size:
            return found


@inlined
def _fits(model: int, rate: int) -> bool:
    """Return whether a network is for a rate, and its gap within its frames there."""
    size = frame_size(model, rate)
    hop = size // OVERLAP
    samples = (word_of(model, of.FRAMES) - 1) * hop + size
    horizon = at.samples_of(rate, real_of(model, of.HORIZON_MS))
    start = (word_of(model, of.CONTEXT) + INSIDE) * hop
    own = word_of(model, of.LOWEST_RATE) <= rate <= word_of(model, of.HIGHEST_RATE)
    if word_of(model, of.CONTENT) == of.MUSIC:  # passages of the past reach no further
        own &= samples - start <= at.samples_of(rate, LEAST_LAG_MS)
    return bool(own and 1 <= horizon <= samples - start and samples <= _MOST_S * rate)


@inlined
def network_of(block: Block, net: int, model: int) -> int:
    """Return the address of a network in the models' file at an address."""
    return int(model + block[net + gaps.FILE_AT])


@inlined
def _operations(model: int, header: Block, net: int) -> int:
    """Return the multiply-adds of a run; 0 for a network that is not there."""
    return word_of(network_of(header, net, model), of.OPERATIONS) if gaps.there(header, net) else 0


@inlined
def _dearest(model: int, header: Block) -> int:
    dearest = at.SPEECH_NET
    for net in _NETS:
        if _operations(model, header, net) > _operations(model, header, dearest):
            dearest = net
    return dearest


@part
def leave_out(model: int, header: Block) -> None:
    """Take the dearest network of those that were chosen out again."""
    header[_dearest(model, header) + gaps.FILE_AT] = -1
    measure(model, header)


@part
def operations(model: int, header: Block) -> int:
    """Return the multiply-adds of the dearest run: a packet has one."""
    return _operations(model, header, _dearest(model, header))


@part
def measure(model: int, header: Block) -> None:
    """Write the sizes of the chosen networks.

    Parameters
    ----------
    model : int, address of the file
    header : int64, shape (HEADER,), read and written, with the settings
    """
    past = work = 0
    for net in _NETS:
        if gaps.there(header, net):
            work = max(work, word_of(network_of(header, net, model), of.WORK))
    header[WORK_APART] = work if header[WORK_APART] else 0
    header[WORK_SIZE] = work - header[WORK_APART]
    header[LONGEST] = 0
    if gaps.there(header, at.SPEECH_NET):
        past = _measure_speech(network_of(header, at.SPEECH_NET, model), header)
    if gaps.there(header, at.MUSIC_NET):
        _measure_burst(header, at.MUSIC_NET, network_of(header, at.MUSIC_NET, model))
        past = max(past, music_drafts.measure(header))
    if gaps.there(header, at.BRIDGE_NET):
        past = max(past, bridge_fills.measure(network_of(header, at.BRIDGE_NET, model), header))
    header[at.HEARD_LATER] = header[at.HEARD_LATER] and gaps.there(header, at.MUSIC_NET)
    header[at.LISTENS] = gaps.there(header, at.MUSIC_NET) and not header[at.HEARD_LATER]
    header[at.HEARD_SAMPLES] = past if gaps.there(header, at.SPEECH_NET) else np.iinfo(np.int64).max
    header[ENTER] = at.samples_of(header[at.RATE], EDGE_MS)
    header[LEAVE] = at.samples_of(header[at.RATE], LEAVE_MS)
    header[at.NETWORK] = past > 0
    header[at.NETWORK_PAST] = past


@part
def _measure_burst(header: Block, net: int, model: int) -> None:
    gaps.measure_gap(header, net, model)
    header[LONGEST] = max(header[LONGEST], header[net + gaps.HORIZON])


@part
def _measure_speech(model: int, header: Block) -> int:
    """Write the sizes of the network for speech; return the samples of history that it reads."""
    rate = header[at.RATE]
    _measure_burst(header, at.SPEECH_NET, model)
    start = header[at.SPEECH_NET + gaps.START]
    known, predicted, _, _ = contour_sizes(rate, header[at.SPEECH_NET + gaps.SAMPLES] - start)
    header[PREDICTED] = predicted
    header[VOICE] = known + predicted
    measure_space(header, SPACE, model)
    short = header[at.PACKET] < rate * PROMPT_PACKET_MS / 1000.0
    header[PROMPT] = not (rate >= at.MUSIC_RATE and short)
    return max(int(start), known)


@inlined
def drafted(header: Block, unsteady: bool) -> tuple[int, int]:
    """Return the samples and multiply-adds that a lost packet's drafts take beside its own samples.

    Parameters
    ----------
    header : int64, shape (HEADER,)
    unsteady : bool
        Whether the lost content changes fast, as speech does.

    Returns
    -------
    (int, int)
        Samples to predict, and multiply-adds of the search for passages.
    """
    ahead = searched = 0
    if gaps.there(header, at.MUSIC_NET) and not (unsteady and gaps.there(header, at.SPEECH_NET)):
        ahead = header[at.MUSIC_NET + gaps.SAMPLES] - header[at.MUSIC_NET + gaps.START]
        searched = music_drafts.operations(header)
    if unsteady and gaps.there(header, at.SPEECH_NET):
        ahead = header[PREDICTED]
    if unsteady and gaps.there(header, at.BRIDGE_NET):
        ahead = max(ahead, bridge_fills.predicted(header))
    return ahead, searched


@part
def add_places(header: Block) -> None:
    """Give the arrays of the networks their places, behind the stream's."""
    at.place(header, 0, _ROWS)
    if gaps.there(header, at.SPEECH_NET):
        gaps.place_gap(header, at.SPEECH_NET)
        at.place(header, 0, _SPEECH_ROWS)
    if gaps.there(header, at.MUSIC_NET):
        gaps.place_gap(header, at.MUSIC_NET)
        music_drafts.add_places(header)
    if gaps.there(header, at.BRIDGE_NET):
        bridge_fills.add_places(header)


@kernel
def choose_networks(model: int, size: int, header: Block) -> bool:
    """Choose the networks of a stream (:func:`choose`), and write their sizes."""
    if not choose(model, size, header):
        return False
    measure(model, header)
    return True


@kernel
def cost_of(model: int, header: Block, net: int) -> int:
    """Return the multiply-adds of a network's run, drafts and spectra, for all channels.

    Parameters
    ----------
    model : int
        Address of the networks' blocks.
    header : int64, shape (HEADER,)
        Words of a stream that has them.
    net : int
        First of the network's words.
    """
    searched = (
        music_drafts.operations(header) if net == at.MUSIC_NET and gaps.there(header, net) else 0
    )
    run = (1.0 + BESIDE_RUN) * _operations(model, header, net)
    return int(header[at.CHANNELS] * (run + searched))


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
    at.lay_out(header)
    add_places(header)
    return int(header[at.SIZE])


@kernel
def open_network(block: Block) -> None:
    """Write the tables of a stream's networks."""
    for net in _NETS:
        if gaps.there(block, net):
            gaps.open_gap(block, net, net == at.BRIDGE_NET)
    write_ramp(at.array(block, ENTER_RAMP))
    write_ramp(at.array(block, LEAVE_RAMP))


@inlined
def _choose_net(block: Block) -> int:
    """Return the first word of the network that continues the past; 0: none."""
    net = at.SPEECH_NET if block[at.SPEECH] and gaps.there(block, at.SPEECH_NET) else at.MUSIC_NET
    if not gaps.there(block, net) or block[at.HISTORY_FILLED] < block[net + gaps.START]:
        return 0
    if net == at.MUSIC_NET and (at.reals(block)[at.RECALL_WEIGHT] == 0.0 or block[at.HEARD_LATER]):
        return 0
    if not prediction.has_time(block, MUSICS_PLACE if net == at.MUSIC_NET else SPEECHS_PLACE):
        return 0
    bridged = block[at.GAP] > 0 and bridge_fills.serves(block, block[at.GAP])
    return 0 if bridged else net


@part
def _begin(block: Block, model: int) -> None:
    """Draft a burst that prediction has begun, and make the rows of its network."""
    block[POSITION] = 0
    block[PENDING] = 0
    block[IMPROVED] = 0
    block[ANSWERED] = NO
    block[bridge_fills.BRIDGED_BY] = 0
    block[at.LATE] = bridge_fills.late_samples(block)
    net = block[SERVED] = _choose_net(block)
    if net == 0:
        return
    if net == at.MUSIC_NET:
        music_drafts.write_drafts(block, at.reals(block)[at.RECALL_WEIGHT])
    else:
        _draft_speech(block, network_of(block, net, model))
    begin_fill(
        gaps.gap_lines(block, net),
        block[net + gaps.START],
        block[net + gaps.HORIZON],
        at.array(block, FILLS),
    )
    block[PENDING] = 1
    if block[at.OUTSIDE]:
        gaps.analyse(block, net)
    elif _is_prompt(block):
        _answer(block, model)
        if block[SERVED] == at.SPEECH_NET:
            _improve(block)


@inlined
def _is_prompt(block: Block) -> bool:
    """Return whether a burst's first packet waits for its network; music's serves 10 ms later."""
    is_long = block[at.PACKET] > at.samples_of(block[at.RATE], ONSET_MS)
    return bool(block[PROMPT] if block[SERVED] == at.SPEECH_NET else is_long)


@part
def try_out(block: Block, model: int) -> int:
    """Draft and improve a burst's first packet from any history, so that a caller may time it.

    Return the multiply-adds of the network's run.
    """
    block[at.SPEECH] = gaps.there(block, at.SPEECH_NET)
    at.reals(block)[at.RECALL_WEIGHT] = 1.0
    _begin(block, model)
    if not block[PENDING]:
        return 0
    if block[ANSWERED] == NO:
        _answer(block, model)
    _improve(block)
    return _operations(model, block, block[SERVED])


@part
def _draft_speech(block: Block, model: int) -> None:
    """Write the past and both drafts; prediction goes on from the end of the last."""
    channels, start, rate = block[at.CHANNELS], block[at.SPEECH_NET + gaps.START], block[at.RATE]
    lines, space = gaps.gap_lines(block, at.SPEECH_NET), space_of(block, SPACE)
    ring = at.array(block, RING)
    known = contour_past(block)
    voices = at.array(block, VOICES)
    points = at.array(block, POINTS_AT)
    periods, lags = at.array(block, PERIODS), at.array(block, LAGS)
    for c in range(channels):
        past = lines[2 * c + 1, :start]
        newest(ring[c], block[at.HISTORY_AT], past)
        lines[2 * c, :start] = past
    follow(
        rate, contour_of(model), space, ring, block[at.HISTORY_AT], voices, points, periods, lags
    )
    for c in range(channels):
        prediction.extend_channel(block, c, voices[c, known:])
    draft(rate, space, voices, points, periods, lags, start, lines)
    end = known + block[at.SPEECH_NET + gaps.SAMPLES] - start
    for c in range(channels):
        resume_prediction(prediction.predictor_of(block), c, voices[c, :end])


@inlined
def _take_prepared(block: Block) -> None:
    """Begin a burst as it was prepared."""
    for word in SWAPPED:
        if block[word]:
            at.swap_places(block, word)
    block[SERVED : ANSWERED + 1] = at.second_set(block)[SERVED : ANSWERED + 1]
    if block[ANSWERED] != NO and not block[PENDING]:
        _count_answer(block)


@part
def prepare_burst(block: Block, model: int) -> bool:
    """Do all of a burst that prediction has begun; return whether prediction alone plays it.

    The network's answer is ready for the packet that takes it, which is the first or a later one.
    """
    if block[at.HEARD_LATER]:
        music_drafts.catch_up(block)
        block[at.HEARD_LATER] = 0
    _begin(block, model)
    if block[PENDING] and block[ANSWERED] == NO and not block[at.OUTSIDE]:
        _answer(block, model)
    return not block[SERVED]


@part
def hear_prepared(block: Block) -> None:
    """Make the samples of a burst that was prepared, of an answer from outside (GIVEN)."""
    if not block[PENDING]:
        return
    hear_answer(block)
    if block[SERVED] == at.SPEECH_NET and block[PROMPT]:
        _improve(block)


@part
def _answer(block: Block, model: int) -> None:
    """Run the network; make samples of its answer."""
    net = block[SERVED]
    gaps.analyse(block, net)
    gaps.run(block, net, network_of(block, net, model), at.array(block, WORK))
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
            gaps.gap_grid(block, net),
            gaps.gap_spectra(block, net),
            block[net + gaps.CONTEXT],
            at.array(block, ERRORS),
            ERROR_SHARE,
            at.reals(block)[at.RECALL_WEIGHT],
            gaps.gap_filled(block, net),
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
def _improve(block: Block) -> None:
    """Crossfade from the draft to the network's answer, unless that is no sound."""
    net = block[SERVED]
    block[PENDING] = 0
    _count_answer(block)
    if block[ANSWERED] == NO_SOUND:
        return
    take_over(
        gaps.gap_lines(block, net),
        block[net + gaps.START],
        block[POSITION],
        at.array(block, ENTER_RAMP),
        at.array(block, LEAVE_RAMP),
        gaps.gap_made(block, net),
        at.array(block, FILLS),
    )
    block[IMPROVED] = 1


@inlined
def _is_due(block: Block) -> bool:
    """Return whether a burst takes the answer now, for which its first packet did not wait."""
    net = block[SERVED]
    if not net or not block[PENDING] or block[POSITION] < at.samples_of(block[at.RATE], ONSET_MS):
        return False
    if block[POSITION] >= block[net + gaps.HORIZON]:
        block[PENDING] = 0
    return bool(block[PENDING])


@part
def _extend(block: Block, c: int, out: NDArray[np.float32]) -> None:
    """Write a channel's next samples: of the fill, of the draft, then of prediction."""
    done = 0
    net = block[SERVED]
    if net:
        lines = gaps.gap_lines(block, net)
        row = lines[(c + 1) * (lines.shape[0] // block[at.CHANNELS]) - 1]
        fill = at.array(block, FILLS)[c, : block[net + gaps.HORIZON]]
        done = play_fill(fill, row[block[net + gaps.START] :], block[POSITION], out)
    if done < out.size:
        prediction.extend_channel(block, c, out[done:])


@part
def _bridge(block: Block, model: int) -> bool:
    """Bridge a gap whose end has come, with the fill as its near side.

    Return whether the rows of the network for bridges are there, which its answer is to improve.
    """
    own = network_of(block, at.BRIDGE_NET, model)
    channels, gap = block[at.CHANNELS], block[at.BRIDGE]
    if block[at.FADING]:  # what the burst began with would go on at full level
        block[SERVED] = 0
        prediction.begin(block)
    through = prediction.through_rows(block)
    sides = prediction.bridge_of(block, block[at.KNOWN], gap)
    n = gap + sides.meet
    # What was played of a burst is not in step with what follows.
    along = n > gap and block[at.GAP] > 0 and bridge_fills.serves(block, gap)
    if along:
        bridge_fills.go_through(block, own, gap, n)
    else:
        for c in range(channels):
            _extend(block, c, through[c, :n])
        block[POSITION] += n
    if bridge_fills.takes_part(block):
        block[at.LANDED] = bridge_fills.land(block, sides, along)
    else:
        after = at.array(block, AFTER)
        block[at.LANDED] = prediction.land(block, sides, after)
    if not block[at.LANDED]:
        return False
    block[SERVED] = 0
    if not bridge_fills.serves(block, gap):
        return False
    bridge_fills.write_drafts(block, gap)
    if not block[at.OUTSIDE]:
        bridge_fills.run(block, own, at.array(block, WORK))
        bridge_fills.take(block, gap)
    return True


@kernel
def fill_part(block: Block, model: int, flags: int) -> int:
    """Fill the part that the step asks for, or hear the part that was played.

    Without a network in the block leave it as it is.

    Parameters
    ----------
    block : the stream's
    model : int
        Address of its networks' blocks.
    flags : int, the step's answer

    Returns
    -------
    int
        DONE; of a stream whose networks run OUTSIDE also SUBMIT, where the rows of the network
        ASKED are to be taken for a run, or WAIT, where its answer is due. Each is to be followed
        by another call, of the same flags.
    """
    if not block[at.NETWORK]:
        return DONE
    before = flush_denormals()
    answer = DONE
    if block[at.LISTENS] and flags & PLAYED:
        music_drafts.hear(block)
    elif flags & MORE:
        answer = _fill(block, model, flags)
    restore_denormals(before)
    return answer


@inlined
def _fill(block: Block, model: int, flags: int) -> int:
    phase = block[at.PHASE]
    block[at.PHASE] = 0
    if phase == 0 and flags & BEGAN:
        if block[at.TAKEN]:
            _take_prepared(block)
        else:
            _begin(block, model)
            if block[at.OUTSIDE] and block[PENDING]:
                block[at.ASKED] = block[SERVED]
                block[at.PHASE] = _HEARS_BURST if _is_prompt(block) else _SUBMITTED
                return WAIT if _is_prompt(block) else SUBMIT
    if phase == _HEARS_BURST:
        hear_answer(block)
        if block[SERVED] == at.SPEECH_NET or block[POSITION]:
            _improve(block)
    elif phase <= _SUBMITTED and flags & GOES_ON and _is_due(block):
        if block[ANSWERED] == NO and block[at.OUTSIDE]:
            block[at.ASKED] = block[SERVED]
            block[at.PHASE] = _HEARS_BURST
            return WAIT
        if block[ANSWERED] == NO:
            _answer(block, model)
        _improve(block)
    if phase == _HEARS_BRIDGE:
        bridge_fills.take(block, block[at.BRIDGE])
    elif flags & WANTS_BRIDGE and _bridge(block, model) and block[at.OUTSIDE]:
        block[at.ASKED] = at.BRIDGE_NET
        block[at.PHASE] = _HEARS_BRIDGE
        return WAIT
    if flags & WANTS_FILL:
        n = block[at.FILL_SAMPLES]
        rows = float_rows(block, FILL, (block[at.CHANNELS], n))
        early = max(0, at.samples_of(block[at.RATE], ONSET_MS) - block[POSITION])
        if not _is_prompt(block) or not block[PENDING] or early >= n:
            early = 0
        for c in range(rows.shape[0]):
            _extend(block, c, rows[c, :early])
        block[POSITION] += early
        if early:
            _improve(block)
        for c in range(rows.shape[0]):
            _extend(block, c, rows[c, early:])
        block[POSITION] += n - early
    net = block[SERVED]
    improved = net > 0 and block[IMPROVED] and block[POSITION] <= block[net + gaps.HORIZON]
    if block[bridge_fills.BRIDGED_BY]:
        block[at.RUNG] = block[at.NETWORK_RUNG] + bridge_fills.PLACE
    elif improved:
        block[at.RUNG] = block[at.NETWORK_RUNG] + (
            MUSICS_PLACE if net == at.MUSIC_NET else SPEECHS_PLACE
        )
    else:
        block[at.RUNG] = block[at.LADDER + 3 * block[at.STEP] + 2]
    return DONE
