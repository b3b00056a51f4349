"""A stream's networks: which they are, and the fill of a part that the step asks for.

The step asks where a stream has a network (:mod:`~plc_kernels.stream.step`), and :func:`fill_part`
is the answer. The model is blocks in memory, one after another (:mod:`~plc_kernels.stream.model`),
which many streams may read; all that is written lies in the stream's block.

A network's forward pass is computed here, or OUTSIDE: :func:`fill_part` then ends early, with the
rows of the network ASKED in its SPECTRA and LOST, and is called again to go on::

    drafts, spectra ─▶ SUBMIT: run it meanwhile ─▶ part played from the draft ─▶ … next packet
                  └──▶ WAIT: its answer is due, to FILLED, with GIVEN ─▶ samples ─▶ part played
"""

import numpy as np

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.build.denormals import flush_denormals, restore_denormals
from plc_kernels.signal.burst import LEAVE_MS, ONSET_MS
from plc_kernels.signal.fade import write_ramp
from plc_kernels.signal.recall import LEAST_LAG_MS
from plc_kernels.spectra.gap import EDGE_MS, INSIDE, OVERLAP
from plc_kernels.stream import bridge, extend_music
from plc_kernels.stream import extend_network as burst
from plc_kernels.stream import gap as gaps
from plc_kernels.stream import layout as at
from plc_kernels.stream import model as of
from plc_kernels.stream.arrays import Block, float_rows
from plc_kernels.stream.extend_network import ENTER_RAMP, LEAVE_RAMP
from plc_kernels.stream.layout import FILL
from plc_kernels.stream.preparation import hear, prepare
from plc_kernels.stream.step import BEGAN, GOES_ON, MORE, PLAYED, WANTS_BRIDGE, WANTS_FILL
from plc_kernels.stream.tables import frame_size, real_of, word_of

DONE, SUBMIT, WAIT = range(3)
"""Answers of :func:`fill_part`."""
PREPARES, HEARS = -1, -2
"""In place of its flags: one function is compiled in less time than three that share all."""
_SUBMITTED, _HEARS_BURST, _HEARS_BRIDGE = 1, 2, 3
"""Of PHASE."""
_NETS = (at.SPEECH_NET, at.MUSIC_NET, at.BRIDGE_NET)
# A file may come from anywhere: no network of a stream sees more.
_MOST_S = 4
BESIDE_RUN = 0.25
"""What a network's drafts and spectra take beside its run, as a share of that."""


@part
def choose(model: int, size: int, header: Block) -> bool:
    """Choose a file's networks for a stream; return whether one is for its rate.

    ``model`` is the address of the block of a network, or of several that follow one another, all
    sound (:mod:`~plc_kernels.stream.model_file`); ``size`` is the bytes of all, 0: one block.
    ``header``, int64, shape (HEADER,), has the settings, and is written.
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
            elif serves == of.SPEECH_BRIDGES and bridge.fits(one, header):
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
def _dearest(model: int, header: Block) -> int:
    dearest = at.SPEECH_NET
    for net in _NETS:
        if gaps.operations_of(model, header, net) > gaps.operations_of(model, header, dearest):
            dearest = net
    return dearest


@part
def leave_out(model: int, header: Block) -> None:
    """Take a network out again: that for bridges where no packet waits for one, or the dearest."""
    bridges = gaps.there(header, at.BRIDGE_NET) and not header[at.LOOKAHEAD]
    header[(at.BRIDGE_NET if bridges else _dearest(model, header)) + gaps.FILE_AT] = -1
    measure(model, header)


@part
def work(model: int, header: Block) -> int:
    """Return the multiply-adds of a packet's run, the dearest, with its drafts and spectra."""
    run = gaps.operations_of(model, header, _dearest(model, header))
    return int((1.0 + BESIDE_RUN) * header[at.CHANNELS] * run)


@part
def measure(model: int, header: Block) -> None:
    """Write the sizes of the chosen networks.

    ``model`` is the address of the file; ``header``, int64, shape (HEADER,), has the settings.
    """
    past = work = 0
    for net in _NETS:
        if gaps.there(header, net):
            work = max(work, word_of(gaps.network_of(header, net, model), of.WORK))
    header[burst.WORK_APART] = work if header[burst.WORK_APART] else 0
    header[burst.WORK_SIZE] = work - header[burst.WORK_APART]
    header[burst.LONGEST] = 0
    if gaps.there(header, at.SPEECH_NET):
        past = burst.measure_speech(gaps.network_of(header, at.SPEECH_NET, model), header)
    if gaps.there(header, at.MUSIC_NET):
        burst.measure_burst(header, at.MUSIC_NET, gaps.network_of(header, at.MUSIC_NET, model))
        past = max(past, extend_music.measure(header))
    if gaps.there(header, at.BRIDGE_NET):
        past = max(past, bridge.measure(gaps.network_of(header, at.BRIDGE_NET, model), header))
    header[at.HEARD_LATER] = header[at.HEARD_LATER] and gaps.there(header, at.MUSIC_NET)
    header[at.LISTENS] = gaps.there(header, at.MUSIC_NET) and not header[at.HEARD_LATER]
    header[at.HEARD_SAMPLES] = past if gaps.there(header, at.SPEECH_NET) else np.iinfo(np.int64).max
    header[burst.ENTER] = at.samples_of(header[at.RATE], EDGE_MS)
    header[burst.LEAVE] = at.samples_of(header[at.RATE], LEAVE_MS)
    header[at.NETWORK] = past > 0
    header[at.NETWORK_PAST] = past


@inlined
def drafted(header: Block, unsteady: bool) -> tuple[int, int]:
    """Return the samples and multiply-adds that a lost packet's drafts take beside its own samples.

    Samples to predict, and multiply-adds of the search for passages. ``header`` is int64, shape
    (HEADER,); ``unsteady`` lost content changes fast, as speech does.
    """
    ahead = searched = 0
    if gaps.there(header, at.MUSIC_NET) and not (unsteady and gaps.there(header, at.SPEECH_NET)):
        ahead = header[at.MUSIC_NET + gaps.SAMPLES] - header[at.MUSIC_NET + gaps.START]
        searched = extend_music.operations(header)
    if unsteady and gaps.there(header, at.SPEECH_NET):
        ahead = header[burst.PREDICTED]
    if unsteady and gaps.there(header, at.BRIDGE_NET):
        ahead = max(ahead, bridge.predicted(header))
    return ahead, searched


@part
def add_places(header: Block) -> None:
    """Give the arrays of the networks their places, behind the stream's."""
    at.place(header, 0, burst.ROWS)
    if gaps.there(header, at.SPEECH_NET):
        gaps.place_gap(header, at.SPEECH_NET)
        at.place(header, 0, burst.SPEECH_ROWS)
    if gaps.there(header, at.MUSIC_NET):
        gaps.place_gap(header, at.MUSIC_NET)
        extend_music.add_places(header)
    if gaps.there(header, at.BRIDGE_NET):
        bridge.add_places(header)


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

    ``model`` is the address of the networks' blocks; ``header``, int64, shape (HEADER,), are words
    of a stream that has them; ``net`` is the first of the network's words.
    """
    searched = (
        extend_music.operations(header) if net == at.MUSIC_NET and gaps.there(header, net) else 0
    )
    run = (1.0 + BESIDE_RUN) * gaps.operations_of(model, header, net)
    return int(header[at.CHANNELS] * (run + searched))


@kernel
def lay_out_network(model: int, header: Block) -> int:
    """Lay out a stream with networks; return the size of its block.

    ``model`` is the address of their blocks. ``header`` is int64, shape (HEADER,), as
    :func:`~plc_kernels.stream.layout.lay_out` takes it, with NETWORK_RUNG and what
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


@kernel
def fill_part(block: Block, model: int, flags: int) -> int:
    """Fill the part that the step asks for, or hear the part that was played.

    Without a network in the block leave it as it is. Or do as
    :func:`~plc_kernels.stream.preparation.prepare` and
    :func:`~plc_kernels.stream.preparation.hear`.

    Parameters
    ----------
    block : the stream's
    model : int, address of its networks' blocks
    flags : int, the step's answer, PREPARES or HEARS

    Returns
    -------
    int
        DONE; of a stream whose networks run OUTSIDE also SUBMIT, where the rows of the network
        ASKED are to be taken for a run, or WAIT, where its answer is due. Each is to be followed
        by another call, of the same flags. Of PREPARES the sample that the burst begins with.
    """
    if flags == PREPARES:
        return prepare(block, model)
    if flags == HEARS:
        hear(block)
    if flags == HEARS or not block[at.NETWORK]:
        return DONE
    before = flush_denormals()
    answer = DONE
    if block[at.LISTENS] and flags & PLAYED:
        extend_music.hear(block)
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
            burst.take_prepared(block)
        else:
            burst.begin(block, model)
            if block[at.OUTSIDE] and block[burst.PENDING]:
                block[at.ASKED] = block[burst.SERVED]
                block[at.PHASE] = _HEARS_BURST if burst.is_prompt(block) else _SUBMITTED
                return WAIT if burst.is_prompt(block) else SUBMIT
    if phase == _HEARS_BURST:
        burst.hear_answer(block)
        if block[burst.SERVED] == at.SPEECH_NET or block[burst.POSITION]:
            burst.improve(block)
    elif phase <= _SUBMITTED and flags & GOES_ON and burst.is_due(block):
        if block[burst.ANSWERED] == burst.NO and block[at.OUTSIDE]:
            block[at.ASKED] = block[burst.SERVED]
            block[at.PHASE] = _HEARS_BURST
            return WAIT
        if block[burst.ANSWERED] == burst.NO:
            burst.answer(block, model)
        burst.improve(block)
    if phase == _HEARS_BRIDGE:
        bridge.take(block, block[at.BRIDGE])
    elif flags & WANTS_BRIDGE and burst.make_bridge(block, model) and block[at.OUTSIDE]:
        block[at.ASKED] = at.BRIDGE_NET
        block[at.PHASE] = _HEARS_BRIDGE
        return WAIT
    if flags & WANTS_FILL:
        n = block[at.FILL_SAMPLES]
        rows = float_rows(block, FILL, (block[at.CHANNELS], n))
        early = max(0, at.samples_of(block[at.RATE], ONSET_MS) - block[burst.POSITION])
        if not burst.is_prompt(block) or not block[burst.PENDING] or early >= n:
            early = 0
        for c in range(rows.shape[0]):
            burst.extend_channel(block, c, rows[c, :early])
        block[burst.POSITION] += early
        if early:
            burst.improve(block)
        for c in range(rows.shape[0]):
            burst.extend_channel(block, c, rows[c, early:])
        block[burst.POSITION] += n - early
    net = block[burst.SERVED]
    within = net > 0 and block[burst.POSITION] <= block[net + gaps.HORIZON]
    if block[bridge.BRIDGED_BY]:
        block[at.RUNG] = block[at.NETWORK_RUNG] + bridge.PLACE
    elif within and block[burst.IMPROVED]:
        block[at.RUNG] = block[at.NETWORK_RUNG] + int(net == at.MUSIC_NET)
    else:
        block[at.RUNG] = block[at.LADDER + 3 * block[at.STEP] + 2]
    return DONE
